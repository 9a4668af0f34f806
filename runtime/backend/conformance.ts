// The one suite that every backend passes against the plain-TypeScript reference: integers equal,
// floats within the tolerance of their numeric class. What a backend does not have is not asked of it.
import { loraLayout, parameterLayout, weightsOf } from '../engine/config.ts';
import { createEngine, type TrainingRecord } from '../engine/engine.ts';
import { uniform } from '../engine/random.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { referenceLogits, referenceLogprobs } from '../reference/model.ts';
import * as reference from '../reference/ops.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import type { AttentionShape, Backend, BackendModel, NumericClass } from './port.ts';
import { storedValues } from './storage.ts';

/**
 * Largest difference, relative to the largest magnitude of what the reference gives. f32: sums of up
 * to 300 terms, each rounded at 2^-24, through two layers. f16: operands rounded at 2^-11. int8: the
 * reference does not round activations to 1/127 of their row's largest, twice seven times in a row.
 */
export const TOLERANCES: Readonly<Record<NumericClass, number>> = {
  integer: 0,
  f32: 2e-5,
  f16: 2e-3,
  int8: 4e-2,
};

export type Finding = {
  readonly name: string;
  readonly numericClass: NumericClass;
  /** As TOLERANCES measures it; for integers, how many differ. */
  readonly error: number;
  readonly isWithin: boolean;
};

type Numbers = ArrayLike<number>;
type Case = {
  readonly name: string;
  readonly numericClass: NumericClass;
  run(): Promise<readonly (readonly [found: Numbers, expected: Numbers])[]>;
};

/** Numbers between plus and minus half a size, by seed. */
function random(length: number, seed: number, size = 2): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, (_, i) => (uniform(seed, i) - 0.5) * size);
}

function errorOf(found: Numbers, expected: Numbers): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let [worst, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(found[i]! - expected[i]!);
    // NaN compares false with everything: it must not pass for small.
    if (!(difference <= worst))
      worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    size = Math.max(size, Math.abs(expected[i]!));
  }
  return worst / (size || 1);
}

function mismatches(found: Numbers, expected: Numbers): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let count = 0;
  for (let i = 0; i < expected.length; i++) count += found[i] === expected[i] ? 0 : 1;
  return count;
}

/** The derivative of `sum(f(x) * along)` by x, by central differences in f64. */
function slopes(x: Numbers, along: Numbers, f: (x: Float64Array) => Float64Array): Float64Array {
  const at = Float64Array.from(x);
  const value = (i: number, moved: number) => {
    at[i] = moved;
    return f(at).reduce((sum, y, j) => sum + y * along[j]!, 0);
  };
  return Float64Array.from(x, (middle, i) => {
    const step = 1e-5;
    const slope = (value(i, middle + step) - value(i, middle - step)) / (2 * step);
    at[i] = middle;
    return slope;
  });
}

// The last shapes are of few rows, and with a depth that is no multiple of four.
const productShapes = [
  { rows: 70, columns: 67, depth: 36 },
  { rows: 17, columns: 8, depth: 300 },
  { rows: 9, columns: 34, depth: 264 },
  { rows: 1, columns: 9, depth: 40 },
  { rows: 3, columns: 5, depth: 7 },
];

