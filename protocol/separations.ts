/**
 * Records that a version's author put into two clusters although it had seen both: found from the
 * version and the contributions alone, with the evidence that DatanetRegistry decides by.
 */
import {
  type Address,
  type Bytes32,
  buildTree,
  fromHex,
  type MerkleTree,
  proveLeaf,
  toHex,
} from '#crypto';
import { proveRecord, type VersionTree } from './version.ts';

/** A contribution as it was shown: its records by hash, in their order. */
export type ShownContribution = {
  readonly id: number;
  /** Second of its first reveal; 0 while it is hidden. */
  readonly revealedAt: number;
  readonly recordHashes: readonly Bytes32[];
};

/** One record at two places of a version, which are in two clusters. */
export type SeparatedLeaves = {
  readonly recordHash: Bytes32;
  readonly indexes: readonly [first: number, second: number];
};

/** DatanetRegistry.PlacedRecord: a record in the version and in the contribution that it came in. */
export type PlacedRecord = {
  readonly contributor: Address;
  readonly registeredAt: number;
  readonly cluster: number;
  readonly index: number;
  readonly proof: readonly Bytes32[];
  readonly contributionId: number;
  readonly position: number;
  readonly recordProof: readonly Bytes32[];
};

/** DatanetRegistry.SeparationEvidence. */
export type SeparationEvidence = {
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly recordHash: Bytes32;
  readonly first: PlacedRecord;
  readonly second: PlacedRecord;
};

/**
 * The places of records that stand in another cluster than the first place of the same record, paired
 * with that one. No contribution is needed to see that there is none.
 */
export function separatedLeaves({ leaves }: Pick<VersionTree, 'leaves'>): SeparatedLeaves[] {
  const firsts = new Map<Bytes32, number>();
  const found: SeparatedLeaves[] = [];
  for (const [index, { recordHash, cluster }] of leaves.entries()) {
    const first = firsts.get(recordHash);
    if (first === undefined) {
      firsts.set(recordHash, index);
    } else if (leaves[first]?.cluster !== cluster) {
      found.push({ recordHash, indexes: [first, index] });
    }
  }
  return found;
}

/**
 * Evidence against a version: for each pair of clusters with one record, shown in an earlier second
 * than the version, its two places. A record that was shown once and stands in two clusters has the
 * same contribution at both; one that was shown more often has two. A pair of clusters is named once.
 * @param publishedAt second of the version's block
 * @param contributions of the same datanet; those that were shown later, or not yet, prove nothing
 */
export function findSeparatedRecords(
  published: {
    readonly datanetId: Bytes32;
    readonly version: number;
    readonly publishedAt: number;
    readonly tree: VersionTree;
  },
  contributions: readonly ShownContribution[],
): SeparationEvidence[] {
  const { datanetId, version, publishedAt, tree } = published;
  const separated = separatedLeaves(tree);
  const wanted = new Set(separated.map(({ recordHash }) => recordHash));
  const shown = new Map<Bytes32, { contribution: ShownContribution; position: number }[]>();
  for (const contribution of contributions) {
    if (contribution.revealedAt === 0 || contribution.revealedAt >= publishedAt) continue;
    for (const [position, recordHash] of contribution.recordHashes.entries()) {
      if (!wanted.has(recordHash)) continue;
      const places = shown.get(recordHash) ?? [];
      if (places.length < 2) shown.set(recordHash, [...places, { contribution, position }]);
    }
  }
  const trees = new Map<number, MerkleTree>();
  const treeOf = ({ id, recordHashes }: ShownContribution): MerkleTree => {
    const own = trees.get(id) ?? buildTree(recordHashes.map((hash) => fromHex(hash)));
    trees.set(id, own);
    return own;
  };
  const placed = (
    index: number,
    { contribution, position }: { contribution: ShownContribution; position: number },
  ): PlacedRecord => {
    const { contributor, cluster, registeredAt } = tree.leaves[index] as VersionTree['leaves'][0];
    const own = treeOf(contribution);
    return {
      contributor,
      registeredAt,
      cluster,
      index,
      proof: proveRecord(tree, index).siblings.map(toHex),
      contributionId: contribution.id,
      position,
      recordProof: proveLeaf(own, position).siblings.map(toHex),
    };
  };
  const pairs = new Set<string>();
  return separated.flatMap(({ recordHash, indexes: [first, second] }) => {
    const [one, other] = shown.get(recordHash) ?? [];
    const clusters = [first, second].map((index) => tree.leaves[index]?.cluster as number);
    const pair = clusters.toSorted((a, b) => a - b).join('/');
    if (one === undefined || pairs.has(pair)) return [];
    pairs.add(pair);
    return [
      {
        datanetId,
        version,
        recordHash,
        first: placed(first, one),
        second: placed(second, other ?? one),
      },
    ];
  });
}
