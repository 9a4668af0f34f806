/** The numbers of a pretraining run: dimensions, schedule, first weights. All follow from the seed. */
import { type ModelConfig, philoxStream, weightShapes } from '#runtime';

/** The dimensions of the shipped base model: 2.75 million parameters, 5.5 MB as bf16. */
export const BASE_CONFIG: ModelConfig = {
  hiddenSize: 192,
  layers: 6,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  ffnSize: 512,
  vocabSize: 2048,
  contextLength: 512,
  rmsEps: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
};

/** How a run goes; `tokens per step` is sequences times sequence length. */
export type Schedule = {
  steps: number;
  sequences: number;
  /** Sequence length up to `longFrom`, and after it (half as many sequences, twice as long). */
  length: number;
  longFrom: number;
  ratePeak: number;
  warmupSteps: number;
  /** From here on the rate falls in a straight line, to `rateEnd` at the last step. */
  decayFrom: number;
  rateEnd: number;
  weightDecay: number;
  beta1: number;
  beta2: number;
  clipNorm: number;
};

/** The schedule for a number of steps; the last quarter trains on the model's whole context. */
export function scheduleOf(steps: number): Schedule {
  return {
    steps,
    sequences: 8,
    length: 256,
    longFrom: Math.floor(steps * 0.75),
    ratePeak: 2e-3,
    warmupSteps: Math.min(100, Math.ceil(steps / 10)),
    decayFrom: Math.floor((steps * 5) / 9),
    rateEnd: 5e-5,
    weightDecay: 0.1,
    beta1: 0.9,
    beta2: 0.95,
    clipNorm: 1,
  };
}

/**
 * The learning rate of a step: linear warm-up, then the slow beginning of a cosine, then a straight
 * line down, which settles a small model better than the cosine's own long tail.
 */
export function rateAt(schedule: Schedule, step: number): number {
  const { ratePeak, rateEnd, warmupSteps, decayFrom, steps } = schedule;
  if (step < warmupSteps) return (ratePeak * (step + 1)) / warmupSteps;
  const cosineSteps = Math.round((steps * 4) / 3);
  const cosine = (at: number): number => {
    const progress = (at - warmupSteps) / Math.max(1, cosineSteps - warmupSteps);
    return ratePeak * (0.1 + 0.45 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
  };
  if (step < decayFrom) return cosine(step);
  const share = (step - decayFrom) / Math.max(1, steps - 1 - decayFrom);
  return cosine(decayFrom) * (1 - share) + rateEnd * share;
}

/** Sequences and their length at a step; the tokens per step stay the same. */
export function batchShape(
  schedule: Schedule,
  step: number,
): { sequences: number; length: number } {
  const { sequences, length, longFrom } = schedule;
  return step < longFrom
    ? { sequences, length }
    : { sequences: Math.max(1, sequences >> 1), length: length * 2 };
}

/**
 * First weights: norms 1, everything else nearly normal (twelve uniform words summed), with a
 * deviation of 0.04, smaller in the two linears of each layer that write to the residual stream.
 */
export function initialWeights(config: ModelConfig, seed: bigint): Float32Array {
  const dice = philoxStream(seed, 9);
  const shapes = [...weightShapes(config)];
  const count = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
  const weights = new Float32Array(shapes.reduce((sum, [, shape]) => sum + count(shape), 0));
  let at = 0;
  for (const [name, shape] of shapes) {
    const end = at + count(shape);
    if (shape.length === 1) weights.fill(1, at, end);
    else {
      const isResidual = /(o_proj|down_proj)\.weight$/.test(name);
      const deviation = isResidual ? 0.04 / Math.sqrt(2 * config.layers) : 0.04;
      for (let i = at; i < end; i++) {
        let sum = -6 * 2 ** 32;
        for (let n = 0; n < 12; n++) sum += dice.word();
        weights[i] = (sum / 2 ** 32) * deviation;
      }
    }
    at = end;
  }
  return weights;
}
