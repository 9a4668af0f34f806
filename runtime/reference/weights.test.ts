// Weights kept as bf16, f16 and int8: rounding and products against the oracle bit for bit, whole
// models within what the rounding allows, and the same bits whatever the build and the split.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Arena } from '../engine/arena.ts';
import { nativeStatus, openArena } from '../engine/backend.ts';
import { ModelConfigError, parameterLayout, weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { Graph } from '../engine/graph.ts';
import { randomBits, uniform } from '../engine/random.ts';
import { formatNumber, WEIGHT_FORMATS, type WeightFormat } from '../engine/resident.ts';
import { halfToFloat, int8Rows, toBfloat16, toHalf } from '../model/numbers.ts';
import { referenceLogits } from './model.ts';
import { matmulTransposed } from './ops.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from './sample.ts';
import { int8Product, roundedToHalf } from './weights.ts';

const backends = nativeStatus().usable ? (['wasm', 'native'] as const) : (['wasm'] as const);
const random = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => uniform(seed, i) * 2 - 1);
const bfloat = (values: Float32Array): Float32Array => {
  const halves = toBfloat16(values);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
};
/** What a matrix is after a 16-bit format has kept it. */
const rounded = (values: Float32Array, format: WeightFormat): Float32Array =>
  format === 'bf16' ? bfloat(values) : format === 'f16' ? values.map(roundedToHalf) : values;
const bits = (values: Float32Array) =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

/** x[rows, depth] w[n, depth]^T by the kernels, and whether all of w was finite. */
function kernelProduct(
  arena: Arena,
  [x, w]: readonly [Float32Array, Uint8Array],
  [rows, n, depth]: readonly [number, number, number],
  from: 'f32' | 'bf16' | 'f16',
  format: WeightFormat,
): { y: Float32Array; finite: boolean } {
  const wide = Math.ceil(n / 8) * 8;
  const at = {
    x: arena.allocate(x.byteLength),
    w: arena.allocate(w.byteLength),
    y: arena.allocate(rows * wide * 4),
    scratch: arena.allocate(wide * depth * 4 + wide * 4 + 64 + rows * (depth * 2 + 4)),
  };
  arena.f32(at.x, x.length).set(x);
  arena.u8(at.w, w.length).set(w);
  const numbers = [formatNumber(from), rows, n, depth, formatNumber(format), at.scratch];
  const finite = arena.call('op_product', at.y, at.x, at.w, ...numbers) === 1;
  const y = new Float32Array(rows * n);
  for (let i = 0; i < rows; i++) y.set(arena.f32(at.y + i * wide * 4, n), i * n);
  for (const block of Object.values(at)) arena.release(block);
  return { y, finite };
}
const bytesOf = (values: Float32Array | Uint16Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

const sizes = [
  [1, 8, 8],
  [1, 105, 40],
  [1, 64, 264],
  [2, 33, 24],
  [3, 40, 136],
  [4, 7, 8],
  [7, 24, 304],
  [14, 41, 64],
  [25, 96, 160],
] as const;

for (const backend of backends) {
  test(`int8 products equal the oracle's bit for bit (${backend})`, () => {
    const arena = openArena(backend);
    for (const [index, [rows, n, depth]] of sizes.entries()) {
      const x = random(rows * depth, index).map((value) => value * 8);
      const w = random(n * depth, 50 + index);
      // A row of zeros, one of tiny values and ties on both sides.
      x.fill(0, 0, index % 2 === 0 ? depth : 0);
      for (let k = 0; k < depth; k++) w[k] = index === 3 ? 1e-35 : (k % 255) - 127 + (k % 2) / 2;
      const { y, finite } = kernelProduct(arena, [x, bytesOf(w)], [rows, n, depth], 'f32', 'int8');
      const expected = Float32Array.from(int8Product(x, w, rows, n, depth));
      assert.ok(finite);
      assert.deepEqual(bits(y), bits(expected), `${rows} x ${n} x ${depth}`);
    }
  });

  test(`16-bit products have the bits of f32 products of the same values (${backend})`, () => {
    const arena = openArena(backend);
    for (const [index, [rows, n, depth]] of sizes.entries()) {
      const x = random(rows * depth, index);
      const w = random(n * depth, 70 + index).map((value, i) => value * 2 ** -(i % 23));
      for (const format of ['bf16', 'f16'] as const) {
        const kept = rounded(w, format);
        const shape = [rows, n, depth] as const;
        const expected = kernelProduct(arena, [x, bytesOf(kept)], shape, 'f32', 'f32').y;
        const narrowed = kernelProduct(arena, [x, bytesOf(w)], shape, 'f32', format).y;
        assert.deepEqual(bits(narrowed), bits(expected), `${format} ${shape.join(' x ')}`);
        const halves = format === 'bf16' ? toBfloat16(w) : Uint16Array.from(w, toHalf);
        const stored = kernelProduct(arena, [x, bytesOf(halves)], shape, format, format).y;
        assert.deepEqual(bits(stored), bits(expected), `stored ${format} ${shape.join(' x ')}`);
        const widened = kernelProduct(arena, [x, bytesOf(halves)], shape, format, 'f32').y;
        assert.deepEqual(bits(widened), bits(expected), `widened ${format} ${shape.join(' x ')}`);
        const far = matmulTransposed(x, kept, rows, n, depth);
        for (const [i, value] of far.entries()) assert.ok(Math.abs(expected[i]! - value) < 1e-4);
      }
    }
  });
}

test('every finite binary16 widens exactly and comes back', () => {
  const arena = openArena('wasm');
  const halves = new Uint16Array(65536);
  for (let i = 0; i < halves.length; i++) halves[i] = (i & 0x7c00) === 0x7c00 ? 0 : i;
  const identity = Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0);
  const column = new Uint16Array(halves.length * 8);
  for (const [i, half] of halves.entries()) column[i * 8] = half;
  const shape = [1, halves.length, 8] as const;
  const { y } = kernelProduct(arena, [identity, bytesOf(column)], shape, 'f16', 'f16');
  // A sum that begins at +0 knows no -0.
  for (const [i, half] of halves.entries()) assert.equal(y[i], halfToFloat(half) + 0);
  for (const [i, half] of halves.entries()) {
    if (i !== 0x8000) assert.equal(toHalf(halfToFloat(half)), half);
  }
});

