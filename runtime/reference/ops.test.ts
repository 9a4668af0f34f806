// Each kernel operation against the plain-TypeScript oracle, on WebAssembly.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Arena } from '../engine/arena.ts';
import { nativeStatus, openArena } from '../engine/backend.ts';
import { uniform } from '../engine/random.ts';
import * as scalars from '../engine/scalars.ts';
import * as reference from './ops.ts';

/** Largest |a - b| over the largest |b|. */
function error(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - expected[i]!));
    size = Math.max(size, Math.abs(expected[i]!));
  }
  assert.ok(!Number.isNaN(difference));
  return size === 0 ? difference : difference / size;
}

function random(count: number, seed: number, size = 1): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => (uniform(seed, i) * 2 - 1) * size);
}

function place(arena: Arena, values: Float32Array): number {
  const at = arena.allocate(values.byteLength);
  arena.f32(at, values.length).set(values);
  return at;
}

/** Directional derivative check of a backward against the f64 forward. */
function slope(
  forward: (x: Float64Array) => number,
  x: Float32Array,
  gradient: Float32Array,
  seed: number,
): number {
  const direction = random(x.length, seed);
  const step = 1e-5;
  const shifted = (by: number) => Float64Array.from(x, (value, i) => value + by * direction[i]!);
  const expected = (forward(shifted(step)) - forward(shifted(-step))) / (2 * step);
  const found = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
  return Math.abs(found - expected) / Math.max(1e-3, Math.abs(expected));
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};

test('matmul: every tile shape, both packings, within 2e-6', () => {
  const arena = openArena('wasm');
  for (const [m, n, k] of [
    [1, 8, 1],
    [1, 72, 40],
    [3, 16, 5],
    [7, 24, 300],
    [14, 40, 64],
    [25, 8, 520],
  ] as const) {
    const a = random(m * k, 1);
    const b = random(n * k, 2);
    const [at, bt] = [place(arena, a), place(arena, b)];
    const [c, scratch] = [arena.allocate(m * n * 4), arena.allocate(n * k * 4)];
    arena.call('op_matmul', c, at, bt, m, n, k, 1, scratch);
    const expected = reference.matmulTransposed(a, b, m, n, k);
    assert.ok(error(arena.f32(c, m * n), expected) < 2e-6, `${m} ${n} ${k}`);
    const turned = new Float32Array(n * k);
    for (let i = 0; i < n; i++) for (let j = 0; j < k; j++) turned[j * n + i] = b[i * k + j]!;
    arena.f32(bt, n * k).set(turned);
    arena.call('op_matmul', c, at, bt, m, n, k, 0, scratch);
    assert.ok(error(arena.f32(c, m * n), expected) < 2e-6, `${m} ${n} ${k} plain`);
  }
});

const native = nativeStatus();
test('matmul: the native build has the bits of WebAssembly at every number of rows and panels', {
  skip: native.usable ? false : native.reason,
}, () => {
  const k = 33;
  for (let m = 1; m <= 27; m++) {
    for (let n = 8; n <= 72; n += 8) {
      const [a, b] = [random(m * k, m), random(n * k, n)];
      const [first, second] = (['wasm', 'native'] as const).map((backend) => {
        const arena = openArena(backend);
        const [at, bt] = [place(arena, a), place(arena, b)];
        const [c, scratch] = [arena.allocate(m * n * 4), arena.allocate(n * k * 4)];
        arena.call('op_matmul', c, at, bt, m, n, k, 1, scratch);
        return arena.f32(c, m * n).slice();
      });
      assert.deepEqual(second, first, `${m} rows, ${n / 8} panels`);
    }
  }
});

test('exp: within 3e-7 relative on [-87, 88]', () => {
  const arena = openArena('wasm');
  const x = Float32Array.from({ length: 4096 }, (_, i) => -87 + (i * 175) / 4095);
  const [to, from] = [arena.allocate(x.byteLength), place(arena, x)];
  arena.call('op_exp', to, from, x.length);
  const y = arena.f32(to, x.length);
  for (const [i, value] of x.entries()) assert.ok(Math.abs(y[i]! / Math.exp(value) - 1) < 3e-7);
});

test('scalar exp, log, cos, sqrt: within 1e-15 relative or absolute', () => {
  for (let i = 0; i < 2000; i++) {
    const x = (uniform(5, i) - 0.5) * 200;
    assert.ok(Math.abs(scalars.exactExp(x) / Math.exp(x) - 1) < 2e-15);
    const p = Math.exp(x / 3);
    assert.ok(
      Math.abs(scalars.exactLog(p) - Math.log(p)) <= 1e-15 * Math.max(1, Math.abs(Math.log(p))),
    );
    assert.ok(Math.abs(scalars.exactCos(x * 5) - Math.cos(x * 5)) < 1e-15);
    assert.equal(scalars.exactSqrt(p), Math.sqrt(p));
  }
});

