/**
 * `config.json` of a Hugging Face model directory, to and from the dimensions that the engine runs.
 * What the engine would compute wrongly is refused here, by name, instead of loaded.
 */
import {
  checkConfig,
  type ModelConfig,
  ModelConfigError,
  parameterLayout,
} from '../engine/config.ts';
import {
  type ConfigFields,
  dimension,
  flag,
  positive,
  configProblem as problem,
  whole,
} from './config-fields.ts';
import { readRope } from './rope-config.ts';

/** What an architecture does that its config.json does not say, and what an absent field means. */
type Architecture = {
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly headNorms?: boolean;
  /** Biases of attention: always, or as `attention_bias` says. */
  readonly attentionBias?: 'qkv' | 'asked';
  readonly hasMlpBiasField?: boolean;
  /** 'always' where the field alone decides, 'asked' where use_sliding_window must be true. */
  readonly window?: 'always' | 'asked';
};

/** SmolLM and TinyLlama say LlamaForCausalLM. Defaults are those of the transformers classes. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  LlamaForCausalLM: { attentionBias: 'asked', hasMlpBiasField: true },
  MistralForCausalLM: { kvHeads: 8, window: 'always' },
  Qwen2ForCausalLM: { kvHeads: 32, attentionBias: 'qkv', window: 'asked' },
  Qwen3ForCausalLM: {
    ...{ kvHeads: 32, headDim: 128, headNorms: true, attentionBias: 'asked', window: 'asked' },
  },
};
const WINDOW_DEFAULT = 4096;
const FULL_LAYERS_DEFAULT = 28;

/**
 * Reads the parsed JSON of a `config.json`.
 *
 * @throws ModelError CONFIG_INVALID | ARCHITECTURE_UNSUPPORTED | ACTIVATION_UNSUPPORTED |
 *   ROPE_UNSUPPORTED
 */
export function readModelConfig(json: unknown): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw problem('CONFIG_INVALID', '(root)', 'a JSON object', json);
  }
  const fields = json as ConfigFields;
  const architecture = architectureOf(fields);
  refuseUnsupported(fields);
  const hiddenSize = dimension(fields, 'hidden_size');
  const heads = dimension(fields, 'num_attention_heads');
  const contextLength = dimension(fields, 'max_position_embeddings');
  const rope = readRope(fields, contextLength);
  const config = {
    hiddenSize,
    layers: dimension(fields, 'num_hidden_layers'),
    heads,
    kvHeads: whole(fields, 'num_key_value_heads', heads, architecture.kvHeads ?? heads),
    headDim: whole(fields, 'head_dim', 32_768, architecture.headDim ?? hiddenSize / heads),
    ffnSize: dimension(fields, 'intermediate_size'),
    vocabSize: dimension(fields, 'vocab_size'),
    contextLength,
    rmsEps: positive(fields, 'rms_norm_eps', 1e-6),
    ropeTheta: rope.theta,
    tiedEmbeddings: flag(fields, 'tie_word_embeddings'),
    ...(rope.scaling === undefined ? {} : { ropeScaling: rope.scaling }),
    ...extras(fields, architecture),
  };
  checkShape(config);
  return config;
}

function architectureOf(fields: ConfigFields): Architecture {
  const architectures = fields['architectures'];
  const name: unknown = Array.isArray(architectures) ? architectures[0] : architectures;
  const found = typeof name === 'string' && Object.hasOwn(ARCHITECTURES, name);
  if (found) return ARCHITECTURES[name]!;
  const expected = Object.keys(ARCHITECTURES).join(' or ');
  throw problem('ARCHITECTURE_UNSUPPORTED', 'architectures', expected, name);
}

function refuseUnsupported(fields: ConfigFields): void {
  const activation = fields['hidden_act'] ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish') {
    throw problem('ACTIVATION_UNSUPPORTED', 'hidden_act', '"silu"', activation);
  }
  const quantised = fields['quantization_config'] ?? null;
  if (quantised !== null) {
    throw problem('CONFIG_INVALID', 'quantization_config', 'unquantised weights', quantised);
  }
}

