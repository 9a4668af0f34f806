/**
 * The content of `tokenizer.json` as far as we read it ourselves: checked, and the bytes that each
 * id stands for, for byte-level BPE and for SentencePiece BPE with byte fallback.
 */
import { BYTE_OF_CHARACTER } from './bytes-alphabet.ts';
import { ModelError } from './errors.ts';

/** The parsed file. */
export type TokenizerJson = {
  added_tokens?: { id: number; content: string; special?: boolean }[];
  pre_tokenizer?: unknown;
  decoder?: unknown;
  model: { type: string; vocab: Record<string, number>; merges: unknown[] };
};

/** The added tokens by their text; a special one stands for no text. */
export type AddedTokens = ReadonlyMap<string, { readonly id: number; readonly special: boolean }>;

/** SentencePiece's mark of a space. */
const SPACE_MARK = /\u2581/g;
const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;

/**
 * The parsed JSON of a tokenizer, when it is one that we can run.
 *
 * @throws ModelError TOKENIZER_INVALID
 */
export function checkedJson(json: unknown, file: string): TokenizerJson {
  const fail = (key: string, expected: string, found: unknown) =>
    invalid(file, key, expected, found, 'use a BPE tokenizer.json with bytes or byte fallback');
  if (!isRecord(json)) throw fail('(root)', 'an object', json);
  const model = json['model'];
  if (!isRecord(model) || model['type'] !== 'BPE') {
    throw fail('model.type', '"BPE"', isRecord(model) ? model['type'] : model);
  }
  const { vocab, merges } = model;
  if (!isRecord(vocab)) throw fail('model.vocab', 'an object', vocab);
  if (!Array.isArray(merges)) throw fail('model.merges', 'an array', merges);
  if (decoderKind(json['decoder']) === undefined) {
    throw fail('decoder', 'a ByteLevel or ByteFallback decoder', json['decoder']);
  }
  const added = json['added_tokens'] ?? [];
  if (!Array.isArray(added)) throw fail('added_tokens', 'an array', added);
  for (const token of added as unknown[]) {
    if (!isRecord(token) || typeof token['content'] !== 'string' || !isId(token['id'])) {
      throw fail('added_tokens', 'tokens with id and content', token);
    }
  }
  checkMerges(merges, vocab, fail);
  return json as TokenizerJson;
}

/** Every merge joins two tokens to a third; a vocabulary of more than single bytes has some. */
function checkMerges(
  merges: readonly unknown[],
  vocab: Record<string, unknown>,
  fail: (key: string, expected: string, found: unknown) => ModelError,
): void {
  for (const merge of merges) {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    const isPair =
      Array.isArray(pair) && pair.length === 2 && pair.every((one) => typeof one === 'string');
    if (!isPair) throw fail('model.merges', 'pairs of tokens', merge);
    for (const token of [...(pair as string[]), (pair as string[]).join('')]) {
      if (!Object.hasOwn(vocab, token)) throw fail('model.merges', 'tokens of model.vocab', merge);
    }
  }
  const isJoined = (token: string) => [...token].length > 1 && !/^<.*>$/u.test(token);
  if (merges.length === 0 && Object.keys(vocab).filter(isJoined).length > 64) {
    throw fail('model.merges', 'the merges that make the tokens of model.vocab', merges);
  }
}

function decoderKind(decoder: unknown): 'bytes' | 'fallback' | undefined {
  const text = JSON.stringify(decoder ?? null);
  if (text.includes('"ByteLevel"')) return 'bytes';
  return text.includes('"ByteFallback"') ? 'fallback' : undefined;
}

/** Whether this is SentencePiece BPE, in which a byte is a token of last resort. */
export function hasByteFallback(json: TokenizerJson): boolean {
  return decoderKind(json.decoder) === 'fallback';
}

/** The added tokens of a checked file. */
export function addedTokens(json: TokenizerJson): AddedTokens {
  return new Map(
    (json.added_tokens ?? []).map(({ content, id, special }) => [
      content,
      { id, special: special !== false },
    ]),
  );
}

/**
 * The bytes of every id; specials have none. An id that no token has stays undefined.
 *
 * @param vocabSize rows of the model's embedding; every id must lie below it
 * @throws ModelError TOKENIZER_INVALID
 */
export function byteTable(
  json: TokenizerJson,
  added: AddedTokens,
  vocabSize: number,
  file: string,
): (Uint8Array | undefined)[] {
  const table: (Uint8Array | undefined)[] = [];
  const put = (token: string, id: unknown, bytes: Uint8Array) => {
    if (!isId(id) || id >= vocabSize) throw invalid(file, token, `an id below ${vocabSize}`, id);
    table[id] = bytes;
  };
  const bytesOf = decoderKind(json.decoder) === 'bytes' ? bytesOfAlphabet : bytesOfFallback;
  for (const [token, id] of Object.entries(json.model.vocab)) {
    if (added.has(token)) continue;
    const bytes = bytesOf(token);
    if (bytes === undefined) throw invalid(file, token, 'characters of the byte alphabet', token);
    put(token, id, bytes);
  }
  for (const [token, { id, special }] of added) {
    put(token, id, special ? new Uint8Array(0) : new TextEncoder().encode(token));
  }
  return table;
}

function bytesOfAlphabet(token: string): Uint8Array | undefined {
  const bytes = Array.from(token, (character) => BYTE_OF_CHARACTER.get(character) ?? -1);
  return bytes.includes(-1) ? undefined : Uint8Array.from(bytes);
}

function bytesOfFallback(token: string): Uint8Array {
  const byte = BYTE_TOKEN.exec(token)?.[1];
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
  return new TextEncoder().encode(token.replace(SPACE_MARK, ' '));
}

/** The error of one field of a tokenizer file. */
export function invalid(
  file: string,
  key: string,
  expected: string,
  found: unknown,
  remedy?: string,
): ModelError {
  return new ModelError('TOKENIZER_INVALID', 'the tokenizer cannot be used', {
    file,
    key,
    expected,
    found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
