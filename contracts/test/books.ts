/** A chain with two epochs' worth of receipts, for tests of what its epochs may pay. */
import assert from 'node:assert/strict';
import { getBytes, id, type TransactionReceipt, type Wallet, ZeroAddress, ZeroHash } from 'ethers';
import { type Address, type Bytes32, buildTree, parseAddress, toHex } from '#crypto';
import {
  type AnchoredPayments,
  adapterIdOf,
  type EpochLeaves,
  type EpochManifest,
  epochLeaves,
  type FeeRules,
  type KeyedPayout,
  type PaymentFault,
  type PaymentFaultCode,
  type Presentation,
  paymentLeavesOf,
  payoutLeavesOf,
  type ReceiptContent,
  receiptHash,
  receiptLeavesOf,
} from '#protocol';
import { contentOfSpec, epochOver, type ReceiptSpec } from '../../protocol/fixture-epochs.ts';
import { PaymentDisputesFault } from '../bindings/structs.ts';
import { decodeEvent } from '../connect.ts';
import { type EpochJudgingFunction, encodeEpochEvidence, evidenceCommitment } from '../evidence.ts';
import { startChain } from '../harness.ts';
import { assertConserved, bonds, finalise, isolate, pay, rootsOf, stake } from './fixtures.ts';

export const chain = await startChain();
export const {
  Epochs,
  EpochDisputes,
  Parameters,
  PaymentDisputes,
  Staking,
  InferenceEscrow,
  ModelRegistry,
} = chain.contracts;
export const [client, provider, liar, watcher, ...others] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
export const people = others.slice(0, 4).map(({ address }) => parseAddress(address));
export const treasury = parseAddress(chain.treasury.address);
export const owner = people[3] as Address;
export const domain = {
  chainId: chain.deployment.chainId,
  verifyingContract: parseAddress(chain.deployment.contracts.Referee),
};
export const adapterHash = id('weights') as Bytes32;
export const adapterId = adapterIdOf(7n, adapterHash);
export const FEE_WEI = 10_000_000n;

for (const wallet of [liar, watcher]) await stake(chain, wallet, 0);
const adapter = { version: 1, sketchCount: 1, registeredAt: 0, owner, provider: ZeroAddress };
const hashes = { baseHash: id('base'), datanetId: ZeroHash, adapterHash, sketchRoot: ZeroHash };
const rest = { adapterId: ZeroHash, traceRoot: ZeroHash, manifest: ZeroHash, name: 'a' };
await chain.sendAs(chain.deployment.contracts.TaskEscrow, 'ModelRegistry', 'registerAdapter', [
  { ...adapter, ...hashes, ...rest, taskId: 7n },
]);
export const issuedAt = Number((await ModelRegistry.ownerOf(adapterId)).since) + 1;
export const rules = await rulesAt(issuedAt);
await pay(chain, client, provider, 0n, 10n * FEE_WEI);
isolate(chain);

export async function rulesAt(second: number): Promise<FeeRules> {
  const [fees] = await Parameters.feesAround(second);
  assert.ok(fees !== undefined);
  return {
    platformPpm: Number(fees.platformPpm),
    modelOwnerPpm: Number(fees.modelOwnerPpm),
    stakersPpm: Number(fees.stakersPpm),
    dataPpm: Number(fees.dataPpm),
    learnedPpm: Number(fees.learnedPpm),
  };
}

/** A signed receipt of ten million wei of fee. */
export function contentOf(name: string, changes: Partial<ReceiptSpec> = {}): ReceiptContent {
  const base = {
    name,
    client: parseAddress(client.address),
    provider: getBytes(provider.privateKey),
    adapterId,
    feeWei: FEE_WEI,
    issuedAt,
    scored: people.slice(0, 2),
    matched: people.slice(1, 3),
  };
  return contentOfSpec({ ...base, ...changes }, domain, rules);
}

/** Two receipts in the first epoch, which is final, and two for the second. */
export const first = [contentOf('a'), contentOf('b', { scored: [], matched: [] })];
export const second = [contentOf('c', { adapterId: id('imported') as Bytes32 }), contentOf('d')];

export type Anchoring = {
  readonly epoch: number;
  readonly leaves: EpochLeaves;
  readonly before: readonly KeyedPayout[];
  readonly earlier: readonly (readonly Bytes32[])[];
};

export async function stakersOf(epoch: number) {
  const { openedBlock } = await Epochs.getEpoch(epoch);
  const stakes = await Staking.getStakes(openedBlock, 0, 100);
  return stakes.map((each) => ({ account: parseAddress(each.owner), stakeWei: each.stakeWei }));
}

export async function manifestOf(
  epoch: number,
  contents: readonly ReceiptContent[],
  previous: EpochManifest | null = null,
): Promise<EpochManifest> {
  const modelOwners = [{ adapterId, owner }];
  const inputs = { epoch, treasury, stakers: await stakersOf(epoch), modelOwners };
  return epochOver(contents, inputs, previous, rules);
}

