/**
 * What is provably wrong with an anchored epoch's payouts, and the evidence from which the contract
 * of epoch disputes decides (docs/protocol.md, section 6). The judgement here is the contract's.
 */
import { type Bytes32, buildTree, type MerkleTree, proveLeaf, toHex } from '#crypto';
import { accountOfKey, compareWords, type KeyedPayout, payoutLeavesOf } from './epoch-trees.ts';
import type { Intent } from './intent.ts';

/** A payout leaf where it stands, as the contract takes it. */
export type PlacedPayout = {
  readonly index: number;
  readonly key: Bytes32;
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
  readonly payouts: readonly KeyedPayout[];
};

/**
 * The first fault of an epoch's payouts, or null.
 * @param before leaves of the last final epoch; none of the first
 */
export function findEpochFault(
  anchored: AnchoredPayouts,
  before: readonly KeyedPayout[],
): EpochFault | null {
  return sumFault(anchored) ?? decreaseFault(anchored, before);
}

/** Payout leaves with their proofs. */
export function placedPayouts(
  leaves: readonly KeyedPayout[],
  indexes: readonly number[],
): readonly PlacedPayout[] {
  const tree = indexes.length === 0 ? null : buildTree(payoutLeavesOf(leaves));
  return indexes.map((index) => {
    const { key, amountWei, runningWei } = leaves[index] as KeyedPayout;
    const proof = proveLeaf(tree as MerkleTree, index).siblings.map(toHex);
    return { index, key, cumulativeWei: amountWei, runningWei, proof };
  });
}

function sumFault({ epoch, totalWei, payouts }: AnchoredPayouts): EpochFault | null {
  const fault = (
    code: Exclude<EpochFaultCode, 'EPOCH_PAYOUT_DECREASED'>,
    ...indexes: readonly number[]
  ): EpochFault => ({
    code,
    fn: 'challengeSums',
    evidence: { epoch, leaves: placedPayouts(payouts, indexes) },
  });
  for (const [i, { key, amountWei, runningWei }] of payouts.entries()) {
    const left = payouts[i - 1];
    const owedWei = accountOfKey(key) === null ? 0n : amountWei;
    if (left === undefined) {
      if (runningWei !== owedWei) return fault('EPOCH_RUNNING_SUM_WRONG', i);
      continue;
    }
    if (compareWords(left.key, key) >= 0) return fault('EPOCH_PAYOUTS_UNORDERED', i - 1, i);
    if (left.runningWei + owedWei !== runningWei) return fault('EPOCH_RUNNING_SUM_WRONG', i - 1, i);
  }
  const last = payouts.at(-1);
  return last === undefined || last.runningWei === totalWei
    ? null
    : fault('EPOCH_TOTAL_WRONG', payouts.length - 1);
}

/** Of leaves in their order: a key with less than before, or without a leaf. */
function decreaseFault(
  { epoch, payouts }: AnchoredPayouts,
  before: readonly KeyedPayout[],
): EpochFault | null {
  let next = 0;
  for (const [i, { key, amountWei }] of before.entries()) {
    while (next < payouts.length && compareWords(payouts[next]?.key as Bytes32, key) < 0) next += 1;
    const own = payouts[next];
    const isThere = own?.key === key;
    if ((isThere ? own.amountWei : 0n) >= amountWei) continue;
    const neighbours = isThere ? [next] : [next - 1, next];
    const indexes = neighbours.filter((index) => index >= 0 && index < payouts.length);
    const [earlier] = placedPayouts(before, [i]) as readonly [PlacedPayout];
    const present = placedPayouts(payouts, indexes);
    return {
      code: 'EPOCH_PAYOUT_DECREASED',
      fn: 'challengeDecrease',
      evidence: { epoch, before: earlier, present },
    };
  }
  return null;
}

/** Trees that leaves can be asked of, by the contract's numbers; the last is what receipts say. */
export const ASK_TREES = ['payouts', 'receipts', 'payments', 'contents'] as const;
export type AskTree = (typeof ASK_TREES)[number];

/** Asks on chain for leaves that nobody publishes. @param round the anchoring they belong to */
export function askLeavesIntent(
  epoch: number,
  round: number,
  tree: AskTree,
  indexes: readonly number[],
  bondWei: bigint,
): Intent<'EpochDisputes'> & { readonly valueWei: bigint } {
  return {
    key: `epoch/${epoch}/ask/${round}/${tree}/${indexes.join(',')}`,
    contract: 'EpochDisputes',
    fn: 'ask',
    args: [epoch, ASK_TREES.indexOf(tree), indexes],
    valueWei: bondWei,
  };
}

/**
 * Shows leaves that somebody asked for.
 * @param leaves all of the tree
 * @param shown bytes that stand for them: the leaves themselves, of contents what the receipts say
 */
export function showLeavesIntent(
  askId: bigint,
  leaves: readonly Uint8Array[],
  indexes: readonly number[],
  shown: readonly Uint8Array[] = indexes.map((i) => leaves[i] as Uint8Array),
): Intent<'EpochDisputes'> {
  const tree = buildTree(leaves);
  const bytes = shown.map(toHex);
  const proofs = indexes.map((i) => proveLeaf(tree, i).siblings.map(toHex));
  return {
    key: `ask/${askId}/show`,
    contract: 'EpochDisputes',
    fn: 'show',
    args: [askId, bytes, proofs],
  };
}