/** The parts that only some models have. */
function extras(fields: ConfigFields, architecture: Architecture): Partial<ModelConfig> {
  const { attentionBias, hasMlpBiasField, headNorms } = architecture;
  const asked = attentionBias === 'asked' && flag(fields, 'attention_bias');
  const windows = readWindows(fields, architecture);
  return {
    ...(asked ? { attentionBias: 'qkvo' } : {}),
    ...(attentionBias === 'qkv' ? { attentionBias } : {}),
    ...(hasMlpBiasField && flag(fields, 'mlp_bias') ? { mlpBias: true } : {}),
    ...(headNorms ? { headNorms } : {}),
    ...(windows.some((window) => window > 0) ? { windows } : {}),
  };
}

/** The window of each layer; 0 where a layer sees everything. */
function readWindows(fields: ConfigFields, { window: kind }: Architecture): number[] {
  const layers = dimension(fields, 'num_hidden_layers');
  const isOff = fields['sliding_window'] === null || kind === undefined;
  if (isOff || (kind === 'asked' && !flag(fields, 'use_sliding_window'))) {
    return new Array(layers).fill(0);
  }
  const window = whole(fields, 'sliding_window', 2 ** 31, WINDOW_DEFAULT);
  if (kind === 'always') return new Array(layers).fill(window);
  const types = fields['layer_types'] ?? null;
  if (types === null) {
    const first = fields['max_window_layers'] ?? FULL_LAYERS_DEFAULT;
    if (!Number.isInteger(first)) {
      throw problem('CONFIG_INVALID', 'max_window_layers', 'a whole number', first);
    }
    return Array.from({ length: layers }, (_, i) => (i >= (first as number) ? window : 0));
  }
  if (!Array.isArray(types) || types.length !== layers) {
    throw problem('CONFIG_INVALID', 'layer_types', `a list of ${layers} types`, types);
  }
  return types.map((type: unknown) => {
    if (type === 'full_attention') return 0;
    if (type === 'sliding_attention') return window;
    const expected = 'full_attention or sliding_attention';
    throw problem('ARCHITECTURE_UNSUPPORTED', 'layer_types', expected, type);
  });
}

const FIELD_NAMES: Readonly<Partial<Record<string, string>>> = {
  hiddenSize: 'hidden_size',
  headDim: 'head_dim',
  ffnSize: 'intermediate_size',
  vocabSize: 'vocab_size',
  kvHeads: 'num_key_value_heads',
  ropeTheta: 'rope_theta',
  ropeScaling: 'rope_scaling',
};

/** What the kernels ask of a shape, under the names of config.json. */
function checkShape(config: ModelConfig): void {
  try {
    checkConfig(config);
  } catch (error) {
    if (!(error instanceof ModelConfigError)) throw error;
    const { key, expected, found } = error.details;
    throw problem('CONFIG_INVALID', FIELD_NAMES[key] ?? key, expected, found);
  }
}

/**
 * The `config.json` of a plain Llama model, in the fields that Hugging Face tools read. Throws for a
 * model with parts that these fields do not say.
 */
export function modelConfigJson(config: ModelConfig, endOfText: number, pad: number): object {
  const { ropeScaling, attentionBias, headNorms, windows } = config;
  if (ropeScaling ?? attentionBias ?? headNorms ?? windows ?? config.mlpBias) {
    throw new RangeError('expected a plain Llama configuration, found scaling, biases or windows');
  }
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    intermediate_size: config.ffnSize,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.contextLength,
    rms_norm_eps: config.rmsEps,
    rope_theta: config.ropeTheta,
    rope_scaling: null,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    attention_dropout: 0,
    tie_word_embeddings: config.tiedEmbeddings,
    bos_token_id: endOfText,
    eos_token_id: endOfText,
    pad_token_id: pad,
    torch_dtype: 'bfloat16',
    use_cache: true,
  };
}

/** The shape that every weight of such a model has, by its Hugging Face name, in file order. */
export function weightShapes(config: ModelConfig): Map<string, readonly number[]> {
  return new Map(
    parameterLayout(config).map(({ name, rows, columns }) => [
      name,
      rows === 1 ? [columns] : [rows, columns],
    ]),
  );
}
