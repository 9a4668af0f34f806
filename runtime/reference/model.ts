// The whole Llama forward pass with an optional LoRA adapter, out of the reference operations.
import {
  loraLayout,
  type ModelConfig,
  parameterLayout,
  type TensorSlot,
} from '../engine/config.ts';
import {
  attention,
  matmulTransposed,
  rmsnorm,
  rope,
  ropeFrequencies,
  softmax,
  swiglu,
} from './ops.ts';

/** Adapter parameters as plain numbers, in loraLayout order. */
export type ReferenceAdapter = {
  readonly rank: number;
  readonly alpha: number;
  readonly parameters: ArrayLike<number>;
};

type Lookup = (name: string) => { values: Float64Array; slot: TensorSlot };

function lookup(layout: readonly TensorSlot[], flat: ArrayLike<number>): Lookup {
  const slots = new Map(layout.map((slot) => [slot.name, slot]));
  return (name) => {
    const slot = slots.get(name);
    if (slot === undefined) throw new Error(`expected a tensor of this model, found name ${name}`);
    const values = new Float64Array(slot.rows * slot.columns);
    for (let i = 0; i < values.length; i++) values[i] = flat[slot.offset + i]!;
    return { values, slot };
  };
}

function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]!);
}

/** Logits [n, vocab] after each of n tokens; `product` is that of rows and weights. */
export function referenceLogits(
  config: ModelConfig,
  flat: ArrayLike<number>,
  tokens: Int32Array,
  adapter?: ReferenceAdapter,
  product: typeof matmulTransposed = matmulTransposed,
): Float64Array {
  const base = lookup(parameterLayout(config), flat);
  const lora =
    adapter === undefined
      ? undefined
      : lookup(loraLayout(config, adapter.rank), adapter.parameters);
  const { hiddenSize: hidden, heads, kvHeads, headDim: dim } = config;
  const n = tokens.length;
  const names = parameterLayout(config).map(({ name }) => name);
  const biased = new Set(names.filter((name) => name.endsWith('.bias')));
  const frequencies = ropeFrequencies(dim, config.ropeTheta, config.ropeScaling);
  const stretch = config.ropeScaling?.type === 'yarn' ? config.ropeScaling.attentionFactor : 1;
  const linear = (name: string, x: Float64Array) => {
    const { values, slot } = base(`${name}.weight`);
    const y = product(x, values, n, slot.rows, slot.columns);
    if (biased.has(`${name}.bias`)) {
      const bias = base(`${name}.bias`).values;
      for (let i = 0; i < y.length; i++) y[i]! += bias[i % slot.rows]!;
    }
    if (lora === undefined || adapter === undefined) return y;
    const low = matmulTransposed(x, lora(`${name}.lora_A`).values, n, adapter.rank, slot.columns);
    const delta = matmulTransposed(low, lora(`${name}.lora_B`).values, n, slot.rows, adapter.rank);
    return y.map((value, i) => value + (adapter.alpha / adapter.rank) * delta[i]!);
  };
  const embedding = base('model.embed_tokens.weight').values;
  let x = new Float64Array(n * hidden);
  for (const [t, token] of tokens.entries()) {
    x.set(embedding.subarray(token * hidden, (token + 1) * hidden), t * hidden);
  }
  const norm = (name: string, of: Float64Array) =>
    rmsnorm(of, base(`${name}.weight`).values, n, hidden, config.rmsEps);
  const turned = (name: string, x: Float64Array, count: number) => {
    const raw = linear(`${name}_proj`, x);
    const normed =
      config.headNorms === true
        ? rmsnorm(raw, base(`${name}_norm.weight`).values, n * count, dim, config.rmsEps)
        : raw;
    return rope(normed, n, count, dim, frequencies, stretch);
  };
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`;
    const first = norm(`${at}.input_layernorm`, x);
    const q = turned(`${at}.self_attn.q`, first, heads);
    const k = turned(`${at}.self_attn.k`, first, kvHeads);
    const v = linear(`${at}.self_attn.v_proj`, first);
    const attended = attention(
      q,
      k,
      v,
      n,
      heads,
      kvHeads,
      dim,
      config.windows?.[layer] || undefined,
    );
    x = add(x, linear(`${at}.self_attn.o_proj`, attended)) as Float64Array<ArrayBuffer>;
    const second = norm(`${at}.post_attention_layernorm`, x);
    const gate = linear(`${at}.mlp.gate_proj`, second);
    const product = swiglu(gate, linear(`${at}.mlp.up_proj`, second));
    x = add(x, linear(`${at}.mlp.down_proj`, product)) as Float64Array<ArrayBuffer>;
  }
  const head = config.tiedEmbeddings ? embedding : base('lm_head.weight').values;
  return product(norm('model.norm', x), head, n, config.vocabSize, hidden);
}

/** Log-probability of each token after the first; entry 0 is 0. */
export function referenceLogprobs(
  config: ModelConfig,
  flat: ArrayLike<number>,
  tokens: Int32Array,
  adapter?: ReferenceAdapter,
  product: typeof matmulTransposed = matmulTransposed,
): Float64Array {
  const logits = referenceLogits(config, flat, tokens.subarray(0, -1), adapter, product);
  const logprobs = new Float64Array(tokens.length);
  for (let t = 1; t < tokens.length; t++) {
    const row = logits.subarray((t - 1) * config.vocabSize, t * config.vocabSize);
    logprobs[t] = Math.log(softmax(row)[tokens[t]!]!);
  }
  return logprobs;
}

/** Sum of NLL over masked targets. */
export function referenceLoss(
  config: ModelConfig,
  flat: ArrayLike<number>,
  tokens: Int32Array,
  mask: Uint8Array,
  adapter?: ReferenceAdapter,
  product: typeof matmulTransposed = matmulTransposed,
): number {
  const logprobs = referenceLogprobs(config, flat, tokens, adapter, product);
  let loss = 0;
  for (let t = 1; t < tokens.length; t++) if (mask[t] !== 0) loss -= logprobs[t]!;
  return loss;
}
