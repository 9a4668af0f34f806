// Products over the formats in which matrices may stay in memory, in plain TypeScript: the oracle of
// the kernels' int8 products, bit for bit.
import { halfToFloat, int8Rows, toHalf } from '../model/numbers.ts';

const f32 = Math.fround;

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

/** x as binary16 keeps it. */
export const roundedToHalf = (x: number): number => halfToFloat(toHalf(x));
