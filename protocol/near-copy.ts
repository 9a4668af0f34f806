/**
 * What is done about near-copies: a contribution that is mostly another's records is refused with
 * the earlier records named; other near-copies join the cluster of the earliest.
 */
import type { Address, Bytes32 } from '#crypto';
import {
  address,
  type Decoded,
  decodeWith,
  encodeWith,
  hash32,
  list,
  object,
  uint,
} from './codec.ts';
import { SHARD_RECORDS_MAX, SHARDS_MAX } from './contribution.ts';

/** 6-byte-shingle Jaccard from which on two records are near-copies. */
export const NEAR_COPY_JACCARD_PPM = 600_000;
/** A contribution with more than this part of near-copies of others' records is refused. */
export const NEAR_COPY_REFUSAL_PPM = 500_000;

/** A record and the earlier record that it is a near-copy of; both by hash. */
export type NearCopy = {
  readonly record: Bytes32;
  readonly earlier: Bytes32;
  readonly earlierContributor: Address;
  readonly jaccardPpm: number;
};

const PAIRS_MAX = SHARDS_MAX * SHARD_RECORDS_MAX;
const evidenceCodec = list(
  object({
    earlier: hash32,
    earlierContributor: address,
    jaccardPpm: uint(1_000_000),
    record: hash32,
  }),
  PAIRS_MAX,
);

/** The evidence that is published; its digest goes on chain with a refusal. */
export function encodeNearCopyEvidence(nearCopies: readonly NearCopy[]): Uint8Array {
  return encodeWith(evidenceCodec, nearCopies);
}

export function decodeNearCopyEvidence(encoded: Uint8Array): Decoded<readonly NearCopy[]> {
  return decodeWith(evidenceCodec, encoded, 4 * 1024 * 1024);
}

export type ContributionVerdict =
  | { readonly verdict: 'accept' }
  | {
      readonly verdict: 'refuse';
      readonly earlierRecordHash: Bytes32;
      readonly evidence: readonly NearCopy[];
    };

/**
 * Accepts or refuses. Copies of the contributor's own records do not count against it.
 * @param nearCopies at most one entry for each record, of the earliest record that it resembles
 */
export function judgeContribution(
  contributor: Address,
  recordCount: number,
  nearCopies: readonly NearCopy[],
): ContributionVerdict {
  const evidence = nearCopies.filter(
    (pair) => pair.earlierContributor !== contributor && pair.jaccardPpm >= NEAR_COPY_JACCARD_PPM,
  );
  const [first] = evidence;
  if (first === undefined || evidence.length * 1_000_000 <= recordCount * NEAR_COPY_REFUSAL_PPM) {
    return { verdict: 'accept' };
  }
  return { verdict: 'refuse', earlierRecordHash: first.earlier, evidence };
}
