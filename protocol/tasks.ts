/**
 * What a node does about a training task, from what the chain says now and from what lies on its own
 * disk, and from nothing else: no history, no timers. `nowMs` is the chain's clock.
 */
import type { Address, Bytes32 } from '#crypto';
import { type Intent, isTurn, isTurnInRound } from './intent.ts';
import {
  assignedSamples,
  assignedSegments,
  resultHash,
  type TaskResult,
  VERDICT_CODES,
  type Verdict,
  voteHash,
} from './training.ts';

/** The contract's states; the place in the list is the contract's number. */
export const TASK_STATES = [
  'None',
  'Announced',
  'Claimed',
  'Committed',
  'Revealed',
  'Voting',
  'Escalated',
  'Registered',
  'Refunded',
  'Cancelled',
] as const;
export type TaskState = (typeof TASK_STATES)[number];

/** A task as `TaskEscrow.getTask` gives it; instants in seconds of the chain. */
export type ChainTask = {
  readonly requester: Address;
  /** Place in TASK_STATES. */
  readonly state: number;
  readonly deadline: number;
  readonly provider: Address;
  readonly voteRevealDeadline: number;
  readonly segments: number;
  readonly attempt: number;
  readonly renewals: number;
  readonly step: number;
  readonly round: number;
  readonly trainingLockWei: bigint;
  readonly rules: {
    readonly claimSeconds: number;
    readonly leaseSeconds: number;
    readonly voteCommitSeconds: number;
    readonly maxRenewals: number;
    readonly segmentsPerVerifier: number;
    readonly samplesPerVerifier: number;
  };
  readonly specDigest: Bytes32;
  readonly seed: Bytes32;
  readonly result: { readonly sketchCount: number };
  readonly committee: readonly {
    readonly verifier: Address;
    /** 0 none, 1 valid, 2 invalid. */
    readonly verdict: number;
    readonly commitment: Bytes32;
  }[];
};

/** All that the chain says that bears on the decision. */
export type TaskView = {
  readonly taskId: number;
  readonly task: ChainTask;
  /** Whether this node was excluded from the task by an escalation. */
  readonly isExcluded: boolean;
  /** First block in which the committee can be drawn; null unless Revealed. */
  readonly drawableAtBlock: number | null;
  readonly blockNumber: number;
  /** Stakers: all who may keep house. Providers: those of them with the provider's role. */
  readonly stakers: readonly Address[];
  readonly providers: readonly Address[];
  /** Stakers who can sit on this task's committee; below its size, drawing would revert. */
  readonly verifiersEligible: number;
  readonly committeeSize: number;
};

/** What this node has on disk for the present attempt at a task. */
export type TaskProgress = {
  readonly attempt: number;
  /** Steps done at the last checkpoint, and the root over the checkpoints so far. */
  readonly checkpointStep: number;
  readonly checkpointRoot: Bytes32 | null;
  /** Once training and sketching are done. */
  readonly result: (TaskResult & { readonly sketchCount: number }) | null;
  /** The commitment's salt, the same after a restart. */
  readonly salt: Bytes32;
};

/** What this node found as a verifier of an attempt, in a round. */
export type TaskVote = {
  readonly attempt: number;
  readonly round: number;
  readonly verdict: Verdict;
  readonly verificationHash: Bytes32;
  readonly salt: Bytes32;
};

export type TaskSelf = {
  readonly address: Address;
  readonly isProvider: boolean;
  readonly freeStakeWei: bigint;
  /** Whether the node has what the task needs (base, datanet, memory) and wants the work. */
  readonly isAble: boolean;
  /** Tasks that this node holds or has asked to hold; it takes one at a time. */
  readonly busyWith: readonly number[];
  readonly progress: TaskProgress | null;
  readonly vote: TaskVote | null;
};

export type TaskTiming = { readonly staggerMs: number; readonly leaseMarginPpm: number };

const ZERO = `0x${'00'.repeat(32)}`;

/** The state's name. */
export function stateOf(task: { readonly state: number }): TaskState {
  return TASK_STATES[task.state] ?? 'None';
}

/**
 * What this node should have sent by now; usually nothing or one intent. The same view, self and
 * time give the same intents with the same keys.
 */
export function decideTask(
  view: TaskView,
  self: TaskSelf,
  nowMs: number,
  timing: TaskTiming,
): readonly Intent[] {
  switch (stateOf(view.task)) {
    case 'Announced':
    case 'Escalated':
      return decideOpen(view, self, nowMs, timing);
    case 'Claimed':
    case 'Committed':
      return decideHeld(view, self, nowMs, timing);
    case 'Revealed':
      return decideDraw(view, self, nowMs, timing);
    case 'Voting':
      return decideVoting(view, self, nowMs, timing);
    default:
      return [];
  }
}

