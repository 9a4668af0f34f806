/** Shared steps of the contracts' tests: actors with stake, a datanet, tasks at a chosen stage, vouchers, payout trees. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach } from 'node:test';
import { AbiCoder, getBytes, hexlify, id, keccak256, type Wallet, ZeroHash } from 'ethers';
import { buildTree, type MerkleTree, proveLeaf } from '#crypto';
import { type EpochsRootsInput, TaskEscrowVerdict } from '../bindings/structs.ts';
import { moneyHolders } from '../connect.ts';
import { type Chain, Reverted, startChain, TEST_CHAIN_ID } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';

export const rules = presets.local.tasks;
export const bonds = presets.local.bonds;
export const timing = presets.local.timing;
export const PROVIDER = 1;
export const VERIFIER = 2;

const coder = AbiCoder.defaultAbiCoder();

/** hash(tag, words…) of the protocol. */
export function tagged(tag: string, types: readonly string[], words: readonly unknown[]): string {
  return keccak256(coder.encode(['bytes32', ...types], [id(tag), ...words]));
}

/** Expects a call to be refused with the custom error of this name, and with these arguments if given. */
export async function refuses(
  call: Promise<unknown>,
  error: string,
  args?: readonly unknown[],
): Promise<void> {
  const refused = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(refused instanceof Reverted, `expected ${error}, got ${String(refused)}`);
  assert.equal(refused.error, error, refused.message);
  if (args !== undefined) assert.deepEqual(refused.args, args);
}

/** Turns ethers' refusal of a view into Reverted, as `refuses` expects it. */
export function toReverted(reason: unknown): never {
  const { data } = reason as { data?: string };
  if (typeof data !== 'string') throw reason;
  throw new Reverted(data);
}

/** Every test of a file starts from the state in which the chain is now. */
export function isolate(chain: Chain): void {
  let before = '';
  beforeEach(async () => {
    before = await chain.snapshot();
  });
  afterEach(async () => {
    await chain.revert(before);
  });
}

/** What every contract that holds money says it holds is what it holds. */
export async function assertConserved(chain: Chain): Promise<void> {
  for (const name of moneyHolders) {
    const balance = await chain.provider.getBalance(chain.deployment.contracts[name]);
    assert.equal(await chain.contracts[name].accountedWei(), balance, `${name} is off its balance`);
  }
}

export async function stake(
  chain: Chain,
  wallet: Wallet,
  roles: number,
  open = 100n,
): Promise<void> {
  await chain.send(wallet, 'Staking', 'deposit', [], open * OPEN_WEI);
  if (roles !== 0) await chain.send(wallet, 'Staking', 'setRoles', [roles]);
}

export const BASE_HASH = id('base model');
export const RECORD_COUNT = 5;

export type Datanet = { datanetId: string; version: number };

/** A datanet with one version, and the base model registered. */
export async function publish(
  chain: Chain,
  curator: Wallet,
  recordCount = RECORD_COUNT,
): Promise<Datanet> {
  await chain.send(curator, 'DatanetRegistry', 'createDatanet', [id('MIT'), id('policy'), 'docs']);
  const count = await chain.contracts.DatanetRegistry.datanetCount();
  const [datanetId = ''] = await chain.contracts.DatanetRegistry.datanetIds(count - 1n, 1);
  await chain.send(curator, 'DatanetRegistry', 'publishVersion', [
    datanetId,
    id('version root'),
    recordCount,
    id('manifest'),
  ]);
  if (!(await chain.contracts.ModelRegistry.isBase(BASE_HASH))) {
    await chain.send(curator, 'ModelRegistry', 'registerBase', [
      BASE_HASH,
      'base',
      curator.address,
    ]);
  }
  return { datanetId, version: 1 };
}

/** Registers an adapter as the task escrow does, without a task. */
export async function registerAdapter(
  chain: Chain,
  owner: Wallet,
  provider: Wallet,
  sketchRoot: string,
  sketchCount: number,
): Promise<string> {
  const adapter = {
    adapterId: id('x'),
    baseHash: id('x'),
    datanetId: id('x'),
    version: 1,
    sketchCount,
    registeredAt: 0,
    owner: owner.address,
    provider: provider.address,
    taskId: 1,
    adapterHash: id('x'),
    sketchRoot,
    traceRoot: id('x'),
    manifest: id('x'),
    name: 'a',
  };
  const { TaskEscrow } = chain.deployment.contracts;
  await chain.sendAs(TaskEscrow, 'ModelRegistry', 'registerAdapter', [adapter]);
  return chain.contracts.ModelRegistry.adapterIdOf(1, id('x'));
}

export const SEGMENTS = 8;

export async function announce(
  chain: Chain,
  requester: Wallet,
  datanet: Datanet,
  rewardWei = 10n * OPEN_WEI,
): Promise<bigint> {
  await chain.send(
    requester,
    'TaskEscrow',
    'announce',
    [id('spec'), BASE_HASH, datanet.datanetId, datanet.version, SEGMENTS, 'adapter'],
    rewardWei,
  );
  return chain.contracts.TaskEscrow.taskCount();
}

