// The operations that every pass is made of, each exactly one step that StepJudge can recompute. A
// Machine only computes; a Recorder also shows each step, so that values and steps have one source.
import { OPERATION, SLICE_MAX, type Step, type StepOperation } from './step.ts';

const { fround } = Math;
const shared = new Float32Array(1);
const sharedBits = new Int32Array(shared.buffer);
const wide = new Float64Array(1);
const wideBits = new BigUint64Array(wide.buffer);

const canonicalFloat = 0x7fc00000;
const canonicalDouble = 0x7ff8000000000000n;

/** Numbers that lie at equal distances in an array. */
export type Run = { readonly of: ArrayLike<number>; readonly at: number; readonly step: number };

/** binary32 where nothing else is said; every number passed in is already one. */
export class Machine {
  add(a: number, b: number): number {
    return fround(a + b);
  }
  subtract(a: number, b: number): number {
    return fround(a - b);
  }
  multiply(a: number, b: number): number {
    return fround(a * b);
  }
  divide(a: number, b: number): number {
    return fround(a / b);
  }
  squareRoot(a: number): number {
    return fround(Math.sqrt(a));
  }
  /** 1 or 0. */
  less(a: number, b: number): number {
    return a < b ? 1 : 0;
  }
  select(condition: number, yes: number, no: number): number {
    return condition === 0 ? no : yes;
  }
  /** 2^n of 1.5 * 2^23 + n, for n from -126 to 127: the bits of n moved to the exponent. */
  powerOfTwo(shifted: number): number {
    shared[0] = shifted;
    if (Number.isNaN(shifted)) sharedBits[0] = canonicalFloat;
    sharedBits[0] = (sharedBits[0]! - (0x4b400000 - 127)) << 23;
    return shared[0]!;
  }
  /** sum + products in turn, each rounded before it is added. */
  dot(sum: number, left: Run, right: Run, count: number): number {
    let total = sum;
    const { of: a, step: aStep } = left;
    const { of: b, step: bStep } = right;
    let i = left.at;
    let j = right.at;
    for (let k = 0; k < count; k++, i += aStep, j += bStep) {
      total = fround(total + fround(a[i]! * b[j]!));
    }
    return total;
  }

  wideAdd(a: number, b: number): number {
    return a + b;
  }
  wideSubtract(a: number, b: number): number {
    return a - b;
  }
  wideMultiply(a: number, b: number): number {
    return a * b;
  }
  wideDivide(a: number, b: number): number {
    return a / b;
  }
  wideSquareRoot(a: number): number {
    return Math.sqrt(a);
  }
  /** 1 or 0. */
  wideLess(a: number, b: number): number {
    return a < b ? 1 : 0;
  }
  wideSelect(condition: number, yes: number, no: number): number {
    return condition === 0 ? no : yes;
  }
  /** binary32 to binary64. */
  widen(a: number): number {
    return a;
  }
  /** binary64 to the nearest binary32. */
  narrow(a: number): number {
    return fround(a);
  }
  /** The exponent of a normal binary64 number, unbiased, as binary64. */
  wideExponent(a: number): number {
    return Number((bitsOf(a) >> 52n) & 0x7ffn) - 1023;
  }
  /** The significand of a normal binary64 number, from 1 to below 2. */
  wideSignificand(a: number): number {
    wideBits[0] = (bitsOf(a) & 0xfffffffffffffn) | 0x3ff0000000000000n;
    return wide[0]!;
  }
  /** binary64 sum + products of binary32 numbers in turn; such a product is exact. */
  wideDot(sum: number, left: Run, right: Run, count: number): number {
    let total = sum;
    for (let k = 0; k < count; k++) {
      total += left.of[left.at + k * left.step]! * right.of[right.at + k * right.step]!;
    }
    return total;
  }
}

function bitsOf(a: number): bigint {
  wide[0] = a;
  return Number.isNaN(a) ? canonicalDouble : wideBits[0]!;
}

/** A machine that shows every step as it is taken. */
export class Recorder extends Machine {
  readonly #show: (step: Step) => void;

