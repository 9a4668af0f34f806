/** Model directories: what we write we can read, single or in shards, and every fault has its code. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ModelConfig } from '../engine/config.ts';
import { tokenizerFiles, trainMerges } from './bpe-train.ts';
import { modelConfigJson, weightShapes } from './config.ts';
import { loadModelDirectory } from './directory.ts';
import { ModelError, type ModelErrorCode, type ModelErrorDetails } from './errors.ts';
import { type NamedTensor, writeSafetensors } from './safetensors.ts';

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
const TENSORS = [...weightShapes(CONFIG)].map(([name, shape], i): NamedTensor => {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, shape, values: Float32Array.from({ length: count }, (_, k) => i + k / 1024) };
});
const FILES = tokenizerFiles(trainMerges([{ text: 'a a a', weight: 1 }], 264), 32);

const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

async function modelDirectory(config: object = {}): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'model-'));
  folders.push(directory);
  const json = { ...modelConfigJson(CONFIG, 0, 3), ...config };
  await writeFile(join(directory, 'config.json'), JSON.stringify(json));
  await writeFile(join(directory, 'model.safetensors'), writeSafetensors(TENSORS, 'F32'));
  await writeFile(join(directory, 'tokenizer.json'), JSON.stringify(FILES.tokenizer));
  await writeFile(join(directory, 'tokenizer_config.json'), JSON.stringify(FILES.config));
  return directory;
}

async function refuses(
  code: ModelErrorCode,
  directory: string,
  details: ModelErrorDetails = {},
): Promise<void> {
  const load = async () => {
    const model = await loadModelDirectory(directory);
    for (const { name } of TENSORS) model.tensor(name);
  };
  await assert.rejects(load, (error) => {
    assert.ok(error instanceof ModelError, String(error));
    assert.equal(error.code, code);
    assert.deepEqual({ ...error.details, ...details }, error.details);
    return true;
  });
}

async function withTensors(tensors: readonly NamedTensor[]): Promise<string> {
  const directory = await modelDirectory();
  await writeFile(join(directory, 'model.safetensors'), writeSafetensors(tensors, 'F32'));
  return directory;
}

test('a written directory is read back: configuration, weights, tokenizer', async () => {
  const directory = await modelDirectory();
  const model = await loadModelDirectory(directory);
  assert.deepEqual(model.config, CONFIG);
  for (const { name, values } of TENSORS) assert.deepEqual(model.tensor(name), values);
  assert.equal(model.tokenizer.decode(model.tokenizer.encode('a peer')), 'a peer');
  assert.equal(model.hash.length, 32);
});

test('shards give the same weights, and a hash of their own', async () => {
  const directory = await modelDirectory();
  const single = await loadModelDirectory(directory);
  const half = TENSORS.length >> 1;
  const shards = {
    'model-1.safetensors': TENSORS.slice(0, half),
    'model-2.safetensors': TENSORS.slice(half),
  };
  const weight_map: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(shards)) {
    await writeFile(join(directory, file), writeSafetensors(tensors, 'F32'));
    for (const { name } of tensors) weight_map[name] = file;
  }
  await rm(join(directory, 'model.safetensors'));
  const index = join(directory, 'model.safetensors.index.json');
  await writeFile(index, JSON.stringify({ weight_map }));
  const sharded = await loadModelDirectory(directory);
  for (const { name, values } of TENSORS) assert.deepEqual(sharded.tensor(name), values);
  assert.notDeepEqual(sharded.hash, single.hash);

  const first = TENSORS[0]!.name;
  await writeFile(
    index,
    JSON.stringify({ weight_map: { ...weight_map, [first]: 'model-2.safetensors' } }),
  );
  await refuses('TENSOR_MISSING', directory, { key: first, file: 'model-2.safetensors' });
  await writeFile(
    index,
    JSON.stringify({ weight_map: { ...weight_map, [first]: 'model-3.safetensors' } }),
  );
  await refuses('MODEL_FILE_MISSING', directory, { file: join(directory, 'model-3.safetensors') });
});

test('SAFETENSORS_INDEX_INVALID', async () => {
  const directory = await modelDirectory();
  await rm(join(directory, 'model.safetensors'));
  const index = join(directory, 'model.safetensors.index.json');
  const bad = [
    '{',
    '{}',
    '[]',
    '{"weight_map":{"a":5}}',
    '{"weight_map":{"a":"../x.safetensors"}}',
  ];
  for (const text of [...bad, '{"weight_map":{"a":"x.bin"}}']) {
    await writeFile(index, text);
    await refuses('SAFETENSORS_INDEX_INVALID', directory);
  }
});

test('the hash depends on content, not on place or on other files', async () => {
  const directory = await modelDirectory();
  const copy = `${directory}-copy`;
  folders.push(copy);
  await cp(directory, copy, { recursive: true });
  await writeFile(join(copy, 'README.md'), 'a note');
  const { hash } = await loadModelDirectory(directory);
  assert.deepEqual((await loadModelDirectory(copy)).hash, hash);
  const config = await readFile(join(copy, 'config.json'), 'utf8');
  await writeFile(join(copy, 'config.json'), `${config} `);
  assert.notDeepEqual((await loadModelDirectory(copy)).hash, hash);
});

test('MODEL_FILE_MISSING', async () => {
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json']) {
    const directory = await modelDirectory();
    await rename(join(directory, name), join(directory, 'elsewhere'));
    await refuses('MODEL_FILE_MISSING', directory, { file: join(directory, name) });
  }
  await refuses('MODEL_FILE_MISSING', '/nowhere', { file: '/nowhere/config.json' });
});

test('MODEL_FILE_TOO_LARGE', async () => {
  const directory = await modelDirectory();
  await truncate(join(directory, 'tokenizer.json'), 2 ** 30); // A sparse file: no disk is used.
  await refuses('MODEL_FILE_TOO_LARGE', directory);
});

test('CONFIG_INVALID', async () => {
  const bad: [string, unknown][] = [
    ['hidden_size', 0],
    ['hidden_size', '16'],
    ['num_hidden_layers', 1.5],
    ['vocab_size', 2 ** 30],
    ['num_key_value_heads', 3],
    ['head_dim', 7],
    ['rms_norm_eps', -1],
    ['rope_theta', 'x'],
    ['quantization_config', {}],
  ];
  for (const [key, value] of bad) {
    await refuses('CONFIG_INVALID', await modelDirectory({ [key]: value }), { key });
  }
  const directory = await modelDirectory();
  for (const text of ['', '{', '7', '[]', 'null']) {
    await writeFile(join(directory, 'config.json'), text);
    await refuses('CONFIG_INVALID', directory);
  }
});

test('ARCHITECTURE_UNSUPPORTED', async () => {
  for (const architectures of [['GPT2LMHeadModel'], 'BertModel', [], undefined, 5]) {
    await refuses('ARCHITECTURE_UNSUPPORTED', await modelDirectory({ architectures }));
  }
  const mixed = { layer_types: ['full_attention', 'chunked_attention'] };
  const qwen = { architectures: ['Qwen2ForCausalLM'], use_sliding_window: true, ...mixed };
  await refuses('ARCHITECTURE_UNSUPPORTED', await modelDirectory(qwen), { key: 'layer_types' });
});

test('ACTIVATION_UNSUPPORTED', async () => {
  const directory = await modelDirectory({ hidden_act: 'gelu' });
  await refuses('ACTIVATION_UNSUPPORTED', directory, { found: '"gelu"' });
});

test('ROPE_UNSUPPORTED', async () => {
  const cases = [
    { rope_scaling: { type: 'longrope', factor: 2 } },
    { rope_scaling: 'llama3' },
    { rope_parameters: { rope_type: 'su', factor: 8 } },
    { rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } },
    { partial_rotary_factor: 0.25 },
  ];
  for (const config of cases) await refuses('ROPE_UNSUPPORTED', await modelDirectory(config));
});

test('BIAS_UNSUPPORTED', async () => {
  const bias = {
    name: 'model.layers.0.self_attn.q_proj.bias',
    shape: [1],
    values: new Float32Array(1),
  };
  await refuses('BIAS_UNSUPPORTED', await withTensors([...TENSORS, bias]), { key: bias.name });
});

test('TENSOR_UNEXPECTED: what the engine would leave out, but not what holds nothing', async () => {
  const extra = (name: string) => ({ name, shape: [1], values: new Float32Array(1) });
  const tower = extra('vision_tower.patch.weight');
  await refuses('TENSOR_UNEXPECTED', await withTensors([...TENSORS, tower]), { key: tower.name });
  const idle = ['model.layers.0.self_attn.rotary_emb.inv_freq', 'lm_head.weight'].map(extra);
  await loadModelDirectory(await withTensors([...TENSORS, ...idle]));
});

test('MODEL_FILE_CHANGED: weights that are no longer those that were hashed', async () => {
  const directory = await modelDirectory();
  const model = await loadModelDirectory(directory);
  const other = TENSORS.map((tensor) => ({ ...tensor, values: tensor.values.map((x) => -x) }));
  const file = join(directory, 'model.safetensors');
  await rm(file);
  await writeFile(file, writeSafetensors([...other, { ...other[0]!, name: 'x' }], 'F32'));
  assert.throws(
    () => model.tensor(TENSORS[0]!.name),
    (error) => (error as ModelError).code === 'MODEL_FILE_CHANGED',
  );
});

test('GENERATION_CONFIG_INVALID, and what a valid one says', async () => {
  const directory = await modelDirectory();
  assert.deepEqual((await loadModelDirectory(directory)).generation, {
    stopIds: [0],
    sampling: {},
  });
  const file = join(directory, 'generation_config.json');
  const { hash } = await loadModelDirectory(directory);
  await writeFile(file, '{"eos_token_id":[7,0],"do_sample":true,"temperature":0.6,"top_k":20}');
  const model = await loadModelDirectory(directory);
  const sampling = { temperature: 0.6, topK: 20 };
  assert.deepEqual(model.generation, { stopIds: [0, 7], sampling });
  assert.deepEqual(model.hash, hash);
  await writeFile(file, '{"do_sample":false,"eos_token_id":5,"temperature":9}');
  const greedy = { stopIds: [0, 5], sampling: { temperature: 0 } };
  assert.deepEqual((await loadModelDirectory(directory)).generation, greedy);
  for (const [key, text] of [
    ['(root)', '[]'],
    ['eos_token_id', '{"eos_token_id":264}'],
    ['eos_token_id', '{"eos_token_id":["x"]}'],
    ['temperature', '{"temperature":"hot"}'],
    ['top_p', '{"top_p":1.5}'],
  ] as const) {
    await writeFile(file, text);
    await refuses('GENERATION_CONFIG_INVALID', directory, { key });
  }
});

test('TENSOR_MISSING', async () => {
  const directory = await withTensors(TENSORS.slice(0, -1));
  await refuses('TENSOR_MISSING', directory, { key: 'model.norm.weight' });
  const untied = await modelDirectory({ tie_word_embeddings: false });
  await refuses('TENSOR_MISSING', untied, { key: 'lm_head.weight' });
  const model = await loadModelDirectory(await modelDirectory());
  assert.throws(
    () => model.tensor('x'),
    (error) => (error as ModelError).code === 'TENSOR_MISSING',
  );
});

test('TENSOR_SHAPE', async () => {
  const directory = await modelDirectory({ intermediate_size: 32 });
  const key = 'model.layers.0.mlp.gate_proj.weight';
  await refuses('TENSOR_SHAPE', directory, { key, expected: 'shape [32, 16]', found: '[24, 16]' });
});

test('TENSOR_NOT_FINITE', async () => {
  const [first, ...rest] = TENSORS;
  const values = first!.values.slice();
  values[3] = Number.NaN;
  await refuses('TENSOR_NOT_FINITE', await withTensors([{ ...first!, values }, ...rest]));
});

test('SAFETENSORS_TRUNCATED', async () => {
  const directory = await modelDirectory();
  await truncate(join(directory, 'model.safetensors'), 5000);
  await refuses('SAFETENSORS_TRUNCATED', directory, { file: 'model.safetensors' });
});

test('TOKENIZER_INVALID', async () => {
  const directory = await modelDirectory();
  await writeFile(join(directory, 'tokenizer.json'), '{"model":{}');
  await refuses('TOKENIZER_INVALID', directory, { file: 'tokenizer.json' });
});
