// The kernels' exp, log, sin and cos (runtime/kernels/maths.h) and their sums over eight lanes, as
// steps of a machine: the same operations in the same order, so the same bits.
import type { Machine, Run } from './machine.ts';

const f = Math.fround;
const ONE: Run = { of: Float32Array.of(1), at: 0, step: 0 };

/** Lanes of the kernels' row sums: entry i of a row belongs to lane i mod 8. */
export const LANES = 8;

/** The one order in which eight lanes become a number. */
export function fold(add: (a: number, b: number) => number, v: ArrayLike<number>): number {
  const even = add(add(v[0]!, v[4]!), add(v[2]!, v[6]!));
  const odd = add(add(v[1]!, v[5]!), add(v[3]!, v[7]!));
  return add(even, odd);
}

/** fold in binary32. */
export function foldLanes(m: Machine, v: ArrayLike<number>): number {
  return fold((a, b) => m.add(a, b), v);
}

/** One lane's sum of products; `count` is the length of the row, a multiple of eight. */
export function laneDot(m: Machine, lane: number, left: Run, right: Run, count: number): number {
  const of = (run: Run) => ({ of: run.of, at: run.at + lane * run.step, step: LANES * run.step });
  return m.dot(0, of(left), of(right), count / LANES);
}

/** Sum of products over a row in eight lanes. */
export function rowDot(m: Machine, left: Run, right: Run, count: number): number {
  return foldLanes(
    m,
    Array.from({ length: LANES }, (_, lane) => laneDot(m, lane, left, right, count)),
  );
}

/** start + the run's numbers in turn: times one each, which changes nothing. */
export function total(m: Machine, start: number, run: Run, count: number): number {
  return m.dot(start, run, ONE, count);
}

/** One lane's plain sum. */
export function laneTotal(m: Machine, lane: number, run: Run, count: number): number {
  return laneDot(m, lane, run, ONE, count);
}

/** The number itself, as a step. */
export function copy(m: Machine, a: number): number {
  return m.select(1, a, a);
}

/** The larger of a and b, b when neither is. */
export function larger(m: Machine, a: number, b: number): number {
  return m.select(m.less(b, a), a, b);
}

const plus = (m: Machine, a: number, b: number, c: number) => m.add(m.multiply(a, b), c);

const LOG2_E = f(Math.LOG2E);
const SHIFT = 12582912;
const LN2_HIGH = f(0.693359375);
const LN2_LOW = f(-2.1219444e-4);
const EXP = [
  ...[1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2],
  ...[1.6666665459e-1, 5.0000001201e-1],
].map(f);

/** exp8. */
export function exp(m: Machine, of: number): number {
  let x = m.select(m.less(88, of), 88, of);
  x = m.select(m.less(x, -87), -87, x);
  const shifted = plus(m, x, LOG2_E, SHIFT);
  const n = m.subtract(shifted, SHIFT);
  const r = m.subtract(m.subtract(x, m.multiply(n, LN2_HIGH)), m.multiply(n, LN2_LOW));
  let p = EXP[0]!;
  for (const next of EXP.slice(1)) p = plus(m, p, r, next);
  p = m.add(plus(m, p, m.multiply(r, r), r), 1);
  return m.multiply(p, m.powerOfTwo(shifted));
}

const WIDE_SHIFT = 6755399441055744;

function roundWide(m: Machine, x: number): number {
  return m.wideSubtract(m.wideAdd(x, WIDE_SHIFT), WIDE_SHIFT);
}

/** log64. */
export function log(m: Machine, x: number): number {
  const whole = m.wideExponent(x);
  const part = m.wideSignificand(x);
  const isHigh = m.wideLess(Math.SQRT2, part);
  const exponent = m.wideSelect(isHigh, m.wideAdd(whole, 1), whole);
  const fraction = m.wideSelect(isHigh, m.wideMultiply(part, 0.5), part);
  const s = m.wideDivide(m.wideSubtract(fraction, 1), m.wideAdd(fraction, 1));
  const square = m.wideMultiply(s, s);
  let series = 0;
  for (let i = 23; i >= 1; i -= 2) series = m.wideAdd(m.wideMultiply(series, square), 1 / i);
  const low = m.wideAdd(
    m.wideMultiply(exponent, 1.9082149292705877e-10),
    m.wideMultiply(m.wideMultiply(2, s), series),
  );
  const value = m.wideAdd(low, m.wideMultiply(exponent, 6.9314718036912382e-1));
  return m.wideSelect(m.wideLess(0, x), value, Number.NEGATIVE_INFINITY);
}

/** sin64: the sine when quarter is 0, the cosine when it is 1. */
export function sine(m: Machine, x: number, quarter: number): number {
  const n = roundWide(m, m.wideMultiply(x, 0.6366197723675814));
  let r = m.wideSubtract(x, m.wideMultiply(n, 1.5707963267341256));
  r = m.wideSubtract(r, m.wideMultiply(n, 6.077100506303966e-11));
  r = m.wideSubtract(r, m.wideMultiply(n, 2.0222662487959506e-21));
  // The quarter turn modulo four; three halves below it, no quotient is a tie.
  const turns = m.wideAdd(n, quarter);
  const fours = roundWide(m, m.wideMultiply(m.wideSubtract(turns, 1.5), 0.25));
  const turn = m.wideSubtract(turns, m.wideMultiply(4, fours));
  const square = m.wideMultiply(r, r);
  const series = (first: number) => {
    let p = 1;
    for (let i = first; i >= 2; i -= 2) {
      p = m.wideSubtract(1, m.wideMultiply(p, m.wideDivide(square, i * (i - 1))));
    }
    return p;
  };
  const cosines = series(18);
  const sines = m.wideMultiply(series(19), r);
  const isBack = m.wideLess(1.5, turn);
  const half = m.wideSubtract(turn, m.wideSelect(isBack, 2, 0));
  const p = m.wideSelect(m.wideLess(0.5, half), cosines, sines);
  return m.wideSelect(isBack, m.wideMultiply(p, -1), p);
}
