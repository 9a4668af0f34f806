// Serving for a program: engines in threads of their own, requests in, tokens out. A request goes to
// the thread that knows its adapter unless that one is much busier; which thread computes an answer
// never changes a bit of it.
import type { BackendChoice } from '../engine/backend.ts';
import type { ModelConfig, ModelWeights } from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { GREEDY, type SamplingSettings } from '../model/sampling.ts';
import { type SharedWeights, shareWeights } from '../model/stored.ts';
import { Thread, WorkAbortedError } from '../train/threads.ts';
import { AdapterTiers, type TierCounts, type TierSizes } from './adapter-tiers.ts';
import type { BatchSizes } from './batch-graph.ts';
import { ServeError } from './errors.ts';
import type { ServeMetrics } from './metrics.ts';
import type { Finish, ServeLimits, TokenLogprob } from './requests.ts';
import type { PostedRequest, ServeProgress, ServeWorkerData } from './serve-worker.ts';

/** An adapter to serve with: the id names its content, `fetch` gets it when no tier has it. */
export type AdapterHandle = { readonly id: string; readonly fetch: () => Promise<Adapter> };

export type ServeOptions = {
  readonly client: string;
  readonly adapter: AdapterHandle | null;
  readonly tokens: Int32Array;
  readonly maxTokens: number;
  readonly stopTokens?: readonly number[];
  readonly sampling?: SamplingSettings;
  /** What is done after so many milliseconds is the answer; refused at once where it cannot be met. */
  readonly withinMs?: number;
  readonly logprobs?: boolean;
  /** With `logprobs`: so many of the likeliest tokens at each place. */
  readonly topLogprobs?: number;
  readonly onToken?: (
    token: number,
    logprob: number | undefined,
    top: readonly TokenLogprob[],
  ) => void;
  readonly signal?: AbortSignal;
};

export type Served = { readonly tokens: Int32Array; readonly finish: Finish };

export type Serving = {
  readonly config: ModelConfig;
  /**
   * @throws WorkAbortedError before it began; ServeError and ModelInputError as errors with those
   *   codes; an abort later ends it with finish 'cancelled'.
   */
  generate(options: ServeOptions): Promise<Served>;
  /** A pinned adapter stays in the pool of each thread that it comes to, in memory and on disk. */
  pin(adapterId: string, isPinned: boolean): void;
  /** Of each thread that was started. */
  metrics(): Promise<readonly ServeMetrics[]>;
  /** Which tier answered how often. */
  readonly tiers: Readonly<TierCounts>;
  /** What memory and disk hold of adapters. */
  tierLoad(): ReturnType<AdapterTiers['load']>;
  close(): Promise<void>;
};

export type ServingOptions = {
  readonly weights: ModelWeights;
  /** How matrices stay in memory; default f32. */
  readonly format?: WeightFormat;
  readonly threads?: number;
  readonly backend?: BackendChoice;
  readonly workerFile?: string | URL;
  readonly sizes?: Partial<BatchSizes>;
  readonly limits?: Partial<ServeLimits>;
  readonly tiers?: TierSizes;
};

export const BATCH_SIZES: BatchSizes = {
  sequences: 32,
  rows: 64,
  pagePositions: 16,
  poolBytes: 2 ** 26,
  rankMax: 64,
};
export const SERVE_LIMITS: ServeLimits = {
  waitingMax: 1024,
  clientWaitingMax: 256,
  prefetch: 32,
  prefixCache: true,
};

/** How many more requests the thread of an adapter may have than the idlest before another is used. */
const affinity = 4;

/** The threads, started when they are first needed. */
class Threads {
  readonly #start: () => Thread;
  readonly #threads: (Thread | undefined)[];
  readonly #homes = new Map<string, number>();
  readonly #pins = new Set<string>();

  constructor(size: number, start: () => Thread) {
    this.#start = start;
    this.#threads = Array.from({ length: size }, () => undefined);
  }