test('f32 becomes binary16 to nearest even as the oracle has it, at every exponent', () => {
  const arena = openArena('wasm');
  const identity = Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0);
  const values = Float32Array.from({ length: 4000 }, (_, i) => {
    const exponent = (i % 42) - 27;
    const tie = 1 + ((randomBits(5, i) % 2048) + 0.5) / 1024;
    const size = i % 3 === 0 ? tie : 1 + uniform(6, i);
    return Math.min(65519, size * 2 ** exponent) * (i % 2 === 0 ? 1 : -1);
  });
  const column = new Float32Array(values.length * 8);
  for (const [i, value] of values.entries()) column[i * 8] = value;
  const shape = [1, values.length, 8] as const;
  const { y, finite } = kernelProduct(arena, [identity, bytesOf(column)], shape, 'f32', 'f16');
  assert.ok(finite);
  for (const [i, value] of values.entries()) assert.equal(y[i], roundedToHalf(value) + 0);
});

test('values that are not finite, or do not fit the format, are noticed in every row', () => {
  const arena = openArena('wasm');
  const x = random(8, 1);
  for (const [value, format, from] of [
    [Number.NaN, 'int8', 'f32'],
    [Number.POSITIVE_INFINITY, 'f32', 'f32'],
    [Number.NaN, 'bf16', 'bf16'],
    [65520, 'f16', 'f32'],
    [3.4e38, 'bf16', 'f32'],
  ] as const) {
    for (const row of [0, 7, 8, 12]) {
      const w = random(13 * 8, 2);
      w[row * 8 + 5] = value;
      const raw = bytesOf(from === 'bf16' ? toBfloat16(w) : w);
      assert.equal(kernelProduct(arena, [x, raw], [1, 13, 8], from, format).finite, false);
    }
  }
  const nan = Float32Array.from(x).fill(Number.NaN, 3, 4);
  const { y } = kernelProduct(arena, [nan, bytesOf(random(64, 3))], [1, 8, 8], 'f32', 'int8');
  assert.ok(y.every(Number.isNaN), 'an activation that is not a number must not vanish');
});

