/**
 * The leaves of an epoch that nobody publishes: asked for on chain, and put together from what was
 * shown. An ask names leaves of one tree; each leaf is asked for once per anchoring.
 */
import { type Address, type Bytes32, fromHex, type Hex, toHex, toUint } from '#crypto';
import {
  ASK_TREES,
  type AskTree,
  askLeavesIntent,
  type EpochLeaves,
  type KeyedPayout,
  type PaymentLeaf,
} from '#protocol';
import type { LogPort } from '../provider/ports.ts';
import type { ChainPort } from '../services/chain-port.ts';
import type { PendingEpoch } from '../services/epochs.ts';

/** Leaves per ask; what an epoch has more of is asked for in further ones. */
const ASKED_MAX: Readonly<Record<AskTree, number>> = {
  payouts: 32,
  receipts: 32,
  payments: 32,
  contents: 1,
};
/** The base fee may rise before an ask is included. */
const BOND_MARGIN = 2n;

export type Ask = {
  readonly epoch: number;
  readonly round: number;
  readonly deadline: number;
  /** Place in ASK_TREES. */
  readonly tree: number;
  readonly settled: boolean;
  readonly asker: Address;
  readonly indexes: readonly number[];
};

/** What was asked for of an anchoring, and what was shown, by leaf. */
export type Asked = Readonly<Record<AskTree, ReadonlyMap<number, Hex | null>>>;

export type LeafParts = {
  readonly chain: Pick<ChainPort<'EpochDisputes'>, 'read' | 'submit'>;
  readonly shownFor: (askId: bigint) => Promise<readonly Hex[] | null>;
  readonly log: LogPort;
};

/** Everything that was asked for of an anchoring. */
export async function readAsked({ chain, shownFor }: LeafParts, round: number): Promise<Asked> {
  const asked = {
    payouts: new Map<number, Hex | null>(),
    receipts: new Map<number, Hex | null>(),
    payments: new Map<number, Hex | null>(),
    contents: new Map<number, Hex | null>(),
  };
  const count = await chain.read<bigint>('EpochDisputes', 'askCount');
  for (let askId = count; askId > 0n; askId -= 1n) {
    const ask = await chain.read<Ask>('EpochDisputes', 'getAsk', askId);
    if (ask.round !== round) break;
    const shown = ask.settled ? await shownFor(askId) : null;
    const leaves = asked[ASK_TREES[ask.tree] as AskTree];
    for (const [i, index] of ask.indexes.entries()) leaves.set(index, shown?.[i] ?? null);
  }
  return asked;
}

/** Asks for those of the leaves that nobody has asked for yet; returns how many. */
export async function askFor(
  { chain, log }: LeafParts,
  { epoch, chain: { round } }: PendingEpoch,
  tree: AskTree,
  wanted: readonly number[],
  asked: Asked,
): Promise<number> {
  const missing = wanted.filter((index) => !asked[tree].has(index));
  for (let from = 0; from < missing.length; from += ASKED_MAX[tree]) {
    const indexes = missing.slice(from, from + ASKED_MAX[tree]);
    const at = ASK_TREES.indexOf(tree);
    const bondWei = await chain.read<bigint>('EpochDisputes', 'bondOf', at, indexes.length);
    await chain.submit(askLeavesIntent(epoch, round, tree, indexes, bondWei * BOND_MARGIN));
  }
  if (missing.length > 0)
    log.warn('data of an epoch is asked for on chain', { epoch, tree, leaves: missing.length });
  return missing.length;
}

/** How many leaves each tree has by what is anchored. */
export const countsOf = ({ chain }: PendingEpoch): Readonly<Record<keyof EpochLeaves, number>> => ({
  payouts: chain.leafCount,
  receipts: chain.receiptCount,
  payments: chain.paymentCount,
});

export const allOf = (count: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => i);

/** The trees' leaves as they were shown on request; null while not all of them were. */
export function shownLeaves(pending: PendingEpoch, asked: Asked): EpochLeaves | null {
  const counts = countsOf(pending);
  const read = <Leaf>(tree: keyof EpochLeaves, of: (bytes: Uint8Array) => Leaf): Leaf[] | null => {
    const shown = allOf(counts[tree]).map((index) => asked[tree].get(index) ?? null);
    return shown.every((leaf) => leaf !== null) ? shown.map((leaf) => of(fromHex(leaf))) : null;
  };
  const payouts = read('payouts', payoutIn);
  const payments = read('payments', paymentIn);
  const receipts = read('receipts', toHex);
  return payouts && payments && receipts && { payouts, payments, receipts };
}

/** The contract took the bytes for a leaf, so that they are as many words. */
const word = (bytes: Uint8Array, at: number) => bytes.slice(32 * at, 32 * at + 32);
const keyIn = (bytes: Uint8Array): Bytes32 => toHex(word(bytes, 1));
const payoutIn = (bytes: Uint8Array): KeyedPayout => ({
  key: keyIn(bytes),
  amountWei: toUint(word(bytes, 2)),
  runningWei: toUint(word(bytes, 3)),
});
const paymentIn = (bytes: Uint8Array): PaymentLeaf => ({
  key: keyIn(bytes),
  source: toHex(word(bytes, 2)),
  amountWei: toUint(word(bytes, 3)),
  runningWei: toUint(word(bytes, 4)),
});
