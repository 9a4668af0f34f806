// A node whose key is a worker, on the real contracts; the key of its owner signs once and is nowhere else.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Wallet, ZeroHash } from 'ethers';
import { contractInterfaces } from '#contracts';
import { type Address, fromHex, type Hex, parseAddress, toHex } from '#crypto';
import {
  cidOf,
  encodeReceiptFile,
  PRESETS,
  signWorkerKey,
  TASK_STATES,
  type WorkerAuthorisation,
} from '#protocol';
import { startChain, TEST_CHAIN_ID } from '../../contracts/harness.ts';
import {
  announce,
  bonds,
  commitResult,
  commitVote,
  drawn,
  INVALID,
  pay,
  publish,
  refuses,
  revealResult,
  revealVote,
  rules,
  stake,
  timing,
  VALID,
  vote,
} from '../../contracts/test/fixtures.ts';
import { keyOf, sampleAnswer } from '../../protocol/fixture.ts';
import type { LogFilter } from '../chain/client.ts';
import { NodeError, type NodeErrorCode } from '../errors.ts';
import { silentLog } from '../gateway/testing.ts';
import { createChainPort } from './chain-port.ts';
import { createChainView } from './chain-view.ts';
import type { BlockPort } from './datanets.ts';
import { openEpochLog } from './epoch-log.ts';
import { createEpochs } from './epochs.ts';
import { ensureStake, ROLE, readStake, readStakers } from './staking.ts';
import { createTaskService } from './tasks.ts';
import type { Trainer } from './trainer.ts';
import {
  assertInForce,
  nameWorker,
  readAuthorisation,
  readStanding,
  watchRetirement,
} from './worker.ts';

const chain = await startChain();
const { Epochs, Staking, TaskEscrow } = chain.contracts;
const STAKE_WEI = 200n * 10n ** 18n;
const DEADLINE = 4_000_000_000;
const ROLES = ROLE.provider | ROLE.verifier;
const signal = new AbortController().signal;
const [cold, other, requester, ...verifiers] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
// The provider of the sample answer, so that the receipts it signed are those of a worker key.
const hot = new Wallet(toHex(keyOf('provider')));
const next = new Wallet(toHex(keyOf('next')));
const client = new Wallet(toHex(keyOf('client')));
for (const { address } of [hot, next, client])
  await chain.request('hardhat_setBalance', [address, `0x${(10n ** 18n).toString(16)}`]);
await chain.send(cold, 'Staking', 'deposit', [], STAKE_WEI);

let before = '';
beforeEach(async () => {
  before = await chain.snapshot();
});
afterEach(() => chain.revert(before));

const keyBytes = ({ privateKey }: Wallet) => fromHex(privateKey);
const addressOf = (wallet: Wallet): Address => parseAddress(wallet.address);

/** A node's end of the chain: sends each key once, as the outbox does, and says which. */
function nodeOf(wallet: Wallet) {
  const sent = new Map<string, ReturnType<typeof chain.sendData>>();
  let queue: Promise<unknown> = Promise.resolve();
  const { contracts } = chain.deployment;
  const port = createChainPort(addressOf(wallet), contracts, contractInterfaces, {
    call: (request) => chain.provider.call(request),
    submit: ({ key, to, data, valueWei }) => {
      const receipt = sent.get(key) ?? queue.then(() => chain.sendData(wallet, to, data, valueWei));
      sent.set(key, receipt);
      queue = receipt.catch(() => undefined);
      return receipt.then((each) => ({ ...each, logs: [...each.logs] }));
    },
  });
  return {
    chain: port,
    privateKey: keyBytes(wallet),
    client: {
      chainId: TEST_CHAIN_ID,
      block: async () => ({ number: 0, hash: '', prevRandao: '', timestamp: await chain.now() }),
    },
    sent: () => [...sent.keys()],
    idle: () => queue,
  };
}

type Node = ReturnType<typeof nodeOf>;