function* productCases(backend: Backend): Generator<Case> {
  for (const [seed, shape] of productShapes.entries()) {
    const { rows, columns, depth } = shape;
    const about = `${rows} × ${columns} × ${depth}`;
    const a = random(rows * depth, seed);
    const b = random(columns * depth, seed + 100);
    const expected = () => reference.matmulTransposed(a, b, rows, columns, depth);
    const single = async () => [[await backend.product(a, b, shape), expected()]] as const;
    yield { name: `product ${about}`, numericClass: 'f32', run: single };
    if (backend.halfProduct !== undefined) {
      const half = async () => [[await backend.halfProduct!(a, b, shape), expected()]] as const;
      yield { name: `half product ${about}`, numericClass: 'f16', run: half };
    }
    if (backend.integerProduct === undefined) continue;
    const byte = (values: Float32Array) =>
      Int8Array.from(values, (value) => Math.floor(value * 128));
    const [x, y] = [byte(a), byte(b)];
    // The worst case of both signs is among them.
    x.fill(-128, 0, depth);
    y.fill(-128, 0, depth);
    const exact = async () =>
      [
        [
          await backend.integerProduct!(x, y, shape),
          reference.matmulTransposed(x, y, rows, columns, depth),
        ],
      ] as const;
    yield { name: `integer product ${about}`, numericClass: 'integer', run: exact };
  }
}

const attentionShapes: readonly AttentionShape[] = [
  { rows: 9, heads: 4, keyHeads: 2, dim: 8, window: 0 },
  { rows: 9, heads: 3, keyHeads: 3, dim: 8, window: 4 },
];

function* operationCases({ operations }: Backend): Generator<Case> {
  if (operations === undefined) return;
  const [rows, width] = [5, 72];
  const [x, weight, dy] = [random(rows * width, 1), random(width, 2), random(rows * width, 3)];
  const norm = (values: ArrayLike<number>) => reference.rmsnorm(values, weight, rows, width, 1e-5);
  yield {
    name: 'rmsnorm',
    numericClass: 'f32',
    run: async () => [[await operations.rmsnorm(x, weight, 1e-5), norm(x)]],
  };
  yield {
    name: 'rmsnorm backward',
    numericClass: 'f32',
    run: async () => [[await operations.rmsnormBackward(x, weight, 1e-5, dy), slopes(x, dy, norm)]],
  };
  const [gate, up] = [random(200, 4, 20), random(200, 5)];
  const along = random(200, 6);
  yield {
    name: 'swiglu',
    numericClass: 'f32',
    run: async () => [[await operations.swiglu(gate, up), reference.swiglu(gate, up)]],
  };
  yield {
    name: 'swiglu backward',
    numericClass: 'f32',
    async run() {
      const [dgate, dup] = await operations.swigluBackward(gate, up, along);
      // Elementwise: one function of one number each.
      const at = (i: number, g: number, u: number) => reference.swiglu([g], [u])[0]! * along[i]!;
      const step = 1e-5;
      const expectedGate = Float64Array.from(
        gate,
        (g, i) => (at(i, g + step, up[i]!) - at(i, g - step, up[i]!)) / (2 * step),
      );
      return [
        [dgate, expectedGate],
        [dup, Float64Array.from(up, (_, i) => at(i, gate[i]!, 1))],
      ];
    },
  };
  for (const shape of attentionShapes) yield* attentionCases(operations, shape);
  yield crossEntropyCase(operations);
}

function* attentionCases(
  operations: NonNullable<Backend['operations']>,
  shape: AttentionShape,
): Generator<Case> {
  const { rows, heads, keyHeads, dim, window } = shape;
  const about = `of ${heads} heads over ${keyHeads}, window ${window}`;
  const q = random(rows * heads * dim, 7, 4);
  const [k, v] = [random(rows * keyHeads * dim, 8, 4), random(rows * keyHeads * dim, 9)];
  const dout = random(rows * heads * dim, 10);
  const attention = (a: ArrayLike<number>, b: ArrayLike<number>, c: ArrayLike<number>) =>
    reference.attention(
      ...[Float64Array.from(a), Float64Array.from(b), Float64Array.from(c)],
      ...([rows, heads, keyHeads, dim, window || undefined] as const),
    );
  yield {
    name: `attention ${about}`,
    numericClass: 'f32',
    run: async () => [[await operations.attention(q, k, v, shape), attention(q, k, v)]],
  };
  yield {
    name: `attention backward ${about}`,
    numericClass: 'f32',
    async run() {
      const [dq, dk, dv] = await operations.attentionBackward(q, k, v, dout, shape);
      return [
        [dq, slopes(q, dout, (moved) => attention(moved, k, v))],
        [dk, slopes(k, dout, (moved) => attention(q, moved, v))],
        [dv, slopes(v, dout, (moved) => attention(q, k, moved))],
      ];
    },
  };
}

