// Full-parameter training of a small model on several threads. A step's sequences go round-robin
// onto a fixed number of lanes, and lanes are added in order, so threads never change a bit.
import { availableParallelism } from 'node:os';
import type { BackendChoice } from '../engine/backend.ts';
import { layoutSize, type ModelConfig, parameterLayout } from '../engine/config.ts';
import { uniform } from '../engine/random.ts';
import { exactSqrt } from '../engine/scalars.ts';
import type { FullShared, FullWorkerData, LaneWork } from './full-worker.ts';
import {
  type AdamOptions,
  biasCorrection,
  clipScale,
  normChunk,
  normOf,
  TrainingDivergedError,
} from './optimizer.ts';
import { Thread } from './threads.ts';

export type FullTrainerOptions = {
  readonly config: ModelConfig;
  readonly seed: number;
  /** Gradient accumulators; part of the result's definition, unlike threads. Default 4. */
  readonly lanes?: number;
  readonly threads?: number;
  readonly backend?: BackendChoice;
  readonly adam?: Partial<AdamOptions>;
  readonly workerFile?: string | URL;
};

export type FullState = {
  readonly step: number;
  readonly parameters: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
};

/** A sequence of up to contextLength + 1 tokens; mask[i] = 0 takes tokens[i] out of the loss. */
export type FullSequence = Int32Array | { readonly tokens: Int32Array; readonly mask: Uint8Array };

export type FullTrainer = {
  /** One AdamW update; loss is the mean NLL (nats) per target token of the batch. */
  step(
    sequences: readonly FullSequence[],
    learningRate: number,
  ): Promise<{ loss: number; gradientNorm: number }>;
  /** The parameters under their HF names, copied. */
  weights(): Map<string, Float32Array>;
  save(): Promise<FullState>;
  restore(state: FullState): Promise<void>;
  close(): Promise<void>;
};

const defaults: AdamOptions = {
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
};

/**
 * Fresh parameters: norms 1, biases 0, matrices near-normal (sum of four uniforms) with deviation 0.02,
 * divided by sqrt(2 * layers) where they write to the residual stream.
 */
export function initialParameters(config: ModelConfig, seed: number): Float32Array {
  const layout = parameterLayout(config);
  const flat = new Float32Array(layoutSize(layout));
  const residual = 1 / exactSqrt(2 * config.layers);
  for (const slot of layout) {
    const writes = slot.name.endsWith('o_proj.weight') || slot.name.endsWith('down_proj.weight');
    // A sum of four uniforms on [0, 1) has variance 1/3.
    const spread = 0.02 * exactSqrt(3) * (writes ? residual : 1);
    for (let i = slot.offset; i < slot.offset + slot.rows * slot.columns; i++) {
      if (slot.rows === 1) {
        flat[i] = slot.name.endsWith('.bias') ? 0 : 1;
        continue;
      }
      let sum = -2;
      for (let j = 0; j < 4; j++) sum += uniform(seed, i * 4 + j);
      flat[i] = Math.fround(sum * spread);
    }
  }
  return flat;
}

function sharedFloats(count: number): SharedArrayBuffer {
  return new SharedArrayBuffer(count * 4);
}

/** Contiguous ranges of whole norm chunks, one per thread. */
function ranges(count: number, threads: number): { from: number; to: number }[] {
  const chunks = Math.ceil(count / normChunk);
  return Array.from({ length: threads }, (_, i) => ({
    from: Math.min(count, Math.floor((chunks * i) / threads) * normChunk),
    to: Math.min(count, Math.floor((chunks * (i + 1)) / threads) * normChunk),
  }));
}

function withMask(sequence: FullSequence): { tokens: Int32Array; mask: Uint8Array } {
  if (!(sequence instanceof Int32Array)) return sequence;
  return { tokens: sequence, mask: new Uint8Array(sequence.length).fill(1) };
}

function countTargets(batch: readonly { mask: Uint8Array }[]): number {
  let targets = 0;
  for (const { mask } of batch) {
    for (let i = 1; i < mask.length; i++) targets += mask[i] === 0 ? 0 : 1;
  }
  return targets;
}

/** Starts the threads; parameters are initialised from the seed. */
export function createFullTrainer(options: FullTrainerOptions): FullTrainer {
  const { config } = options;
  const adam: AdamOptions = { ...defaults, ...options.adam };
  const layout = parameterLayout(config);
  const count = layoutSize(layout);
  const lanes = options.lanes ?? 4;
  const threads = Math.min(options.threads ?? availableParallelism(), lanes);
  const shared: FullShared = {
    parameters: sharedFloats(count),
    first: sharedFloats(count),
    second: sharedFloats(count),
    lanes: Array.from({ length: lanes }, () => sharedFloats(count)),
  };
  const parameters = new Float32Array(shared.parameters);
  parameters.set(initialParameters(config, options.seed));
  const workers = ranges(count, threads).map(({ from, to }) => {
    const backend = options.backend ?? 'auto';
    const data: FullWorkerData = { role: 'full', config, backend, shared, from, to };
    return new Thread(data, options.workerFile);
  });
  let updates = 0;

  const all = <T>(message: object) =>
    Promise.all(workers.map((worker) => worker.request<T>(message)));

  async function gradients(batch: readonly { tokens: Int32Array; mask: Uint8Array }[]) {
    const targets = countTargets(batch);
    if (targets === 0) throw new RangeError('training step: expected at least one target token');
    const work: LaneWork[][] = workers.map(() => []);
    for (let lane = 0; lane < lanes; lane++) {
      const sequences = batch.filter((_, i) => i % lanes === lane);
      work[lane % workers.length]?.push({ lane, sequences });
    }
    const weight = Math.fround(1 / targets);
    const losses = await Promise.all(
      workers.map((worker, i) =>
        worker.request<number[][]>({ kind: 'gradient', work: work[i], weight }),
      ),
    );
    let loss = 0;
    for (let lane = 0; lane < lanes; lane++) {
      const mine = losses[lane % workers.length]?.[Math.floor(lane / workers.length)];
      for (const part of mine ?? []) loss += part;
    }
    return loss / targets;
  }

  return {
    async step(sequences, learningRate) {
      const loss = await gradients(sequences.map(withMask));
      const gradientNorm = normOf((await all<number[]>({ kind: 'reduce' })).flat());
      if (!Number.isFinite(gradientNorm)) throw new TrainingDivergedError(updates, gradientNorm);
      updates++;
      const numbers = [
        ...[clipScale(gradientNorm, adam.clipNorm), learningRate, adam.beta1, adam.beta2],
        ...[biasCorrection(adam.beta1, updates), biasCorrection(adam.beta2, updates), adam.epsilon],
      ];
      await all({ kind: 'update', numbers, decay: adam.weightDecay });
      return { loss, gradientNorm };
    },
    weights() {
      const named = layout.map((slot): [string, Float32Array] => {
        const end = slot.offset + slot.rows * slot.columns;
        return [slot.name, new Float32Array(parameters.subarray(slot.offset, end))];
      });
      return new Map(named);
    },
    async save() {
      await all({ kind: 'publish' });
      const copy = (from: SharedArrayBuffer) => new Float32Array(new Float32Array(from));
      return {
        step: updates,
        parameters: copy(shared.parameters),
        first: copy(shared.first),
        second: copy(shared.second),
      };
    },
    async restore(state) {
      updates = state.step;
      parameters.set(state.parameters);
      new Float32Array(shared.first).set(state.first);
      new Float32Array(shared.second).set(state.second);
      await all({ kind: 'load' });
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.close()));
    },
  };
}
