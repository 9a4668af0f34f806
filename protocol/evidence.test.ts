import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder, id, keccak256 } from 'ethers';
import { addressOfPrivateKey, fromHex, utf8, verifyLeaf } from '#crypto';
import {
  auditScores,
  evidenceCommitment,
  judgedLeaf,
  judgeScore,
  SCORE_FAULTS,
  scoreEvidence,
} from './evidence.ts';
import { hashOf, keyOf, RULES, sampleAnswer } from './fixture.ts';
import { type ScoreLeaf, scoreLeafBytes, sketchLeafBytes, sketchTree } from './scores.ts';

const { built, file, sketches } = sampleAnswer();
const { receipt, scores } = built;
const { querySketch } = file;
const judge = (leaf: ScoreLeaf, threshold = RULES, of = receipt) =>
  judgeScore(of, querySketch, leaf, sketches[leaf.sketchIndex], threshold);
const [first] = scores as readonly [ScoreLeaf];

test('a true leaf has no fault', () => {
  for (const leaf of scores) assert.equal(judge(leaf), 'NONE');
  const audit = auditScores(receipt, querySketch, scores, sketches, RULES);
  assert.deepEqual(audit, { wrong: [], omitted: [], surplus: [] });
});

test('each fault has its name, the earlier in the contract going first', () => {
  const other = addressOfPrivateKey(keyOf('provider'));
  const faults: [string, string][] = [
    ['NO_SUCH_RECORD', judge({ ...first, sketchIndex: 99 })],
    ['OTHER_RECORD', judge({ ...first, recordHash: hashOf('x'), contributor: other })],
    ['OTHER_CONTRIBUTOR', judge({ ...first, contributor: other, dot: 1 })],
    ['QUERY_NORM', judge({ ...first, dot: 1 }, RULES, { ...receipt, queryNorm: 1 })],
    ['DOT', judge({ ...first, dot: first.dot + 1, score: 1 })],
    ['SCORE', judge({ ...first, score: first.score + 1 })],
    ['BELOW_THRESHOLD', judge(first, { ...RULES, numerator: 1, denominator: 1 })],
  ];
  for (const [expected, found] of faults) assert.equal(found, expected);
  assert.deepEqual(
    faults.map(([name]) => SCORE_FAULTS.indexOf(name as (typeof SCORE_FAULTS)[number])),
    [1, 2, 3, 4, 5, 6, 7],
  );
});

test('an audit finds inflated, omitted and surplus leaves', () => {
  const inflated = scores.map((leaf, i) => (i === 1 ? { ...leaf, score: leaf.score * 2 } : leaf));
  const found = auditScores(receipt, querySketch, inflated, sketches, RULES);
  assert.deepEqual(found.wrong, [{ leafIndex: 1, fault: 'SCORE' }]);
  const omitting = auditScores(receipt, querySketch, scores.slice(1), sketches, RULES);
  assert.deepEqual(
    omitting.omitted.map(({ sketchIndex }) => sketchIndex),
    [first.sketchIndex],
  );
  // Record 1 passes too, but its cluster is paid for record 0.
  const twin = sketches[1];
  assert.ok(twin !== undefined);
  const { recordHash, contributor, sketch } = twin;
  const dot = sketch.reduce((sum, s, i) => sum + s * (querySketch[i] ?? 0), 0);
  const root = Math.floor(Math.sqrt(twin.norm * receipt.queryNorm));
  const copy = {
    sketchIndex: 1,
    recordHash,
    contributor,
    dot,
    score: Math.floor((dot * 65_536) / root),
  };
  const surplus = auditScores(receipt, querySketch, [...scores, copy], sketches, RULES);
  assert.deepEqual([surplus.wrong, surplus.surplus], [[], [scores.length]]);
});

test('evidence carries proofs that hold under the signed and the anchored root', () => {
  const tree = sketchTree(sketches);
  const disputed = {
    receipt,
    signature: file.signature,
    querySketch,
    scores,
    sketches: { leaves: sketches, tree },
  };
  const evidence = scoreEvidence(disputed, 2, 0);
  const leafProof = {
    index: 2,
    count: receipt.scoreCount,
    siblings: evidence.leafProof.map((word) => fromHex(word)),
  };
  const leafBytes = scoreLeafBytes(evidence.leaf);
  assert.ok(verifyLeaf(fromHex(receipt.scoreRoot), leafBytes, leafProof));
  assert.ok(evidence.record !== null);
  const sketchProof = {
    index: evidence.leaf.sketchIndex,
    count: sketches.length,
    siblings: evidence.record.proof.map((word) => fromHex(word)),
  };
  assert.ok(verifyLeaf(tree.root, sketchLeafBytes(evidence.record.leaf), sketchProof));
  // A leaf that names no record is shown without one: the contract stops at its index.
  const nowhere = { ...disputed, scores: [{ ...first, sketchIndex: 99 }] };
  assert.equal(scoreEvidence(nowhere, 0, 0).record, null);
});

test('of a judged leaf no more than the fee, and no more than 96 bits, is withheld', () => {
  const amounts: [leaf: bigint, fee: bigint, withheld: bigint][] = [
    [5n, 9n, 5n],
    [9n, 5n, 5n],
    [2n ** 100n, 2n ** 101n, 2n ** 96n - 1n],
  ];
  for (const [amountWei, feeWei, withheld] of amounts) {
    const judged = judgedLeaf({ ...receipt, feeWei }, { ...first, amountWei }, 3);
    assert.equal(judged.amountWei, withheld);
    assert.deepEqual(
      [judged.leafIndex, judged.contributor, judged.client],
      [3, first.contributor, receipt.client],
    );
  }
});

test('the commitment binds the challenger, as the contract computes it', () => {
  const challenger = addressOfPrivateKey(keyOf('challenger'));
  const encoded = utf8('abi encoded evidence');
  const expected = keccak256(
    AbiCoder.defaultAbiCoder().encode(
      ['bytes32', 'address', 'bytes32'],
      [id('openledger/evidence/1'), challenger, keccak256(encoded)],
    ),
  );
  assert.equal(evidenceCommitment(challenger, encoded), expected);
});
