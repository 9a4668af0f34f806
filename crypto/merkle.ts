/**
 * The Merkle tree of docs/protocol.md, section 1. Leaves, nodes and roots are hashed under different
 * prefixes, so that a node cannot pass for a leaf; the root binds the number of leaves.
 */
import { concat, equal, uint256 } from './bytes.ts';
import { keccak256 } from './hash.ts';

/** Where a leaf stands, among how many, and the hashes beside its way to the top, leaf first. */
export type MerkleProof = {
  readonly index: number;
  readonly count: number;
  readonly siblings: readonly Uint8Array[];
};

/** A built tree. `levels[0]` are the padded leaf hashes, the last level is the single top hash. */
export type MerkleTree = {
  readonly count: number;
  readonly root: Uint8Array;
  readonly levels: readonly (readonly Uint8Array[])[];
};

const LEAF_PREFIX = 0x00;
const NODE_PREFIX = 0x01;
const ROOT_PREFIX = 0x02;
const ZERO: Uint8Array = new Uint8Array(32);
/** A tree of more leaves than this is not built or believed: counts travel as uint32. */
const COUNT_MAX = 2 ** 32 - 1;

/** `keccak256(0x00 ‖ bytes)`. */
export function hashLeaf(bytes: Uint8Array): Uint8Array {
  const prefixed = new Uint8Array(1 + bytes.length);
  prefixed[0] = LEAF_PREFIX;
  prefixed.set(bytes, 1);
  return keccak256(prefixed);
}

function hashNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  const pair = new Uint8Array(65);
  pair[0] = NODE_PREFIX;
  pair.set(left, 1);
  pair.set(right, 33);
  return keccak256(pair);
}

function hashRoot(count: number, top: Uint8Array): Uint8Array {
  return keccak256(concat(Uint8Array.of(ROOT_PREFIX), uint256(count), top));
}

/** ⌈log2 count⌉: the siblings in a proof among `count` leaves. */
export function merkleDepth(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

/**
 * Builds the tree over the leaves' bytes (not their hashes), keeping every level for proofs.
 * The tree of nothing has root `bytes32(0)`.
 */
export function buildTree(leaves: readonly Uint8Array[]): MerkleTree {
  const count = leaves.length;
  if (count === 0) return { count, root: ZERO.slice(), levels: [] };
  let level: Uint8Array[] = leaves.map(hashLeaf);
  const width = 2 ** merkleDepth(count);
  while (level.length < width) level.push(ZERO);
  const levels = [level];
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) {
      above.push(hashNode(level[i] as Uint8Array, level[i + 1] as Uint8Array));
    }
    levels.push(above);
    level = above;
  }
  return { count, root: hashRoot(count, level[0] as Uint8Array), levels };
}

/** The root alone. */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  return buildTree(leaves).root;
}

/** The proof of the leaf at `index`. @throws RangeError if there is no such leaf. */
export function proveLeaf(tree: MerkleTree, index: number): MerkleProof {
  if (!Number.isInteger(index) || index < 0 || index >= tree.count) {
    throw new RangeError(`merkle: expected an index below ${tree.count}, got ${index}`);
  }
  const siblings = tree.levels
    .slice(0, -1)
    .map((level, height) => level[Math.floor(index / 2 ** height) ^ 1] as Uint8Array);
  return { index, count: tree.count, siblings };
}

/**
 * Whether `leaf` (its bytes) stands at `proof.index` among `proof.count` leaves under `root`.
 * Total: any proof of any shape gets an answer, none throws.
 */
export function verifyLeaf(root: Uint8Array, leaf: Uint8Array, proof: MerkleProof): boolean {
  const { index, count, siblings } = proof;
  if (!Number.isInteger(count) || count < 1 || count > COUNT_MAX) return false;
  if (!Number.isInteger(index) || index < 0 || index >= count) return false;
  if (siblings.length !== merkleDepth(count)) return false;
  if (siblings.some((sibling) => sibling.length !== 32)) return false;
  return equal(climb(leaf, proof), root);
}

/** The root of the tree in which `leaf` stands where a proof of the right shape says. */
export function climb(leaf: Uint8Array, { index, count, siblings }: MerkleProof): Uint8Array {
  let hash = hashLeaf(leaf);
  let position = index;
  for (const sibling of siblings) {
    hash = position % 2 === 0 ? hashNode(hash, sibling) : hashNode(sibling, hash);
    position = Math.floor(position / 2);
  }
  return hashRoot(count, hash);
}
