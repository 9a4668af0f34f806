/**
 * The memorised voice: which spans of an exchange count, what they weigh, and the leaves in which
 * they are signed (docs/protocol.md, section 4). The search is the runtime's; the rule that anybody
 * checks from the enclosed bytes alone is here.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  buildTree,
  bytes32,
  concat,
  type MerkleTree,
  toHex,
  uint256,
} from '#crypto';
import type { RecordLeaf } from './version.ts';

/** The shortest span that counts, in bytes. */
export const SPAN_LENGTH_MIN = 8;
/** A span that more clusters than this contain is common language and counts for nobody. */
export const SPAN_CLUSTERS_MAX = 8;
/** Spans kept per token of the exchange: ⌈0.05 · tokens⌉ … */
export const SPAN_DENSITY_PPM = 50_000;
/** … but at least so many, because short exchanges have few tokens. */
export const SPANS_MIN = 5;
/** Divisible by 1 … 8, so that the division among clusters is exact. */
export const SPAN_WEIGHT_PER_BYTE = 840;

/** A span in one record. The exchange is the prompt's bytes, then the output's. */
export type Span = {
  readonly exchangeOffset: number;
  readonly length: number;
  readonly recordIndex: number;
  readonly recordOffset: number;
  readonly contributor: Address;
  readonly weight: number;
};
/** A span with what it earns. */
export type SpanLeaf = Span & { readonly amountWei: bigint };

/** A span as the search found it: one place for each cluster that contains its bytes. */
export type MatchedSpan = {
  readonly exchangeOffset: number;
  readonly length: number;
  readonly places: readonly { readonly recordIndex: number; readonly recordOffset: number }[];
};

/** What a span is worth to each of the clusters that contain it: its length, divided. */
export function spanWeight(length: number, clusters: number): number {
  return Math.floor((length * SPAN_WEIGHT_PER_BYTE) / clusters);
}

/** Of an exchange however long, so that its receipt can always be shown in one transaction. */
export const SPANS_MAX = 128;

/** How many spans of an exchange of so many tokens are paid for. */
export function spansKept(tokens: number): number {
  const share = Math.ceil((tokens * SPAN_DENSITY_PPM) / 1_000_000);
  return Math.min(SPANS_MAX, Math.max(SPANS_MIN, share));
}

/** Spans without their amounts, in order of the leaves: exchangeOffset, then recordIndex. */
export function spansOf(
  matches: readonly MatchedSpan[],
  records: readonly RecordLeaf[],
): readonly Span[] {
  return matches
    .flatMap(({ exchangeOffset, length, places }) =>
      places.map(({ recordIndex, recordOffset }) => {
        const record = records[recordIndex];
        if (record === undefined) {
          throw new RangeError(
            `span: expected a record below ${records.length}, got ${recordIndex}`,
          );
        }
        return {
          exchangeOffset,
          length,
          recordIndex,
          recordOffset,
          contributor: record.contributor,
          weight: spanWeight(length, places.length),
        };
      }),
    )
    .sort(compareSpans);
}

export function compareSpans(a: Span, b: Span): number {
  return a.exchangeOffset - b.exchangeOffset || a.recordIndex - b.recordIndex;
}

/**
 * Words `(requestId, exchangeOffset, length, recordIndex, recordOffset, contributor, weight,
 * amountWei)`.
 */
export function spanLeafBytes(requestId: Bytes32, leaf: SpanLeaf): Uint8Array {
  return concat(
    bytes32(requestId),
    uint256(leaf.exchangeOffset),
    uint256(leaf.length),
    uint256(leaf.recordIndex),
    uint256(leaf.recordOffset),
    addressWord(leaf.contributor),
    uint256(leaf.weight),
    uint256(leaf.amountWei),
  );
}

export function spanTree(requestId: Bytes32, leaves: readonly SpanLeaf[]): MerkleTree {
  return buildTree(leaves.map((leaf) => spanLeafBytes(requestId, leaf)));
}

export function spanRoot(requestId: Bytes32, leaves: readonly SpanLeaf[]): Bytes32 {
  return toHex(spanTree(requestId, leaves).root);
}
