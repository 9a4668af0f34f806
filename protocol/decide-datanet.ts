/** What contributors and curators do about contributions and versions; from states alone. */
import type { Address, Bytes32 } from '#crypto';
import type { Intent } from './intent.ts';
import type { ContributionVerdict } from './near-copy.ts';

/** The contract's states; the place in the list is the contract's number. */
export const CONTRIBUTION_STATES = [
  'None',
  'Committed',
  'Revealed',
  'Accepted',
  'Refused',
] as const;
export type ContributionState = (typeof CONTRIBUTION_STATES)[number];

/** A contribution as `DatanetRegistry.getContribution` gives it, with its id and its curator. */
export type ContributionView = {
  readonly contributionId: number;
  /** Place in CONTRIBUTION_STATES. */
  readonly state: number;
  readonly contributor: Address;
  readonly relayer: Address;
  readonly curator: Address;
};

/** What this node knows of a contribution. */
export type ContributionSelf = {
  readonly address: Address;
  /** What opens the commitment, if this node made or relays it and its shards are published. */
  readonly opening: {
    readonly recordsRoot: Bytes32;
    readonly salt: Bytes32;
    readonly manifest: Bytes32;
  } | null;
  /** As curator: the judgement, once all shards were fetched and compared. */
  readonly judgement: {
    readonly verdict: ContributionVerdict;
    /** Digest of the published evidence, where it is refused. */
    readonly evidenceDigest: Bytes32;
  } | null;
};

/** What this node should have sent by now about a contribution. */
export function decideContribution(
  view: ContributionView,
  { address, opening, judgement }: ContributionSelf,
): readonly Intent[] {
  const { contributionId } = view;
  const key = `contribution/${contributionId}`;
  const state = CONTRIBUTION_STATES[view.state] ?? 'None';
  if (state === 'Committed' && opening !== null) {
    if (address !== view.contributor && address !== view.relayer) return [];
    const args = [contributionId, opening.recordsRoot, opening.salt, opening.manifest];
    return [{ key: `${key}/reveal`, contract: 'DatanetRegistry', fn: 'reveal', args }];
  }
  if (state !== 'Revealed' || judgement === null || address !== view.curator) return [];
  const { verdict, evidenceDigest } = judgement;
  // One key for both outcomes: a curator judges once, even if it were to change its mind.
  const judged = { key: `${key}/judge`, contract: 'DatanetRegistry' } as const;
  if (verdict.verdict === 'accept') return [{ ...judged, fn: 'accept', args: [contributionId] }];
  const args = [contributionId, evidenceDigest, verdict.earlierRecordHash];
  return [{ ...judged, fn: 'refuse', args }];
}

/** A datanet as its curator sees it. */
export type VersionView = {
  readonly datanetId: Bytes32;
  readonly versionCount: number;
  readonly curator: Address;
  /** Contributions that are accepted, and those of them that the latest version has. */
  readonly acceptedIds: readonly number[];
  readonly publishedIds: readonly number[];
  /** Contributions that wait for the curator. */
  readonly revealedIds: readonly number[];
};
/** The next version as the curator built it from exactly `contributionIds`, or null. */
export type VersionCandidate = {
  readonly contributionIds: readonly number[];
  readonly root: Bytes32;
  readonly recordCount: number;
  readonly manifestDigest: Bytes32;
} | null;

/** Publishes the next version once nothing waits and there is something new. */
export function decideVersion(
  view: VersionView,
  candidate: VersionCandidate,
  self: Address,
): readonly Intent[] {
  const { datanetId, versionCount, acceptedIds, publishedIds, revealedIds, curator } = view;
  if (self !== curator || candidate === null || revealedIds.length > 0) return [];
  const published = new Set(publishedIds);
  if (acceptedIds.every((id) => published.has(id))) return [];
  const built = new Set(candidate.contributionIds);
  const isWhole = built.size === acceptedIds.length && acceptedIds.every((id) => built.has(id));
  if (!isWhole) return [];
  const { root, recordCount, manifestDigest } = candidate;
  return [
    {
      key: `datanet/${datanetId}/version/${versionCount + 1}`,
      contract: 'DatanetRegistry',
      fn: 'publishVersion',
      args: [datanetId, root, recordCount, manifestDigest],
    },
  ];
}
