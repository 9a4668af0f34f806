/** A GGUF file is the model that its directory is: same configuration, weights, logits and tokens. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createEngine } from '../engine/engine.ts';
import { streamedScore } from '../engine/streamed.ts';
import { logitsOf } from '../golden/logits.ts';
import { weightShapes } from '../model/config.ts';
import { loadModelDirectory } from '../model/directory.ts';
import { ModelError, type ModelErrorCode, type ModelErrorDetails } from '../model/errors.ts';
import { readSafetensors } from '../model/safetensors.ts';
import { makeTokenizer } from '../model/tokenizer.ts';
import { openWeights } from '../model/weights.ts';
import { writeMergedModel } from '../train/merge.ts';
import {
  type GgufEntry,
  type GgufSource,
  ggufTokenizer,
  interleaved,
  modelGguf,
  type TokenizerInput,
  writeGguf,
} from './writer.ts';

const RUNTIME = dirname(dirname(fileURLToPath(import.meta.url)));
const BASE = join(RUNTIME, 'base');
const FOLDER = mkdtempSync(join(tmpdir(), 'gguf-'));
after(() => rmSync(FOLDER, { recursive: true }));

const jsonOf = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));
const baseFiles: TokenizerInput = {
  json: jsonOf(join(BASE, 'tokenizer.json')) as TokenizerInput['json'],
  config: jsonOf(join(BASE, 'tokenizer_config.json')) as TokenizerInput['config'],
};
const base = await loadModelDirectory(BASE);
const baseTokenizer = ggufTokenizer(baseFiles, 'gpt-2', base.config.vocabSize);

let files = 0;
function fileOf(bytes: Uint8Array): string {
  const path = join(FOLDER, `${files++}.gguf`);
  writeFileSync(path, bytes);
  return path;
}

/** A small model with the shipped vocabulary's first ids, so that a tokenizer fits it. */
function small(changes: Partial<GgufSource['config']> = {}): GgufSource {
  const config = {
    ...{ hiddenSize: 32, layers: 2, heads: 4, kvHeads: 2, headDim: 8, ffnSize: 64 },
    ...{ vocabSize: 2048, contextLength: 64, rmsEps: 1e-5, ropeTheta: 10_000 },
    tiedEmbeddings: false,
    ...changes,
  };
  const tensors = new Map<string, Float32Array>();
  let state = 1;
  for (const [name, shape] of weightShapes(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32 - 0.5;
    });
    tensors.set(name, values);
  }
  return { config, tensor: (name) => tensors.get(name)! };
}

const eos = { id: 2, content: '</s>' };
const eosConfig = { eos_token: '</s>' };
const KINDS = [
  'llama3',
  'llama-biases-yarn',
  'llama-linear',
  'qwen2',
  'qwen3',
  'smollm2',
  'mistral',
];
for (const name of KINDS) {
  test(`${name}: an f32 file gives the directory's configuration, weights and logits, bit for bit`, async () => {
    const folder = join(RUNTIME, 'golden', name);
    const weights = await openWeights(folder);
    const input = {
      json: { model: { vocab: {}, merges: [] }, added_tokens: [eos] },
      config: eosConfig,
    };
    const tokenizer = ggufTokenizer(input, 'gpt-2', weights.config.vocabSize);
    const model = await loadModelDirectory(fileOf(modelGguf(weights, 'F32', tokenizer)));
    assert.deepEqual(model.config, weights.config);
    for (const key of weightShapes(weights.config).keys()) {
      assert.deepEqual(model.tensor(key), weights.tensor(key), key);
    }
    const golden = readSafetensors(readFileSync(join(folder, 'expected.safetensors')), name);
    const tokens = Int32Array.from(golden.tensor('tokens'));
    const [ours, theirs] = [model, weights].map((one) =>
      logitsOf(createEngine(one, { backend: 'wasm' }), null, tokens),
    );
    assert.deepEqual(ours, theirs);
  });
}

