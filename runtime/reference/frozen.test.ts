// Training over a base that stays in memory as int8: the product that gradients go back through bit
// for bit against f32 weights of the same values, and LoRA gradients as slopes of the reference's
// straight-through loss.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nativeStatus, openArena } from '../engine/backend.ts';
import { loraLayout, type ModelConfig, parameterLayout, weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { randomBits, uniform } from '../engine/random.ts';
import { formatNumber } from '../engine/resident.ts';
import { referenceLoss } from './model.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from './sample.ts';
import { int8Kept, straightThroughProducts } from './weights.ts';

const backends = nativeStatus().usable ? (['wasm', 'native'] as const) : (['wasm'] as const);
const random = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => uniform(seed, i) * 2 - 1);

const sizes = [
  [1, 8, 8],
  [1, 105, 40],
  [3, 136, 24],
  [7, 40, 304],
  [14, 300, 64],
  [25, 129, 168],
] as const;

for (const backend of backends) {
  test(`dy W over int8 has the bits of dy W over f32 weights of the same values (${backend})`, () => {
    for (const [index, [rows, n, depth]] of sizes.entries()) {
      for (const accumulate of [0, 1]) {
        const arena = openArena(backend);
        const place = (values: Float32Array) => {
          const at = arena.allocate(values.byteLength);
          arena.f32(at, values.length).set(values);
          return at;
        };
        const w = random(n * depth, 80 + index);
        const [dy, before] = [random(rows * n, index), random(rows * depth, 40 + index)];
        const to = place(before);
        const wide = Math.ceil(n / 8) * 8;
        const scratch = arena.allocate(wide * depth * 4 + wide * 4 + 64);
        arena.call(
          'op_back_product',
          ...[to, place(dy), place(w), formatNumber('f32'), rows, n, depth, accumulate, scratch],
        );
        const found = arena.f32(to, before.length).slice();
        // One accumulator per output over ascending rows of W, as every product of the kernels has.
        const kept = int8Kept(w, n, depth);
        for (let t = 0; t < rows; t++) {
          for (let i = 0; i < depth; i++) {
            let sum = accumulate === 1 ? before[t * depth + i]! : 0;
            for (let o = 0; o < n; o++) {
              sum = Math.fround(sum + Math.fround(dy[t * n + o]! * kept[o * depth + i]!));
            }
            assert.equal(found[t * depth + i], sum, `${rows} x ${n} x ${depth}, ${t} ${i}`);
          }
        }
      }
    }
  });
}

const models = { plain: sampleConfig({ vocabSize: 101 }), featured: fullFeaturedConfig() };

/** The mean loss of the reference over an int8 base as a function of the adapter's parameters. */
function straightThroughLoss(
  config: ModelConfig,
  flat: Float32Array,
  { tokens, mask }: ReturnType<typeof sampleRecord>,
  adapter: Adapter,
): (parameters: ArrayLike<number>) => number {
  const kept = flat.slice();
  const { rows, columns } = parameterLayout(config)[0]!;
  // A tied head quantises these values again, to the same integers.
  kept.set(int8Kept(flat.subarray(0, rows * columns), rows, columns));
  const { product, rewind } = straightThroughProducts();
  const targets = mask.subarray(1).reduce((sum, bit) => sum + bit, 0);
  const loss = (parameters: ArrayLike<number>) => {
    rewind();
    return referenceLoss(config, kept, tokens, mask, { ...adapter, parameters }, product) / targets;
  };
  loss(adapter.parameters);
  return loss;
}

for (const [name, config] of Object.entries(models)) {
  const flat = sampleParameters(config);
  const weights = weightsOf(config, flat);
  const record = sampleRecord(config, 29);

  test(`${name}: LoRA gradients over an int8 base are slopes of the straight-through loss`, () => {
    const adapter = sampleAdapter(config, 5);
    const engine = createEngine(weights, { backend: 'wasm', weights: 'int8' });
    const { loss, gradient } = engine.recordGradient(adapter, record.tokens, record.mask);
    const reference = straightThroughLoss(config, flat, record, adapter);
    const start = reference(adapter.parameters);
    assert.ok(Math.abs(loss - start) < 2e-3 * start, `loss ${loss}, reference ${start}`);
    const step = 1e-5;
    for (const slot of loraLayout(config, 5)) {
      const [up, down] = [1, -1].map(() => Float64Array.from(adapter.parameters));
      let [found, size] = [0, 0];
      for (let i = slot.offset; i < slot.offset + slot.rows * slot.columns; i++) {
        const sign = randomBits(77, i) & 1 ? 1 : -1;
        up![i]! += sign * step;
        down![i]! -= sign * step;
        found += sign * gradient[i]!;
        size += gradient[i]! ** 2;
      }
      const expected = (reference(up!) - reference(down!)) / (2 * step);
      // Where an activation next to a tie rounds the other way than in f64, that is one step of 254.
      const bound = 2e-3 * Math.sqrt(size * slot.rows * slot.columns);
      assert.ok(Math.abs(found - expected) < bound, `${slot.name}: ${found}, ${expected}`);
    }
  });

  test(`${name}: gradients over an int8 base have the same bits on every build`, () => {
    const rows = backends.map((backend) => {
      const engine = createEngine(weights, { backend, weights: 'int8' });
      const { gradient } = engine.recordGradient(
        sampleAdapter(config, 3),
        record.tokens,
        record.mask,
      );
      return new Uint32Array(gradient.buffer);
    });
    for (const row of rows) assert.deepEqual(row, rows[0]);
  });
}
