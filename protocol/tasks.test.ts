import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Address } from '#crypto';
import { hashOf } from './fixture.ts';
import { announced, nodes, numberOf, TASK_RULES, timing, ZERO } from './task-fixture.ts';
import {
  type ChainTask,
  decideReleases,
  decideTask,
  TASK_STATES,
  type TaskSelf,
  type TaskView,
  taskWork,
} from './tasks.ts';
import { assignedSamples, assignedSegments } from './training.ts';

/** A view in which the committee could be drawn two blocks after the first. */
const viewOf = (task: ChainTask, now: number): TaskView => ({
  taskId: 7,
  task,
  isExcluded: false,
  drawableAtBlock: TASK_STATES[task.state] === 'Revealed' ? 2 : null,
  blockNumber: now,
  stakers: nodes,
  providers: nodes,
  verifiersEligible: nodes.length - 1,
  committeeSize: 3,
});

const fit: TaskSelf = {
  address: nodes[0] as Address,
  isProvider: true,
  freeStakeWei: 10n,
  isAble: true,
  busyWith: [],
  progress: null,
  vote: null,
};
const at = (task: ChainTask, self: TaskSelf, now: number) =>
  decideTask(viewOf(task, now), self, now * 1000, timing);

test('an open task is claimed only by who may and can', () => {
  // Late enough that it is everybody's turn.
  assert.deepEqual(
    at(announced, fit, 50).map(({ fn, key }) => [fn, key]),
    [['claim', 'task/7/claim/1']],
  );
  for (const unfit of [
    { isProvider: false },
    { isAble: false },
    { freeStakeWei: 9n },
    { busyWith: [6] },
  ]) {
    assert.deepEqual(at(announced, { ...fit, ...unfit }, 50), []);
  }
  const view = { ...viewOf(announced, 50), isExcluded: true };
  assert.deepEqual(decideTask(view, fit, 50_000, timing), []);
});

test('a committee that cannot be drawn is not drawn', () => {
  const revealed = { ...announced, state: numberOf('Revealed'), attempt: 1, round: 1 };
  const view = viewOf(revealed, 50);
  assert.equal(decideTask(view, fit, 50_000, timing)[0]?.fn, 'drawCommittee');
  assert.deepEqual(decideTask({ ...view, verifiersEligible: 2 }, fit, 50_000, timing), []);
  assert.deepEqual(decideTask({ ...view, drawableAtBlock: 51 }, fit, 50_000, timing), []);
  assert.equal(decideTask(view, fit, 90_000, timing)[0]?.fn, 'expire');
});

test('a lease is renewed when half of it is gone, with each renewal under its own key', () => {
  const held = {
    ...announced,
    state: numberOf('Claimed'),
    provider: fit.address,
    attempt: 2,
    deadline: 100,
  };
  const progress = {
    attempt: 2,
    checkpointStep: 4,
    checkpointRoot: hashOf('c'),
    result: null,
    salt: hashOf('salt'),
  };
  const self = { ...fit, progress };
  assert.deepEqual(at(held, self, 89), []);
  assert.deepEqual(
    at(held, self, 90).map(({ key }) => key),
    ['task/7/heartbeat/2/1'],
  );
  const later = { ...progress, checkpointStep: 5 };
  assert.deepEqual(
    at(held, { ...self, progress: later }, 91).map(({ key }) => key),
    ['task/7/heartbeat/2/1'],
  );
  assert.deepEqual(
    at({ ...held, renewals: 1 }, self, 90).map(({ key }) => key),
    ['task/7/heartbeat/2/2'],
  );
  assert.deepEqual(at({ ...held, step: 4 }, self, 90), []);
  assert.deepEqual(at({ ...held, renewals: TASK_RULES.maxRenewals }, self, 90), []);
  assert.deepEqual(at(held, { ...self, progress: { ...progress, attempt: 1 } }, 90), []);
});

test('a verifier works on what the seed assigns to it, until it has voted', () => {
  const [self] = nodes as [Address];
  const seat = { verifier: self, verdict: 0, commitment: ZERO };
  const voting = {
    ...announced,
    state: numberOf('Voting'),
    attempt: 1,
    round: 1,
    deadline: 100,
    voteRevealDeadline: 115,
    seed: hashOf('seed'),
    result: { sketchCount: 50 },
    committee: [seat, { ...seat, verifier: nodes[1] as Address }],
  };
  const work = taskWork(viewOf(voting, 50), fit, 50_000);
  assert.deepEqual(work, {
    type: 'verify',
    attempt: 1,
    round: 1,
    segments: assignedSegments(hashOf('seed'), self, 2, 6),
    samples: assignedSamples(hashOf('seed'), self, 3, 50),
  });
  // Too late to commit, already voted, or not on the committee: nothing to do.
  assert.equal(taskWork(viewOf(voting, 100), fit, 100_000), null);
  const vote = {
    attempt: 1,
    round: 1,
    verdict: 'VALID' as const,
    verificationHash: ZERO,
    salt: ZERO,
  };
  assert.equal(taskWork(viewOf(voting, 50), { ...fit, vote }, 50_000), null);
  const outsider = { ...fit, address: nodes[2] as Address };
  assert.equal(taskWork(viewOf(voting, 50), outsider, 50_000), null);
});

test('a provider frees its escalated locks when their time is over, each once', () => {
  const [mine, other] = nodes as [Address, Address];
  const escalations = [
    { provider: mine, releaseAt: 10, released: false },
    { provider: other, releaseAt: 10, released: false },
    { provider: mine, releaseAt: 10, released: true },
    { provider: mine, releaseAt: 99, released: false },
  ];
  assert.deepEqual(decideReleases(7, escalations, mine, 9_999), []);
  const keys = decideReleases(7, escalations, mine, 10_000).map(({ key }) => key);
  assert.deepEqual(keys, ['task/7/release/0']);
});
