// The model graph in an arena: places weights and adapters, sizes workspaces, and runs one sequence
// through the kernels. Everything above this file deals in arrays, everything below in offsets.
import type { Arena } from './arena.ts';
import {
  biasBits,
  checkConfig,
  layoutSize,
  loraLayout,
  type ModelConfig,
  ModelConfigError,
  type ModelWeights,
  parameterLayout,
} from './config.ts';
import { formatNumber, loadResident, type WeightFormat } from './resident.ts';
import { ropeTable } from './rope.ts';

/** A LoRA adapter: flat parameters in loraLayout order, applied with scale alpha / rank. */
export type Adapter = {
  readonly rank: number;
  readonly alpha: number;
  readonly parameters: Float32Array;
};

/** Input the model cannot take: too many or too few tokens, or an id outside the vocabulary. */
export class ModelInputError extends Error {
  readonly code: 'CONTEXT_LENGTH' | 'TOKEN_RANGE' | 'TARGET_MASK' | 'ADAPTER_SIZE';
  readonly details: { readonly expected: string; readonly found: number };
  constructor(code: ModelInputError['code'], expected: string, found: number) {
    super(`${code}: expected ${expected}, found ${found}`);
    this.name = 'ModelInputError';
    this.code = code;
    this.details = { expected, found };
  }
}

const infer = 0;
const trainAdapter = 1;
const trainFull = 2;
const modelWords = 32;

/** A model placed in an arena. */
export class Graph {
  readonly arena: Arena;
  readonly config: ModelConfig;
  readonly parameterCount: number;
  /** Bytes of the weights as the passes read them. */
  readonly residentBytes: number;
  readonly #model: number;
  readonly #parameters: number;
  #work = 0;
  #workBytes = 0;
  #slots = new Map<string, { at: number; bytes: number }>();

