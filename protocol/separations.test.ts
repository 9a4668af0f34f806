import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOfPrivateKey, fromHex, merkleRoot, verifyLeaf } from '#crypto';
import { hashOf, keyOf } from './fixture.ts';
import { findSeparatedRecords, type ShownContribution, separatedLeaves } from './separations.ts';
import { buildVersion, recordLeaves, verifyRecord } from './version.ts';

const PUBLISHED_AT = 1_000;
const datanetId = hashOf('datanet');
const people = [0, 1, 2, 3].map((i) => addressOfPrivateKey(keyOf(`person ${i}`)));
const FEW_RECORDS = 12;

/** Up to four contributions of records out of a few, so that many are shown more than once. */
const contributions = fc
  .array(
    fc.record({
      revealedAt: fc.integer({ min: 1, max: PUBLISHED_AT - 1 }),
      names: fc.array(fc.nat(FEW_RECORDS - 1), { minLength: 1, maxLength: 8 }),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((list): ShownContribution[] =>
    list.map(({ revealedAt, names }, i) => ({
      id: i + 1,
      revealedAt,
      recordHashes: names.map((name) => hashOf(`record ${name}`)),
    })),
  );

const incomingOf = (shown: readonly ShownContribution[]) =>
  shown.flatMap(({ recordHashes }, i) =>
    recordHashes.map((recordHash) => ({
      recordHash,
      contributor: people[i] as (typeof people)[number],
      registeredAt: i,
    })),
  );

/** What an honest curator does at least: equal records are in the cluster of the earliest. */
function honestClusters(incoming: ReturnType<typeof incomingOf>): number[] {
  const hashes = incoming.map(({ recordHash }) => recordHash);
  return hashes.map((hash) => hashes.indexOf(hash));
}

const publishedWith = (shown: readonly ShownContribution[], clusters: readonly number[]) => ({
  datanetId,
  version: 3,
  publishedAt: PUBLISHED_AT,
  tree: buildVersion(recordLeaves(incomingOf(shown), clusters)),
});

test('nothing is found in an honest version, whatever else its clusters hold', () => {
  fc.assert(
    fc.property(contributions, fc.func(fc.boolean()), (shown, joins) => {
      const clusters = honestClusters(incomingOf(shown));
      // Near-copies may join any earlier cluster, all equal ones together.
      const joined = clusters.map((cluster) => (joins(cluster) ? 0 : cluster));
      const published = publishedWith(shown, joined);
      assert.deepEqual(separatedLeaves(published.tree), []);
      assert.deepEqual(findSeparatedRecords(published, shown), []);
    }),
    { seed: 4, numRuns: 200 },
  );
});

test('every planted pair is found, and its evidence leads to both roots', () => {
  fc.assert(
    fc.property(contributions, fc.func(fc.boolean()), (shown, separates) => {
      const incoming = incomingOf(shown);
      const clusters = honestClusters(incoming);
      const planted = new Set<string>();
      for (const [index, { recordHash }] of incoming.entries()) {
        if (clusters[index] === index || !separates(index)) continue;
        clusters[index] = index;
        planted.add(recordHash);
      }
      const published = publishedWith(shown, clusters);
      const found = findSeparatedRecords(published, shown);
      assert.deepEqual(new Set(found.map(({ recordHash }) => recordHash)), planted);
      const pairs = found.map(({ first, second }) => `${first.cluster}/${second.cluster}`);
      assert.equal(new Set(pairs).size, found.length);
      for (const { recordHash, first, second } of found) {
        assert.notEqual(first.cluster, second.cluster);
        for (const place of [first, second]) {
          const { index, proof, contributionId, position, recordProof } = place;
          const siblings = (hashes: readonly `0x${string}`[]) =>
            hashes.map((hash) => fromHex(hash));
          const count = published.tree.recordCount;
          const leaf = { ...place, recordHash };
          const inVersion = { index, count, siblings: siblings(proof) };
          assert.ok(verifyRecord(published.tree.root, leaf, inVersion));
          const own = shown[contributionId - 1]?.recordHashes as readonly `0x${string}`[];
          const root = merkleRoot(own.map((hash) => fromHex(hash)));
          const inContribution = {
            index: position,
            count: own.length,
            siblings: siblings(recordProof),
          };
          assert.ok(verifyLeaf(root, fromHex(recordHash), inContribution));
        }
      }
    }),
    { seed: 4, numRuns: 200 },
  );
});

test('every further cluster of a record is another pair', () => {
  const shown = [1, 2, 3].map((id) => ({ id, revealedAt: 5, recordHashes: [hashOf('r')] }));
  const found = findSeparatedRecords(publishedWith(shown, [0, 1, 2]), shown);
  assert.deepEqual(
    found.map(({ first, second }) => [first.cluster, second.cluster]),
    [
      [0, 1],
      [0, 2],
    ],
  );
  assert.deepEqual(
    found.map(({ first, second }) => [first, second].map((each) => each.contributionId)),
    [
      [1, 2],
      [1, 2],
    ],
  );
});

test('a record that was shown once and stands in two clusters was doubled by the author', () => {
  const shown = [{ id: 1, revealedAt: 5, recordHashes: [hashOf('r')] }];
  const twice = [...shown, { id: 2, revealedAt: 0, recordHashes: [hashOf('r')] }];
  const [evidence] = findSeparatedRecords(publishedWith(twice, [0, 1]), shown);
  assert.deepEqual([evidence?.first.contributionId, evidence?.second.contributionId], [1, 1]);
  assert.deepEqual([evidence?.first.cluster, evidence?.second.cluster], [0, 1]);
});

test('what was not shown in an earlier second than the version convicts nobody', () => {
  const at = (revealedAt: number) => {
    const shown = [1, 2].map((id) => ({ id, revealedAt, recordHashes: [hashOf('r')] }));
    return findSeparatedRecords(publishedWith(shown, [0, 1]), shown).length;
  };
  assert.deepEqual(
    [0, 1, PUBLISHED_AT - 1, PUBLISHED_AT, PUBLISHED_AT + 1].map(at),
    [0, 1, 1, 0, 0],
  );
});

test('a pair of clusters is named once, by a record that proves it', () => {
  const shown = [
    { id: 1, revealedAt: 0, recordHashes: [hashOf('a'), hashOf('b'), hashOf('c')] },
    { id: 2, revealedAt: 0, recordHashes: [hashOf('a'), hashOf('b'), hashOf('c')] },
  ];
  const published = publishedWith(shown, [0, 0, 0, 3, 3, 3]);
  assert.equal(separatedLeaves(published.tree).length, 3);
  const seen = [{ id: 7, revealedAt: 5, recordHashes: [hashOf('b'), hashOf('c')] }];
  const found = findSeparatedRecords(published, seen);
  assert.deepEqual(
    found.map(({ recordHash }) => recordHash),
    [hashOf('b')],
  );
});
