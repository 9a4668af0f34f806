/** Shares of what the machine can do: matrix products of its arithmetic, int8 decoding of its memory. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildAddon, createEngine } from '#runtime';
import { compare, type Row, type SuiteOptions } from '../stats.ts';
import { LARGE, MEDIUM, randomWeights } from './models.ts';
import { ROOT } from './peers.ts';

type Machine = {
  /** Seconds; see machine.c. */
  measure(
    kind: number,
    threads: number,
    m: number,
    n: number,
    depth: number,
    repeats: number,
  ): number;
  /** Float operations of one round of kind 0. */
  readonly peakOperations: number;
};

const PEAK = 0;
const GEMM = 1;
const STREAM = 2;
const THREADS = 2;
const TOKENS = 128;
/** What is measured at a time, in float operations per thread and in bytes. */
const OPERATIONS = 2e10;
/** Larger than any cache that this process may have for itself. */
const STREAM_MIB = 1024;
const DECODED = 24;

/** The products of one layer of the medium model over a record: T1's arithmetic. */
function gemmRow(machine: Machine, pairs: number): Row {
  const { hiddenSize, ffnSize, heads, kvHeads, headDim } = MEDIUM.config;
  const shapes = [
    [heads * headDim, hiddenSize],
    [kvHeads * headDim, hiddenSize],
    [hiddenSize, heads * headDim],
    [ffnSize, hiddenSize],
    [hiddenSize, ffnSize],
  ] as const;
  const gemm = () => {
    let seconds = 0;
    let operations = 0;
    for (const [n, depth] of shapes) {
      const one = 2 * TOKENS * n * depth;
      const repeats = Math.ceil(OPERATIONS / shapes.length / one);
      seconds += machine.measure(GEMM, THREADS, TOKENS, n, depth, repeats);
      operations += one * repeats * THREADS;
    }
    return operations / seconds / 1e9;
  };
  const peak = () => {
    const rounds = Math.ceil(OPERATIONS / machine.peakOperations);
    const seconds = machine.measure(PEAK, THREADS, 0, 0, 0, rounds);
    return (rounds * machine.peakOperations * THREADS) / seconds / 1e9;
  };
  const what = 'f32 products of a layer, two threads / separate multiplies and adds in registers';
  return compare(
    { id: 'G1', what, model: MEDIUM.name, target: 0.8, better: 'high' },
    pairs,
    ['gemm GFLOP/s', gemm],
    ['mul+add GFLOP/s', peak],
  );
}

function decodeRow(machine: Machine, pairs: number): Row {
  const weights = randomWeights(LARGE.config);
  const engine = createEngine(weights, { backend: 'native', training: false, weights: 'int8' });
  const { hiddenSize, layers, heads, kvHeads, headDim, ffnSize, vocabSize } = LARGE.config;
  const attention = 2 * hiddenSize * (heads + kvHeads) * headDim;
  // The embedding is the output head: every matrix is read once per token.
  const bytes = layers * (attention + 3 * hiddenSize * ffnSize) + vocabSize * hiddenSize;
  const session = engine.session(null, DECODED * (pairs + 2));
  session.prefill(Int32Array.of(1, 2, 3));
  let token = 3;
  const decode = () => {
    const startedAtMs = performance.now();
    for (let i = 0; i < DECODED; i++) {
      session.decode(token);
      token = (token * 7919 + 13) % vocabSize;
    }
    return (bytes * DECODED) / (performance.now() - startedAtMs) / 1e6;
  };
  const stream = () => {
    const seconds = machine.measure(STREAM, 1, STREAM_MIB, 0, 0, 2);
    return (STREAM_MIB * 2 ** 20 * 2) / seconds / 1e9;
  };
  const row = compare(
    {
      ...{ id: 'D1', what: 'W8A8 decode, one text and thread / read stream of 1 GiB, one thread' },
      ...{ model: LARGE.name, target: 0.75, better: 'high' },
    },
    pairs,
    ['decode GB/s', decode],
    ['stream GB/s', stream],
  );
  return { ...row, arms: { ...row.arms, 'tok/s': (row.arms['decode GB/s']! * 1e9) / bytes } };
}

/** G1 and D1. */
export function machineRows({ pairs, wants }: SuiteOptions): Row[] {
  const file = buildAddon(join(ROOT, 'bench', 'runtime', 'machine.c'));
  const machine = createRequire(import.meta.url)(file) as Machine;
  return [
    ...(wants('G1') ? [gemmRow(machine, pairs)] : []),
    ...(wants('D1') ? [decodeRow(machine, pairs)] : []),
  ];
}