  constructor(show: (step: Step) => void) {
    super();
    this.#show = show;
  }

  /** Every result passes here; what comes back is what the pass goes on with. */
  protected take(operation: StepOperation, operands: readonly number[], result: number): number {
    this.#show({ operation, operands, result });
    return result;
  }

  override add(a: number, b: number): number {
    return this.take(OPERATION.Add, [a, b], super.add(a, b));
  }
  override subtract(a: number, b: number): number {
    return this.take(OPERATION.Subtract, [a, b], super.subtract(a, b));
  }
  override multiply(a: number, b: number): number {
    return this.take(OPERATION.Multiply, [a, b], super.multiply(a, b));
  }
  override divide(a: number, b: number): number {
    return this.take(OPERATION.Divide, [a, b], super.divide(a, b));
  }
  override squareRoot(a: number): number {
    return this.take(OPERATION.SquareRoot, [a], super.squareRoot(a));
  }
  override less(a: number, b: number): number {
    return this.take(OPERATION.Less, [a, b], super.less(a, b));
  }
  override select(condition: number, yes: number, no: number): number {
    return this.take(OPERATION.Select, [condition, yes, no], super.select(condition, yes, no));
  }
  override powerOfTwo(shifted: number): number {
    return this.take(OPERATION.PowerOfTwo, [shifted], super.powerOfTwo(shifted));
  }
  override dot(sum: number, left: Run, right: Run, count: number): number {
    return this.#slices(OPERATION.Dot, sum, left, right, count, (part, a, b, length) =>
      super.dot(part, a, b, length),
    );
  }
  override wideAdd(a: number, b: number): number {
    return this.take(OPERATION.WideAdd, [a, b], super.wideAdd(a, b));
  }
  override wideSubtract(a: number, b: number): number {
    return this.take(OPERATION.WideSubtract, [a, b], super.wideSubtract(a, b));
  }
  override wideMultiply(a: number, b: number): number {
    return this.take(OPERATION.WideMultiply, [a, b], super.wideMultiply(a, b));
  }
  override wideDivide(a: number, b: number): number {
    return this.take(OPERATION.WideDivide, [a, b], super.wideDivide(a, b));
  }
  override wideSquareRoot(a: number): number {
    return this.take(OPERATION.WideSquareRoot, [a], super.wideSquareRoot(a));
  }
  override wideLess(a: number, b: number): number {
    return this.take(OPERATION.WideLess, [a, b], super.wideLess(a, b));
  }
  override wideSelect(condition: number, yes: number, no: number): number {
    const result = super.wideSelect(condition, yes, no);
    return this.take(OPERATION.WideSelect, [condition, yes, no], result);
  }
  override widen(a: number): number {
    return this.take(OPERATION.Widen, [a], super.widen(a));
  }
  override narrow(a: number): number {
    return this.take(OPERATION.Narrow, [a], super.narrow(a));
  }
  override wideExponent(a: number): number {
    return this.take(OPERATION.WideExponent, [a], super.wideExponent(a));
  }
  override wideSignificand(a: number): number {
    return this.take(OPERATION.WideSignificand, [a], super.wideSignificand(a));
  }
  override wideDot(sum: number, left: Run, right: Run, count: number): number {
    return this.#slices(OPERATION.WideDot, sum, left, right, count, (part, a, b, length) =>
      super.wideDot(part, a, b, length),
    );
  }

  #slices(
    operation: StepOperation,
    sum: number,
    left: Run,
    right: Run,
    count: number,
    compute: (sum: number, left: Run, right: Run, count: number) => number,
  ): number {
    let total = sum;
    for (let from = 0; from < count; from += SLICE_MAX) {
      const length = Math.min(SLICE_MAX, count - from);
      const a = { ...left, at: left.at + from * left.step };
      const b = { ...right, at: right.at + from * right.step };
      const operands = [total];
      for (const { of, at, step } of [a, b]) {
        for (let k = 0; k < length; k++) operands.push(of[at + k * step]!);
      }
      total = this.take(operation, operands, compute(total, a, b, length));
    }
    return total;
  }
}