const intent = (view: TaskView, name: string, fn: string, ...args: readonly unknown[]): Intent => ({
  key: `task/${view.taskId}/${name}`,
  contract: 'TaskEscrow',
  fn,
  args: [view.taskId, ...args],
});

const isPast = (seconds: number, nowMs: number): boolean => nowMs >= seconds * 1000;

/** Housekeeping that any staker may do from `sinceMs` on. */
function housekeeping(
  view: TaskView,
  self: TaskSelf,
  intended: Intent,
  sinceMs: number,
  nowMs: number,
  { staggerMs }: TaskTiming,
): readonly Intent[] {
  const isMine = isTurn(intended.key, view.stakers, self.address, sinceMs, nowMs, staggerMs);
  return isMine ? [intended] : [];
}

/** An attempt that never moved on is expired; the key tells the state it is in. */
function expire(view: TaskView, self: TaskSelf, nowMs: number, timing: TaskTiming) {
  const { task } = view;
  // An open task keeps its attempt and a redraw its state: round and deadline tell them apart.
  const name = `expire/${task.attempt}/${stateOf(task)}/${task.round}/${task.deadline}`;
  const intended = intent(view, name, 'expire');
  return housekeeping(view, self, intended, task.deadline * 1000, nowMs, timing);
}

function decideOpen(view: TaskView, self: TaskSelf, nowMs: number, timing: TaskTiming) {
  const { task, taskId } = view;
  if (isPast(task.deadline, nowMs)) return expire(view, self, nowMs, timing);
  const isBusy = self.busyWith.some((other) => other !== taskId);
  const isFit = self.isProvider && self.isAble && !isBusy && !view.isExcluded;
  if (!isFit || self.freeStakeWei < task.trainingLockWei) return [];
  const claim = intent(view, `claim/${task.attempt + 1}`, 'claim');
  const openedMs = (task.deadline - task.rules.claimSeconds) * 1000;
  const { address } = self;
  const isMine = isTurn(claim.key, view.providers, address, openedMs, nowMs, timing.staggerMs);
  return isMine ? [claim] : [];
}

function decideHeld(view: TaskView, self: TaskSelf, nowMs: number, timing: TaskTiming) {
  const { task, taskId } = view;
  if (isPast(task.deadline, nowMs)) return expire(view, self, nowMs, timing);
  const { progress } = self;
  if (task.provider !== self.address || progress?.attempt !== task.attempt) return [];
  const { result, salt } = progress;
  if (stateOf(task) === 'Committed') {
    if (result === null) return [];
    const { traceRoot, adapterHash, sketchRoot, sketchCount, manifest } = result;
    const shown = [traceRoot, adapterHash, sketchRoot, sketchCount, manifest, salt];
    return [intent(view, `reveal/${task.attempt}`, 'reveal', ...shown)];
  }
  if (result !== null) {
    const hash = resultHash(taskId, self.address, result, salt);
    return [intent(view, `commit/${task.attempt}`, 'commit', hash)];
  }
  const marginMs = (task.rules.leaseSeconds * timing.leaseMarginPpm) / 1000;
  const isDue = nowMs >= task.deadline * 1000 - marginMs;
  const { checkpointStep, checkpointRoot } = progress;
  const hasNews = checkpointRoot !== null && checkpointStep > task.step;
  if (!isDue || !hasNews || task.renewals >= task.rules.maxRenewals) return [];
  // One key for each renewal, so that a later checkpoint does not double one that is on its way.
  const name = `heartbeat/${task.attempt}/${task.renewals + 1}`;
  return [intent(view, name, 'heartbeat', checkpointStep, checkpointRoot)];
}

function decideDraw(view: TaskView, self: TaskSelf, nowMs: number, timing: TaskTiming) {
  const { task, drawableAtBlock, blockNumber } = view;
  if (isPast(task.deadline, nowMs)) return expire(view, self, nowMs, timing);
  if (drawableAtBlock === null || blockNumber < drawableAtBlock) return [];
  if (view.verifiersEligible < view.committeeSize) return [];
  const draw = intent(view, `draw/${task.attempt}/${task.round}`, 'drawCommittee');
  const revealedMs = (task.deadline - task.rules.voteCommitSeconds) * 1000;
  return housekeeping(view, self, draw, revealedMs, nowMs, timing);
}

/** Whether votes may be shown: all committed, or the time to commit is over. */
export function isCommitClosed(task: ChainTask, nowMs: number): boolean {
  return (
    isPast(task.deadline, nowMs) || task.committee.every(({ commitment }) => commitment !== ZERO)
  );
}