  get started(): Thread[] {
    return this.#threads.filter((one) => one?.alive === true) as Thread[];
  }

  pick(adapter: string | undefined): Thread {
    const load = (index: number) => this.#threads[index]?.load ?? 0;
    let idlest = 0;
    for (let i = 1; i < this.#threads.length; i++) if (load(i) < load(idlest)) idlest = i;
    const home = adapter === undefined ? idlest : (this.#homes.get(adapter) ?? idlest);
    const index = load(home) <= load(idlest) + affinity ? home : idlest;
    if (adapter !== undefined && this.#threads.length > 1) this.#settle(adapter, index);
    return this.#at(index);
  }

  pin(adapterId: string, isPinned: boolean): void {
    if (isPinned) this.#pins.add(adapterId);
    else this.#pins.delete(adapterId);
    for (const thread of this.started) thread.notify({ kind: 'pin', adapterId, isPinned });
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread?.close()));
  }

  /** The last few thousand adapters' threads are remembered. */
  #settle(adapter: string, index: number): void {
    this.#homes.delete(adapter);
    this.#homes.set(adapter, index);
    if (this.#homes.size > 4096) this.#homes.delete(this.#homes.keys().next().value!);
  }

  #at(index: number): Thread {
    const found = this.#threads[index];
    if (found?.alive === true) return found;
    const thread = this.#start();
    this.#threads[index] = thread;
    for (const adapterId of this.#pins) {
      thread.notify({ kind: 'pin', adapterId, isPinned: true });
    }
    return thread;
  }
}

export function createServing(options: ServingOptions): Serving {
  const { config } = options.weights;
  let weights: SharedWeights | undefined;
  const threads = new Threads(options.threads ?? 1, () => {
    weights ??= shareWeights(options.weights);
    const data: ServeWorkerData = {
      role: 'serve',
      weights,
      format: options.format ?? 'f32',
      backend: options.backend ?? 'auto',
      sizes: { ...BATCH_SIZES, ...options.sizes },
      limits: { ...SERVE_LIMITS, ...options.limits },
    };
    return new Thread(data, options.workerFile);
  });
  const tiers = new AdapterTiers(options.tiers ?? { ramBytes: 2 ** 28 });
  let closed = false;

  const bring = (thread: Thread, { id, fetch }: AdapterHandle) => {
    tiers.get(id, fetch).then(
      (adapter) => thread.notify({ kind: 'provide', adapterId: id, adapter }),
      (error: Error) => thread.notify({ kind: 'fail', adapterId: id, reason: error.message }),
    );
  };

  return {
    config,
    tiers: tiers.counts,
    tierLoad: () => tiers.load(),
    async generate({ adapter, onToken, signal, ...rest }) {
      if (closed) {
        throw new ServeError('SERVING_CLOSED', 'open serving', 'a closed one', 'open it anew');
      }
      if (signal?.aborted) throw new WorkAbortedError(signal.reason);
      const thread = threads.pick(adapter?.id);
      const request: PostedRequest = {
        ...rest,
        adapter: adapter?.id ?? null,
        stopTokens: rest.stopTokens ?? [],
        sampling: rest.sampling ?? GREEDY,
      };
      const tokens: number[] = [];
      const onProgress = (progress: ServeProgress) => {
        if ('want' in progress) {
          if (adapter !== null) bring(thread, adapter);
          return;
        }
        tokens.push(progress.token);
        onToken?.(progress.token, progress.logprob, progress.top);
      };
      const finish = await thread.request<Finish>({ kind: 'serve', request }, onProgress, signal);
      return { tokens: Int32Array.from(tokens), finish };
    },
    pin: (adapterId, isPinned) => {
      tiers.pin(adapterId, isPinned);
      threads.pin(adapterId, isPinned);
    },
    metrics: () =>
      Promise.all(threads.started.map((one) => one.request<ServeMetrics>({ kind: 'metrics' }))),
    async close() {
      closed = true;
      await threads.close();
    },
  };
}
