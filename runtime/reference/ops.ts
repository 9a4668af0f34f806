// Every operation of the Llama graph in plain TypeScript and f64, one obvious loop each: the oracle
// that the kernels are held against. Matrices are row-major; shapes are in the comments.
import type { RopeScaling } from '../engine/rope.ts';

/** c[m, n] = a[m, k] b[n, k]^T. */
export function matmulTransposed(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  m: number,
  n: number,
  k: number,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let x = 0; x < k; x++) sum += a[i * k + x]! * b[j * k + x]!;
      c[i * n + j] = sum;
    }
  }
  return c;
}

/** y[rows, n] = x / sqrt(mean(x^2) + eps) * weight[n]. */
export function rmsnorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  rows: number,
  n: number,
  eps: number,
): Float64Array {
  const y = new Float64Array(rows * n);
  for (let t = 0; t < rows; t++) {
    let squares = 0;
    for (let i = 0; i < n; i++) squares += x[t * n + i]! ** 2;
    const inverse = 1 / Math.sqrt(squares / n + eps);
    for (let i = 0; i < n; i++) y[t * n + i] = x[t * n + i]! * inverse * weight[i]!;
  }
  return y;
}

/** Radians per position of each of dim / 2 pairs. */
export function ropeFrequencies(dim: number, theta: number, scaling?: RopeScaling): number[] {
  const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  if (scaling === undefined) return plain;
  const { factor } = scaling;
  if (scaling.type === 'linear') return plain.map((one) => one / factor);
  const turns = plain.map((one) => (scaling.originalContext * one) / (2 * Math.PI));
  if (scaling.type === 'llama3') {
    const { lowFactor, highFactor } = scaling;
    return plain.map((one, i) => {
      const share = (turns[i]! - lowFactor) / (highFactor - lowFactor);
      const kept = Math.min(1, Math.max(0, share));
      return one * kept + (one / factor) * (1 - kept);
    });
  }
  const pair = (n: number) =>
    (dim * Math.log(scaling.originalContext / (n * 2 * Math.PI))) / (2 * Math.log(theta));
  let [low, high] = [pair(scaling.betaFast), pair(scaling.betaSlow)];
  if (scaling.truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, dim - 1)];
  if (low === high) high += 0.001;
  return plain.map((one, i) => {
    const divided = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return one * (1 - divided) + (one / factor) * divided;
  });
}

/** Rotates x[rows, heads, dim] by position (row + start): pairs (i, i + dim / 2). */
export function rope(
  x: ArrayLike<number>,
  rows: number,
  heads: number,
  dim: number,
  frequencies: readonly number[],
  scale = 1,
  start = 0,
): Float64Array {
  const y = Float64Array.from(x);
  const half = dim / 2;
  for (let t = 0; t < rows; t++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < half; i++) {
        const angle = (t + start) * frequencies[i]!;
        const [cosine, sine] = [Math.cos(angle) * scale, Math.sin(angle) * scale];
        const at = (t * heads + h) * dim + i;
        const [a, b] = [x[at]!, x[at + half]!];
        y[at] = a * cosine - b * sine;
        y[at + half] = b * cosine + a * sine;
      }
    }
  }
  return y;
}

/** softmax of one row. */
export function softmax(row: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(row);
  const top = values.reduce((a, b) => Math.max(a, b));
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    values[i] = Math.exp(values[i]! - top);
    sum += values[i]!;
  }
  return values.map((value) => value / sum);
}

/** silu(gate) * up, elementwise. */
export function swiglu(gate: ArrayLike<number>, up: ArrayLike<number>): Float64Array {
  return Float64Array.from(gate, (g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
}

/**
 * Causal grouped-query attention: q[n, heads, dim], k and v[n, kvHeads, dim]. With a window each
 * row sees only that many positions, its own included.
 */
export function attention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  n: number,
  heads: number,
  kvHeads: number,
  dim: number,
  window = Number.POSITIVE_INFINITY,
): Float64Array {
  const out = new Float64Array(n * heads * dim);
  for (let h = 0; h < heads; h++) {
    const kv = Math.floor(h / (heads / kvHeads));
    for (let t = 0; t < n; t++) {
      const scores = new Float64Array(t + 1).fill(Number.NEGATIVE_INFINITY);
      for (let s = Math.max(0, t - window + 1); s <= t; s++) {
        let dot = 0;
        for (let i = 0; i < dim; i++) {
          dot += q[(t * heads + h) * dim + i]! * k[(s * kvHeads + kv) * dim + i]!;
        }
        scores[s] = dot / Math.sqrt(dim);
      }
      for (const [s, p] of softmax(scores).entries()) {
        for (let i = 0; i < dim; i++) {
          out[(t * heads + h) * dim + i]! += p * v[(s * kvHeads + kv) * dim + i]!;
        }
      }
    }
  }
  return out;
}

/** One AdamW update of a number; correction is 1 - beta^step. Returns [parameter, m, v]. */
export function adamw(
  p: number,
  g: number,
  m: number,
  v: number,
  rate: number,
  beta1: number,
  beta2: number,
  step: number,
  epsilon: number,
  decay: number,
): [number, number, number] {
  const first = beta1 * m + (1 - beta1) * g;
  const second = beta2 * v + (1 - beta2) * g * g;
  const mean = first / (1 - beta1 ** step);
  const spread = Math.sqrt(second / (1 - beta2 ** step));
  return [p - rate * (mean / (spread + epsilon) + decay * p), first, second];
}
