/** Worker keys: a cold key owns the stake, a hot one works with it; what each may do, rotation, and what was signed stays judged. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Wallet } from 'ethers';
import { startChain, TEST_CHAIN_ID } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  announce,
  assertConserved,
  bonds,
  domainOf,
  INVALID,
  isolate,
  PROVIDER,
  publish,
  refuses,
  stake,
  timing,
  toVoting,
  VALID,
  VERIFIER,
  vote,
} from './fixtures.ts';

const chain = await startChain();
const { Staking, TaskEscrow } = chain.contracts;
const [cold, hot, next, requester, bob, ...others] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
isolate(chain);

const TYPES = {
  WorkerKey: [
    { name: 'owner', type: 'address' },
    { name: 'worker', type: 'address' },
    { name: 'nonce', type: 'uint256' },
    { name: 'deadline', type: 'uint64' },
  ],
};
const DEADLINE = 4_000_000_000n;

async function name(
  owner: Wallet,
  worker: Wallet,
  {
    signer = owner,
    consents = worker,
    deadline = DEADLINE,
    domain = domainOf(chain, 'Staking'),
  } = {},
) {
  const nonce = await Staking.workerNonce(owner.address);
  const message = { owner: owner.address, worker: worker.address, nonce, deadline };
  const args: [string, string, bigint, string, string] = [
    owner.address,
    worker.address,
    deadline,
    await signer.signTypedData(domain, TYPES, message),
    await consents.signTypedData(domain, TYPES, message),
  ];
  return chain.send(bob, 'Staking', 'setWorker', args);
}

describe('worker keys', () => {
  test('the worker works with the owner’s stake and cannot take a wei of it', async () => {
    await stake(chain, cold, 0);
    await name(cold, hot);
    await chain.send(hot, 'Staking', 'setRoles', [PROVIDER]);
    await chain.send(hot, 'Staking', 'deposit', [], OPEN_WEI);
    await chain.send(hot, 'Staking', 'registerServing', []);
    for (const account of [cold, hot]) {
      const state = await Staking.getAccount(account.address);
      assert.equal(state.stakeWei, 101n * OPEN_WEI);
      assert.equal(state.servingLockWei, bonds.servingLockWei);
      assert.equal(state.roles, BigInt(PROVIDER));
    }
    assert.deepEqual([...(await Staking.stakers())], [hot.address]);
    assert.equal((await Staking.getStakers(0, 9))[0]?.account, hot.address);
    assert.equal(await Staking.ownerOf(hot.address), cold.address);
    assert.equal(await Staking.workerOf(cold.address), hot.address);
    await refuses(chain.send(hot, 'Staking', 'requestThaw', [1n]), 'StakingFreeShort');
    await chain.send(cold, 'Staking', 'requestThaw', [50n * OPEN_WEI]);
    await chain.pass(timing.thawSeconds);
    await refuses(chain.send(hot, 'Staking', 'withdraw', []), 'StakingNothingThawing');
    const before = await chain.provider.getBalance(cold.address);
    await chain.send(cold, 'Staking', 'withdraw', []);
    assert.equal((await chain.provider.getBalance(cold.address)) - before, 50n * OPEN_WEI);
    await assertConserved(chain);
  });

  test('a task goes through with worker keys on both sides, and the owner of an excluded key is excluded', async () => {
    await stake(chain, cold, PROVIDER | VERIFIER);
    await name(cold, hot);
    for (const wallet of others.slice(0, 3)) await stake(chain, wallet, VERIFIER);
    const datanet = await publish(chain, requester);
    const taskId = await announce(chain, requester, datanet);
    const committee = await toVoting(chain, hot, taskId);
    assert.equal((await Staking.getAccount(cold.address)).lockedWei, bonds.trainingLockWei);
    assert.ok(
      committee.every(({ address }) => address !== hot.address && address !== cold.address),
    );
    await vote(chain, committee, taskId);
    assert.equal((await Staking.getAccount(cold.address)).lockedWei, 0n);
    await assertConserved(chain);
  });

  test('an owner whose attempt was escalated does not claim the task again by its next key', async () => {
    await stake(chain, cold, PROVIDER);
    await name(cold, hot);
    for (const wallet of others.slice(0, 3)) await stake(chain, wallet, VERIFIER);
    const datanet = await publish(chain, requester);
    const taskId = await announce(chain, requester, datanet);
    const committee = await toVoting(chain, hot, taskId);
    await vote(chain, committee, taskId, [INVALID, VALID, VALID]);
    await name(cold, next);
    for (const account of [cold, hot, next])
      assert.equal(await TaskEscrow.isExcluded(taskId, account.address), true);
    for (const account of [cold, next])
      await refuses(
        chain.send(account, 'TaskEscrow', 'claim', [taskId]),
        'TaskEscrowProviderExcluded',
      );
    await stake(chain, bob, PROVIDER);
    await chain.send(bob, 'TaskEscrow', 'claim', [taskId]);
  });

  test('who is drawn is the key that works', async () => {
    await stake(chain, cold, VERIFIER, 10_000n);
    await name(cold, hot);
    await stake(chain, bob, PROVIDER);
    for (const wallet of others.slice(0, 2)) await stake(chain, wallet, VERIFIER);
    const datanet = await publish(chain, requester);
    const committee = await toVoting(chain, bob, await announce(chain, requester, datanet));
    assert.ok(committee.some(({ address }) => address === hot.address));
  });

  test('rotation retires a key for ever, and its serving lock still answers for what it signed', async () => {
    await stake(chain, cold, PROVIDER);
    await name(cold, hot);
    await chain.send(hot, 'Staking', 'registerServing', []);
    await name(cold, next);
    const retired = await Staking.getAccount(hot.address);
    assert.equal(retired.freeWei, 0n);
    assert.equal(retired.roles, 0n);
    assert.equal(retired.servingLockWei, bonds.servingLockWei);
    await refuses(chain.send(hot, 'Staking', 'setRoles', [0]), 'StakingKeyRetired', [hot.address]);
    await refuses(chain.send(hot, 'Staking', 'registerServing', []), 'StakingKeyRetired');
    const datanet = await publish(chain, requester);
    const taskId = await announce(chain, requester, datanet);
    await refuses(chain.send(hot, 'TaskEscrow', 'claim', [taskId]), 'TaskEscrowNotProviderRole');
    await refuses(name(cold, hot), 'StakingKeyTaken', [cold.address, hot.address]);
    await refuses(name(bob, hot), 'StakingKeyTaken');
    // The new key serves beside the old lock, which its owner thaws without the old key.
    await chain.send(next, 'Staking', 'registerServing', []);
    await refuses(
      chain.send(bob, 'Staking', 'requestServingExitOf', [hot.address]),
      'StakingUnauthorised',
    );
    await chain.send(cold, 'Staking', 'requestServingExitOf', [hot.address]);
    await refuses(
      chain.send(bob, 'Staking', 'releaseServingOf', [hot.address]),
      'StakingServingExitPending',
    );
    const { Referee } = chain.deployment.contracts;
    const lockId = await Staking.servingLockId(hot.address);
    const before = await chain.snapshot();
    await chain.sendAs(Referee, 'Staking', 'slash', [lockId, bob.address, requester.address]);
    assert.equal((await Staking.getAccount(cold.address)).lockedWei, bonds.servingLockWei);
    await assertConserved(chain);
    await chain.revert(before);
    await chain.pass(timing.thawSeconds);
    await chain.send(bob, 'Staking', 'releaseServingOf', [hot.address]);
    assert.equal((await Staking.getAccount(cold.address)).lockedWei, bonds.servingLockWei);
    await assertConserved(chain);
  });

  test('StakingKeySignerMismatch: nobody names a key for another, or another’s key', async () => {
    await refuses(name(cold, hot, { signer: bob }), 'StakingKeySignerMismatch');
    await refuses(name(cold, hot, { consents: bob }), 'StakingKeySignerMismatch');
    const elsewhere = domainOf(chain, 'Staking', TEST_CHAIN_ID + 1);
    await refuses(name(cold, hot, { domain: elsewhere }), 'StakingKeySignerMismatch');
    await refuses(
      name(cold, hot, { domain: domainOf(chain, 'Referee') }),
      'StakingKeySignerMismatch',
    );
  });

  test('a rotation cannot be sent again after the next one', async () => {
    const message = { owner: cold.address, worker: hot.address, nonce: 0n, deadline: DEADLINE };
    const domain = domainOf(chain, 'Staking');
    const both = [
      await cold.signTypedData(domain, TYPES, message),
      await hot.signTypedData(domain, TYPES, message),
    ] as const;
    const send = () =>
      chain.send(bob, 'Staking', 'setWorker', [cold.address, hot.address, DEADLINE, ...both]);
    await send();
    await name(cold, next);
    await refuses(send(), 'StakingKeySignerMismatch');
    assert.equal(await Staking.workerOf(cold.address), next.address);
  });

  test('StakingKeyExpired, StakingKeyTaken: late, oneself, a staker, a worker as owner, an owner as worker', async () => {
    await refuses(name(cold, hot, { deadline: 1n }), 'StakingKeyExpired', [1n]);
    await refuses(name(cold, cold), 'StakingKeyTaken');
    await stake(chain, bob, 0);
    await refuses(name(cold, bob), 'StakingKeyTaken');
    await name(cold, hot);
    await refuses(name(hot, next), 'StakingKeyTaken');
    await refuses(name(next, cold), 'StakingKeyTaken');
  });
});
