// What transformers and PEFT compute on small random models of each architecture (make.py) against
// ours: logits, loss and every LoRA gradient, loaded from the very directories that they wrote.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { flattenWeights, loraLayout, type ModelConfig } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { readAdapterDirectory } from '../model/peft.ts';
import { readSafetensors } from '../model/safetensors.ts';
import { openWeights } from '../model/weights.ts';
import { referenceLogits } from '../reference/model.ts';
import { logitsOf } from './logits.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const TOLERANCE = 1e-5;
const NAMES = readdirSync(HERE, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'chat')
  .map(({ name }) => name);
/** What each model is there for; a model that lost its point would test nothing. */
const FEATURES: Readonly<Record<string, (config: ModelConfig) => boolean>> = {
  llama3: (config) => config.ropeScaling?.type === 'llama3' && config.tiedEmbeddings,
  'llama-biases-yarn': ({ ropeScaling, attentionBias, mlpBias }) =>
    ropeScaling?.type === 'yarn' && attentionBias === 'qkvo' && mlpBias === true,
  'llama-linear': (config) => config.ropeScaling?.type === 'linear',
  qwen2: (config) => config.attentionBias === 'qkv' && config.windows === undefined,
  'qwen2-window': (config) => config.windows?.join() === '0,12',
  qwen3: (config) => config.headNorms === true && config.headDim === 16,
  smollm2: (config) => config.heads === 3 && config.kvHeads === 1 && config.tiedEmbeddings,
  mistral: (config) => config.windows?.join() === '11,11',
};

/** Largest difference over the largest expected value. */
function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(found.length, expected.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const one = Math.abs(found[i]! - expected[i]!);
    difference = Number.isNaN(one) ? Number.POSITIVE_INFINITY : Math.max(difference, one);
    size = Math.max(size, Math.abs(expected[i]!));
  }
  assert.ok(size > 0, 'expected values that are not all zero');
  return difference / size;
}

test('every architecture has its golden files', () => {
  assert.deepEqual(NAMES.sort(), Object.keys(FEATURES).sort());
});

for (const name of NAMES) {
  test(`${name}: logits, loss and LoRA gradients of transformers and PEFT within 1e-5`, async () => {
    const folder = join(HERE, name);
    const weights = await openWeights(folder);
    const { config } = weights;
    assert.ok(FEATURES[name]!(config), 'the configuration lacks what this model is there for');
    const base = { config, name, hash: new Uint8Array(32) };
    const adapter = await readAdapterDirectory(join(folder, 'adapter'), base);
    const expected = readSafetensors(readFileSync(join(folder, 'expected.safetensors')), name);
    const tokens = Int32Array.from(expected.tensor('tokens'));
    const mask = Uint8Array.from(expected.tensor('mask'));
    const close = (what: string, found: ArrayLike<number>) => {
      const far = distance(found, expected.tensor(what));
      assert.ok(far <= TOLERANCE, `${what}: expected at most ${TOLERANCE}, found ${far}`);
    };

    const engine = createEngine(weights, { backend: 'wasm' });
    close('base_logits', logitsOf(engine, null, tokens));
    close('logits', logitsOf(engine, adapter, tokens));
    const { loss, gradient } = engine.recordGradient(adapter, tokens, mask);
    close('loss', [loss]);
    const layout = new Map(loraLayout(config, adapter.rank).map((slot) => [slot.name, slot]));
    const gradients = [...expected.entries.keys()].filter((key) => key.startsWith('gradient.'));
    for (const key of gradients) {
      const slot = layout.get(key.slice('gradient.base_model.model.'.length))!;
      close(key, gradient.subarray(slot.offset, slot.offset + slot.rows * slot.columns));
    }
    assert.ok(gradients.length >= 8);

    close('logits', referenceLogits(config, flattenWeights(weights), tokens, adapter));
  });
}
