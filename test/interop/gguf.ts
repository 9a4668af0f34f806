// Our GGUF files in llama.cpp: the same weights must give the same 64 greedy tokens as our engine.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Adapter,
  adapterGguf,
  createEngine,
  type GgufDtype,
  ggufTokenizer,
  layoutSize,
  loadModelDirectory,
  loraLayout,
  type ModelConfig,
  modelGguf,
  type TokenizerInput,
} from '#runtime';
import { noise } from '../../bench/noise.ts';
import { openLlamaCpp } from '../../bench/runtime/llama-cpp.ts';
import { randomWeights } from '../../bench/runtime/models.ts';

const TOKENS = 64;
const BASE = join('runtime', 'base');

/** A name, and a check that rejects when the two differ. */
export type GgufCheck = { readonly name: string; readonly run: () => Promise<void> };

/** Small enough to be quick, with everything that the file must get right. */
const SHAPE: ModelConfig = {
  ...{ hiddenSize: 64, layers: 3, heads: 4, kvHeads: 2, headDim: 16, ffnSize: 160 },
  ...{ vocabSize: 2048, contextLength: 128, rmsEps: 1e-5, ropeTheta: 10_000 },
  tiedEmbeddings: false,
};
const llama3 = { factor: 8, lowFactor: 1, highFactor: 4, originalContext: 8192 } as const;
const MODELS: readonly [name: string, config: ModelConfig, dtype: GgufDtype][] = [
  ['a random llama in f32', SHAPE, 'F32'],
  ['a random llama in f16', SHAPE, 'F16'],
  [
    'a random llama under Llama 3 scaling',
    { ...SHAPE, ropeScaling: { type: 'llama3', ...llama3 } },
    'F32',
  ],
  ['a random qwen2 with biases', { ...SHAPE, attentionBias: 'qkv', ropeTheta: 1e6 }, 'F32'],
  ['a random qwen3 with head norms', { ...SHAPE, headNorms: true, tiedEmbeddings: true }, 'F32'],
];

/** What is compared; files lie in a folder that is removed at the end. */
export function ggufChecks(): { checks: GgufCheck[]; end: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'openledger-gguf-'));
  const json = (name: string) => JSON.parse(readFileSync(join(BASE, name), 'utf8'));
  const files: TokenizerInput = {
    json: json('tokenizer.json'),
    config: json('tokenizer_config.json'),
  };
  const tokenizer = ggufTokenizer(files, 'gpt-2', SHAPE.vocabSize);
  const compare = async (bytes: Uint8Array, adapter: Adapter | null = null) => {
    const file = join(folder, 'model.gguf');
    writeFileSync(file, bytes);
    const model = await loadModelDirectory(file);
    const prompt = model.tokenizer.encode('A peer that dials another');
    const path = join(folder, 'adapter.gguf');
    if (adapter !== null) writeFileSync(path, adapterGguf(model.config, adapter));
    const theirs = await theirTokens(file, prompt, adapter === null ? undefined : path);
    assert.deepEqual(theirs, ourTokens(model, prompt, adapter));
  };
  const base: GgufCheck = {
    name: 'llama.cpp writes the 64 greedy tokens of the shipped base that we write',
    run: async () => compare(modelGguf(await loadModelDirectory(BASE), 'F32', tokenizer)),
  };
  const others = MODELS.map(([name, config, dtype]): GgufCheck => {
    const run = () => compare(modelGguf(randomWeights(config, 0.25), dtype, tokenizer));
    return { name: `llama.cpp writes the 64 greedy tokens of ${name} that we write`, run };
  });
  const adapted: GgufCheck = {
    name: 'llama.cpp writes the 64 greedy tokens of a random llama with an adapter that we write',
    async run() {
      const parameters = new Float32Array(layoutSize(loraLayout(SHAPE, 8)));
      const next = noise(5);
      for (let i = 0; i < parameters.length; i++) parameters[i] = next() * 0.2;
      const bytes = modelGguf(randomWeights(SHAPE, 0.25), 'F32', tokenizer);
      await compare(bytes, { rank: 8, alpha: 16, parameters });
    },
  };
  const end = () => rmSync(folder, { recursive: true, force: true });
  return { checks: [base, ...others, adapted], end };
}

async function theirTokens(
  file: string,
  prompt: Int32Array,
  adapter: string | undefined,
): Promise<number[]> {
  const llama = await openLlamaCpp(file, 2);
  try {
    const next = (await llama.open(SHAPE.contextLength, adapter)).start([...prompt]);
    const tokens: number[] = [];
    while (tokens.length < TOKENS) tokens.push(await next());
    return tokens;
  } finally {
    await llama.close();
  }
}

function ourTokens(
  model: Parameters<typeof createEngine>[0],
  prompt: Int32Array,
  adapter: Adapter | null,
): number[] {
  const engine = createEngine(model);
  const session = engine.session(adapter, SHAPE.contextLength);
  const tokens: number[] = [];
  let logits = session.prefill(prompt);
  while (tokens.length < TOKENS) {
    const [best] = logits.reduce<[number, number]>(
      ([at, most], value, i) => (value > most ? [i, value] : [at, most]),
      [0, Number.NEGATIVE_INFINITY],
    );
    tokens.push(best);
    logits = session.decode(best);
  }
  engine.dispose();
  return tokens;
}