test('rmsnorm forward and backward', () => {
  const arena = openArena('wasm');
  const [rows, n, eps] = [5, 24, 1e-5];
  const [x, w, dy] = [random(rows * n, 1), random(n, 2), random(rows * n, 3)];
  const [y, inverse] = [arena.allocate(rows * n * 4), arena.allocate(rows * 4)];
  const [xt, wt, dyt] = [place(arena, x), place(arena, w), place(arena, dy)];
  arena.call('op_rmsnorm', y, xt, wt, rows, n, eps, inverse);
  assert.ok(error(arena.f32(y, rows * n), reference.rmsnorm(x, w, rows, n, eps)) < 1e-6);
  const [dx, dw] = [place(arena, new Float32Array(rows * n)), place(arena, new Float32Array(n))];
  arena.call('op_rmsnorm_backward', dx, dw, dyt, xt, inverse, wt, rows, n);
  const ofX = (v: Float64Array) => dot(reference.rmsnorm(v, w, rows, n, eps), dy);
  assert.ok(slope(ofX, x, arena.f32(dx, rows * n), 9) < 1e-4);
  const ofW = (v: Float64Array) => dot(reference.rmsnorm(x, v, rows, n, eps), dy);
  assert.ok(slope(ofW, w, arena.f32(dw, n), 8) < 1e-4);
});

test('swiglu forward and backward', () => {
  const arena = openArena('wasm');
  const n = 64;
  const [g, u, d] = [random(n, 1, 6), random(n, 2), random(n, 3)];
  const [to, gt, ut, dt] = [
    arena.allocate(n * 4),
    place(arena, g),
    place(arena, u),
    place(arena, d),
  ];
  arena.call('op_swiglu', to, gt, ut, n);
  assert.ok(error(arena.f32(to, n), reference.swiglu(g, u)) < 1e-6);
  const [dg, du] = [arena.allocate(n * 4), arena.allocate(n * 4)];
  arena.call('op_swiglu_backward', dg, du, dt, gt, ut, n);
  assert.ok(slope((v) => dot(reference.swiglu(v, u), d), g, arena.f32(dg, n), 7) < 1e-4);
  assert.ok(slope((v) => dot(reference.swiglu(g, v), d), u, arena.f32(du, n), 6) < 1e-4);
});

test('masked softmax forward and backward, at every length of two groups', () => {
  const arena = openArena('wasm');
  const scale = 0.25;
  for (let length = 1; length <= 16; length++) {
    const scores = random(24, length, 8);
    const row = place(arena, scores);
    arena.call('op_softmax', row, length, 24, scale);
    const probs = arena.f32(row, 24).slice();
    const used = Float64Array.from(scores.subarray(0, length), (s) => s * scale);
    assert.ok(error(probs.subarray(0, length), reference.softmax(used)) < 1e-6);
    assert.deepEqual([...probs.subarray(length)], new Array(24 - length).fill(0));
    const d = random(24, 50);
    const dt = place(arena, d);
    arena.call('op_softmax_backward', dt, row, length, 24, scale);
    const gradient = arena.f32(dt, 24).slice();
    const forward = (v: Float64Array) =>
      dot(reference.softmax(v.map((s) => s * scale)), d.subarray(0, length));
    if (length > 1)
      assert.ok(slope(forward, scores.slice(0, length), gradient.slice(0, length), 4) < 1e-3);
    assert.deepEqual([...gradient.subarray(length)], new Array(24 - length).fill(0));
  }
});

test('softmax over a window, at every place of two groups', () => {
  const arena = openArena('wasm');
  for (let first = 0; first < 16; first++) {
    for (let length = first + 1; length <= 20; length++) {
      const scores = random(24, 100 * first + length, 8);
      const row = place(arena, scores);
      arena.call('op_window_softmax', row, first, length, 24, 0.25);
      const probs = arena.f32(row, 24).slice();
      const seen = Float64Array.from(scores.subarray(first, length), (s) => s * 0.25);
      assert.ok(error(probs.subarray(first, length), reference.softmax(seen)) < 1e-6);
      assert.ok(probs.every((p, i) => p === 0 || (i >= first && i < length)));
      arena.release(row);
    }
  }
});

test('cross entropy: log-probability and gradient row', () => {
  const arena = openArena('wasm');
  const logits = random(40, 1, 5);
  const row = place(arena, logits);
  const expected = reference.softmax(logits);
  const logprob = arena.call('op_cross_entropy', row, 40, 7, 0.5);
  assert.ok(Math.abs(logprob - Math.log(expected[7]!)) < 1e-6);
  const gradient = expected.map((p, i) => 0.5 * (p - (i === 7 ? 1 : 0)));
  assert.ok(error(arena.f32(row, 40), gradient) < 1e-6);
});

test('AdamW: one thousand parameters, three steps', () => {
  const arena = openArena('wasm');
  const n = 1001;
  const p = random(n, 1);
  const at = [p, random(n, 2), new Float32Array(n), new Float32Array(n)].map((x) =>
    place(arena, x),
  );
  let expected = Array.from(p, (value): [number, number, number] => [value, 0, 0]);
  for (let step = 1; step <= 3; step++) {
    const g = random(n, 10 + step);
    arena.f32(at[1]!, n).set(g);
    const corrections = [1 - 0.9 ** step, 1 - 0.99 ** step];
    arena.call('adamw', ...at, n, 1, 1e-2, 0.9, 0.99, ...corrections, 1e-8, 0.1);
    expected = expected.map(([q, m, v], i) =>
      reference.adamw(q, g[i]!, m, v, 1e-2, 0.9, 0.99, step, 1e-8, 0.1),
    );
  }
  assert.ok(
    error(
      arena.f32(at[0]!, n),
      expected.map(([q]) => q),
    ) < 1e-6,
  );
  assert.ok(
    error(
      arena.f32(at[3]!, n),
      expected.map(([, , v]) => v),
    ) < 1e-5,
  );
});
