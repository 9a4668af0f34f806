// A counter-based integer generator: number i of a seed can be had without the ones before it, and
// integer arithmetic makes it the same on every machine.

/** 32 random bits of (seed, counter); both are taken modulo 2^32. */
export function randomBits(seed: number, counter: number): number {
  let x = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b);
  x = mix(x ^ (x >>> 15));
  x = mix((x + Math.imul(counter, 0x9e3779b1)) | 0);
  return mix(x ^ Math.imul(counter, 0xc2b2ae3d) ^ seed) >>> 0;
}

function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return x ^ (x >>> 16);
}

/** A number in [0, 1) with 24 random bits, exactly representable as f32. */
export function uniform(seed: number, counter: number): number {
  return (randomBits(seed, counter) >>> 8) / 16777216;
}

/** 0..count-1 shuffled by the seed (Fisher–Yates). */
export function permutation(seed: number, count: number): Uint32Array {
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  for (let i = count - 1; i > 0; i--) {
    const j = Number((BigInt(randomBits(seed, i)) * BigInt(i + 1)) >> 32n);
    const kept = order[i]!;
    order[i] = order[j]!;
    order[j] = kept;
  }
  return order;
}
