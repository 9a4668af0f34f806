/**
 * A datanet's version: every accepted record in one order, its cluster and who is paid for it, under
 * one Merkle root; and the manifest from which anybody builds the same version again.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  buildTree,
  bytes32,
  concat,
  fromHex,
  type MerkleProof,
  type MerkleTree,
  proveLeaf,
  taggedHash,
  toHex,
  uint256,
  verifyLeaf,
} from '#crypto';
import type { CID } from './cbor.ts';
import {
  address,
  type Decoded,
  decodeWith,
  encodeWith,
  hash32,
  link,
  list,
  literal,
  object,
  uint,
  uint32,
} from './codec.ts';
import { SHARDS_MAX } from './contribution.ts';
import { invariant } from './invariant.ts';

/** Records in one version: bounds proofs to 20 siblings and manifests to a few megabytes. */
export const VERSION_RECORDS_MAX = 1_048_576;
const CONTRIBUTIONS_MAX = 65_536;
const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

/**
 * One record of a version. `contributor` is who is paid for it: the contributor of its cluster's
 * earliest record. Who submitted a copy stands in the manifest.
 */
export type RecordLeaf = {
  readonly recordHash: Bytes32;
  readonly contributor: Address;
  /** Index of the cluster's earliest record in this version; of that record, its own. */
  readonly cluster: number;
  /** Second of the commit's block, of the contribution that this record came in. */
  readonly registeredAt: number;
};

/** The leaf's words: `(recordHash, contributor, cluster, registeredAt)`. */
export function recordLeafBytes(leaf: RecordLeaf): Uint8Array {
  return concat(
    bytes32(leaf.recordHash),
    addressWord(leaf.contributor),
    uint256(leaf.cluster),
    uint256(leaf.registeredAt),
  );
}

/** A record as it came in: before clusters are known. */
export type IncomingRecord = {
  readonly recordHash: Bytes32;
  readonly contributor: Address;
  readonly registeredAt: number;
};

/**
 * The leaves of a version.
 * @param records in version order: by (contribution id, position)
 * @param clusters for each record the index of its cluster's earliest record (its own if alone)
 * @throws InvariantViolation if a cluster is not named by its earliest record
 */
export function recordLeaves(
  records: readonly IncomingRecord[],
  clusters: readonly number[],
): readonly RecordLeaf[] {
  invariant(records.length === clusters.length, 'each record has a cluster');
  return records.map(({ recordHash, registeredAt }, index) => {
    const cluster = clusters[index] as number;
    const earliest = records[cluster];
    invariant(
      earliest !== undefined && cluster <= index && clusters[cluster] === cluster,
      'a cluster is named by its earliest record',
    );
    return { recordHash, contributor: earliest.contributor, cluster, registeredAt };
  });
}

export type VersionTree = {
  readonly root: Bytes32;
  readonly recordCount: number;
  readonly leaves: readonly RecordLeaf[];
  readonly tree: MerkleTree;
};

export function buildVersion(leaves: readonly RecordLeaf[]): VersionTree {
  const tree = buildTree(leaves.map(recordLeafBytes));
  return { root: toHex(tree.root), recordCount: leaves.length, leaves, tree };
}

export function proveRecord(version: VersionTree, index: number): MerkleProof {
  return proveLeaf(version.tree, index);
}

export function verifyRecord(root: Bytes32, leaf: RecordLeaf, proof: MerkleProof): boolean {
  return verifyLeaf(fromHex(root), recordLeafBytes(leaf), proof);
}

/** The id under which Staking holds what answers for a version's clusters. */
export function versionLockId(datanetId: Bytes32, version: number): Bytes32 {
  return toHex(taggedHash('openledger/version/1', bytes32(datanetId), uint256(version)));
}

/** From what a version was built: accepted contributions in order of id, and the clusters. */
export type VersionManifest = {
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly contributions: readonly {
    readonly id: number;
    readonly contributor: Address;
    readonly registeredAt: number;
    readonly shards: readonly CID[];
  }[];
  /** For each record its cluster. */
  readonly clusters: readonly number[];
};

const manifestCodec = object({
  clusters: list(uint32, VERSION_RECORDS_MAX),
  contributions: list(
    object({
      contributor: address,
      id: uint(),
      registeredAt: uint(),
      shards: list(link(), SHARDS_MAX),
    }),
    CONTRIBUTIONS_MAX,
  ),
  datanetId: hash32,
  v: literal(1),
  version: uint32,
});

export function encodeVersionManifest(manifest: VersionManifest): Uint8Array {
  return encodeWith(manifestCodec, { ...manifest, v: 1 });
}

export function decodeVersionManifest(encoded: Uint8Array): Decoded<VersionManifest> {
  const decoded = decodeWith(manifestCodec, encoded, MANIFEST_BYTES_MAX);
  if (!decoded.ok) return decoded;
  const { v: _, ...value } = decoded.value;
  return { ok: true, value };
}
