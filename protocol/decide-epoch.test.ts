import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, addressOfPrivateKey, buildTree } from '#crypto';
import { decideContribution, decideVersion } from './decide-datanet.ts';
import { decideEpoch, type EpochView, epochDueMs } from './decide-epoch.ts';
import { hashOf, keyOf } from './fixture.ts';
import type { Intent } from './intent.ts';
import { PRESETS } from './params.ts';

const nodes = ['a', 'b', 'c', 'd'].map((name) => addressOfPrivateKey(keyOf(name)));
const [self, other] = nodes as [Address, Address];
const timing = PRESETS.local;
const view: EpochView = { latest: null, stakers: nodes, anchorers: nodes, claims: [] };
const tree = buildTree([new Uint8Array(32)]);
const candidate = {
  roots: {
    epoch: 1,
    payoutRoot: hashOf('p'),
    leafCount: 2,
    totalWei: 5n,
    receiptsRoot: hashOf('r'),
    receiptCount: 3,
    payoutTree: tree,
    receiptsTree: tree,
  },
  manifestDigest: hashOf('m'),
  oldestMs: 1_000_000,
};
const names = (intents: readonly Intent[]) => intents.map(({ key }) => key);
const all = (of: EpochView, with_: typeof candidate | null, nowMs: number) =>
  nodes.map((node) => names(decideEpoch(of, with_, node, nowMs, timing)));

test('an epoch is anchored when it is due, by one node, then by the next', () => {
  const dueMs = epochDueMs(candidate, timing);
  assert.equal(dueMs, 1_005_000);
  assert.deepEqual(all(view, candidate, dueMs - 1).flat(), []);
  assert.deepEqual(all(view, candidate, dueMs).flat(), ['epoch/1/anchor']);
  assert.equal(all(view, candidate, dueMs + timing.staggerMs).flat().length, 2);
  assert.equal(all(view, candidate, dueMs + 3 * timing.staggerMs).flat().length, 4);
  const full = { ...candidate, roots: { ...candidate.roots, receiptCount: timing.epochReceipts } };
  assert.equal(epochDueMs(full, timing), 1_000_000);
});

test('nothing is anchored out of turn, empty, without stake, or over an open epoch', () => {
  const late = 10_000_000;
  const open = { ...view, latest: { epoch: 1, finalisableAt: 99_999, finalised: false } };
  const next = { ...candidate, roots: { ...candidate.roots, epoch: 2 } };
  const empty = { ...candidate, roots: { ...candidate.roots, receiptCount: 0 } };
  for (const [of, with_] of [
    [open, next],
    [view, next],
    [view, empty],
    [view, null],
    [{ ...view, anchorers: [] }, candidate],
  ] as const) {
    assert.deepEqual(all(of, with_, late).flat(), []);
  }
});

test('an epoch is finalised after its window, once', () => {
  const open = { ...view, latest: { epoch: 4, finalisableAt: 2_000, finalised: false } };
  assert.deepEqual(all(open, null, 1_999_999).flat(), []);
  assert.deepEqual(all(open, null, 2_000_000).flat(), ['epoch/4/finalise']);
  const final = { ...open, latest: { ...open.latest, finalised: true } };
  assert.deepEqual(all(final, null, 9_000_000).flat(), []);
});

test('what is owed is claimed, and what was claimed is not', () => {
  const claim = { account: self, cumulativeWei: 7n, index: 0, proof: [] };
  const claims = [
    { claim, claimedWei: 3n },
    { claim: { ...claim, account: other }, claimedWei: 7n },
  ];
  const intents = decideEpoch({ ...view, claims }, null, self, 0, timing);
  assert.deepEqual(names(intents), [`claim/${self}/7/3`]);
  assert.deepEqual(intents[0]?.args, [self, 7n, 0, []]);
});

const contribution = {
  contributionId: 9,
  state: 1,
  contributor: self,
  relayer: other,
  curator: nodes[2] as Address,
};
const opening = { recordsRoot: hashOf('r'), salt: hashOf('s'), manifest: hashOf('m') };

test('a contribution is revealed by its contributor or relayer when it is published', () => {
  const of = (address: Address, opened: typeof opening | null) =>
    names(decideContribution(contribution, { address, opening: opened, judgement: null }));
  assert.deepEqual(of(self, opening), ['contribution/9/reveal']);
  assert.deepEqual(of(other, opening), ['contribution/9/reveal']);
  assert.deepEqual(of(self, null), []);
  assert.deepEqual(of(nodes[3] as Address, opening), []);
});

test('a revealed contribution is judged once, by its curator', () => {
  const revealed = { ...contribution, state: 2 };
  const accept = { verdict: { verdict: 'accept' as const }, evidenceDigest: hashOf('none') };
  const refuse = {
    verdict: { verdict: 'refuse' as const, earlierRecordHash: hashOf('e'), evidence: [] },
    evidenceDigest: hashOf('d'),
  };
  const curator = { address: contribution.curator, opening: null };
  const [accepted] = decideContribution(revealed, { ...curator, judgement: accept });
  const [refused] = decideContribution(revealed, { ...curator, judgement: refuse });
  assert.deepEqual([accepted?.fn, refused?.fn], ['accept', 'refuse']);
  assert.equal(accepted?.key, refused?.key);
  assert.deepEqual(refused?.args, [9, hashOf('d'), hashOf('e')]);
  assert.deepEqual(decideContribution(revealed, { ...curator, judgement: null }), []);
  assert.deepEqual(
    decideContribution(revealed, { ...curator, address: self, judgement: accept }),
    [],
  );
  for (const state of [0, 3, 4]) {
    assert.deepEqual(
      decideContribution({ ...revealed, state }, { ...curator, judgement: accept }),
      [],
    );
  }
});

test('a version is published when nothing waits and it is whole and new', () => {
  const datanet = {
    datanetId: hashOf('d'),
    versionCount: 1,
    curator: self,
    acceptedIds: [1, 2],
    publishedIds: [1],
    revealedIds: [],
  };
  const built = {
    contributionIds: [2, 1],
    root: hashOf('r'),
    recordCount: 4,
    manifestDigest: hashOf('m'),
  };
  const keys = names(decideVersion(datanet, built, self));
  assert.deepEqual(keys, [`datanet/${hashOf('d')}/version/2`]);
  for (const [of, with_, by] of [
    [{ ...datanet, revealedIds: [3] }, built, self],
    [{ ...datanet, publishedIds: [1, 2] }, built, self],
    [datanet, { ...built, contributionIds: [1] }, self],
    [datanet, null, self],
    [datanet, built, other],
  ] as const) {
    assert.deepEqual(decideVersion(of, with_, by), []);
  }
});
