/**
 * What trainer and verifiers compute of a task, from the same functions: the plan of a spec, the
 * records as examples, checkpoints, the calibration and the sketches. Nothing here talks to a chain.
 */
import { keccak256, toHex } from '#crypto';
import { type TaskSpec, USUAL_OPTIONS } from '#protocol';
import {
  adapterOf,
  type Pool,
  recordExample,
  SKETCH_SETTINGS,
  type SketchSource,
  type Tokenizer,
  type TrainingPlan,
  type TrainingRecord,
  type TrainingState,
  trainingPlan,
} from '#runtime';

/** The training plan that a spec stands for. */
export function planOf(spec: TaskSpec): TrainingPlan {
  const { dropout, packTokens, rankStabilised, targets } = spec.options ?? USUAL_OPTIONS;
  return trainingPlan({
    dropout,
    packTokens,
    rankStabilised,
    targets,
    floor: spec.schedule.floor,
    steps: spec.steps,
    rank: spec.lora.rank,
    alpha: spec.lora.alpha,
    schedule: spec.schedule.kind,
    learningRate: spec.schedule.learningRate,
    warmupSteps: spec.schedule.warmupSteps,
    batchSize: spec.batch,
    seed: spec.seed,
    checkpointEvery: spec.checkpointEvery,
    beta1: spec.optimiser.beta1,
    beta2: spec.optimiser.beta2,
    epsilon: spec.optimiser.epsilon,
    weightDecay: spec.optimiser.weightDecay,
    clipNorm: spec.optimiser.clipNorm,
  });
}

/** The records of a version as training examples, in version order. */
export function examplesOf(
  tokenizer: Tokenizer,
  records: readonly Uint8Array[],
  tokensMax: number,
): TrainingRecord[] {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  return records.map((record) => recordExample(tokenizer, decoder.decode(record), tokensMax));
}

/** float32 little-endian bytes. */
export function floatBytes(values: Float32Array | readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i += 1) view.setFloat32(i * 4, values[i] ?? 0, true);
  return bytes;
}

export const hashOf = (bytes: Uint8Array): `0x${string}` => toHex(keccak256(bytes));

/** What the sketches of a trained state are computed from. */
export function sketchSource(
  spec: TaskSpec,
  pool: Pool,
  state: TrainingState,
  examples: readonly TrainingRecord[],
  signal: AbortSignal,
): SketchSource {
  return {
    source: pool,
    adapter: adapterOf(planOf(spec), state),
    records: examples,
    settings: { ...SKETCH_SETTINGS, seed: spec.sketchSeed },
    signal,
  };
}
