// The passes that can be traced: forward (logits or log-probabilities), backward (a record's LoRA or
// full gradient) and update (AdamW with clipping), each with the bits of the kernels.
import { openArena } from '../engine/backend.ts';
import { loraLayout, type ModelConfig, parameterLayout } from '../engine/config.ts';
import type { AdamStep, TrainingRecord } from '../engine/engine.ts';
import { type Adapter, ModelInputError } from '../engine/graph.ts';
import { ropeTable as frequenciesOf } from '../engine/rope.ts';
import { normChunk } from '../train/optimizer.ts';
import { backward } from './backward.ts';
import { forward, type Model, outputHead, placeModel } from './forward.ts';
import { fold } from './maths.ts';
import { Builder, type Program, type Tensor } from './program.ts';
import { crossEntropy, ropeTable } from './rows.ts';

/** What a pass over a model reads: its shape, flat parameters, and an adapter or none. */
export type TracedModel = {
  readonly config: ModelConfig;
  readonly parameters: Float32Array;
  readonly adapter: Adapter | null;
};

function place({ config, parameters, adapter }: TracedModel, tokens: Int32Array): Model {
  const { contextLength, vocabSize } = config;
  if (tokens.length < 1 || tokens.length > contextLength) {
    throw new ModelInputError('CONTEXT_LENGTH', `1 to ${contextLength} tokens`, tokens.length);
  }
  for (const token of tokens) {
    if (token < 0 || token >= vocabSize) {
      throw new ModelInputError('TOKEN_RANGE', `0 to ${vocabSize - 1}`, token);
    }
  }
  const { headDim, ropeTheta, ropeScaling } = config;
  const { frequencies, scale } = frequenciesOf(openArena('wasm'), headDim, ropeTheta, ropeScaling);
  return placeModel(config, parameters, adapter, (builder) =>
    ropeTable(builder, builder.input('rope.frequencies', frequencies), tokens.length, scale),
  );
}

/** `logits` [places, vocab] after the tokens at these places, the last one when none are named. */
export function forwardProgram(
  of: TracedModel,
  tokens: Int32Array,
  places: readonly number[] = [tokens.length - 1],
): Program {
  const model = place(of, tokens);
  const { out } = forward(model, [...tokens]);
  model.builder.result('logits', outputHead(model, out, places).logits);
  return model.builder.build();
}

/** `logprobs`: of each token after the first, as binary32. */
export function scoreProgram(of: TracedModel, tokens: Int32Array): Program {
  const before = tokens.subarray(0, -1);
  const model = place(of, before);
  const { builder } = model;
  const { out } = forward(model, [...before]);
  const { logits } = outputHead(model, out, [...before.keys()]);
  const { logprobs } = crossEntropy(builder, 'score', logits, [...tokens.subarray(1)]);
  const narrow = builder.each('logprobs', logprobs.length, [logprobs], (m, [wide], i) =>
    m.narrow(wide![i]!),
  );
  builder.result('logprobs', narrow);
  return builder.build();
}

/**
 * `loss` (sum of NLL over masked targets, binary64) and weight * its gradient, tensor by tensor under
 * its name: `lora_A` and `lora_B` of every linear with an adapter; without one, every parameter's, added to
 * `start` (flat, zeros when absent).
 */
export function backwardProgram(
  of: TracedModel,
  { tokens, mask }: TrainingRecord,
  weight: number,
  start?: Float32Array,
): Program {
  if (mask.length !== tokens.length) {
    throw new ModelInputError('TARGET_MASK', `${tokens.length} entries`, mask.length);
  }
  const before = tokens.subarray(0, -1);
  const places = [...before.keys()].filter((t) => mask[t + 1] !== 0);
  if (places.length === 0) throw new ModelInputError('TARGET_MASK', 'a target', 0);
  const model = place(of, before);
  const { builder } = model;
  const passed = forward(model, [...before]);
  const head = outputHead(model, passed.out, places);
  const targets = places.map((t) => tokens[t + 1]!);
  const { loss, gradients } = backward(
    model,
    { ...passed, head },
    { tokens: [...before], places, targets, weight: Math.fround(weight) },
    of.adapter === null ? startsOf(of.config, builder, start) : undefined,
  );
  builder.result('loss', loss);
  for (const [name, tensor] of gradients) builder.result(name, tensor);
  return builder.build();
}

function startsOf(
  config: ModelConfig,
  builder: Builder,
  start: Float32Array | undefined,
): ReadonlyMap<string, Tensor> {
  const layout = parameterLayout(config);
  const placed = new Map<string, Tensor>();
  for (const { name, rows, columns, offset } of layout) {
    const size = rows * columns;
    const values = start?.subarray(offset, offset + size) ?? new Float32Array(size);
    placed.set(name, builder.input(`${name}.start`, values));
  }
  return placed;
}