export async function anchor({ epoch, leaves }: Pick<Anchoring, 'epoch' | 'leaves'>, from = liar) {
  const payouts = buildTree(payoutLeavesOf(leaves.payouts));
  const payments = buildTree(paymentLeavesOf(leaves.payments));
  const receipts = buildTree(receiptLeavesOf(leaves.receipts));
  const roots = rootsOf({
    payoutRoot: toHex(payouts.root),
    leafCount: payouts.count,
    paymentsRoot: toHex(payments.root),
    paymentCount: payments.count,
    receiptsRoot: toHex(receipts.root),
    receiptCount: receipts.count,
    totalWei: leaves.payouts.at(-1)?.runningWei ?? 0n,
  });
  await chain.send(from, 'Epochs', 'anchor', [epoch, roots, '0x']);
}

/** The first epoch anchored and final, the second computed and not anchored. */
export async function secondEpoch(contents = second): Promise<Anchoring> {
  const one = await manifestOf(1, first);
  const anchored = epochLeaves(one);
  await anchor({ epoch: 1, leaves: anchored });
  await finalise(chain, 1n);
  const two = await manifestOf(2, contents, one);
  const { payouts: before, receipts } = anchored;
  return { epoch: 2, leaves: epochLeaves(two), before, earlier: [receipts] };
}

/** What the chain says of an anchored epoch, as a watcher reads it. */
export async function judged(
  { epoch, leaves, before, earlier }: Anchoring,
  contents: readonly ReceiptContent[],
  presented: readonly Presentation[] = [],
): Promise<AnchoredPayments> {
  const { openedBlock, totalWei } = await Epochs.getEpoch(epoch);
  const channel = await InferenceEscrow.getChannel(client.address, provider.address);
  const potWei = (await Epochs.potTotalWei()) - (await Epochs.potOf(epoch + 1));
  const { since } = await ModelRegistry.ownerOf(adapterId);
  return {
    epoch,
    openedBlock: Number(openedBlock),
    totalWei,
    potWei,
    leaves,
    before,
    earlier,
    contents: new Map(contents.map((content) => [receiptHash(content.receipt), content])),
    presented,
    treasury,
    stakers: await stakersOf(epoch),
    ownerOf: (each) => (each === adapterId ? { owner, since: Number(since) } : null),
    rulesAt: () => [rules],
    collectedWei: () => channel.feeWei,
  };
}

export const encodedOf = ({ fn, evidence }: PaymentFault): string =>
  encodeEpochEvidence('PaymentDisputes', fn as EpochJudgingFunction['PaymentDisputes'], evidence);

export const show = ({ fn, evidence }: PaymentFault, from = watcher): Promise<TransactionReceipt> =>
  chain.send(from, 'PaymentDisputes', fn as 'challengeList', [evidence] as never);

export async function challenge(fault: PaymentFault, from = watcher): Promise<TransactionReceipt> {
  const commitment = evidenceCommitment(from.address, encodedOf(fault));
  await chain.send(from, 'Referee', 'commitEvidence', [commitment]);
  return show(fault, from);
}

export const FAULTS: Readonly<Record<PaymentFaultCode, bigint>> = {
  EPOCH_LIST_UNORDERED: PaymentDisputesFault.ListUnordered,
  EPOCH_PAYMENT_SUM_WRONG: PaymentDisputesFault.PaymentSums,
  EPOCH_MOVEMENT_WRONG: PaymentDisputesFault.Movement,
  EPOCH_PAYMENT_WRONG: PaymentDisputesFault.Payment,
  EPOCH_PAYMENT_UNBACKED: PaymentDisputesFault.Unbacked,
  EPOCH_STAKER_SHARE_WRONG: PaymentDisputesFault.StakerShare,
  EPOCH_FEES_UNCOLLECTED: PaymentDisputesFault.Uncollected,
  EPOCH_RECEIPT_REPEATED: PaymentDisputesFault.Repeated,
  EPOCH_RECEIPT_OMITTED: PaymentDisputesFault.Omitted,
};

/** Found, judged as the same fault, and rejected with the anchorer's bond. */
export async function rejects(fault: PaymentFault | null, code: PaymentFaultCode): Promise<void> {
  assert.ok(fault !== null, `${code} is not found`);
  assert.equal(fault.code, code);
  const { logs } = await challenge(fault);
  const events = logs.map((log) => decodeEvent(chain.deployment, log));
  const found = events.find((each) => each?.event === 'PaymentDisputed')?.args['fault'];
  assert.equal(found, FAULTS[code]);
  assert.equal(await Epochs.epochCount(), BigInt(fault.evidence.epoch - 1));
  // The watcher is a staker too: of a share it is the one who was wronged.
  const parts = code === 'EPOCH_STAKER_SHARE_WRONG' ? 5n : 4n;
  const gainWei = await Staking.credits(watcher.address);
  assert.equal(gainWei, (BigInt(bonds.minStakeWei) * parts) / 10n);
  await assertConserved(chain);
}
