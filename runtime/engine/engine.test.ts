// Bits: native equals WebAssembly, decoding equals prefill equals scoring; and the typed errors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseToken, GREEDY } from '../model/sampling.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import { Arena, ArenaFullError } from './arena.ts';
import { nativeStatus, openArena } from './backend.ts';
import { checkConfig, type ModelConfig, ModelConfigError, weightsOf } from './config.ts';
import { createEngine } from './engine.ts';
import { ModelInputError } from './graph.ts';
import { NativeKernelsError, nativeMemory } from './native.ts';
import { kernelDigest } from './self-test.ts';
import { wasmMemory } from './wasm.ts';

const config = sampleConfig();
const weights = weightsOf(config, sampleParameters(config));
const adapter = sampleAdapter(config, 8);
const { tokens, mask } = sampleRecord(config, 60);
const bytes = (values: Float32Array) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const same = (a: Float32Array, b: Float32Array) =>
  assert.equal(Buffer.compare(bytes(a), bytes(b)), 0);
const coded = (code: string) => (error: { code?: string }) => error.code === code;

test('native and WebAssembly builds give the same bits', (t) => {
  const { usable, reason } = nativeStatus();
  if (!usable) return t.skip(reason);
  assert.equal(kernelDigest(nativeMemory()), kernelDigest(wasmMemory()));
  const [wasm, native] = (['wasm', 'native'] as const).map((backend) =>
    createEngine(weights, { backend }),
  );
  const expected = wasm!.recordGradient(adapter, tokens, mask);
  const found = native!.recordGradient(adapter, tokens, mask);
  assert.equal(found.loss, expected.loss);
  same(found.gradient, expected.gradient);
  same(native!.logprobs(adapter, tokens), wasm!.logprobs(adapter, tokens));
});

test('a gradient is the same every time, whatever ran before it', () => {
  const engine = createEngine(weights, { backend: 'wasm' });
  const first = engine.recordGradient(adapter, tokens, mask).gradient;
  engine.recordGradient(sampleAdapter(config, 3), tokens.subarray(0, 9), mask.subarray(0, 9));
  engine.logprobs(null, tokens);
  same(engine.recordGradient(adapter, tokens, mask).gradient, first);
});

const featured = fullFeaturedConfig();
const featuredWeights = weightsOf(featured, sampleParameters(featured));

for (const [name, model, one] of [
  ['base', weights, null],
  ['adapter', weights, adapter],
  ['biases, head norms, window', featuredWeights, sampleAdapter(featured, 8)],
] as const) {
  test(`decode logits equal prefill logits bit for bit (${name})`, () => {
    const engine = createEngine(model, { backend: 'wasm' });
    const session = engine.session(one);
    const scored = engine.score(one, tokens);
    let logits = session.prefill(tokens.subarray(0, 3));
    for (let n = 3; n < tokens.length; n++) {
      const whole = engine.session(one);
      same(whole.prefill(tokens.subarray(0, n)), logits);
      whole.close();
      assert.equal(session.logprob(tokens[n]!), scored.logprobs[n]);
      assert.equal(chooseToken(logits, GREEDY, n), scored.best[n]);
      logits = session.decode(tokens[n]!);
    }
    assert.equal(session.length, tokens.length);
    session.close();
  });
}

test('sessions with different adapters do not disturb each other', () => {
  const engine = createEngine(weights, { backend: 'wasm' });
  const alone = engine.session(adapter).prefill(tokens.subarray(0, 20));
  const [a, b] = [engine.session(adapter), engine.session(sampleAdapter(config, 5, 9))];
  a.prefill(tokens.subarray(0, 10));
  b.prefill(tokens.subarray(0, 10));
  same(a.prefill(tokens.subarray(10, 20)), alone);
});

test('closed sessions give their memory back', () => {
  const engine = createEngine(weights, { backend: 'wasm' });
  for (let i = 0; i < 200; i++) {
    const session = engine.session(sampleAdapter(config, 4, i));
    session.prefill(tokens.subarray(0, 4));
    session.close();
  }
});

test('CONTEXT_LENGTH, TOKEN_RANGE, TARGET_MASK and ADAPTER_SIZE are refused before any work', () => {
  const engine = createEngine(weights, { backend: 'wasm' });
  const long = new Int32Array(config.contextLength + 2);
  assert.throws(() => engine.logprobs(null, long), coded('CONTEXT_LENGTH'));
  assert.throws(() => engine.logprobs(null, tokens.subarray(0, 1)), coded('CONTEXT_LENGTH'));
  const session = engine.session(null);
  session.prefill(tokens);
  assert.throws(() => session.prefill(tokens), coded('CONTEXT_LENGTH'));
  assert.throws(() => engine.logprobs(null, Int32Array.of(1, 104)), coded('TOKEN_RANGE'));
  assert.throws(() => engine.logprobs(null, Int32Array.of(-1, 3)), coded('TOKEN_RANGE'));
  const short = mask.subarray(1);
  assert.throws(() => engine.recordGradient(adapter, tokens, short), coded('TARGET_MASK'));
  assert.throws(() => engine.logprobs({ ...adapter, rank: 4 }, tokens), ModelInputError);
  assert.throws(() => engine.logprobs({ ...adapter, rank: 4 }, tokens), coded('ADAPTER_SIZE'));
});

test('MODEL_CONFIG names the key a shape fails on', () => {
  const wrong = {
    ...{ hiddenSize: 44, kvHeads: 3, rmsEps: 0, vocabSize: 7.5, layers: 1.5, windows: [4] },
    ropeScaling: { type: 'linear', factor: 0 },
  };
  for (const [key, value] of Object.entries(wrong)) {
    const error = (found: unknown) =>
      found instanceof ModelConfigError && found.details.key === key;
    assert.throws(() => checkConfig({ ...config, [key]: value } as ModelConfig), error);
  }
});

test('ARENA_FULL when the machine or the 4 GiB bound says no', () => {
  const arena = openArena('wasm');
  assert.throws(() => arena.allocate(2 ** 33), ArenaFullError);
  assert.equal(new ArenaFullError(1, 2).code, 'ARENA_FULL');
});

test('the arena merges what is given back', () => {
  const arena = new Arena(wasmMemory());
  const before = arena.usedBytes;
  const blocks = Array.from({ length: 9 }, (_, i) => arena.allocate(100 * i));
  for (const at of [3, 1, 2, 8, 0, 7, 5, 4, 6]) arena.release(blocks[at]!);
  assert.equal(arena.usedBytes, before);
});

test('OPENLEDGER_BACKEND forces a build and refuses other words', () => {
  const kept = process.env['OPENLEDGER_BACKEND'];
  try {
    process.env['OPENLEDGER_BACKEND'] = 'wasm';
    assert.equal(openArena().backend, 'wasm');
    process.env['OPENLEDGER_BACKEND'] = 'gpu';
    assert.throws(() => openArena(), RangeError);
  } finally {
    if (kept === undefined) delete process.env['OPENLEDGER_BACKEND'];
    else process.env['OPENLEDGER_BACKEND'] = kept;
  }
  assert.equal(new NativeKernelsError('no compiler').code, 'NATIVE_KERNELS');
});
