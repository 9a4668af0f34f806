/**
 * The seeded sparse Johnson-Lindenstrauss projection of gradients to a sketch, and its quantiser.
 * Bucket and sign come from exact 32-bit integer arithmetic, the sums are float64 in a stated order:
 * whoever has the same gradient bits gets the same sketch bytes. The arithmetic can be written
 * again, step for step, in C or WGSL; the vectors in crypto/vectors/projection.json say what to get.
 */

/** Adds weighted values to buckets and turns buckets into a sketch. */
export type Projection = {
  readonly size: number;
  readonly nonZeros: number;
  /**
   * For i = 0, 1, …: `value = values[i] · scale` (float64), then for each of its `nonZeros` draws in
   * order `buckets[b] += ±value`. The flat index of values[i] is `flatIndexStart + i`, as u32.
   */
  readonly add: (
    buckets: Float64Array | Float32Array,
    flatIndexStart: number,
    values: ArrayLike<number>,
    scale: number,
  ) => void;
};

/** 2^32 / golden ratio: between two draws for one index the state moves on by this constant. */
const DRAW_STEP = 0x9e3779b9;
const INT8_MAX = 127;

/**
 * A bijection of u32 in which each bit of the input reaches each bit of the output: xor-shifts by
 * 16, 15, 16 and products with two odd constants found by search for least bias (lowbias32).
 */
export function mix32(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/**
 * The projection of a seed: for flat index t, `h = mix32(t ⊕ seed)`; `nonZeros` times: bucket
 * `h mod size`, sign − where the top bit is set, `h = mix32(h + 0x9e3779b9)`. Not scaled by
 * 1/√nonZeros: the quantiser divides by the largest bucket anyway.
 * @param seed u32
 * @param size buckets, a power of two up to 65,536, so that the modulus is a mask
 * @param nonZeros buckets that each value is added to
 */
export function createProjection(seed: number, size = 256, nonZeros = 4): Projection {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new RangeError(`projection: expected a seed of 32 bits, got ${seed}`);
  }
  if (!Number.isInteger(Math.log2(size)) || size < 1 || size > 65_536) {
    throw new RangeError(`projection: expected a power of two up to 65536, got ${size}`);
  }
  if (!Number.isInteger(nonZeros) || nonZeros < 1) {
    throw new RangeError(`projection: expected at least one draw, got ${nonZeros}`);
  }
  const mask = size - 1;
  return {
    size,
    nonZeros,
    add: (buckets, flatIndexStart, values, scale) => {
      if (buckets.length !== size) {
        throw new RangeError(`projection: expected ${size} buckets, got ${buckets.length}`);
      }
      for (let i = 0; i < values.length; i += 1) {
        const value = (values[i] as number) * scale;
        let h = mix32((flatIndexStart + i) ^ seed);
        for (let draw = 0; draw < nonZeros; draw += 1) {
          const bucket = h & mask;
          const held = buckets[bucket] as number;
          buckets[bucket] = h >>> 31 === 0 ? held + value : held - value;
          h = mix32(h + DRAW_STEP);
        }
      }
    },
  };
}

/**
 * Absmax int8: with m the largest |bucket|, each becomes `±⌊(|bucket| / m) · 127 + 0.5⌋`, every
 * operation in float64 and in this order; halves go away from zero. All zeros stay zeros.
 * @throws RangeError if a bucket is not finite: the gradient was broken before it came here.
 */
export function quantise(buckets: ArrayLike<number>): Int8Array {
  let largest = 0;
  for (let i = 0; i < buckets.length; i += 1) {
    const size = Math.abs(buckets[i] as number);
    if (!Number.isFinite(size)) {
      throw new RangeError(`quantise: expected finite numbers, got ${buckets[i]} at ${i}`);
    }
    if (size > largest) largest = size;
  }
  const sketch = new Int8Array(buckets.length);
  if (largest === 0) return sketch;
  for (let i = 0; i < buckets.length; i += 1) {
    const bucket = buckets[i] as number;
    const step = Math.floor((Math.abs(bucket) / largest) * INT8_MAX + 0.5);
    sketch[i] = bucket < 0 ? -step : step;
  }
  return sketch;
}
