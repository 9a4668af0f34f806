// Compute threads behind one object, so that training and sketching never block the event loop. Each
// thread has its own engine and copy of the weights; results come back in the order of the records.
import { availableParallelism } from 'node:os';
import type { BackendChoice } from '../engine/backend.ts';
import type { ModelConfig, ModelWeights } from '../engine/config.ts';
import type { RecordGradient, TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { shareWeights } from '../model/stored.ts';
import type { PoolWorkerData } from './pool-worker.ts';
import { Thread, WorkAbortedError, WorkerCrashedError } from './threads.ts';

export type PoolOptions = {
  readonly weights: ModelWeights;
  /** How matrices stay in memory: f32 (default), or int8, a frozen base in a quarter of the memory. */
  readonly format?: WeightFormat;
  /** Default: the processors of this machine. */
  readonly threads?: number;
  readonly backend?: BackendChoice;
  /** The bundled worker entry, when it does not lie beside this module. */
  readonly workerFile?: string | URL;
};

export type Pool = {
  readonly config: ModelConfig;
  readonly threads: number;
  /** Gradients in the order of the records, whatever the number of threads. */
  recordGradients(
    adapter: Adapter,
    records: readonly TrainingRecord[],
    signal?: AbortSignal,
  ): Promise<RecordGradient[]>;
  /** See Engine.score. */
  score(
    adapter: Adapter | null,
    tokens: Int32Array,
  ): Promise<{ logprobs: Float32Array; best: Int32Array }>;
  /** Drops the workers' copies of an adapter that was used by score. */
  forget(adapter: Adapter): void;
  /** The kernel build the threads use. */
  backend(): Promise<'wasm' | 'native'>;
  close(): Promise<void>;
};

/** Threads of a pool, and which adapters each already holds. */
class Crew {
  readonly #threads: { thread: Thread; known: Set<number> }[];
  readonly #start: () => Thread;
  readonly #numbers = new WeakMap<Adapter, number>();
  #next = 1;

  constructor(size: number, start: () => Thread) {
    this.#start = start;
    this.#threads = Array.from({ length: size }, () => ({ thread: start(), known: new Set() }));
  }

  get threads(): Thread[] {
    for (const one of this.#threads) {
      if (one.thread.alive) continue;
      one.thread = this.#start();
      one.known.clear();
    }
    return this.#threads.map(({ thread }) => thread);
  }

  /** The least busy live thread. */
  idlest(): Thread {
    const [first, ...others] = this.threads;
    if (first === undefined) throw new Error('expected at least one thread in the pool');
    return others.reduce((best, one) => (one.load < best.load ? one : best), first);
  }

  /** The adapter's number on that thread, sending its parameters the first time. */
  async number(thread: Thread, adapter: Adapter | null): Promise<number> {
    if (adapter === null) return 0;
    const number = this.#numbers.get(adapter) ?? this.#next++;
    this.#numbers.set(adapter, number);
    const known = this.#threads.find((one) => one.thread === thread)?.known;
    if (known !== undefined && !known.has(number)) {
      known.add(number);
      await thread.request({ kind: 'keep', number, adapter });
    }
    return number;
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ thread }) => thread.close()));
  }

  forget(adapter: Adapter): void {
    const number = this.#numbers.get(adapter);
    if (number === undefined) return;
    this.#numbers.delete(adapter);
    for (const { thread, known } of this.#threads) {
      if (known.delete(number)) thread.notify({ kind: 'forget', number });
    }
  }
}

/** Records go out one by one to whichever thread is free; a slow thread holds nobody up. */
async function spread(
  threads: readonly Thread[],
  adapter: Adapter,
  records: readonly TrainingRecord[],
  signal: AbortSignal | undefined,
): Promise<RecordGradient[]> {
  const results: RecordGradient[] = new Array(records.length);
  // Two requests per thread keep it busy while the previous answer travels.
  const chunk = Math.max(1, Math.floor(records.length / (threads.length * 4)));
  let next = 0;
  const drain = async (thread: Thread) => {
    while (next < records.length) {
      if (signal?.aborted) throw new WorkAbortedError(signal.reason);
      const from = next;
      const part = records.slice(from, from + chunk);
      next += part.length;
      const done = await thread.request<RecordGradient[]>({
        kind: 'gradients',
        adapter,
        records: part,
      });
      for (const [i, one] of done.entries()) results[from + i] = one;
    }
  };
  await Promise.all(threads.map(drain));
  return results;
}

/** Starts the threads; they load the weights before their first answer. */
export function createPool(options: PoolOptions): Pool {
  const { config } = options.weights;
  const size = options.threads ?? availableParallelism();
  const data: PoolWorkerData = {
    role: 'pool',
    weights: shareWeights(options.weights),
    format: options.format ?? 'f32',
    backend: options.backend ?? 'auto',
  };
  const crew = new Crew(size, () => new Thread(data, options.workerFile));
  let closed = false;
  const open = () => {
    if (closed) throw new WorkerCrashedError('the pool was closed');
    return crew;
  };
  return {
    config,
    threads: size,
    recordGradients: async (adapter, records, signal) =>
      spread(open().threads, adapter, records, signal),
    async score(adapter, tokens) {
      const thread = open().idlest();
      return thread.request({ kind: 'score', adapter: await crew.number(thread, adapter), tokens });
    },
    forget: (adapter) => crew.forget(adapter),
    backend: async () =>
      (await open().idlest().request<{ backend: 'wasm' | 'native' }>({ kind: 'describe' })).backend,
    async close() {
      closed = true;
      await crew.close();
    },
  };
}
