// The rows of a step: one new token each, with its place, its keys, its adapter and what is asked of
// it, in the words that the kernels read.
import type { ModelConfig } from '../engine/config.ts';
import { ModelInputError } from '../engine/graph.ts';

export const rowWords = 8;
export const none = 0xffffffff;

export type Row = {
  readonly token: number;
  /** Within its sequence. */
  readonly position: number;
  /** Where the sequence's keys begin. */
  readonly keys: number;
  /** Where the sequence's rows end, in training. */
  readonly end?: number;
  readonly adapter?: number;
  /** The token whose probability is wanted. */
  readonly answer?: number;
  /** What its negative log-likelihood counts in the loss. */
  readonly weight?: number;
};

export function rowsOf(rows: readonly Row[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(rows.length * rowWords);
  const floats = new Float32Array(words.buffer);
  for (const [i, row] of rows.entries()) {
    const { token, position, keys, end = 0, adapter = none, answer = none, weight = 0 } = row;
    words.set([token, position, keys, adapter, answer, 0, end], i * rowWords);
    floats[i * rowWords + 5] = weight;
  }
  return words;
}

/** Throws ModelInputError unless the model can take these tokens from this position. */
export function checkTokens(config: ModelConfig, tokens: Int32Array, start: number): void {
  const { contextLength, vocabSize } = config;
  if (tokens.length < 1 || start + tokens.length > contextLength) {
    const expected = `1 to ${contextLength} positions`;
    throw new ModelInputError('CONTEXT_LENGTH', expected, start + tokens.length);
  }
  for (const token of tokens) {
    if (token >= 0 && token < vocabSize) continue;
    throw new ModelInputError('TOKEN_RANGE', `0 to ${vocabSize - 1}`, token);
  }
}
