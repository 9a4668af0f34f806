// A model ready to compute in the thread it lives in: per-record LoRA gradients, scores of given
// texts, and decoding sessions with a key-value cache, each with an adapter or none, never merged.
import type { Arena } from './arena.ts';
import { type BackendChoice, openArena } from './backend.ts';
import { loraLayout, type ModelConfig, type ModelWeights } from './config.ts';
import { type Dropout, dropInputs } from './dropout.ts';
import { type Adapter, Graph, type PlacedAdapter } from './graph.ts';
import type { WeightFormat } from './resident.ts';

/** One training example: mask[i] = 1 makes tokens[i] a target (mask[0] is never one). */
export type TrainingRecord = {
  readonly tokens: Int32Array;
  readonly mask: Uint8Array;
  /** Inputs of the adapter that this pass leaves out; absent: none. */
  readonly dropout?: Dropout;
};

/** Mean NLL (nats) over a record's targets, and its gradient in loraLayout order. */
export type RecordGradient = {
  readonly loss: number;
  readonly targets: number;
  readonly gradient: Float32Array;
};

/** AdamW numbers of one update: see optimizer.ts. */
export type AdamStep = {
  readonly scale: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly correction1: number;
  readonly correction2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
};

/** A growing text over one key-value cache. */
export type Session = {
  /** Positions in the cache so far. */
  readonly length: number;
  /** Appends tokens and returns the logits after the last one. */
  prefill(tokens: Int32Array): Float32Array;
  /** Appends one token and returns the logits after it. */
  decode(token: number): Float32Array;
  /** Log-probability of a token under the last logits, the same bits as `score` gives. */
  logprob(token: number): number;
  close(): void;
};

export type Engine = {
  readonly backend: 'wasm' | 'native';
  readonly config: ModelConfig;
  /** Loss and gradient of each record, in order; the base is frozen. Reads the adapter anew. */
  recordGradients(adapter: Adapter, records: readonly TrainingRecord[]): RecordGradient[];
  recordGradient(adapter: Adapter, tokens: Int32Array, targetMask: Uint8Array): RecordGradient;
  /** Entry i is the log-probability of tokens[i] after those before it; entry 0 is 0. */
  logprobs(adapter: Adapter | null, tokens: Int32Array): Float32Array;
  /** As logprobs, with the likeliest token at each position (entry 0 is -1). */
  score(adapter: Adapter | null, tokens: Int32Array): { logprobs: Float32Array; best: Int32Array };
  /** A session's adapter must not change while it is in use; capacity defaults to the context. */
  session(adapter: Adapter | null, capacity?: number): Session;
  dispose(): void;
};

/** Adapters that no session uses are kept this many deep, for the next request. */
const idleAdapters = 8;

type Held = { placed: PlacedAdapter; users: number };

/** Places adapters in the arena once per object and keeps a few idle ones. */
class AdapterShelf {
  readonly #graph: Graph;
  readonly #held = new Map<Adapter, Held>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  take(adapter: Adapter): PlacedAdapter {
    const held = this.#held.get(adapter) ?? { placed: this.#graph.placeAdapter(adapter), users: 0 };
    held.users++;
    this.#held.delete(adapter);
    this.#held.set(adapter, held);
    return held.placed;
  }

  giveBack(adapter: Adapter): void {
    const held = this.#held.get(adapter);
    if (held === undefined) return;
    held.users--;
    const idle = [...this.#held].filter(([, { users }]) => users === 0);
    for (const [old, { placed }] of idle.slice(0, Math.max(0, idle.length - idleAdapters))) {
      this.#graph.releaseAdapter(placed);
      this.#held.delete(old);
    }
  }
}

/** How many targets a mask names; the first token can be none. */
export function countTargets(mask: Uint8Array): number {
  let targets = 0;
  for (let i = 1; i < mask.length; i++) targets += mask[i] === 0 ? 0 : 1;
  return targets;
}

function gradientOf(graph: Graph, placed: PlacedAdapter, record: TrainingRecord): RecordGradient {
  const targets = countTargets(record.mask);
  const gradient = new Float32Array(placed.count);
  if (targets === 0) return { loss: 0, targets, gradient };
  const weight = Math.fround(1 / targets);
  const sum = graph.recordGradient(placed, record.tokens, record.mask, weight, gradient);
  return { loss: sum / targets, targets, gradient };
}

function openSession(
  graph: Graph,
  shelf: AdapterShelf,
  adapter: Adapter | null,
  capacity: number,
): Session {
  const placed = adapter === null ? null : shelf.take(adapter);
  const cache = graph.placeCache(capacity);
  let length = 0;
  let open = true;
  let last: Float32Array | undefined;
  const extend = (tokens: Int32Array) => {
    if (!open) throw new Error('expected an open session, found a closed one');
    last = graph.extend(placed, cache, tokens, length);
    length += tokens.length;
    return last;
  };
  return {
    get length() {
      return length;
    },
    prefill: extend,
    decode: (token) => extend(Int32Array.of(token)),
    logprob(token) {
      if (last === undefined) throw new Error('expected logits, found an empty session');
      const { arena } = graph;
      const row = graph.slot('logits', last.byteLength);
      arena.f32(row, last.length).set(last);
      return Math.fround(arena.call('op_cross_entropy', row, last.length, token, 0));
    },
    close() {
      if (!open) return;
      open = false;
      graph.releaseCache(cache);
      if (adapter !== null) shelf.giveBack(adapter);
    },
  };
}