test('the shipped base as bf16 and f16 files: its weights, tokens, chats, stop ids', async () => {
  for (const [dtype, exact] of [
    ['BF16', true],
    ['F16', false],
  ] as const) {
    const path = fileOf(modelGguf(base, dtype, baseTokenizer));
    const model = await loadModelDirectory(path);
    assert.deepEqual(model.config, base.config);
    for (const key of weightShapes(base.config).keys()) {
      const [found, wanted] = [model.tensor(key), base.tensor(key)];
      if (exact) assert.deepEqual(found, wanted);
      else
        assert.ok(
          found.every(
            (one, i) => Math.abs(one - wanted[i]!) <= Math.abs(wanted[i]!) / 2048 + 2 ** -25,
          ),
        );
    }
    const { tokenizer } = model;
    for (const text of ['a peer dials 12345 peers', '  const x = {};\n\n', 'Ä 日本 🙂 don’t', '']) {
      assert.deepEqual(tokenizer.encode(text), base.tokenizer.encode(text));
      assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
    }
    const chat = [{ role: 'user', content: 'what is a peer? <|user|>' }] as const;
    assert.deepEqual(tokenizer.encodeChat(chat), base.tokenizer.encodeChat(chat));
    assert.deepEqual(tokenizer.specialIds, base.tokenizer.specialIds);
    assert.deepEqual(model.generation.stopIds, base.generation.stopIds);
  }
});

test('q8_0 is read as its exact values, in every resident format and by parts', async () => {
  const source = small();
  const model = await loadModelDirectory(fileOf(modelGguf(source, 'Q8_0', baseTokenizer)));
  const name = 'model.layers.1.self_attn.q_proj.weight';
  const found = model.tensor(name);
  for (let row = 0; row < 32; row++) {
    const wanted = source.tensor(name).subarray(row * 32, (row + 1) * 32);
    const scale = Math.max(...wanted.map(Math.abs)) / 127;
    const half = new Float32Array(wanted.length).map((_, k) => found[row * 32 + k]! / scale);
    // Whole multiples of one scale, next to what was written.
    assert.ok(half.every((one, k) => Math.abs(one - wanted[k]! / scale) < 0.6));
    assert.ok(half.every((one) => Math.abs(one - Math.round(one)) < 0.1));
  }
  const widened = { config: source.config, tensor: model.tensor };
  const tokens = Int32Array.of(1, 7, 2000, 5);
  for (const weights of ['f32', 'bf16', 'int8'] as const) {
    const options = { backend: 'wasm', weights, memoryBytes: 2 ** 26 } as const;
    const [fromFile, inMemory] = [model, widened].map((one) =>
      streamedScore(one, null, tokens, options),
    );
    assert.deepEqual(fromFile!.logprobs, inMemory!.logprobs);
  }
});

test('rows of q and k of a llama are in order, those of a qwen2 as they lie', async () => {
  const source = small({ tiedEmbeddings: true, attentionBias: 'qkv' });
  const qwen = await loadModelDirectory(fileOf(modelGguf(source, 'F32', baseTokenizer)));
  const key = 'model.layers.0.self_attn.k_proj.weight';
  assert.deepEqual(qwen.tensor(key), source.tensor(key));
  assert.equal(qwen.config.attentionBias, 'qkv');
  // Head of four rows: 0 and 1 are the first half.
  const rows = interleaved(Float32Array.of(0, 1, 2, 3, 10, 11, 12, 13), [8], 4);
  assert.deepEqual([...rows], [0, 2, 1, 3, 10, 12, 11, 13]);
});

test('a file in a directory, under any name, is the same base; two are none', async () => {
  const bytes = modelGguf(small(), 'F32', baseTokenizer);
  const paths = ['one', 'two'].map((name) => {
    const folder = mkdtempSync(join(FOLDER, 'd-'));
    writeFileSync(join(folder, `${name}.gguf`), bytes);
    return folder;
  });
  const [one, two] = await Promise.all(paths.map((path) => loadModelDirectory(path)));
  assert.deepEqual(one!.hash, two!.hash);
  assert.equal(one!.bytes, bytes.length);
  writeFileSync(join(paths[0]!, 'b.gguf'), bytes);
  await refuses('MODEL_FILE_MISSING', paths[0]!, { found: '2 GGUF files' });
});