/** Logs as a node's client gives them. */
async function logsOf({ address, topics }: LogFilter, fromBlock: number) {
  const head = await chain.provider.getBlockNumber();
  const filter = { address: address as string, topics: [...(topics as string[])], fromBlock };
  const found = fromBlock > head ? [] : await chain.provider.getLogs(filter);
  return { logs: found.map((log) => ({ ...log, logIndex: log.index })), nextBlock: head + 1 };
}

function memoryBlocks(): BlockPort {
  const blocks = new Map<string, Uint8Array>();
  const none = () => Promise.reject(new Error('nobody has it'));
  return {
    get: async (cid) => blocks.get(cid) ?? none(),
    put: async (bytes) => {
      blocks.set(cidOf(bytes).toString(), bytes);
      return cidOf(bytes).toString();
    },
    putLarge: none,
    getLarge: none,
    has: async (cid) => blocks.has(cid),
    provide: async () => true,
  };
}

/** What the owner signs, wherever its key is; changes are mistakes. */
async function authorise(
  worker: Wallet,
  changes: Partial<WorkerAuthorisation> & { owner?: Address } = {},
  signer = cold,
): Promise<WorkerAuthorisation> {
  const statement = {
    chainId: TEST_CHAIN_ID,
    staking: parseAddress(chain.deployment.contracts.Staking),
    owner: addressOf(cold),
    worker: addressOf(worker),
    nonce: Number(await Staking.workerNonce(cold.address)),
    deadline: DEADLINE,
    ...changes,
  };
  return { ...statement, ownerSignature: signWorkerKey(statement, keyBytes(signer)) };
}

/** A node that has just been named and started, as `openledger up --authorisation` does it. */
async function startWorker(wallet: Wallet) {
  const node = nodeOf(wallet);
  await nameWorker(node, await authorise(wallet));
  await assertInForce(node.chain);
  await ensureStake({ chain: node.chain, targetWei: STAKE_WEI, roles: ROLES, serves: true });
  return node;
}

test('a worker takes up its owner’s stake: nothing is deposited, roles and bond are its own', async () => {
  const node = await startWorker(hot);
  assert.deepEqual(node.sent(), [
    `worker/${addressOf(cold)}/0/${DEADLINE}`,
    `stake/roles/${ROLES}`,
    'stake/serve',
  ]);
  const state = await readStake(node.chain, addressOf(hot));
  assert.equal(state.stakeWei, STAKE_WEI);
  assert.equal(state.servingLockWei, bonds.servingLockWei);
  assert.deepEqual(await readStanding(node.chain, addressOf(hot)), {
    owner: addressOf(cold),
    worker: addressOf(hot),
  });
  assert.deepEqual(
    (await readStakers(node.chain)).map(({ account }) => account),
    [addressOf(hot)],
  );
  // A start again, after a crash anywhere: the same steps by the same keys, and nothing more.
  assert.equal(await nameWorker(node, await authorise(hot, { nonce: 0 })), null);
  await ensureStake({ chain: node.chain, targetWei: STAKE_WEI, roles: ROLES, serves: true });
  assert.equal(node.sent().length, 3);
});

test('a worker whose owner has staked nothing adds to the owner’s stake', async () => {
  const owner = verifiers[0] as Wallet;
  const node = nodeOf(other);
  await nameWorker(node, await authorise(other, { owner: addressOf(owner), nonce: 0 }, owner));
  await ensureStake({ chain: node.chain, targetWei: STAKE_WEI, roles: ROLES, serves: true });
  assert.equal((await Staking.getAccount(owner.address)).stakeWei, STAKE_WEI);
  await refuses(chain.send(other, 'Staking', 'requestThaw', [1n]), 'StakingFreeShort', [
    other.address,
    1n,
    0n,
  ]);
});