function crossEntropyCase(operations: NonNullable<Backend['operations']>): Case {
  const [rows, width] = [4, 104];
  const logits = random(rows * width, 11, 12);
  const answers = Uint32Array.from({ length: rows }, (_, row) => (row * 31) % width);
  return {
    name: 'cross entropy',
    numericClass: 'f32',
    async run() {
      const found = await operations.crossEntropy(logits, answers, 0.25);
      const logprobs: number[] = [];
      const gradient: number[] = [];
      const best: number[] = [];
      for (const [row, answer] of answers.entries()) {
        const own = logits.subarray(row * width, (row + 1) * width);
        const shares = reference.softmax(own);
        logprobs.push(Math.log(shares[answer]!));
        best.push(shares.indexOf(Math.max(...shares)));
        for (const [i, share] of shares.entries()) {
          gradient.push(0.25 * (share - (i === answer ? 1 : 0)));
        }
      }
      return [
        [found.logprobs, logprobs],
        [found.gradient, gradient],
        [found.best, best],
      ];
    },
  };
}

const shapes = {
  plain: sampleConfig(),
  full: fullFeaturedConfig(),
};

/** A loaded model for the time of a case. */
async function withModel<T>(
  backend: Backend,
  shape: keyof typeof shapes,
  storage: WeightFormat,
  use: (model: BackendModel) => Promise<T>,
): Promise<T> {
  const config = shapes[shape];
  const model = await backend.loadModel!(weightsOf(config, sampleParameters(config)), storage);
  try {
    return await use(model);
  } finally {
    model.close();
  }
}

function* modelCases(backend: Backend): Generator<Case> {
  if (backend.loadModel === undefined) return;
  yield scoreCase(backend, 'plain', 'f32', 37, 5);
  yield scoreCase(backend, 'full', 'f32', 21);
  for (const storage of backend.storages ?? []) {
    yield scoreCase(backend, 'plain', storage, 2);
    // Long enough for a kernel of many rows.
    if (storage === 'int8') yield scoreCase(backend, 'plain', storage, 18);
  }
  yield gradientCase(backend, 'plain', [12, 9]);
  yield gradientCase(backend, 'full', [18]);
  yield decoderCase(backend);
}

/** Log-probabilities of a text, with an adapter of this rank or none. */
function scoreCase(
  backend: Backend,
  shape: keyof typeof shapes,
  storage: WeightFormat,
  length: number,
  rank?: number,
): Case {
  const config = shapes[shape];
  const adapter = rank === undefined ? null : sampleAdapter(config, rank);
  const { tokens } = sampleRecord(config, length);
  return {
    name: `score of ${length} tokens, ${shape} model in ${storage}, ${adapter === null ? 'no adapter' : 'adapter'}`,
    numericClass: storage === 'int8' ? 'int8' : 'f32',
    run: () =>
      withModel(backend, shape, storage, async (model) => {
        const { logprobs } = await model.score(adapter, tokens);
        const flat = sampleParameters(config);
        for (const { offset, rows, columns } of parameterLayout(config)) {
          if (rows === 1) continue;
          const values = flat.slice(offset, offset + rows * columns);
          flat.set(storedValues(values, columns, storage), offset);
        }
        return [[logprobs, referenceLogprobs(config, flat, tokens, adapter ?? undefined)]];
      }),
  };
}

