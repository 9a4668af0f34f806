/**
 * An epoch: which receipts are paid, what everybody is owed since the beginning, and the roots and
 * the manifest that are anchored (docs/protocol.md, section 5). The same inputs give the same roots.
 */
import { type Address, type Bytes32, buildTree, type MerkleTree, proveLeaf, toHex } from '#crypto';
import type { CID } from './cbor.ts';
import {
  accountKey,
  accountOfKey,
  channelKeyOf,
  type KeyedPayout,
  keyedPayouts,
  type Payment,
  type PaymentLeaf,
  POOL_KEY,
  POOL_SOURCE,
  paymentLeavesOf,
  payoutLeavesOf,
  receiptLeavesOf,
  sumPayments,
} from './epoch-trees.ts';
import {
  compareAccounts,
  type Payout,
  type PayoutLeaf,
  sumPayouts,
  withRunningSums,
} from './payouts.ts';
import { receiptHash } from './receipt.ts';
import type { EpochProof, ReceiptFile } from './receipt-file.ts';

/** What of a receipt goes into an epoch. */
export type EpochReceipt = {
  /** The receipt file, as it was before it was anchored; null of one that was only presented on chain. */
  readonly file: CID | null;
  readonly receiptHash: Bytes32;
  readonly client: Address;
  readonly provider: Address;
  readonly adapterId: Bytes32;
  readonly issuedAt: number;
  readonly feeWei: bigint;
  readonly modelOwnerWei: bigint;
  readonly stakersWei: bigint;
  readonly fallbackWei: bigint;
  /** The contributors' sums. */
  readonly payouts: readonly Payout[];
};

/** Fees between a client and a provider, since the beginning. */
export type ChannelFees = {
  readonly client: Address;
  readonly provider: Address;
  readonly feeWei: bigint;
};
export type Stake = { readonly account: Address; readonly stakeWei: bigint };
export type ModelOwner = { readonly adapterId: Bytes32; readonly owner: Address };

/** Everything that is needed to compute an epoch, and what came out: the manifest's contents. */
export type EpochManifest = {
  readonly epoch: number;
  /** Digest of the previous epoch's manifest; null in the first. */
  readonly previous: Bytes32 | null;
  /** Who is paid where there is nobody else. */
  readonly treasury: Address;
  /** Pots of all epochs together when this one was computed. */
  readonly potTotalWei: bigint;
  /** Stakes at the end of the block in which the epoch opened, by the stake's owner. */
  readonly stakers: readonly Stake[];
  readonly modelOwners: readonly ModelOwner[];
  /** What vouchers collected on chain, by client and provider. */
  readonly collected: readonly ChannelFees[];
  /** The receipts paid in this epoch, by receipt hash. */
  readonly receipts: readonly EpochReceipt[];
  /** What receipts of all epochs account for of what was collected. */
  readonly covered: readonly ChannelFees[];
  /** Cumulative, by account, with running sums: the first of the payout leaves; `covered` are the rest. */
  readonly payouts: readonly PayoutLeaf[];
};

/** What the previous epoch left behind; of the first epoch, nothing. */
export type PreviousEpoch = {
  readonly digest: Bytes32;
  readonly manifest: EpochManifest;
} | null;

export type EpochInputs = {
  readonly epoch: number;
  readonly previous: PreviousEpoch;
  readonly treasury: Address;
  readonly potTotalWei: bigint;
  readonly stakers: readonly Stake[];
  readonly modelOwners: readonly ModelOwner[];
  readonly collected: readonly ChannelFees[];
  /** Verified receipts; those paid in earlier epochs must be left out by `isPaid`. */
  readonly receipts: readonly EpochReceipt[];
  readonly isPaid: (receiptHash: Bytes32) => boolean;
};

/** The line of a receipt file. @param file CID of its canonical bytes without an epoch's proof */
export function epochReceiptOf({ receipt, split, payouts }: ReceiptFile, file: CID): EpochReceipt {
  return {
    file,
    receiptHash: receiptHash(receipt),
    client: receipt.client,
    provider: receipt.provider,
    adapterId: receipt.adapterId,
    issuedAt: receipt.issuedAt,
    feeWei: receipt.feeWei,
    modelOwnerWei: split.modelOwnerWei,
    stakersWei: split.stakersWei,
    fallbackWei: split.fallbackWei,
    payouts,
  };
}

