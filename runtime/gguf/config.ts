/**
 * The configuration of a GGUF model: its metadata as the fields of a `config.json`, read by the one
 * reader of such fields, whose errors then name the file and GGUF's own keys.
 */
import type { ModelConfig } from '../engine/config.ts';
import type { RopeScaling } from '../engine/rope.ts';
import { readModelConfig } from '../model/config.ts';
import type { ConfigFields } from '../model/config-fields.ts';
import { ModelError, type ModelErrorCode } from '../model/errors.ts';
import { ROPE_FACTORS } from './names.ts';
import type { GgufFile, GgufValue } from './reader.ts';

/** Mistral comes as `llama`: the two differ by a window that `llama` files only have of it. */
const CLASSES: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** What other models of the same names do and ours do not; 0 or absent is fine. */
const REFUSED = [
  ...['expert_count', 'embedding_scale', 'residual_scale', 'logit_scale', 'attention.scale'],
  ...['attention.clamp_kqv', 'attention.temperature_scale', 'attention.key_length_mla'],
];

/** GGUF's key, without its architecture, of each field whose error a reader may see. */
const KEYS: Readonly<Record<string, string>> = {
  hidden_size: 'embedding_length',
  num_hidden_layers: 'block_count',
  num_attention_heads: 'attention.head_count',
  num_key_value_heads: 'attention.head_count_kv',
  head_dim: 'attention.key_length',
  intermediate_size: 'feed_forward_length',
  max_position_embeddings: 'context_length',
  rms_norm_eps: 'attention.layer_norm_rms_epsilon',
  rope_theta: 'rope.freq_base',
  sliding_window: 'attention.sliding_window',
  factor: 'rope.scaling.factor',
  original_max_position_embeddings: 'rope.scaling.original_context_length',
  beta_fast: 'rope.scaling.yarn_beta_fast',
  beta_slow: 'rope.scaling.yarn_beta_slow',
  'rope_scaling.rope_type': 'rope.scaling.type',
};

/** A model's configuration, and the config.json that says the same. */
export type GgufConfig = {
  readonly config: ModelConfig;
  readonly fields: ConfigFields;
  /** Whether q and k lie as the converter interleaves them. */
  readonly isInterleaved: boolean;
};

/**
 * Reads the configuration of a file.
 *
 * @param factors the values of `rope_freqs.weight`, where there is one
 * @throws ModelError ARCHITECTURE_UNSUPPORTED | CONFIG_INVALID | ROPE_UNSUPPORTED | TENSOR_MISSING
 */
export function readGgufConfig(
  { metadata, tensors }: GgufFile,
  file: string,
  factors: (name: string) => Float32Array,
): GgufConfig {
  const name = metadata.get('general.architecture');
  const fail = (code: ModelErrorCode, key: string, expected: string, found: unknown) =>
    new ModelError(code, 'this model cannot be run', {
      ...{ file, key, expected, found: shown(found) },
      remedy: 'use a model of the Llama family',
    });
  if (typeof name !== 'string' || !Object.hasOwn(CLASSES, name)) {
    const expected = Object.keys(CLASSES).join(', ');
    throw fail('ARCHITECTURE_UNSUPPORTED', 'general.architecture', expected, name);
  }
  const get = (key: string) => metadata.get(`${name}.${key}`);
  for (const key of REFUSED) {
    if ((get(key) ?? 0) !== 0) {
      throw fail('ARCHITECTURE_UNSUPPORTED', `${name}.${key}`, '0 or nothing', get(key));
    }
  }
  if ((metadata.get('split.count') ?? 1) !== 1) {
    throw fail('CONFIG_INVALID', 'split.count', 'one file', metadata.get('split.count'));
  }
  const embedding = tensors.get('token_embd.weight');
  if (embedding === undefined) {
    throw fail('TENSOR_MISSING', 'token_embd.weight', 'a tensor of this name', undefined);
  }
  const fields: ConfigFields = {
    architectures: [CLASSES[name]],
    ...sizes(get),
    vocab_size: embedding.shape[0],
    tie_word_embeddings: !tensors.has('output.weight'),
    hidden_act: 'silu',
    attention_bias: tensors.has('blk.0.attn_q.bias'),
    mlp_bias: name === 'llama' && tensors.has('blk.0.ffn_gate.bias'),
  };
  try {
    const rope = ropeOf(get, fields, tensors.has(ROPE_FACTORS) ? factors(ROPE_FACTORS) : undefined);
    const all = { ...fields, ...rope, ...windowOf(get, name) };
    return { config: readModelConfig(all), fields: all, isInterleaved: name === 'llama' };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const { key = '', expected = '', found } = error.details;
    const known = KEYS[key] ?? KEYS[key.replace(/^rope_scaling\.(?!rope_type)/, '')];
    const isOwn = known !== undefined || key.startsWith('rope.');
    const own = isOwn ? `${name}.${known ?? key}` : key;
    throw fail(error.code, own, expected, found);
  }
}

type Get = (key: string) => GgufValue | undefined;

