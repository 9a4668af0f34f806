/** Pairs of binary32 numbers of every awkward kind, and what TypeScript says that each operation gives on them. */
import { type Contract, getBytes, hexlify, id } from 'ethers';
import { createRandom } from '#crypto';

/** In the order of LibraryProbe.floats; the last three take the first of each pair. */
export const floatOperations = [
  'add',
  'sub',
  'mul',
  'div',
  'compare',
  'sqrt',
  'fromInt',
  'toInt',
] as const;
export type FloatOperation = (typeof floatOperations)[number];

const CANONICAL_NAN = 0x7fc00000;
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

export function fromBits(word: number): number {
  bits[0] = word;
  return float[0]!;
}

/** The bits of the nearest float, every NaN being the canonical one. */
export function toBits(value: number): number {
  if (Number.isNaN(value)) return CANONICAL_NAN;
  float[0] = Math.fround(value);
  return bits[0]!;
}

function order(a: number, b: number): number {
  if (a < b) return 0;
  if (a === b) return 1;
  return a > b ? 2 : 3;
}

/**
 * Doubles hold the sum, product, quotient and root of floats well enough that rounding twice gives what rounding once
 * does (53 >= 2 * 24 + 2), so Math.fround of them is the exactly rounded float.
 */
export function expected(operation: FloatOperation, left: number, right: number): number {
  const a = fromBits(left);
  const b = fromBits(right);
  switch (operation) {
    case 'add':
      return toBits(a + b);
    case 'sub':
      return toBits(a - b);
    case 'mul':
      return toBits(a * b);
    case 'div':
      return toBits(a / b);
    case 'compare':
      return order(a, b);
    case 'sqrt':
      return toBits(Math.sqrt(a));
    case 'fromInt':
      return toBits(left | 0);
    case 'toInt': {
      const whole = Number.isNaN(a) ? 0 : Math.trunc(a);
      return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, whole)) >>> 0;
    }
  }
}

const magnitudes = [
  0, // zero
  1, // smallest subnormal
  2,
  0x3fffff,
  0x7fffff, // largest subnormal
  0x800000, // smallest normal
  0x800001,
  0x00ffffff,
  0x33800000, // 2^-24, half a unit in the last place of 1
  0x33800001,
  0x34000000, // 2^-23
  0x3effffff,
  0x3f000000, // 0.5
  0x3f7fffff,
  0x3f800000, // 1
  0x3f800001,
  0x3fffffff,
  0x40000000, // 2
  0x40490fdb, // pi
  0x4b7fffff, // 2^24 - 1
  0x4b800000,
  0x4effffff, // largest below 2^31
  0x4f000000, // 2^31
  0x5f000000,
  0x7effffff,
  0x7f000000,
  0x7f7fffff, // largest finite
  0x7f800000, // infinity
  0x7f800001, // signalling NaN
  0x7fc00000, // canonical NaN
  0x7fffffff,
];

/** Words at which something changes, each with both signs. */
export const corners: readonly number[] = magnitudes.flatMap((word) => [
  word,
  (word | 0x80000000) >>> 0,
]);

/** One of eight kinds of pair out of 64 random bits. */
function pairOf(kind: number, a: number, b: number): readonly [number, number] {
  const sign = b & 0x80000000;
  const exponentNear = (steps: number) => ((a & 0x7f800000) + (steps << 23)) & 0x7f800000;
  switch (kind) {
    case 0: // Exponents at most one apart: cancellation.
      return [a, sign | exponentNear(b & 1) | (b & 0x7fffff)];
    case 1: // A few units apart.
      return [a, (a + (b % 9) - 4) ^ (b & 0x100 ? 0x80000000 : 0)];
    case 2: // Subnormal, or close to it.
      return [a & 0x80ffffff, b & 0x80ffffff];
    case 3:
      return [corners[a % corners.length]!, b];
    case 4: // Exponents up to 31 apart, few bits set: many exact halves.
      return [a & 0xff880001, sign | exponentNear(b & 0x1f) | (b & 0x480000)];
    case 5: // Around 1, as weights and activations are.
      return [(a & 0x83ffffff) | 0x3c000000, (b & 0x83ffffff) | 0x3c000000];
    default:
      return [a, b];
  }
}

