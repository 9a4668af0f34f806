// The forward pass of the kernels' graph (runtime/kernels/model.h) as a program: one sequence from
// position 0, with an adapter or none.
import {
  biasBits,
  checkConfig,
  loraLayout,
  type ModelConfig,
  parameterLayout,
} from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import { copy } from './maths.ts';
import { Builder, rowsOf, type Tensor } from './program.ts';
import { add, rmsnorm, rope, type Shape, swiglu, windowSoftmax } from './rows.ts';

/** The kernels' linears of a layer, in their order. */
export const LINEARS = [
  ...(['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'] as const),
  ...(['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'] as const),
];
export type Linear = (typeof LINEARS)[number];

/** Rows of queries that the kernels take together: the later ones' keys count, as zeros, for all. */
export const ATTENTION_BLOCK = 24;

/** A model with everything a pass over it reads, as tensors of one program. */
export type Model = {
  readonly builder: Builder;
  readonly config: ModelConfig;
  /** A parameter by its Hugging Face name, or `lora_A` and `lora_B` of a linear. */
  parameter(name: string): Tensor;
  readonly adapter?: { readonly rank: number; readonly scale: number };
  readonly biases: number;
  readonly table: Tensor;
};

/** What one linear leaves: its output, and scale * x A^T where there is an adapter. */
export type Projected = { readonly y: Tensor; readonly low: Tensor | undefined };

/** What a layer's backward pass reads. */
export type LayerActs = {
  readonly in: Tensor;
  readonly inverse1: Tensor;
  readonly norm1: Tensor;
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly rawQ: Tensor;
  readonly rawK: Tensor;
  readonly inverseQ: Tensor | undefined;
  readonly inverseK: Tensor | undefined;
  readonly probs: Tensor;
  readonly attended: Tensor;
  readonly middle: Tensor;
  readonly inverse2: Tensor;
  readonly norm2: Tensor;
  readonly gate: Tensor;
  readonly up: Tensor;
  readonly product: Tensor;
  readonly low: Readonly<Record<Linear, Tensor | undefined>>;
};

/** Places parameters and adapter as inputs, each tensor under its name. */
export function placeModel(
  config: ModelConfig,
  parameters: Float32Array,
  adapter: Adapter | null,
  table: (builder: Builder) => Tensor,
): Model {
  checkConfig(config);
  const builder = new Builder();
  const placed = new Map<string, Tensor>();
  const place = (layout: ReturnType<typeof parameterLayout>, flat: Float32Array) => {
    for (const { name, rows, columns, offset } of layout) {
      placed.set(name, builder.input(name, flat.subarray(offset, offset + rows * columns)));
    }
  };
  place(parameterLayout(config), parameters);
  if (adapter !== null) place(loraLayout(config, adapter.rank), adapter.parameters);
  return {
    builder,
    config,
    parameter: (name) => placed.get(name)!,
    ...(adapter === null
      ? {}
      : { adapter: { rank: adapter.rank, scale: Math.fround(adapter.alpha / adapter.rank) } }),
    biases: biasBits(config),
    table: table(builder),
  };
}

export function linearShape(config: ModelConfig, which: Linear): { in: number; out: number } {
  const { hiddenSize: hidden, ffnSize: ffn, heads, kvHeads, headDim } = config;
  const query = heads * headDim;
  const key = kvHeads * headDim;
  const out = { q: query, k: key, v: key, o: hidden, gate: ffn, up: ffn, down: hidden };
  const short = which.replace(/^.*[.](.*)_proj$/, '$1') as keyof typeof out;
  return { in: short === 'o' ? query : short === 'down' ? ffn : hidden, out: out[short] };
}

export const hasBias = (model: Model, which: Linear): boolean =>
  ((model.biases >> LINEARS.indexOf(which)) & 1) === 1;