test('clients are sent to the key in force: not to its owner, not to one that was replaced', async () => {
  const node = await startWorker(hot);
  const view = createChainView(node.chain, TEST_CHAIN_ID, () => 0);
  assert.equal(await view.isServing(addressOf(hot)), true);
  // The contract shows an owner its worker's bond; it does not answer for what the owner signs.
  assert.ok((await readStake(node.chain, addressOf(cold))).servingLockWei > 0n);
  assert.equal(await view.isServing(addressOf(cold)), false);
  const successor = await startWorker(next);
  assert.ok(successor.sent().includes('stake/serve'), 'the next key has a bond of its own');
  assert.equal(await view.isServing(addressOf(hot)), false);
  assert.equal(await view.isServing(addressOf(next)), true);
});

/** The task service of a node that trains nothing and finds every result right. */
function tasksOf(node: Node) {
  const trainer: Trainer = {
    start: () => undefined,
    progress: () => null,
    keepOnly: () => undefined,
    close: async () => undefined,
  };
  const tasks = createTaskService({
    chain: node.chain,
    head: async () => ({
      number: await chain.provider.getBlockNumber(),
      timestamp: await chain.now(),
    }),
    privateKey: node.privateKey,
    trainer,
    verify: async () => ({ verdict: 'VALID', verificationHash: ZeroHash as Hex, findings: [] }),
    timing: { ...PRESETS.local, staggerMs: 0 },
    log: silentLog as never,
  });
  return {
    ...tasks,
    /** One tick, and what it submitted. */
    tick: async () => {
      await tasks.tick(signal);
      await node.idle();
    },
  };
}

const stateOf = async (taskId: bigint) =>
  TASK_STATES[Number((await TaskEscrow.getTask(taskId)).state)];
const lockedOf = async (wallet: Wallet) => (await Staking.getAccount(wallet.address)).lockedWei;

test('a worker claims a task with its owner’s stake, and votes where it is drawn', async () => {
  const node = await startWorker(hot);
  const tasks = tasksOf(node);
  const datanet = await publish(chain, requester);
  const own = await announce(chain, requester, datanet);
  await tasks.tick();
  assert.equal((await TaskEscrow.getTask(own)).provider, hot.address);
  assert.equal(await lockedOf(cold), bonds.servingLockWei + bonds.trainingLockWei);
  assert.equal(await tasks.undertaken(), 1);
  // All that can be drawn are the worker and two others.
  await stake(chain, other, ROLE.provider);
  const seats = verifiers.slice(0, 2);
  for (const wallet of seats) await stake(chain, wallet, ROLE.verifier);
  const judged = await announce(chain, requester, datanet);
  await chain.send(other, 'TaskEscrow', 'claim', [judged]);
  await commitResult(chain, other, judged);
  await revealResult(chain, other, judged);
  await chain.mine(2);
  await tasks.tick();
  assert.equal(await stateOf(judged), 'Voting', 'the worker drew the committee in its turn');
  await tasks.tick();
  await tasks.tick();
  for (const wallet of seats) await commitVote(chain, wallet, judged);
  await tasks.tick();
  for (const wallet of seats) await revealVote(chain, wallet, judged);
  await chain.send(requester, 'TaskEscrow', 'tally', [judged]);
  assert.equal(await stateOf(judged), 'Registered');
  const { committee } = await TaskEscrow.getTask(judged);
  const seat = committee.find(({ verifier }) => verifier === hot.address);
  assert.equal(seat?.verdict, VALID);
});

