/** What curators and relayers do about contributions and versions; from states alone, as in tasks.ts. */
import type { Bytes32 } from '#crypto';
import type { Intent } from './intent.ts';
import type { ContributionVerdict } from './near-copy.ts';

/** The contract's states; the place in the list is the contract's number. */
export const CONTRIBUTION_STATES = [
  'none',
  'committed',
  'revealed',
  'accepted',
  'refused',
  'lapsed',
] as const;
export type ContributionState = (typeof CONTRIBUTION_STATES)[number];

/** A contribution as `DatanetRegistry.getContribution` gives it, as far as its curator decides by it. */
export type ContributionView = {
  /** Place in CONTRIBUTION_STATES. */
  readonly state: number;
  /** Seconds of the chain's clock; `revokedAt` is 0 while it stands. */
  readonly committedAt: number;
  readonly revokedAt: number;
  /** Last second in which it may be revealed for the first time. */
  readonly revealBy: number;
};

/**
 * What a contribution is to the next version: `absent` is no part of it, `awaited` may still be
 * revealed and holds up all that was committed later, `revealed` waits for a judgement, `accepted`
 * belongs to it.
 */
export type ContributionStanding = 'absent' | 'awaited' | 'revealed' | 'accepted';

/** Standing of a contribution at `nowMs`; who does not reveal for `revealGraceMs` holds up nobody. */
export function standingOf(
  { state, committedAt, revokedAt }: Omit<ContributionView, 'revealBy'>,
  nowMs: number,
  revealGraceMs: number,
): ContributionStanding {
  const name = CONTRIBUTION_STATES[state];
  if (revokedAt > 0 || name === undefined) return 'absent';
  if (name === 'none' || name === 'refused' || name === 'lapsed') return 'absent';
  if (name !== 'committed') return name;
  return nowMs - committedAt * 1000 > revealGraceMs ? 'absent' : 'awaited';
}

/** Whether nobody can reveal it any more, and its deposit is there to be burned. */
export function isOverdue(
  { state, revealBy }: Pick<ContributionView, 'state' | 'revealBy'>,
  chainSeconds: number,
): boolean {
  return CONTRIBUTION_STATES[state] === 'committed' && chainSeconds > revealBy;
}

type RegistryIntent = Intent<'DatanetRegistry'>;

/** Opens a commitment whose shards are published under `manifest`. */
export function revealIntent(
  contributionId: number,
  opening: { readonly recordsRoot: Bytes32; readonly salt: Bytes32; readonly manifest: Bytes32 },
): RegistryIntent {
  const { recordsRoot, salt, manifest } = opening;
  return {
    key: `contribution/${contributionId}/reveal`,
    contract: 'DatanetRegistry',
    fn: 'reveal',
    args: [contributionId, recordsRoot, salt, manifest],
  };
}

/** Ends a contribution that was not revealed in time; anybody may. */
export function lapseIntent(contributionId: number): RegistryIntent {
  return {
    key: `contribution/${contributionId}/lapse`,
    contract: 'DatanetRegistry',
    fn: 'lapse',
    args: [contributionId],
  };
}

/**
 * Accepts or refuses. One key for both: a curator judges once, even if it were to change its mind.
 * @param evidenceDigest digest of the published evidence, where it is refused
 */
export function judgeIntent(
  contributionId: number,
  verdict: ContributionVerdict,
  evidenceDigest: Bytes32 | null,
): RegistryIntent {
  const judged = {
    key: `contribution/${contributionId}/judge`,
    contract: 'DatanetRegistry',
  } as const;
  if (verdict.verdict === 'accept') return { ...judged, fn: 'accept', args: [contributionId] };
  const args = [contributionId, evidenceDigest, verdict.earlierRecordHash];
  return { ...judged, fn: 'refuse', args };
}

/** Publishes a version that its curator built. */
export function publishIntent(
  datanetId: Bytes32,
  version: number,
  built: { readonly root: Bytes32; readonly recordCount: number; readonly manifestDigest: Bytes32 },
): RegistryIntent {
  const { root, recordCount, manifestDigest } = built;
  return {
    key: `datanet/${datanetId}/version/${version}/${root}`,
    contract: 'DatanetRegistry',
    fn: 'publishVersion',
    args: [datanetId, root, recordCount, manifestDigest],
  };
}

/** Returns what was locked for a version whose challenge window is over; anybody may. */
export function releaseIntent(datanetId: Bytes32, version: number): RegistryIntent {
  return {
    key: `datanet/${datanetId}/version/${version}/release`,
    contract: 'DatanetRegistry',
    fn: 'releaseVersion',
    args: [datanetId, version],
  };
}
