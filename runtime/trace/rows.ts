// The kernels' row operations (runtime/kernels/ops.h) as operations of a program: norms, rotation,
// SwiGLU, softmax and cross-entropy, forward and backward.
import type { Machine, Run } from './machine.ts';
import { exp, foldLanes, LANES, laneTotal, larger, log, rowDot, sine, total } from './maths.ts';
import type { Builder, Tensor, Values } from './program.ts';

const run = (of: ArrayLike<number>, at: number): Run => ({ of, at, step: 1 });

/** rows x width, each row a tile where the row is one sum. */
export type Shape = { readonly rows: number; readonly width: number };

export function add(b: Builder, name: string, x: Tensor, y: Tensor): Tensor {
  return b.each(name, x.length, [x, y], (m, [left, right], i) => m.add(left![i]!, right![i]!));
}

/** 1 / rms of every row, and the rows times it and the weight. */
export function rmsnorm(
  b: Builder,
  name: string,
  x: Tensor,
  weight: Tensor,
  { rows, width }: Shape,
  eps: number,
): { y: Tensor; inverse: Tensor } {
  const inverse = b.each(
    `${name}.inverse`,
    rows,
    [x],
    (m, [values], row) => {
      const at = run(values!, row * width);
      const mean = m.divide(rowDot(m, at, at, width), width);
      return m.divide(1, m.squareRoot(m.add(mean, Math.fround(eps))));
    },
    { tile: 1 },
  );
  const y = b.each(name, rows * width, [x, inverse, weight], (m, [values, scales, by], i) =>
    m.multiply(m.multiply(values![i]!, scales![Math.floor(i / width)]!), by![i % width]!),
  );
  return { y, inverse };
}

/** residual + d(rmsnorm) * dy; without a residual, 0 + it. `normed` is x / rms, for the weight. */
export function rmsnormBackward(
  b: Builder,
  name: string,
  of: { dy: Tensor; x: Tensor; inverse: Tensor; weight: Tensor; residual?: Tensor },
  { rows, width }: Shape,
): Tensor {
  const { dy, x, inverse, weight, residual } = of;
  const weighted = b.each(`${name}.weighted`, dy.length, [dy, weight], (m, [g, w], i) =>
    m.multiply(g![i]!, w![i % width]!),
  );
  const pull = b.each(
    `${name}.pull`,
    rows,
    [weighted, x, inverse],
    (m, [g, values, scales], row) => {
      const scale = scales![row]!;
      const sum = rowDot(m, run(g!, row * width), run(values!, row * width), width);
      const cubed = m.multiply(m.multiply(sum, scale), m.multiply(scale, scale));
      return m.divide(cubed, width);
    },
    { tile: 1 },
  );
  const reads = [weighted, inverse, x, pull, ...(residual === undefined ? [] : [residual])];
  return b.each(name, dy.length, reads, (m, [g, scales, values, pulls, rest], i) => {
    const row = Math.floor(i / width);
    const own = m.multiply(g![i]!, scales![row]!);
    const change = m.subtract(own, m.multiply(values![i]!, pulls![row]!));
    return m.add(rest === undefined ? 0 : rest[i]!, change);
  });
}

/** start + the sum over rows, ascending, of dy * x / rms: the gradient of a norm's weight. */
export function normWeightGradient(
  b: Builder,
  name: string,
  of: { dy: Tensor; x: Tensor; inverse: Tensor; start: Tensor },
  { rows, width }: Shape,
): Tensor {
  const { dy, x, inverse, start } = of;
  const normed = b.each(`${name}.normed`, x.length, [x, inverse], (m, [values, scales], i) =>
    m.multiply(values![i]!, scales![Math.floor(i / width)]!),
  );
  return b.each(name, width, [dy, normed, start], (m, [g, values, before], column) => {
    const column_ = (array: Values) => ({ of: array, at: column, step: width });
    return m.dot(before![column]!, column_(g!), column_(values!), rows);
  });
}