test('WORKER_KEY_RETIRED: a replaced worker takes nothing new, finishes what it holds, and ends', async () => {
  const node = await startWorker(hot);
  const tasks = tasksOf(node);
  const datanet = await publish(chain, requester);
  const taskId = await announce(chain, requester, datanet);
  await tasks.tick();
  const told: unknown[] = [];
  let settled = 0;
  let why: NodeError | null = null;
  const retirement = watchRetirement(
    node.chain,
    tasks.undertaken,
    async () => {
      settled += 1;
    },
    { warn: (_message, fields) => told.push(fields) },
  );
  void retirement.retired.then((error) => {
    why = error;
  });
  await retirement.tick();
  assert.deepEqual([told, settled, why], [[], 0, null]);
  await startWorker(next);
  await retirement.tick();
  await retirement.tick();
  assert.deepEqual([told, settled, why], [[{ left: 1 }], 0, null], 'its task is still under way');
  await chain.pass(rules.leaseSeconds + 1n);
  await chain.send(requester, 'TaskEscrow', 'expire', [taskId]);
  const before = node.sent().length;
  await announce(chain, requester, datanet);
  await tasks.tick();
  assert.equal(node.sent().length, before, 'nothing is claimed by a retired key');
  await retirement.tick();
  const error = await retirement.retired;
  assert.deepEqual([error.code, settled], ['WORKER_KEY_RETIRED', 1]);
  await assert.rejects(assertInForce(node.chain), isError('WORKER_KEY_RETIRED'));
  await assert.rejects(
    async () => nameWorker(node, await authorise(hot)),
    isError('WORKER_KEY_RETIRED'),
  );
});

test('a worker gives back what an earlier key of its owner has in an escalated attempt', async () => {
  await startWorker(hot);
  const datanet = await publish(chain, requester);
  const seats = verifiers.slice(0, 3);
  for (const wallet of seats) await stake(chain, wallet, ROLE.verifier);
  const taskId = await announce(chain, requester, datanet);
  await chain.send(hot, 'TaskEscrow', 'claim', [taskId]);
  await commitResult(chain, hot, taskId);
  await revealResult(chain, hot, taskId);
  const committee = await drawn(chain, taskId);
  await vote(chain, committee, taskId, [INVALID, VALID, VALID]);
  const successor = await startWorker(next);
  await chain.pass(timing.challengeWindowSeconds + timing.thawSeconds);
  assert.equal((await Staking.getLock(await TaskEscrow.lockIdOf(taskId, 1))).amountWei > 0n, true);
  await tasksOf(successor).tick();
  assert.equal((await Staking.getLock(await TaskEscrow.lockIdOf(taskId, 1))).amountWei, 0n);
});

test('a worker anchors an epoch of what it served, with a bond of its owner’s, and draws its pay', async () => {
  const node = await startWorker(hot);
  const sample = sampleAnswer();
  await chain.send(other, 'Staking', 'deposit', [], 100n * 10n ** 18n);
  await pay(chain, client, hot, 0n, sample.built.receipt.feeWei);
  const { adapter } = sample.file;
  const { address } = hot;
  await chain.sendAs(chain.deployment.contracts.TaskEscrow, 'ModelRegistry', 'registerAdapter', [
    {
      ...adapter,
      ...{ registeredAt: 0, owner: address, provider: address, taskId: 7n },
      ...{ traceRoot: ZeroHash, manifest: ZeroHash, name: 'weir' },
    },
  ]);
  const clock = { nowMs: 0 };
  const epochs = createEpochs({
    chain: node.chain,
    blocks: memoryBlocks(),
    chainSeconds: chain.now,
    ...openEpochLog({ logs: logsOf }, chain.deployment),
    domain: {
      chainId: chain.deployment.chainId,
      verifyingContract: parseAddress(chain.deployment.contracts.Referee),
    },
    receipts: async function* () {
      yield encodeReceiptFile(sample.file);
    },
    treasury: parseAddress(chain.treasury.address),
    anchors: true,
    epochAgeMs: 1_000,
    nowMs: () => clock.nowMs,
    log: silentLog as never,
  });
  const lockedWei = await lockedOf(cold);
  await epochs.tick(signal);
  clock.nowMs = 2_000;
  await epochs.tick(signal);
  assert.equal((await Epochs.getEpoch(1)).anchorer, address);
  assert.ok((await lockedOf(cold)) > lockedWei, 'the bond is of the owner’s stake');
  await chain.pass(timing.challengeWindowSeconds);
  await epochs.tick(signal);
  const owed = await epochs.claimOf(addressOf(hot));
  assert.ok(owed !== null && owed.claimableWei > 0n);
  await epochs.relayClaim(owed);
  assert.equal(await Epochs.claimedWei(address), owed.cumulativeWei);
  // The stakers' part is the owner's, whoever works with its stake.
  assert.ok(((await epochs.claimOf(addressOf(cold)))?.claimableWei ?? 0n) > 0n);
});

