import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RULES } from './fixture.ts';
import { InvariantViolation } from './invariant.ts';
import { checkParameters, type GovernedParameters, PRESETS, parameterConflicts } from './params.ts';

const governed: GovernedParameters = {
  threshold: RULES,
  fees: RULES,
  slashing: { challengerPpm: 400_000, juryPpm: 100_000, requesterPpm: 100_000, burnPpm: 400_000 },
  tasks: {
    claimSeconds: 120,
    leaseSeconds: 20,
    revealSeconds: 15,
    voteCommitSeconds: 30,
    voteRevealSeconds: 15,
    maxRenewals: 100,
    committeeSize: 3,
    segmentsPerVerifier: 2,
    samplesPerVerifier: 4,
    verifierRewardPpm: 300_000,
  },
  bonds: {
    minStakeWei: 1n,
    servingLockWei: 1n,
    trainingLockWei: 2n,
    abandonBondWei: 1n,
    maxStakers: 64,
  },
  timing: {
    challengeWindowSeconds: 5,
    thawSeconds: 600,
    slashingFloorSeconds: 1,
    evidenceDelayBlocks: 1,
  },
};

test('the numbers of every preset agree with each other', () => {
  for (const [name, parameters] of Object.entries(PRESETS)) {
    checkParameters(parameters);
    assert.equal(parameters.preset, name);
  }
});

test('numbers that contradict each other are a broken invariant', () => {
  const { local } = PRESETS;
  for (const change of [
    { staggerMs: 1_999 },
    { capacityTtlMs: 8_999 },
    { gossipAgeMs: 10_000 },
    { leaseMarginPpm: 1_000_000 },
    { price: { ...local.price, feeWeiPerToken: 1n } },
    { pollMs: 500 },
    { epochAgeMs: 0 },
  ]) {
    assert.throws(() => checkParameters({ ...local, ...change }), InvariantViolation);
  }
});

test('governed numbers that a preset cannot keep up with are named', () => {
  assert.deepEqual(parameterConflicts(PRESETS.local, governed), []);
  const hasty = {
    ...governed,
    tasks: { ...governed.tasks, leaseSeconds: 3, revealSeconds: 1, voteCommitSeconds: 3 },
    timing: { ...governed.timing, challengeWindowSeconds: 1 },
  };
  const conflicts = parameterConflicts(PRESETS.local, hasty);
  for (const name of ['lease', 'revealSeconds', 'voteCommitSeconds', 'challengeWindowSeconds']) {
    assert.ok(
      conflicts.some((conflict) => conflict.startsWith(name)),
      name,
    );
  }
});
