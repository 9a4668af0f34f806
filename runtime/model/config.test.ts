/** `config.json` of each architecture as its makers write it, and what absent fields mean. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modelConfigJson, readModelConfig } from './config.ts';
import type { ModelError } from './errors.ts';

const SIZES = {
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 3,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  vocab_size: 320,
  max_position_embeddings: 2048,
};
const read = (architecture: string, fields: object = {}) =>
  readModelConfig({ architectures: [architecture], ...SIZES, ...fields });
const key =
  (expected: string, code = 'CONFIG_INVALID') =>
  (error: unknown) =>
    (error as ModelError).code === code && (error as ModelError).details.key === expected;

test('Llama: nothing besides unless it is asked for', () => {
  const plain = read('LlamaForCausalLM');
  const extras = ['attentionBias', 'mlpBias', 'headNorms', 'windows', 'ropeScaling'];
  for (const extra of extras) assert.ok(!(extra in plain), extra);
  assert.equal(plain.headDim, 8);
  assert.equal(plain.tiedEmbeddings, false);
  const biased = read('LlamaForCausalLM', { attention_bias: true, mlp_bias: true });
  assert.equal(biased.attentionBias, 'qkvo');
  assert.equal(biased.mlpBias, true);
  const { num_key_value_heads, ...whole } = SIZES;
  assert.equal(num_key_value_heads, 2);
  assert.equal(readModelConfig({ architectures: ['LlamaForCausalLM'], ...whole }).kvHeads, 8);
});

test('Mistral: a window on every layer; null means none, absence its default of 4096', () => {
  assert.deepEqual(read('MistralForCausalLM').windows, [4096, 4096, 4096]);
  assert.deepEqual(read('MistralForCausalLM', { sliding_window: 5 }).windows, [5, 5, 5]);
  assert.equal(read('MistralForCausalLM', { sliding_window: null }).windows, undefined);
});

test('Qwen2: biases of q, k and v; a window only where use_sliding_window says so', () => {
  const window = { sliding_window: 9 };
  assert.equal(read('Qwen2ForCausalLM', window).attentionBias, 'qkv');
  assert.equal(read('Qwen2ForCausalLM', window).windows, undefined);
  const asked = { ...window, use_sliding_window: true };
  assert.equal(read('Qwen2ForCausalLM', asked).windows, undefined);
  const late = { ...asked, max_window_layers: 1 };
  assert.deepEqual(read('Qwen2ForCausalLM', late).windows, [0, 9, 9]);
  const types = ['sliding_attention', 'full_attention', 'sliding_attention'];
  const listed = { ...asked, layer_types: types };
  assert.deepEqual(read('Qwen2ForCausalLM', listed).windows, [9, 0, 9]);
  const short = { ...asked, layer_types: types.slice(1) };
  assert.throws(() => read('Qwen2ForCausalLM', short), key('layer_types'));
});

test('Qwen3: norms of heads, heads of 128 by default, biases where asked', () => {
  const plain = read('Qwen3ForCausalLM');
  assert.equal(plain.headNorms, true);
  assert.equal(plain.headDim, 128);
  assert.equal(plain.attentionBias, undefined);
  assert.equal(read('Qwen3ForCausalLM', { attention_bias: true }).attentionBias, 'qkvo');
});

test('rotary scaling: at the root or whole in rope_parameters', () => {
  const llama3 = {
    rope_type: 'llama3',
    factor: 32,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 512,
  };
  const expected = {
    type: 'llama3',
    factor: 32,
    lowFactor: 1,
    highFactor: 4,
    originalContext: 512,
  };
  const older = read('LlamaForCausalLM', { rope_scaling: llama3, rope_theta: 5e5 });
  assert.deepEqual(older.ropeScaling, expected);
  const newer = read('LlamaForCausalLM', { rope_parameters: { ...llama3, rope_theta: 5e5 } });
  assert.deepEqual(newer, older);
  assert.equal(newer.ropeTheta, 5e5);
  const linear = { rope_scaling: { type: 'linear', factor: 2 } };
  assert.deepEqual(read('LlamaForCausalLM', linear).ropeScaling, { type: 'linear', factor: 2 });
  const dynamic = { rope_scaling: { rope_type: 'dynamic', factor: 2 } };
  assert.equal(read('LlamaForCausalLM', dynamic).ropeScaling, undefined);
  const missing = { rope_scaling: { rope_type: 'llama3', factor: 8 } };
  assert.throws(() => read('LlamaForCausalLM', missing), key('low_freq_factor'));
  const crossed = { rope_scaling: { ...llama3, high_freq_factor: 0.5 } };
  assert.throws(() => read('LlamaForCausalLM', crossed), key('rope_scaling'));
});

test('YaRN: defaults, and the factor of the table from the formula of the paper', () => {
  const yarn = (fields: object) =>
    read('Qwen2ForCausalLM', { rope_scaling: { rope_type: 'yarn', factor: 4, ...fields } })
      .ropeScaling as { attentionFactor: number; betaFast: number; originalContext: number };
  const plain = yarn({ original_max_position_embeddings: 256 });
  assert.ok(Math.abs(plain.attentionFactor - (0.1 * Math.log(4) + 1)) < 1e-12);
  assert.equal(plain.betaFast, 32);
  assert.equal(plain.originalContext, 256);
  assert.equal(yarn({}).originalContext, 2048);
  assert.equal(yarn({ attention_factor: 1.5 }).attentionFactor, 1.5);
  const both = yarn({ mscale: 2, mscale_all_dim: 1 }).attentionFactor;
  assert.ok(Math.abs(both - (0.2 * Math.log(4) + 1) / (0.1 * Math.log(4) + 1)) < 1e-12);
});

test('widths that the kernels cannot run are named as in config.json', () => {
  assert.throws(
    () => read('LlamaForCausalLM', { intermediate_size: 172 }),
    key('intermediate_size'),
  );
  assert.equal(read('LlamaForCausalLM', { vocab_size: 321 }).vocabSize, 321);
  assert.throws(() => read('LlamaForCausalLM', { head_dim: 12 }), key('head_dim'));
  assert.throws(() => read('LlamaForCausalLM', { attention_bias: 'yes' }), key('attention_bias'));
});

test('a plain configuration survives its own config.json; one with extras is not written', () => {
  const config = read('LlamaForCausalLM');
  assert.deepEqual(readModelConfig(modelConfigJson(config, 0, 3)), config);
  assert.throws(() => modelConfigJson({ ...config, headNorms: true }, 0, 3), RangeError);
});
