/**
 * GGUF files to be fuzzed: small valid models of each architecture and tokenizer, and mutations that
 * know the format. Values and types of metadata change and the file is written anew; sizes, offsets,
 * types, counts and lengths are overwritten where they lie; files are cut, lengthened, and sprinkled.
 */
import {
  type ByteSource,
  type GgufEntry,
  ggufRows,
  ggufTokenizer,
  type ModelConfig,
  ModelError,
  makeTokenizer,
  modelGguf,
  openGgufModel,
  type PhiloxStream,
  readGgufHeader,
  readGgufTokenizer,
  readGgufTokenizerConfig,
  weightShapes,
} from '#runtime';
import { type FuzzedReader, judge } from './readers.ts';

const CONFIG: ModelConfig = {
  ...{ hiddenSize: 32, layers: 1, heads: 2, kvHeads: 1, headDim: 16, ffnSize: 32 },
  ...{ vocabSize: 48, contextLength: 64, rmsEps: 1e-5, ropeTheta: 10_000 },
  tiedEmbeddings: true,
};
const WORDS = ['a', 'p', 'e', 'r', 'pe', 'er', 'peer', 't', 'h', 'the', 'th', '\u0120', '<', '|'];

/** A file before it is mutated: its model in memory, and how it is written. */
type Seed = {
  readonly config: ModelConfig;
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'Q8_0';
  readonly tokenizer: Readonly<Record<string, GgufEntry>>;
};

/** Reads a mutated model whole: header, configuration, every weight, the tokenizer. */
export function ggufReader(): FuzzedReader {
  const seeds = seedsOf().map((seed) => ({ seed, bytes: written(seed, {}) }));
  return (dice) => {
    const { seed, bytes } = seeds[dice.below(seeds.length)]!;
    const mutated = mutate(seed, bytes, dice);
    const source: ByteSource = {
      size: mutated.length,
      read(into, at) {
        if (at < 0 || at + into.length > mutated.length) throw new Error(`a read beyond at ${at}`);
        into.set(mutated.subarray(at, at + into.length));
      },
    };
    return judge(
      () => readWhole(source),
      () => hasHeader(source),
    );
  };
}

function readWhole(source: ByteSource): void {
  const name = 'fuzz.gguf';
  const model = openGgufModel(source, name);
  for (const [weight, shape] of weightShapes(model.config)) {
    const count = shape.reduce((product, size) => product * size, 1);
    const { length } = ggufRows(source, model, weight);
    if (length !== count * 4 && length !== count * 2) throw new Error(`${weight}: ${length} bytes`);
  }
  const { vocabSize } = model.config;
  const json = readGgufTokenizer(model.file, vocabSize, name);
  const { config } = readGgufTokenizerConfig(model.file, vocabSize, name);
  const tokenizer = makeTokenizer(json, config, vocabSize, name);
  tokenizer.decode(tokenizer.encode('the peer'));
}

function hasHeader(source: ByteSource): boolean {
  try {
    readGgufHeader(source, 'fuzz.gguf');
    return true;
  } catch (error) {
    if (error instanceof ModelError) return false;
    throw error;
  }
}

