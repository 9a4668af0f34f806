// A pass run as a sequence of committed steps: a Merkle tree over its operations, each a tree over its
// tiles, each a tree over its steps. Nothing but roots is kept; whatever is opened is computed anew.
import {
  buildTree,
  concat,
  equal,
  keccak256,
  type MerkleProof,
  type MerkleTree,
  merkleRoot,
  proveLeaf,
  verifyLeaf,
} from '#crypto';
import { Machine, Recorder } from './machine.ts';
import type { Operation, Program, Read, Tensor, Values } from './program.ts';
import { type Step, stepBytes } from './step.ts';

/**
 * How far down a trace commits when it is made. `tiles`: to the results of every tile, which costs
 * little more than the pass; a tile's steps are committed to when a dispute has come down to it.
 * `steps`: to every step at once, for small passes.
 */
export type Detail = 'tiles' | 'steps';

/** Shows steps and computes: Recorder, and in tests those that lie. */
type RecorderFor = (
  show: (step: Step) => void,
  place: { readonly operation: number; readonly tile: number },
) => Recorder;

export type TraceOptions = {
  readonly detail?: Detail;
  readonly recorder?: RecorderFor;
};

/** What a dispute or a reader asked for does not exist: found, and how many there are. */
export class TraceIndexError extends RangeError {
  readonly code = 'TRACE_INDEX';
  constructor(what: 'operation' | 'tile' | 'step', found: number, count: number) {
    super(`expected ${what} below ${count}, found ${found}`);
    this.name = 'TraceIndexError';
  }
}

/** A step with its place and the hashes that lead from it to the trace's root. */
export type Opening = {
  readonly operation: number;
  readonly name: string;
  readonly tile: number;
  readonly step: Step;
  /** Root of the tile's steps: what StepJudge takes, with `stepProof`. */
  readonly stepsRoot: Uint8Array;
  readonly stepProof: MerkleProof;
  readonly tileBytes: Uint8Array;
  readonly tileProof: MerkleProof;
  readonly operationRoot: Uint8Array;
  readonly operationProof: MerkleProof;
};

const INPUT_TILE = 1024;
const NO_STEPS = new Uint8Array(32);

/** Little-endian bytes of the values, every NaN the canonical one. */
function valueBytes(values: Values): Uint8Array {
  const width = values.BYTES_PER_ELEMENT;
  const view = new DataView(new ArrayBuffer(values.length * width));
  for (const [i, value] of values.entries()) {
    if (width === 4) {
      if (Number.isNaN(value)) view.setUint32(4 * i, 0x7fc00000, true);
      else view.setFloat32(4 * i, value, true);
    } else if (Number.isNaN(value)) view.setBigUint64(8 * i, 0x7ff8000000000000n, true);
    else view.setFloat64(8 * i, value, true);
  }
  return new Uint8Array(view.buffer);
}

const arrayFor = ({ length, wide }: Tensor): Values =>
  wide ? new Float64Array(length) : new Float32Array(length);

/** Bytes of a tile as a leaf: the root of its steps (zeros when not committed) and its values' hash. */
const tileBytes = (stepsRoot: Uint8Array, values: Values) =>
  concat(stepsRoot, keccak256(valueBytes(values)));

/** A committed run of a program. Inputs come first among its operations, and have no steps. */
export class Trace {
  readonly program: Program;
  readonly detail: Detail;
  /** One root per input and operation, in order. */
  readonly operations: MerkleTree;
  readonly #results = new Map<string, Values>();
  readonly #recorder: RecorderFor | undefined;
  #near: { readonly operation: number; readonly read: Read; tiles?: MerkleTree } | undefined;

  constructor(program: Program, options: TraceOptions = {}) {
    this.program = program;
    this.detail = options.detail ?? 'tiles';
    this.#recorder = options.recorder;
    const { inputs, operations, results } = program;
    const kept = new Set([...results.values()].map(({ id }) => id));
    const lastRead = new Map<number, number>();
    for (const [at, { reads }] of operations.entries()) {
      for (const { id } of reads) lastRead.set(id, at);
    }
    const values = new Map<number, Values>(inputs.map(({ tensor, values }) => [tensor.id, values]));
    const read: Read = ({ id }) => values.get(id)!;
    const roots = inputs.map(({ values }) => merkleRoot(inputTiles(values)));
    for (const [at, operation] of operations.entries()) {
      const { output, reads } = operation;
      const { leaves, out } = this.#run(at, read, this.detail);
      values.set(output.id, out);
      roots.push(merkleRoot(leaves));
      for (const { id } of reads) {
        if (lastRead.get(id) === at && !kept.has(id)) values.delete(id);
      }
    }
    for (const [name, tensor] of results) this.#results.set(name, read(tensor));
    this.operations = buildTree(roots);
  }

  /** The commitment: 32 bytes. */
  get root(): Uint8Array {
    return this.operations.root;
  }

  /** A result of the pass by name. */
  result(name: string): Values {
    const found = this.#results.get(name);
    if (found === undefined) throw new Error(`expected a result of this pass, found name ${name}`);
    return found;
  }

