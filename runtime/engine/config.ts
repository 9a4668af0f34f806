// The shape of a Llama-family model: its configuration, and where each tensor lies in the flat
// parameter vector and in a flat LoRA adapter. The order is the order of runtime/kernels/model.h.
import { uniform } from './random.ts';
import { type RopeScaling, ropeFault } from './rope.ts';

/** Sizes are counts; every width but the vocabulary (hidden, head, ffn) is a multiple of eight. */
export type ModelConfig = {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffnSize: number;
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly rmsEps: number;
  readonly ropeTheta: number;
  readonly tiedEmbeddings: boolean;
  readonly ropeScaling?: RopeScaling;
  /** Which attention projections have biases: q, k and v, or o too. */
  readonly attentionBias?: 'qkv' | 'qkvo';
  /** Whether gate, up and down have biases. */
  readonly mlpBias?: boolean;
  /** Whether every head of q and k has an RMS norm, before RoPE. */
  readonly headNorms?: boolean;
  /** Per layer, how many positions a token sees, its own included; 0 is all before it. */
  readonly windows?: readonly number[];
};

/** A tensor where it is stored: rows of little-endian numbers, read as they are. */
export type StoredTensor = {
  readonly format: 'f32' | 'bf16' | 'f16';
  /** Fills `into` with whole rows from `row` on. */
  read(into: Uint8Array, row: number): void;
  /**
   * Where it lies in a file: `use` gets an open descriptor and the byte offset of the first row, and says
   * whether the file gave all it should; false is the file's error. Absent: it lies in no file.
   */
  file?(use: (descriptor: number, at: number) => boolean): void;
  /** The error of a value that is not finite; absent: such values are taken as they are. */
  refuse?(): Error;
};

/** Where a file's tensor lies, as plain data: another thread can read it by itself. */
export type TensorPlace = {
  readonly path: string;
  /** What the file was when its header was checked: another file is refused. */
  readonly mark: string;
  /** Byte offset in the file. */
  readonly at: number;
  readonly format: StoredTensor['format'] | 'q8_0';
  readonly rows: number;
  readonly columns: number;
  /** Rows of a head whose two halves lie interleaved, as GGUF has q and k; absent: in order. */
  readonly interleaved?: number;
};

/** A loaded model: HF tensor names, row-major [out, in] f32. */
export type ModelWeights = {
  readonly config: ModelConfig;
  tensor(name: string): Float32Array;
  /** The tensor where it lies, for weights that are not in memory. */
  stored?(name: string): StoredTensor;
  /** The same as plain data. */
  readonly places?: ReadonlyMap<string, TensorPlace>;
  /** The same, written into an array of just that length, for files larger than memory allows. */
  fill?(name: string, into: Float32Array): void;
};

/** One tensor of a flat vector; offset counts floats. A vector has one row. */
export type TensorSlot = {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly offset: number;
};

/** Why a configuration cannot run: key, expected, found. */
export class ModelConfigError extends Error {
  readonly code = 'MODEL_CONFIG';
  readonly details: { readonly key: string; readonly expected: string; readonly found: unknown };
  constructor(key: string, expected: string, found: unknown) {
    super(`model config ${key}: expected ${expected}, found ${found}`);
    this.name = 'ModelConfigError';
    this.details = { key, expected, found };
  }
}

/** Throws ModelConfigError unless the kernels can run this shape. */
export function checkConfig(config: ModelConfig): void {
  const demand = (key: keyof ModelConfig, expected: string, holds: boolean) => {
    if (!holds) throw new ModelConfigError(key, expected, config[key]);
  };
  const widths = ['hiddenSize', 'headDim', 'ffnSize'] as const;
  for (const key of widths) {
    const value = config[key];
    demand(
      key,
      'a positive multiple of 8',
      Number.isInteger(value) && value > 0 && value % 8 === 0,
    );
  }
  const counts = ['layers', 'heads', 'kvHeads', 'contextLength', 'vocabSize'] as const;
  for (const key of counts) {
    demand(key, 'a positive integer', Number.isInteger(config[key]) && config[key] > 0);
  }
  demand('kvHeads', 'a divisor of heads', config.heads % config.kvHeads === 0);
  demand('rmsEps', 'a positive number', config.rmsEps > 0);
  demand('ropeTheta', 'a number above 1', config.ropeTheta > 1);
  const fault = config.ropeScaling === undefined ? undefined : ropeFault(config.ropeScaling);
  demand('ropeScaling', `${fault?.field}: ${fault?.expected}`, fault === undefined);
  const { windows } = config;
  if (windows === undefined) return;
  const isWindow = (one: number) => Number.isInteger(one) && one >= 0 && one < 2 ** 32;
  const valid = windows.length === config.layers && windows.every(isWindow);
  demand('windows', 'a whole number for each layer', valid);
}

/** Which of the seven linears have a bias: bit i for the i-th. */
export function biasBits(config: ModelConfig): number {
  const attention = { qkv: 0b0111, qkvo: 0b1111, none: 0 }[config.attentionBias ?? 'none'];
  return attention | (config.mlpBias === true ? 0b1110000 : 0);
}

/** The linears of a layer that an adapter may change, in kernel order. */
export const LORA_MODULES = [
  ...(['q_proj', 'k_proj', 'v_proj', 'o_proj'] as const),
  ...(['gate_proj', 'up_proj', 'down_proj'] as const),
];
export type LoraModule = (typeof LORA_MODULES)[number];

