// Products over the formats in which matrices may stay in memory, in plain TypeScript: the oracle of
// the kernels' int8 products, bit for bit.
import { halfToFloat, int8Rows, toHalf } from '../model/numbers.ts';
import { matmulTransposed } from './ops.ts';

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

/** Rows as int8 keeps them: each integer times its row's scale, in f32. */
export function int8Kept(w: ArrayLike<number>, rows: number, depth: number): Float32Array {
  const { values, scales } = int8Rows(w, rows, depth);
  return Float32Array.from(values, (value, i) => f32(value * scales[Math.floor(i / depth)]!));
}

/**
 * Products for a loss whose slopes are the gradients of training over an int8 base. In the first pass
 * each is `int8Product`, and what it took and gave is kept; in later passes over the same text it is
 * what it gave plus (x - what it took) W^T with W as int8 keeps it: rounding counts as the identity.
 * Call `rewind` before each pass.
 */
export function straightThroughProducts(): {
  readonly product: typeof int8Product;
  readonly rewind: () => void;
} {
  const seen: { x: Float64Array; y: Float64Array; kept: Float32Array }[] = [];
  let next = 0;
  return {
    rewind: () => {
      next = 0;
    },
    product(x, w, m, n, depth) {
      const known = seen[next++];
      if (known === undefined) {
        const y = int8Product(x, w, m, n, depth);
        seen.push({ x: Float64Array.from(x), y: y.slice(), kept: int8Kept(w, n, depth) });
        return y;
      }
      const moved = known.x.map((value, i) => x[i]! - value);
      const change = matmulTransposed(moved, known.kept, m, n, depth);
      return known.y.map((value, i) => value + change[i]!);
    },
  };
}

/** x as binary16 keeps it. */
export const roundedToHalf = (x: number): number => halfToFloat(toHalf(x));