test('files of the tokenizer that lie beside win over the metadata', async () => {
  const folder = mkdtempSync(join(FOLDER, 'd-'));
  const { 'tokenizer.ggml.pre': _, ...unnamed } = baseTokenizer;
  writeFileSync(join(folder, 'x.gguf'), modelGguf(small(), 'F32', unnamed));
  await refuses('TOKENIZER_UNSUPPORTED', folder, { key: 'tokenizer.ggml.pre', found: 'nothing' });
  copyFileSync(join(BASE, 'tokenizer.json'), join(folder, 'tokenizer.json'));
  const model = await loadModelDirectory(folder);
  assert.deepEqual(model.tokenizer.encode('a peer'), base.tokenizer.encode('a peer'));
  writeFileSync(join(folder, 'generation_config.json'), '{"eos_token_id":[7]}');
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"eos_token":"<|pad|>"}');
  assert.deepEqual((await loadModelDirectory(folder)).generation.stopIds, [3, 7]);
});

test('a model merged out of a GGUF file is a whole directory', async () => {
  const path = fileOf(modelGguf(small(), 'F32', baseTokenizer));
  const model = await loadModelDirectory(path);
  const into = join(FOLDER, 'merged');
  await writeMergedModel(into, model, path, {
    rank: 1,
    alpha: 1,
    parameters: new Float32Array(1152 * 2),
  });
  const merged = await loadModelDirectory(into);
  assert.deepEqual(merged.config, model.config);
  const key = 'model.layers.1.self_attn.k_proj.weight';
  assert.deepEqual(merged.tensor(key), model.tensor(key));
  assert.deepEqual(merged.tokenizer.encode('a peer'), model.tokenizer.encode('a peer'));
});

async function refuses(
  code: ModelErrorCode,
  path: string,
  details: ModelErrorDetails = {},
): Promise<void> {
  await assert.rejects(loadModelDirectory(path), (error) => {
    assert.ok(error instanceof ModelError, String(error));
    assert.equal(error.code, code, error.message);
    assert.deepEqual({ ...error.details, ...details }, error.details);
    return true;
  });
}

/** The small model's file with other metadata; undefined takes a key away. */
function withMetadata(changes: Record<string, GgufEntry | undefined>): string {
  const entries = { ...baseTokenizer, ...changes } as Record<string, GgufEntry>;
  for (const [key, entry] of Object.entries(changes)) if (entry === undefined) delete entries[key];
  return fileOf(modelGguf(small(), 'F32', entries));
}

test('ARCHITECTURE_UNSUPPORTED: other models, and experts under a name that we know', async () => {
  const other = withMetadata({ 'general.architecture': ['string', 'gemma'] });
  await refuses('ARCHITECTURE_UNSUPPORTED', other, {
    ...{ key: 'general.architecture', expected: 'llama, qwen2, qwen3', found: 'gemma' },
  });
  const mixture = withMetadata({ 'llama.expert_count': ['u32', 8] });
  await refuses('ARCHITECTURE_UNSUPPORTED', mixture, { key: 'llama.expert_count', found: '8' });
});

test('CONFIG_INVALID names the file and its own key', async () => {
  const path = withMetadata({ 'llama.block_count': ['u32', 0] });
  await refuses('CONFIG_INVALID', path, {
    file: path.split('/').at(-1)!,
    key: 'llama.block_count',
  });
  const text = withMetadata({ 'llama.attention.head_count': ['string', '4'] });
  await refuses('CONFIG_INVALID', text, { key: 'llama.attention.head_count' });
  await refuses('CONFIG_INVALID', withMetadata({ 'split.count': ['u16', 2] }), {
    key: 'split.count',
  });
});

