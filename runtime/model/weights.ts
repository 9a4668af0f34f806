/**
 * The configuration and weights of a model directory, without its tokenizer: one safetensors file or
 * an index and its shards, every tensor checked against the configuration before any is read.
 */
import { basename } from 'node:path';
import type { ModelConfig, TensorPlace } from '../engine/config.ts';
import { readModelConfig, weightShapes } from './config.ts';
import { ModelError } from './errors.ts';
import { type ModelFiles, openFiles } from './files.ts';
import { type Dtype, openSafetensors, type SafetensorsFile } from './safetensors.ts';
import { type StoredWeights, weightsAt } from './stored.ts';

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';
/** Tensors of older checkpoints that hold nothing: the rotary frequencies follow from the config. */
const IDLE = /(^|\.)rotary_emb\.inv_freq$/;

const FORMATS: Readonly<Record<Dtype, TensorPlace['format']>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
};

/**
 * Opens the weights of a directory.
 *
 * @throws ModelError naming file, key, what was expected and what was found
 */
export function openWeights(directory: string): Promise<StoredWeights> {
  return readWeights(openFiles(directory, []));
}

/** The same from files that something else reads too. */
export async function readWeights(files: ModelFiles): Promise<StoredWeights> {
  const config = readModelConfig(await files.json('config.json', 'CONFIG_INVALID'));
  const found = await filesOf(files);
  checkWeights(
    config,
    new Map([...found].map(([name, { entries }]) => [name, entries.get(name)!.shape])),
  );
  const places = new Map<string, TensorPlace>();
  for (const name of weightShapes(config).keys()) {
    const { entries, dataAt, place } = found.get(name)!;
    const { dtype, shape, begin } = entries.get(name)!;
    const [rows, columns] = shape.length === 1 ? [1, shape[0]!] : (shape as [number, number]);
    places.set(name, { ...place!, at: dataAt + begin, format: FORMATS[dtype], rows, columns });
  }
  return weightsAt(config, places);
}

/** The file of each tensor, from one safetensors file or from an index of several. */
async function filesOf(files: ModelFiles): Promise<Map<string, SafetensorsFile>> {
  const places = new Map<string, SafetensorsFile>();
  const open = async (name: string) => openSafetensors(await files.source(name), name);
  if ((await files.has(SINGLE_FILE)) || !(await files.has(INDEX_FILE))) {
    const file = await open(SINGLE_FILE);
    for (const name of file.entries.keys()) places.set(name, file);
    return places;
  }
  const index = await files.json(INDEX_FILE, 'SAFETENSORS_INDEX_INVALID');
  const shards = new Map<string, SafetensorsFile>();
  for (const [name, shard] of shardOfTensors(index)) {
    const file = shards.get(shard) ?? (await open(shard));
    shards.set(shard, file);
    if (!file.entries.has(name)) throw missing(name, shard);
    places.set(name, file);
  }
  return places;
}

function shardOfTensors(index: unknown): [name: string, shard: string][] {
  const map =
    typeof index === 'object' && index !== null
      ? (index as { weight_map?: unknown }).weight_map
      : undefined;
  if (typeof map !== 'object' || map === null) {
    throw indexProblem('weight_map', 'an object', map);
  }
  return Object.entries(map).map(([name, shard]: [string, unknown]) => {
    // A plain name only: an index must not reach files outside its directory.
    if (typeof shard !== 'string' || basename(shard) !== shard || !shard.endsWith('.safetensors')) {
      throw indexProblem(name, 'the plain name of a .safetensors file', shard);
    }
    return [name, shard];
  });
}

function indexProblem(key: string, expected: string, found: unknown): ModelError {
  return new ModelError('SAFETENSORS_INDEX_INVALID', 'the index of shards cannot be used', {
    file: INDEX_FILE,
    key,
    expected,
    found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
  });
}

/** How the errors of a model's weights name them. */
type WeightNames = { readonly file?: string; readonly named?: (name: string) => string };

/**
 * Every weight is there with its shape, and none that the engine would leave out.
 *
 * @throws ModelError TENSOR_MISSING | TENSOR_SHAPE | TENSOR_UNEXPECTED | BIAS_UNSUPPORTED
 */
export function checkWeights(
  config: ModelConfig,
  found: ReadonlyMap<string, readonly number[]>,
  { file, named = (name) => name }: WeightNames = {},
): void {
  const shapes = weightShapes(config);
  const where = file === undefined ? {} : { file };
  const remedy = 'use the configuration that belongs to these weights';
  for (const [name, shape] of shapes) {
    const stored = found.get(name);
    if (stored === undefined) throw missing(named(name), file);
    if (stored.length !== shape.length || stored.some((value, i) => value !== shape[i])) {
      throw new ModelError('TENSOR_SHAPE', 'a weight does not fit the configuration', {
        ...where,
        key: named(name),
        expected: `shape [${shape.join(', ')}]`,
        found: `[${stored.join(', ')}]`,
        remedy,
      });
    }
  }
  for (const name of found.keys()) {
    if (shapes.has(name) || IDLE.test(name)) continue;
    // Some files hold the output head twice; the config says that it is the embedding.
    if (name === 'lm_head.weight' && config.tiedEmbeddings) continue;
    const isBias = name.endsWith('.bias');
    const code = isBias ? 'BIAS_UNSUPPORTED' : 'TENSOR_UNEXPECTED';
    throw new ModelError(code, 'the configuration does not speak of this weight', {
      ...where,
      key: name,
      expected: `only the ${shapes.size} weights of this configuration`,
      found: isBias ? 'a bias' : 'another',
      remedy,
    });
  }
}

function missing(name: string, file?: string): ModelError {
  return new ModelError('TENSOR_MISSING', 'the model lacks a weight', {
    ...(file === undefined ? {} : { file }),
    key: name,
    expected: 'a tensor of this name',
    found: 'none',
  });
}
