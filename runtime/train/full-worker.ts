// The worker side of full-parameter training: gradients of whole lanes, and AdamW on one range of
// the parameters, over memory shared with the other workers.
import type { Arena } from '../engine/arena.ts';
import { type BackendChoice, openArena } from '../engine/backend.ts';
import {
  layoutSize,
  type ModelConfig,
  parameterLayout,
  type TensorSlot,
} from '../engine/config.ts';
import { Graph } from '../engine/graph.ts';
import { normChunk } from './optimizer.ts';

/** Shared by all workers of one trainer; every vector has one f32 per parameter. */
export type FullShared = {
  readonly parameters: SharedArrayBuffer;
  readonly first: SharedArrayBuffer;
  readonly second: SharedArrayBuffer;
  readonly lanes: readonly SharedArrayBuffer[];
};

export type FullWorkerData = {
  readonly role: 'full';
  readonly config: ModelConfig;
  readonly backend: BackendChoice;
  readonly shared: FullShared;
  /** Range of parameters this worker updates, in floats. */
  readonly from: number;
  readonly to: number;
};

export type LaneWork = {
  readonly lane: number;
  readonly sequences: readonly { readonly tokens: Int32Array; readonly mask: Uint8Array }[];
};

export type FullRequest =
  | { kind: 'gradient'; work: readonly LaneWork[]; weight: number }
  | { kind: 'reduce' }
  | { kind: 'update'; numbers: readonly number[]; decay: number }
  | { kind: 'publish' | 'load' };

/** Handles the requests of one full-parameter worker. */
export class FullWorker {
  readonly #arena: Arena;
  readonly #graph: Graph;
  readonly #data: FullWorkerData;
  readonly #layout: readonly TensorSlot[];
  readonly #gradient: number;
  readonly #scratch: number;
  readonly #first: number;
  readonly #second: number;

  constructor(data: FullWorkerData) {
    this.#data = data;
    this.#arena = openArena(data.backend);
    this.#graph = new Graph(this.#arena, data.config, true);
    this.#layout = parameterLayout(data.config);
    const own = data.to - data.from;
    this.#gradient = this.#arena.allocate(layoutSize(this.#layout) * 4);
    this.#scratch = this.#arena.allocate(own * 4);
    this.#first = this.#arena.allocate(own * 4);
    this.#second = this.#arena.allocate(own * 4);
    this.#load();
  }

  handle(request: FullRequest): unknown {
    switch (request.kind) {
      case 'gradient':
        return this.#gradients(request.work, request.weight);
      case 'reduce':
        return this.#reduce();
      case 'update':
        return this.#update(request.numbers, request.decay);
      case 'publish':
        return this.#publish();
      case 'load':
        return this.#load();
    }
  }

  /** Sum of NLL per sequence, lane by lane; leaves each lane's gradient in shared memory. */
  #gradients(work: readonly LaneWork[], weight: number): number[][] {
    const graph = this.#graph;
    graph.parameters().set(new Float32Array(this.#data.shared.parameters));
    graph.pack();
    const count = graph.parameterCount;
    return work.map(({ lane, sequences }) => {
      this.#arena.f32(this.#gradient, count).fill(0);
      const losses = sequences.map(({ tokens, mask }) =>
        graph.fullGradient(tokens, mask, weight, this.#gradient),
      );
      const shared = this.#data.shared.lanes[lane];
      if (shared === undefined) throw new Error(`expected a lane, found ${lane}`);
      new Float32Array(shared).set(this.#arena.f32(this.#gradient, count));
      return losses;
    });
  }

  /** Adds the lanes in order over this worker's range; returns sums of squares per chunk. */
  #reduce(): number[] {
    const { shared, from, to } = this.#data;
    const own = to - from;
    const sum = this.#gradient;
    for (const [index, lane] of shared.lanes.entries()) {
      const source = new Float32Array(lane, from * 4, own);
      this.#arena.f32(index === 0 ? sum : this.#scratch, own).set(source);
      if (index > 0) this.#arena.call('add', sum, this.#scratch, own);
    }
    const partials: number[] = [];
    for (let at = 0; at < own; at += normChunk) {
      partials.push(this.#arena.call('sum_squares', sum + at * 4, Math.min(normChunk, own - at)));
    }
    return partials;
  }

  /** AdamW over this worker's range; matrices decay, norms do not. */
  #update(numbers: readonly number[], decay: number): void {
    const { shared, from, to } = this.#data;
    for (const slot of this.#layout) {
      const start = Math.max(from, slot.offset);
      const end = Math.min(to, slot.offset + slot.rows * slot.columns);
      if (start >= end) continue;
      const shift = (start - from) * 4;
      const p = this.#graph.parametersAt + start * 4;
      const state = [this.#gradient + shift, this.#first + shift, this.#second + shift];
      this.#arena.call('adamw', p, ...state, end - start, ...numbers, slot.rows > 1 ? decay : 0);
    }
    const updated = this.#graph.parameters().subarray(from, to);
    new Float32Array(shared.parameters, from * 4, to - from).set(updated);
  }

  #publish(): void {
    const { shared, from, to } = this.#data;
    new Float32Array(shared.first, from * 4, to - from).set(
      this.#arena.f32(this.#first, to - from),
    );
    new Float32Array(shared.second, from * 4, to - from).set(
      this.#arena.f32(this.#second, to - from),
    );
  }

  #load(): void {
    const { shared, from, to } = this.#data;
    this.#graph.parameters().set(new Float32Array(shared.parameters));
    this.#arena
      .f32(this.#first, to - from)
      .set(new Float32Array(shared.first, from * 4, to - from));
    this.#arena
      .f32(this.#second, to - from)
      .set(new Float32Array(shared.second, from * 4, to - from));
  }
}
