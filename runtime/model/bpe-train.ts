/**
 * Trains a byte-level BPE tokenizer (Sennrich et al. 2016, with GPT-2's byte alphabet and splitting)
 * and writes it in the Hugging Face layout. Deterministic: equal text gives equal files.
 */
import { CHARACTER_OF_BYTE } from './bytes-alphabet.ts';

/** GPT-2's split of text into words; merges never cross its borders. */
const WORD = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
/** Words longer than this (rules of dashes, data) teach no merge worth a place in the vocabulary. */
const WORD_BYTES_MAX = 32;

/** Ends a document; also what generation stops at. Id 0. */
export const END_OF_TEXT = '<|endoftext|>';
/** Opens what the user says. Id 1. */
export const USER = '<|user|>';
/** Opens what the assistant says. Id 2. */
export const ASSISTANT = '<|assistant|>';
/** Fills a batch; never seen by a loss. Id 3. */
export const PAD = '<|pad|>';

/** The special tokens in the order of their ids, 0 to 3; the bytes follow from 4 to 259. */
export const SPECIAL_TOKENS: readonly string[] = [END_OF_TEXT, USER, ASSISTANT, PAD];
const FIRST_BYTE_ID = SPECIAL_TOKENS.length;

/** The chat format as a template that Hugging Face tools understand; `Tokenizer.encodeChat` is it. */
export const CHAT_TEMPLATE =
  "{% for message in messages %}{% if message['role'] == 'assistant' %}" +
  "<|assistant|>{{ message['content'] }}<|endoftext|>" +
  "{% else %}<|user|>{{ message['content'] }}\n{% endif %}{% endfor %}" +
  '{% if add_generation_prompt %}<|assistant|>{% endif %}';

/** A text and how often each of its words counts (a whole number of 1 or more). */
export type WeightedText = { text: string; weight: number };

/**
 * A merge: the ids of the two tokens that become one. Its token gets the next free id from 260 on,
 * unless an earlier merge already made the same bytes from other halves; then it is that token.
 */
export type Merge = readonly [left: number, right: number];

type Word = { ids: number[]; count: number };

/**
 * Learns merges until the vocabulary has `vocabSize` tokens or no pair occurs twice. The most
 * frequent pair is merged first; of equally frequent ones the one with the smaller left, then right
 * id.
 *
 * @param vocabSize special tokens, 256 bytes and merges together
 */
export function trainMerges(texts: readonly WeightedText[], vocabSize: number): Merge[] {
  const pairs = new PairCounts(countWords(texts));
  const vocabulary = new Vocabulary();
  const merges: Merge[] = [];
  while (vocabulary.tokens.length < vocabSize) {
    const best = pairs.mostFrequent();
    if (best === undefined) break;
    pairs.merge(best, vocabulary.idOfMerge(best));
    merges.push(best);
  }
  return merges;
}

/** The tokens by id; special tokens and bytes first, then what merges made. */
class Vocabulary {
  readonly tokens: string[] = [...SPECIAL_TOKENS, ...CHARACTER_OF_BYTE];
  readonly #ids = new Map(this.tokens.map((token, id) => [token, id]));

  idOfMerge([left, right]: Merge): number {
    const token = this.tokens[left]! + this.tokens[right]!;
    const known = this.#ids.get(token);
    if (known !== undefined) return known;
    this.#ids.set(token, this.tokens.length);
    return this.tokens.push(token) - 1;
  }
}

function countWords(texts: readonly WeightedText[]): Word[] {
  const counts = new Map<string, number>();
  for (const { text, weight } of texts) {
    for (const word of text.match(WORD) ?? []) counts.set(word, (counts.get(word) ?? 0) + weight);
  }
  const words: Word[] = [];
  for (const [word, count] of counts) {
    const bytes = Buffer.from(word, 'utf8');
    if (bytes.length < 2 || bytes.length > WORD_BYTES_MAX) continue;
    words.push({ ids: Array.from(bytes, (byte) => FIRST_BYTE_ID + byte), count });
  }
  return words;
}

const ID_LIMIT = 1 << 20;

/** How often each pair of neighbours occurs, and in which words, kept up to date through merges. */
class PairCounts {
  readonly #words: Word[];
  readonly #counts = new Map<number, number>();
  readonly #places = new Map<number, Set<number>>();

  constructor(words: Word[]) {
    this.#words = words;
    for (const index of words.keys()) this.#add(index, 1);
  }

  mostFrequent(): Merge | undefined {
    let bestKey = -1;
    let bestCount = 1;
    for (const [key, count] of this.#counts) {
      if (count > bestCount || (count === bestCount && bestKey >= 0 && key < bestKey)) {
        bestKey = key;
        bestCount = count;
      }
    }
    return bestKey < 0 ? undefined : [Math.floor(bestKey / ID_LIMIT), bestKey % ID_LIMIT];
  }

  merge([left, right]: Merge, id: number): void {
    const key = left * ID_LIMIT + right;
    for (const index of [...(this.#places.get(key) ?? [])]) {
      this.#add(index, -1);
      const word = this.#words[index]!;
      word.ids = mergeIds(word.ids, left, right, id);
      this.#add(index, 1);
    }
    this.#counts.delete(key);
    this.#places.delete(key);
  }

  #add(index: number, sign: 1 | -1): void {
    const { ids, count } = this.#words[index]!;
    for (let i = 0; i + 1 < ids.length; i++) {
      const key = ids[i]! * ID_LIMIT + ids[i + 1]!;
      const sum = (this.#counts.get(key) ?? 0) + sign * count;
      if (sum === 0) this.#counts.delete(key);
      else this.#counts.set(key, sum);
      const places = this.#places.get(key) ?? new Set();
      if (sign > 0) this.#places.set(key, places.add(index));
      else places.delete(index);
    }
  }
}

function mergeIds(ids: readonly number[], left: number, right: number, id: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === left && ids[i + 1] === right) {
      merged.push(id);
      i++;
    } else merged.push(ids[i]!);
  }
  return merged;
}

/** The two tokenizer files of a Hugging Face model directory, as values to write as JSON. */
export type TokenizerFiles = { tokenizer: object; config: object };

/**
 * `tokenizer.json` and `tokenizer_config.json` for these merges.
 *
 * @param contextLength written as `model_max_length`
 */
export function tokenizerFiles(merges: readonly Merge[], contextLength: number): TokenizerFiles {
  const vocabulary = new Vocabulary();
  const { tokens } = vocabulary;
  const pairs = merges.map((merge) => {
    vocabulary.idOfMerge(merge);
    return merge.map((id) => tokens[id]!);
  });
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: true,
  };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: pairs,
    },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    eos_token: END_OF_TEXT,
    pad_token: PAD,
    clean_up_tokenization_spaces: false,
    model_max_length: contextLength,
    chat_template: CHAT_TEMPLATE,
  };
  return { tokenizer, config };
}
