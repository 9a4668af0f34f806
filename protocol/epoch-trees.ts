/**
 * The sorted trees that an anchored epoch commits to (docs/protocol.md, section 5): payouts, the
 * cumulative amounts of accounts and channels, and payments, what each receipt and the stakers' pool
 * add to them. Keys and sources stand in the order of their 32 bytes.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  concat,
  fromHex,
  taggedHash,
  toHex,
  uint256,
} from '#crypto';
import type { PayoutLeaf } from './payouts.ts';

/** A payout where it stands: of an account what it is owed, of a channel the fees that are accounted for. */
export type KeyedPayout = {
  readonly key: Bytes32;
  readonly amountWei: bigint;
  /** Sum of the accounts' amounts up to and including this leaf. */
  readonly runningWei: bigint;
};

/** What a receipt, or for the zero source the stakers' pool, gives to a key in one epoch. */
export type Payment = {
  readonly key: Bytes32;
  readonly source: Bytes32;
  readonly amountWei: bigint;
};

/** A payment with the sum of all up to and including it. */
export type PaymentLeaf = Payment & { readonly runningWei: bigint };

export type Channel = { readonly client: Address; readonly provider: Address };

/** The source of a staker's part of the pool. */
export const POOL_SOURCE: Bytes32 = toHex(new Uint8Array(32));
/** The key of what receipts give to all stakers together. */
export const POOL_KEY: Bytes32 = toHex(uint256(1n << 160n));

/** An account's key: its 20 bytes, right-aligned. */
export const accountKey = (account: Address): Bytes32 => toHex(addressWord(account));

/** A channel's key: `hash('openledger/channel/1', client, provider)` with its highest bit set. */
export function channelKeyOf({ client, provider }: Channel): Bytes32 {
  const key = taggedHash('openledger/channel/1', addressWord(client), addressWord(provider));
  key[0] = (key[0] as number) | 0x80;
  return toHex(key);
}

/** The account of a key; null for the pool and channels. */
export function accountOfKey(key: Bytes32): Address | null {
  return key.startsWith('0x000000000000000000000000') ? (`0x${key.slice(26)}` as Address) : null;
}

/** Lower-case words of one length stand in the order of their bytes. */
export const compareWords = (a: Bytes32, b: Bytes32): number => (a === b ? 0 : a < b ? -1 : 1);

export const comparePayments = (a: Payment, b: Payment): number =>
  compareWords(a.key, b.key) || compareWords(a.source, b.source);

/** Accounts as they are stated, then channels, whose leaves carry the total. */
export function keyedPayouts(
  payouts: readonly PayoutLeaf[],
  covered: readonly (Channel & { readonly feeWei: bigint })[],
): readonly KeyedPayout[] {
  const totalWei = payouts.at(-1)?.runningWei ?? 0n;
  const accounts = payouts.map(({ account, amountWei, runningWei }) => ({
    key: accountKey(account),
    amountWei,
    runningWei,
  }));
  const channels = covered
    .map((each) => ({ key: channelKeyOf(each), amountWei: each.feeWei, runningWei: totalWei }))
    .sort((a, b) => compareWords(a.key, b.key));
  return [...accounts, ...channels];
}

/** Payments of one key and source are one; in their order, without zeros, with running sums. */
export function sumPayments(payments: readonly Payment[]): readonly PaymentLeaf[] {
  const sums = new Map<string, Payment>();
  for (const payment of payments) {
    const id = `${payment.key}/${payment.source}`;
    const amountWei = (sums.get(id)?.amountWei ?? 0n) + payment.amountWei;
    sums.set(id, { ...payment, amountWei });
  }
  let runningWei = 0n;
  return [...sums.values()]
    .filter(({ amountWei }) => amountWei > 0n)
    .sort(comparePayments)
    .map((payment) => {
      runningWei += payment.amountWei;
      return { ...payment, runningWei };
    });
}

/** Words `(index, key, cumulativeWei, runningWei)`. */
export function payoutLeafBytes(index: number, { key, amountWei, runningWei }: KeyedPayout) {
  return concat(uint256(index), bytes32(key), uint256(amountWei), uint256(runningWei));
}

/** Words `(index, key, source, amountWei, runningWei)`. */
export function paymentLeafBytes(
  index: number,
  { key, source, amountWei, runningWei }: PaymentLeaf,
): Uint8Array {
  const words = [uint256(index), bytes32(key), bytes32(source)];
  return concat(...words, uint256(amountWei), uint256(runningWei));
}

/** Leaves' bytes as they are stated, right or wrong. */
export const payoutLeavesOf = (leaves: readonly KeyedPayout[]): readonly Uint8Array[] =>
  leaves.map((leaf, i) => payoutLeafBytes(i, leaf));
export const paymentLeavesOf = (leaves: readonly PaymentLeaf[]): readonly Uint8Array[] =>
  leaves.map((leaf, i) => paymentLeafBytes(i, leaf));
export const receiptLeavesOf = (hashes: readonly Bytes32[]): readonly Uint8Array[] =>
  hashes.map(fromHex);