const channelKey = (each: { readonly client: Address; readonly provider: Address }) =>
  `${each.client}/${each.provider}`;
const compareHex = compareAccounts;
const compareChannels = (a: ChannelFees, b: ChannelFees) =>
  compareHex(a.client, b.client) || compareHex(a.provider, b.provider);
const sumWei = (payouts: readonly Payout[]) =>
  payouts.reduce((sum, { amountWei }) => sum + amountWei, 0n);

/** What a receipt takes out of the pot. */
export function potPartOf(receipt: EpochReceipt): bigint {
  const { modelOwnerWei, stakersWei, fallbackWei, payouts } = receipt;
  return modelOwnerWei + stakersWei + fallbackWei + sumWei(payouts);
}

/**
 * Computes an epoch. A receipt is paid once, and only as far as vouchers of its client to its
 * provider were collected; the others wait for a later epoch. The total never exceeds the pots.
 */
export function aggregateEpoch(inputs: EpochInputs): EpochManifest {
  const before = inputs.previous?.manifest ?? null;
  const covered = new Map(before?.covered.map((each) => [channelKey(each), each]) ?? []);
  const collected = new Map(inputs.collected.map((each) => [channelKey(each), each.feeWei]));
  let totalWei = sumWei(before?.payouts ?? []);
  const paid = new Map<Bytes32, EpochReceipt>();
  for (const receipt of inOrder(inputs.receipts)) {
    if (receipt.feeWei === 0n || paid.has(receipt.receiptHash)) continue;
    if (inputs.isPaid(receipt.receiptHash)) continue;
    const key = channelKey(receipt);
    const feeWei = (covered.get(key)?.feeWei ?? 0n) + receipt.feeWei;
    const partWei = potPartOf(receipt);
    if (feeWei > (collected.get(key) ?? 0n) || totalWei + partWei > inputs.potTotalWei) continue;
    covered.set(key, { client: receipt.client, provider: receipt.provider, feeWei });
    totalWei += partWei;
    paid.set(receipt.receiptHash, receipt);
  }
  const receipts = [...paid.values()].sort((a, b) => compareHex(a.receiptHash, b.receiptHash));
  const stakers = [...inputs.stakers].sort((a, b) => compareAccounts(a.account, b.account));
  const used = new Set(receipts.map(({ adapterId }) => adapterId));
  const modelOwners = inputs.modelOwners
    .filter(({ adapterId }) => used.has(adapterId))
    .sort((a, b) => compareHex(a.adapterId, b.adapterId));
  const { treasury } = inputs;
  const due = paymentsOf({ receipts, stakers, modelOwners, treasury }).flatMap(
    ({ key, amountWei }): readonly Payout[] => {
      const account = accountOfKey(key);
      return account === null ? [] : [{ account, amountWei }];
    },
  );
  return {
    epoch: inputs.epoch,
    previous: inputs.previous?.digest ?? null,
    treasury,
    potTotalWei: inputs.potTotalWei,
    stakers,
    modelOwners,
    collected: [...inputs.collected].sort(compareChannels),
    receipts,
    covered: [...covered.values()].sort(compareChannels),
    payouts: withRunningSums(sumPayouts([...(before?.payouts ?? []), ...due])),
  };
}

/** The order in which receipts are considered: the older first, then by hash. */
function inOrder(receipts: readonly EpochReceipt[]): readonly EpochReceipt[] {
  return [...receipts].sort(
    (a, b) => a.issuedAt - b.issuedAt || compareHex(a.receiptHash, b.receiptHash),
  );
}

/**
 * All payments of an epoch: what its receipts give to contributors, model owners, the treasury, the
 * stakers' pool and their channels, and what each staker gets of the pool.
 */
export function paymentsOf({
  receipts,
  stakers,
  modelOwners,
  treasury,
}: Pick<
  EpochManifest,
  'receipts' | 'stakers' | 'modelOwners' | 'treasury'
>): readonly PaymentLeaf[] {
  const owners = new Map(modelOwners.map(({ adapterId, owner }) => [adapterId, owner]));
  const payments: Payment[] = [];
  let poolWei = 0n;
  for (const receipt of receipts) {
    const source = receipt.receiptHash;
    const owner = owners.get(receipt.adapterId) ?? treasury;
    const accounts = [
      ...receipt.payouts,
      { account: owner, amountWei: receipt.modelOwnerWei },
      { account: treasury, amountWei: receipt.fallbackWei },
    ];
    for (const { account, amountWei } of accounts)
      payments.push({ key: accountKey(account), source, amountWei });
    payments.push({ key: POOL_KEY, source, amountWei: receipt.stakersWei });
    payments.push({ key: channelKeyOf(receipt), source, amountWei: receipt.feeWei });
    poolWei += receipt.stakersWei;
  }
  for (const { account, amountWei } of stakersPayouts(poolWei, stakers, treasury))
    payments.push({ key: accountKey(account), source: POOL_SOURCE, amountWei });
  return sumPayments(payments);
}

