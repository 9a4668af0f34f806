// Traced passes against the kernels: logits, log-probabilities, loss, gradients and updates bit by bit.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openArena } from '../engine/backend.ts';
import { type ModelConfig, parameterLayout, weightsOf } from '../engine/config.ts';
import { AdamUpdater, createEngine } from '../engine/engine.ts';
import { Graph, ModelInputError } from '../engine/graph.ts';
import { uniform } from '../engine/random.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import { biasCorrection, clipScale, normChunk, normOf } from '../train/optimizer.ts';
import {
  backwardProgram,
  flatGradient,
  forwardProgram,
  scoreProgram,
  type UpdateNumbers,
  updateProgram,
} from './passes.ts';
import { Trace } from './trace.ts';

const small = { hiddenSize: 24, headDim: 8, ffnSize: 40, vocabSize: 56 } as const;

/** The families' shapes, small: longer than one block of attention where the text is. */
const configs: Readonly<Record<string, ModelConfig>> = {
  llama: sampleConfig(small),
  'llama 3, untied': sampleConfig({
    ...small,
    tiedEmbeddings: false,
    ropeScaling: { type: 'llama3', factor: 8, lowFactor: 1, highFactor: 4, originalContext: 32 },
  }),
  'qwen 2, biases': sampleConfig({ ...small, attentionBias: 'qkv', kvHeads: 1 }),
  'qwen 3, head norms': sampleConfig({ ...small, headNorms: true, kvHeads: 4 }),
  'mistral, window': sampleConfig({ ...small, windows: [9, 5], tiedEmbeddings: false }),
  'everything at once': { ...fullFeaturedConfig(), ...small },
};

/** Equal to the last bit, whatever the NaN. */
function assertBits(found: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(found.length, expected.length, what);
  for (let i = 0; i < expected.length; i++) {
    if (!Object.is(found[i], expected[i])) {
      assert.fail(`${what}[${i}]: trace ${found[i]}, kernels ${expected[i]}`);
    }
  }
}

for (const [name, config] of Object.entries(configs)) {
  describe(`a traced pass has the kernels' bits: ${name}`, () => {
    const parameters = sampleParameters(config);
    const adapter = sampleAdapter(config, 3);
    const record = sampleRecord(config, 30);
    const engine = createEngine(weightsOf(config, parameters), { backend: 'wasm' });

    test('logits and log-probabilities', () => {
      for (const one of [adapter, null]) {
        const model = { config, parameters, adapter: one };
        const tokens = record.tokens.subarray(0, 27);
        const logits = new Trace(forwardProgram(model, tokens)).result('logits');
        assertBits(logits, engine.session(one).prefill(tokens), 'logits');
        const logprobs = new Trace(scoreProgram(model, tokens)).result('logprobs');
        assertBits(logprobs, engine.logprobs(one, tokens).subarray(1), 'logprobs');
      }
    });

    test('loss and LoRA gradient of a record', () => {
      const model = { config, parameters, adapter };
      const weight = Math.fround(1 / record.mask.subarray(1).reduce((sum, one) => sum + one, 0));
      const trace = new Trace(backwardProgram(model, record, weight));
      const expected = engine.recordGradient(adapter, record.tokens, record.mask);
      assert.equal(trace.result('loss')[0]! / expected.targets, expected.loss);
      const gradient = flatGradient(model, (of) => trace.result(of));
      assertBits(gradient, expected.gradient, 'gradient');
    });

    test('loss and gradient of every parameter, added to an earlier one', () => {
      const graph = new Graph(openArena('wasm'), config, true);
      graph.parameters().set(parameters);
      graph.pack();
      const at = graph.arena.allocate(parameters.byteLength);
      const start = parameters.map((_, i) => uniform(9, i) - 0.5);
      graph.arena.f32(at, start.length).set(start);
      const loss = graph.fullGradient(record.tokens, record.mask, 1 / 16, at);
      const model = { config, parameters, adapter: null };
      const trace = new Trace(backwardProgram(model, record, 1 / 16, start));
      assert.equal(trace.result('loss')[0], loss);
      const gradient = flatGradient(model, (of) => trace.result(of));
      assertBits(gradient, graph.arena.f32(at, start.length), 'gradient');
    });
  });
}