function seedsOf(): Seed[] {
  const tokens = [...WORDS, '[x]', '</s>'];
  const json = {
    added_tokens: [
      { id: 15, content: '</s>' },
      { id: 14, content: '[x]', special: false },
    ],
    model: {
      vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
      merges: ['p e', 'e r', 'pe er', 't h', 'th e'],
    },
  };
  const bytePairs = (pre: string) =>
    ggufTokenizer({ json, config: { eos_token: '</s>', chat_template: '{{ 1 }}' } }, pre, 48);
  const sentencePiece: Record<string, GgufEntry> = {
    'tokenizer.ggml.model': ['string', 'llama'],
    'tokenizer.ggml.tokens': ['string[]', tokens],
    'tokenizer.ggml.scores': ['f32[]', tokens.map((_, id) => -id)],
    'tokenizer.ggml.token_type': ['i32[]', tokens.map((_, id) => (id < 14 ? 1 : 3))],
    'tokenizer.ggml.eos_token_id': ['u32', 15],
    'tokenizer.ggml.unknown_token_id': ['u32', 14],
  };
  const yarn = {
    ...({ type: 'yarn', factor: 4, betaFast: 32, betaSlow: 1, originalContext: 16 } as const),
    ...{ attentionFactor: 1, truncate: true },
  };
  const llama3 = {
    ...({ type: 'llama3', factor: 8, lowFactor: 1, highFactor: 4, originalContext: 64 } as const),
  };
  return [
    { config: CONFIG, dtype: 'Q8_0', tokenizer: sentencePiece },
    { config: { ...CONFIG, ropeScaling: yarn }, dtype: 'F16', tokenizer: bytePairs('gpt-2') },
    { config: { ...CONFIG, ropeScaling: llama3 }, dtype: 'F32', tokenizer: bytePairs('llama-bpe') },
    { config: { ...CONFIG, attentionBias: 'qkv' }, dtype: 'Q8_0', tokenizer: bytePairs('qwen2') },
    { config: { ...CONFIG, headNorms: true }, dtype: 'BF16', tokenizer: bytePairs('smollm') },
  ];
}

/** The file of a seed; an entry that is undefined is left out. */
function written(seed: Seed, changes: Readonly<Record<string, GgufEntry | undefined>>): Uint8Array {
  const tensor = (name: string) => {
    const shape = weightShapes(seed.config).get(name)!;
    return new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(0.25);
  };
  const entries = Object.entries({ ...seed.tokenizer, ...changes });
  const kept = entries.filter((entry): entry is [string, GgufEntry] => entry[1] !== undefined);
  return modelGguf({ config: seed.config, tensor }, seed.dtype, Object.fromEntries(kept));
}

const INNER = [
  ...['block_count', 'context_length', 'embedding_length', 'feed_forward_length', 'vocab_size'],
  ...['attention.head_count', 'attention.head_count_kv', 'attention.key_length', 'expert_count'],
  ...['attention.layer_norm_rms_epsilon', 'attention.sliding_window', 'rope.freq_base'],
  ...['rope.dimension_count', 'rope.scaling.type', 'rope.scaling.factor', 'logit_scale'],
  ...['rope.scaling.original_context_length', 'rope.scaling.yarn_beta_fast'],
].flatMap((key) => ['llama', 'qwen2', 'qwen3'].map((name) => `${name}.${key}`));
const OUTER = ['general.architecture', 'general.alignment', 'split.count', 'tokenizer.ggml.pre'];
const NUMBERS = [-1, 0, 1, 2, 3, 7, 8, 16, 32, 33, 48, 64, 0.5, 1e-5, 1e6, 2 ** 31, 2 ** 52];
const TEXTS = ['', 'llama', 'qwen2', 'gpt2', 'yarn', 'linear', 'none', 'qwen3', '__proto__', '\0'];

function randomEntry(dice: PhiloxStream): GgufEntry {
  const number = NUMBERS[dice.below(NUMBERS.length)]!;
  const text = TEXTS[dice.below(TEXTS.length)]!;
  switch (dice.below(8)) {
    case 0:
      return ['string', text];
    case 1:
      return ['f32', number];
    case 2:
      return ['bool', dice.below(2) === 0];
    case 3:
      return ['string[]', [text, '</s>', 'peer'].slice(dice.below(4))];
    case 4:
      return ['i32[]', [Math.trunc(number), 1].slice(dice.below(3))];
    case 5:
      return ['u64', BigInt(Math.max(0, Math.trunc(number)))];
    default:
      return ['u32', number];
  }
}

