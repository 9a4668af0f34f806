/**
 * Integer arithmetic on sketches of gradients: 256 numbers of 8 bits. From here on everything about
 * influence is exact, so that a contract can recompute it (docs/protocol.md, section 4).
 */

/** Numbers in a sketch, and bytes: each is one signed byte. */
export const SKETCH_SIZE = 256;
const COSINE_ONE = 65_536n;

/** Σ aᵢ·bᵢ, exact: at most 256·128² < 2^23. @throws RangeError if the lengths differ. */
export function dotProduct(a: Int8Array, b: Int8Array): number {
  if (a.length !== b.length) {
    throw new RangeError(`dot: expected ${a.length} numbers, got ${b.length}`);
  }
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/** Σ aᵢ², exact. */
export function squaredNorm(a: Int8Array): number {
  return dotProduct(a, a);
}

/**
 * ⌊√value⌋ by Newton's method from above, which is exact for integers.
 * @throws RangeError if the value is negative.
 */
export function integerSqrt(value: bigint): bigint {
  if (value < 0n) throw new RangeError(`isqrt: expected at least 0, got ${value}`);
  if (value < 2n) return value;
  // A power of two at or above the root: the sequence falls until it stands on the floor.
  let root = 1n << BigInt((value.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/**
 * The cosine in Q16: `(dot · 2^16) / isqrt(normA · normB)`, divided as the chain divides signed
 * integers (towards zero); 0 where a norm is 0. Not above 2^16 but by the floor of the root.
 */
export function cosineQ16(dot: number, normA: number, normB: number): number {
  const root = integerSqrt(BigInt(normA) * BigInt(normB));
  return root === 0n ? 0 : Number((BigInt(dot) * COSINE_ONE) / root);
}

/** `dot > 0` and `dot² · b² ≥ a² · normA · normB`: the cosine reaches τ = a/b, without a division. */
export function passesThreshold(
  dot: number,
  normA: number,
  normB: number,
  numerator: number,
  denominator: number,
): boolean {
  if (dot <= 0) return false;
  const left = BigInt(dot) ** 2n * BigInt(denominator) ** 2n;
  return left >= BigInt(numerator) ** 2n * BigInt(normA) * BigInt(normB);
}

/** The sketch as the bytes that are hashed (two's complement); a copy. */
export function sketchBytes(sketch: Int8Array): Uint8Array {
  return new Uint8Array(sketch);
}

/** The sketch in bytes; a copy. @throws RangeError if they are not 256. */
export function sketchFromBytes(bytes: Uint8Array): Int8Array {
  if (bytes.length !== SKETCH_SIZE) {
    throw new RangeError(`sketch: expected ${SKETCH_SIZE} bytes, got ${bytes.length}`);
  }
  // Element by element, modulo 2^8: right for a view into a larger buffer, too.
  return new Int8Array(bytes);
}
