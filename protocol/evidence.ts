/**
 * Disputes over a score: what a leaf should have been, and the evidence from which the Referee
 * decides (docs/protocol.md, section 6). The judgement here is the contract's, step for step.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  cosineQ16,
  dotProduct,
  keccak256,
  type MerkleTree,
  proveLeaf,
  squaredNorm,
  taggedHash,
  toHex,
} from '#crypto';
import { invariant } from './invariant.ts';
import { type Receipt, receiptHash } from './receipt.ts';
import type { ScoreEvidence } from './score-evidence.ts';
import {
  passes,
  type Score,
  type ScoreLeaf,
  type SketchLeaf,
  scoreRecords,
  scoreTree,
  type Threshold,
} from './scores.ts';

/** In the contract's order of precedence; the place in the list is the contract's number. */
export const SCORE_FAULTS = [
  'NONE',
  'NO_SUCH_RECORD',
  'OTHER_RECORD',
  'OTHER_CONTRIBUTOR',
  'QUERY_NORM',
  'DOT',
  'SCORE',
  'BELOW_THRESHOLD',
] as const;
export type ScoreFault = (typeof SCORE_FAULTS)[number];

/** What the contract would find of a leaf, given the sketch that stands under the adapter's root. */
export function judgeScore(
  receipt: Pick<Receipt, 'queryNorm'>,
  querySketch: Int8Array,
  leaf: Score,
  sketchLeaf: SketchLeaf | undefined,
  threshold: Threshold,
): ScoreFault {
  if (sketchLeaf === undefined) return 'NO_SUCH_RECORD';
  if (leaf.recordHash !== sketchLeaf.recordHash) return 'OTHER_RECORD';
  if (leaf.contributor !== sketchLeaf.contributor) return 'OTHER_CONTRIBUTOR';
  const queryNorm = squaredNorm(querySketch);
  if (receipt.queryNorm !== queryNorm) return 'QUERY_NORM';
  const dot = dotProduct(querySketch, sketchLeaf.sketch);
  if (leaf.dot !== dot) return 'DOT';
  const score = dot > 0 ? cosineQ16(dot, sketchLeaf.norm, queryNorm) : 0;
  if (leaf.score !== score) return 'SCORE';
  return passes(dot, sketchLeaf.norm, queryNorm, threshold) ? 'NONE' : 'BELOW_THRESHOLD';
}

/** A leaf that a challenge would prove wrong. */
export type WrongLeaf = { readonly leafIndex: number; readonly fault: ScoreFault };
/** What a cross-check of an answer's scores found. */
export type ScoreAudit = {
  /** Leaves that the contract can judge, in their order. */
  readonly wrong: readonly WrongLeaf[];
  /** Scores that should be paid and are not; found by nodes, not judged on chain. */
  readonly omitted: readonly Score[];
  /** Leaves that are right each, and yet not what the rules choose (cluster, order, number). */
  readonly surplus: readonly number[];
};

/** Compares an answer's score leaves with all sketches of its adapter. */
export function auditScores(
  receipt: Pick<Receipt, 'queryNorm'>,
  querySketch: Int8Array,
  leaves: readonly Score[],
  sketches: readonly SketchLeaf[],
  threshold: Threshold,
): ScoreAudit {
  const due = scoreRecords(querySketch, sketches, threshold);
  const dueIndices = new Set(due.map(({ sketchIndex }) => sketchIndex));
  const given = new Set(leaves.map(({ sketchIndex }) => sketchIndex));
  const wrong: WrongLeaf[] = [];
  const surplus: number[] = [];
  for (const [leafIndex, leaf] of leaves.entries()) {
    const sketchLeaf = sketches[leaf.sketchIndex];
    const fault = judgeScore(receipt, querySketch, leaf, sketchLeaf, threshold);
    if (fault !== 'NONE') wrong.push({ leafIndex, fault });
    else if (!dueIndices.has(leaf.sketchIndex)) surplus.push(leafIndex);
  }
  return { wrong, omitted: due.filter(({ sketchIndex }) => !given.has(sketchIndex)), surplus };
}

/** What a challenger holds: the signed receipt with its leaves, and the adapter's sketches. */
export type Disputed = {
  readonly receipt: Receipt;
  readonly signature: Uint8Array;
  readonly querySketch: Int8Array;
  readonly scores: readonly ScoreLeaf[];
  readonly sketches: { readonly leaves: readonly SketchLeaf[]; readonly tree: MerkleTree };
};

/** The evidence about one leaf. @param adapterIndex the adapter's place in the order of registration */
export function scoreEvidence(
  disputed: Disputed,
  leafIndex: number,
  adapterIndex: number,
): ScoreEvidence {
  const { receipt, scores, sketches } = disputed;
  const leaf = scores[leafIndex];
  invariant(leaf !== undefined, 'the disputed leaf is one of the receipt');
  const trained = sketches.leaves[leaf.sketchIndex];
  const proofOf = (tree: MerkleTree, index: number) => proveLeaf(tree, index).siblings.map(toHex);
  return {
    receipt,
    signature: toHex(disputed.signature),
    adapterIndex,
    leaf,
    leafIndex,
    leafProof: proofOf(scoreTree(scores), leafIndex),
    querySketch: disputed.querySketch,
    record:
      trained === undefined
        ? null
        : { leaf: trained, proof: proofOf(sketches.tree, leaf.sketchIndex) },
  };
}

/** What is withheld of a judged leaf: the argument of `Referee.withholdLeaf`. */
export type JudgedLeaf = {
  readonly receiptHash: Bytes32;
  readonly leafIndex: number;
  readonly contributor: Address;
  readonly amountWei: bigint;
  readonly client: Address;
};

const UINT96_MAX = (1n << 96n) - 1n;

/** The leaf as the contract judges it: it withholds no more than the receipt's fee. */
export function judgedLeaf(receipt: Receipt, leaf: ScoreLeaf, leafIndex: number): JudgedLeaf {
  const least = [leaf.amountWei, receipt.feeWei, UINT96_MAX].reduce((a, b) => (a < b ? a : b));
  const { contributor } = leaf;
  const { client } = receipt;
  return { receiptHash: receiptHash(receipt), leafIndex, contributor, amountWei: least, client };
}

/**
 * `hash('openledger/evidence/1', challenger, keccak256(call))`: bound to who commits it.
 * @param call everything behind the selector of the call that will judge: packed evidence, or ABI-encoded arguments
 */
export function evidenceCommitment(challenger: Address, call: Uint8Array): Bytes32 {
  const words = [addressWord(challenger), bytes32(keccak256(call))];
  return toHex(taggedHash('openledger/evidence/1', ...words));
}