export const TASK_REWARD_WEI = 10n * OPEN_WEI;

/** A chain with one announced task, its requester, and staked wallets with both roles. */
export async function startTask() {
  const chain = await startChain();
  const [requester, provider, other, ...verifiers] = chain.wallets.slice(0, 8) as [
    Wallet,
    Wallet,
    Wallet,
    ...Wallet[],
  ];
  for (const wallet of [provider, other, ...verifiers])
    await stake(chain, wallet, PROVIDER | VERIFIER);
  await stake(chain, requester, VERIFIER);
  const datanet = await publish(chain, requester);
  const taskId = await announce(chain, requester, datanet, TASK_REWARD_WEI);
  return { chain, requester, provider, other, verifiers, datanet, taskId };
}

export type ResultInput = {
  traceRoot: string;
  adapterHash: string;
  sketchRoot: string;
  manifest: string;
  salt: string;
  sketchCount: number;
};

export function resultOf(sketchRoot = id('sketches'), sketchCount = RECORD_COUNT): ResultInput {
  return {
    traceRoot: id('trace'),
    adapterHash: id('adapter'),
    sketchRoot,
    manifest: id('manifest'),
    salt: id('salt'),
    sketchCount,
  };
}

export function resultHash(taskId: bigint, provider: string, result: ResultInput): string {
  return tagged(
    'openledger/result/1',
    ['uint256', 'address', 'bytes32', 'bytes32', 'bytes32', 'bytes32', 'bytes32'],
    [
      taskId,
      provider,
      result.traceRoot,
      result.adapterHash,
      result.sketchRoot,
      result.manifest,
      result.salt,
    ],
  );
}

export async function commitResult(
  chain: Chain,
  provider: Wallet,
  taskId: bigint,
  result = resultOf(),
): Promise<void> {
  await chain.send(provider, 'TaskEscrow', 'commit', [
    taskId,
    resultHash(taskId, provider.address, result),
  ]);
}

export async function revealResult(
  chain: Chain,
  provider: Wallet,
  taskId: bigint,
  result = resultOf(),
): Promise<void> {
  await chain.send(provider, 'TaskEscrow', 'reveal', [
    taskId,
    result.traceRoot,
    result.adapterHash,
    result.sketchRoot,
    result.sketchCount,
    result.manifest,
    result.salt,
  ]);
}

/** Draws the committee once its seed exists, and gives the wallets of those drawn. */
export async function drawn(chain: Chain, taskId: bigint): Promise<Wallet[]> {
  await chain.mine(1);
  await chain.send(chain.deployer, 'TaskEscrow', 'drawCommittee', [taskId]);
  const { committee } = await chain.contracts.TaskEscrow.getTask(taskId);
  return committee.map(({ verifier }) => {
    const wallet = chain.wallets.find(({ address }) => address === verifier);
    assert.ok(wallet !== undefined, `drew ${verifier}, who is no wallet of this test`);
    return wallet;
  });
}

/** Claims, commits, reveals and draws. */
export async function toVoting(
  chain: Chain,
  provider: Wallet,
  taskId: bigint,
  result = resultOf(),
): Promise<Wallet[]> {
  await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
  await commitResult(chain, provider, taskId, result);
  await revealResult(chain, provider, taskId, result);
  return drawn(chain, taskId);
}

export const VALID = TaskEscrowVerdict.Valid;
export const INVALID = TaskEscrowVerdict.Invalid;

export function voteHash(taskId: bigint, verifier: string, verdict: bigint): string {
  return tagged(
    'openledger/vote/1',
    ['uint256', 'address', 'uint8', 'bytes32', 'bytes32'],
    [taskId, verifier, verdict, id('vote receipt'), id('vote salt')],
  );
}

export async function commitVote(
  chain: Chain,
  verifier: Wallet,
  taskId: bigint,
  verdict: bigint = VALID,
): Promise<void> {
  await chain.send(verifier, 'TaskEscrow', 'commitVote', [
    taskId,
    voteHash(taskId, verifier.address, verdict),
  ]);
}

export async function revealVote(
  chain: Chain,
  verifier: Wallet,
  taskId: bigint,
  verdict: bigint = VALID,
): Promise<void> {
  await chain.send(verifier, 'TaskEscrow', 'revealVote', [
    taskId,
    verdict,
    id('vote receipt'),
    id('vote salt'),
  ]);
}

/** All of a committee vote as given, in seat order, and the vote is tallied. */
export async function vote(
  chain: Chain,
  committee: readonly Wallet[],
  taskId: bigint,
  verdicts: readonly bigint[] = [VALID, VALID, VALID],
): Promise<void> {
  for (const [i, verifier] of committee.entries())
    await commitVote(chain, verifier, taskId, verdicts[i]!);
  for (const [i, verifier] of committee.entries())
    await revealVote(chain, verifier, taskId, verdicts[i]!);
  await chain.send(chain.deployer, 'TaskEscrow', 'tally', [taskId]);
}

