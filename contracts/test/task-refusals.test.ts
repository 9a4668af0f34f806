/** TaskEscrow and ModelRegistry: every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { id, type Wallet, ZeroHash } from 'ethers';
import { TaskEscrowState } from '../bindings/structs.ts';
import {
  announce,
  BASE_HASH,
  commitResult,
  commitVote,
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
  startTask,
  toReverted,
  toVoting,
  VALID,
  voteHash,
} from './fixtures.ts';

const { chain, requester, provider, other, datanet, taskId } = await startTask();
const { TaskEscrow, ModelRegistry } = chain.contracts;
isolate(chain);

describe('TaskEscrow: refusals by name', () => {
  test('announce: RewardZero, SegmentsZero, BaseUnknown, unknown version', async () => {
    const args = [id('spec'), BASE_HASH, datanet.datanetId, 1, SEGMENTS, 'x'] as const;
    await refuses(
      chain.send(requester, 'TaskEscrow', 'announce', [...args]),
      'TaskEscrowRewardZero',
    );
    await refuses(
      chain.send(requester, 'TaskEscrow', 'announce', [args[0], args[1], args[2], 1, 0, 'x'], 1n),
      'TaskEscrowSegmentsZero',
    );
    await refuses(
      chain.send(requester, 'TaskEscrow', 'announce', [args[0], id('?'), args[2], 1, 1, 'x'], 1n),
      'TaskEscrowBaseUnknown',
      [id('?')],
    );
    await refuses(
      chain.send(requester, 'TaskEscrow', 'announce', [args[0], args[1], args[2], 2, 1, 'x'], 1n),
      'DatanetRegistryUnknownVersion',
      [datanet.datanetId, 2n],
    );
  });

  test('TaskEscrowRewardTooLarge: a reward beyond 128 bits', async () => {
    const huge = 1n << 128n;
    await chain.request('hardhat_setBalance', [requester.address, `0x${(huge * 2n).toString(16)}`]);
    await refuses(announce(chain, requester, datanet, huge), 'TaskEscrowRewardTooLarge', [huge]);
  });

  test('TaskEscrowUnknownTask', async () => {
    for (const fn of ['claim', 'cancel', 'drawCommittee', 'tally', 'expire'] as const) {
      await refuses(chain.send(provider, 'TaskEscrow', fn, [99]), 'TaskEscrowUnknownTask', [99n]);
    }
  });

  test('claim: NotProviderRole, WrongState, and StakingFreeShort without stake', async () => {
    await refuses(
      chain.send(requester, 'TaskEscrow', 'claim', [taskId]),
      'TaskEscrowNotProviderRole',
      [requester.address],
    );
    const poor = chain.wallets[9]!;
    await chain.send(poor, 'Staking', 'setRoles', [PROVIDER]);
    await refuses(chain.send(poor, 'TaskEscrow', 'claim', [taskId]), 'StakingFreeShort');
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await refuses(chain.send(other, 'TaskEscrow', 'claim', [taskId]), 'TaskEscrowWrongState', [
      taskId,
      TaskEscrowState.Claimed,
    ]);
    await refuses(chain.send(requester, 'TaskEscrow', 'cancel', [taskId]), 'TaskEscrowWrongState');
  });

  test('heartbeat: StepNotForward, CheckpointRepeated, NotProvider, RenewalsSpent', async () => {
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await refuses(
      chain.send(other, 'TaskEscrow', 'heartbeat', [taskId, 1, id('c')]),
      'TaskEscrowNotProvider',
      [taskId, other.address, provider.address],
    );
    await chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, 1, id('c')]);
    await refuses(
      chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, 1, id('d')]),
      'TaskEscrowStepNotForward',
      [taskId, 1n, 1n],
    );
    await refuses(
      chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, 2, id('c')]),
      'TaskEscrowCheckpointRepeated',
      [taskId, id('c')],
    );
    for (let step = 2n; step <= rules.maxRenewals; step += 1n) {
      await chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, step, id(`c${step}`)]);
    }
    await refuses(
      chain.send(provider, 'TaskEscrow', 'heartbeat', [taskId, 1000, id('last')]),
      'TaskEscrowRenewalsSpent',
      [taskId, rules.maxRenewals],
    );
  });

  test('commit and reveal: ResultHashZero, ResultMismatch, SketchCount, WrongState', async () => {
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await refuses(
      chain.send(provider, 'TaskEscrow', 'commit', [taskId, ZeroHash]),
      'TaskEscrowResultHashZero',
    );
    await refuses(revealResult(chain, provider, taskId), 'TaskEscrowWrongState');
    await commitResult(chain, provider, taskId);
    await refuses(
      revealResult(chain, provider, taskId, { ...resultOf(), salt: id('other salt') }),
      'TaskEscrowResultMismatch',
    );
    await refuses(
      revealResult(chain, provider, taskId, { ...resultOf(), sketchCount: RECORD_COUNT + 1 }),
      'TaskEscrowSketchCount',
      [taskId, BigInt(RECORD_COUNT + 1), BigInt(RECORD_COUNT)],
    );
  });

  test("another provider's commitment cannot be revealed by who copied it", async () => {
    await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
    await chain.send(provider, 'TaskEscrow', 'commit', [
      taskId,
      resultHash(taskId, other.address, resultOf()),
    ]);
    await refuses(revealResult(chain, provider, taskId), 'TaskEscrowResultMismatch');
  });

  test('votes: NotVerifier, HashZero, AlreadyCommitted, AlreadyRevealed, Mismatch, VerdictNone', async () => {
    const committee = await toVoting(chain, provider, taskId);
    const [first, second, third] = committee as [Wallet, Wallet, Wallet];
    await refuses(commitVote(chain, provider, taskId), 'TaskEscrowNotVerifier', [
      taskId,
      provider.address,
    ]);
    await refuses(
      chain.send(first, 'TaskEscrow', 'commitVote', [taskId, ZeroHash]),
      'TaskEscrowVoteHashZero',
    );
    await commitVote(chain, first, taskId);
    await refuses(commitVote(chain, first, taskId, INVALID), 'TaskEscrowVoteAlreadyCommitted');
    await refuses(revealVote(chain, first, taskId), 'TaskEscrowVotesOutstanding');
    await refuses(chain.send(other, 'TaskEscrow', 'tally', [taskId]), 'TaskEscrowVotesOutstanding');
    await commitVote(chain, second, taskId);
    // A copied commitment is bound to the address that made it.
    await chain.send(third, 'TaskEscrow', 'commitVote', [
      taskId,
      voteHash(taskId, second.address, VALID),
    ]);
    assert.equal(await TaskEscrow.canReveal(taskId), true);
    await refuses(revealVote(chain, third, taskId), 'TaskEscrowVoteMismatch');
    await refuses(revealVote(chain, first, taskId, INVALID), 'TaskEscrowVoteMismatch');
    await refuses(revealVote(chain, first, taskId, 0n), 'TaskEscrowVerdictNone');
    await revealVote(chain, first, taskId);
    await refuses(revealVote(chain, first, taskId), 'TaskEscrowVoteAlreadyRevealed');
    await chain.pass(rules.voteCommitSeconds + rules.voteRevealSeconds);
    await refuses(revealVote(chain, second, taskId), 'TaskEscrowDeadlinePassed');
    await refuses(commitVote(chain, second, taskId), 'TaskEscrowDeadlinePassed');
  });

  test('ModelRegistryUnauthorised and ModelRegistryAdapterUnknown', async () => {
    const adapter = {
      adapterId: id('x'),
      baseHash: id('x'),
      datanetId: id('x'),
      version: 1,
      sketchCount: 1,
      registeredAt: 0,
      owner: other.address,
      provider: other.address,
      taskId: 1,
      adapterHash: id('x'),
      sketchRoot: id('x'),
      traceRoot: id('x'),
      manifest: id('x'),
      name: '',
    };
    await refuses(
      chain.send(other, 'ModelRegistry', 'registerAdapter', [adapter]),
      'ModelRegistryUnauthorised',
      [other.address],
    );
    await refuses(
      ModelRegistry.getAdapter(id('x')).catch(toReverted),
      'ModelRegistryAdapterUnknown',
    );
  });
});
