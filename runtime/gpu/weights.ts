// A model's frozen tensors on the device, in the storage that was asked for, and the adapters beside
// them: one block for all, so that rows with different adapters can share a dispatch.

import { toHalves } from '../backend/storage.ts';
import { openArena } from '../engine/backend.ts';
import {
  checkConfig,
  layoutSize,
  loraLayout,
  type ModelConfig,
  type ModelWeights,
  parameterLayout,
} from '../engine/config.ts';
import { type Adapter, ModelInputError } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { ropeTable } from '../engine/rope.ts';
import { int8Rows } from '../model/numbers.ts';
import type { Matrix } from './calls.ts';
import type { Block, Device } from './device.ts';
import { GpuError } from './errors.ts';

/** Heads wider than this have no kernel. */
const headDimMax = 256;

async function placeMatrix(
  device: Device,
  values: Float32Array<ArrayBuffer>,
  rows: number,
  columns: number,
  storage: WeightFormat,
): Promise<Matrix> {
  const shape = { rows, columns, storage };
  if (storage === 'int8') {
    const { values: steps, scales } = int8Rows(values, rows, columns);
    return { ...shape, block: await device.place(steps), scales: await device.place(scales) };
  }
  const data = storage === 'f32' ? values : toHalves(values, storage);
  return { ...shape, block: await device.place(data) };
}

/** The placed tensors of a model by their HF names, and its table of rotations. */
export class PlacedWeights {
  readonly config: ModelConfig;
  readonly rope: Block;
  readonly #matrices: ReadonlyMap<string, Matrix>;

  private constructor(config: ModelConfig, matrices: ReadonlyMap<string, Matrix>, rope: Block) {
    this.config = config;
    this.#matrices = matrices;
    this.rope = rope;
  }

  static async place(
    device: Device,
    weights: ModelWeights,
    storage: WeightFormat,
  ): Promise<PlacedWeights> {
    const { config } = weights;
    checkConfig(config);
    if (config.headDim > headDimMax) {
      const expected = `heads of at most ${headDimMax} numbers`;
      throw new GpuError('GPU_BUFFER_SIZE', expected, `${config.headDim}`);
    }
    const matrices = new Map<string, Matrix>();
    try {
      for (const { name, rows, columns } of parameterLayout(config)) {
        const values = new Float32Array(rows * columns);
        if (weights.fill === undefined) values.set(weights.tensor(name));
        else weights.fill(name, values);
        const kept = rows === 1 ? 'f32' : storage;
        matrices.set(name, await placeMatrix(device, values, rows, columns, kept));
      }
      return new PlacedWeights(config, matrices, await placeRope(device, config));
    } catch (error) {
      for (const matrix of matrices.values()) releaseMatrix(device, matrix);
      throw error;
    }
  }

  matrix(name: string): Matrix {
    const found = this.#matrices.get(name);
    if (found === undefined) throw new Error(`expected a tensor of this model, found name ${name}`);
    return found;
  }

  /** The vector of this name; undefined where the model has none. */
  vector(name: string): Block | undefined {
    return this.#matrices.get(name)?.block;
  }

  release(device: Device): void {
    for (const matrix of this.#matrices.values()) releaseMatrix(device, matrix);
    device.release(this.rope);
  }
}

function releaseMatrix(device: Device, { block, scales }: Matrix): void {
  device.release(block);
  if (scales !== undefined) device.release(scales);
}

/** [position, headDim / 2] of (cos, sin). */
async function placeRope(device: Device, config: ModelConfig): Promise<Block> {
  const { contextLength, headDim, ropeTheta, ropeScaling } = config;
  const { frequencies, scale } = ropeTable(openArena('wasm'), headDim, ropeTheta, ropeScaling);
  const table = new Float32Array(contextLength * headDim);
  let at = 0;
  for (let position = 0; position < contextLength; position++) {
    for (const frequency of frequencies) {
      const angle = Math.fround(position * frequency);
      table[at++] = Math.cos(angle) * scale;
      table[at++] = Math.sin(angle) * scale;
    }
  }
  return device.place(table);
}

/** Where an adapter lies: `at` floats into the pool's block. */
export type PlacedAdapter = {
  readonly index: number;
  readonly at: number;
  readonly rank: number;
  readonly scale: number;
  readonly count: number;
};

const entryWords = 4;

/** Adapters of any rank in one block; the first gap that fits is taken. */
export class AdapterPool {
  readonly factors: Block;
  readonly entries: Block;
  readonly #device: Device;
  readonly #config: ModelConfig;
  readonly #floats: number;
  readonly #placed: (PlacedAdapter | undefined)[];

  private constructor(
    device: Device,
    config: ModelConfig,
    floats: number,
    placesMax: number,
    factors: Block,
    entries: Block,
  ) {
    this.#device = device;
    this.#config = config;
    this.#floats = floats;
    this.#placed = new Array(placesMax).fill(undefined);
    this.factors = factors;
    this.entries = entries;
  }

  static async open(
    device: Device,
    config: ModelConfig,
    floats: number,
    placesMax: number,
  ): Promise<AdapterPool> {
    const factors = await device.allocate(floats * 4);
    const entries = await device.allocate(placesMax * entryWords * 4);
    return new AdapterPool(device, config, floats, placesMax, factors, entries);
  }

  /** Throws ADAPTER_SIZE for a vector of another model, GPU_OUT_OF_MEMORY when it does not fit. */
  place({ rank, alpha, parameters }: Adapter): PlacedAdapter {
    const count = layoutSize(loraLayout(this.#config, rank));
    if (parameters.length !== count) {
      const expected = `${count} parameters at rank ${rank}`;
      throw new ModelInputError('ADAPTER_SIZE', expected, parameters.length);
    }
    const index = this.#placed.indexOf(undefined);
    const at = this.#gap(count);
    if (index < 0 || at === undefined) {
      const expected = `room for ${count} floats and an entry among the adapters`;
      throw new GpuError('GPU_OUT_OF_MEMORY', expected, `${this.#floats} floats, partly taken`);
    }
    const placed = { index, at, rank, scale: alpha / rank, count };
    this.#placed[index] = placed;
    const words = new Uint32Array([at, rank, 0, 0]);
    new Float32Array(words.buffer)[2] = placed.scale;
    this.#device.write(this.entries, words, index * entryWords * 4);
    this.#device.write(this.factors, Float32Array.from(parameters), at * 4);
    return placed;
  }

  get(index: number): PlacedAdapter {
    const found = this.#placed[index];
    if (found === undefined) throw new Error(`expected a placed adapter, found number ${index}`);
    return found;
  }

  remove(index: number): void {
    this.#placed[index] = undefined;
  }

  release(): void {
    this.#device.release(this.factors);
    this.#device.release(this.entries);
  }

  #gap(count: number): number | undefined {
    const taken = this.#placed.filter((one) => one !== undefined).sort((a, b) => a.at - b.at);
    let at = 0;
    for (const one of taken) {
      if (one.at - at >= count) return at;
      at = one.at + one.count;
    }
    return this.#floats - at >= count ? at : undefined;
  }
}
