// The formats in which matrices may stay in memory, in plain TypeScript: the oracle of the kernels'
// rounding and of their int8 products, bit for bit.
import { halfToFloat } from '../model/numbers.ts';

const f32 = Math.fround;
/** Rows that small are taken as zero. */
const least = f32(1e-30);

/** Rows as int8 values with one f32 scale each; depth values per row. */
export type Int8Rows = { readonly values: Int8Array; readonly scales: Float32Array };

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

/** y[m, n] = a[m, depth] w[n, depth]^T: the exact sum of int8 products times both scales, in f32. */
export function int8Product(
  a: ArrayLike<number>,
  w: ArrayLike<number>,
  m: number,
  n: number,
  depth: number,
): Float64Array {
  const left = int8Rows(a, m, depth);
  const right = int8Rows(w, n, depth);
  const y = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < depth; k++) {
        sum += left.values[i * depth + k]! * right.values[j * depth + k]!;
      }
      y[i * n + j] = f32(f32(f32(sum) * left.scales[i]!) * right.scales[j]!);
    }
  }
  return y;
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

/** x as binary16 keeps it. */
export const roundedToHalf = (x: number): number => halfToFloat(toHalf(x));
