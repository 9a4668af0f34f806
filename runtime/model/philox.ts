/**
 * Philox4x32-10 (Salmon et al. 2011): random words as a pure function of a counter and a key, so that
 * any draw can be recomputed on its own, in any order, on any machine.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** A key of 64 bits as two words. */
export type PhiloxKey = readonly [number, number];

/** The key of a seed: its low 64 bits, low word first. */
export function philoxKey(seed: bigint): PhiloxKey {
  return [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];
}

/**
 * Writes the four words of one counter into `out`.
 *
 * @param counter four unsigned words, lowest first
 * @param out four words, overwritten
 */
export function philox(counter: readonly number[], key: PhiloxKey, out: Uint32Array): void {
  let [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper word of the 64-bit product of two words, in pieces that a float64 holds exactly. */
function multiplyHigh(a: number, b: number): number {
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  return Math.floor((a * bHigh + Math.floor((a * bLow) / 65536)) / 65536);
}

/** Draws whole numbers in order from one key: a stream for scripts and shuffles. */
export type PhiloxStream = {
  /** The next word, 0 to 2^32 - 1. */
  word(): number;
  /** A number from 0 to `limit` - 1; the bias is below limit / 2^32. */
  below(limit: number): number;
};

/** A stream of words for a seed; `stream` tells apart several streams of one seed. */
export function philoxStream(seed: bigint, stream = 0): PhiloxStream {
  const key = philoxKey(seed);
  const block = new Uint32Array(4);
  let drawn = 0;
  const word = (): number => {
    const place = drawn & 3;
    if (place === 0) philox([Math.floor(drawn / 4) >>> 0, stream, 0, 0], key, block);
    drawn++;
    return block[place]!;
  };
  return { word, below: (limit) => Math.floor((word() / 2 ** 32) * limit) };
}
