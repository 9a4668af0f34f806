/** Held-out quality: bits per byte, so that models with different tokenizers can be compared. */
import type { Tokenizer } from './tokenizer.ts';

/** The natural log-probability of tokens[t] given those before it, at index t; index 0 is unused. */
export type Score = (tokens: Int32Array) => Promise<Float32Array> | Float32Array;

/**
 * Bits per byte over whole documents. Each begins after an end-of-text token; windows overlap by
 * half, and only the newer half of a window counts, so that every token has context but the first.
 *
 * @param windowTokens at most the model's context length
 */
export async function modelBitsPerByte(
  score: Score,
  tokenizer: Tokenizer,
  texts: readonly string[],
  windowTokens: number,
): Promise<number> {
  let bits = 0;
  let bytes = 0;
  for (const text of texts) {
    const ids = Int32Array.of(tokenizer.endOfText, ...tokenizer.encode(text));
    bits += (await documentNats(score, ids, windowTokens)) / Math.LN2;
    bytes += Buffer.byteLength(text);
  }
  return bits / bytes;
}

async function documentNats(score: Score, ids: Int32Array, windowTokens: number): Promise<number> {
  const stride = windowTokens >> 1;
  let nats = 0;
  let counted = 1;
  for (let start = 0; counted < ids.length; start += stride) {
    const window = ids.slice(start, start + windowTokens);
    const logprobs = await score(window);
    for (; counted < start + window.length; counted++) nats -= logprobs[counted - start]!;
  }
  return nats;
}

/** About `count` of the texts, spread evenly over the list, each cut to `charsMax` characters. */
export function sampleOf(texts: readonly string[], count: number, charsMax: number): string[] {
  const stride = Math.max(1, Math.floor(texts.length / count));
  return texts.filter((_, i) => i % stride === 0).map((text) => text.slice(0, charsMax));
}
