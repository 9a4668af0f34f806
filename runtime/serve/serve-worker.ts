// The worker side of serving: the engine and its loop, which lets messages in between two steps.
import { setImmediate as otherMessages } from 'node:timers/promises';
import { type BackendChoice, openArena } from '../engine/backend.ts';
import type { Adapter } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { type SharedWeights, sharedWeights } from '../model/stored.ts';
import { BatchGraph, type BatchSizes } from './batch-graph.ts';
import type { Finish, ServeLimits, ServeRequest, TokenLogprob } from './requests.ts';
import { ServeCore } from './serve-core.ts';

export type ServeWorkerData = {
  readonly role: 'serve';
  readonly weights: SharedWeights;
  readonly format: WeightFormat;
  readonly backend: BackendChoice;
  readonly sizes: BatchSizes;
  readonly limits: ServeLimits;
};

/** A request on its way to the worker: its deadline as time left, because clocks have their own zero. */
export type PostedRequest = Omit<ServeRequest, 'id' | 'deadlineMs'> & {
  readonly withinMs?: number;
};

export type ServeMessage =
  | { kind: 'serve'; request: PostedRequest }
  | { kind: 'provide'; adapterId: string; adapter: Adapter }
  | { kind: 'fail'; adapterId: string; reason: string }
  | { kind: 'pin'; adapterId: string; isPinned: boolean }
  | { kind: 'abort'; target: number }
  | { kind: 'metrics' };

/** What a request says while it is worked on. */
export type ServeProgress =
  | {
      readonly token: number;
      readonly logprob: number | undefined;
      readonly top: readonly TokenLogprob[];
    }
  | { readonly want: string };

type Open = {
  emit(event: ServeProgress): void;
  resolve(finish: Finish): void;
  reject(error: unknown): void;
};

export class ServeWorker {
  readonly #core: ServeCore;
  readonly #open = new Map<number, Open>();
  #busy = false;

  constructor(data: ServeWorkerData) {
    const { backend, weights, sizes, format, limits } = data;
    const graph = new BatchGraph(openArena(backend), sharedWeights(weights), sizes, format);
    this.#core = new ServeCore(graph, limits, {
      clock: () => performance.now(),
      onToken: (id, token, logprob, top) => this.#open.get(id)?.emit({ token, logprob, top }),
      onEnd: (id, outcome) => {
        const open = this.#open.get(id);
        this.#open.delete(id);
        if ('error' in outcome) open?.reject(outcome.error);
        else open?.resolve(outcome.finish);
      },
      want: (adapter, id) => this.#open.get(id)?.emit({ want: adapter }),
    });
  }

  handle(message: ServeMessage & { id: number }, emit: (event: ServeProgress) => void): unknown {
    switch (message.kind) {
      case 'serve':
        return this.#serve(message.id, message.request, emit);
      case 'provide':
        this.#core.provide(message.adapterId, message.adapter);
        break;
      case 'fail':
        this.#core.fail(message.adapterId, new Error(message.reason));
        break;
      case 'pin':
        this.#core.pin(message.adapterId, message.isPinned);
        break;
      case 'abort':
        this.#core.cancel(message.target);
        break;
      case 'metrics':
        return this.#core.metrics();
    }
    this.#work();
    return undefined;
  }

  #serve(id: number, posted: PostedRequest, emit: (event: ServeProgress) => void): Promise<Finish> {
    const { withinMs, ...rest } = posted;
    const deadline = withinMs === undefined ? {} : { deadlineMs: performance.now() + withinMs };
    return new Promise((resolve, reject) => {
      this.#open.set(id, { emit, resolve, reject });
      try {
        this.#core.submit({ ...rest, ...deadline, id });
      } catch (error) {
        this.#open.delete(id);
        reject(error as Error);
        return;
      }
      this.#work();
    });
  }

  #work(): void {
    if (this.#busy) return;
    this.#busy = true;
    const loop = async () => {
      // Messages that lie ready join the very first step.
      do await otherMessages();
      while (this.#core.step());
      this.#busy = false;
    };
    loop().catch((error: unknown) => {
      for (const open of this.#open.values()) open.reject(error);
      this.#open.clear();
      throw error;
    });
  }
}