test('ROPE_UNSUPPORTED: scalings that are not ours', async () => {
  const type = withMetadata({ 'llama.rope.scaling.type': ['string', 'longrope'] });
  await refuses('ROPE_UNSUPPORTED', type, { key: 'llama.rope.scaling.type', found: 'longrope' });
  const part = withMetadata({ 'llama.rope.dimension_count': ['u32', 4] });
  await refuses('ROPE_UNSUPPORTED', part, { key: 'llama.rope.dimension_count', found: '4' });
  const scaling = { type: 'llama3', factor: 8, lowFactor: 1, highFactor: 3, originalContext: 64 };
  const odd = { ...scaling, type: 'llama3' as const };
  const bends = fileOf(modelGguf(small({ ropeScaling: odd }), 'F32', baseTokenizer));
  await refuses('ROPE_UNSUPPORTED', bends, { key: 'rope_freqs.weight' });
});

test('ARCHITECTURE_UNSUPPORTED: a window of which a qwen2 file does not say where', async () => {
  const source = small({ attentionBias: 'qkv' });
  const window = { 'qwen2.attention.sliding_window': ['u32', 16] as const };
  const path = fileOf(modelGguf(source, 'F32', { ...baseTokenizer, ...window }));
  const key = 'qwen2.attention.sliding_window';
  await refuses('ARCHITECTURE_UNSUPPORTED', path, { key, found: '16' });
});

test('TENSOR_MISSING, TENSOR_SHAPE, TENSOR_UNEXPECTED under the names of the file', async () => {
  const rows = ['llama.feed_forward_length', 'blk.0.ffn_gate.weight'] as const;
  const wide = withMetadata({ [rows[0]]: ['u32', 72] });
  await refuses('TENSOR_SHAPE', wide, { key: rows[1], expected: 'shape [72, 32]' });
  const deep = withMetadata({ 'llama.block_count': ['u32', 3] });
  await refuses('TENSOR_MISSING', deep, { key: 'blk.2.attn_norm.weight' });
  const shallow = withMetadata({ 'llama.block_count': ['u32', 1] });
  await refuses('TENSOR_UNEXPECTED', shallow, { key: 'blk.1.attn_norm.weight' });
  const none = fileOf(writeGguf({ 'general.architecture': ['string', 'llama'] }, []));
  await refuses('TENSOR_MISSING', none, { key: 'token_embd.weight' });
});

test('TENSOR_NOT_FINITE: a scale of infinity', async () => {
  const bytes = modelGguf(small(), 'Q8_0', baseTokenizer);
  // The last block of the last matrix: its scale lies 34 bytes before the end, without padding.
  const at = bytes.length - 34 - ((32 - ((2048 * 34) % 32)) % 32);
  new DataView(bytes.buffer).setUint16(at, 0x7c00, true);
  const model = await loadModelDirectory(fileOf(bytes));
  assert.throws(
    () => model.tensor('lm_head.weight'),
    (error) => (error as ModelError).code === 'TENSOR_NOT_FINITE',
  );
});

test('TOKENIZER_UNSUPPORTED says what came and what is read', async () => {
  const bert = withMetadata({ 'tokenizer.ggml.model': ['string', 'bert'] });
  await refuses('TOKENIZER_UNSUPPORTED', bert, {
    ...{ key: 'tokenizer.ggml.model', expected: '"gpt2" or "llama"', found: 'bert' },
    remedy: 'put the model’s tokenizer.json beside the file',
  });
  const none = withMetadata({ 'tokenizer.ggml.model': undefined });
  await refuses('TOKENIZER_UNSUPPORTED', none, { found: 'nothing' });
  const pre = withMetadata({ 'tokenizer.ggml.pre': ['string', 'tekken'] });
  await refuses('TOKENIZER_UNSUPPORTED', pre, { key: 'tokenizer.ggml.pre', found: 'tekken' });
});