// ------------------------------------------------------------------ vouchers

const VOUCHER_TYPES = {
  Voucher: [
    { name: 'client', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'cumulativeComputeWei', type: 'uint256' },
    { name: 'cumulativeFeeWei', type: 'uint256' },
  ],
};

export type Voucher = {
  client: string;
  provider: string;
  cumulativeComputeWei: bigint;
  cumulativeFeeWei: bigint;
};

export function domainOf(
  chain: Chain,
  contract: keyof Chain['contracts'],
  chainId = TEST_CHAIN_ID,
) {
  return {
    name: 'OpenLedger',
    version: '1',
    chainId,
    verifyingContract: chain.deployment.contracts[contract],
  };
}

export function signVoucher(
  chain: Chain,
  client: Wallet,
  voucher: Voucher,
  domain = domainOf(chain, 'InferenceEscrow'),
): Promise<string> {
  return client.signTypedData(domain, VOUCHER_TYPES, voucher);
}

/** The client deposits what the voucher needs, and the provider collects it. */
export async function pay(
  chain: Chain,
  client: Wallet,
  provider: Wallet,
  computeWei: bigint,
  feeWei: bigint,
): Promise<void> {
  const { InferenceEscrow } = chain.contracts;
  const paid = await InferenceEscrow.getChannel(client.address, provider.address);
  const voucher = {
    client: client.address,
    provider: provider.address,
    cumulativeComputeWei: paid.computeWei + computeWei,
    cumulativeFeeWei: paid.feeWei + feeWei,
  };
  await chain.send(client, 'InferenceEscrow', 'deposit', [provider.address], computeWei + feeWei);
  await chain.send(provider, 'InferenceEscrow', 'collect', [
    [voucher],
    [await signVoucher(chain, client, voucher)],
  ]);
}

// ------------------------------------------------------------------ payouts

export type Payout = { account: string; cumulativeWei: bigint };

/** Sum of the payouts up to and including one. */
export function runningSum(payouts: readonly Payout[], index: number): bigint {
  return payouts.slice(0, index + 1).reduce((sum, { cumulativeWei }) => sum + cumulativeWei, 0n);
}

const PAYOUT_WORDS = ['uint256', 'address', 'uint256', 'uint256'];

export function payoutTree(payouts: readonly Payout[]): MerkleTree {
  return buildTree(
    payouts.map(({ account, cumulativeWei }, i) =>
      getBytes(coder.encode(PAYOUT_WORDS, [i, account, cumulativeWei, runningSum(payouts, i)])),
    ),
  );
}

/** The arguments of Epochs.claim for one of the payouts; changes are lies. */
export function claimArgs(
  payouts: readonly Payout[],
  index: number,
  changes: Partial<Payout & { runningWei: bigint }> = {},
) {
  const { account, cumulativeWei, runningWei } = {
    runningWei: runningSum(payouts, index),
    ...payouts[index]!,
    ...changes,
  };
  const proof = siblings(payoutTree(payouts), index);
  return [account, cumulativeWei, runningWei, index, proof] as const;
}

/** What an epoch is anchored with; what is not given is nothing. */
export function rootsOf(changes: Partial<EpochsRootsInput>): EpochsRootsInput {
  return {
    payoutRoot: ZeroHash,
    receiptsRoot: ZeroHash,
    paymentsRoot: ZeroHash,
    manifest: id('epoch manifest'),
    totalWei: 0n,
    leafCount: 0,
    receiptCount: 0,
    paymentCount: 0,
    ...changes,
  };
}

export function siblings(tree: MerkleTree, index: number): string[] {
  return proveLeaf(tree, index).siblings.map((sibling) => hexlify(sibling));
}

/** Anchors the next epoch with these payouts and receipts. */
export async function anchor(
  chain: Chain,
  staker: Wallet,
  payouts: readonly Payout[],
  receipts: MerkleTree = buildTree([]),
): Promise<bigint> {
  const tree = payoutTree(payouts);
  const epoch = (await chain.contracts.Epochs.epochCount()) + 1n;
  const roots = rootsOf({
    payoutRoot: hexlify(tree.root),
    leafCount: payouts.length,
    totalWei: runningSum(payouts, payouts.length - 1),
    receiptsRoot: hexlify(receipts.root),
    receiptCount: receipts.count,
  });
  await chain.send(staker, 'Epochs', 'anchor', [epoch, roots, '0x']);
  return epoch;
}

export async function finalise(chain: Chain, epoch: bigint): Promise<void> {
  await chain.pass(timing.challengeWindowSeconds);
  await chain.send(chain.deployer, 'Epochs', 'finalise', [epoch]);
}
