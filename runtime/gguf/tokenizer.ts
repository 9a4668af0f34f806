/**
 * The tokenizer of a GGUF file as the `tokenizer.json` and `tokenizer_config.json` that say the same:
 * byte-level BPE (`gpt2`) with the pre-tokenizers of the models that we run, and SentencePiece BPE
 * (`llama`), whose merges follow from its scores.
 */
import { ModelError } from '../model/errors.ts';
import type { GgufFile, GgufValue } from './reader.ts';

/** llama.cpp's types of tokens. */
export const TOKEN_TYPES = {
  ...{ normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 },
} as const;

const byteLevel = (useRegex: boolean) => ({
  ...{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex },
});
const split = (pattern: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    byteLevel(false),
  ],
});
/** The words of Llama 3 and of Qwen, which differ in how many digits stand together. */
const words = (digits: string) =>
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

type Words = { readonly preTokenizer: object; readonly normalizer?: object; ignoreMerges?: true };
const GPT2: Words = { preTokenizer: byteLevel(true) };
const SMOLLM: Words = {
  preTokenizer: {
    type: 'Sequence',
    pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
  },
};
const LLAMA3: Words = { preTokenizer: split(words('\\p{N}{1,3}')), ignoreMerges: true };
const QWEN2: Words = { preTokenizer: split(words('\\p{N}')), normalizer: { type: 'NFC' } };

/** By the name that llama.cpp's converter gives, `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: ReadonlyMap<string, Words> = new Map([
  ...['gpt-2', 'phi-2', 'mpt', 'olmo'].map((name) => [name, GPT2] as const),
  ...['smollm', 'starcoder', 'refact', 'command-r'].map((name) => [name, SMOLLM] as const),
  ...['llama-bpe', 'llama3', 'llama-v3'].map((name) => [name, LLAMA3] as const),
  ...['qwen2', 'deepseek-r1-qwen'].map((name) => [name, QWEN2] as const),
]);

/**
 * The `tokenizer.json` of a file.
 *
 * @param vocabSize rows of the embedding
 * @throws ModelError TOKENIZER_UNSUPPORTED | TOKENIZER_INVALID
 */
export function readGgufTokenizer(
  { metadata }: GgufFile,
  vocabSize: number,
  file: string,
): Readonly<Record<string, unknown>> {
  const get: Get = (key) => metadata.get(`tokenizer.ggml.${key}`);
  const model = get('model');
  if (model !== 'gpt2' && model !== 'llama') {
    throw unsupported(file, 'model', '"gpt2" or "llama"', model);
  }
  const tokens = readTokens(get, vocabSize, file);
  return model === 'gpt2' ? bytePairJson(get, tokens, file) : sentencePieceJson(get, tokens, file);
}

/**
 * The `tokenizer_config.json` of a file: special tokens and chat template; and the ids that end an
 * answer.
 *
 * @throws ModelError TOKENIZER_INVALID
 */
export function readGgufTokenizerConfig(
  { metadata }: GgufFile,
  vocabSize: number,
  file: string,
): { config: Readonly<Record<string, unknown>>; stopIds: readonly number[] } {
  const get: Get = (key) => metadata.get(`tokenizer.ggml.${key}`);
  if (get('model') === undefined) return { config: {}, stopIds: [] };
  const { config, stopIds } = readTokens(get, vocabSize, file);
  const template = metadata.get('tokenizer.chat_template');
  return {
    config: { ...config, ...(template === undefined ? {} : { chat_template: template }) },
    stopIds,
  };
}

type Get = (key: string) => GgufValue | undefined;

type Tokens = {
  readonly contents: readonly string[];
  readonly typeOf: (id: number) => number;
  readonly added: readonly object[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly stopIds: readonly number[];
};

function readTokens(get: Get, vocabSize: number, file: string): Tokens {
  const contents = textsOf(get, 'tokens', file);
  if (contents.length > vocabSize) {
    throw invalid(file, 'tokens', `at most ${vocabSize} tokens`, contents);
  }
  const types = get('token_type');
  const isTyped = types instanceof Int32Array || types instanceof Uint32Array;
  if (types !== undefined && !(isTyped && types.length === contents.length)) {
    throw invalid(file, 'token_type', `a list of ${contents.length} types`, types);
  }
  const twice = new Set(contents).size;
  if (twice !== contents.length) {
    throw invalid(file, 'tokens', 'each text once', `${contents.length - twice} twice`);
  }
  const idOf = (key: string): number | undefined => {
    const id = get(`${key}_token_id`);
    if (id === undefined || (typeof id === 'number' && id < contents.length && id >= 0)) return id;
    throw invalid(file, `${key}_token_id`, `an id below ${contents.length}`, id);
  };
  const eos = idOf('eos');
  const ids = { eos_token: eos, bos_token: idOf('bos'), pad_token: idOf('padding') };
  // Qwen names a token that it puts before no text.
  const named = get('add_bos_token') === false ? { ...ids, bos_token: undefined } : ids;
  const marks = new Set([...Object.values(ids), idOf('unknown')]);
  const stopIds = [...new Set([eos, idOf('eot'), idOf('eom')])].filter((id) => id !== undefined);
  const typeOf = (id: number): number => {
    const type = isTyped ? types[id]! : TOKEN_TYPES.normal;
    return marks.has(id) && type === TOKEN_TYPES.normal ? TOKEN_TYPES.control : type;
  };
  const special = [TOKEN_TYPES.control, TOKEN_TYPES.unknown, TOKEN_TYPES.userDefined] as number[];
  const added = contents.flatMap((content, id) => {
    const type = typeOf(id);
    if (!special.includes(type)) return [];
    const isSpecial = type !== TOKEN_TYPES.userDefined;
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...flags, special: isSpecial }];
  });
  const config: Record<string, unknown> = { tokenizer_class: 'PreTrainedTokenizerFast' };
  for (const [key, id] of Object.entries(named)) if (id !== undefined) config[key] = contents[id];
  return { contents, typeOf, added, config, stopIds };
}

