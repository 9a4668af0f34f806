// What a machine that computes must offer the rest of the runtime. Everything but products of
// matrices is optional: a backend says what it has by having it. Calls do not overlap.
import type { ModelConfig, ModelWeights } from '../engine/config.ts';
import type { RecordGradient, TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';

/**
 * How results may differ from the reference. integer: not at all. f32: by the order of sums. f16: by
 * operands and products rounded to f16, with sums in f32. int8: by where a rounding to eight bits
 * falls once an f32 input of it differs.
 */
export type NumericClass = 'integer' | 'f32' | 'f16' | 'int8';

/** Sizes of c[rows, columns] = a[rows, depth] b[columns, depth]^T, all row-major. */
export type ProductShape = {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
};

export type Backend = {
  readonly name: string;
  /** The hardware and its driver, as they call themselves. */
  readonly device: string;
  /** c = a b^T in f32. */
  product(a: Float32Array, b: Float32Array, shape: ProductShape): Promise<Float32Array>;
  /** The same in class f16. */
  halfProduct?(a: Float32Array, b: Float32Array, shape: ProductShape): Promise<Float32Array>;
  /** c = a b^T of signed bytes, exact in 32 bits. */
  integerProduct?(a: Int8Array, b: Int8Array, shape: ProductShape): Promise<Int32Array>;
  /** The parts of a model, one by one. */
  readonly operations?: Operations;
  /** What weights may be stored as besides f32. */
  readonly storages?: readonly WeightFormat[];
  /** Places a model; without `storage`, as f32. */
  loadModel?(weights: ModelWeights, storage?: WeightFormat): Promise<BackendModel>;
  /** Bytes per second that a kernel of two reads and a write moves, in three blocks of this size. */
  bandwidth?(blockBytes: number): Promise<number>;
  /** Gives back what it holds; models of this backend are closed with it. */
  close(): Promise<void>;
};

/** Sizes of attention: q[rows, heads, dim], k and v[rows, keyHeads, dim]; window 0 sees all. */
export type AttentionShape = {
  readonly rows: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly dim: number;
  readonly window: number;
};

/** Names and shapes as in runtime/reference/ops.ts; a backward one takes its outputs' gradients. */
export type Operations = {
  rmsnorm(x: Float32Array, weight: Float32Array, epsilon: number): Promise<Float32Array>;
  rmsnormBackward(
    x: Float32Array,
    weight: Float32Array,
    epsilon: number,
    dy: Float32Array,
  ): Promise<Float32Array>;
  swiglu(gate: Float32Array, up: Float32Array): Promise<Float32Array>;
  /** [dgate, dup]. */
  swigluBackward(
    gate: Float32Array,
    up: Float32Array,
    dproduct: Float32Array,
  ): Promise<readonly [Float32Array, Float32Array]>;
  attention(
    q: Float32Array,
    k: Float32Array,
    v: Float32Array,
    shape: AttentionShape,
  ): Promise<Float32Array>;
  /** [dq, dk, dv]. */
  attentionBackward(
    q: Float32Array,
    k: Float32Array,
    v: Float32Array,
    dout: Float32Array,
    shape: AttentionShape,
  ): Promise<readonly [Float32Array, Float32Array, Float32Array]>;
  /** Per row of logits[answers.length, width]: log-probability of its answer; and the gradient. */
  crossEntropy(
    logits: Float32Array,
    answers: Uint32Array,
    weight: number,
  ): Promise<{ logprobs: Float32Array; best: Int32Array; gradient: Float32Array }>;
};

/** A model on a backend: what engine.ts offers, with results that come later. */
export type BackendModel = {
  readonly config: ModelConfig;
  /** Log-probability of each token after the first, and the likeliest in its place. */
  score(
    adapter: Adapter | null,
    tokens: Int32Array,
  ): Promise<{ logprobs: Float32Array; best: Int32Array }>;
  /** Loss and gradient of each record, in order; absent where weights are int8. */
  recordGradients?(adapter: Adapter, records: readonly TrainingRecord[]): Promise<RecordGradient[]>;
  /** Key-value caches for sequences that run at once, each with its own adapter or none. */
  decoder?(sizes: DecoderSizes): Promise<Decoder>;
  close(): void;
};

export type DecoderSizes = {
  /** Sequences at once; each has a place from 0. */
  readonly sequences: number;
  /** Positions of the longest sequence. */
  readonly positions: number;
  /** Floats of all adapters that are placed at once. */
  readonly adapterFloats: number;
};

/** New tokens of one sequence in a step. */
export type DecoderSequence = {
  readonly place: number;
  readonly tokens: Int32Array;
  /** Position of the first of the tokens. */
  readonly start: number;
  /** From `placeAdapter`; absent: the base alone. */
  readonly adapter?: number;
};

export type Decoder = {
  placeAdapter(adapter: Adapter): number;
  removeAdapter(placed: number): void;
  /** Logits [sequences, vocabSize] after each sequence's last new token. */
  step(sequences: readonly DecoderSequence[]): Promise<Float32Array>;
  close(): void;
};
