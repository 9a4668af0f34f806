/** GGUF files out of models in memory, for tests, benches and other programs to read. */
import { loraLayout, type ModelConfig } from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import { weightShapes } from '../model/config.ts';
import { toBfloat16, toHalf } from '../model/numbers.ts';
import { llama3Factors } from './config.ts';
import { ggufName, isInterleaved, ROPE_FACTORS } from './names.ts';
import {
  GGUF_ALIGNMENT,
  GGUF_DTYPES,
  GGUF_MAGIC,
  GGUF_NUMBERS,
  GGUF_TYPES,
  type GgufDtype,
} from './reader.ts';
import { storedRow } from './rows.ts';
import { TOKEN_TYPES } from './tokenizer.ts';

type Scalar = Exclude<keyof typeof GGUF_TYPES, 'array'>;
type Numeric = Exclude<Scalar, 'string'>;

/** A metadata value with the type under which it is written. */
export type GgufEntry =
  | readonly [type: Scalar, value: number | bigint | boolean | string]
  | readonly [type: `${Scalar}[]`, values: readonly (number | bigint | boolean | string)[]];

/** A tensor to be written: row-major [out, in]. */
export type GgufInput = {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: GgufDtype;
  readonly values: Float32Array;
};

/** A GGUF file, version 3. Equal input gives equal bytes. */
export function writeGguf(
  metadata: Readonly<Record<string, GgufEntry>>,
  tensors: readonly GgufInput[],
): Uint8Array {
  const header: Uint8Array[] = [
    encoded('u32', GGUF_MAGIC),
    encoded('u32', 3),
    encoded('u64', tensors.length),
    encoded('u64', Object.keys(metadata).length),
  ];
  for (const [key, entry] of Object.entries(metadata)) {
    header.push(encoded('string', key), ...encodedEntry(entry));
  }
  const padded = (at: number) => Math.ceil(at / GGUF_ALIGNMENT) * GGUF_ALIGNMENT;
  let end = 0;
  const offsets = tensors.map(({ name, shape, dtype, values }) => {
    const { number, block, bytes } = GGUF_DTYPES[dtype];
    const offset = padded(end);
    end = offset + (values.length / block) * bytes;
    header.push(encoded('string', name), encoded('u32', shape.length));
    for (const size of [...shape].reverse()) header.push(encoded('u64', size));
    header.push(encoded('u32', number), encoded('u64', offset));
    return offset;
  });
  const dataAt = padded(header.reduce((sum, part) => sum + part.length, 0));
  const file = new Uint8Array(dataAt + padded(end));
  let at = 0;
  for (const part of header) {
    file.set(part, at);
    at += part.length;
  }
  for (const [i, { dtype, values }] of tensors.entries()) {
    file.set(encodedValues(dtype, values), dataAt + offsets[i]!);
  }
  return file;
}

function encodedEntry([type, value]: GgufEntry): Uint8Array[] {
  if (!Array.isArray(value)) {
    return [encoded('u32', GGUF_TYPES[type as Scalar]), encoded(type as Scalar, value as Single)];
  }
  const each = type.slice(0, -2) as Scalar;
  return [
    encoded('u32', GGUF_TYPES.array),
    encoded('u32', GGUF_TYPES[each]),
    encoded('u64', value.length),
    ...value.map((one) => encoded(each, one as Single)),
  ];
}

type Single = number | bigint | boolean | string;

function encoded(type: Scalar, value: Single): Uint8Array {
  if (type === 'string') {
    const text = Buffer.from(String(value), 'utf8');
    return Buffer.concat([encoded('u64', text.length), text]);
  }
  const kind = GGUF_NUMBERS[GGUF_TYPES[type as Numeric]];
  const isBig = kind === BigUint64Array || kind === BigInt64Array;
  const numbers = isBig
    ? kind.of(BigInt(value))
    : (kind as Uint8ArrayConstructor).of(Number(value));
  return new Uint8Array(numbers.buffer);
}

function encodedValues(dtype: GgufDtype, values: Float32Array): Uint8Array {
  switch (dtype) {
    case 'F32':
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case 'F16':
      return new Uint8Array(Uint16Array.from(values, toHalf).buffer);
    case 'BF16':
      return new Uint8Array(toBfloat16(values).buffer);
    case 'Q8_0':
      return blocksOf(values);
  }
}

