/**
 * What is provably wrong with an anchored epoch's payouts, and the evidence from which the contract
 * of epoch disputes decides (docs/protocol.md, section 6). The judgement here is the contract's.
 */
import { type Address, type Bytes32, buildTree, type MerkleTree, proveLeaf, toHex } from '#crypto';
import { payoutLeavesOf } from './epoch.ts';
import type { Intent } from './intent.ts';
import { compareAccounts, type PayoutLeaf } from './payouts.ts';

/** A payout leaf where it stands, as the contract takes it. */
export type PlacedPayout = {
  readonly index: number;
  readonly account: Address;
  readonly cumulativeWei: bigint;
  readonly runningWei: bigint;
  readonly proof: readonly Bytes32[];
};

export type EpochFaultCode =
  | 'EPOCH_PAYOUT_DECREASED'
  | 'EPOCH_PAYOUTS_UNORDERED'
  | 'EPOCH_RUNNING_SUM_WRONG'
  | 'EPOCH_TOTAL_WRONG';

/** A fault with the arguments of the function that judges it. */
export type EpochFault =
  | {
      readonly code: 'EPOCH_PAYOUT_DECREASED';
      readonly fn: 'challengeDecrease';
      readonly evidence: {
        readonly epoch: number;
        readonly before: PlacedPayout;
        readonly present: readonly PlacedPayout[];
      };
    }
  | {
      readonly code: Exclude<EpochFaultCode, 'EPOCH_PAYOUT_DECREASED'>;
      readonly fn: 'challengeSums';
      readonly evidence: { readonly epoch: number; readonly leaves: readonly PlacedPayout[] };
    };

/** Leaves as they are stated, right or wrong, and the total that stands on chain beside their root. */
export type AnchoredPayouts = {
  readonly epoch: number;
  readonly totalWei: bigint;
  readonly payouts: readonly PayoutLeaf[];
};

/**
 * The first fault of an epoch's payouts, or null.
 * @param before leaves of the last final epoch; none of the first
 */
export function findEpochFault(
  anchored: AnchoredPayouts,
  before: readonly PayoutLeaf[],
): EpochFault | null {
  return sumFault(anchored) ?? decreaseFault(anchored, before);
}

const treeOf = (leaves: readonly PayoutLeaf[]): MerkleTree => buildTree(payoutLeavesOf(leaves));
const placed = (
  leaves: readonly PayoutLeaf[],
  tree: MerkleTree,
  indexes: readonly number[],
): readonly PlacedPayout[] =>
  indexes.map((index) => {
    const { account, amountWei, runningWei } = leaves[index] as PayoutLeaf;
    const proof = proveLeaf(tree, index).siblings.map(toHex);
    return { index, account, cumulativeWei: amountWei, runningWei, proof };
  });

function sumFault({ epoch, totalWei, payouts }: AnchoredPayouts): EpochFault | null {
  const fault = (
    code: Exclude<EpochFaultCode, 'EPOCH_PAYOUT_DECREASED'>,
    ...indexes: readonly number[]
  ): EpochFault => ({
    code,
    fn: 'challengeSums',
    evidence: { epoch, leaves: placed(payouts, treeOf(payouts), indexes) },
  });
  for (const [i, { account, amountWei, runningWei }] of payouts.entries()) {
    const left = payouts[i - 1];
    if (left === undefined) {
      if (runningWei !== amountWei) return fault('EPOCH_RUNNING_SUM_WRONG', i);
      continue;
    }
    if (compareAccounts(left.account, account) >= 0)
      return fault('EPOCH_PAYOUTS_UNORDERED', i - 1, i);
    if (left.runningWei + amountWei !== runningWei)
      return fault('EPOCH_RUNNING_SUM_WRONG', i - 1, i);
  }
  const last = payouts.at(-1);
  return last === undefined || last.runningWei === totalWei
    ? null
    : fault('EPOCH_TOTAL_WRONG', payouts.length - 1);
}

/** Of leaves in their order: an account that is owed less than before, or no longer at all. */
function decreaseFault(
  { epoch, payouts }: AnchoredPayouts,
  before: readonly PayoutLeaf[],
): EpochFault | null {
  let next = 0;
  for (const [i, { account, amountWei }] of before.entries()) {
    while (next < payouts.length && compareAccounts(payouts[next]?.account as Address, account) < 0)
      next += 1;
    const own = payouts[next];
    if (own?.account === account && own.amountWei >= amountWei) continue;
    const neighbours = own?.account === account ? [next] : [next - 1, next];
    const indexes = neighbours.filter((index) => index >= 0 && index < payouts.length);
    const [earlier] = placed(before, treeOf(before), [i]) as readonly [PlacedPayout];
    const present = placed(payouts, treeOf(payouts), indexes);
    return {
      code: 'EPOCH_PAYOUT_DECREASED',
      fn: 'challengeDecrease',
      evidence: { epoch, before: earlier, present },
    };
  }
  return null;
}

/** Asks on chain for payout leaves that nobody publishes. @param round the anchoring they belong to */
export function askLeavesIntent(
  epoch: number,
  round: number,
  indexes: readonly number[],
  bondWei: bigint,
): Intent<'EpochDisputes'> & { readonly valueWei: bigint } {
  return {
    key: `epoch/${epoch}/ask/${round}/${indexes.join(',')}`,
    contract: 'EpochDisputes',
    fn: 'ask',
    args: [epoch, 0, indexes],
    valueWei: bondWei,
  };
}

/** Shows leaves that somebody asked for. @param leaves all of the tree, payouts or receipts */
export function showLeavesIntent(
  askId: bigint,
  leaves: readonly Uint8Array[],
  indexes: readonly number[],
): Intent<'EpochDisputes'> {
  const tree = buildTree(leaves);
  const bytes = indexes.map((i) => toHex(leaves[i] as Uint8Array));
  const proofs = indexes.map((i) => proveLeaf(tree, i).siblings.map(toHex));
  return {
    key: `ask/${askId}/show`,
    contract: 'EpochDisputes',
    fn: 'show',
    args: [askId, bytes, proofs],
  };
}
