// LoRA training as a sequence of steps that anybody can repeat: step s depends only on the base,
// the plan, the records and the state after step s-1, never on threads, time or machine.
import {
  initialLora,
  LORA_MODULES,
  type LoraModule,
  layoutSize,
  loraLayout,
  type ModelConfig,
} from '../engine/config.ts';
import {
  AdamUpdater,
  type Engine,
  type RecordGradient,
  type TrainingRecord,
} from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { permutation, randomBits } from '../engine/random.ts';
import { exactSqrt } from '../engine/scalars.ts';
import {
  biasCorrection,
  clipScale,
  learningRateAt,
  normChunk,
  normOf,
  TrainingDivergedError,
} from './optimizer.ts';
import { packsOf, sharesOf } from './packing.ts';
import type { TrainingState } from './state.ts';
import { WorkAbortedError } from './threads.ts';

export type TrainingPlan = {
  readonly rank: number;
  /** The adapter is applied with scale alpha / rank, or alpha / sqrt(rank) when rank-stabilised. */
  readonly alpha: number;
  readonly rankStabilised: boolean;
  /** Share of the adapter's inputs that each record's pass leaves out; see engine/dropout.ts. */
  readonly dropout: number;
  /** The modules that are trained; the others stay as the base has them. */
  readonly targets: readonly LoraModule[];
  readonly learningRate: number;
  readonly schedule: 'cosine' | 'linear' | 'constant';
  readonly warmupSteps: number;
  /** Share of learningRate that cosine and linear end at. */
  readonly floor: number;
  readonly steps: number;
  /** Items of one step: records, or packs of records. */
  readonly batchSize: number;
  /** Tokens that a pack of records may hold; 0: each record is an item of its own. */
  readonly packTokens: number;
  /** Unsigned 32-bit; fixes the first adapter and the order of the records. */
  readonly seed: number;
  readonly checkpointEvery: number;
  readonly weightDecay: number;
  /** 0 never clips. */
  readonly clipNorm: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
};

/** A plan with the usual values for what is not given. */
export function trainingPlan(
  given: Partial<TrainingPlan> & { readonly steps: number },
): TrainingPlan {
  return {
    rank: 8,
    alpha: 16,
    rankStabilised: false,
    dropout: 0,
    targets: LORA_MODULES,
    learningRate: 2e-3,
    schedule: 'cosine',
    warmupSteps: Math.min(10, Math.ceil(given.steps / 10)),
    floor: 0,
    batchSize: 8,
    packTokens: 0,
    seed: 1,
    checkpointEvery: 10,
    weightDecay: 0,
    clipNorm: 1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    ...given,
  };
}

/** Steps that make `epochs` passes over the records. */
export function stepsForEpochs(epochs: number, records: number, batchSize: number): number {
  return Math.ceil((epochs * records) / batchSize);
}

/** Whoever computes per-record gradients: an engine of this thread, or a pool. */
export type GradientSource = {
  readonly config: ModelConfig;
  recordGradients(
    adapter: Adapter,
    records: readonly TrainingRecord[],
    signal?: AbortSignal,
  ): Promise<readonly RecordGradient[]>;
};

/** An engine as a gradient source; it computes on the calling thread. */
export function engineSource(engine: Engine): GradientSource {
  return {
    config: engine.config,
    async recordGradients(adapter, records) {
      return engine.recordGradients(adapter, records);
    },
  };
}

export type StepReport = {
  /** Steps done, this one included. */
  readonly step: number;
  /** Mean over the batch's items of their mean NLL (nats per target), before the update. */
  readonly loss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Indices of the batch's records, in order. */
  readonly records: Uint32Array;
};

export type RunOptions = {
  readonly onStep?: (report: StepReport, state: TrainingState) => void | Promise<void>;
  /** Per-record gradients of each step, before the update (for attribution). */
  readonly onGradients?: (
    step: number,
    records: Uint32Array,
    gradients: readonly RecordGradient[],
  ) => void;
  /** Records whose gradients are held at once (gradient accumulation); it changes no bit. */
  readonly microBatch?: number;
  /** Ends the work where it cannot go on; it throws. */
  readonly signal?: AbortSignal;
  /** Asked before each step; true ends the run early, with the state reached. */
  readonly isEnough?: () => boolean;
};

/** The state before the first step. */
export function initialState(config: ModelConfig, plan: TrainingPlan): TrainingState {
  const layout = loraLayout(config, plan.rank);
  const count = layoutSize(layout);
  return {
    step: 0,
    rank: plan.rank,
    parameters: initialLora(layout, plan.seed, plan.targets),
    m: new Float32Array(count),
    v: new Float32Array(count),
  };
}

/** The adapter a state holds. */
export function adapterOf(plan: TrainingPlan, state: TrainingState): Adapter {
  return { rank: plan.rank, alpha: appliedAlpha(plan), parameters: state.parameters };
}

/** The alpha with which alpha / rank is the plan's scale. */
export function appliedAlpha(
  plan: Pick<TrainingPlan, 'alpha' | 'rank' | 'rankStabilised'>,
): number {
  return plan.rankStabilised ? plan.alpha * exactSqrt(plan.rank) : plan.alpha;
}

