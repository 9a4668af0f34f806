/**
 * From tokens to text that can be shown: pieces are held back until they are whole characters and
 * cannot become a stop string, so that wherever a stream is cut, what was sent is text, and its
 * tokens are all that another provider needs to go on.
 */
import type { FinishReason } from './exchange.ts';

export type Piece = { readonly tokens: readonly number[]; readonly text: string };
/** Text that nobody can go on from: cut by a stop string, or held back until nothing followed. */
export type Tail = {
  readonly text: string;
  readonly finish: FinishReason;
  /** Whose text it is; none where a stop string cut it. */
  readonly tokens: readonly number[];
};

/** The text of bytes as this protocol shows it: a byte order mark is a character, bad bytes U+FFFD. */
export const textOfBytes = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

/** Without the bytes at the end that may yet become a character. */
const wholeCharacters = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: true });

/**
 * Pieces of a row of tokens; returns the tail.
 * @param tokens up to, and without, the one that ends the text
 * @param tokensMax after so many the answer is cut; a row that ends before has ended by itself
 */
export async function* writePieces(
  tokens: AsyncIterable<number>,
  options: {
    readonly tokensMax: number;
    readonly stops: readonly string[];
    readonly bytesOf: (tokens: readonly number[]) => Uint8Array;
  },
): AsyncGenerator<Piece, Tail, undefined> {
  let held: number[] = [];
  let count = 0;
  for await (const token of tokens) {
    held.push(token);
    count += 1;
    const bytes = options.bytesOf(held);
    const text = wholeCharacters(bytes);
    const stopAt = firstStop(text, options.stops);
    if (stopAt >= 0) return { text: text.slice(0, stopAt), finish: 'stop', tokens: [] };
    if (mayBecomeStop(text, options.stops) || text !== textOfBytes(bytes)) continue;
    yield { tokens: held, text };
    held = [];
  }
  const finish = count >= options.tokensMax ? 'length' : 'stop';
  return { text: wholeCharacters(options.bytesOf(held)), finish, tokens: held };
}

/**
 * Where the stop string begins that is the first to be whole, the longest of those that are whole at
 * the same place: what a reader of single characters would find, however tokens cut the text. -1: none.
 */
function firstStop(text: string, stops: readonly string[]): number {
  let at = -1;
  let end = Number.POSITIVE_INFINITY;
  for (const stop of stops) {
    const found = text.indexOf(stop);
    if (found < 0) continue;
    const foundEnd = found + stop.length;
    if (foundEnd > end || (foundEnd === end && found > at)) continue;
    at = found;
    end = foundEnd;
  }
  return at;
}

/** Whether the text ends with the beginning of a stop string. */
const mayBecomeStop = (text: string, stops: readonly string[]): boolean =>
  stops.some((stop) => {
    for (let length = Math.min(stop.length - 1, text.length); length > 0; length--)
      if (text.endsWith(stop.slice(0, length))) return true;
    return false;
  });
