/** TaskEscrow: the life of a task, and each silent party's timeout. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { id, type Wallet, ZeroHash } from 'ethers';
import { TaskEscrowState } from '../bindings/structs.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  assertConserved,
  BASE_HASH,
  bonds,
  commitResult,
  commitVote,
  drawn,
  INVALID,
  isolate,
  PROVIDER,
  RECORD_COUNT,
  refuses,
  resultHash,
  resultOf,
  revealResult,
  revealVote,
  rules,
  SEGMENTS,
  stake,
  startTask,
  TASK_REWARD_WEI,
  tagged,
  timing,
  toReverted,
  toVoting,
  VALID,
  VERIFIER,
  vote,
  voteHash,
} from './fixtures.ts';

const { chain, requester, provider, other, verifiers, datanet, taskId } = await startTask();
const { TaskEscrow, Staking, ModelRegistry } = chain.contracts;
isolate(chain);

const stateOf = async (id: bigint) => (await TaskEscrow.getTask(id)).state;
const freeOf = async (wallet: Wallet) => (await Staking.getAccount(wallet.address)).freeWei;

describe('TaskEscrow: the happy path', () => {
  test('announce stores the terms and copies the rules', async () => {
    const task = await TaskEscrow.getTask(taskId);
    assert.equal(task.requester, requester.address);
    assert.equal(task.state, TaskEscrowState.Announced);
    assert.equal(task.rewardWei, TASK_REWARD_WEI);
    assert.equal(task.segments, BigInt(SEGMENTS));
    assert.equal(task.baseHash, BASE_HASH);
    assert.equal(task.datanetId, datanet.datanetId);
    assert.equal(task.name, 'adapter');
    assert.equal(task.rules.committeeSize, rules.committeeSize);
    assert.equal(task.trainingLockWei, bonds.trainingLockWei);
    assert.equal(task.deadline, task.announcedAt + rules.claimSeconds);
    assert.equal(await TaskEscrow.escrowedWei(), TASK_REWARD_WEI);
    assert.equal((await TaskEscrow.getTasks(1, 10)).length, 1);
    assert.equal((await TaskEscrow.getTasks(0, 10)).length, 0);
    assert.equal((await TaskEscrow.getTasks(2, 10)).length, 0);
  });

  test('a valid result registers the adapter and pays provider and verifiers', async () => {
    const committee = await toVoting(chain, provider, taskId);
    assert.equal((await Staking.getAccount(provider.address)).lockedWei, bonds.trainingLockWei);
    await vote(chain, committee, taskId);
    const task = await TaskEscrow.getTask(taskId);
    assert.equal(task.state, TaskEscrowState.Registered);
    const seatWei = (TASK_REWARD_WEI * rules.verifierRewardPpm) / 1_000_000n / 3n;
    for (const verifier of committee) {
      assert.equal(await TaskEscrow.credits(verifier.address), seatWei);
    }
    assert.equal(await TaskEscrow.credits(provider.address), TASK_REWARD_WEI - 3n * seatWei);
    assert.equal((await Staking.getAccount(provider.address)).lockedWei, 0n);
    const adapterId = tagged(
      'openledger/adapter/1',
      ['uint256', 'bytes32'],
      [taskId, id('adapter')],
    );
    assert.equal(task.adapterId, adapterId);
    const adapter = await ModelRegistry.getAdapter(adapterId);
    assert.equal(adapter.owner, requester.address);
    assert.equal(adapter.provider, provider.address);
    assert.equal(adapter.baseHash, BASE_HASH);
    assert.equal(adapter.datanetId, datanet.datanetId);
    assert.equal(adapter.version, 1n);
    assert.equal(adapter.taskId, taskId);
    assert.equal(adapter.sketchRoot, id('sketches'));
    assert.equal(adapter.sketchCount, BigInt(RECORD_COUNT));
    assert.equal(adapter.traceRoot, id('trace'));
    assert.equal(adapter.name, 'adapter');
    assert.ok(adapter.registeredAt > 0n);
    const before = await chain.provider.getBalance(provider.address);
    await chain.send(provider, 'TaskEscrow', 'withdrawCredits', []);
    const after = await chain.provider.getBalance(provider.address);
    assert.equal(after - before, TASK_REWARD_WEI - 3n * seatWei);
    await refuses(chain.send(provider, 'TaskEscrow', 'withdrawCredits', []), 'CreditsNone', [
      provider.address,
    ]);
    await assertConserved(chain);
  });

  test('two VALID and one silent verifier register after the deadline; the silent seat pays the provider', async () => {
    const committee = await toVoting(chain, provider, taskId);
    for (const verifier of committee.slice(0, 2)) await commitVote(chain, verifier, taskId);
    await chain.pass(rules.voteCommitSeconds);
    for (const verifier of committee.slice(0, 2)) await revealVote(chain, verifier, taskId);
    assert.equal(await TaskEscrow.canTally(taskId), false);
    await chain.pass(rules.voteRevealSeconds);
    assert.equal(await TaskEscrow.canTally(taskId), true);
    await chain.send(other, 'TaskEscrow', 'tally', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Registered);
    const seatWei = (TASK_REWARD_WEI * rules.verifierRewardPpm) / 1_000_000n / 3n;
    assert.equal(await TaskEscrow.credits(committee[2]!.address), 0n);
    assert.equal(await TaskEscrow.credits(provider.address), TASK_REWARD_WEI - 2n * seatWei);
    await assertConserved(chain);
  });

  test('a lease is extended by each new checkpoint', async () => {
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await chain.pass(rules.leaseSeconds - 3n);
    await chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, 10, id('checkpoint 1')]);
    const task = await TaskEscrow.getTask(taskId);
    assert.equal(task.step, 10n);
    assert.equal(task.renewals, 1n);
    assert.equal(task.checkpointRoot, id('checkpoint 1'));
    assert.equal(task.deadline, BigInt(await chain.now()) + rules.leaseSeconds);
    await chain.pass(rules.leaseSeconds - 3n);
    await commitResult(chain, provider, taskId);
    assert.equal(await stateOf(taskId), TaskEscrowState.Committed);
  });

  test('the assignment follows the seed as the protocol says', async () => {
    const committee = await toVoting(chain, provider, taskId);
    const { seed } = await TaskEscrow.getTask(taskId);
    for (const verifier of committee) {
      const { segments, samples } = await TaskEscrow.assignment(taskId, verifier.address);
      const drawOf = (tag: string, i: number, modulus: number) =>
        BigInt(tagged(tag, ['bytes32', 'address', 'uint256'], [seed, verifier.address, i])) %
        BigInt(modulus);
      assert.deepEqual(
        [...segments],
        [0, 1].map((i) => drawOf('openledger/segment/1', i, SEGMENTS)),
      );
      assert.equal(samples.length, Number(rules.samplesPerVerifier));
      for (const [i, sample] of samples.entries()) {
        assert.equal(sample, drawOf('openledger/sample/1', i, RECORD_COUNT));
      }
    }
    assert.equal(
      await TaskEscrow.resultHashOf(
        taskId,
        provider.address,
        id('trace'),
        id('adapter'),
        id('sketches'),
        id('manifest'),
        id('salt'),
      ),
      resultHash(taskId, provider.address, resultOf()),
    );
    assert.equal(
      await TaskEscrow.voteHashOf(
        taskId,
        provider.address,
        VALID,
        id('vote receipt'),
        id('vote salt'),
      ),
      voteHash(taskId, provider.address, VALID),
    );
  });
});

describe('TaskEscrow: the committee', () => {
  test('is distinct, and has neither provider nor requester, for many seeds', async () => {
    const seats = new Map<string, number>();
    for (let run = 0; run < 25; run += 1) {
      const before = await chain.snapshot();
      await chain.mine(run + 1);
      const committee = await toVoting(chain, provider, taskId);
      const members = committee.map(({ address }) => address);
      assert.equal(new Set(members).size, 3);
      assert.ok(!members.includes(provider.address), 'the provider judges itself');
      assert.ok(!members.includes(requester.address), 'the requester judges its own task');
      for (const member of members) seats.set(member, (seats.get(member) ?? 0) + 1);
      await chain.revert(before);
    }
    assert.equal(seats.size, verifiers.length + 1, 'somebody with equal stake is never drawn');
  });

  test('stake that comes after the reveal is not drawn', async () => {
    const newcomers = chain.wallets.slice(8, 12);
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await commitResult(chain, provider, taskId);
    await revealResult(chain, provider, taskId);
    for (const wallet of newcomers) await stake(chain, wallet, VERIFIER, 100_000n);
    await chain.mine(2);
    await chain.send(chain.deployer, 'TaskEscrow', 'drawCommittee', [taskId]);
    const { committee } = await TaskEscrow.getTask(taskId);
    for (const { verifier } of committee) {
      assert.ok(
        newcomers.every(({ address }) => address !== verifier),
        'a newcomer was drawn',
      );
    }
  });

  test('BeaconNotReady: the seed does not exist in the reveal block nor in the next', async () => {
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await commitResult(chain, provider, taskId);
    await revealResult(chain, provider, taskId);
    const { revealBlock } = await TaskEscrow.getTask(taskId);
    assert.equal(await TaskEscrow.drawableAtBlock(taskId), revealBlock + 2n);
    await refuses(chain.send(other, 'TaskEscrow', 'drawCommittee', [taskId]), 'BeaconNotReady', [
      revealBlock,
      revealBlock + 2n,
    ]);
    // The refused transaction made the next block, so now the seed exists.
    await chain.send(other, 'TaskEscrow', 'drawCommittee', [taskId]);
    await refuses(TaskEscrow.drawableAtBlock(taskId).catch(toReverted), 'TaskEscrowWrongState');
    assert.equal(await chain.contracts.InsecureLocalBeacon.isInsecure(), true);
  });

  test('the beacon keeps its seed for 256 blocks and then takes the next', async () => {
    const { InsecureLocalBeacon } = chain.contracts;
    await chain.mine(3);
    const fixed = (await chain.provider.getBlockNumber()) - 2;
    const seed = await InsecureLocalBeacon.seedOf(fixed);
    await chain.mine(250);
    assert.equal(await InsecureLocalBeacon.seedOf(fixed), seed);
    await chain.mine(20);
    assert.notEqual(await InsecureLocalBeacon.seedOf(fixed), seed);
  });

  test('StakingTooFewVerifiers, and then the task is refunded and the provider unlocked', async () => {
    for (const wallet of verifiers.slice(0, 4))
      await chain.send(wallet, 'Staking', 'setRoles', [PROVIDER]);
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await commitResult(chain, provider, taskId);
    await revealResult(chain, provider, taskId);
    await chain.mine(2);
    await refuses(
      chain.send(other, 'TaskEscrow', 'drawCommittee', [taskId]),
      'StakingTooFewVerifiers',
      [2n, 3n],
    );
    await chain.pass(rules.voteCommitSeconds);
    await refuses(
      chain.send(other, 'TaskEscrow', 'drawCommittee', [taskId]),
      'TaskEscrowDeadlinePassed',
    );
    await chain.send(other, 'TaskEscrow', 'expire', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Refunded);
    assert.equal(await TaskEscrow.credits(requester.address), TASK_REWARD_WEI);
    assert.equal(await freeOf(provider), 100n * OPEN_WEI);
    await assertConserved(chain);
  });
});

describe('TaskEscrow: one INVALID', () => {
  test('escalates, pays nobody, keeps the lock, and reopens the task for others', async () => {
    const committee = await toVoting(chain, provider, taskId);
    await vote(chain, committee, taskId, [VALID, INVALID, VALID]);
    const task = await TaskEscrow.getTask(taskId);
    assert.equal(task.state, TaskEscrowState.Escalated);
    assert.equal(task.adapterId, ZeroHash);
    assert.equal(await ModelRegistry.adapterCount(), 0n);
    assert.equal(await TaskEscrow.creditsTotalWei(), 0n);
    assert.equal((await Staking.getAccount(provider.address)).lockedWei, bonds.trainingLockWei);
    assert.equal(await TaskEscrow.isExcluded(taskId, provider.address), true);
    await refuses(
      chain.send(provider, 'TaskEscrow', 'claim', [taskId]),
      'TaskEscrowProviderExcluded',
      [taskId, provider.address],
    );
    const second = await toVoting(chain, other, taskId);
    await vote(chain, second, taskId);
    assert.equal(await stateOf(taskId), TaskEscrowState.Registered);
    assert.equal((await ModelRegistry.getAdapters(0, 5))[0]?.provider, other.address);
    assert.equal((await Staking.getAccount(provider.address)).lockedWei, bonds.trainingLockWei);
    await assertConserved(chain);
  });

  test('the escalated lock is free again after the time for a dispute', async () => {
    const committee = await toVoting(chain, provider, taskId);
    await vote(chain, committee, taskId, [INVALID, VALID, VALID]);
    const [escalation] = await TaskEscrow.getEscalations(taskId);
    assert.equal(escalation?.provider, provider.address);
    await refuses(
      chain.send(provider, 'TaskEscrow', 'releaseEscalated', [taskId, 1]),
      'TaskEscrowUnknownEscalation',
      [taskId, 1n],
    );
    await refuses(
      chain.send(provider, 'TaskEscrow', 'releaseEscalated', [taskId, 0]),
      'TaskEscrowEscalationPending',
    );
    await chain.pass(timing.thawSeconds);
    await chain.send(other, 'TaskEscrow', 'releaseEscalated', [taskId, 0]);
    assert.equal(await freeOf(provider), 100n * OPEN_WEI);
    await refuses(
      chain.send(other, 'TaskEscrow', 'releaseEscalated', [taskId, 0]),
      'TaskEscrowEscalationReleased',
      [taskId, 0n],
    );
  });
});

describe('TaskEscrow: every silent party has a timeout', () => {
  test('nobody claims: the requester is refunded', async () => {
    await refuses(
      chain.send(other, 'TaskEscrow', 'expire', [taskId]),
      'TaskEscrowDeadlineNotReached',
    );
    await chain.pass(rules.claimSeconds);
    await refuses(
      chain.send(provider, 'TaskEscrow', 'claim', [taskId]),
      'TaskEscrowDeadlinePassed',
    );
    await chain.send(other, 'TaskEscrow', 'expire', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Refunded);
    assert.equal(await TaskEscrow.credits(requester.address), TASK_REWARD_WEI);
    await refuses(chain.send(other, 'TaskEscrow', 'expire', [taskId]), 'TaskEscrowWrongState');
    await assertConserved(chain);
  });

  test('the requester cancels what nobody holds', async () => {
    await refuses(chain.send(other, 'TaskEscrow', 'cancel', [taskId]), 'TaskEscrowNotRequester', [
      taskId,
      other.address,
      requester.address,
    ]);
    await chain.send(requester, 'TaskEscrow', 'cancel', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Cancelled);
    assert.equal(await TaskEscrow.credits(requester.address), TASK_REWARD_WEI);
    await refuses(chain.send(requester, 'TaskEscrow', 'cancel', [taskId]), 'TaskEscrowWrongState');
  });

  for (const stage of ['lease', 'reveal'] as const) {
    test(`the provider misses its ${stage}: the bond is lost by halves, the task reopens`, async () => {
      await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
      if (stage === 'reveal') await commitResult(chain, provider, taskId);
      await chain.pass(stage === 'lease' ? rules.leaseSeconds : rules.revealSeconds);
      if (stage === 'lease') {
        await refuses(commitResult(chain, provider, taskId), 'TaskEscrowDeadlinePassed');
      } else await refuses(revealResult(chain, provider, taskId), 'TaskEscrowDeadlinePassed');
      await chain.send(other, 'TaskEscrow', 'expire', [taskId]);
      const task = await TaskEscrow.getTask(taskId);
      assert.equal(task.state, TaskEscrowState.Announced);
      assert.equal(task.deadline, BigInt(await chain.now()) + rules.claimSeconds);
      assert.equal(await freeOf(provider), 100n * OPEN_WEI - bonds.abandonBondWei);
      assert.equal((await Staking.getAccount(provider.address)).lockedWei, 0n);
      assert.equal(await Staking.credits(requester.address), bonds.abandonBondWei / 2n);
      assert.equal(await Staking.burnedWei(), bonds.abandonBondWei / 2n);
      // The same provider may come back: its process may only have died.
      await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
      await assertConserved(chain);
    });
  }

  test('a silent committee is drawn anew once, then the requester is refunded', async () => {
    await toVoting(chain, provider, taskId);
    const first = await TaskEscrow.getTask(taskId);
    await chain.pass(rules.voteCommitSeconds + rules.voteRevealSeconds);
    await chain.send(other, 'TaskEscrow', 'tally', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Revealed);
    const second = await drawn(chain, taskId);
    const again = await TaskEscrow.getTask(taskId);
    assert.equal(again.round, 2n);
    assert.notEqual(again.seed, first.seed);
    assert.ok(again.committee.every(({ commitment }) => commitment === ZeroHash));
    await commitVote(chain, second[0]!, taskId);
    await chain.pass(rules.voteCommitSeconds);
    await revealVote(chain, second[0]!, taskId);
    await chain.pass(rules.voteRevealSeconds);
    await chain.send(other, 'TaskEscrow', 'tally', [taskId]);
    assert.equal(await stateOf(taskId), TaskEscrowState.Refunded);
    assert.equal(await TaskEscrow.credits(requester.address), TASK_REWARD_WEI);
    assert.equal(await freeOf(provider), 100n * OPEN_WEI);
    await assertConserved(chain);
  });

  test('after a redraw a full committee still registers', async () => {
    await toVoting(chain, provider, taskId);
    await chain.pass(rules.voteCommitSeconds + rules.voteRevealSeconds);
    await chain.send(other, 'TaskEscrow', 'tally', [taskId]);
    await vote(chain, await drawn(chain, taskId), taskId);
    assert.equal(await stateOf(taskId), TaskEscrowState.Registered);
  });
});