/** Items of batch `step` (0-based): every epoch is a fresh permutation; batches run on across epochs. */
export function dataOrder(
  seed: number,
  records: number,
  batchSize: number,
  step: number,
): Uint32Array {
  if (records < 1) throw new RangeError('training: expected at least one record, found none');
  const batch = new Uint32Array(batchSize);
  let epoch = -1;
  let order = new Uint32Array(0);
  for (let i = 0; i < batchSize; i++) {
    const position = step * batchSize + i;
    if (Math.floor(position / records) !== epoch) {
      epoch = Math.floor(position / records);
      order = permutation(randomBits(seed, epoch), records) as Uint32Array<ArrayBuffer>;
    }
    batch[i] = order[position % records]!;
  }
  return batch;
}

/** Tells the streams of one seed apart: the order of the records has the epochs' numbers. */
const dropoutStream = 0x64726f70;

/** One step's records in order, each with its share of its item's loss. */
type Batch = {
  readonly indices: Uint32Array;
  readonly records: readonly TrainingRecord[];
  readonly shares: readonly number[];
  readonly items: number;
};

function batchOf(
  plan: TrainingPlan,
  records: readonly TrainingRecord[],
  packs: readonly (readonly number[])[],
  step: number,
): Batch {
  const chosen = Array.from(
    dataOrder(plan.seed, packs.length, plan.batchSize, step),
    (item) => packs[item]!,
  );
  const indices = Uint32Array.from(chosen.flat());
  const drawn = randomBits(plan.seed ^ dropoutStream, step);
  return {
    indices,
    items: chosen.length,
    shares: chosen.flatMap((pack) => sharesOf(records, pack)),
    records: Array.from(indices, (index, i) => {
      const { tokens, mask } = records[index]!;
      if (plan.dropout === 0) return { tokens, mask };
      return { tokens, mask, dropout: { rate: plan.dropout, seed: randomBits(drawn, i) } };
    }),
  };
}

/** Gradients summed in order in f32, each times its share; the mean is taken inside AdamW. */
type Sum = { readonly gradient: Float32Array; readonly loss: number; readonly tokens: number };

async function sumOf(
  source: GradientSource,
  adapter: Adapter,
  batch: Batch,
  step: number,
  options: RunOptions,
): Promise<Sum> {
  const sum = new Float32Array(adapter.parameters.length);
  const size = Math.max(1, options.microBatch ?? batch.records.length);
  let loss = 0;
  let tokens = 0;
  for (let from = 0; from < batch.records.length; from += size) {
    const part = batch.records.slice(from, from + size);
    const gradients = await source.recordGradients(adapter, part, options.signal);
    options.onGradients?.(step, batch.indices.slice(from, from + size), gradients);
    for (const [i, one] of gradients.entries()) {
      const share = batch.shares[from + i]!;
      addShare(sum, one.gradient, share);
      loss += one.loss * share;
      tokens += part[i]!.tokens.length;
    }
  }
  return { gradient: sum, loss: loss / batch.items, tokens };
}

function addShare(sum: Float32Array, gradient: Float32Array, share: number): void {
  const count = sum.length;
  for (let i = 0; i < count; i++) sum[i] = sum[i]! + Math.fround(gradient[i]! * share);
}

/**
 * Runs steps until `untilStep` of them are done and returns the new state; the given one stays as
 * it is. Throws TrainingDivergedError, WorkAbortedError, or what the source throws.
 */
export async function runSteps(
  source: GradientSource,
  plan: TrainingPlan,
  records: readonly TrainingRecord[],
  state: TrainingState,
  untilStep: number,
  options: RunOptions = {},
): Promise<TrainingState> {
  const updater = new AdamUpdater('wasm');
  const packs = packsOf(records, plan.packTokens);
  const schedule = { ...plan, kind: plan.schedule, totalSteps: plan.steps };
  let current = state;
  for (let step = state.step; step < untilStep; step++) {
    if (options.signal?.aborted) throw new WorkAbortedError(options.signal.reason);
    if (options.isEnough?.()) break;
    const started = performance.now();
    const batch = batchOf(plan, records, packs, step);
    const sum = await sumOf(source, adapterOf(plan, current), batch, step, options);
    const share = Math.fround(1 / batch.items);
    const gradientNorm = normOf(updater.squares(sum.gradient, normChunk)) * share;
    if (!Number.isFinite(gradientNorm)) throw new TrainingDivergedError(step, gradientNorm);
    const learningRate = learningRateAt(schedule, step);
    const next = {
      step: step + 1,
      rank: plan.rank,
      parameters: current.parameters.slice(),
      m: current.m.slice(),
      v: current.v.slice(),
    };
    updater.step(next.parameters, sum.gradient, next.m, next.v, {
      ...plan,
      scale: Math.fround(clipScale(gradientNorm, plan.clipNorm) * share),
      learningRate,
      correction1: biasCorrection(plan.beta1, step + 1),
      correction2: biasCorrection(plan.beta2, step + 1),
    });
    current = next;
    const { loss, tokens } = sum;
    const tokensPerSecond = (tokens * 1000) / Math.max(1e-3, performance.now() - started);
    const report = { step: step + 1, loss, learningRate, gradientNorm, tokens, tokensPerSecond };
    await options.onStep?.({ ...report, records: batch.indices }, current);
  }
  return current;
}
