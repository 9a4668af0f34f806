// The worker side of the pool: an engine of its own, and adapters by number.
import type { BackendChoice } from '../engine/backend.ts';
import { createEngine, type Engine, type TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { type SharedWeights, sharedWeights } from '../model/stored.ts';

export type PoolWorkerData = {
  readonly role: 'pool';
  readonly weights: SharedWeights;
  readonly format: WeightFormat;
  readonly backend: BackendChoice;
};

/** The number of an adapter the worker was given before; 0 is none. */
type AdapterNumber = { readonly adapter: number };

export type PoolRequest =
  | { kind: 'keep'; number: number; adapter: Adapter }
  | { kind: 'forget'; number: number }
  | { kind: 'gradients'; adapter: Adapter; records: readonly TrainingRecord[] }
  | ({ kind: 'score'; tokens: Int32Array } & AdapterNumber)
  | { kind: 'describe' };

/** Handles the requests of one pool worker. */
export class PoolWorker {
  readonly #engine: Engine;
  readonly #adapters = new Map<number, Adapter>();

  constructor(data: PoolWorkerData) {
    const { backend, format } = data;
    this.#engine = createEngine(sharedWeights(data.weights), { backend, weights: format });
  }

  handle(request: PoolRequest): unknown {
    switch (request.kind) {
      case 'keep':
        this.#adapters.set(request.number, request.adapter);
        return;
      case 'forget':
        this.#adapters.delete(request.number);
        return;
      case 'gradients':
        return this.#engine.recordGradients(request.adapter, request.records);
      case 'score':
        return this.#engine.score(this.#adapter(request.adapter), request.tokens);
      case 'describe':
        return { backend: this.#engine.backend };
    }
  }

  #adapter(number: number): Adapter | null {
    if (number === 0) return null;
    const adapter = this.#adapters.get(number);
    if (adapter === undefined) throw new Error(`expected a known adapter, found number ${number}`);
    return adapter;
  }
}
