// The streamed pass: the bits of the whole model, in less memory than the whole model needs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import { ArenaFullError } from './arena.ts';
import { openArena } from './backend.ts';
import { weightsOf } from './config.ts';
import { createEngine } from './engine.ts';
import { Graph, ModelInputError } from './graph.ts';
import { WEIGHT_FORMATS } from './resident.ts';
import { streamedScore } from './streamed.ts';

for (const [name, config] of [
  ['plain', sampleConfig({ layers: 5, vocabSize: 99 })],
  ['featured', fullFeaturedConfig()],
] as const) {
  test(`layer by layer the bits are those of the whole model (${name})`, () => {
    const weights = weightsOf(config, sampleParameters(config));
    const { tokens } = sampleRecord(config, 50);
    for (const format of WEIGHT_FORMATS) {
      const options = { backend: 'wasm', weights: format } as const;
      const engine = createEngine(weights, { ...options, training: false });
      for (const adapter of [null, sampleAdapter(config, 5)]) {
        const { logprobs, best } = streamedScore(weights, adapter, tokens, options);
        assert.deepEqual({ logprobs, best }, engine.score(adapter, tokens));
      }
    }
  });
}

test('ARENA_FULL for the whole model, an answer layer by layer, ARENA_FULL when a part is too large', () => {
  const config = sampleConfig({ layers: 24, hiddenSize: 64, ffnSize: 256 });
  const weights = weightsOf(config, sampleParameters(config));
  const { tokens } = sampleRecord(config, 20);
  const expected = createEngine(weights, { backend: 'wasm', training: false }).score(null, tokens);
  const memoryBytes = 2 ** 21;
  const whole = () => new Graph(openArena('wasm', memoryBytes), config, false, 'f32');
  assert.throws(whole, ArenaFullError);
  const options = { backend: 'wasm', memoryBytes } as const;
  const { peakBytes, ...found } = streamedScore(weights, null, tokens, options);
  assert.deepEqual(found, expected);
  assert.ok(peakBytes <= memoryBytes);
  const little = { ...options, memoryBytes: 2 ** 19 };
  assert.throws(() => streamedScore(weights, null, tokens, little), ArenaFullError);
  const short = { ...sampleAdapter(config, 4), rank: 5 };
  assert.throws(() => streamedScore(weights, short, tokens, options), ModelInputError);
});