/** The seven adapted linears of a layer, in kernel order, with their HF module names. */
function linears(config: ModelConfig): { module: string; rows: number; columns: number }[] {
  const query = config.heads * config.headDim;
  const key = config.kvHeads * config.headDim;
  const { hiddenSize: hidden, ffnSize: ffn } = config;
  return [
    { module: 'self_attn.q_proj', rows: query, columns: hidden },
    { module: 'self_attn.k_proj', rows: key, columns: hidden },
    { module: 'self_attn.v_proj', rows: key, columns: hidden },
    { module: 'self_attn.o_proj', rows: hidden, columns: query },
    { module: 'mlp.gate_proj', rows: ffn, columns: hidden },
    { module: 'mlp.up_proj', rows: ffn, columns: hidden },
    { module: 'mlp.down_proj', rows: hidden, columns: ffn },
  ];
}

/** Every parameter of the model under its HF name, in flat order. */
export function parameterLayout(config: ModelConfig): TensorSlot[] {
  const slots: TensorSlot[] = [];
  let offset = 0;
  const add = (name: string, rows: number, columns: number) => {
    slots.push({ name, rows, columns, offset });
    offset += rows * columns;
  };
  const biases = biasBits(config);
  add('model.embed_tokens.weight', config.vocabSize, config.hiddenSize);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    add(`${prefix}.input_layernorm.weight`, 1, config.hiddenSize);
    for (const [i, { module, rows, columns }] of linears(config).entries()) {
      if (module === 'mlp.gate_proj') {
        add(`${prefix}.post_attention_layernorm.weight`, 1, config.hiddenSize);
      }
      add(`${prefix}.${module}.weight`, rows, columns);
      if ((biases >> i) & 1) add(`${prefix}.${module}.bias`, 1, rows);
    }
    if (config.headNorms !== true) continue;
    add(`${prefix}.self_attn.q_norm.weight`, 1, config.headDim);
    add(`${prefix}.self_attn.k_norm.weight`, 1, config.headDim);
  }
  add('model.norm.weight', 1, config.hiddenSize);
  if (!config.tiedEmbeddings) add('lm_head.weight', config.vocabSize, config.hiddenSize);
  return slots;
}

/** Length in floats of the vector a layout describes. */
export function layoutSize(layout: readonly TensorSlot[]): number {
  const last = layout.at(-1);
  return last === undefined ? 0 : last.offset + last.rows * last.columns;
}

/**
 * Flat layout of a LoRA adapter over all seven linears of every layer: for each, `lora_A`
 * [rank, in] then `lora_B` [out, rank], row-major.
 */
export function loraLayout(config: ModelConfig, rank: number): TensorSlot[] {
  if (!Number.isInteger(rank) || rank < 1) {
    throw new RangeError(`LoRA rank: expected a positive integer, found ${rank}`);
  }
  const slots: TensorSlot[] = [];
  let offset = 0;
  for (let layer = 0; layer < config.layers; layer++) {
    for (const { module, rows, columns } of linears(config)) {
      const name = `model.layers.${layer}.${module}`;
      slots.push({ name: `${name}.lora_A`, rows: rank, columns, offset });
      slots.push({ name: `${name}.lora_B`, rows, columns: rank, offset: offset + rank * columns });
      offset += rank * (columns + rows);
    }
  }
  return slots;
}

/**
 * A fresh adapter: A Kaiming-uniform (bound 1 / sqrt(in)) from the seed, B zero. Both matrices of a
 * module that is no target are zero; then both gradients are zero too, and it stays as it is.
 */
export function initialLora(
  layout: readonly TensorSlot[],
  seed: number,
  targets: readonly LoraModule[] = LORA_MODULES,
): Float32Array {
  const flat = new Float32Array(layoutSize(layout));
  for (const slot of layout) {
    if (!targets.some((module) => slot.name.endsWith(`.${module}.lora_A`))) continue;
    const bound = Math.fround(1 / Math.sqrt(slot.columns));
    for (let i = 0; i < slot.rows * slot.columns; i++) {
      flat[slot.offset + i] = Math.fround((uniform(seed, slot.offset + i) * 2 - 1) * bound);
    }
  }
  return flat;
}

/** The flat parameter vector of loaded weights; throws when a tensor has the wrong length. */
export function flattenWeights(weights: ModelWeights, into?: Float32Array): Float32Array {
  const layout = parameterLayout(weights.config);
  const flat = into ?? new Float32Array(layoutSize(layout));
  for (const slot of layout) {
    const expected = slot.rows * slot.columns;
    if (weights.fill !== undefined) {
      weights.fill(slot.name, flat.subarray(slot.offset, slot.offset + expected));
      continue;
    }
    const tensor = weights.tensor(slot.name);
    if (tensor.length !== expected)
      throw new ModelConfigError(slot.name, `${expected} values`, tensor.length);
    flat.set(tensor, slot.offset);
  }
  return flat;
}

/** Views of a flat parameter vector under their HF names, as ModelWeights. */
export function weightsOf(config: ModelConfig, flat: Float32Array): ModelWeights {
  const views = new Map<string, Float32Array>();
  for (const slot of parameterLayout(config)) {
    views.set(slot.name, flat.subarray(slot.offset, slot.offset + slot.rows * slot.columns));
  }
  return {
    config,
    tensor(name) {
      const found = views.get(name);
      if (found === undefined)
        throw new Error(`expected a tensor of this model, found name ${name}`);
      return found;
    },
  };
}
