// Kernels as functions of blocks and sizes: which kernel serves which shape, and its workgroups.
import type { ModelConfig } from '../engine/config.ts';
import { type Block, type Device, gridOf } from './device.ts';
import * as layer from './layer-kernels.ts';
import {
  integerProduct,
  narrowProductFor,
  products,
  quantize,
  type Storage,
  tile,
} from './matrix-kernels.ts';

/** A frozen matrix [rows, columns] on the device; int8 has a scale per row. */
export type Matrix = {
  readonly block: Block;
  readonly storage: Storage | 'int8';
  readonly scales?: Block;
  readonly rows: number;
  readonly columns: number;
};

/** One operand: entry (i, d) lies at `at + i * row + d * depth`. */
export type Strides = { readonly at?: number; readonly row: number; readonly depth: number };

export type ProductCall = {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: Strides;
  readonly b: Strides;
  readonly c?: { readonly at: number; readonly row: number };
  readonly adds?: boolean;
  readonly scale?: number;
};

/** From here on a tile is used: below, most of its rows would be idle. */
const tiledFrom = 17;

const elementwise = (count: number) => gridOf(Math.ceil(count / 64));

/** c (+)= scale a b^T for any strides; b lies in this storage. */
export function product(
  device: Device,
  a: Block,
  b: Block,
  c: Block,
  call: ProductCall,
  kernel: (typeof products)[Storage] = products.f32,
): void {
  const { rows, columns, depth } = call;
  device.run(
    kernel,
    {
      ...{ rows, columns, depth, scale: call.scale ?? 1, adds: call.adds === true ? 1 : 0 },
      ...{ aAt: call.a.at ?? 0, aRow: call.a.row, aDepth: call.a.depth },
      ...{ bAt: call.b.at ?? 0, bColumn: call.b.row, bDepth: call.b.depth },
      ...{ cAt: call.c?.at ?? 0, cRow: call.c?.row ?? columns },
    },
    [a, b, c],
    [Math.ceil(columns / tile), Math.ceil(rows / tile)],
  );
}

/** Where a product of quantised rows keeps them. */
export type Quantized = { readonly packed: Block; readonly scales: Block };

/** y[rows, matrix.rows] (+)= x[rows, matrix.columns] matrix^T. */
export function linear(
  device: Device,
  x: Block,
  rows: number,
  matrix: Matrix,
  y: Block,
  quantized: Quantized,
  adds = false,
): void {
  const { columns: depth, rows: columns, storage, block } = matrix;
  const blocks = [x, block, y];
  if (storage === 'int8') {
    const { packed, scales } = quantized;
    device.run(quantize, { rows, width: depth }, [x, packed, scales], gridOf(rows));
    blocks.splice(0, 2, packed, block, scales, matrix.scales!);
  }
  const fours = { rows, columns, depth: depth / 4, adds: adds ? 1 : 0 };
  if (rows < tiledFrom) {
    const { kernel, grid } = narrowProductFor(storage, rows, columns);
    device.run(kernel, fours, blocks, grid);
    return;
  }
  if (storage === 'int8') {
    const grid = [Math.ceil(columns / tile), Math.ceil(rows / tile)] as const;
    device.run(integerProduct, { ...fours, scaled: 1 }, blocks, grid);
    return;
  }
  const strides = { row: depth, depth: 1 };
  const call = { rows, columns, depth, a: strides, b: strides, adds };
  product(device, x, block, y, call, products[storage]);
}

export function rmsnorm(
  device: Device,
  x: Block,
  weight: Block,
  y: Block,
  rows: number,
  width: number,
  epsilon: number,
): void {
  device.run(layer.rmsnorm, { rows, width, epsilon }, [x, weight, y], gridOf(rows));
}

/** dx (+)= the derivative at x along dy. */
export function rmsnormBackward(
  device: Device,
  blocks: { readonly x: Block; readonly weight: Block; readonly dy: Block; readonly dx: Block },
  rows: number,
  width: number,
  epsilon: number,
  adds: boolean,
): void {
  const { x, weight, dy, dx } = blocks;
  const values = { rows, width, epsilon, adds: adds ? 1 : 0 };
  device.run(layer.rmsnormBackward, values, [x, weight, dy, dx], gridOf(rows));
}

/** Sizes of attention as the kernels take them. */
export function attentionValues(
  rows: number,
  { heads, kvHeads, headDim }: Pick<ModelConfig, 'heads' | 'kvHeads' | 'headDim'>,
  window: number,
) {
  const scale = 1 / Math.sqrt(headDim);
  return { rows, heads, keyHeads: kvHeads, fours: headDim / 4, window, scale };
}

export function swiglu(device: Device, gate: Block, up: Block, into: Block, count: number): void {
  device.run(layer.swiglu, { count }, [gate, up, into], elementwise(count));
}

export function swigluBackward(
  device: Device,
  blocks: readonly [gate: Block, up: Block, dproduct: Block, dgate: Block, dup: Block],
  count: number,
): void {
  device.run(layer.swigluBackward, { count }, blocks, elementwise(count));
}

export function addBias(device: Device, bias: Block, y: Block, rows: number, width: number): void {
  const count = rows * width;
  device.run(layer.addBias, { count, width }, [bias, y], elementwise(count));
}

/** into = a + b. */
export function sum(device: Device, a: Block, b: Block, into: Block, count: number): void {
  device.run(layer.sum, { count }, [a, b, into], elementwise(count));
}

/** x[count, columns] = the rows of the table that `rows` name as their tokens. */
export function embed(
  device: Device,
  rows: Block,
  table: Pick<Matrix, 'block' | 'storage' | 'scales' | 'columns'>,
  x: Block,
  count: number,
): void {
  const { block, storage, scales, columns: width } = table;
  const blocks = scales === undefined ? [rows, block, x] : [rows, block, x, scales];
  const kernel = layer.embeddings[storage];
  device.run(kernel, { rows: count, width }, blocks, elementwise(count * width));
}

/** Which way rope turns, and whether rows go to their places among the keys. */
export type RopeCall = { readonly turn: 1 | 0 | -1; readonly scatters: boolean };

export function rope(
  device: Device,
  blocks: readonly [rows: Block, table: Block, x: Block, y: Block],
  rows: number,
  heads: number,
  dim: number,
  { turn, scatters }: RopeCall,
): void {
  const values = { rows, heads, dim, turn, scatters: scatters ? 1 : 0 };
  device.run(layer.rope, values, blocks, elementwise((rows * heads * dim) / 2));
}

export function crossEntropy(
  device: Device,
  blocks: readonly [rows: Block, logits: Block, found: Block],
  rows: number,
  width: number,
  derives: boolean,
): void {
  const values = { rows, width, derives: derives ? 1 : 0 };
  device.run(layer.crossEntropy, values, blocks, gridOf(rows));
}
