/** Adapter directories: exact round trips, PEFT's names, and a code for whatever we cannot apply. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { layoutSize, loraLayout, type ModelConfig } from '../engine/config.ts';
import { ModelError, type ModelErrorCode } from './errors.ts';
import {
  decodeAdapter,
  encodeAdapter,
  readAdapterDirectory,
  writeAdapterDirectory,
} from './peft.ts';
import { type NamedTensor, readSafetensors, writeSafetensors } from './safetensors.ts';

const CONFIG: ModelConfig = {
  hiddenSize: 16,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ffnSize: 24,
  vocabSize: 264,
  contextLength: 32,
  rmsEps: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
};
const BASE = { config: CONFIG, name: 'openledger/base', hash: new Uint8Array(32).fill(7) };
const RANK = 4;
const ADAPTER = {
  rank: RANK,
  alpha: 8,
  parameters: Float32Array.from(
    { length: layoutSize(loraLayout(CONFIG, RANK)) },
    (_, i) => Math.sin(i) / 3,
  ),
};
const ENCODED = encodeAdapter(ADAPTER, BASE);
const KEY = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';

function tensorsOf(weights: Uint8Array): NamedTensor[] {
  const file = readSafetensors(weights, 'f');
  return [...file.entries].map(([name, { shape }]) => ({ name, shape, values: file.tensor(name) }));
}

function refuses(
  code: ModelErrorCode,
  config: object,
  tensors?: NamedTensor[],
  rankMax = 64,
): void {
  const text = JSON.stringify({ ...JSON.parse(ENCODED.config), ...config });
  const weights = tensors === undefined ? ENCODED.weights : writeSafetensors(tensors, 'F32');
  assert.throws(
    () => decodeAdapter(text, weights, BASE, rankMax),
    (error) => {
      assert.ok(error instanceof ModelError, String(error));
      assert.equal(error.code, code);
      assert.ok(error.details.file !== undefined && error.details.key !== undefined);
      return true;
    },
  );
}

test('an adapter survives the round trip through a directory, bit for bit', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'adapter-'));
  await writeAdapterDirectory(directory, ADAPTER, BASE);
  assert.deepEqual(await readAdapterDirectory(directory, BASE), ADAPTER);
  await rm(directory, { recursive: true });
});

test("names and shapes are PEFT's", () => {
  const { entries } = readSafetensors(ENCODED.weights, 'f');
  assert.deepEqual(entries.get(KEY)?.shape, [RANK, 16]);
  assert.deepEqual(entries.get(KEY.replace('lora_A', 'lora_B'))?.shape, [16, RANK]);
  assert.equal(entries.size, 2 * 7 * CONFIG.layers);
  const config = JSON.parse(ENCODED.config);
  assert.equal(config.peft_type, 'LORA');
  assert.deepEqual(config.target_modules, [
    'down_proj',
    'gate_proj',
    'k_proj',
    'o_proj',
    'q_proj',
    'up_proj',
    'v_proj',
  ]);
});

test('modules that are not adapted become zeros', () => {
  const some = tensorsOf(ENCODED.weights).filter(({ name }) => name.includes('q_proj'));
  const read = decodeAdapter(ENCODED.config, writeSafetensors(some, 'F32'), BASE);
  for (const { name, rows, columns, offset } of loraLayout(CONFIG, RANK)) {
    const range = [offset, offset + rows * columns] as const;
    const expected = name.includes('q_proj')
      ? ADAPTER.parameters.subarray(...range)
      : new Float32Array(rows * columns);
    assert.deepEqual(read.parameters.subarray(...range), expected, name);
  }
});

test('rank-stabilised scaling and an adapter that names no base are understood', () => {
  const { openledger_base_sha256: _, ...config } = JSON.parse(ENCODED.config);
  const text = JSON.stringify({ ...config, use_rslora: true });
  assert.equal(decodeAdapter(text, ENCODED.weights, BASE).alpha, 16);
});

test('target_modules as a list, full names, "all-linear" or a pattern', () => {
  const everyLast = JSON.parse(ENCODED.config).target_modules as string[];
  const layers = [0, 1].flatMap((layer) =>
    everyLast.map((last) => {
      const part = /[qkvo]_proj/.test(last) ? 'self_attn' : 'mlp';
      return `model.layers.${layer}.${part}.${last}`;
    }),
  );
  // A pattern on which a backtracking matcher would never end.
  const endless = '^(([a-z.0-9])+)+Z$';
  for (const target_modules of [everyLast, layers, 'all-linear', '.*_proj', endless, null]) {
    const text = JSON.stringify({ ...JSON.parse(ENCODED.config), target_modules });
    const { parameters } = decodeAdapter(text, ENCODED.weights, BASE);
    assert.deepEqual(parameters, ADAPTER.parameters);
  }
});

test('encodeAdapter refuses parameters of another length', () => {
  assert.throws(() => encodeAdapter({ ...ADAPTER, rank: 5 }, BASE), RangeError);
});

test('ADAPTER_FORMAT_UNSUPPORTED and MODEL_FILE_MISSING', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'adapter-'));
  const codeIs = (code: string) => (error: unknown) => (error as ModelError).code === code;
  await assert.rejects(readAdapterDirectory(directory, BASE), codeIs('MODEL_FILE_MISSING'));
  await writeFile(join(directory, 'adapter_config.json'), ENCODED.config);
  await assert.rejects(readAdapterDirectory(directory, BASE), codeIs('MODEL_FILE_MISSING'));
  await writeFile(join(directory, 'adapter_model.bin'), 'pickle');
  await assert.rejects(readAdapterDirectory(directory, BASE), codeIs('ADAPTER_FORMAT_UNSUPPORTED'));
  await rm(directory, { recursive: true });
});

test('ADAPTER_CONFIG_INVALID', () => {
  const bad = [
    { peft_type: 'IA3' },
    { r: 0 },
    { r: 2.5 },
    { r: '4' },
    { lora_alpha: null },
    { rank_pattern: { q_proj: 2 } },
    { alpha_pattern: { q_proj: 2 } },
    { fan_in_fan_out: true },
    { init_lora_weights: 'pissa' },
    { use_qalora: true },
    { layer_replication: [[0, 2]] },
    { target_parameters: ['mlp.experts'] },
    { target_modules: ['q_proj'] },
    { target_modules: [5] },
    { target_modules: 7 },
  ];
  for (const config of bad) refuses('ADAPTER_CONFIG_INVALID', config);
  for (const text of ['', '[]', 'null', '7']) {
    const codeIs = (error: unknown) => (error as ModelError).code === 'ADAPTER_CONFIG_INVALID';
    assert.throws(() => decodeAdapter(text, ENCODED.weights, BASE), codeIs);
  }
});

test('ADAPTER_DORA_UNSUPPORTED', () => {
  refuses('ADAPTER_DORA_UNSUPPORTED', { use_dora: true });
  const name = KEY.replace('lora_A.weight', 'lora_magnitude_vector');
  const magnitude = { name, shape: [16], values: new Float32Array(16) };
  refuses('ADAPTER_DORA_UNSUPPORTED', {}, [...tensorsOf(ENCODED.weights), magnitude]);
});

test('ADAPTER_BIAS_UNSUPPORTED', () => {
  refuses('ADAPTER_BIAS_UNSUPPORTED', { lora_bias: true });
  refuses('ADAPTER_BIAS_UNSUPPORTED', { bias: 'lora_only' });
  const bias = { name: KEY.replace('weight', 'bias'), shape: [4], values: new Float32Array(4) };
  refuses('ADAPTER_BIAS_UNSUPPORTED', {}, [bias]);
});

test('ADAPTER_MODULES_TO_SAVE_UNSUPPORTED', () => {
  refuses('ADAPTER_MODULES_TO_SAVE_UNSUPPORTED', { modules_to_save: ['lm_head'] });
});

test('ADAPTER_OTHER_BASE', () => {
  refuses('ADAPTER_OTHER_BASE', { openledger_base_sha256: '00'.repeat(32) });
});

test('ADAPTER_RANK_TOO_LARGE', () => {
  refuses('ADAPTER_RANK_TOO_LARGE', {}, undefined, 3);
});

test('ADAPTER_MODULE_UNKNOWN', () => {
  const tensors = tensorsOf(ENCODED.weights);
  for (const name of [
    'base_model.model.lm_head.lora_A.weight',
    KEY.replace('layers.0', 'layers.9'),
  ]) {
    refuses('ADAPTER_MODULE_UNKNOWN', {}, [...tensors, { ...tensors[0]!, name }]);
  }
});

test('TENSOR_SHAPE, TENSOR_MISSING and TENSOR_NOT_FINITE', () => {
  refuses('TENSOR_SHAPE', { r: 2 });
  refuses('TENSOR_MISSING', {}, tensorsOf(ENCODED.weights).slice(1));
  refuses('TENSOR_MISSING', {}, []);
  const [first, ...rest] = tensorsOf(ENCODED.weights);
  const values = first!.values.slice().fill(Number.NaN);
  refuses('TENSOR_NOT_FINITE', {}, [{ ...first!, values }, ...rest]);
});
