// What the tests of traces share: the smallest passes that use every operation, and a recorder that
// lies about one step.

import type { ModelConfig } from '../engine/config.ts';
import { uniform } from '../engine/random.ts';
import { sampleAdapter, sampleParameters } from '../reference/sample.ts';
import { biasCorrection } from '../train/optimizer.ts';
import { Recorder } from './machine.ts';
import { backwardProgram, forwardProgram, scoreProgram, updateProgram } from './passes.ts';
import type { Program } from './program.ts';
import type { Step, StepOperation } from './step.ts';

/** One layer of width eight: a pass over it has a few thousand steps. */
const config: ModelConfig = {
  hiddenSize: 8,
  layers: 1,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ffnSize: 8,
  vocabSize: 16,
  contextLength: 16,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  tiedEmbeddings: true,
  headNorms: true,
};

/** A forward pass, a score, a LoRA and a full backward pass and a clipped update, by name. */
export function smallPrograms(seed = 1) {
  const parameters = sampleParameters(config, seed);
  const adapter = sampleAdapter(config, 2);
  const tokens = Int32Array.of(3, 1, 4, 1);
  const record = { tokens, mask: Uint8Array.of(0, 1, 0, 1) };
  const draw = (from: number) => Float32Array.from({ length: 70 }, (_, i) => uniform(from, i));
  const state = { parameters: draw(1), gradient: draw(2), m: draw(3), v: draw(4) };
  return {
    forward: forwardProgram({ config, parameters, adapter }, tokens),
    score: scoreProgram({ config, parameters, adapter: null }, tokens),
    lora: backwardProgram({ config, parameters, adapter }, record, 0.5),
    full: backwardProgram({ config, parameters, adapter: null }, record, 0.5),
    update: updateProgram(state, {
      ...{ share: 0.5, clipNorm: 0.25, learningRate: Math.fround(0.01), beta1: 0.9, beta2: 0.95 },
      ...{ correction1: biasCorrection(0.9, 3), correction2: biasCorrection(0.95, 3) },
      ...{ epsilon: 1e-8, weightDecay: 0.1 },
    }),
  } satisfies Record<string, Program>;
}

/** Where a step stands in a trace. */
export type StepPlace = {
  readonly operation: number;
  readonly tile: number;
  readonly step: number;
};

/** The nearest different number that the result's kind can hold. */
function altered({ operation, result }: Step): number {
  if (operation >= 5 && operation <= 7) return 1 - result;
  if (operation === 18) return 1 - result;
  return result === 0 ? 1 : -result;
}

class Liar extends Recorder {
  readonly #at: number;
  #taken = 0;

  constructor(show: (step: Step) => void, at: number) {
    let shown = 0;
    super((step) => show(shown++ === at ? { ...step, result: altered(step) } : step));
    this.#at = at;
  }

  protected override take(
    operation: StepOperation,
    operands: readonly number[],
    result: number,
  ): number {
    super.take(operation, operands, result);
    return this.#taken++ === this.#at ? altered({ operation, operands, result }) : result;
  }
}

/** Recorders of a trace that is wrong in this one step, and goes on from its result. */
export const lyingAt =
  ({ operation, tile, step }: StepPlace) =>
  (show: (step: Step) => void, place: { readonly operation: number; readonly tile: number }) =>
    place.operation === operation && place.tile === tile
      ? new Liar(show, step)
      : new Recorder(show);
