// The kernels one at a time, from arrays to arrays: what the conformance suite holds against the
// reference, and a matrix product for whoever wants no more.
import type { AttentionShape, Operations, ProductShape } from '../backend/port.ts';
import * as calls from './calls.ts';
import { type Block, type Device, gridOf } from './device.ts';
import * as layer from './layer-kernels.ts';
import { halfProduct, integerProduct, products, tile } from './matrix-kernels.ts';
import { rowsOf } from './rows.ts';

type Data = ArrayBufferView<ArrayBuffer>;

/** Places inputs and outputs, runs, reads the outputs, and releases everything whatever happens. */
async function compute<const N extends number>(
  device: Device,
  inputs: readonly Data[],
  outputs: readonly number[] & { readonly length: N },
  record: (inputs: Block[], outputs: Block[]) => void,
): Promise<Float32Array<ArrayBuffer>[]> {
  const blocks: Block[] = [];
  try {
    for (const input of inputs) blocks.push(await device.place(input));
    for (const floats of outputs) blocks.push(await device.allocate(floats * 4));
    record(blocks.slice(0, inputs.length), blocks.slice(inputs.length));
    const results: Float32Array<ArrayBuffer>[] = [];
    for (const [i, floats] of outputs.entries()) {
      results.push(await device.readFloats(blocks[inputs.length + i]!, floats));
    }
    return results;
  } finally {
    for (const block of blocks) device.release(block);
  }
}

const own = (array: Float32Array): Data => Float32Array.from(array);

/** c = a b^T by the f32 kernels: the one for few rows where it serves, or the tiled one. */
export async function productOf(
  device: Device,
  a: Float32Array,
  b: Float32Array,
  { rows, columns, depth }: ProductShape,
  half: boolean,
): Promise<Float32Array> {
  const [c] = await compute(device, [own(a), own(b)], [rows * columns], ([x, y], [z]) => {
    if (!half && depth % 4 === 0) {
      const matrix = { block: y!, storage: 'f32', rows: columns, columns: depth } as const;
      // Never read: nothing is quantised.
      calls.linear(device, x!, rows, matrix, z!, { packed: x!, scales: x! });
      return;
    }
    const strides = { row: depth, depth: 1 };
    const call = { rows, columns, depth, a: strides, b: strides };
    calls.product(device, x!, y!, z!, call, half ? halfProduct : products.f32);
  });
  return c!;
}

/** Rows of int8 with zeros up to a multiple of four. */
function inWords(values: Int8Array, rows: number, depth: number): Int8Array<ArrayBuffer> {
  const padded = Math.ceil(depth / 4) * 4;
  const words = new Int8Array(rows * padded);
  for (let row = 0; row < rows; row++) {
    words.set(values.subarray(row * depth, (row + 1) * depth), row * padded);
  }
  return words;
}

export async function integerProductOf(
  device: Device,
  a: Int8Array,
  b: Int8Array,
  { rows, columns, depth }: ProductShape,
): Promise<Int32Array> {
  const words = Math.ceil(depth / 4);
  // Unscaled: the scales are bound and not read.
  const inputs = [inWords(a, rows, depth), inWords(b, columns, depth), new Float32Array(4)];
  const [c] = await compute(device, inputs, [rows * columns], ([x, y, scales], [z]) => {
    const grid = [Math.ceil(columns / tile), Math.ceil(rows / tile)] as const;
    const values = { rows, columns, depth: words, scaled: 0, adds: 0 };
    device.run(integerProduct, values, [x!, y!, scales!, scales!, z!], grid);
  });
  return new Int32Array(c!.buffer);
}

function attentionCall({ rows, heads, keyHeads, dim, window }: AttentionShape) {
  const config = { heads, kvHeads: keyHeads, headDim: dim };
  const each = Array.from({ length: rows }, (_, position) => ({
    ...{ token: 0, position, keys: 0, end: rows },
  }));
  return { rows: rowsOf(each), values: calls.attentionValues(rows, config, window) };
}