function bytePairJson(get: Get, { contents, typeOf, added }: Tokens, file: string) {
  const name = get('pre');
  const pre = typeof name === 'string' ? PRE_TOKENIZERS.get(name) : undefined;
  if (pre === undefined) {
    throw unsupported(file, 'pre', [...PRE_TOKENIZERS.keys()].join(', '), name);
  }
  const vocab = contents
    .map((content, id) => [content, id] as const)
    .filter(([, id]) => typeOf(id) === TOKEN_TYPES.normal);
  return {
    version: '1.0',
    added_tokens: added,
    normalizer: pre.normalizer ?? null,
    pre_tokenizer: pre.preTokenizer,
    post_processor: null,
    decoder: byteLevel(true),
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false },
      ignore_merges: pre.ignoreMerges === true,
      vocab: Object.fromEntries(vocab),
      merges: textsOf(get, 'merges', file),
    },
  };
}

const SPACE = '\u2581';

function sentencePieceJson(get: Get, tokens: Tokens, file: string) {
  const { contents, typeOf, added } = tokens;
  const scores = get('scores');
  if (!(scores instanceof Float32Array) || scores.length !== contents.length) {
    throw invalid(file, 'scores', `a list of ${contents.length} numbers`, scores);
  }
  const unknown = Number(get('unknown_token_id') ?? 0);
  const prefix = get('add_space_prefix') === false ? [] : [{ type: 'Prepend', prepend: SPACE }];
  const kept = contents
    .map((content, id) => [content, id] as const)
    .filter(([, id]) => typeOf(id) !== TOKEN_TYPES.unused);
  const strip = prefix.length === 0 ? [] : [{ type: 'Strip', content: ' ', start: 1, stop: 0 }];
  const replace = (from: string, content: string) => ({
    ...{ type: 'Replace', pattern: { String: from }, content },
  });
  return {
    version: '1.0',
    added_tokens: added,
    normalizer: { type: 'Sequence', normalizers: [...prefix, replace(' ', SPACE)] },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [replace(SPACE, ' '), { type: 'ByteFallback' }, { type: 'Fuse' }, ...strip],
    },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: contents[unknown] ?? null },
      ...{ fuse_unk: true, byte_fallback: true, ignore_merges: false },
      vocab: Object.fromEntries(kept),
      merges: mergesOf(tokens, scores),
    },
  };
}

/**
 * SentencePiece joins the two neighbours whose union has the highest score. As merges: every way to
 * cut a piece into two others, the pieces of the highest score first.
 */
function mergesOf({ contents, typeOf }: Tokens, scores: Float32Array): [string, string][] {
  const idOf = new Map<string, number>();
  for (const [id, content] of contents.entries()) {
    if (typeOf(id) === TOKEN_TYPES.normal) idOf.set(content, id);
  }
  const pieces = [...idOf].sort(([, a], [, b]) => scores[b]! - scores[a]! || a - b);
  return pieces.flatMap(([piece]) => {
    const cuts: [string, string][] = [];
    const characters = [...piece];
    if (characters.length > PIECE_CHARACTERS_MAX) return cuts;
    for (let at = 1; at < characters.length; at++) {
      const left = characters.slice(0, at).join('');
      const right = characters.slice(at).join('');
      if (idOf.has(left) && idOf.has(right)) cuts.push([left, right]);
    }
    return cuts.sort(
      ([a, b], [c, d]) => idOf.get(a)! - idOf.get(c)! || idOf.get(b)! - idOf.get(d)!,
    );
  });
}

/** SentencePiece's own limit is 16; a stranger's piece may not cost the square of a megabyte. */
const PIECE_CHARACTERS_MAX = 64;

function textsOf(get: Get, key: string, file: string): readonly string[] {
  const value = get(key);
  if (Array.isArray(value)) return value as readonly string[];
  throw invalid(file, key, 'a list of texts', value);
}

function unsupported(file: string, key: string, expected: string, found: unknown): ModelError {
  return new ModelError('TOKENIZER_UNSUPPORTED', 'this kind of tokenizer is not read', {
    ...{ file, key: `tokenizer.ggml.${key}`, expected, found: shown(found) },
    remedy: 'put the model’s tokenizer.json beside the file',
  });
}

function invalid(file: string, key: string, expected: string, found: unknown): ModelError {
  return new ModelError('TOKENIZER_INVALID', 'the tokenizer cannot be used', {
    ...{ file, key: `tokenizer.ggml.${key}`, expected, found: shown(found) },
    remedy: 'put the model’s tokenizer.json beside the file',
  });
}

function shown(found: unknown): string {
  if (typeof found === 'object') return `a list of ${(found as ArrayLike<unknown>).length}`;
  return found === undefined ? 'nothing' : String(found).slice(0, 80);
}
