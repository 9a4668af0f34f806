/**
 * Carries out what `decideTask` and `taskWork` say: reads tasks from the chain, lets trainer and
 * verifier work, and submits. Level-triggered: each tick starts from what the chain says now.
 */
import { type Address, type Bytes32, taggedHash, toHex, uint256 } from '#crypto';
import {
  decideReleases,
  decideTask,
  type Intent,
  stateOf,
  type TaskSelf,
  type TaskState,
  type TaskTiming,
  type TaskView,
  taskWork,
} from '#protocol';
import type { Log } from '../log.ts';
import type { ChainPort } from './chain-port.ts';
import type { ContractTask } from './contract-types.ts';
import { ROLE, readStakers, type Staker } from './staking.ts';
import { attemptKey, type Trainer, type TrainingProgress } from './trainer.ts';
import type { Verification } from './verifier.ts';
import { readStanding } from './worker.ts';

type Contracts = 'TaskEscrow' | 'Staking' | 'Parameters';

export type TaskServiceOptions = {
  readonly chain: ChainPort<Contracts>;
  readonly head: () => Promise<{ readonly number: number; readonly timestamp: number }>;
  readonly privateKey: Uint8Array;
  readonly trainer: Trainer;
  readonly verify: (
    taskId: number,
    task: ContractTask,
    signal: AbortSignal,
  ) => Promise<Verification>;
  readonly timing: TaskTiming;
  readonly log: Log;
};

export type SeenTask = {
  readonly task: ContractTask;
  readonly state: TaskState;
  readonly progress: TrainingProgress | null;
};

export type TaskService = {
  readonly tick: (signal: AbortSignal) => Promise<void>;
  /** The task as the chain has it, with this node's progress if it is the one that trains. */
  readonly view: (taskId: number) => Promise<SeenTask | null>;
  /** What the beacon is to give for tasks that waited for their committee at the last tick. */
  readonly seedMarks: () => readonly number[];
  /** Tasks that wait for this node by the chain: those it holds and those in whose committee it sits. */
  readonly undertaken: () => Promise<number>;
};

type Escalation = {
  readonly provider: Address;
  readonly releaseAt: number;
  readonly released: boolean;
};
type Votes = Map<string, Verification | 'running'>;

const CLOSED = new Set<TaskState>(['Registered', 'Refunded', 'Cancelled', 'None']);
/** States in which a provider or a committee is bound to go on. */
const HELD = new Set<TaskState>(['Claimed', 'Committed', 'Revealed', 'Voting']);

export function createTaskService(options: TaskServiceOptions): TaskService {
  const { chain } = options;
  const votes: Votes = new Map();
  const done = new Set<number>();
  let seedMarks: readonly number[] = [];
  const submit = submitter(options);
  const taskIds = async (): Promise<number[]> => {
    const count = Number(await chain.read<bigint>('TaskEscrow', 'taskCount'));
    return Array.from({ length: count }, (_, i) => i + 1).filter((taskId) => !done.has(taskId));
  };
  const readTask = (taskId: number) => chain.read<ContractTask>('TaskEscrow', 'getTask', taskId);
  return {
    tick: async (signal) => {
      const [taskIdsNow, head, stakers] = await Promise.all([
        taskIds(),
        options.head(),
        readStakers(chain),
      ]);
      const open: { taskId: number; task: ContractTask }[] = [];
      for (const taskId of taskIdsNow) {
        const task = await readTask(taskId);
        if (CLOSED.has(stateOf(task))) done.add(taskId);
        else open.push({ taskId, task });
        const escalations = await escalationsOf(chain, taskId);
        const releases = decideReleases(taskId, escalations, chain.self, head.timestamp * 1000);
        for (const intent of releases) submit(intent);
      }
      seedMarks = open
        .filter(({ task }) => stateOf(task) === 'Revealed')
        .map(({ task }) => task.seedMark);
      const held = open.filter(({ task }) => task.provider === chain.self);
      options.trainer.keepOnly(
        new Set(held.map(({ taskId, task }) => attemptKey(taskId, task.attempt))),
      );
      for (const { taskId, task } of open) {
        const view = await viewOf(chain, taskId, task, stakers, head.number);
        const self = selfOf(
          options,
          votes,
          view,
          stakers,
          held.map((each) => each.taskId),
        );
        const nowMs = head.timestamp * 1000;
        startWork(options, votes, view, self, nowMs, signal);
        for (const intent of decideTask(view, self, nowMs, options.timing)) submit(intent);
      }
    },
    view: async (taskId) => {
      const count = await chain.read<bigint>('TaskEscrow', 'taskCount');
      if (taskId < 1 || taskId > Number(count)) return null;
      const task = await chain.read<ContractTask>('TaskEscrow', 'getTask', taskId);
      const progress = options.trainer.progress(taskId, task.attempt);
      return { task, state: stateOf(task), progress };
    },
    seedMarks: () => seedMarks,
    undertaken: async () => {
      const tasks = await Promise.all((await taskIds()).map(readTask));
      return tasks.filter(
        (task) =>
          HELD.has(stateOf(task)) &&
          (task.provider === chain.self ||
            task.committee.some(({ verifier }) => verifier === chain.self)),
      ).length;
    },
  };
}