function linear(model: Model, layer: number, which: Linear, x: Tensor): Projected {
  const { builder: b, adapter } = model;
  const { in: depth, out: columns } = linearShape(model.config, which);
  const rows = x.length / depth;
  const name = `model.layers.${layer}.${which}`;
  const right = rowsOf(model.parameter(`${name}.weight`), depth);
  let y = b.product(name, { rows, columns, depth }, rowsOf(x, depth), right);
  if (hasBias(model, which)) {
    const bias = model.parameter(`${name}.bias`);
    y = b.each(`${name}.biased`, y.length, [y, bias], (m, [of, by], i) =>
      m.add(of![i]!, by![i % columns]!),
    );
  }
  if (adapter === undefined) return { y, low: undefined };
  const { rank, scale } = adapter;
  const down = rowsOf(model.parameter(`${name}.lora_A`), depth);
  const narrow = { rows, columns: rank, depth };
  const plain = b.product(`${name}.low`, narrow, rowsOf(x, depth), down);
  const low = b.each(`${name}.scaled`, plain.length, [plain], (m, [of], i) =>
    m.multiply(of![i]!, scale),
  );
  const up = rowsOf(model.parameter(`${name}.lora_B`), rank);
  const wide = { rows, columns, depth: rank };
  return { y: b.product(`${name}.adapted`, wide, rowsOf(low, rank), up, y), low };
}

const roundUp = (n: number) => Math.ceil(n / 8) * 8;

/** Of a row's block: one past the last position that its products run over. */
export const blockEnd = (position: number, n: number): number =>
  Math.min(position - (position % ATTENTION_BLOCK) + ATTENTION_BLOCK, n);

/** Places of the numbers of attention in its tensors. */
export function attentionShape(config: ModelConfig, n: number) {
  const { heads, kvHeads, headDim: dim } = config;
  return {
    n,
    heads,
    dim,
    group: heads / kvHeads,
    queryWidth: heads * dim,
    keyWidth: kvHeads * dim,
    /** Numbers per row of scores. */
    wide: roundUp(n),
    scale: Math.fround(1 / Math.fround(Math.sqrt(dim))),
  };
}

/** The probabilities [heads, n, wide] and what they attend to [n, heads * dim]. */
function attention(
  b: Builder,
  name: string,
  config: ModelConfig,
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  window: number,
): { probs: Tensor; attended: Tensor } {
  const { heads, dim, group, queryWidth, keyWidth, ...shape } = attentionShape(
    config,
    k.length / (config.kvHeads * config.headDim),
  );
  const { n, wide, scale } = shape;
  const firstSeen = (position: number) =>
    window > 0 && position >= window ? position - window + 1 : 0;
  const scores = b.each(`${name}.scores`, heads * n * wide, [q, k], (m, [left, right], i) => {
    const seen = i % wide;
    const position = Math.floor(i / wide) % n;
    if (seen > position || seen < firstSeen(position)) return 0;
    const head = Math.floor(i / (wide * n));
    const query = { of: left!, at: position * queryWidth + head * dim, step: 1 };
    const at = seen * keyWidth + Math.floor(head / group) * dim;
    return m.dot(0, query, { of: right!, at, step: 1 }, dim);
  });
  const size = { length: scores.length, tile: wide };
  const probs = b.operation(`${name}.probs`, size, [scores], (m, read, from, out) => {
    const position = (from / wide) % n;
    const row = read(scores).subarray(from, from + wide);
    windowSoftmax(m, row, out, { first: firstSeen(position), length: position + 1 }, scale);
  });
  const attended = b.each(`${name}.attended`, n * queryWidth, [probs, v], (m, [left, right], i) => {
    const position = Math.floor(i / queryWidth);
    const head = Math.floor((i % queryWidth) / dim);
    const start = firstSeen(position - (position % ATTENTION_BLOCK));
    const skip = start - (start % 8);
    const shares = { of: left!, at: (head * n + position) * wide + skip, step: 1 };
    const at = skip * keyWidth + Math.floor(head / group) * dim + (i % dim);
    const values = { of: right!, at, step: keyWidth };
    return m.dot(0, shares, values, blockEnd(position, n) - skip);
  });
  return { probs, attended };
}

/** q or k: projected, with the norm of its heads where the model has one, then turned. */
function headsOf(model: Model, layer: number, which: 'q' | 'k', x: Tensor, rows: number) {
  const { builder: b, config } = model;
  const at = `model.layers.${layer}.self_attn`;
  const { y: raw, low } = linear(model, layer, `self_attn.${which}_proj`, x);
  const dim = config.headDim;
  const width = raw.length / rows;
  const heads = { rows: raw.length / dim, width: dim };
  const normed =
    config.headNorms === true
      ? rmsnorm(
          b,
          `${at}.${which}_norm`,
          raw,
          model.parameter(`${at}.${which}_norm.weight`),
          heads,
          config.rmsEps,
        )
      : undefined;
  const straight = normed?.y ?? raw;
  const turned = rope(b, `${at}.${which}_rope`, straight, model.table, { rows, width }, dim, 1);
  return { raw, low, inverse: normed?.inverse, turned };
}