  /** Name of input or operation `at`. */
  nameOf(at: number): string {
    return (this.program.inputs[at] ?? this.#operation(at)).name;
  }

  /** The tree over the tiles of input or operation `at`. */
  tiles(at: number): MerkleTree {
    const input = this.program.inputs[at];
    if (input !== undefined) return buildTree(inputTiles(input.values));
    const near = this.#nearTo(at);
    near.tiles ??= buildTree(this.#run(this.#own(at), near.read, this.detail).leaves);
    return near.tiles;
  }

  /** Shows the steps of a tile in order and gives what it computes; an input's tile has no steps. */
  visit(at: number, tile: number, show: (step: Step, index: number) => void): Values {
    const input = this.program.inputs[at];
    if (input !== undefined) {
      return input.values.subarray(tile * INPUT_TILE, (tile + 1) * INPUT_TILE);
    }
    let shown = 0;
    return this.#record(at, tile, (step) => show(step, shown++));
  }

  /** The tree over one tile's steps. */
  steps(at: number, tile: number): MerkleTree {
    const leaves: Uint8Array[] = [];
    this.visit(at, tile, (step) => leaves.push(stepBytes(step)));
    return buildTree(leaves);
  }

  /** Step `index` of a tile, with its proofs. @throws TraceIndexError if there is no such step. */
  open(at: number, tile: number, index: number): Opening {
    const leaves: Uint8Array[] = [];
    let step: Step | undefined;
    const values = this.visit(at, tile, (each, place) => {
      if (place === index) step = each;
      leaves.push(stepBytes(each));
    });
    if (step === undefined) throw new TraceIndexError('step', index, leaves.length);
    const steps = buildTree(leaves);
    const tiles = this.tiles(at);
    return {
      operation: at,
      name: this.nameOf(at),
      tile,
      step,
      stepsRoot: steps.root,
      stepProof: proveLeaf(steps, index),
      tileBytes: tileBytes(this.detail === 'steps' ? steps.root : NO_STEPS, values),
      tileProof: proveLeaf(tiles, tile),
      operationRoot: tiles.root,
      operationProof: proveLeaf(this.operations, at),
    };
  }

  #own(at: number): number {
    return at - this.program.inputs.length;
  }

  #operation(at: number): Operation {
    const { operations, inputs } = this.program;
    const found = operations[this.#own(at)];
    if (found === undefined) {
      throw new TraceIndexError('operation', at, inputs.length + operations.length);
    }
    return found;
  }

  /** Leaves of an operation's tiles and its values, out of what it reads. */
  #run(own: number, read: Read, detail: Detail): { leaves: Uint8Array[]; out: Values } {
    const operation = this.program.operations[own]!;
    const { output, tile } = operation;
    const out = arrayFor(output);
    const leaves: Uint8Array[] = [];
    const machine = new Machine();
    const recorder = this.#recorder;
    for (let from = 0, index = 0; from < output.length; from += tile, index++) {
      const part = out.subarray(from, from + tile);
      let root = NO_STEPS;
      if (detail === 'steps') {
        const steps: Uint8Array[] = [];
        const show = (step: Step) => void steps.push(stepBytes(step));
        operation.run(this.#machine(own, index, show), read, from, part);
        root = merkleRoot(steps) as Uint8Array<ArrayBuffer>;
      } else {
        const chosen = recorder === undefined ? machine : this.#machine(own, index, () => {});
        operation.run(chosen, read, from, part);
      }
      leaves.push(tileBytes(root, part));
    }
    return { leaves, out };
  }

  #record(at: number, tile: number, show: (step: Step) => void): Values {
    const { output, tile: size, run } = this.#operation(at);
    const count = Math.ceil(output.length / size);
    if (!Number.isInteger(tile) || tile < 0 || tile >= count) {
      throw new TraceIndexError('tile', tile, count);
    }
    const from = tile * size;
    const out = arrayFor({ ...output, length: Math.min(size, output.length - from) });
    run(this.#machine(this.#own(at), tile, show), this.#nearTo(at).read, from, out);
    return out;
  }

  #machine(own: number, tile: number, show: (step: Step) => void): Machine {
    const operation = own + this.program.inputs.length;
    return this.#recorder?.(show, { operation, tile }) ?? new Recorder(show);
  }

  /** What operation `at` reads, computed anew out of the inputs; kept until another is asked for. */
  #nearTo(at: number): { readonly read: Read; tiles?: MerkleTree } {
    this.#operation(at);
    if (this.#near?.operation === at) return this.#near;
    const { inputs, operations } = this.program;
    const own = this.#own(at);
    const needed = new Set(operations[own]!.reads.map(({ id }) => id));
    const due: number[] = [];
    for (let before = own - 1; before >= 0; before--) {
      const { output, reads } = operations[before]!;
      if (!needed.has(output.id)) continue;
      due.push(before);
      for (const { id } of reads) needed.add(id);
    }
    const values = new Map<number, Values>(inputs.map(({ tensor, values }) => [tensor.id, values]));
    const read: Read = ({ id }) => values.get(id)!;
    for (const before of due.reverse()) {
      values.set(operations[before]!.output.id, this.#run(before, read, 'tiles').out);
    }
    this.#near = { operation: at, read };
    return this.#near;
  }
}

function inputTiles(values: Values): Uint8Array[] {
  const leaves: Uint8Array[] = [];
  for (let from = 0; from < values.length; from += INPUT_TILE) {
    leaves.push(tileBytes(NO_STEPS, values.subarray(from, from + INPUT_TILE)));
  }
  return leaves;
}

/**
 * Whether an opened step stands under this root where it says. Of a trace with detail `tiles` the
 * tile is proved, and the step under `stepsRoot`, which such a trace has not committed to beforehand.
 */
export function verifyOpening(root: Uint8Array, opening: Opening, detail: Detail): boolean {
  const { step, stepsRoot, stepProof, operationRoot } = opening;
  if (opening.tileProof.index !== opening.tile) return false;
  if (opening.operationProof.index !== opening.operation) return false;
  const committed = opening.tileBytes.slice(0, 32);
  return (
    equal(committed, detail === 'steps' ? stepsRoot : NO_STEPS) &&
    verifyLeaf(stepsRoot, stepBytes(step), stepProof) &&
    verifyLeaf(operationRoot, opening.tileBytes, opening.tileProof) &&
    verifyLeaf(root, operationRoot, opening.operationProof)
  );
}