test('infinities, overflow and NaN take the way that they take in the kernels', () => {
  const config = sampleConfig(small);
  const adapter = sampleAdapter(config, 3);
  const record = sampleRecord(config, 30);
  for (const [name, value] of [
    ['model.layers.0.self_attn.v_proj.weight', Number.POSITIVE_INFINITY],
    ['model.layers.1.mlp.up_proj.weight', 1e38],
    ['model.layers.0.self_attn.q_proj.weight', Number.NaN],
  ] as const) {
    const parameters = sampleParameters(config);
    const slot = parameterLayout(config).find((one) => one.name === name)!;
    parameters[slot.offset + 5] = value;
    const engine = createEngine(weightsOf(config, parameters), { backend: 'wasm' });
    const expected = engine.recordGradient(adapter, record.tokens, record.mask);
    const model = { config, parameters, adapter };
    const trace = new Trace(backwardProgram(model, record, Math.fround(1 / expected.targets)));
    const gradient = flatGradient(model, (of) => trace.result(of));
    assertBits(gradient, expected.gradient, `gradient with ${value}`);
  }
});

describe("a traced update has the kernels' bits", () => {
  const length = 9001;
  const draw = (seed: number) => Float32Array.from({ length }, (_, i) => uniform(seed, i) - 0.5);
  const numbers: UpdateNumbers = {
    share: Math.fround(1 / 3),
    clipNorm: 1,
    learningRate: Math.fround(3e-4),
    beta1: 0.9,
    beta2: 0.95,
    correction1: biasCorrection(0.9, 4),
    correction2: biasCorrection(0.95, 4),
    epsilon: 1e-8,
    weightDecay: 0.1,
  };

  for (const [name, clipNorm] of [
    ['clipped', 1],
    ['below the norm that clips', 1e6],
    ['never clipped', 0],
  ] as const) {
    test(name, () => {
      const state = {
        parameters: draw(1),
        gradient: draw(2),
        m: draw(3),
        v: draw(4).map(Math.abs),
      };
      const expected = {
        parameters: state.parameters.slice(),
        m: state.m.slice(),
        v: state.v.slice(),
      };
      const updater = new AdamUpdater('wasm');
      const norm = normOf(updater.squares(state.gradient, normChunk)) * numbers.share;
      const scale = Math.fround(clipScale(norm, clipNorm) * numbers.share);
      updater.step(expected.parameters, state.gradient, expected.m, expected.v, {
        ...numbers,
        scale,
      });
      const trace = new Trace(updateProgram(state, { ...numbers, clipNorm }));
      assert.equal(trace.result('scale')[0], scale);
      for (const part of ['parameters', 'm', 'v'] as const) {
        assertBits(trace.result(part), expected[part], part);
      }
    });
  }
});

describe('what cannot be traced', () => {
  const config = sampleConfig(small);
  const model = { config, parameters: sampleParameters(config), adapter: null };
  const refusedWith = (code: ModelInputError['code']) => (reason: unknown) =>
    reason instanceof ModelInputError && reason.code === code;

  test('CONTEXT_LENGTH: no tokens, or more than the context', () => {
    for (const length of [0, config.contextLength + 1]) {
      const tokens = new Int32Array(length);
      assert.throws(() => forwardProgram(model, tokens), refusedWith('CONTEXT_LENGTH'));
    }
  });

  test('TOKEN_RANGE: a token outside the vocabulary', () => {
    for (const token of [-1, config.vocabSize]) {
      const tokens = Int32Array.of(1, token);
      assert.throws(() => forwardProgram(model, tokens), refusedWith('TOKEN_RANGE'));
    }
  });

  test('TARGET_MASK: of another length, or without a target', () => {
    for (const mask of [new Uint8Array(3), new Uint8Array(2)]) {
      const record = { tokens: Int32Array.of(1, 2), mask };
      assert.throws(() => backwardProgram(model, record, 1), refusedWith('TARGET_MASK'));
    }
  });
});