/** Rows of x by their places, as steps that change nothing. */
export function gather(
  b: Builder,
  name: string,
  x: Tensor,
  places: readonly number[],
  width: number,
): Tensor {
  return b.each(name, places.length * width, [x], (m, [of], i) =>
    copy(m, of![places[Math.floor(i / width)]! * width + (i % width)]!),
  );
}

function forwardLayer(model: Model, layer: number, x: Tensor, rows: number) {
  const { builder: b, config } = model;
  const at = `model.layers.${layer}`;
  const shape: Shape = { rows, width: config.hiddenSize };
  const norm = (name: string, of: Tensor) =>
    rmsnorm(b, `${at}.${name}`, of, model.parameter(`${at}.${name}.weight`), shape, config.rmsEps);
  const first = norm('input_layernorm', x);
  const q = headsOf(model, layer, 'q', first.y, rows);
  const k = headsOf(model, layer, 'k', first.y, rows);
  const v = linear(model, layer, 'self_attn.v_proj', first.y);
  const turned = { q: q.turned, k: k.turned, v: v.y };
  const window = config.windows?.[layer] ?? 0;
  const { probs, attended } = attention(b, `${at}.self_attn`, config, turned, window);
  const o = linear(model, layer, 'self_attn.o_proj', attended);
  const middle = add(b, `${at}.middle`, x, o.y);
  const second = norm('post_attention_layernorm', middle);
  const gate = linear(model, layer, 'mlp.gate_proj', second.y);
  const up = linear(model, layer, 'mlp.up_proj', second.y);
  const product = swiglu(b, `${at}.mlp.product`, gate.y, up.y);
  const down = linear(model, layer, 'mlp.down_proj', product);
  const acts: LayerActs = {
    in: x,
    inverse1: first.inverse,
    norm1: first.y,
    ...turned,
    rawQ: q.raw,
    rawK: k.raw,
    inverseQ: q.inverse,
    inverseK: k.inverse,
    probs,
    attended,
    middle,
    inverse2: second.inverse,
    norm2: second.y,
    gate: gate.y,
    up: up.y,
    product,
    low: {
      'self_attn.q_proj': q.low,
      'self_attn.k_proj': k.low,
      'self_attn.v_proj': v.low,
      'self_attn.o_proj': o.low,
      'mlp.gate_proj': gate.low,
      'mlp.up_proj': up.low,
      'mlp.down_proj': down.low,
    },
  };
  return { acts, out: add(b, `${at}.out`, middle, down.y) };
}

/** The last residual rows of every token, and what the backward pass needs of each layer. */
export function forward(model: Model, tokens: readonly number[]) {
  const { builder: b, config } = model;
  const embedding = model.parameter('model.embed_tokens.weight');
  let x = gather(b, 'model.embedded', embedding, tokens, config.hiddenSize);
  const layers: LayerActs[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const { acts, out } = forwardLayer(model, layer, x, tokens.length);
    layers.push(acts);
    x = out;
  }
  return { layers, out: x };
}

/** Logits after the tokens at these places, with what their backward pass needs. */
export function outputHead(model: Model, out: Tensor, places: readonly number[]) {
  const { builder: b, config } = model;
  const { hiddenSize: depth, vocabSize: columns } = config;
  const rows = places.length;
  const x = gather(b, 'head.in', out, places, depth);
  const weight = model.parameter('model.norm.weight');
  const { y, inverse } = rmsnorm(b, 'model.norm', x, weight, { rows, width: depth }, config.rmsEps);
  const head = headWeight(model);
  const right = rowsOf(head, depth);
  const logits = b.product('logits', { rows, columns, depth }, rowsOf(y, depth), right);
  return { x, y, inverse, logits };
}

export function headWeight({ config, parameter }: Model): Tensor {
  return parameter(config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight');
}
