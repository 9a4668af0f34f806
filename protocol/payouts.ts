/**
 * Who gets what of a fee, to the wei (docs/protocol.md, section 4). Every share is rounded down; what
 * rounding leaves goes where the specification says, so that the parts always sum to the whole.
 */
import type { Address } from '#crypto';
import { invariant } from './invariant.ts';

export const PPM = 1_000_000n;

/** How Parameters divides a fee; the first four sum to one million. */
export type FeeRules = {
  readonly platformPpm: number;
  readonly modelOwnerPpm: number;
  readonly stakersPpm: number;
  readonly dataPpm: number;
  /** The learned voice's part of the data share; the rest is the memorised voice's. */
  readonly learnedPpm: number;
};

/** A divided fee: `platform + modelOwner + stakers + learned + memorised + fallback = fee`. */
export type FeeSplit = {
  readonly platformWei: bigint;
  readonly modelOwnerWei: bigint;
  readonly stakersWei: bigint;
  readonly learnedWei: bigint;
  readonly memorisedWei: bigint;
  /** The data share where nobody's data was found; it is paid to the platform from the epoch. */
  readonly fallbackWei: bigint;
};

const part = (wei: bigint, ppm: number): bigint => (wei * BigInt(ppm)) / PPM;

/** Fees are whole multiples of this, so that dividing them by PPM leaves no remainder. */
export const FEE_STEP_WEI = PPM;

/** What the escrow moves into the epoch's pot of a fee; the rest is the platform's at once. */
export function potOf(feeWei: bigint, rules: FeeRules): bigint {
  return feeWei - part(feeWei, rules.platformPpm);
}

/**
 * Divides a fee.
 * @param learnedWeight Σ of the score leaves' scores; 0 where none passes
 * @param memorisedWeight Σ of the span leaves' weights; 0 where there is none
 */
export function splitFee(
  feeWei: bigint,
  rules: FeeRules,
  learnedWeight: bigint,
  memorisedWeight: bigint,
): FeeSplit {
  const { platformPpm, modelOwnerPpm, stakersPpm, dataPpm } = rules;
  invariant(
    platformPpm + modelOwnerPpm + stakersPpm + dataPpm === Number(PPM),
    'the parts of a fee sum to one million',
  );
  const potWei = potOf(feeWei, rules);
  const modelOwnerWei = part(feeWei, modelOwnerPpm);
  const stakersWei = part(feeWei, stakersPpm);
  const dataWei = potWei - modelOwnerWei - stakersWei;
  const split = { platformWei: feeWei - potWei, modelOwnerWei, stakersWei };
  if (learnedWeight === 0n && memorisedWeight === 0n) {
    return { ...split, learnedWei: 0n, memorisedWei: 0n, fallbackWei: dataWei };
  }
  let learnedWei = part(dataWei, rules.learnedPpm);
  if (learnedWeight === 0n) learnedWei = 0n;
  if (memorisedWeight === 0n) learnedWei = dataWei;
  return { ...split, learnedWei, memorisedWei: dataWei - learnedWei, fallbackWei: 0n };
}

/** `pool · weight / Σ weight` floored, the remainder to the first; zeros where Σ weight is 0. */
export function dividePool(poolWei: bigint, weights: readonly bigint[]): readonly bigint[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  if (total === 0n) {
    invariant(poolWei === 0n, 'a pool that nobody has a claim to is empty');
    return weights.map(() => 0n);
  }
  const amounts = weights.map((weight) => (poolWei * weight) / total);
  const paidWei = amounts.reduce((sum, amount) => sum + amount, 0n);
  amounts[0] = (amounts[0] as bigint) + poolWei - paidWei;
  return amounts;
}

/** What one account gets. */
export type Payout = { readonly account: Address; readonly amountWei: bigint };

/** The sums per account, without zeros, by account. */
export function sumPayouts(payouts: readonly Payout[]): readonly Payout[] {
  const sums = new Map<Address, bigint>();
  for (const { account, amountWei } of payouts) {
    sums.set(account, (sums.get(account) ?? 0n) + amountWei);
  }
  return [...sums]
    .filter(([, amountWei]) => amountWei > 0n)
    .map(([account, amountWei]) => ({ account, amountWei }))
    .sort((a, b) => compareAccounts(a.account, b.account));
}

/** The order of accounts: of their 20 bytes, which is that of their lower-case text. */
export function compareAccounts(a: Address, b: Address): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** A payout leaf: what an account is owed, and the sum of all up to and including it. */
export type PayoutLeaf = Payout & { readonly runningWei: bigint };

/** Payouts in their order with running sums; the last one is the total. */
export function withRunningSums(payouts: readonly Payout[]): readonly PayoutLeaf[] {
  let runningWei = 0n;
  return payouts.map((payout) => {
    runningWei += payout.amountWei;
    return { ...payout, runningWei };
  });
}