test('an owner thaws and takes out stake while its worker serves', async () => {
  const node = await startWorker(hot);
  await chain.send(cold, 'Staking', 'requestThaw', [50n * 10n ** 18n]);
  await chain.pass(timing.thawSeconds);
  await chain.send(cold, 'Staking', 'withdraw', []);
  const state = await readStake(node.chain, addressOf(hot));
  assert.deepEqual([state.stakeWei, state.listed], [STAKE_WEI - 50n * 10n ** 18n, true]);
  // What its owner took out is not put back at the next start.
  await ensureStake({ chain: node.chain, targetWei: STAKE_WEI, roles: ROLES, serves: true });
  assert.deepEqual(await readStake(node.chain, addressOf(hot)), state);
});

const isError = (code: NodeErrorCode) => (error: unknown) =>
  error instanceof NodeError && error.code === code && error.fix !== '';

const REFUSED: [NodeErrorCode, (owner: Wallet) => Promise<WorkerAuthorisation>][] = [
  ['WORKER_KEY_WRONG_CHAIN', () => authorise(hot, { chainId: TEST_CHAIN_ID + 1 })],
  [
    'WORKER_KEY_WRONG_CONTRACT',
    () => authorise(hot, { staking: parseAddress(chain.deployment.contracts.Referee) }),
  ],
  ['WORKER_KEY_WRONG_WORKER', () => authorise(next)],
  ['WORKER_KEY_WRONG_SIGNER', () => authorise(hot, {}, other)],
  ['WORKER_KEY_WRONG_NONCE', () => authorise(hot, { nonce: 1 })],
  ['WORKER_KEY_EXPIRED', () => authorise(hot, { deadline: 1 })],
];

for (const [code, given] of REFUSED) {
  test(`${code}: an unfit authorisation is refused before anything is sent`, async () => {
    const node = nodeOf(hot);
    await assert.rejects(nameWorker(node, await given(cold)), isError(code));
    assert.deepEqual(node.sent(), []);
  });
}

test('a statement that is mined while it is looked at is in force, and no wrong nonce', async () => {
  const node = nodeOf(hot);
  const authorisation = await authorise(hot);
  let sent = false;
  const late = {
    ...node.chain,
    read: async <Value>(...call: Parameters<typeof node.chain.read>): Promise<Value> => {
      if (call[1] === 'workerNonce' && !sent) {
        sent = true;
        await nameWorker(nodeOf(hot), authorisation);
      }
      return node.chain.read<Value>(...call);
    },
  };
  assert.equal(await nameWorker({ ...node, chain: late }, authorisation), null);
  assert.deepEqual(node.sent(), []);
});

test('WORKER_KEY_TAKEN: a key that works for one owner takes up no other’s work', async () => {
  const node = await startWorker(hot);
  const { length } = node.sent();
  const owner = addressOf(other);
  await assert.rejects(
    nameWorker(node, await authorise(hot, { owner, nonce: 0 }, other)),
    isError('WORKER_KEY_TAKEN'),
  );
  assert.equal(node.sent().length, length);
});

test('WORKER_KEY_NAMED: a node does not run with the key of an owner that has named a worker', async () => {
  await assertInForce(nodeOf(cold).chain);
  await startWorker(hot);
  await assert.rejects(assertInForce(nodeOf(cold).chain), isError('WORKER_KEY_NAMED'));
});

test('FILE_UNREADABLE: what is no authorisation names the field', async () => {
  const text = JSON.stringify({ ...(await authorise(hot)), format: 'x' });
  assert.throws(
    () => readAuthorisation(text, 'auth.json'),
    (error) => isError('FILE_UNREADABLE')(error) && (error as Error).message.includes('format'),
  );
});
