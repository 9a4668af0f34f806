/** A training task as the chain tells it right after its announcement, and the people around it. */
import { type Address, addressOfPrivateKey, type Bytes32 } from '#crypto';
import { hashOf, keyOf } from './fixture.ts';
import { type ChainTask, TASK_STATES, type TaskState } from './tasks.ts';

export const ZERO: Bytes32 = `0x${'00'.repeat(32)}`;
export const NOBODY: Address = `0x${'00'.repeat(20)}`;
export const nodes = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => addressOfPrivateKey(keyOf(name)));
export const requester = addressOfPrivateKey(keyOf('requester'));
export const timing = { staggerMs: 2_000, leaseMarginPpm: 500_000 };
export const numberOf = (state: TaskState) => TASK_STATES.indexOf(state);

export const TASK_RULES = {
  claimSeconds: 60,
  leaseSeconds: 20,
  revealSeconds: 15,
  voteCommitSeconds: 30,
  voteRevealSeconds: 15,
  maxRenewals: 50,
  segmentsPerVerifier: 2,
  samplesPerVerifier: 3,
};
export const announced: ChainTask = {
  requester,
  state: numberOf('Announced'),
  deadline: 60,
  provider: NOBODY,
  voteRevealDeadline: 0,
  segments: 6,
  attempt: 0,
  renewals: 0,
  step: 0,
  round: 0,
  trainingLockWei: 10n,
  rules: TASK_RULES,
  specDigest: hashOf('spec'),
  seed: ZERO,
  result: { sketchCount: 0 },
  committee: [],
};
