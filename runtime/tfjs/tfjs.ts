// TensorFlow.js as a backend for products of matrices: its CUDA build where an operator has installed
// it, any other of its builds by parameter. No model is defined in it, and nothing loads it unasked.
import type { Backend, ProductShape } from '../backend/port.ts';

type Tensor = { data(): Promise<Float32Array | Int32Array | Uint8Array>; dispose(): void };

/** The part of TensorFlow.js that is used. */
export type TensorFlow = {
  ready(): Promise<void>;
  getBackend(): string;
  tensor2d(values: Float32Array, shape: [number, number], dtype: 'float32'): Tensor;
  matMul(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor;
};

/** TFJS_PACKAGE_ABSENT: the package is not installed, or its library does not load here. */
export class TfjsError extends Error {
  readonly code = 'TFJS_PACKAGE_ABSENT';
  readonly details: { readonly expected: string; readonly found: string };
  constructor(cause: unknown) {
    const expected = '@tensorflow/tfjs-node-gpu to load';
    const found = cause instanceof Error ? cause.message : String(cause);
    super(`TFJS_PACKAGE_ABSENT: expected ${expected}, found ${found}`, { cause });
    this.name = 'TfjsError';
    this.details = { expected, found };
  }
}

async function loadPackage(): Promise<TensorFlow> {
  // Through a variable: the package is optional, and neither compiler nor bundler may ask for it.
  const name: string = '@tensorflow/tfjs-node-gpu';
  const loaded = await import(name);
  return loaded.default ?? loaded;
}

/** Sums of so many products of signed bytes are exact in f32: 1,023 times 2^14 is below 2^24. */
const exactDepth = 1023;

async function product(
  tensorflow: TensorFlow,
  a: Float32Array,
  b: Float32Array,
  { rows, columns, depth }: ProductShape,
): Promise<Float32Array> {
  const x = tensorflow.tensor2d(a, [rows, depth], 'float32');
  const y = tensorflow.tensor2d(b, [columns, depth], 'float32');
  const c = tensorflow.matMul(x, y, false, true);
  try {
    return Float32Array.from(await c.data());
  } finally {
    for (const tensor of [x, y, c]) tensor.dispose();
  }
}

/** Columns from..to of each row, as f32. */
function slice(values: Int8Array, rows: number, depth: number, from: number, to: number) {
  const part = new Float32Array(rows * (to - from));
  for (let row = 0; row < rows; row++) {
    part.set(values.subarray(row * depth + from, row * depth + to), row * (to - from));
  }
  return part;
}

/**
 * Throws TfjsError where the package cannot be had. On cards that multiply f32 as TF32 the product is
 * of class f16, and the conformance suite says so; integers are exact on all of them.
 */
export async function openTfjs(load: () => Promise<TensorFlow> = loadPackage): Promise<Backend> {
  let tensorflow: TensorFlow;
  try {
    tensorflow = await load();
    await tensorflow.ready();
  } catch (cause) {
    throw new TfjsError(cause);
  }
  return {
    name: 'tfjs',
    device: `TensorFlow.js ${tensorflow.getBackend()}`,
    product: (a, b, shape) => product(tensorflow, a, b, shape),
    async integerProduct(a, b, { rows, columns, depth }) {
      const sums = new Int32Array(rows * columns);
      for (let from = 0; from < depth; from += exactDepth) {
        const to = Math.min(depth, from + exactDepth);
        const [x, y] = [slice(a, rows, depth, from, to), slice(b, columns, depth, from, to)];
        const part = await product(tensorflow, x, y, { rows, columns, depth: to - from });
        for (let i = 0; i < sums.length; i++) sums[i]! += part[i]!;
      }
      return sums;
    },
    close: async () => undefined,
  };
}
