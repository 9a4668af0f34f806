import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keccak256 as ethersKeccak, concat as joinHex, toBeHex } from 'ethers';
import fc from 'fast-check';
import { concat, toHex } from './bytes.ts';
import { buildTree, merkleDepth, merkleRoot, proveLeaf, verifyLeaf } from './merkle.ts';

const leavesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => Uint8Array.of(i & 0xff, i >> 8, 7));

/** The definition again, recursively and over ethers' hash, to compare with. */
function rootByDefinition(leaves: readonly Uint8Array[]): string {
  if (leaves.length === 0) return `0x${'00'.repeat(32)}`;
  let width = 1;
  while (width < leaves.length) width *= 2;
  const top = (from: number, to: number): string => {
    if (to - from === 1) {
      const leaf = leaves[from];
      return leaf === undefined
        ? `0x${'00'.repeat(32)}`
        : ethersKeccak(joinHex(['0x00', toHex(leaf)]));
    }
    const middle = (from + to) / 2;
    return ethersKeccak(joinHex(['0x01', top(from, middle), top(middle, to)]));
  };
  return ethersKeccak(joinHex(['0x02', toBeHex(leaves.length, 32), top(0, width)]));
}

test('the root is the one of the definition for every count up to 40', () => {
  for (let count = 0; count <= 40; count += 1) {
    assert.equal(toHex(merkleRoot(leavesOf(count))), rootByDefinition(leavesOf(count)));
  }
});

test('each leaf has a proof of as many siblings as the depth, and it holds', () => {
  for (const count of [1, 2, 3, 4, 5, 8, 9, 31, 33]) {
    const leaves = leavesOf(count);
    const tree = buildTree(leaves);
    leaves.forEach((leaf, index) => {
      const proof = proveLeaf(tree, index);
      assert.equal(proof.siblings.length, merkleDepth(count));
      assert.equal(verifyLeaf(tree.root, leaf, proof), true);
    });
  }
  assert.deepEqual(
    [1, 2, 3, 4, 5, 8, 9, 1024, 1025].map(merkleDepth),
    [0, 1, 2, 2, 3, 3, 4, 10, 11],
  );
});

test('a proof holds for no other leaf, index, count, sibling or root', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), fc.nat(), (count, pick, flip) => {
      const leaves = leavesOf(count);
      const tree = buildTree(leaves);
      const index = pick % count;
      const proof = proveLeaf(tree, index);
      const leaf = leaves[index] as Uint8Array;
      const flipped = (bytes: Uint8Array) =>
        bytes.map((b, i) => (i === flip % bytes.length ? b ^ 1 : b));
      assert.equal(verifyLeaf(tree.root, flipped(leaf), proof), false);
      assert.equal(verifyLeaf(flipped(tree.root), leaf, proof), false);
      for (const wrong of [-1, count, index + 0.5, Number.NaN, (index + 1) % count]) {
        if (wrong !== index)
          assert.equal(verifyLeaf(tree.root, leaf, { ...proof, index: wrong }), false);
      }
      for (const wrong of [0, -1, count - 1, count + 1, 2 ** 32, Number.NaN]) {
        assert.equal(verifyLeaf(tree.root, leaf, { ...proof, count: wrong }), false);
      }
      const { siblings } = proof;
      assert.equal(verifyLeaf(tree.root, leaf, { ...proof, siblings: [...siblings, leaf] }), false);
      if (siblings.length > 0) {
        const other = siblings.map((s, i) => (i === flip % siblings.length ? flipped(s) : s));
        assert.equal(verifyLeaf(tree.root, leaf, { ...proof, siblings: other }), false);
        assert.equal(verifyLeaf(tree.root, leaf, { ...proof, siblings: siblings.slice(1) }), false);
        const short = siblings.map((s) => s.subarray(1));
        assert.equal(verifyLeaf(tree.root, leaf, { ...proof, siblings: short }), false);
      }
    }),
    { numRuns: 60 },
  );
});

test('padding cannot be proven as a leaf, nor an inner node', () => {
  const tree = buildTree(leavesOf(3));
  const siblings = [tree.levels[0]?.[2] as Uint8Array, tree.levels[1]?.[0] as Uint8Array];
  assert.equal(verifyLeaf(tree.root, new Uint8Array(32), { index: 3, count: 4, siblings }), false);
  const inner = concat(tree.levels[0]?.[0] as Uint8Array, tree.levels[0]?.[1] as Uint8Array);
  const above = { index: 0, count: 2, siblings: [tree.levels[1]?.[1] as Uint8Array] };
  assert.equal(verifyLeaf(tree.root, inner, above), false);
});

test('a leaf that is not there cannot be proven', () => {
  assert.throws(() => proveLeaf(buildTree(leavesOf(3)), 3), RangeError);
  assert.throws(() => proveLeaf(buildTree([]), 0), RangeError);
});
