import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromHex, keccak256, merkleDepth, toHex } from '#crypto';
import { scoreEvidence } from './evidence.ts';
import { hashOf, sampleAnswer } from './fixture.ts';
import { isReceiptSigned, signReceipt } from './receipt.ts';
import {
  behindReceiptPlace,
  packReceiptPlace,
  packScoreEvidence,
  type ScoreEvidence,
  unpackScoreEvidence,
} from './score-evidence.ts';
import { type ScoreLeaf, scoreRoot, sketchTree, verifySketch } from './scores.ts';

const { built, file, sketches, anchors, providerKey } = sampleAnswer();
const tree = sketchTree(sketches);
const domain = { chainId: anchors.chainId, verifyingContract: anchors.referee };
const { adapters } = anchors;

/** Evidence against a leaf of a receipt that its provider signed with these changes in it. */
function evidenceWith(
  leafIndex: number,
  change: Partial<ScoreLeaf> = {},
  of: Partial<typeof built.receipt> = {},
): ScoreEvidence {
  const scores = built.scores.map((leaf, i) => (i === leafIndex ? { ...leaf, ...change } : leaf));
  const receipt = { ...built.receipt, scoreRoot: scoreRoot(scores), ...of };
  const signature = signReceipt(domain, receipt, providerKey);
  const { querySketch } = file;
  const disputed = {
    receipt,
    signature,
    querySketch,
    scores,
    sketches: { leaves: sketches, tree },
  };
  return scoreEvidence(disputed, leafIndex, 0);
}

const lies: fc.Arbitrary<Partial<ScoreLeaf>> = fc.oneof(
  fc.record({ score: fc.nat(2 ** 32 - 1), amountWei: fc.bigInt({ min: 0n, max: 2n ** 96n - 1n }) }),
  fc.record({ score: fc.maxSafeNat(), amountWei: fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }) }),
  fc.record({ dot: fc.integer() }),
  fc.record({ sketchIndex: fc.nat(100) }),
  fc.constant({ recordHash: hashOf('another') }),
  fc.constant({ contributor: built.receipt.client }),
);

test('evidence comes back as it was packed, and its receipt is the one that was signed', () => {
  const indices = fc.nat(built.scores.length - 1);
  const norms = fc.constantFrom(built.receipt.queryNorm, 1);
  fc.assert(
    fc.property(indices, lies, norms, (leafIndex, lie, queryNorm) => {
      const evidence = evidenceWith(leafIndex, lie, { queryNorm });
      const unpacked = unpackScoreEvidence(packScoreEvidence(evidence), adapters);
      assert.deepEqual(unpacked, { ok: true, value: evidence });
      assert.ok(isReceiptSigned(domain, evidence.receipt, fromHex(evidence.signature)));
    }),
  );
});

test('what only a score and an amount tell apart from the truth is short', () => {
  const evidence = evidenceWith(0, { score: 1 });
  const short = packScoreEvidence(evidence);
  const words = packScoreEvidence(evidenceWith(0, { score: 1, dot: 1 }));
  // Four score leaves and six sketches: proofs of 2 and 3 siblings.
  const [proofs, twoSketches, answer] = [5 * 32, 512, 244];
  assert.equal(built.scores.length, 4);
  assert.equal(short.length, 1 + 64 + answer + 20 + 72 + 13 + proofs + twoSketches);
  assert.equal(words.length, short.length - 72 + 212 + 52);
  assert.equal(packScoreEvidence(evidence, 'hash').length, short.length - answer + 32);
  // The layout itself: other bytes here are another protocol.
  assert.equal(toHex(keccak256(short)), SHORT_DIGEST);
  assert.equal(toHex(keccak256(words)), WORDS_DIGEST);
});
const SHORT_DIGEST = '0x896d292005ec6682067cbe9374a87c674ae860eaf5b962d596ea0a5d518532a1';
const WORDS_DIGEST = '0xddc99dbbdd8a704121d403991c412f28473397c9655e3016bc62e74127b1836d';