test('TOKENIZER_INVALID: lists that do not fit together', async () => {
  const cases: [string, GgufEntry | undefined][] = [
    ['tokens', undefined],
    ['tokens', ['i32[]', [1]]],
    ['tokens', ['string[]', ['a', 'a']]],
    ['tokens', ['string[]', Array.from({ length: 2049 }, (_, i) => `${i}`)]],
    ['token_type', ['i32[]', [1]]],
    ['eos_token_id', ['u32', 2048]],
    ['merges', undefined],
  ];
  for (const [key, entry] of cases) {
    const path = withMetadata({ [`tokenizer.ggml.${key}`]: entry });
    const changed = entry?.[1].toString() === 'a,a' ? 'token_type' : key;
    await refuses('TOKENIZER_INVALID', path, { key: `tokenizer.ggml.${changed}` });
  }
});

function goldenOf(name: string): TokenizerInput {
  const file = jsonOf(join(RUNTIME, 'golden', 'chat', `${name}.json`));
  const { tokenizer, config } = file as { tokenizer: TokenizerInput['json']; config: object };
  return { json: tokenizer, config: { ...config } };
}

async function hasTokensOf(golden: TokenizerInput, metadata: Record<string, GgufEntry>) {
  const model = await loadModelDirectory(fileOf(modelGguf(small(), 'F32', metadata)));
  const wanted = makeTokenizer(golden.json, golden.config, 2048);
  const texts = [
    'a peer  dials 12345 peers’ doors',
    "\n\n\t it's <|im_end|> é ｅ́ 日本 🙂",
    'x=1;  //y',
  ];
  for (const text of texts) {
    const ids = model.tokenizer.encode(text);
    assert.deepEqual(ids, wanted.encode(text), text);
    assert.equal(model.tokenizer.decode(ids), wanted.decode(ids));
  }
  const chat = [{ role: 'user', content: 'what is a peer?' }] as const;
  assert.deepEqual(model.tokenizer.encodeChat(chat), wanted.encodeChat(chat));
  assert.equal(model.tokenizer.endOfText, wanted.endOfText);
  assert.equal(model.tokenizer.startOfText, wanted.startOfText);
}

for (const [name, pre] of [
  ['llama3', 'llama-bpe'],
  ['qwen', 'qwen2'],
] as const) {
  test(`${name}: the pre-tokenizer "${pre}" cuts texts as its tokenizer.json does`, async () => {
    const golden = goldenOf(name);
    await hasTokensOf(golden, ggufTokenizer(golden, pre, 2048));
  });
}

test('llama2: SentencePiece by its scores joins as the merges of its tokenizer.json do', async () => {
  const golden = goldenOf('llama2');
  const { vocab, merges } = golden.json.model;
  const rank = new Map(merges.map((pair, i) => [[pair].flat(2).join(''), i]));
  const contents = Object.entries(vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([content]) => content);
  const typeOf = (content: string) => (/^<0x/.test(content) ? 6 : /^<.*>$/.test(content) ? 3 : 1);
  await hasTokensOf(golden, {
    'tokenizer.ggml.model': ['string', 'llama'],
    'tokenizer.ggml.tokens': ['string[]', contents],
    'tokenizer.ggml.scores': ['f32[]', contents.map((one) => -(rank.get(one) ?? 1e6))],
    'tokenizer.ggml.token_type': ['i32[]', contents.map(typeOf)],
    'tokenizer.ggml.unknown_token_id': ['u32', 0],
    'tokenizer.ggml.bos_token_id': ['u32', 1],
    'tokenizer.ggml.eos_token_id': ['u32', 2],
    'tokenizer.chat_template': ['string', String(golden.config['chat_template'])],
  });
  const scoreless: Record<string, GgufEntry> = { 'tokenizer.ggml.model': ['string', 'llama'] };
  await refuses('TOKENIZER_INVALID', withMetadata(scoreless), { key: 'tokenizer.ggml.scores' });
});
