/** Random models of the runtime suite, in memory or as Hugging Face directories under .cache. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ModelConfig,
  type ModelWeights,
  modelConfigJson,
  type NamedTensor,
  weightShapes,
  writeSafetensors,
} from '#runtime';
import { noise } from '../noise.ts';
import { CACHE } from './peers.ts';

export type Shape = { readonly name: string; readonly config: ModelConfig };

const COMMON = { rmsEps: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, headDim: 64 };

export const SMALL: Shape = {
  name: 'random 3.7 M',
  config: {
    ...COMMON,
    ...{ hiddenSize: 256, layers: 4, heads: 4, kvHeads: 2, ffnSize: 768 },
    ...{ vocabSize: 2048, contextLength: 256 },
  },
};
export const MEDIUM: Shape = {
  name: 'random 60 M',
  config: {
    ...COMMON,
    ...{ hiddenSize: 640, layers: 12, heads: 10, kvHeads: 5, ffnSize: 1760 },
    ...{ vocabSize: 8192, contextLength: 256 },
  },
};
/** SmolLM2-135M's shape. */
export const LARGE: Shape = {
  name: 'random 135 M',
  config: {
    ...COMMON,
    ...{ hiddenSize: 576, layers: 30, heads: 9, kvHeads: 3, ffnSize: 1536 },
    ...{ vocabSize: 49_152, contextLength: 512 },
  },
};
export const LOADED: Shape = {
  name: 'random 150 M bf16',
  config: {
    ...COMMON,
    ...{ hiddenSize: 768, layers: 18, heads: 12, kvHeads: 4, ffnSize: 2304 },
    ...{ vocabSize: 32_768, contextLength: 512 },
  },
};

function tensorsOf(config: ModelConfig, width = 0.08): NamedTensor[] {
  const next = noise(1);
  return [...weightShapes(config)].map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = new Float32Array(length);
    const isNorm = name.endsWith('norm.weight');
    for (let i = 0; i < length; i++) values[i] = isNorm ? 1 : next() * width;
    return { name, shape, values };
  });
}

/** Norms are 1, matrices and biases noise; every weight from a fixed seed. */
export function randomWeights(config: ModelConfig, width = 0.08): ModelWeights {
  const tensors = new Map(tensorsOf(config, width).map(({ name, values }) => [name, values]));
  return { config, tensor: (name) => tensors.get(name)! };
}

/** The model's directory, written where it is missing. */
export function modelFolder({ name, config }: Shape, dtype: 'F32' | 'BF16'): string {
  const folder = join(CACHE, 'models', `${name.replaceAll(' ', '-')}-${dtype}`);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const settings = modelConfigJson(config, 0, 0);
  writeFileSync(join(partial, 'config.json'), JSON.stringify(settings));
  writeFileSync(join(partial, 'model.safetensors'), writeSafetensors(tensorsOf(config), dtype));
  renameSync(partial, folder);
  return folder;
}