/** Those of a task; whatever key its owner has now releases the lock of an earlier one. */
async function escalationsOf(chain: ChainPort<Contracts>, taskId: number): Promise<Escalation[]> {
  const all = await chain.read<Escalation[]>('TaskEscrow', 'getEscalations', taskId);
  return Promise.all(
    all.map(async (each) =>
      each.released
        ? each
        : { ...each, provider: (await readStanding(chain, each.provider)).worker },
    ),
  );
}

/** Submits each intent once at a time; what the chain does not take, the next tick decides anew. */
function submitter({ chain, log }: TaskServiceOptions): (intent: Intent) => void {
  const underWay = new Set<string>();
  return ({ key, fn, args }) => {
    if (underWay.has(key)) return;
    underWay.add(key);
    log.info('submitting', { key });
    chain
      .submit({ key, contract: 'TaskEscrow', fn, args })
      .catch((error: unknown) => log.warn('not accepted', { key, error }))
      .finally(() => underWay.delete(key));
  };
}

async function viewOf(
  chain: ChainPort<Contracts>,
  taskId: number,
  task: ContractTask,
  stakers: readonly Staker[],
  blockNumber: number,
): Promise<TaskView> {
  const state = stateOf(task);
  const isOpen = state === 'Announced' || state === 'Escalated';
  const withRole = (role: number) => stakers.filter((each) => (each.state.roles & role) !== 0);
  const readDrawable = () => chain.read<bigint>('TaskEscrow', 'drawableAtBlock', taskId);
  const readExcluded = () => chain.read<boolean>('TaskEscrow', 'isExcluded', taskId, chain.self);
  // Neither of the two is drawn, nor who works for the same owner.
  const parties = state === 'Revealed' ? [task.provider, task.requester] : [];
  const omitted = await Promise.all(
    parties.map(async (party) => (await readStanding(chain, party)).worker),
  );
  return {
    taskId,
    task,
    blockNumber,
    isExcluded: isOpen && (await readExcluded()),
    drawableAtBlock: state === 'Revealed' ? Number(await readDrawable()) : null,
    stakers: stakers.map(({ account }) => account),
    providers: withRole(ROLE.provider).map(({ account }) => account),
    verifiersEligible: withRole(ROLE.verifier).filter(
      ({ account, state: own }) => own.stakeWei > 0n && !omitted.includes(account),
    ).length,
    committeeSize: task.rules.committeeSize,
  };
}

function selfOf(
  { chain, trainer, privateKey }: TaskServiceOptions,
  votes: Votes,
  { taskId, task }: TaskView,
  stakers: readonly Staker[],
  held: readonly number[],
): TaskSelf {
  const { attempt, round } = task;
  const own = stakers.find(({ account }) => account === chain.self)?.state;
  const progress = trainer.progress(taskId, attempt);
  const vote = votes.get(voteKey(taskId, task));
  const result =
    progress === null || progress.result === null
      ? null
      : { ...progress.result, sketchCount: progress.sketchCount };
  return {
    address: chain.self,
    isProvider: own !== undefined && (own.roles & ROLE.provider) !== 0,
    freeStakeWei: own?.freeWei ?? 0n,
    isAble: true,
    busyWith: held,
    progress:
      progress === null
        ? null
        : {
            attempt,
            checkpointStep: progress.checkpointStep,
            checkpointRoot: progress.checkpointRoot,
            result,
            salt: saltFor(privateKey, 'result', taskId, attempt),
          },
    vote:
      vote === undefined || vote === 'running'
        ? null
        : {
            attempt,
            round,
            verdict: vote.verdict,
            verificationHash: vote.verificationHash,
            salt: saltFor(privateKey, 'vote', taskId, attempt, round),
          },
  };
}

const voteKey = (taskId: number, of: { attempt: number; round: number }): string =>
  `${taskId}/${of.attempt}/${of.round}`;

function startWork(
  options: TaskServiceOptions,
  votes: Votes,
  view: TaskView,
  self: TaskSelf,
  nowMs: number,
  signal: AbortSignal,
): void {
  const work = taskWork(view, self, nowMs);
  if (work === null) return;
  const { taskId } = view;
  const task = view.task as ContractTask;
  if (work.type === 'train') {
    const { attempt, specDigest } = work;
    options.trainer.start({ taskId, attempt, specDigest, segments: task.segments });
    return;
  }
  const key = voteKey(taskId, task);
  if (votes.has(key)) return;
  votes.set(key, 'running');
  options.verify(taskId, task, signal).then(
    (verification) => votes.set(key, verification),
    (error: unknown) => {
      options.log.warn('verification could not be done, will try again', { taskId, error });
      votes.delete(key);
    },
  );
}

/** Nobody else can know it, and it is the same after a restart, so that nothing need be kept. */
const saltFor = (privateKey: Uint8Array, what: string, ...numbers: number[]): Bytes32 =>
  toHex(
    taggedHash(`openledger/salt/${what}/1`, privateKey, ...numbers.map((each) => uint256(each))),
  );
