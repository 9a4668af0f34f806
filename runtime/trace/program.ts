// A pass as a list of operations over tensors that are written once. Each operation is cut into tiles
// of neighbouring results; a tile is computed from whole tensors by the steps of a machine.
import type { Machine, Run } from './machine.ts';

export type Values = Float32Array | Float64Array;

/** A tensor by its place in the program; `wide` ones hold binary64. */
export type Tensor = { readonly id: number; readonly length: number; readonly wide: boolean };

/** Where rows of a matrix lie in a tensor: entry (i, k) is number at + i * row + k * step. */
export type View = {
  readonly of: Tensor;
  readonly at: number;
  readonly row: number;
  readonly step: number;
};

/** Gives the values of a tensor that the operation reads. */
export type Read = (tensor: Tensor) => Values;

/** One operation of a pass: what it writes, what it reads, and how a tile of it is computed. */
export type Operation = {
  readonly name: string;
  readonly output: Tensor;
  readonly reads: readonly Tensor[];
  /** Results per tile; the last tile may have fewer. */
  readonly tile: number;
  /** Fills `out` with the results from number `from` on. */
  run(machine: Machine, read: Read, from: number, out: Values): void;
};

/** A pass: its inputs, its operations in order, and which tensors are its results. */
export type Program = {
  readonly inputs: readonly {
    readonly name: string;
    readonly tensor: Tensor;
    readonly values: Values;
  }[];
  readonly operations: readonly Operation[];
  readonly results: ReadonlyMap<string, Tensor>;
};

/** Results of elementwise operations per tile. */
const TILE = 64;

/** The rows of a [rows, width] tensor, and its columns. */
export const rowsOf = (of: Tensor, width: number): View => ({ of, at: 0, row: width, step: 1 });
export const columnsOf = (of: Tensor, width: number): View => ({ of, at: 0, row: 1, step: width });

/** Puts a program together. Shapes are the caller's affair: tensors are flat. */
export class Builder {
  readonly #inputs: Program['inputs'][number][] = [];
  readonly #operations: Operation[] = [];
  readonly #results = new Map<string, Tensor>();
  #tensors = 0;

  input(name: string, values: Values): Tensor {
    const tensor = this.#tensor(values.length, values instanceof Float64Array);
    this.#inputs.push({ name, tensor, values });
    return tensor;
  }

  result(name: string, tensor: Tensor): void {
    this.#results.set(name, tensor);
  }

  operation(
    name: string,
    size: { readonly length: number; readonly tile: number; readonly wide?: boolean },
    reads: readonly Tensor[],
    run: Operation['run'],
  ): Tensor {
    const output = this.#tensor(size.length, size.wide === true);
    this.#operations.push({ name, output, reads, tile: size.tile, run });
    return output;
  }

  /** Each of `length` results on its own. */
  each(
    name: string,
    length: number,
    reads: readonly Tensor[],
    compute: (machine: Machine, values: readonly Values[], index: number) => number,
    size: { readonly tile?: number; readonly wide?: boolean } = {},
  ): Tensor {
    const { tile = TILE, wide = false } = size;
    return this.operation(name, { length, tile, wide }, reads, (machine, read, from, out) => {
      const values = reads.map(read);
      for (let i = 0; i < out.length; i++) out[i] = compute(machine, values, from + i);
    });
  }

  /** c[rows, columns] = start + left right^T over `depth`, k ascending: the kernels' matrix product. */
  product(
    name: string,
    shape: { readonly rows: number; readonly columns: number; readonly depth: number },
    left: View,
    right: View,
    start?: Tensor,
  ): Tensor {
    const { rows, columns, depth } = shape;
    const reads = [left.of, right.of, ...(start === undefined ? [] : [start])];
    const run = (view: View, of: Values, index: number): Run => ({
      of,
      at: view.at + index * view.row,
      step: view.step,
    });
    return this.each(name, rows * columns, reads, (machine, [a, b, c], index) => {
      const column = index % columns;
      const first = run(left, a!, (index - column) / columns);
      return machine.dot(c === undefined ? 0 : c[index]!, first, run(right, b!, column), depth);
    });
  }

  build(): Program {
    return { inputs: this.#inputs, operations: this.#operations, results: this.#results };
  }

  #tensor(length: number, wide: boolean): Tensor {
    return { id: this.#tensors++, length, wide };
  }
}