/** `count` seeded pairs of all kinds in turn. */
export function* randomPairs(count: number, seed: string): Generator<[number, number]> {
  const random = createRandom(getBytes(id(seed)), 'floats');
  for (let i = 0; i < count; i += 1) {
    const [a, b] = pairOf(i % 8, random.uint32(), random.uint32());
    yield [a >>> 0, b >>> 0];
  }
}

/** Compares an operation with the contract's on all pairs; gives how many were compared and the first differences. */
export async function compareFloats(
  probe: Contract,
  operation: FloatOperation,
  pairs: readonly (readonly [number, number])[],
): Promise<{ compared: number; differences: string[] }> {
  const BATCH = 3_000;
  const differences: string[] = [];
  for (let from = 0; from < pairs.length; from += BATCH) {
    const batch = pairs.slice(from, from + BATCH);
    const input = new DataView(new ArrayBuffer(batch.length * 8));
    for (const [i, [a, b]] of batch.entries()) {
      input.setUint32(8 * i, a);
      input.setUint32(8 * i + 4, b);
    }
    const answer = getBytes(
      (await probe['floats']!(
        floatOperations.indexOf(operation),
        hexlify(new Uint8Array(input.buffer)),
      )) as string,
    );
    const output = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
    for (const [i, [a, b]] of batch.entries()) {
      const actual = output.getUint32(4 * i);
      const wanted = expected(operation, a, b);
      if (actual !== wanted && differences.length < 5)
        differences.push(describe(operation, a, b, actual, wanted));
    }
  }
  return { compared: pairs.length, differences };
}

function describe(operation: string, a: number, b: number, actual: number, wanted: number): string {
  const hex = (word: number) => `0x${word.toString(16).padStart(8, '0')}`;
  return `${operation}(${hex(a)}, ${hex(b)}) = ${hex(actual)}, not ${hex(wanted)}`;
}

const wideMagnitudes = [
  0n, // zero
  1n, // smallest subnormal
  0xfffffffffffffn, // largest subnormal
  0x10000000000000n, // smallest normal
  0x36a0000000000000n, // 2^-149, the smallest binary32
  0x369fffffffffffffn,
  0x380fffffffffffffn, // between binary32's subnormal and normal numbers
  0x3ca0000000000000n, // 2^-53, half a unit in the last place of 1
  0x3ff0000000000000n, // 1
  0x3ff0000010000000n, // half a binary32 unit above 1
  0x3ff0000010000001n,
  0x3ff5555555555555n,
  0x400921fb54442d18n, // pi
  0x4340000000000001n, // 2^53 + 2
  0x47efffffefffffffn, // the largest that narrows to a finite number
  0x47effffff0000000n,
  0x7fefffffffffffffn, // largest finite
  0x7ff0000000000000n, // infinity
  0x7ff8000000000000n, // canonical NaN
];

/** Pairs of binary64 words: corners of either sign, and neighbours of random ones. */
export function* wideCorners(): Generator<[bigint, bigint]> {
  const random = createRandom(getBytes(id('contracts/floats/wide')), 'floats');
  for (const [i, a] of wideMagnitudes.entries()) {
    for (const step of [1, 2, 7]) {
      const b = wideMagnitudes[(i * step + step) % wideMagnitudes.length]!;
      const signs = BigInt(random.below(4));
      yield [a | ((signs & 1n) << 63n), b | ((signs >> 1n) << 63n)];
    }
  }
  for (let i = 0; i < 24; i += 1) {
    const a = (BigInt((random.uint32() & 0x83ffffff) >>> 0) << 32n) | BigInt(random.uint32());
    const near = BigInt(random.below(9)) - 4n;
    yield [a | 0x3c00000000000000n, (a | 0x3c00000000000000n) + near];
  }
}