/** The list with one element changed, taken away or doubled; any other entry anew. */
function nudged(entry: GgufEntry | undefined, dice: PhiloxStream): GgufEntry {
  const list = entry?.[1];
  if (entry === undefined || !Array.isArray(list) || list.length === 0) return randomEntry(dice);
  const values = [...(list as (string | number)[])];
  const at = dice.below(values.length);
  const kind = dice.below(3);
  if (kind === 0) values.splice(at, 1);
  else if (kind === 1) values.push(values[at]!);
  else
    values[at] = typeof values[at] === 'string' ? TEXTS[dice.below(TEXTS.length)]! : dice.below(7);
  return [entry[0], values] as GgufEntry;
}

function mutate(seed: Seed, bytes: Uint8Array, dice: PhiloxStream): Uint8Array {
  const kind = dice.below(10);
  if (kind < 4) {
    const keys = [...Object.keys(seed.tokenizer), ...INNER, ...OUTER];
    const changes: Record<string, GgufEntry | undefined> = {};
    for (let i = dice.below(3); i >= 0; i--) {
      const key = keys[dice.below(keys.length)]!;
      const own = seed.tokenizer[key];
      const isLost = own !== undefined && dice.below(6) === 0;
      changes[key] = isLost ? undefined : nudged(own, dice);
    }
    return written(seed, changes);
  }
  if (kind === 8) return bytes.subarray(0, dice.below(bytes.length + 1));
  const mutated = new Uint8Array(bytes.length + (kind === 9 ? dice.below(3) * 16 : 0));
  mutated.set(bytes);
  if (kind < 8) {
    const fields = fieldsOf(bytes);
    const wanted = fields.filter(({ isTable }) => isTable === kind < 7);
    for (let i = dice.below(2); i >= 0; i--) {
      overwrite(mutated, wanted[dice.below(wanted.length)]!, dice);
    }
    return mutated;
  }
  for (let i = 0; i < 3; i++) mutated[dice.below(bytes.length)] = dice.below(256);
  return mutated;
}

/** A number in the header: of the table of tensors, or a count, length or type before it. */
type Field = { readonly at: number; readonly bytes: 4 | 8; readonly isTable: boolean };

function overwrite(file: Uint8Array, { at, bytes }: Field, dice: PhiloxStream): void {
  const view = new DataView(file.buffer);
  if (bytes === 4) {
    const old = view.getUint32(at, true);
    view.setUint32(at, [old + 1, old - 1, 0, 1, 8, 30, 2 ** 32 - 1][dice.below(7)]!, true);
    return;
  }
  const old = view.getBigUint64(at, true);
  const other = [old + 1n, old - 1n, old + 32n, old - 32n, old * 2n, 0n, 2n ** 53n, 2n ** 64n - 1n];
  view.setBigUint64(at, BigInt.asUintN(64, other[dice.below(other.length)]!), true);
}

/** Where the numbers of a valid header lie. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const fields: Field[] = [];
  let at = 0;
  const take = (size: 4 | 8, isTable: boolean): number => {
    fields.push({ at, bytes: size, isTable });
    at += size;
    return size === 4 ? view.getUint32(at - 4, true) : Number(view.getBigUint64(at - 8, true));
  };
  const text = (isTable: boolean) => {
    const length = take(8, isTable);
    at += length;
  };
  const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  take(4, false);
  take(4, false);
  const [tensors, keys] = [take(8, false), take(8, false)];
  for (let i = 0; i < keys; i++) {
    text(false);
    const type = take(4, false);
    const isList = type === 9;
    const each = isList ? take(4, false) : type;
    const count = isList ? take(8, false) : 1;
    if (each !== 8) at += count * sizes[each]!;
    for (let k = 0; each === 8 && k < count; k++) text(false);
  }
  for (let i = 0; i < tensors; i++) {
    text(true);
    const dimensions = take(4, true);
    for (let k = 0; k < dimensions; k++) take(8, true);
    take(4, true);
    take(8, true);
  }
  return fields;
}