const models = { plain: sampleConfig({ vocabSize: 101 }), featured: fullFeaturedConfig() };
const tokensOf = (config: (typeof models)['plain']) => sampleRecord(config, 41).tokens;

for (const [name, config] of Object.entries(models)) {
  const flat = sampleParameters(config);
  const weights = weightsOf(config, flat);
  const tokens = tokensOf(config);
  const isMatrix = (slot: string) => /_proj\.weight|embed_tokens|lm_head/.test(slot);

  for (const format of ['bf16', 'f16'] as const) {
    test(`${name}: ${format} weights give the bits of f32 weights of the same values`, () => {
      const kept = flat.slice();
      for (const { name: slot, offset, rows, columns } of parameterLayout(config)) {
        if (!isMatrix(slot)) continue;
        const part = flat.subarray(offset, offset + rows * columns);
        kept.set(rounded(part, format), offset);
      }
      for (const adapter of [null, sampleAdapter(config, 5)]) {
        const options = { backend: 'wasm', training: false } as const;
        const expected = createEngine(weightsOf(config, kept), options).score(adapter, tokens);
        const engine = createEngine(weights, { ...options, weights: format });
        assert.deepEqual(engine.score(adapter, tokens), expected);
      }
    });
  }

  test(`${name}: int8 logits follow the oracle's quantised pass`, () => {
    const engine = createEngine(weights, { backend: 'wasm', training: false, weights: 'int8' });
    // The embedding is read back from int8, as the kernels keep it.
    const kept = flat.slice();
    const { rows, columns } = parameterLayout(config)[0]!;
    const embedding = int8Rows(flat.subarray(0, rows * columns), rows, columns);
    for (const [i, value] of embedding.values.entries()) {
      kept[i] = value * embedding.scales[Math.floor(i / columns)]!;
    }
    for (const adapter of [null, sampleAdapter(config, 8)]) {
      const expected = referenceLogits(config, kept, tokens, adapter ?? undefined, int8Product);
      const session = engine.session(adapter);
      let [difference, size] = [0, 0];
      for (const [t, token] of tokens.entries()) {
        for (const [j, logit] of session.decode(token).entries()) {
          const other = expected[t * config.vocabSize + j]!;
          difference = Math.max(difference, Math.abs(logit - other));
          size = Math.max(size, Math.abs(other));
        }
      }
      // An activation next to a tie may round the other way than in f64: one step of 254.
      assert.ok(difference / size < 0.02, `${difference / size}`);
    }
  });

  for (const format of WEIGHT_FORMATS) {
    test(`${name}: ${format} decoding equals prefill, on every build`, () => {
      const adapter = sampleAdapter(config, 3);
      const rows = backends.map((backend) => {
        const engine = createEngine(weights, { backend, training: false, weights: format });
        const [whole, single] = [engine.session(adapter), engine.session(adapter)];
        for (const token of tokens.subarray(0, 12)) single.decode(token);
        const logits = whole.prefill(tokens.subarray(0, 13));
        assert.deepEqual(bits(single.decode(tokens[12]!)), bits(logits));
        return bits(logits);
      });
      for (const row of rows) assert.deepEqual(row, rows[0]);
    });
  }
}

test('a format other than f32 is smaller in memory; MODEL_CONFIG: no training over 16-bit weights', () => {
  const config = sampleConfig();
  const bytes = WEIGHT_FORMATS.map(
    (format) => new Graph(openArena('wasm'), config, false, format).residentBytes,
  );
  assert.ok(bytes[1]! < 0.52 * bytes[0]! && bytes[2] === bytes[1]);
  assert.ok(bytes[3]! < 0.32 * bytes[0]!);
  const weights = weightsOf(config, sampleParameters(config));
  for (const format of ['bf16', 'f16'] as const) {
    assert.throws(() => createEngine(weights, { weights: format }), ModelConfigError);
  }
  const [trains, serves] = [true, false].map(
    (training) => new Graph(openArena('wasm'), config, training, 'int8').residentBytes,
  );
  assert.equal(trains, serves, 'training over int8 keeps no second copy');
});