function sizes(get: Get): ConfigFields {
  const headDim = get('attention.key_length');
  return {
    hidden_size: get('embedding_length'),
    num_hidden_layers: get('block_count'),
    num_attention_heads: get('attention.head_count'),
    // llama.cpp takes as many as there are heads; the classes differ in what they take.
    num_key_value_heads: get('attention.head_count_kv') ?? get('attention.head_count'),
    head_dim: headDim ?? Number(get('embedding_length')) / Number(get('attention.head_count')),
    intermediate_size: get('feed_forward_length'),
    max_position_embeddings: get('context_length'),
    rms_norm_eps: decimal(get('attention.layer_norm_rms_epsilon')),
  };
}

function windowOf(get: Get, name: string): ConfigFields {
  const window = get('attention.sliding_window') ?? 0;
  if (window === 0) return {};
  if (name === 'llama') return { architectures: ['MistralForCausalLM'], sliding_window: window };
  const key = 'sliding_window';
  const details = { key, expected: 'a window in llama files only', found: shown(window) };
  throw new ModelError('ARCHITECTURE_UNSUPPORTED', 'which layers have it is not said', details);
}

function ropeOf(get: Get, fields: ConfigFields, factors: Float32Array | undefined): ConfigFields {
  const theta = decimal(get('rope.freq_base')) ?? 10_000;
  const rotated = get('rope.dimension_count') ?? fields['head_dim'];
  if (rotated !== fields['head_dim']) {
    const expected = `all ${fields['head_dim']} values of a head`;
    throw unsupported('rope.dimension_count', expected, rotated);
  }
  const type = get('rope.scaling.type') ?? 'none';
  const original = get('rope.scaling.original_context_length');
  const optional = (values: Record<string, GgufValue | undefined>) =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const factor = decimal(get('rope.scaling.factor'));
  if (factors !== undefined) {
    const scaling = scalingOfFactors(factors, Number(theta), Number(original ?? 8192));
    return { rope_theta: theta, rope_scaling: scaling };
  }
  if (type === 'none') return { rope_theta: theta };
  if (type === 'linear') return { rope_theta: theta, rope_scaling: { rope_type: type, factor } };
  if (type !== 'yarn') throw unsupported('rope.scaling.type', 'none, linear or yarn', type);
  for (const key of ['attn_factor', 'yarn_attn_factor', 'yarn_ext_factor']) {
    const value = get(`rope.scaling.${key}`) ?? 1;
    if (value !== 1) throw unsupported(`rope.scaling.${key}`, '1 or nothing', value);
  }
  const rope_scaling = {
    ...{ rope_type: type, factor },
    ...optional({
      original_max_position_embeddings: original,
      beta_fast: decimal(get('rope.scaling.yarn_beta_fast')),
      beta_slow: decimal(get('rope.scaling.yarn_beta_slow')),
    }),
  };
  return { rope_theta: theta, rope_scaling };
}

/** Llama 3's scaling from its divisors: its two bends are those of every Llama 3, its reach is given. */
function scalingOfFactors(factors: Float32Array, theta: number, original: number): ConfigFields {
  const factor = factors.reduce((most, one) => Math.max(most, one), 1);
  const scaling = {
    ...({ type: 'llama3', lowFactor: 1, highFactor: 4 } as const),
    ...{ factor, originalContext: original },
  };
  const expected = llama3Factors(scaling, theta, factors.length * 2);
  const far = factors.findIndex((one, i) => !(Math.abs(one - expected[i]!) <= 1e-4 * expected[i]!));
  if (far >= 0) {
    const what = `Llama 3's ${expected[far]} at ${far} for a context of ${original}`;
    throw unsupported(ROPE_FACTORS, what, factors[far]);
  }
  return {
    ...{ rope_type: 'llama3', factor, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: original,
  };
}

/** The divisor of each rotary frequency under Llama 3's scaling, as llama.cpp's converter has it. */
export function llama3Factors(
  scaling: RopeScaling & { type: 'llama3' },
  theta: number,
  headDim: number,
): Float32Array {
  const { factor, lowFactor, highFactor, originalContext } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wave < originalContext / highFactor) return 1;
    if (wave > originalContext / lowFactor) return factor;
    const smooth = (originalContext / wave - lowFactor) / (highFactor - lowFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** An f32 of the metadata as the decimal that was meant: the shortest that rounds to it. */
function decimal(value: GgufValue | undefined): GgufValue | undefined {
  if (typeof value !== 'number' || !Number.isFinite(value)) return value;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

function unsupported(key: string, expected: string, found: unknown): ModelError {
  const details = { key, expected, found: shown(found) };
  return new ModelError('ROPE_UNSUPPORTED', 'this rotary embedding cannot be run', details);
}

function shown(found: unknown): string {
  if (typeof found === 'string') return found.slice(0, 80);
  if (typeof found === 'object') return `a list of ${(found as ArrayLike<unknown>).length}`;
  return found === undefined ? 'nothing' : String(found);
}