/** Whether the vote can be tallied: one INVALID, all VALID, or the time to reveal is over. */
export function isVoteClosed(task: ChainTask, nowMs: number): boolean {
  const { committee } = task;
  return (
    isPast(task.voteRevealDeadline, nowMs) ||
    committee.some(({ verdict }) => verdict === VERDICT_CODES.INVALID) ||
    committee.every(({ verdict }) => verdict === VERDICT_CODES.VALID)
  );
}

function decideVoting(view: TaskView, self: TaskSelf, nowMs: number, timing: TaskTiming) {
  const { task } = view;
  const at = `${task.attempt}/${task.round}`;
  if (!isVoteClosed(task, nowMs)) return decideVote(view, self, nowMs, at);
  const tally = intent(view, `tally/${at}`, 'tally');
  if (isPast(task.voteRevealDeadline, nowMs)) {
    return housekeeping(view, self, tally, task.voteRevealDeadline * 1000, nowMs, timing);
  }
  // Nothing on chain says when the vote that closed it was shown.
  const isMine = isTurnInRound(tally.key, view.stakers, self.address, nowMs, timing.staggerMs);
  return isMine ? [tally] : [];
}

function decideVote(view: TaskView, self: TaskSelf, nowMs: number, at: string): readonly Intent[] {
  const { task, taskId } = view;
  const { vote } = self;
  const seat = task.committee.find(({ verifier }) => verifier === self.address);
  if (seat === undefined || vote?.attempt !== task.attempt || vote.round !== task.round) return [];
  const { verdict, verificationHash, salt } = vote;
  if (seat.commitment === ZERO) {
    if (isPast(task.deadline, nowMs)) return [];
    const hash = voteHash(taskId, self.address, verdict, verificationHash, salt);
    return [intent(view, `vote/${at}`, 'commitVote', hash)];
  }
  if (seat.verdict !== 0 || !isCommitClosed(task, nowMs)) return [];
  if (isPast(task.voteRevealDeadline, nowMs)) return [];
  const shown = [VERDICT_CODES[verdict], verificationHash, salt];
  return [intent(view, `show/${at}`, 'revealVote', ...shown)];
}

/** What a task asks of this node's machine now, apart from transactions. */
export type TaskWork =
  | { readonly type: 'train'; readonly attempt: number; readonly specDigest: Bytes32 }
  | {
      readonly type: 'verify';
      readonly attempt: number;
      readonly round: number;
      readonly segments: readonly number[];
      readonly samples: readonly number[];
    };

/** The work that a task asks of this node now, or null. */
export function taskWork(view: TaskView, self: TaskSelf, nowMs: number): TaskWork | null {
  const { task } = view;
  const { attempt, round, specDigest } = task;
  const state = stateOf(task);
  const isMine = task.provider === self.address && !isPast(task.deadline, nowMs);
  const isHeld = state === 'Claimed' || state === 'Committed';
  if (isHeld && isMine) {
    const isDone = self.progress?.attempt === attempt && self.progress.result !== null;
    return isDone ? null : { type: 'train', attempt, specDigest };
  }
  const seat = task.committee.find(({ verifier }) => verifier === self.address);
  if (state !== 'Voting' || seat === undefined || seat.verdict !== 0) return null;
  if (self.vote?.attempt === attempt && self.vote.round === round) return null;
  // Too late to commit: what it would find could not be said any more.
  if (seat.commitment === ZERO && isPast(task.deadline, nowMs)) return null;
  const { segmentsPerVerifier, samplesPerVerifier } = task.rules;
  const { sketchCount } = task.result;
  return {
    type: 'verify',
    attempt,
    round,
    segments: assignedSegments(task.seed, self.address, segmentsPerVerifier, task.segments),
    samples: assignedSamples(task.seed, self.address, samplesPerVerifier, sketchCount),
  };
}

/** An attempt that a verifier called INVALID, as `TaskEscrow.getEscalations` gives it. */
export type ChainEscalation = {
  readonly provider: Address;
  readonly releaseAt: number;
  readonly released: boolean;
};

/** A provider takes back what is left of its escalated locks once the time for a dispute is over. */
export function decideReleases(
  taskId: number,
  escalations: readonly ChainEscalation[],
  self: Address,
  nowMs: number,
): readonly Intent[] {
  return escalations.flatMap(({ provider, releaseAt, released }, index) => {
    if (provider !== self || released || !isPast(releaseAt, nowMs)) return [];
    const key = `task/${taskId}/release/${index}`;
    return [{ key, contract: 'TaskEscrow', fn: 'releaseEscalated', args: [taskId, index] }];
  });
}
