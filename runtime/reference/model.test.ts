// The whole graph against the f64 reference: log-probabilities, and LoRA and full gradients by
// central differences of the reference's loss, tensor by tensor.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openArena } from '../engine/backend.ts';
import { loraLayout, parameterLayout, type TensorSlot, weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { Graph } from '../engine/graph.ts';
import { randomBits } from '../engine/random.ts';
import { referenceLogprobs, referenceLoss } from './model.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from './sample.ts';

/** Per tensor: the gradient along a random sign direction, and the reference's slope along it. */
function checkSlopes(
  layout: readonly TensorSlot[],
  flat: Float32Array,
  gradient: Float32Array,
  loss: (flat: Float64Array) => number,
): void {
  const step = 1e-5;
  for (const slot of layout) {
    const up = Float64Array.from(flat);
    const down = Float64Array.from(flat);
    let found = 0;
    let size = 0;
    for (let i = slot.offset; i < slot.offset + slot.rows * slot.columns; i++) {
      const sign = randomBits(77, i) & 1 ? 1 : -1;
      up[i]! += sign * step;
      down[i]! -= sign * step;
      found += sign * gradient[i]!;
      size += gradient[i]! ** 2;
    }
    const expected = (loss(up) - loss(down)) / (2 * step);
    // f32 rounding of the gradient, relative to its length times sqrt of the direction's length.
    assert.ok(
      Math.abs(found - expected) < 2e-5 * Math.sqrt(size * slot.rows * slot.columns) + 1e-5,
      `${slot.name}: kernel ${found}, reference ${expected}`,
    );
  }
}

const shapes = [
  sampleConfig(),
  sampleConfig({
    ...{ tiedEmbeddings: false, heads: 3, kvHeads: 3, headDim: 8, hiddenSize: 24, vocabSize: 101 },
  }),
  fullFeaturedConfig(),
  sampleConfig({
    attentionBias: 'qkv',
    windows: [1, 17],
    ropeScaling: { type: 'llama3', factor: 8, lowFactor: 1, highFactor: 4, originalContext: 32 },
  }),
  sampleConfig({ headNorms: true, vocabSize: 99, ropeScaling: { type: 'linear', factor: 2.5 } }),
];

for (const [index, config] of shapes.entries()) {
  const flat = sampleParameters(config);
  const record = sampleRecord(config, 37);

  test(`shape ${index}: log-probabilities within 2e-5, with and without adapter`, () => {
    const engine = createEngine(weightsOf(config, flat), { backend: 'wasm' });
    for (const adapter of [null, sampleAdapter(config, 8), sampleAdapter(config, 5)]) {
      const found = engine.logprobs(adapter, record.tokens);
      const expected = referenceLogprobs(config, flat, record.tokens, adapter ?? undefined);
      for (const [i, value] of expected.entries()) assert.ok(Math.abs(found[i]! - value) < 2e-5);
    }
  });

  for (const rank of [4, 8, 11]) {
    test(`shape ${index}: LoRA gradient of rank ${rank} is the slope of the reference loss`, () => {
      const engine = createEngine(weightsOf(config, flat), { backend: 'wasm' });
      const adapter = sampleAdapter(config, rank);
      const { loss, targets, gradient } = engine.recordGradient(
        adapter,
        record.tokens,
        record.mask,
      );
      const ofAdapter = (parameters: ArrayLike<number>) =>
        referenceLoss(config, flat, record.tokens, record.mask, { ...adapter, parameters }) /
        targets;
      assert.equal(
        targets,
        record.mask.reduce((sum, bit) => sum + bit, 0),
      );
      assert.ok(Math.abs(loss - ofAdapter(adapter.parameters)) < 1e-5);
      checkSlopes(loraLayout(config, rank), adapter.parameters, gradient, ofAdapter);
    });
  }

  test(`shape ${index}: full gradient is the slope of the reference loss`, () => {
    const graph = new Graph(openArena('wasm'), config, true);
    const at = graph.arena.allocate(flat.byteLength);
    graph.parameters().set(flat);
    graph.arena.f32(at, flat.length).fill(0);
    graph.pack();
    graph.fullGradient(record.tokens, record.mask, 0.5, at);
    const gradient = graph.arena.f32(at, flat.length).slice();
    const loss = (parameters: ArrayLike<number>) =>
      0.5 * referenceLoss(config, parameters, record.tokens, record.mask);
    checkSlopes(parameterLayout(config), flat, gradient, loss);
  });
}