export type EngineOptions = {
  readonly backend?: BackendChoice;
  /** Whether gradients will be asked for (the default). */
  readonly training?: boolean;
  /** Default f32. Training takes f32, or int8 for adapters over a frozen base. */
  readonly weights?: WeightFormat;
};

/**
 * Places the weights (copied) into a fresh arena of the chosen backend.
 *
 * @throws ModelConfigError MODEL_CONFIG, ArenaFullError ARENA_FULL
 */
export function createEngine(model: ModelWeights, options: EngineOptions = {}): Engine {
  const arena: Arena = openArena(options.backend);
  const graph = new Graph(arena, model.config, options.training ?? true, options.weights ?? 'f32');
  graph.load(model);
  let alive: Graph | undefined = graph;
  const shelf = new AdapterShelf(graph);
  const live = () => {
    if (alive === undefined) throw new Error('expected a live engine, found a disposed one');
    return alive;
  };
  const engine: Engine = {
    backend: arena.backend,
    config: model.config,
    recordGradients(adapter, records) {
      const placed = live().placeAdapter(adapter);
      const layout = loraLayout(graph.config, adapter.rank);
      let isWhole = true;
      try {
        return records.map((record) => {
          const { dropout } = record;
          if (dropout === undefined) {
            if (!isWhole) graph.updateAdapter(placed, adapter.parameters);
            isWhole = true;
            return gradientOf(live(), placed, record);
          }
          const thinned = adapter.parameters.slice();
          dropInputs(layout, dropout, thinned);
          graph.updateAdapter(placed, thinned);
          isWhole = false;
          const found = gradientOf(live(), placed, record);
          dropInputs(layout, dropout, found.gradient);
          return found;
        });
      } finally {
        graph.releaseAdapter(placed);
      }
    },
    recordGradient(adapter, tokens, mask) {
      const [only] = engine.recordGradients(adapter, [{ tokens, mask }]);
      return only!;
    },
    logprobs: (adapter, tokens) => engine.score(adapter, tokens).logprobs,
    score(adapter, tokens) {
      if (adapter === null) return live().score(null, tokens);
      const placed = shelf.take(adapter);
      try {
        return live().score(placed, tokens);
      } finally {
        shelf.giveBack(adapter);
      }
    },
    session: (adapter, capacity) =>
      openSession(
        live(),
        shelf,
        adapter,
        Math.min(capacity ?? Number.POSITIVE_INFINITY, model.config.contextLength),
      ),
    dispose() {
      alive = undefined;
    },
  };
  return engine;
}

/** AdamW on plain arrays, in place, through an arena of its own. */
export class AdamUpdater {
  readonly #arena: Arena;
  readonly #blocks: number[] = [];
  #bytes = 0;

  constructor(backend?: BackendChoice) {
    this.#arena = openArena(backend);
  }

  step(
    parameters: Float32Array,
    gradient: Float32Array,
    m: Float32Array,
    v: Float32Array,
    numbers: AdamStep,
  ): void {
    const n = parameters.length;
    if (n * 4 > this.#bytes) {
      for (const block of this.#blocks.splice(0)) this.#arena.release(block);
      for (let i = 0; i < 4; i++) this.#blocks.push(this.#arena.allocate(n * 4));
      this.#bytes = n * 4;
    }
    const arrays = [parameters, gradient, m, v];
    for (const [i, array] of arrays.entries()) this.#arena.f32(this.#blocks[i]!, n).set(array);
    const rates = [numbers.scale, numbers.learningRate, numbers.beta1, numbers.beta2];
    const rest = [numbers.correction1, numbers.correction2, numbers.epsilon, numbers.weightDecay];
    this.#arena.call('adamw', ...this.#blocks, n, ...rates, ...rest);
    for (const [i, array] of arrays.entries()) {
      if (i !== 1) array.set(this.#arena.f32(this.#blocks[i]!, n));
    }
  }

  /** Sums of squares of consecutive chunks. */
  squares(values: Float32Array, chunk: number): number[] {
    const at = this.#arena.allocate(values.length * 4);
    this.#arena.f32(at, values.length).set(values);
    const sums: number[] = [];
    for (let i = 0; i < values.length; i += chunk) {
      sums.push(this.#arena.call('sum_squares', at + i * 4, Math.min(chunk, values.length - i)));
    }
    this.#arena.release(at);
    return sums;
  }
}
