/**
 * Runs a claimed training task on this machine: segments of steps, each checkpoint stored as blocks
 * and noted on disk before it is reported, then calibration, sketches and the result's manifest.
 * Started again after a crash it goes on at the last checkpoint; the bytes come out the same.
 */
import { join } from 'node:path';
import { type Bytes32, fromHex, toHex } from '#crypto';
import {
  adapterHashOf,
  cidOfDigest,
  decodeTaskSpec,
  digestOfCid,
  encodeResultManifest,
  parseCid,
  segmentCount,
  sketchLeaves,
  sketchTree,
  type TaskResult,
  type TaskSpec,
  traceTree,
} from '#protocol';
import {
  calibrateAdapter,
  calibrationBytes,
  decodeState,
  encodeState,
  initialState,
  type Pool,
  runSteps,
  sketchRecords,
  type Tokenizer,
  type TrainingState,
} from '#runtime';
import { NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { openStateFile, type StateFile } from '../store/state-file.ts';
import type { BlockPort, Datanets } from './datanets.ts';
import { examplesOf, floatBytes, hashOf, planOf, sketchSource } from './training-work.ts';

export type TrainerOptions = {
  readonly dataDir: string;
  readonly blocks: BlockPort;
  readonly datanets: Datanets;
  readonly pool: () => Promise<Pool>;
  readonly tokenizer: Tokenizer;
  /** The base that this node has; a task on another one is refused. */
  readonly baseHash: Bytes32;
  readonly log: Log;
};

/** One attempt at one task. */
export type Attempt = {
  readonly taskId: number;
  readonly attempt: number;
  readonly specDigest: Bytes32;
  readonly segments: number;
};

export type TrainingProgress = {
  readonly phase: 'loading' | 'training' | 'sketching' | 'done' | 'failed';
  readonly step: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly tokensPerSecond: number;
  readonly sketched: number;
  readonly records: number;
  /** Root over the checkpoints so far, for the heartbeat; null before the first. */
  readonly checkpointRoot: Bytes32 | null;
  readonly checkpointStep: number;
  readonly result: TaskResult | null;
  readonly sketchCount: number;
  readonly failure: string | null;
};

type Saved = {
  readonly checkpoints: readonly { state: string; stateHash: Bytes32; losses: string }[];
  readonly result: (TaskResult & { sketchCount: number }) | null;
};

export type Trainer = {
  /** Starts or continues the work; calling it again changes nothing. */
  readonly start: (attempt: Attempt) => void;
  readonly progress: (taskId: number, attempt: number) => TrainingProgress | null;
  /** Stops all work of tasks other than the given ones. */
  readonly keepOnly: (attempts: ReadonlySet<string>) => void;
  readonly close: () => Promise<void>;
};

export const attemptKey = (taskId: number, attempt: number): string => `${taskId}-${attempt}`;

/** The spec behind a digest; FILE_UNREADABLE when the block is no spec. */
export async function loadSpec(blocks: BlockPort, digest: Bytes32): Promise<TaskSpec> {
  const cid = cidOfDigest(digest).toString();
  const decoded = decodeTaskSpec(await blocks.get(cid, { timeoutMs: 20_000 }));
  if (!decoded.ok)
    throw new NodeError(
      'FILE_UNREADABLE',
      { file: `task spec ${cid}`, reason: decoded.message },
      'the requester published no valid spec; the task cannot be worked on',
    );
  return decoded.value;
}

export function createTrainer(options: TrainerOptions): Trainer {
  const jobs = new Map<
    string,
    { progress: TrainingProgress; stop: AbortController; ended: Promise<void> }
  >();
  return {
    start: (attempt) => {
      const key = attemptKey(attempt.taskId, attempt.attempt);
      if (jobs.has(key)) return;
      const stop = new AbortController();
      const job = { progress: EMPTY, stop, ended: Promise.resolve() };
      jobs.set(key, job);
      const tell = (change: Partial<TrainingProgress>) => {
        job.progress = { ...job.progress, ...change };
      };
      job.ended = runAttempt(options, attempt, stop.signal, tell).catch((error: unknown) => {
        if (stop.signal.aborted) return;
        options.log.error('training failed', { task: attempt.taskId, error });
        tell({ phase: 'failed', failure: error instanceof Error ? error.message : String(error) });
      });
    },
    progress: (taskId, attempt) => jobs.get(attemptKey(taskId, attempt))?.progress ?? null,
    keepOnly: (attempts) => {
      for (const [key, { stop }] of jobs) {
        if (attempts.has(key)) continue;
        stop.abort();
        jobs.delete(key);
      }
    },
    close: async () => {
      for (const { stop } of jobs.values()) stop.abort();
      await Promise.all([...jobs.values()].map(({ ended }) => ended));
    },
  };
}

const EMPTY: TrainingProgress = {
  phase: 'loading',
  step: 0,
  steps: 0,
  loss: null,
  tokensPerSecond: 0,
  sketched: 0,
  records: 0,
  checkpointRoot: null,
  checkpointStep: 0,
  result: null,
  sketchCount: 0,
  failure: null,
};

type Tell = (change: Partial<TrainingProgress>) => void;

async function runAttempt(
  options: TrainerOptions,
  attempt: Attempt,
  signal: AbortSignal,
  tell: Tell,
): Promise<void> {
  const { blocks, datanets } = options;
  const spec = await loadSpec(blocks, attempt.specDigest);
  if (spec.base !== options.baseHash || segmentCount(spec) !== attempt.segments)
    throw new NodeError(
      'NOT_FOUND',
      { what: 'base model', name: spec.base },
      'give this node the base model with --base, or leave the task to others',
    );
  const version = await datanets.load(spec.datanetId, spec.version);
  const examples = examplesOf(options.tokenizer, version.records, spec.contextLength);
  const plan = planOf(spec);
  const pool = await options.pool();
  tell({ phase: 'training', steps: spec.steps, records: examples.length });
  const file = openStateFile<Saved>(
    join(options.dataDir, 'tasks', `${attemptKey(attempt.taskId, attempt.attempt)}.json`),
    { checkpoints: [], result: null },
    (body) => body as Saved,
  );
  let state = await resumeFrom(file, blocks, () => initialState(pool.config, plan), tell, spec);
  while (state.step < spec.steps) {
    const losses: number[] = [];
    state = await runSteps(pool, plan, examples, state, state.step + spec.checkpointEvery, {
      signal,
      onStep: ({ step, loss, tokensPerSecond }) => {
        losses.push(loss);
        tell({ step, loss, tokensPerSecond });
      },
    });
    await keepCheckpoint(file, blocks, state, losses);
    tell(checkpointed(file.state, spec));
  }
  if (file.state.result === null)
    await finish(options, attempt, spec, { pool, examples, state, file, version }, signal, tell);
  const { result } = file.state;
  if (result === null) throw new Error('a finished attempt has a result');
  tell({ phase: 'done', result, sketchCount: result.sketchCount });
}

async function resumeFrom(
  file: StateFile<Saved>,
  blocks: BlockPort,
  initial: () => TrainingState,
  tell: Tell,
  spec: TaskSpec,
): Promise<TrainingState> {
  const last = file.state.checkpoints.at(-1);
  if (last === undefined) {
    const state = initial();
    await keepCheckpoint(file, blocks, state, []);
    return state;
  }
  tell(checkpointed(file.state, spec));
  const state = decodeState(await blocks.getLarge(last.state));
  tell({ step: state.step });
  return state;
}

async function keepCheckpoint(
  file: StateFile<Saved>,
  blocks: BlockPort,
  state: TrainingState,
  losses: readonly number[],
): Promise<void> {
  const bytes = encodeState(state);
  const cid = await blocks.putLarge(bytes);
  const entry = { state: cid, stateHash: hashOf(bytes), losses: toHex(floatBytes(losses)) };
  file.save({ ...file.state, checkpoints: [...file.state.checkpoints, entry] });
}

const leavesOf = (saved: Saved) =>
  saved.checkpoints.map(({ stateHash, losses }, index) => ({
    index,
    stateHash,
    lossesHash: hashOf(fromHex(losses)),
  }));

function checkpointed(saved: Saved, spec: TaskSpec): Partial<TrainingProgress> {
  return {
    checkpointRoot: toHex(traceTree(leavesOf(saved)).root),
    checkpointStep: (saved.checkpoints.length - 1) * spec.checkpointEvery,
  };
}

/** So many sketches take a few seconds, a fraction of a lease. */
const SKETCHES_PER_HEARTBEAT = 128;

type Finished = {
  readonly pool: Pool;
  readonly examples: ReturnType<typeof examplesOf>;
  readonly state: TrainingState;
  readonly file: StateFile<Saved>;
  readonly version: Awaited<ReturnType<Datanets['load']>>;
};

async function finish(
  options: TrainerOptions,
  attempt: Attempt,
  spec: TaskSpec,
  { pool, examples, state, file, version }: Finished,
  signal: AbortSignal,
  tell: Tell,
): Promise<void> {
  const { blocks } = options;
  tell({ phase: 'sketching' });
  const from = sketchSource(spec, pool, state, examples, signal);
  const calibration = await calibrateAdapter(from);
  const joined = new Uint8Array(examples.length * spec.sketchSize);
  const sketches: Int8Array[] = [];
  while (sketches.length < examples.length) {
    const until = Math.min(sketches.length + SKETCHES_PER_HEARTBEAT, examples.length);
    const indices = Array.from({ length: until - sketches.length }, (_, i) => sketches.length + i);
    for (const sketch of await sketchRecords(from, calibration, indices)) {
      joined.set(
        new Uint8Array(sketch.buffer, sketch.byteOffset, sketch.length),
        sketches.length * spec.sketchSize,
      );
      sketches.push(sketch);
    }
    // Sketches are signs of life too: a step beyond the last, with a root of its own.
    tell({
      sketched: sketches.length,
      checkpointStep: spec.steps + sketches.length,
      checkpointRoot: hashOf(joined.subarray(0, sketches.length * spec.sketchSize)),
    });
  }
  const adapter = floatBytes(state.parameters);
  const manifest = encodeResultManifest({
    taskId: attempt.taskId,
    adapter: parseCid(await blocks.putLarge(adapter)),
    calibration: calibrationBytes(calibration),
    checkpoints: file.state.checkpoints.map((each) => ({
      state: parseCid(each.state),
      stateHash: each.stateHash,
      losses: fromHex(each.losses),
    })),
    sketches: parseCid(await blocks.putLarge(joined)),
  });
  const manifestCid = await blocks.put(manifest, { codec: 'dag-cbor' });
  void blocks.provide(manifestCid);
  const tree = sketchTree(sketchLeaves(version.tree.leaves, sketches));
  file.save({
    ...file.state,
    result: {
      traceRoot: toHex(traceTree(leavesOf(file.state)).root),
      adapterHash: adapterHashOf(adapter),
      sketchRoot: toHex(tree.root),
      manifest: digestOfCid(parseCid(manifestCid)),
      sketchCount: sketches.length,
    },
  });
}
