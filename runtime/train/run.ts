/**
 * A whole training run on this machine: steps, validation, early stop, checkpoints, events. Resumed
 * from a checkpoint it ends with the same bytes as if it had never been interrupted.
 */
import { createHash } from 'node:crypto';
import type { TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { permutation, randomBits } from '../engine/random.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { loadCheckpoint, type RunProgress, saveCheckpoint } from './checkpoints.ts';
import {
  adapterOf,
  type GradientSource,
  initialState,
  runSteps,
  type StepReport,
  type TrainingPlan,
} from './lora.ts';
import type { TrainingState } from './state.ts';

export type TrainingEvent =
  | { readonly event: 'resumed'; readonly step: number; readonly steps: number }
  | ({ readonly event: 'step'; readonly steps: number; readonly etaSeconds: number } & Omit<
      StepReport,
      'records'
    >)
  | {
      readonly event: 'validation';
      readonly step: number;
      /** Mean over the records of their mean NLL, nats per target. */
      readonly loss: number;
      readonly isBest: boolean;
    }
  | { readonly event: 'checkpoint'; readonly step: number }
  | { readonly event: 'early-stop'; readonly step: number; readonly bestStep: number };

/** Whoever computes: a pool, or a model on another backend. */
export type TrainingSource = GradientSource & {
  score(adapter: Adapter, tokens: Int32Array): Promise<{ readonly logprobs: Float32Array }>;
  forget(adapter: Adapter): void;
};

export type TrainingRun = {
  readonly source: TrainingSource;
  readonly plan: TrainingPlan;
  readonly records: readonly TrainingRecord[];
  /** Empty: no validation. */
  readonly validation: readonly TrainingRecord[];
  readonly evalEvery: number;
  /** Evaluations without a better one after which it stops; 0: never. Then the best state counts. */
  readonly patience: number;
  readonly microBatch: number;
  readonly saveEvery: number;
  /** Where checkpoints are kept. */
  readonly folder: string;
  /** The base model's hash. */
  readonly base: Uint8Array;
  /** What rounds in its own way: a checkpoint goes on only where it was begun. Absent: the kernels. */
  readonly device?: string;
  /** How the source keeps the base's matrices; default f32. */
  readonly format?: WeightFormat;
  readonly onEvent?: (event: TrainingEvent) => void;
  /** Stops after the step under way and leaves a checkpoint. */
  readonly signal?: AbortSignal;
};

export type RunResult = {
  /** The state that counts: the best by validation when there is early stop, else the last. */
  readonly state: TrainingState;
  readonly adapter: Adapter;
  readonly step: number;
  readonly bestLoss: number | null;
  /** By the signal: there is a checkpoint to go on from. */
  readonly isInterrupted: boolean;
};

/** Splits records by the seed: a share below 1, or a number, is kept for validation; at least one is left. */
export function splitRecords(
  records: readonly TrainingRecord[],
  validation: number,
  seed: number,
): { readonly train: readonly TrainingRecord[]; readonly validation: readonly TrainingRecord[] } {
  const asked = validation < 1 ? Math.round(validation * records.length) : Math.floor(validation);
  const count = Math.max(0, Math.min(asked, records.length - 1));
  const kept = new Set(
    permutation(randomBits(seed, validationStream), records.length).slice(0, count),
  );
  return {
    train: records.filter((_, i) => !kept.has(i)),
    validation: records.filter((_, i) => kept.has(i)),
  };
}
const validationStream = 0x76616c69;

/** Runs to the end, to an early stop, or until the signal. @throws CheckpointError and what runSteps throws */
export async function runTraining(run: TrainingRun): Promise<RunResult> {
  const id = runDigest(run);
  const tell = run.onEvent ?? (() => undefined);
  const { plan } = run;
  let progress = await loadCheckpoint(run.folder, id);
  if (progress !== null) tell({ event: 'resumed', step: progress.state.step, steps: plan.steps });
  else progress = await evaluated(run, first(run), tell);
  while (progress.state.step < plan.steps && !progress.isStopped && !isAborted(run)) {
    progress = await oneLeg(run, progress, tell);
    const { step } = progress.state;
    const isEnd = step === plan.steps || progress.isStopped || isAborted(run);
    if (isEnd || step % run.saveEvery === 0) {
      await saveCheckpoint(run.folder, id, progress);
      tell({ event: 'checkpoint', step });
    }
  }
  return resultOf(run, progress);
}

const isAborted = ({ signal }: TrainingRun): boolean => signal?.aborted === true;

const first = ({ source, plan }: TrainingRun): RunProgress => ({
  state: initialState(source.config, plan),
  best: null,
  withoutBetter: 0,
  isStopped: false,
});

function resultOf(run: TrainingRun, { state, best, isStopped }: RunProgress): RunResult {
  const chosen = run.patience > 0 && best !== null ? best.state : state;
  return {
    state: chosen,
    adapter: adapterOf(run.plan, chosen),
    step: state.step,
    bestLoss: best?.loss ?? null,
    isInterrupted: state.step < run.plan.steps && !isStopped,
  };
}

/** Steps up to the next evaluation, checkpoint or end, or until the signal. */
async function oneLeg(
  run: TrainingRun,
  progress: RunProgress,
  tell: (event: TrainingEvent) => void,
): Promise<RunProgress> {
  const { plan, source } = run;
  const { step } = progress.state;
  const next = (every: number) => (Math.floor(step / every) + 1) * every;
  const until = Math.min(plan.steps, next(run.evalEvery), next(run.saveEvery));
  const clock = startClock(plan.steps);
  // The step under way is finished when the signal comes, so that no work is lost.
  const state = await runSteps(source, plan, run.records, progress.state, until, {
    microBatch: run.microBatch,
    isEnough: () => isAborted(run),
    onStep: ({ records: _, ...report }) => {
      tell({ event: 'step', steps: plan.steps, etaSeconds: clock(report), ...report });
    },
  });
  const isDue = state.step === until && (until % run.evalEvery === 0 || until === plan.steps);
  return isDue ? evaluated(run, { ...progress, state }, tell) : { ...progress, state };
}

/** Seconds that are left, from the rate of the steps of this leg. */
function startClock(steps: number): (report: { readonly step: number }) => number {
  const started = performance.now();
  let done = 0;
  return ({ step }) => {
    done++;
    return ((performance.now() - started) / 1000 / done) * (steps - step);
  };
}

async function evaluated(
  run: TrainingRun,
  progress: RunProgress,
  tell: (event: TrainingEvent) => void,
): Promise<RunProgress> {
  if (run.validation.length === 0) return progress;
  const { state } = progress;
  const loss = await validationLoss(run.source, adapterOf(run.plan, state), run.validation);
  const isBest = progress.best === null || loss < progress.best.loss;
  tell({ event: 'validation', step: state.step, loss, isBest });
  if (isBest) return { ...progress, best: { state, loss }, withoutBetter: 0 };
  const withoutBetter = progress.withoutBetter + 1;
  const isStopped = run.patience > 0 && withoutBetter >= run.patience;
  const bestStep = progress.best?.state.step ?? 0;
  if (isStopped) tell({ event: 'early-stop', step: state.step, bestStep });
  return { ...progress, withoutBetter, isStopped };
}

/** Texts scored at once: keeps the threads busy and the memory small. */
const SCORED_AT_ONCE = 32;

/** Mean over the records of their mean NLL, summed in their order. */
async function validationLoss(
  source: TrainingSource,
  adapter: Adapter,
  records: readonly TrainingRecord[],
): Promise<number> {
  let sum = 0;
  for (let from = 0; from < records.length; from += SCORED_AT_ONCE) {
    const part = records.slice(from, from + SCORED_AT_ONCE);
    const scored = await Promise.all(part.map(({ tokens }) => source.score(adapter, tokens)));
    for (const [i, { logprobs }] of scored.entries()) sum += meanLoss(logprobs, part[i]!.mask);
  }
  source.forget(adapter);
  return sum / records.length;
}

function meanLoss(logprobs: Float32Array, mask: Uint8Array): number {
  let sum = 0;
  let targets = 0;
  for (let i = 1; i < mask.length; i++) {
    if (mask[i] === 0) continue;
    sum -= logprobs[i]!;
    targets++;
  }
  return targets === 0 ? 0 : sum / targets;
}

/** What the result depends on, in one digest; how often it is saved and in what parts it is not. */
function runDigest(run: TrainingRun): string {
  const { plan, records, validation, evalEvery, patience, base } = run;
  const { device = '', format = 'f32' } = run;
  const { checkpointEvery: _, ...decisive } = plan;
  const hash = createHash('sha256').update(base).update(device);
  hash.update(JSON.stringify(Object.entries(decisive).sort(([a], [b]) => (a < b ? -1 : 1))));
  const counts = [evalEvery, patience, records.length, validation.length];
  hash.update(JSON.stringify(format === 'f32' ? counts : [...counts, format]));
  for (const { tokens, mask } of [...records, ...validation]) {
    hash.update(`${tokens.length} `).update(Buffer.from(Int32Array.from(tokens).buffer));
    hash.update(mask);
  }
  return hash.digest('hex');
}