/** start + rows of x added in the order given, per column. */
export function sumRows(
  b: Builder,
  name: string,
  x: Tensor,
  start: Tensor,
  { rows, width }: Shape,
): Tensor {
  return b.each(name, width, [x, start], (m, [values, before], column) =>
    total(m, before![column]!, { of: values!, at: column, step: width }, rows),
  );
}

/** cos then sin of position * frequency, times scale: a row of 2 * half numbers per position. */
export function ropeTable(
  b: Builder,
  frequencies: Tensor,
  positions: number,
  scale: number,
): Tensor {
  const half = frequencies.length;
  return b.each(
    'rope.table',
    positions * 2 * half,
    [frequencies],
    (m, [by], i) => {
      const position = Math.floor(i / (2 * half));
      const angle = m.widen(m.multiply(position, by![i % half]!));
      const quarter = i % (2 * half) < half ? 1 : 0;
      return m.multiply(m.narrow(sine(m, angle, quarter)), Math.fround(scale));
    },
    { tile: 16 },
  );
}

/** Every head of every row turned by its position; direction -1 turns it back. */
export function rope(
  b: Builder,
  name: string,
  x: Tensor,
  table: Tensor,
  { rows, width }: Shape,
  dim: number,
  direction: 1 | -1,
): Tensor {
  const half = dim / 2;
  return b.each(name, rows * width, [x, table], (m, [values, turns], i) => {
    const at = Math.floor(i / width) * dim + (i % half);
    const cosine = turns![at]!;
    const s = m.multiply(turns![at + half]!, direction);
    if (i % dim < half) {
      return m.subtract(m.multiply(values![i]!, cosine), m.multiply(values![i + half]!, s));
    }
    return m.add(m.multiply(values![i]!, cosine), m.multiply(values![i - half]!, s));
  });
}

/** silu(gate) * up. */
export function swiglu(b: Builder, name: string, gate: Tensor, up: Tensor): Tensor {
  return b.each(name, gate.length, [gate, up], (m, [g, u], i) => {
    const bottom = m.add(exp(m, m.multiply(g![i]!, -1)), 1);
    return m.multiply(m.divide(g![i]!, bottom), u![i]!);
  });
}

export function swigluBackward(
  b: Builder,
  name: string,
  dproduct: Tensor,
  gate: Tensor,
  up: Tensor,
): { dgate: Tensor; dup: Tensor } {
  const length = gate.length;
  const sigmoid = b.each(`${name}.sigmoid`, length, [gate], (m, [g], i) =>
    m.divide(1, m.add(exp(m, m.multiply(g![i]!, -1)), 1)),
  );
  const dup = b.each(`${name}.dup`, length, [dproduct, gate, sigmoid], (m, [d, g, s], i) =>
    m.multiply(d![i]!, m.multiply(g![i]!, s![i]!)),
  );
  const reads = [dproduct, gate, sigmoid, up];
  const dgate = b.each(`${name}.dgate`, length, reads, (m, [d, g, s, u], i) => {
    const slope = m.add(m.multiply(m.subtract(1, s![i]!), g![i]!), 1);
    return m.multiply(m.multiply(d![i]!, u![i]!), m.multiply(s![i]!, slope));
  });
  return { dgate, dup };
}

const roundUp = (n: number) => Math.ceil(n / LANES) * LANES;

/**
 * The kernels' softmax of row * scale over entries first..length - 1; all others become zero. What
 * the kernels put beside the window takes part in the search for the largest entry.
 */