/** The flat gradient of a traced backward pass, in the layout of its adapter or model. */
export function flatGradient(
  { config, adapter }: Pick<TracedModel, 'config' | 'adapter'>,
  result: (name: string) => ArrayLike<number>,
): Float32Array {
  const layout = adapter === null ? parameterLayout(config) : loraLayout(config, adapter.rank);
  const last = layout.at(-1)!;
  const flat = new Float32Array(last.offset + last.rows * last.columns);
  for (const { name, offset } of layout) flat.set(result(name), offset);
  return flat;
}

/** Parameters, gradient sum and moments before an update: arrays of one length. */
export type UpdateState = {
  readonly parameters: Float32Array;
  readonly gradient: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
};

/** AdamStep without its scale, which follows from the gradient: share, clipped to a norm. */
export type UpdateNumbers = Omit<AdamStep, 'scale'> & {
  /** What the gradient sum is multiplied by: 1 / items, as f32. */
  readonly share: number;
  /** 0 never clips. */
  readonly clipNorm: number;
};

/** `parameters`, `m` and `v` after one AdamW update, and the `scale` that clipping gave. */
export function updateProgram(state: UpdateState, numbers: UpdateNumbers): Program {
  const b = new Builder();
  const gradient = b.input('gradient', state.gradient);
  const before = {
    parameters: b.input('parameters', state.parameters),
    m: b.input('m', state.m),
    v: b.input('v', state.v),
  };
  const scale = scaleOf(b, gradient, numbers);
  const f = Math.fround;
  const { length } = gradient;
  const [beta1, beta2] = [f(numbers.beta1), f(numbers.beta2)];
  const d = b.each('scaled', length, [gradient, scale], (m, [of, by], i) =>
    m.multiply(of![i]!, by![0]!),
  );
  const first = b.each('m', length, [before.m, d], (m, [old, of], i) =>
    m.add(m.multiply(beta1, old![i]!), m.multiply(m.subtract(1, beta1), of![i]!)),
  );
  const second = b.each('v', length, [before.v, d], (m, [old, of], i) => {
    const square = m.multiply(of![i]!, of![i]!);
    return m.add(m.multiply(beta2, old![i]!), m.multiply(m.subtract(1, beta2), square));
  });
  const reads = [before.parameters, first, second];
  const parameters = b.each('parameters', length, reads, (m, [old, mean, square], i) => {
    const spread = m.squareRoot(m.divide(square![i]!, f(numbers.correction2)));
    const bottom = m.add(spread, f(numbers.epsilon));
    const move = m.divide(m.divide(mean![i]!, f(numbers.correction1)), bottom);
    const pulled = m.add(move, m.multiply(f(numbers.weightDecay), old![i]!));
    return m.subtract(old![i]!, m.multiply(f(numbers.learningRate), pulled));
  });
  b.result('parameters', parameters);
  b.result('m', first);
  b.result('v', second);
  b.result('scale', scale);
  return b.build();
}

/** The factor of the gradient as train/optimizer.ts computes it, in binary64 up to the last step. */
function scaleOf(b: Builder, gradient: Tensor, numbers: UpdateNumbers): Tensor {
  const share = Math.fround(numbers.share);
  const { clipNorm } = numbers;
  const { length } = gradient;
  const wide = { tile: 1, wide: true };
  const chunks = Math.ceil(length / normChunk);
  const squares = b.each(
    'squares',
    chunks,
    [gradient],
    (m, [of], chunk) => {
      const at = chunk * normChunk;
      const size = Math.min(normChunk, length - at);
      const lane = (i: number) => ({ of: of!, at: at + i, step: 8 });
      const sums = Array.from({ length: 8 }, (_, i) =>
        m.wideDot(0, lane(i), lane(i), Math.ceil((size - i) / 8)),
      );
      return fold((a, c) => m.wideAdd(a, c), sums);
    },
    wide,
  );
  const norm = b.each(
    'norm',
    1,
    [squares],
    (m, [parts]) => {
      let sum = 0;
      for (const part of parts!) sum = m.wideAdd(sum, part);
      return m.wideMultiply(m.wideSquareRoot(sum), m.widen(share));
    },
    wide,
  );
  return b.each('scale', 1, [norm], (m, [of]) => {
    if (clipNorm <= 0) return m.multiply(1, share);
    const above = m.wideLess(clipNorm, of![0]!);
    const clipped = m.narrow(m.wideDivide(clipNorm, of![0]!));
    return m.multiply(m.select(above, clipped, 1), share);
  });
}