async function attentionBackward(
  device: Device,
  arrays: readonly Float32Array[],
  shape: AttentionShape,
): Promise<readonly [Float32Array, Float32Array, Float32Array]> {
  const { rows, values } = attentionCall(shape);
  const queries = shape.rows * shape.heads;
  const keys = shape.rows * shape.keyHeads * shape.dim;
  const sizes = [queries * shape.dim, keys, keys, queries * shape.dim, queries * 2];
  const found = await compute(device, [rows, ...arrays.map(own)], sizes, (inputs, outputs) => {
    const [r, q, k, v, dout] = inputs as [Block, Block, Block, Block, Block];
    const [dq, dk, dv, out, logs] = outputs as [Block, Block, Block, Block, Block];
    device.run(layer.attention, values, [r, q, k, v, out, logs], gridOf(queries));
    const first = [r, q, k, v, out, dout, logs, dq];
    device.run(layer.attentionBackwardQueries, values, first, gridOf(queries));
    const second = [r, q, k, v, dout, logs, dk, dv];
    device.run(layer.attentionBackwardKeys, values, second, gridOf(shape.rows * shape.keyHeads));
  });
  return [found[0]!, found[1]!, found[2]!];
}

export function operationsOf(device: Device): Operations {
  return {
    async rmsnorm(x, weight, epsilon) {
      const rows = x.length / weight.length;
      const [y] = await compute(device, [own(x), own(weight)], [x.length], ([a, w], [b]) =>
        calls.rmsnorm(device, a!, w!, b!, rows, weight.length, epsilon),
      );
      return y!;
    },
    async rmsnormBackward(x, weight, epsilon, dy) {
      const rows = x.length / weight.length;
      const inputs = [own(x), own(weight), own(dy)];
      const [dx] = await compute(device, inputs, [x.length], ([a, w, d], [b]) => {
        const blocks = { x: a!, weight: w!, dy: d!, dx: b! };
        calls.rmsnormBackward(device, blocks, rows, weight.length, epsilon, false);
      });
      return dx!;
    },
    async swiglu(gate, up) {
      const inputs = [own(gate), own(up)];
      const [y] = await compute(device, inputs, [gate.length], ([a, b], [c]) =>
        calls.swiglu(device, a!, b!, c!, gate.length),
      );
      return y!;
    },
    async swigluBackward(gate, up, dproduct) {
      const { length } = gate;
      const inputs = [own(gate), own(up), own(dproduct)];
      const [dgate, dup] = await compute(device, inputs, [length, length], ([a, b, d], [x, y]) =>
        calls.swigluBackward(device, [a!, b!, d!, x!, y!], length),
      );
      return [dgate!, dup!];
    },
    async attention(q, k, v, shape) {
      const { rows, values } = attentionCall(shape);
      const logs = shape.rows * shape.heads * 2;
      const inputs = [rows, own(q), own(k), own(v)];
      const [out] = await compute(device, inputs, [q.length, logs], (placed, results) =>
        device.run(
          layer.attention,
          values,
          [...placed, ...results],
          gridOf(shape.rows * shape.heads),
        ),
      );
      return out!;
    },
    attentionBackward: (q, k, v, dout, shape) => attentionBackward(device, [q, k, v, dout], shape),
    async crossEntropy(logits, answers, weight) {
      const count = answers.length;
      const width = logits.length / count;
      const each = [...answers].map((answer) => ({
        ...{ token: 0, position: 0, keys: 0, answer, weight },
      }));
      const inputs = [rowsOf(each), own(logits)];
      const sizes = [logits.length, count * 2];
      const [gradient, found] = await compute(
        device,
        inputs,
        sizes,
        ([rows, given], [into, pairs]) => {
          device.copy(given!, into!, logits.length);
          calls.crossEntropy(device, [rows!, into!, pairs!], count, width, true);
        },
      );
      const logprobs = Float32Array.from({ length: count }, (_, i) => found![2 * i]!);
      const best = Int32Array.from({ length: count }, (_, i) => found![2 * i + 1]!);
      return { logprobs, best, gradient: gradient! };
    },
  };
}
