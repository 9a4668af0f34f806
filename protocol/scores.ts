/**
 * The learned voice: integer scores of an exchange's sketch against the records' sketches, and the
 * leaves in which they are signed (docs/protocol.md, section 4). The contract recomputes the same.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  buildTree,
  bytes32,
  concat,
  cosineQ16,
  dotProduct,
  fromHex,
  int256,
  type MerkleProof,
  type MerkleTree,
  passesThreshold,
  sketchBytes,
  squaredNorm,
  toHex,
  uint256,
  verifyLeaf,
} from '#crypto';
import type { RecordLeaf } from './version.ts';

/** Best clusters that are paid for one answer; bounds a receipt file to some 60 kB of sketches. */
export const SCORE_LEAVES_MAX = 64;

/** A record of a version with its sketch; `norm` = Σ sᵢ². */
export type SketchLeaf = RecordLeaf & { readonly norm: number; readonly sketch: Int8Array };

/** The cosine from which on a record is paid: numerator / denominator. */
export type Threshold = { readonly numerator: number; readonly denominator: number };

/** A score that passes. `score` is the cosine in Q16. */
export type Score = {
  readonly sketchIndex: number;
  readonly recordHash: Bytes32;
  readonly contributor: Address;
  readonly dot: number;
  readonly score: number;
};
/** A score with what it earns. */
export type ScoreLeaf = Score & { readonly amountWei: bigint };

/** Words `(recordHash, contributor, cluster, registeredAt, norm)` and the 256 sketch bytes. */
export function sketchLeafBytes(leaf: SketchLeaf): Uint8Array {
  return concat(
    bytes32(leaf.recordHash),
    addressWord(leaf.contributor),
    uint256(leaf.cluster),
    uint256(leaf.registeredAt),
    uint256(leaf.norm),
    sketchBytes(leaf.sketch),
  );
}

/** The leaves of a version's records with their sketches, in version order. */
export function sketchLeaves(
  records: readonly RecordLeaf[],
  sketches: readonly Int8Array[],
): readonly SketchLeaf[] {
  return records.map((record, i) => {
    const sketch = sketches[i];
    if (sketch === undefined) {
      throw new RangeError(`sketches: expected ${records.length}, got ${sketches.length}`);
    }
    return { ...record, norm: squaredNorm(sketch), sketch };
  });
}

/** The tree whose root goes on chain as sketchRoot. */
export function sketchTree(leaves: readonly SketchLeaf[]): MerkleTree {
  return buildTree(leaves.map(sketchLeafBytes));
}

export function verifySketch(root: Bytes32, leaf: SketchLeaf, proof: MerkleProof): boolean {
  return verifyLeaf(fromHex(root), sketchLeafBytes(leaf), proof);
}

/**
 * Every score that is paid for this exchange: of each cluster the best record that passes the
 * threshold (of equals the earliest), by score descending, then sketchIndex; at most 64.
 */
export function scoreRecords(
  query: Int8Array,
  leaves: readonly SketchLeaf[],
  threshold: Threshold,
): readonly Score[] {
  const queryNorm = squaredNorm(query);
  const best = new Map<number, Score>();
  for (const [sketchIndex, leaf] of leaves.entries()) {
    const dot = dotProduct(query, leaf.sketch);
    if (!passes(dot, leaf.norm, queryNorm, threshold)) continue;
    const score = cosineQ16(dot, leaf.norm, queryNorm);
    const { recordHash, contributor, cluster } = leaf;
    const held = best.get(cluster);
    if (held !== undefined && held.score >= score) continue;
    best.set(cluster, { sketchIndex, recordHash, contributor, dot, score });
  }
  return [...best.values()].sort(compareScores).slice(0, SCORE_LEAVES_MAX);
}

/** The order of score leaves: score descending, then sketchIndex ascending. */
export function compareScores(a: Score, b: Score): number {
  return b.score - a.score || a.sketchIndex - b.sketchIndex;
}

/** Whether a dot product with these norms is paid. */
export function passes(
  dot: number,
  norm: number,
  queryNorm: number,
  { numerator, denominator }: Threshold,
): boolean {
  return passesThreshold(dot, norm, queryNorm, numerator, denominator);
}

/** Words `(sketchIndex, recordHash, contributor, dot, score, amountWei)`. */
export function scoreLeafBytes(leaf: ScoreLeaf): Uint8Array {
  return concat(
    uint256(leaf.sketchIndex),
    bytes32(leaf.recordHash),
    addressWord(leaf.contributor),
    int256(leaf.dot),
    uint256(leaf.score),
    uint256(leaf.amountWei),
  );
}

/** The tree whose root is signed as scoreRoot. */
export function scoreTree(leaves: readonly ScoreLeaf[]): MerkleTree {
  return buildTree(leaves.map(scoreLeafBytes));
}

export function scoreRoot(leaves: readonly ScoreLeaf[]): Bytes32 {
  return toHex(scoreTree(leaves).root);
}
