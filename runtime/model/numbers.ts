/** The number formats of weights: binary16 and bfloat16 to and from f32, and rows of int8 as the kernels make them. */

/** The value of an IEEE 754 binary16 bit pattern. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Rounds f32 values to bfloat16 bit patterns, to nearest, ties to even; NaN stays a quiet NaN. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const isNotNumber = (word & 0x7fffffff) > 0x7f800000;
    halves[i] = isNotNumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** A binary16 bit pattern nearest to x, ties to even; infinite from 65520 on. */
export function toHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  // log2 may be off by one next to a power of two; the pattern carries into the exponent by itself.
  const step = 2 ** ((size < 2 ** exponent && exponent > -14 ? exponent - 1 : exponent) - 10);
  const units = nearestEven(size / step);
  const base = step === 2 ** -24 ? 0 : (Math.log2(step) + 24) * 1024;
  return sign | (base + units);
}

const f32 = Math.fround;
/** Rows that small are taken as zero. */
const least = f32(1e-30);

/** Rows as int8 values with one f32 scale each; depth values per row. */
export type Int8Rows = {
  readonly values: Int8Array<ArrayBuffer>;
  readonly scales: Float32Array<ArrayBuffer>;
};

/** The number nearest to x that is whole, the even one of two. */
function nearestEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** scale = max|row| / 127, value = row / scale to nearest even, from -127 to 127. */
export function int8Rows(x: ArrayLike<number>, rows: number, depth: number): Int8Rows {
  const values = new Int8Array(rows * depth);
  const scales = new Float32Array(rows);
  for (let t = 0; t < rows; t++) {
    let top = 0;
    for (let k = 0; k < depth; k++) top = Math.max(top, Math.abs(f32(x[t * depth + k]!)));
    const inverse = top > least ? f32(127 / top) : 0;
    scales[t] = top > least ? f32(top / 127) : 0;
    for (let k = 0; k < depth; k++) {
      const scaled = f32(f32(x[t * depth + k]!) * inverse);
      values[t * depth + k] = nearestEven(Math.max(-127, Math.min(127, scaled)));
    }
  }
  return { values, scales };
}

/**
 * Widens little-endian numbers to f32.
 *
 * @param words the numbers as they lie in memory, four bytes at a time
 * @returns whether every value is finite: an exponent of all ones is NaN or infinity
 */
export function widen(
  words: Uint32Array,
  dtype: 'F32' | 'F16' | 'BF16',
  into: Float32Array,
): boolean {
  const to = new Uint32Array(into.buffer, into.byteOffset, into.length);
  if (dtype === 'F32') return copyWords(words, to);
  if (dtype === 'BF16') return widenBfloats(words, to);
  const halves = new Uint16Array(words.buffer, words.byteOffset, into.length);
  let allFinite = true;
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!;
    if ((half & 0x7c00) === 0x7c00) allFinite = false;
    into[i] = halfToFloat(half);
  }
  return allFinite;
}

function copyWords(words: Uint32Array, to: Uint32Array): boolean {
  let allFinite = true;
  for (let i = 0; i < to.length; i++) {
    const word = words[i]!;
    if ((word & 0x7f800000) === 0x7f800000) allFinite = false;
    to[i] = word;
  }
  return allFinite;
}

/** Two at a time: the first is the lower half of a word. */
function widenBfloats(words: Uint32Array, to: Uint32Array): boolean {
  let allFinite = true;
  const pairs = to.length >> 1;
  for (let i = 0; i < pairs; i++) {
    const pair = words[i]!;
    if ((pair & 0x7f80) === 0x7f80 || (pair & 0x7f800000) === 0x7f800000) allFinite = false;
    to[2 * i] = pair << 16;
    to[2 * i + 1] = pair & 0xffff0000;
  }
  if (to.length % 2 === 0) return allFinite;
  const last = words[pairs]! & 0xffff;
  to[2 * pairs] = last << 16;
  return allFinite && (last & 0x7f80) !== 0x7f80;
}
