/** One contributor's submission: shards of records, their root, and the commitment that goes first. */
import {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  commitTo,
  fromHex,
  merkleRoot,
  type SigningDomain,
  type StructType,
  structHash,
  toHex,
  typedDigest,
  uint256,
} from '#crypto';
import type { CID } from './cbor.ts';
import {
  address,
  bytes,
  type Decoded,
  decodeWith,
  encodeWith,
  link,
  list,
  literal,
  object,
} from './codec.ts';
import { invariant } from './invariant.ts';
import { parseRecord, RECORD_BYTES_MAX, type RecordFault } from './record.ts';

/** Records in one shard; with the longest records a shard stays near 1 MiB, a bitswap block. */
export const SHARD_RECORDS_MAX = 256;
/** 256 records of 4096 bytes with their CBOR heads. */
export const SHARD_BYTES_MAX = SHARD_RECORDS_MAX * (RECORD_BYTES_MAX + 8) + 256;
/** Shards in one contribution: 1,048,576 records. */
export const SHARDS_MAX = 4096;
const MANIFEST_BYTES_MAX = SHARDS_MAX * 48 + 256;

const shardCodec = object({
  contributor: address,
  records: list(bytes({ max: RECORD_BYTES_MAX }), SHARD_RECORDS_MAX),
  v: literal(1),
});
const manifestCodec = object({ shards: list(link(), SHARDS_MAX), v: literal(1) });

export type Shard = { readonly contributor: Address; readonly records: readonly Uint8Array[] };
export type ShardFault = RecordFault | 'SHARD_EMPTY';
export type DecodedShard =
  | { readonly ok: true; readonly value: Shard }
  | { readonly ok: false; readonly code: ShardFault; readonly at: string; readonly message: string }
  | Extract<Decoded<Shard>, { ok: false }>;

/** Cuts records, in order, into shards. @throws InvariantViolation if one is no record. */
export function cutShards(contributor: Address, records: readonly Uint8Array[]): readonly Shard[] {
  for (const record of records) invariant(parseRecord(record).ok, 'a shard holds valid records');
  const shards: Shard[] = [];
  for (let from = 0; from < records.length; from += SHARD_RECORDS_MAX) {
    shards.push({ contributor, records: records.slice(from, from + SHARD_RECORDS_MAX) });
  }
  return shards;
}

export function encodeShard(shard: Shard): Uint8Array {
  return encodeWith(shardCodec, { ...shard, v: 1 });
}

/** A shard from a stranger: canonical, of our shape, every record valid, at least one. */
export function decodeShard(encoded: Uint8Array): DecodedShard {
  const decoded = decodeWith(shardCodec, encoded, SHARD_BYTES_MAX);
  if (!decoded.ok) return decoded;
  const { contributor, records } = decoded.value;
  if (records.length === 0) {
    return { ok: false, code: 'SHARD_EMPTY', at: 'records', message: 'expected a record' };
  }
  for (const [i, record] of records.entries()) {
    const parsed = parseRecord(record);
    if (!parsed.ok) {
      const message = `expected a record, got ${record.length} bytes that are none`;
      return { ok: false, code: parsed.code, at: `records[${i}]`, message };
    }
  }
  return { ok: true, value: { contributor, records } };
}

export type ContributionManifest = { readonly shards: readonly CID[] };

export function encodeContributionManifest(manifest: ContributionManifest): Uint8Array {
  return encodeWith(manifestCodec, { shards: manifest.shards, v: 1 });
}

export function decodeContributionManifest(encoded: Uint8Array): Decoded<ContributionManifest> {
  return decodeWith(manifestCodec, encoded, MANIFEST_BYTES_MAX);
}

/** Merkle root over the words `(recordHash)`, in order. */
export function recordsRoot(recordHashes: readonly Bytes32[]): Bytes32 {
  return toHex(merkleRoot(recordHashes.map((hash) => fromHex(hash))));
}

export type ContributionOpening = {
  readonly datanetId: Bytes32;
  readonly contributor: Address;
  readonly recordsRoot: Bytes32;
  readonly recordCount: number;
  /** 32 bytes that nobody else knows before the reveal. */
  readonly salt: Bytes32;
};

/** `hash('openledger/contribution/1', datanetId, contributor, recordsRoot, recordCount, salt)`. */
export function contributionCommitment(opening: ContributionOpening): Bytes32 {
  const words = [
    bytes32(opening.datanetId),
    addressWord(opening.contributor),
    bytes32(opening.recordsRoot),
    uint256(opening.recordCount),
  ];
  return toHex(commitTo('openledger/contribution/1', words, fromHex(opening.salt)));
}

export const CONTRIBUTION_TYPE: StructType = {
  name: 'Contribution',
  fields: [
    ['datanetId', 'bytes32'],
    ['contributor', 'address'],
    ['commitment', 'bytes32'],
    ['recordCount', 'uint32'],
  ],
};
export type SignedContribution = {
  readonly datanetId: Bytes32;
  readonly contributor: Address;
  readonly commitment: Bytes32;
  readonly recordCount: number;
};

/** What the contributor signs. @param domain verifyingContract = DatanetRegistry */
export function contributionDigest(
  domain: SigningDomain,
  contribution: SignedContribution,
): Uint8Array {
  return typedDigest(domain, structHash(CONTRIBUTION_TYPE, contribution));
}

const CONTRIBUTOR_KEY_TYPE: StructType = {
  name: 'ContributorKey',
  fields: [
    ['from', 'address'],
    ['to', 'address'],
    ['nonce', 'uint256'],
    ['deadline', 'uint64'],
  ],
};
export type KeyRotation = {
  readonly from: Address;
  readonly to: Address;
  /** Changes of key of this contributor so far. */
  readonly nonce: bigint;
  /** Last second in which it may be put on chain. */
  readonly deadline: bigint;
};

/** What a contributor's present key and its next one both sign. @param domain verifyingContract = DatanetRegistry */
export function rotationDigest(domain: SigningDomain, rotation: KeyRotation): Uint8Array {
  return typedDigest(domain, structHash(CONTRIBUTOR_KEY_TYPE, rotation));
}