test('no byte can be changed and still be what the provider signed about a trained record', () => {
  const evidence = evidenceWith(1, { score: 65_000 });
  const packed = packScoreEvidence(evidence);
  const { sketchIndex } = evidence.leaf;
  const convicts = (bytes: Uint8Array): boolean => {
    const unpacked = unpackScoreEvidence(bytes, adapters);
    if (!unpacked.ok || unpacked.value.record === null) return false;
    const { receipt, signature, record } = unpacked.value;
    const siblings = record.proof.map(fromHex);
    const place = { index: sketchIndex, count: sketches.length, siblings };
    return (
      isReceiptSigned(domain, receipt, fromHex(signature)) &&
      verifySketch(toHex(tree.root), record.leaf, place)
    );
  };
  assert.ok(convicts(packed));
  fc.assert(
    fc.property(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), (at, difference) => {
      const other = packed.slice();
      other[at] = (other[at] as number) ^ difference;
      assert.equal(convicts(other), false);
    }),
  );
});

test('EVIDENCE_LENGTH: cut off or with something behind it', () => {
  const packed = packScoreEvidence(evidenceWith(1, { score: 65_000 }));
  fc.assert(
    fc.property(fc.nat(2 * packed.length), (length) => {
      const other = new Uint8Array(length);
      other.set(packed.subarray(0, length));
      const unpacked = unpackScoreEvidence(other, adapters);
      if (length === packed.length) return assert.ok(unpacked.ok);
      assert.ok(!unpacked.ok);
      if (length > packed.length) assert.equal(unpacked.code, 'EVIDENCE_LENGTH');
    }),
  );
});

test('EVIDENCE_FORM, EVIDENCE_ADAPTER, EVIDENCE_LEAF_OUTSIDE, EVIDENCE_RANGE', () => {
  const evidence = evidenceWith(1, { score: 65_000 });
  const codeOf = (bytes: Uint8Array) => {
    const unpacked = unpackScoreEvidence(bytes, adapters);
    return unpacked.ok ? null : unpacked.code;
  };
  assert.equal(codeOf(Uint8Array.of()), 'EVIDENCE_FORM');
  assert.equal(codeOf(packScoreEvidence(evidence, 'hash')), 'EVIDENCE_FORM');
  assert.equal(codeOf(packScoreEvidence({ ...evidence, adapterIndex: 1 })), 'EVIDENCE_ADAPTER');
  assert.equal(codeOf(packScoreEvidence({ ...evidence, leafIndex: 4 })), 'EVIDENCE_LEAF_OUTSIDE');
  const far = { ...evidence, leaf: { ...evidence.leaf, sketchIndex: 7 } };
  assert.equal(codeOf(packScoreEvidence(far)), 'EVIDENCE_FORM');
  // The eight bytes of issuedAt: no number that we could hold exactly.
  const late = packScoreEvidence(evidence).fill(0xff, 313, 321);
  assert.equal(codeOf(late), 'EVIDENCE_RANGE');
});

test('a signature is packed with the parity of R in the top bit of s', () => {
  const parities = new Set<number>();
  for (let second = 0; second < 20; second += 1) {
    const evidence = evidenceWith(0, {}, { issuedAt: second });
    const packed = packScoreEvidence(evidence);
    parities.add((packed[33] as number) >> 7);
    const unpacked = unpackScoreEvidence(packed, adapters);
    assert.ok(unpacked.ok && unpacked.value.signature === evidence.signature);
  }
  assert.equal(parities.size, 2);
});

test('evidence stands behind the place of its receipt, however many siblings that has', () => {
  const evidence = packScoreEvidence(evidenceWith(0, { score: 1 }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), (count) => {
      const siblings = Array.from({ length: merkleDepth(count) }, () => fromHex(hashOf('sibling')));
      const place = packReceiptPlace({ epoch: 3, index: count - 1, count, siblings });
      assert.equal(place.length, 12 + 32 * siblings.length);
      assert.deepEqual(behindReceiptPlace(Uint8Array.of(...place, ...evidence)), evidence);
    }),
  );
  // A place outside the epoch reads no further than its numbers.
  assert.equal(behindReceiptPlace(new Uint8Array(12)).length, 0);
  assert.equal(behindReceiptPlace(new Uint8Array(3)).length, 0);
});