  /**
   * The weights are not yet there. Without `format`, or with null, row-major f32 parameters are kept
   * too, for those who change them: fill `parameters()` and call `pack()`. With a format nothing but
   * what the passes need is kept: call `load()`.
   */
  constructor(
    arena: Arena,
    config: ModelConfig,
    backward: boolean,
    format: WeightFormat | null = null,
  ) {
    checkConfig(config);
    if (backward && (format === 'bf16' || format === 'f16')) {
      throw new ModelConfigError('weights', 'f32 or int8 for training', format);
    }
    // Gradients go back through the int8 weights themselves, through f32 ones in an order of their own.
    const packsBack = backward && format !== 'int8';
    this.arena = arena;
    this.config = config;
    const count = layoutSize(parameterLayout(config));
    this.parameterCount = count;
    this.#model = arena.allocate(modelWords * 4);
    const windows = config.windows === undefined ? 0 : arena.allocate(config.layers * 4);
    if (windows !== 0) arena.u32(windows, config.layers).set(config.windows!);
    const { hiddenSize, layers, heads, kvHeads, headDim, ffnSize, vocabSize } = config;
    const tied = config.tiedEmbeddings ? 1 : 0;
    const words = arena.u32(this.#model, modelWords).fill(0);
    words.set([hiddenSize, layers, heads, kvHeads, headDim, ffnSize, vocabSize]);
    words.set([config.contextLength, tied], 7);
    arena.f32(this.#model + 36, 1)[0] = config.rmsEps;
    words.set([biasBits(config), config.headNorms === true ? 1 : 0, windows], 14);
    words[18] = formatNumber(format ?? 'f32');
    if (arena.call('model_size', this.#model) !== count)
      throw new Error('parameter layouts differ');
    this.#parameters = format === null ? arena.allocate(count * 4) : 0;
    const residentBytes = arena.call('resident_size', this.#model);
    const forward = arena.allocate(residentBytes);
    const packedBackward = packsBack ? arena.allocate(count * 4) : 0;
    const table = arena.allocate(config.contextLength * config.headDim * 4);
    const vectorBytes = arena.call('vectors_size', this.#model) * 4;
    const vectors = arena.allocate(vectorBytes);
    const header = arena.u32(this.#model, modelWords);
    header.set([this.#parameters, forward, packedBackward, table], 10);
    header[17] = vectors;
    this.residentBytes = residentBytes + vectorBytes + (packsBack ? count * 4 : 0);
    this.#buildRope();
  }

  /** Brings the weights in, tensor by tensor. */
  load(weights: ModelWeights, nameOf?: (name: string) => string | undefined): void {
    loadResident(this.arena, this.#model, weights, this.config, nameOf);
  }

  #buildRope(): void {
    const { headDim, ropeTheta, ropeScaling } = this.config;
    const { frequencies, scale } = ropeTable(this.arena, headDim, ropeTheta, ropeScaling);
    const at = this.arena.allocate(frequencies.byteLength);
    this.arena.f32(at, frequencies.length).set(frequencies);
    this.arena.call('build_rope', this.#model, at, scale);
    this.arena.release(at);
  }

  /** The flat parameters, where they are kept; stale after the next allocation. */
  parameters(): Float32Array {
    if (this.#parameters === 0) throw new Error('expected row-major parameters, found none kept');
    return this.arena.f32(this.#parameters, this.parameterCount);
  }

  /** Byte offset of the model's header, for kernel entries that other folders call. */
  get modelAt(): number {
    return this.#model;
  }

  /** Byte offset of the flat parameters. */
  get parametersAt(): number {
    return this.#parameters;
  }

  /** Brings the packed copies up to date with the parameters. */
  pack(): void {
    this.arena.call('pack_model', this.#model);
  }

  /** Places an adapter; returns its offset for the calls below. */
  placeAdapter(adapter: Adapter): PlacedAdapter {
    const count = layoutSize(loraLayout(this.config, adapter.rank));
    if (adapter.parameters.length !== count) {
      throw new ModelInputError(
        'ADAPTER_SIZE',
        `${count} parameters at rank ${adapter.rank}`,
        adapter.parameters.length,
      );
    }
    const { arena } = this;
    const at = arena.allocate(64);
    const raw = arena.allocate(count * 4);
    arena.u32(at, 4).set([adapter.rank, 0, raw, 0]);
    arena.f32(at + 4, 1)[0] = adapter.alpha / adapter.rank;
    const packed = arena.allocate(arena.call('adapter_packed_size', this.#model, at) * 4);
    arena.u32(at, 4)[3] = packed;
    const placed = { at, raw, packed, count };
    this.updateAdapter(placed, adapter.parameters);
    return placed;
  }

  /** Replaces a placed adapter's parameters. */
  updateAdapter(placed: PlacedAdapter, parameters: Float32Array): void {
    this.arena.f32(placed.raw, placed.count).set(parameters);
    this.arena.call('pack_adapter', this.#model, placed.at);
  }

  releaseAdapter(placed: PlacedAdapter): void {
    for (const at of [placed.at, placed.raw, placed.packed]) this.arena.release(at);
  }

  /** Sum of NLL over masked targets; `gradient` receives weight * d(sum)/d(adapter). */
  recordGradient(
    placed: PlacedAdapter,
    tokens: Int32Array,
    mask: Uint8Array,
    weight: number,
    gradient: Float32Array,
  ): number {
    this.#checkTokens(tokens, 2);
    const [at, maskAt] = this.#placeRecord(tokens, mask);
    const work = this.#workspace(placed.at, trainAdapter, tokens.length - 1, 0, 0);
    const out = this.slot('gradient', placed.count * 4);
    const { arena } = this;
    const parameters = [this.#model, placed.at, at, maskAt, tokens.length, work, out, weight];
    const loss = arena.call('record_gradient', ...parameters);
    gradient.set(arena.f32(out, placed.count));
    return loss;
  }

  /** Sum of NLL; the floats at byte offset `gradientAt` += weight * d(sum)/d(parameters). */
  fullGradient(tokens: Int32Array, mask: Uint8Array, weight: number, gradientAt: number): number {
    this.#checkTokens(tokens, 2);
    const [at, maskAt] = this.#placeRecord(tokens, mask);
    const work = this.#workspace(0, trainFull, tokens.length - 1, 0, 0);
    const parameters = [this.#model, at, maskAt, tokens.length, work, gradientAt, weight];
    return this.arena.call('full_gradient', ...parameters);
  }

  /** Log-probability of each token after the first, and the likeliest token in its place. */
  score(placed: PlacedAdapter | null, tokens: Int32Array): Score {
    this.#checkTokens(tokens, 2);
    const at = this.#placeTokens(tokens);
    const n = tokens.length;
    const work = this.#workspace(placed?.at ?? 0, infer, n - 1, 0, 0);
    return this.#scored(n, (logprobs, best) =>
      this.arena.call('score', this.#model, placed?.at ?? 0, at, n, work, logprobs, best),
    );
  }

  #scored(n: number, run: (logprobs: number, best: number) => void): Score {
    const logprobs = this.slot('logprobs', n * 4);
    const best = this.slot('best', n * 4);
    run(logprobs, best);
    const { arena } = this;
    const result = { logprobs: arena.f32(logprobs, n).slice(), best: arena.i32(best, n).slice() };
    result.logprobs[0] = 0;
    result.best[0] = -1;
    return result;
  }

  /** The residual before the first layer for every token but the last. */
  embedRows(tokens: Int32Array): Float32Array {
    this.#checkTokens(tokens, 2);
    const n = tokens.length - 1;
    const at = this.#placeTokens(tokens);
    const rows = this.slot('rows', n * this.config.hiddenSize * 4);
    this.arena.call('embed_rows', this.#model, at, n, rows);
    return this.arena.f32(rows, n * this.config.hiddenSize).slice();
  }

  /** Takes the residual through the one layer of this model, in place. */
  layerRows(placed: PlacedAdapter | null, rows: Float32Array): void {
    const n = rows.length / this.config.hiddenSize;
    const work = this.#workspace(placed?.at ?? 0, infer, n, 0, 0);
    const at = this.slot('rows', rows.byteLength);
    const { arena } = this;
    arena.f32(at, rows.length).set(rows);
    arena.call('layer_rows', this.#model, placed?.at ?? 0, n, work, at);
    rows.set(arena.f32(at, rows.length));
  }

  /** What `score` gives, from the residual after the last layer. */
  headRows(tokens: Int32Array, rows: Float32Array): Score {
    const at = this.#placeTokens(tokens);
    const n = tokens.length;
    const work = this.#workspace(0, infer, n - 1, 0, 0);
    const rowsAt = this.slot('rows', rows.byteLength);
    this.arena.f32(rowsAt, rows.length).set(rows);
    return this.#scored(n, (logprobs, best) =>
      this.arena.call('head_rows', this.#model, at, n, work, rowsAt, logprobs, best),
    );
  }

  /** How many positions a token of each layer sees, for a model that has windows. */
  setWindows(windows: readonly number[]): void {
    const at = this.arena.u32(this.#model, modelWords)[16]!;
    if (at === 0) throw new Error('expected a model with windows, found one without');
    this.arena.u32(at, this.config.layers).set(windows);
  }

  /** A key-value cache for `capacity` positions. */
  placeCache(capacity: number): PlacedCache {
    const rounded = Math.ceil(capacity / 8) * 8;
    const bytes = this.config.layers * this.config.kvHeads * this.config.headDim * rounded * 4;
    return {
      keys: this.arena.allocate(bytes),
      values: this.arena.allocate(bytes),
      capacity: rounded,
    };
  }

  releaseCache(cache: PlacedCache): void {
    this.arena.release(cache.keys);
    this.arena.release(cache.values);
  }

  /** Runs tokens at positions start.. over a cache; returns the logits after the last. */
  extend(
    placed: PlacedAdapter | null,
    cache: PlacedCache,
    tokens: Int32Array,
    start: number,
  ): Float32Array {
    this.#checkTokens(tokens, 1);
    if (start + tokens.length > Math.min(cache.capacity, this.config.contextLength)) {
      const expected = `at most ${this.config.contextLength} positions`;
      throw new ModelInputError('CONTEXT_LENGTH', expected, start + tokens.length);
    }
    const at = this.#placeTokens(tokens);
    const adapter = placed?.at ?? 0;
    const work = this.#workspace(adapter, infer, tokens.length, start, cache.capacity);
    const logits = this.slot('logits', this.config.vocabSize * 4);
    const where = [cache.keys, cache.values, cache.capacity, work, logits];
    this.arena.call('extend', this.#model, adapter, at, tokens.length, start, ...where);
    return this.arena.f32(logits, this.config.vocabSize).slice();
  }

  /** A named block of at least this many bytes, kept between calls. */
  slot(name: string, bytes: number): number {
    const found = this.#slots.get(name);
    if (found !== undefined && found.bytes >= bytes) return found.at;
    if (found !== undefined) this.arena.release(found.at);
    const at = this.arena.allocate(bytes);
    this.#slots.set(name, { at, bytes });
    return at;
  }

  #placeTokens(tokens: Int32Array): number {
    const at = this.slot('tokens', tokens.length * 4);
    this.arena.i32(at, tokens.length).set(tokens);
    return at;
  }

  #placeRecord(tokens: Int32Array, mask: Uint8Array): [number, number] {
    if (mask.length !== tokens.length) {
      throw new ModelInputError('TARGET_MASK', `${tokens.length} entries`, mask.length);
    }
    const at = this.#placeTokens(tokens);
    const maskAt = this.slot('mask', mask.length);
    this.arena.u8(maskAt, mask.length).set(mask);
    return [at, maskAt];
  }

  #workspace(adapter: number, mode: number, n: number, start: number, capacity: number): number {
    const bytes = this.arena.call(
      'workspace_bytes',
      this.#model,
      adapter,
      mode,
      n,
      start,
      capacity,
    );
    if (bytes > this.#workBytes) {
      if (this.#work !== 0) this.arena.release(this.#work);
      this.#work = this.arena.allocate(bytes);
      this.#workBytes = bytes;
    }
    return this.#work;
  }

  #checkTokens(tokens: Int32Array, minimum: number): void {
    const { contextLength, vocabSize } = this.config;
    const n = tokens.length;
    if (n < minimum || n > contextLength + minimum - 1) {
      const expected = `${minimum} to ${contextLength + minimum - 1} tokens`;
      throw new ModelInputError('CONTEXT_LENGTH', expected, n);
    }
    for (const token of tokens) {
      if (token < 0 || token >= vocabSize) {
        throw new ModelInputError('TOKEN_RANGE', `0 to ${vocabSize - 1}`, token);
      }
    }
  }
}

/** Per position: the log-probability of its token, and the likeliest token. */
export type Score = { logprobs: Float32Array; best: Int32Array };

/** Byte offsets of an adapter in an arena. */
export type PlacedAdapter = {
  readonly at: number;
  readonly raw: number;
  readonly packed: number;
  readonly count: number;
};

export type PlacedCache = {
  readonly keys: number;
  readonly values: number;
  readonly capacity: number;
};
