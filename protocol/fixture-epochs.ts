/** Epochs over real receipts, honest or with one lie, for tests of who finds what. */
import { type Address, addressOfPrivateKey, type Bytes32, type SigningDomain } from '#crypto';
import {
  aggregateEpoch,
  type EpochLeaves,
  type EpochManifest,
  type EpochReceipt,
} from './epoch.ts';
import {
  accountKey,
  accountOfKey,
  compareWords,
  type KeyedPayout,
  type Payment,
  POOL_KEY,
  POOL_SOURCE,
  sumPayments,
} from './epoch-trees.ts';
import { hashOf, keyOf, RULES } from './fixture.ts';
import type { FeeRules } from './payouts.ts';
import { divideFee, type Receipt, receiptHash, signReceipt } from './receipt.ts';
import type { ReceiptContent } from './receipt-content.ts';
import { scoreRoot } from './scores.ts';
import { spanRoot } from './spans.ts';

export type ReceiptSpec = {
  readonly name: string;
  readonly client: Address;
  readonly provider: Uint8Array;
  readonly adapterId: Bytes32;
  readonly feeWei: bigint;
  readonly issuedAt: number;
  /** Contributors of the score leaves, and of the span leaves. */
  readonly scored: readonly Address[];
  readonly matched: readonly Address[];
};

/** A signed receipt that divides its fee as RULES say. */
export function contentOfSpec(
  spec: ReceiptSpec,
  domain: SigningDomain,
  rules: FeeRules = RULES,
): ReceiptContent {
  const { name, feeWei } = spec;
  const requestId = hashOf(`request of ${name}`);
  const scores = spec.scored.map((contributor, i) => ({
    sketchIndex: i,
    recordHash: hashOf(`record ${i} of ${name}`),
    contributor,
    dot: 1_000 - i,
    score: 60_000 - 7 * i,
  }));
  const spans = spec.matched.map((contributor, i) => ({
    exchangeOffset: 9 * i,
    length: 8,
    recordIndex: i,
    recordOffset: 3,
    contributor,
    weight: 840 * (i + 1),
  }));
  const divided = divideFee(feeWei, rules, scores, spans);
  const receipt: Receipt = {
    requestId,
    client: spec.client,
    provider: addressOfPrivateKey(spec.provider),
    adapterId: spec.adapterId,
    promptHash: hashOf('prompt'),
    outputHash: hashOf('output'),
    promptTokens: 5,
    outputTokens: 7,
    querySketchHash: hashOf('sketch'),
    queryNorm: 9,
    scoreRoot: scoreRoot(divided.scores),
    scoreCount: scores.length,
    spanRoot: spanRoot(requestId, divided.spans),
    spanCount: spans.length,
    computeWei: 11n,
    feeWei,
    issuedAt: spec.issuedAt,
  };
  const signature = signReceipt(domain, receipt, spec.provider);
  return { receipt, signature, scores: divided.scores, spans: divided.spans };
}

/** The line of such a receipt in an epoch. */
export function lineOf(
  { receipt, scores, spans }: ReceiptContent,
  rules: FeeRules = RULES,
): EpochReceipt {
  const { split, payouts } = divideFee(receipt.feeWei, rules, scores, spans);
  const { client, provider, adapterId, issuedAt, feeWei } = receipt;
  const { modelOwnerWei, stakersWei, fallbackWei } = split;
  const parts = { modelOwnerWei, stakersWei, fallbackWei, payouts };
  const hash = receiptHash(receipt);
  return { file: null, receiptHash: hash, client, provider, adapterId, issuedAt, feeWei, ...parts };
}

/** An epoch over all of these receipts. */
export function epochOver(
  contents: readonly ReceiptContent[],
  inputs: Pick<EpochManifest, 'epoch' | 'treasury' | 'stakers' | 'modelOwners'>,
  previous: EpochManifest | null = null,
  rules: FeeRules = RULES,
): EpochManifest {
  return aggregateEpoch({
    ...inputs,
    previous: previous === null ? null : { digest: hashOf('previous'), manifest: previous },
    potTotalWei: 10n ** 30n,
    collected: contents.map(({ receipt: { client, provider } }) => ({
      client,
      provider,
      feeWei: 10n ** 30n,
    })),
    receipts: contents.map((content) => lineOf(content, rules)),
    isPaid: () => false,
  });
}

/** Leaves in which payouts follow from these payments, whatever they are. */
export function leavesOver(
  payments: readonly Payment[],
  receipts: readonly Bytes32[],
  before: readonly KeyedPayout[],
): EpochLeaves {
  const sums = new Map<Bytes32, bigint>(before.map(({ key, amountWei }) => [key, amountWei]));
  for (const { key, amountWei } of payments)
    if (key !== POOL_KEY) sums.set(key, (sums.get(key) ?? 0n) + amountWei);
  return {
    payouts: summed([...sums].map(([key, amountWei]) => ({ key, amountWei }))),
    payments: sumPayments(payments),
    receipts,
  };
}

/** Payout leaves in their order with running sums of what accounts are owed. */
export function summed(
  payouts: readonly Pick<KeyedPayout, 'key' | 'amountWei'>[],
): readonly KeyedPayout[] {
  let runningWei = 0n;
  return [...payouts]
    .sort((a, b) => compareWords(a.key, b.key))
    .map(({ key, amountWei }) => {
      runningWei += accountOfKey(key) === null ? 0n : amountWei;
      return { key, amountWei, runningWei };
    });
}

export type EpochLie = (leaves: EpochLeaves, before: readonly KeyedPayout[]) => EpochLeaves;
const THIEF = accountKey(addressOfPrivateKey(keyOf('thief')));
const isOfReceipt = ({ key, source }: Payment) =>
  source !== POOL_SOURCE && accountOfKey(key) !== null;

/** Lies of one leaf; all that can be made to fit is made to. */
export const LIES = {
  EPOCH_LIST_UNORDERED: ({ payouts, payments, receipts: [first, second, ...rest] }) => ({
    payouts,
    payments,
    receipts: [second as Bytes32, first as Bytes32, ...rest],
  }),
  EPOCH_PAYMENT_SUM_WRONG: ({ payouts, payments, receipts }) => ({
    payouts,
    payments: payments.map((leaf, i) =>
      i === 1 ? { ...leaf, runningWei: leaf.runningWei + 1n } : leaf,
    ),
    receipts,
  }),
  EPOCH_MOVEMENT_WRONG: ({ payouts, payments, receipts }) => ({
    payouts: summed(
      payouts.map((leaf, i) => (i === 0 ? { ...leaf, amountWei: leaf.amountWei + 1n } : leaf)),
    ),
    payments,
    receipts,
  }),
  EPOCH_PAYMENT_WRONG: ({ payments, receipts }, before) => {
    const at = payments.findIndex(isOfReceipt);
    const wrong = payments.map((leaf, i) => (i === at ? { ...leaf, key: THIEF } : leaf));
    return leavesOver(wrong, receipts, before);
  },
  EPOCH_PAYMENT_UNBACKED: ({ payments, receipts }, before) => {
    const more = { key: THIEF, source: hashOf('no receipt'), amountWei: 5n };
    return leavesOver([...payments, more], receipts, before);
  },
  EPOCH_STAKER_SHARE_WRONG: ({ payments, receipts }, before) => {
    const at = payments.findIndex(({ source }) => source === POOL_SOURCE);
    const wrong = payments.map((leaf, i) =>
      i === at ? { ...leaf, amountWei: leaf.amountWei - 1n } : leaf,
    );
    return leavesOver(wrong, receipts, before);
  },
} satisfies Record<string, EpochLie>;
