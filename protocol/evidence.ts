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
  type Hex,
  keccak256,
  type MerkleTree,
  proveLeaf,
  sketchBytes,
  squaredNorm,
  taggedHash,
  toHex,
} from '#crypto';
import { invariant } from './invariant.ts';
import type { Receipt } from './receipt.ts';
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
  'OTHER_REQUEST',
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

/** The argument of `Referee.challengeScore`, field for field. */
export type ScoreEvidence = {
  readonly receipt: Receipt;
  readonly signature: Hex;
  readonly leaf: ScoreLeaf & { readonly requestId: Bytes32 };
  readonly leafIndex: number;
  readonly leafProof: readonly Bytes32[];
  readonly querySketch: Hex;
  readonly sketchLeaf: {
    readonly recordHash: Bytes32;
    readonly contributor: Address;
    readonly cluster: number;
    readonly registeredAt: number;
    readonly norm: number;
    readonly sketch: Hex;
  };
  readonly sketchProof: readonly Bytes32[];
};

/** What a challenger holds: the signed receipt with its leaves, and the adapter's sketches. */
export type Disputed = {
  readonly receipt: Receipt;
  readonly signature: Uint8Array;
  readonly querySketch: Int8Array;
  readonly scores: readonly ScoreLeaf[];
  readonly sketches: { readonly leaves: readonly SketchLeaf[]; readonly tree: MerkleTree };
};

/**
 * The evidence about one leaf. A leaf that names no record at all is shown with any sketch: the
 * contract stops before it looks.
 */
export function scoreEvidence(disputed: Disputed, leafIndex: number): ScoreEvidence {
  const { receipt, scores, sketches } = disputed;
  const leaf = scores[leafIndex];
  invariant(leaf !== undefined, 'the disputed leaf is one of the receipt');
  const isThere = leaf.sketchIndex < sketches.leaves.length;
  const sketchIndex = isThere ? leaf.sketchIndex : 0;
  const { sketch, ...words } = sketches.leaves[sketchIndex] as SketchLeaf;
  const leafProof = proveLeaf(scoreTree(receipt.requestId, scores), leafIndex);
  const { recordHash, contributor, cluster, registeredAt, norm } = words;
  return {
    receipt,
    signature: toHex(disputed.signature),
    leaf: { requestId: receipt.requestId, ...leaf },
    leafIndex,
    leafProof: leafProof.siblings.map(toHex),
    querySketch: toHex(sketchBytes(disputed.querySketch)),
    sketchLeaf: {
      recordHash,
      contributor,
      cluster,
      registeredAt,
      norm,
      sketch: toHex(sketchBytes(sketch)),
    },
    sketchProof: proveLeaf(sketches.tree, sketchIndex).siblings.map(toHex),
  };
}

/**
 * `hash('openledger/evidence/1', challenger, keccak256(evidence))`: bound to who commits it.
 * @param encodedEvidence the ABI-encoded argument of challengeScore, without the selector
 */
export function evidenceCommitment(challenger: Address, encodedEvidence: Uint8Array): Bytes32 {
  const words = [addressWord(challenger), bytes32(keccak256(encodedEvidence))];
  return toHex(taggedHash('openledger/evidence/1', ...words));
}
