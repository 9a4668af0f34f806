import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder } from 'ethers';
import fc from 'fast-check';
import { addressOfPrivateKey, proveLeaf, sketchBytes, squaredNorm, toHex } from '#crypto';
import { hashOf, keyOf, RULES, sampleAnswer } from './fixture.ts';
import {
  SCORE_LEAVES_MAX,
  type SketchLeaf,
  scoreLeafBytes,
  scoreRecords,
  scoreRoot,
  sketchLeafBytes,
  sketchLeaves,
  sketchTree,
  verifySketch,
} from './scores.ts';

const { sketches, file, version } = sampleAnswer();
const abi = AbiCoder.defaultAbiCoder();
const contributor = addressOfPrivateKey(keyOf('ada'));

const sketch = fc
  .int8Array({ minLength: 256, maxLength: 256, min: -6, max: 6 })
  .map((numbers) => Int8Array.from(numbers));
const leavesOf = fc.array(fc.tuple(sketch, fc.nat(3)), { maxLength: 12 }).map((drawn) =>
  drawn.map(([numbers, cluster], i): SketchLeaf => {
    const own = drawn.findIndex(([, other]) => other === cluster);
    const recordHash = hashOf(`record ${i}`);
    const norm = squaredNorm(numbers);
    return { recordHash, contributor, cluster: own, registeredAt: i, norm, sketch: numbers };
  }),
);

test('what is paid is the best of each cluster that reaches the threshold, in order', () => {
  fc.assert(
    fc.property(sketch, leavesOf, (query, leaves) => {
      const threshold = { numerator: 1, denominator: 20 };
      const scores = scoreRecords(query, leaves, threshold);
      // By definition, with bigints and without shortcuts.
      const all = leaves.flatMap((leaf, sketchIndex) => {
        const dot = leaf.sketch.reduce(
          (sum, s, i) => sum + BigInt(s) * BigInt(query[i] as number),
          0n,
        );
        const product = BigInt(leaf.norm) * BigInt(squaredNorm(query));
        if (dot <= 0n || dot * dot * 400n < product) return [];
        let root = 0n;
        while ((root + 1n) * (root + 1n) <= product) root += 1n;
        return [
          {
            sketchIndex,
            cluster: leaf.cluster,
            dot: Number(dot),
            score: Number((dot << 16n) / root),
          },
        ];
      });
      const best = all.filter(
        (a) =>
          !all.some(
            (b) =>
              b.cluster === a.cluster &&
              (b.score > a.score || (b.score === a.score && b.sketchIndex < a.sketchIndex)),
          ),
      );
      best.sort((a, b) => b.score - a.score || a.sketchIndex - b.sketchIndex);
      assert.deepEqual(
        scores.map(({ sketchIndex, dot, score }) => [sketchIndex, dot, score]),
        best.map(({ sketchIndex, dot, score }) => [sketchIndex, dot, score]),
      );
    }),
    { numRuns: 40 },
  );
});

test('no more leaves are paid than the limit, and they are the best', () => {
  const query = new Int8Array(256).fill(9);
  const many = Array.from({ length: 100 }, (_, i): SketchLeaf => {
    const numbers = query.map((q, at) => (at <= i ? q - 1 : q));
    const recordHash = hashOf(`record ${i}`);
    return {
      recordHash,
      contributor,
      cluster: i,
      registeredAt: 0,
      norm: squaredNorm(numbers),
      sketch: numbers,
    };
  });
  const scores = scoreRecords(query, many, RULES);
  assert.equal(scores.length, SCORE_LEAVES_MAX);
  assert.ok(scores.every(({ score }, i) => i === 0 || score <= (scores[i - 1]?.score ?? 0)));
});

test('nothing is paid for an empty query or an empty adapter', () => {
  assert.deepEqual(scoreRecords(new Int8Array(256), sketches, RULES), []);
  assert.deepEqual(scoreRecords(file.querySketch, [], RULES), []);
});

test('leaves are the words of the specification', () => {
  const [leaf] = sketches;
  assert.ok(leaf !== undefined);
  const words = abi.encode(
    ['bytes32', 'address', 'uint256', 'uint256', 'uint256'],
    [leaf.recordHash, leaf.contributor, leaf.cluster, leaf.registeredAt, leaf.norm],
  );
  assert.equal(toHex(sketchLeafBytes(leaf)), words + toHex(sketchBytes(leaf.sketch)).slice(2));
  const score = {
    sketchIndex: 3,
    recordHash: hashOf('r'),
    contributor,
    dot: -7,
    score: 9,
    amountWei: 5n,
  };
  const encoded = abi.encode(
    ['uint256', 'bytes32', 'address', 'int256', 'uint256', 'uint256'],
    [3, hashOf('r'), contributor, -7, 9, 5],
  );
  assert.equal(toHex(scoreLeafBytes(score)), encoded);
  assert.equal(scoreRoot([]), `0x${'00'.repeat(32)}`);
});

test('a sketch is proven under the root, and a changed one is not', () => {
  const tree = sketchTree(sketches);
  for (const [i, leaf] of sketches.entries()) {
    const proof = proveLeaf(tree, i);
    assert.ok(verifySketch(toHex(tree.root), leaf, proof));
    const other = { ...leaf, sketch: leaf.sketch.map((s, at) => (at === 0 ? s ^ 1 : s)) };
    assert.ok(!verifySketch(toHex(tree.root), other, proof));
  }
  assert.throws(() => sketchLeaves(version.leaves, []), RangeError);
});
