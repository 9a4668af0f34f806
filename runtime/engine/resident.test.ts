// Weights out of a file, packed by several threads where the build can, against weights in memory.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { modelConfigJson, weightShapes } from '../model/config.ts';
import { type NamedTensor, writeSafetensors } from '../model/safetensors.ts';
import { openWeights } from '../model/weights.ts';
import { nativeStatus } from './backend.ts';
import type { ModelConfig } from './config.ts';
import { createEngine } from './engine.ts';
import { uniform } from './random.ts';

// The vocabulary is several pieces, and no multiple of eight.
const CONFIG: ModelConfig = {
  ...{ hiddenSize: 64, layers: 2, heads: 4, kvHeads: 2, headDim: 16, ffnSize: 72 },
  ...{ vocabSize: 4101, contextLength: 16, rmsEps: 1e-5, ropeTheta: 10_000 },
  tiedEmbeddings: true,
};
const TENSORS = [...weightShapes(CONFIG)].map(([name, shape], seed): NamedTensor => {
  const length = shape.reduce((product, size) => product * size, 1);
  // Exact in bf16.
  const values = Float32Array.from(
    { length },
    (_, i) => Math.round(uniform(seed, i) * 60 - 30) / 64,
  );
  return { name, shape, values };
});
const TOKENS = Int32Array.of(4100, 7, 2050, 4093, 1);
const backends = nativeStatus().usable ? (['wasm', 'native'] as const) : (['wasm'] as const);

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

async function stored(tensors: readonly NamedTensor[], dtype: 'F32' | 'BF16') {
  const folder = mkdtempSync(join(tmpdir(), 'resident-'));
  folders.push(folder);
  writeFileSync(join(folder, 'config.json'), JSON.stringify(modelConfigJson(CONFIG, 0, 0)));
  writeFileSync(join(folder, 'model.safetensors'), writeSafetensors(tensors, dtype));
  return openWeights(folder);
}

test('a model out of a file has the bits of one in memory, in every format, on every build', async () => {
  const values = new Map(TENSORS.map((one) => [one.name, one.values]));
  const inMemory = { config: CONFIG, tensor: (name: string) => values.get(name)! };
  const files = [await stored(TENSORS, 'F32'), await stored(TENSORS, 'BF16')];
  for (const weights of ['f32', 'bf16', 'f16', 'int8'] as const) {
    const options = { backend: 'wasm', training: false, weights } as const;
    const expected = createEngine(inMemory, options).score(null, TOKENS);
    for (const backend of backends) {
      for (const file of files) {
        const engine = createEngine(file, { ...options, backend });
        assert.deepEqual(engine.score(null, TOKENS), expected, `${backend}, ${weights}`);
      }
    }
  }
});

test('TENSOR_NOT_FINITE: one such value in the last row is found by every build', async () => {
  const [embedding, ...rest] = TENSORS;
  const values = embedding!.values.slice();
  values[values.length - 1] = Number.NaN;
  const broken = await stored([{ ...embedding!, values }, ...rest], 'BF16');
  for (const backend of backends) {
    const load = () => createEngine(broken, { backend, training: false, weights: 'bf16' });
    assert.throws(load, { code: 'TENSOR_NOT_FINITE' }, backend);
  }
});
