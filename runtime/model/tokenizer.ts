/**
 * A BPE tokenizer read from a Hugging Face directory: text to ids and back, byte exact. Encoding is
 * done by @huggingface/tokenizers; bytes of ids come from the vocabulary itself.
 */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { type ChatMessage, makeChatEncoder, withoutOpening } from './chat.ts';
import { ModelError } from './errors.ts';
import {
  type AddedTokens,
  addedTokens,
  byteTable,
  checkedJson,
  hasByteFallback,
  invalid,
  isRecord,
  type TokenizerJson,
} from './token-bytes.ts';

export type { ChatMessage } from './chat.ts';

/** Turns a stream of ids into text, holding back bytes that do not yet end a UTF-8 character. */
export type StreamDecoder = {
  /** The text that this id completes; '' while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end; an incomplete character becomes U+FFFD. */
  end(): string;
};

/** See `makeTokenizer`. */
export type Tokenizer = {
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** The id that ends a document or an answer. */
  readonly endOfText: number;
  /** The id that opens a text: the model's own mark, or else the end of the text before. */
  readonly startOfText: number;
  /** Ids that stand for no text (specials), in ascending order. */
  readonly specialIds: readonly number[];
  /** The ids of a text, taken literally: '<|user|>' in it is eight characters, not a special token. */
  encode(text: string): Int32Array;
  /**
   * The ids of a conversation, with special tokens between turns (never from inside a content).
   *
   * @param addGenerationPrompt whether the assistant's turn is opened at the end
   * @throws ModelError CHAT_TEMPLATE_UNSUPPORTED without a template that we can use,
   *   CHAT_TEMPLATE_REFUSED when the template refuses the messages
   */
  encodeChat(messages: readonly ChatMessage[], addGenerationPrompt?: boolean): Int32Array;
  /**
   * A conversation as the text of a prompt: `encodePrompt` gives the ids of `encodeChat`, without the
   * opening mark if the template begins with it (whoever reads a prompt puts it before all).
   *
   * @throws ModelError as `encodeChat`
   */
  renderChat(messages: readonly ChatMessage[]): string;
  /** Whether there is a chat template. */
  readonly hasChatTemplate: boolean;
  /** The ids of a prompt: special tokens where `renderChat` put them, all else literally. */
  encodePrompt(prompt: string): Int32Array;
  /** The id of a special token such as '<|user|>', or undefined. */
  specialId(token: string): number | undefined;
  /** The UTF-8 bytes of ids, special tokens left out. */
  decodeBytes(ids: ArrayLike<number>): Uint8Array;
  /** The text of ids, special tokens left out; invalid UTF-8 becomes U+FFFD. */
  decode(ids: ArrayLike<number>): string;
  /** A fresh decoder for one stream. */
  streamDecoder(): StreamDecoder;
};

/**
 * Builds a tokenizer from the parsed JSON of `tokenizer.json` and `tokenizer_config.json`.
 *
 * @param vocabSize rows of the model's embedding; every id must lie below it
 * @param file name for error messages
 * @throws ModelError TOKENIZER_INVALID
 */
export function makeTokenizer(
  tokenizerJson: unknown,
  tokenizerConfig: unknown,
  vocabSize: number,
  file = 'tokenizer.json',
): Tokenizer {
  const json = checkedJson(tokenizerJson, file);
  const config = isRecord(tokenizerConfig) ? tokenizerConfig : {};
  const added = addedTokens(json);
  const bytesOfId = byteTable(json, added, vocabSize, file);
  const endOfText = endOfTextOf(config, added, file);
  const encoder = literalEncoder(json, config, file);
  const encode = (text: string): Int32Array => {
    if (text === '') return new Int32Array(0);
    const ids = encodedBy(encoder, text, file);
    for (const id of ids) {
      if (bytesOfId[id] === undefined) throw invalid(file, 'model.vocab', 'every byte', text);
    }
    return Int32Array.from(ids);
  };
  const named: Record<string, string> = {};
  for (const key of Object.keys(config)) {
    const content = key.endsWith('_token') ? contentOf(config[key]) : undefined;
    if (content !== undefined) named[key] = content;
  }
  const template = config['chat_template'];
  const chat = makeChatEncoder({ template, added, named, file, encode });
  const opening = named['bos_token'] ?? '';
  const bytesOf = (id: number): Uint8Array => {
    const bytes = bytesOfId[id];
    if (bytes !== undefined) return bytes;
    throw new ModelError('TOKEN_OUT_OF_RANGE', 'an id that the tokenizer does not have', {
      file,
      expected: `an id below ${bytesOfId.length}`,
      found: String(id),
    });
  };
  const decodeBytes = (ids: ArrayLike<number>): Uint8Array =>
    concat(Array.from(ids, (id) => bytesOf(id)));
  // SentencePiece opens every text with a space that is not the writer's.
  const opensWithSpace = hasByteFallback(json) && decodeBytes(encode('a'))[0] === 0x20;
  return {
    vocabSize: bytesOfId.length,
    endOfText,
    startOfText: added.get(named['bos_token'] ?? '')?.id ?? endOfText,
    specialIds: [...added.values()]
      .filter(({ special }) => special)
      .map(({ id }) => id)
      .sort((a, b) => a - b),
    encode,
    encodeChat: (messages, addGenerationPrompt = true) =>
      chat.encode(messages, addGenerationPrompt),
    renderChat: (messages) => withoutOpening(chat.render(messages, true), opening),
    hasChatTemplate: template !== undefined && template !== null,
    encodePrompt: chat.encodePrompt,
    specialId: (token) => added.get(token)?.id,
    decodeBytes,
    decode(ids) {
      const bytes = decodeBytes(ids);
      const text = opensWithSpace && bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(text);
    },
    streamDecoder() {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      return {
        push: (id) => decoder.decode(bytesOf(id), { stream: true }),
        end: () => decoder.decode(),
      };
    },
  };
}

/** An encoder that knows no special tokens, so that user text cannot forge the borders of turns. */
function literalEncoder(
  json: TokenizerJson,
  config: Record<string, unknown>,
  file: string,
): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer({ ...json, added_tokens: [] }, config);
  } catch (cause) {
    throw new ModelError('TOKENIZER_INVALID', 'the tokenizer library refuses it', {
      file,
      found: cause instanceof Error ? cause.message : String(cause),
    });
  }
}

/** The library believes its settings, and fails on a text when they are wrong. */
function encodedBy(encoder: HuggingFaceTokenizer, text: string, file: string): number[] {
  try {
    return encoder.encode(text, { add_special_tokens: false }).ids;
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : cause;
    throw invalid(file, '(settings)', 'settings that the tokenizer library understands', found);
  }
}

function endOfTextOf(config: Record<string, unknown>, added: AddedTokens, file: string): number {
  const content = contentOf(config['eos_token']);
  const id = content === undefined ? undefined : added.get(content)?.id;
  if (id !== undefined) return id;
  throw invalid(file, 'eos_token', 'the content of one of added_tokens', content);
}

/** A token of tokenizer_config.json is its text, or an object that holds it. */
function contentOf(token: unknown): string | undefined {
  const content = isRecord(token) ? token['content'] : token;
  return typeof content === 'string' ? content : undefined;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const total = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    total.set(part, at);
    at += part.length;
  }
  return total;
}