export function windowSoftmax(
  m: Machine,
  row: Values,
  out: Values,
  window: { readonly first: number; readonly length: number },
  scale: number,
): void {
  const skip = window.first - (window.first % LANES);
  const first = window.first - skip;
  const length = window.length - skip;
  const used = roundUp(length);
  const scaled = Float32Array.from({ length: used }, (_, i) =>
    m.multiply(row[skip + (i < first || i >= length ? first : i)]!, scale),
  );
  const start = m.multiply(row[skip + first]!, scale);
  const tops = new Float32Array(LANES).fill(start);
  for (const [i, value] of scaled.entries()) tops[i % LANES] = larger(m, value, tops[i % LANES]!);
  const top = topOf(m, tops, 0);
  out.fill(0);
  for (let i = first; i < length; i++) out[skip + i] = exp(m, m.subtract(scaled[i]!, top));
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    laneTotal(m, lane, run(out, skip), used),
  );
  const inverse = m.divide(1, foldLanes(m, lanes));
  for (let i = skip; i < skip + used; i++) out[i] = m.multiply(out[i]!, inverse);
}

function topOf(m: Machine, tops: Values, at: number): number {
  let best = tops[at]!;
  for (let lane = 1; lane < LANES; lane++) best = larger(m, tops[at + lane]!, best);
  return best;
}

/** probs * (dprobs - sum(probs * dprobs)) * scale of a row of which `length` entries count. */
export function softmaxBackward(
  m: Machine,
  probs: Run,
  dprobs: Run,
  out: Values,
  length: number,
  scale: number,
): void {
  const dot = rowDot(m, probs, dprobs, roundUp(length));
  out.fill(0);
  for (let i = 0; i < length; i++) {
    const rest = m.subtract(dprobs.of[dprobs.at + i]!, dot);
    out[i] = m.multiply(m.multiply(probs.of[probs.at + i]!, rest), scale);
  }
}

/**
 * Of logits [rows, vocab]: the log-probability of each row's target (binary64), and with a weight
 * weight * (softmax - onehot).
 */
export function crossEntropy(
  b: Builder,
  name: string,
  logits: Tensor,
  targets: readonly number[],
  weight?: number,
): { logprobs: Tensor; gradient?: Tensor } {
  const rows = targets.length;
  const vocab = logits.length / rows;
  const byRow = { tile: 1 };
  const tops = b.each(
    `${name}.lane_tops`,
    rows * LANES,
    [logits],
    (m, [of], i) => {
      const row = Math.floor(i / LANES) * vocab;
      let best = of![row + (i % LANES)]!;
      for (let k = (i % LANES) + LANES; k < vocab; k += LANES)
        best = larger(m, of![row + k]!, best);
      return best;
    },
    byRow,
  );
  const top = b.each(`${name}.top`, rows, [tops], (m, [of], i) => topOf(m, of!, i * LANES), byRow);
  const powers = b.each(`${name}.exp`, logits.length, [logits, top], (m, [of, most], i) =>
    exp(m, m.subtract(of![i]!, most![Math.floor(i / vocab)]!)),
  );
  const lanes = b.each(
    `${name}.lane_sums`,
    rows * LANES,
    [powers],
    (m, [of], i) => laneTotal(m, i % LANES, run(of!, Math.floor(i / LANES) * vocab), vocab),
    byRow,
  );
  const sum = b.each(
    `${name}.sum`,
    rows,
    [lanes],
    (m, [of], i) => foldLanes(m, of!.subarray(i * LANES, (i + 1) * LANES)),
    byRow,
  );
  const logprobs = b.each(
    `${name}.logprob`,
    rows,
    [logits, top, sum],
    (m, [of, most, sums], i) => {
      const above = m.subtract(of![i * vocab + targets[i]!]!, most![i]!);
      return m.wideSubtract(m.widen(above), log(m, m.widen(sums![i]!)));
    },
    { tile: 1, wide: true },
  );
  if (weight === undefined) return { logprobs };
  const factor = b.each(
    `${name}.factor`,
    rows,
    [sum],
    (m, [of], i) => m.divide(weight, of![i]!),
    byRow,
  );
  const gradient = b.each(name, logits.length, [powers, factor], (m, [of, by], i) => {
    const row = Math.floor(i / vocab);
    const share = m.multiply(of![i]!, by![row]!);
    return i % vocab === targets[row] ? m.subtract(share, weight) : share;
  });
  return { logprobs, gradient };
}
