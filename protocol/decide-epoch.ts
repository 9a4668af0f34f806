/** What a node does about epochs: anchor, finalise, claim; from states alone, as in tasks.ts. */
import type { Address, Bytes32 } from '#crypto';
import type { EpochRoots, PayoutClaim } from './epoch.ts';
import { type Intent, isTurn } from './intent.ts';
import type { ProtocolParameters } from './params.ts';

/** The latest anchored epoch as `Epochs.getEpoch` gives it. */
export type ChainEpoch = {
  readonly epoch: number;
  readonly finalisableAt: number;
  readonly finalised: boolean;
};

export type EpochView = {
  /** null before the first. */
  readonly latest: ChainEpoch | null;
  /** All stakers, and those of them whose free stake allows them to anchor. */
  readonly stakers: readonly Address[];
  readonly anchorers: readonly Address[];
  /** What of the latest finalised root is this node's own business. */
  readonly claims: readonly {
    readonly claim: PayoutClaim;
    /** `Epochs.claimedWei(account)`. */
    readonly claimedWei: bigint;
  }[];
};

/** What this node computed for the next epoch, or null if it has nothing to pay or cannot. */
export type EpochCandidate = {
  readonly roots: EpochRoots;
  readonly manifestDigest: Bytes32;
  /** When the first of its receipts was issued. */
  readonly oldestMs: number;
} | null;

/** When to close an epoch: with so many receipts, or when the first is so old. */
export type EpochTiming = Pick<ProtocolParameters, 'epochAgeMs' | 'epochReceipts' | 'staggerMs'>;

/** From when on a candidate is to be anchored. */
export function epochDueMs(
  { roots, oldestMs }: NonNullable<EpochCandidate>,
  { epochAgeMs, epochReceipts }: EpochTiming,
): number {
  return roots.receiptCount >= epochReceipts ? oldestMs : oldestMs + epochAgeMs;
}

/** What this node should have sent by now about epochs. `nowMs` is the chain's clock. */
export function decideEpoch(
  view: EpochView,
  candidate: EpochCandidate,
  self: Address,
  nowMs: number,
  timing: EpochTiming,
): readonly Intent[] {
  return [
    ...decideFinalise(view, self, nowMs, timing),
    ...decideAnchor(view, candidate, self, nowMs, timing),
    ...decideClaims(view),
  ];
}

function decideFinalise(
  { latest, stakers }: EpochView,
  self: Address,
  nowMs: number,
  { staggerMs }: EpochTiming,
): readonly Intent[] {
  if (latest === null || latest.finalised) return [];
  const key = `epoch/${latest.epoch}/finalise`;
  if (!isTurn(key, stakers, self, latest.finalisableAt * 1000, nowMs, staggerMs)) return [];
  return [{ key, contract: 'Epochs', fn: 'finalise', args: [latest.epoch] }];
}

function decideAnchor(
  { latest, anchorers }: EpochView,
  candidate: EpochCandidate,
  self: Address,
  nowMs: number,
  timing: EpochTiming,
): readonly Intent[] {
  // The contract takes the next epoch only when the last one is final.
  if (candidate === null || (latest !== null && !latest.finalised)) return [];
  const { roots, manifestDigest } = candidate;
  const isNext = roots.epoch === (latest?.epoch ?? 0) + 1;
  if (!isNext || roots.receiptCount === 0 || !anchorers.includes(self)) return [];
  const key = `epoch/${roots.epoch}/anchor`;
  const dueMs = epochDueMs(candidate, timing);
  if (!isTurn(key, anchorers, self, dueMs, nowMs, timing.staggerMs)) return [];
  const { epoch, payoutRoot, leafCount, totalWei, receiptsRoot, receiptCount } = roots;
  const args = [epoch, payoutRoot, leafCount, totalWei, receiptsRoot, receiptCount, manifestDigest];
  return [{ key, contract: 'Epochs', fn: 'anchor', args }];
}

function decideClaims({ claims }: EpochView): readonly Intent[] {
  return claims
    .filter(({ claim, claimedWei }) => claim.cumulativeWei > claimedWei)
    .map(({ claim: { account, cumulativeWei, index, proof }, claimedWei }) => ({
      // Withholdings may be served by several claims of one cumulative amount: each has its own key.
      key: `claim/${account}/${cumulativeWei}/${claimedWei}`,
      contract: 'Epochs',
      fn: 'claim',
      args: [account, cumulativeWei, index, proof],
    }));
}