/**
 * Divides the stakers' part by stake, every part rounded down: what is left, less than a wei per
 * staker, stays in the pots. Without stake it is the treasury's.
 */
export function stakersPayouts(
  poolWei: bigint,
  stakers: readonly Stake[],
  treasury: Address,
): readonly Payout[] {
  const totalWei = stakers.reduce((sum, { stakeWei }) => sum + stakeWei, 0n);
  if (totalWei === 0n) return [{ account: treasury, amountWei: poolWei }];
  return stakers.map(({ account, stakeWei }) => ({
    account,
    amountWei: (poolWei * stakeWei) / totalWei,
  }));
}

/** What is anchored. */
export type EpochRoots = {
  readonly epoch: number;
  readonly payoutRoot: Bytes32;
  readonly leafCount: number;
  readonly totalWei: bigint;
  readonly receiptsRoot: Bytes32;
  readonly receiptCount: number;
  readonly paymentsRoot: Bytes32;
  readonly paymentCount: number;
  readonly payoutTree: MerkleTree;
  readonly receiptsTree: MerkleTree;
};

/** The leaves of an epoch's three trees as they are stated, right or wrong. */
export type EpochLeaves = {
  readonly payouts: readonly KeyedPayout[];
  readonly payments: readonly PaymentLeaf[];
  readonly receipts: readonly Bytes32[];
};

/** The leaves that a manifest comes to. */
export function epochLeaves(manifest: EpochManifest): EpochLeaves {
  return {
    payouts: keyedPayouts(manifest.payouts, manifest.covered),
    payments: paymentsOf(manifest),
    receipts: manifest.receipts.map(({ receiptHash: hash }) => hash),
  };
}

/** The roots of a manifest. */
export function epochRoots(manifest: EpochManifest): EpochRoots {
  const { payouts, payments, receipts } = epochLeaves(manifest);
  const payoutTree = buildTree(payoutLeavesOf(payouts));
  const receiptsTree = buildTree(receiptLeavesOf(receipts));
  const paymentsTree = buildTree(paymentLeavesOf(payments));
  return {
    epoch: manifest.epoch,
    payoutRoot: toHex(payoutTree.root),
    leafCount: payoutTree.count,
    totalWei: manifest.payouts.at(-1)?.runningWei ?? 0n,
    receiptsRoot: toHex(receiptsTree.root),
    receiptCount: receiptsTree.count,
    paymentsRoot: toHex(paymentsTree.root),
    paymentCount: paymentsTree.count,
    payoutTree,
    receiptsTree,
  };
}

/** The arguments of `Epochs.claim` for one account. */
export type PayoutClaim = {
  readonly account: Address;
  readonly cumulativeWei: bigint;
  readonly runningWei: bigint;
  readonly index: number;
  readonly proof: readonly Bytes32[];
};

/** What an account claims from a manifest's root, or null if it is owed nothing. */
export function payoutClaim(manifest: EpochManifest, account: Address): PayoutClaim | null {
  const index = manifest.payouts.findIndex((payout) => payout.account === account);
  if (index < 0) return null;
  const { siblings } = proveLeaf(epochRoots(manifest).payoutTree, index);
  const { amountWei, runningWei } = manifest.payouts[index] as PayoutLeaf;
  return { account, cumulativeWei: amountWei, runningWei, index, proof: siblings.map(toHex) };
}

/** The proof that a receipt is in the epoch, or null if it is not. */
export function epochProofOf(manifest: EpochManifest, hash: Bytes32): EpochProof | null {
  const index = manifest.receipts.findIndex((each) => each.receiptHash === hash);
  if (index < 0) return null;
  const { epoch, receiptsRoot, receiptCount, receiptsTree } = epochRoots(manifest);
  const { siblings } = proveLeaf(receiptsTree, index);
  return { epoch, receiptsRoot, receiptCount, index, siblings };
}
