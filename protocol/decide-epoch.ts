/** What a node does about epochs: anchor, finalise, claim; from states alone, as in tasks.ts. */
import type { Bytes32 } from '#crypto';
import type { EpochRoots, PayoutClaim } from './epoch.ts';
import type { Intent } from './intent.ts';

/** Whoever anchored finalises first; others step in when it has not done so for this long. */
const STAND_IN_SECONDS = 15;

/** What waits for the next epoch. */
export type EpochWaiting = {
  /** Receipts that no epoch has paid yet, and those of them that collected vouchers cover. */
  readonly receipts: number;
  readonly covered: number;
  /** Since when the last epoch is anchored, ms. */
  readonly openedAtMs: number;
  /** Somebody asked for it to be closed by then; null: nobody did. */
  readonly closeByMs: number | null;
};

/** Whether the next epoch is to be anchored now: it is old enough, or all that is asked for is there. */
export function isAnchorDue(
  { receipts, covered, openedAtMs, closeByMs }: EpochWaiting,
  nowMs: number,
  epochAgeMs: number,
): boolean {
  if (covered === 0) return false;
  const isComplete = covered === receipts && closeByMs !== null;
  return (
    isComplete || nowMs >= Math.min(closeByMs ?? Number.POSITIVE_INFINITY, openedAtMs + epochAgeMs)
  );
}

/** Whether this node is to finalise now. Times in seconds of the chain's clock. */
export function isFinaliseDue(
  finalisableAt: number,
  chainSeconds: number,
  anchors: boolean,
): boolean {
  return chainSeconds >= finalisableAt + (anchors ? 0 : STAND_IN_SECONDS);
}

/**
 * Another root for the same epoch is another action: the one before may have been refused. So is the
 * same root in another round: the one before was rejected.
 * @param round number of this anchoring, rejected ones counted
 * @param certificate what a data-availability layer gave for the manifest; empty for the nodes' own
 */
export function anchorIntent(
  roots: EpochRoots,
  manifest: Bytes32,
  round: number,
  certificate = '0x',
): Intent<'Epochs'> {
  const { epoch, payoutRoot, receiptsRoot, paymentsRoot, totalWei } = roots;
  const { leafCount, receiptCount, paymentCount } = roots;
  const anchored = {
    payoutRoot,
    receiptsRoot,
    paymentsRoot,
    manifest,
    totalWei,
    leafCount,
    receiptCount,
    paymentCount,
  };
  return {
    key: `epoch/${epoch}/anchor/${round}/${payoutRoot}/${receiptsRoot}/${paymentsRoot}`,
    contract: 'Epochs',
    fn: 'anchor',
    args: [epoch, anchored, certificate],
  };
}

export function finaliseIntent(epoch: number, round: number): Intent<'Epochs'> {
  return {
    key: `epoch/${epoch}/finalise/${round}`,
    contract: 'Epochs',
    fn: 'finalise',
    args: [epoch],
  };
}

/**
 * Claims for an account.
 * @param claimedWei what `Epochs.claimedWei` says: withholdings may be served by several claims of
 * one cumulative amount, and each is an action of its own
 */
export function claimIntent(
  { account, cumulativeWei, runningWei, index, proof }: PayoutClaim,
  claimedWei: bigint,
): Intent<'Epochs'> {
  return {
    key: `claim/${account}/${cumulativeWei}/${claimedWei}`,
    contract: 'Epochs',
    fn: 'claim',
    args: [account, cumulativeWei, runningWei, index, proof],
  };
}