/** As ggml quantises: the scale is the largest value over 127, rounded to binary16 once it was used. */
function blocksOf(values: Float32Array): Uint8Array {
  const { block, bytes } = GGUF_DTYPES.Q8_0;
  const out = Buffer.alloc((values.length / block) * bytes);
  for (let b = 0; b * block < values.length; b++) {
    const part = values.subarray(b * block, (b + 1) * block);
    const scale = Math.fround(part.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    out.writeUInt16LE(toHalf(scale), b * bytes);
    for (const [k, value] of part.entries()) {
      out.writeInt8(Math.round(Math.fround(value * inverse)), b * bytes + 2 + k);
    }
  }
  return out;
}

/** What a model's GGUF file is made of. */
export type GgufSource = {
  readonly config: ModelConfig;
  /** A weight by Hugging Face's name, row-major f32. */
  readonly tensor: (name: string) => Float32Array;
};

/**
 * A model as llama.cpp's converter writes it: `dtype` for matrices, f32 for norms and biases.
 *
 * @param tokenizer entries under `tokenizer.`, of `ggufTokenizer` or of one's own
 * @throws RangeError for a configuration that GGUF cannot say
 */
export function modelGguf(
  { config, tensor }: GgufSource,
  dtype: GgufDtype,
  tokenizer: Readonly<Record<string, GgufEntry>> = {},
): Uint8Array {
  const name = architectureOf(config);
  const tensors = [...weightShapes(config)].map(([key, shape]): GgufInput => {
    const isHalved = name === 'llama' && isInterleaved(key);
    const values = isHalved ? interleaved(tensor(key), shape, config.headDim) : tensor(key);
    return { name: ggufName(key), shape, dtype: shape.length === 1 ? 'F32' : dtype, values };
  });
  const { ropeScaling: scaling } = config;
  if (scaling?.type === 'llama3') {
    const values = llama3Factors(scaling, config.ropeTheta, config.headDim);
    tensors.push({ name: ROPE_FACTORS, shape: [values.length], dtype: 'F32', values });
  }
  return writeGguf({ ...metadataOf(config, name), ...tokenizer }, tensors);
}

/** An adapter as llama.cpp reads it: both factors of every linear in f32, for one base. */
export function adapterGguf(config: ModelConfig, { rank, alpha, parameters }: Adapter): Uint8Array {
  const name = architectureOf(config);
  const tensors = loraLayout(config, rank).map(
    ({ name: slot, rows, columns, offset }): GgufInput => {
      const [, module = '', factor = ''] = /^(.*)\.(lora_[AB])$/.exec(slot) ?? [];
      const plain = parameters.slice(offset, offset + rows * columns);
      const weight = `${module}.weight`;
      const isHalved = factor === 'lora_B' && name === 'llama' && isInterleaved(weight);
      const values = isHalved ? interleaved(plain, [rows, columns], config.headDim) : plain;
      const shape = [rows, columns];
      return { name: `${ggufName(weight)}.${factor.toLowerCase()}`, shape, dtype: 'F32', values };
    },
  );
  const metadata: Record<string, GgufEntry> = {
    'general.type': ['string', 'adapter'],
    'general.architecture': ['string', name],
    'adapter.type': ['string', 'lora'],
    'adapter.lora.alpha': ['f32', alpha],
  };
  return writeGguf(metadata, tensors);
}

function architectureOf({ headNorms, attentionBias, windows }: ModelConfig): string {
  const name = headNorms ? 'qwen3' : attentionBias === 'qkv' ? 'qwen2' : 'llama';
  const [first] = windows ?? [];
  const isUniform = (windows ?? []).every((window) => window === first);
  if (windows === undefined || (name === 'llama' && isUniform)) return name;
  throw new RangeError('expected no windows, or one for all layers of a llama');
}

function metadataOf(config: ModelConfig, name: string): Record<string, GgufEntry> {
  const entries: Record<string, GgufEntry> = {
    block_count: ['u32', config.layers],
    context_length: ['u32', config.contextLength],
    embedding_length: ['u32', config.hiddenSize],
    feed_forward_length: ['u32', config.ffnSize],
    vocab_size: ['u32', config.vocabSize],
    'attention.head_count': ['u32', config.heads],
    'attention.head_count_kv': ['u32', config.kvHeads],
    'attention.key_length': ['u32', config.headDim],
    'attention.value_length': ['u32', config.headDim],
    'attention.layer_norm_rms_epsilon': ['f32', config.rmsEps],
    'rope.dimension_count': ['u32', config.headDim],
    'rope.freq_base': ['f32', config.ropeTheta],
    ...scalingEntries(config),
  };
  const [window] = config.windows ?? [];
  if (window !== undefined) entries['attention.sliding_window'] = ['u32', window];
  const named = Object.entries(entries).map(([key, entry]) => [`${name}.${key}`, entry]);
  return { 'general.architecture': ['string', name], ...Object.fromEntries(named) };
}

function scalingEntries({ ropeScaling: scaling }: ModelConfig): Record<string, GgufEntry> {
  if (scaling === undefined) return {};
  if (scaling.type === 'llama3') {
    return { 'rope.scaling.original_context_length': ['u32', scaling.originalContext] };
  }
  const entries: Record<string, GgufEntry> = {
    'rope.scaling.type': ['string', scaling.type],
    'rope.scaling.factor': ['f32', scaling.factor],
  };
  if (scaling.type === 'linear') return entries;
  return {
    ...entries,
    'rope.scaling.original_context_length': ['u32', scaling.originalContext],
    'rope.scaling.yarn_beta_fast': ['f32', scaling.betaFast],
    'rope.scaling.yarn_beta_slow': ['f32', scaling.betaSlow],
  };
}

/** Rows of each head as the converter lays them for llama.cpp's rotary embedding. */
export function interleaved(
  values: Float32Array,
  shape: readonly number[],
  headRows: number,
): Float32Array {
  const [rows, columns = 1] = shape as [number, number?];
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headRows;
    const to = row - inHead + storedRow(inHead, headRows);
    out.set(values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}

/** The parsed files of a Hugging Face tokenizer, as far as they are written. */
export type TokenizerInput = {
  readonly json: {
    readonly added_tokens?: readonly { id: number; content: string; special?: boolean }[];
    readonly model: {
      readonly vocab: Readonly<Record<string, number>>;
      readonly merges: readonly (string | readonly [string, string])[];
    };
  };
  readonly config: Readonly<Record<string, unknown>>;
};

/**
 * A byte-level BPE tokenizer as GGUF metadata.
 *
 * @param pre llama.cpp's name of the pre-tokenizer
 * @param vocabSize rows of the embedding; ids without a token are filled up as unused
 */
export function ggufTokenizer(
  { json, config }: TokenizerInput,
  pre: string,
  vocabSize: number,
): Record<string, GgufEntry> {
  const contents = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabSize).fill(TOKEN_TYPES.unused);
  for (const [content, id] of Object.entries(json.model.vocab)) {
    contents[id] = content;
    types[id] = TOKEN_TYPES.normal;
  }
  const ids = new Map<unknown, number>();
  for (const { id, content, special } of json.added_tokens ?? []) {
    contents[id] = content;
    types[id] = special === false ? TOKEN_TYPES.userDefined : TOKEN_TYPES.control;
    ids.set(content, id);
  }
  const merges = json.model.merges.map((one) => (typeof one === 'string' ? one : one.join(' ')));
  const entries: Record<string, GgufEntry> = {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', pre],
    'tokenizer.ggml.tokens': ['string[]', contents],
    'tokenizer.ggml.token_type': ['i32[]', types],
    'tokenizer.ggml.merges': ['string[]', merges],
  };
  for (const key of ['eos', 'bos']) {
    const id = ids.get(config[`${key}_token`]);
    if (id !== undefined) entries[`tokenizer.ggml.${key}_token_id`] = ['u32', id];
  }
  const template = config['chat_template'];
  if (typeof template === 'string') entries['tokenizer.chat_template'] = ['string', template];
  return entries;
}