/** Per-record gradients against the canonical engine's, which golden files hold to PEFT's. */
function gradientCase(
  backend: Backend,
  shape: keyof typeof shapes,
  lengths: readonly number[],
): Case {
  const config = shapes[shape];
  return {
    name: `per-record gradients of the ${shape} model`,
    numericClass: 'f32',
    run: () =>
      withModel(backend, shape, 'f32', async (model) => {
        if (model.recordGradients === undefined) return [];
        const engine = createEngine(weightsOf(config, sampleParameters(config)), {
          backend: 'wasm',
        });
        const adapter = sampleAdapter(config, 3);
        const records: TrainingRecord[] = lengths.map((length) =>
          sampleRecord(config, length, length),
        );
        // The last one leaves out a quarter of the adapter's inputs.
        const dropout = { rate: 0.25, seed: 9 };
        if (records.length > 1) records.push({ ...sampleRecord(config, 5, 5), dropout });
        const found = await model.recordGradients(adapter, records);
        const expected = engine.recordGradients(adapter, records);
        engine.dispose();
        const layout = loraLayout(config, adapter.rank);
        const pairs: [Numbers, Numbers][] = [
          [found.map(({ loss }) => loss), expected.map(({ loss }) => loss)],
        ];
        for (const [i, { gradient }] of found.entries()) {
          for (const { offset, rows, columns } of layout) {
            const end = offset + rows * columns;
            pairs.push([
              gradient.subarray(offset, end),
              expected[i]!.gradient.subarray(offset, end),
            ]);
          }
        }
        return pairs;
      }),
  };
}

/** Three sequences at once, of other lengths and adapters of other ranks: each as if alone. */
function decoderCase(backend: Backend): Case {
  const config = shapes.full;
  return {
    name: 'decoding of three sequences with two adapters of different rank',
    numericClass: 'f32',
    run: () =>
      withModel(backend, 'full', 'f32', async (model) => {
        if (model.decoder === undefined) return [];
        const decoder = await model.decoder({
          ...{ sequences: 4, positions: 32, adapterFloats: 60_000 },
        });
        const adapters = [sampleAdapter(config, 3, 5), null, sampleAdapter(config, 9, 6)];
        const texts = [9, 14, 3].map((length, i) => sampleRecord(config, length, 20 + i).tokens);
        const placed = adapters.map((one) =>
          one === null ? undefined : decoder.placeAdapter(one),
        );
        const sequence = (i: number, from: number, to: number) => ({
          ...{ place: 3 - i, tokens: texts[i]!.slice(from, to), start: from },
          ...(placed[i] === undefined ? {} : { adapter: placed[i] }),
        });
        // All but the last two tokens, then one by one.
        const steps: Float32Array[] = [];
        for (const back of [2, 1, 0]) {
          const each = texts.map(({ length }, i) => {
            const to = length - back;
            return sequence(i, back === 2 ? 0 : to - 1, to);
          });
          steps.push(await decoder.step(each));
        }
        decoder.close();
        const flat = sampleParameters(config);
        return texts.flatMap((text, i) => {
          const all = referenceLogits(config, flat, text, adapters[i] ?? undefined);
          const { vocabSize } = config;
          return [2, 1, 0].map((back, step): [Numbers, Numbers] => {
            const row = text.length - back - 1;
            return [
              steps[step]!.subarray(i * vocabSize, (i + 1) * vocabSize),
              all.subarray(row * vocabSize, (row + 1) * vocabSize),
            ];
          });
        });
      }),
  };
}

/** Runs the suite, case by case; a case that rejects ends it. */
export async function* conformance(backend: Backend): AsyncGenerator<Finding> {
  const cases = [...productCases(backend), ...operationCases(backend), ...modelCases(backend)];
  for (const { name, numericClass, run } of cases) {
    const measure = numericClass === 'integer' ? mismatches : errorOf;
    const errors = (await run()).map(([found, expected]) => measure(found, expected));
    if (errors.length === 0) continue;
    const error = Math.max(...errors);
    yield { name, numericClass, error, isWithin: error <= TOLERANCES[numericClass] };
  }
}
