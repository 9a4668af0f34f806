// Adapters in the page pool: taken in layer by layer between steps, so that a large one holds nobody
// up; let go by the rule that keeps what is used often and costs few pages (GreedyDual-Size).
import type { Adapter } from '../engine/graph.ts';
import type { BatchGraph } from './batch-graph.ts';

type Resident = {
  readonly id: string;
  readonly adapter: { readonly rank: number };
  readonly pages: readonly number[];
  readonly at: number;
  users: number;
  credit: number;
  /** What is still to be packed; undefined once it can be used. */
  loading: { readonly adapter: Adapter; layer: number } | undefined;
};

/** Reading an adapter anew costs about this many pages' worth of reading besides its own. */
const fixedCost = 4;

export class ResidentAdapters {
  readonly #graph: BatchGraph;
  /** Least recently used first, so that of equal credits the oldest goes. */
  readonly #held = new Map<string, Resident>();
  readonly #pinned = new Set<string>();
  readonly #loading: Resident[] = [];
  #clock = 0;
  evictions = 0;

  constructor(graph: BatchGraph) {
    this.#graph = graph;
  }

  get count(): number {
    return this.#held.size;
  }

  get pages(): number {
    let sum = 0;
    for (const { pages } of this.#held.values()) sum += pages.length;
    return sum;
  }

  has(id: string): boolean {
    return this.#held.has(id);
  }

  isReady(id: string): boolean {
    const found = this.#held.get(id);
    return found !== undefined && found.loading === undefined;
  }

  /** How many adapters are on their way into their pages. */
  get loading(): number {
    return this.#loading.length;
  }

  /** Begins to take an adapter in, into pages that the caller has taken from the pool. */
  begin(id: string, adapter: Adapter, pages: readonly number[]): void {
    const at = this.#graph.placeHeader(adapter, pages);
    const { rank } = adapter;
    const loading = { adapter, layer: 0 };
    const one: Resident = { id, adapter: { rank }, pages, at, users: 0, credit: 0, loading };
    this.#held.set(id, one);
    this.#loading.push(one);
    this.#touch(one);
  }

  /** Packs one layer; returns an adapter that became ready by it. */
  packNext(): { readonly id: string; readonly pages: number } | undefined {
    const [one] = this.#loading;
    if (one?.loading === undefined) return undefined;
    this.#graph.pack(one.at, one.loading.adapter, one.loading.layer);
    one.loading.layer += 1;
    if (one.loading.layer < this.#graph.config.layers) return undefined;
    one.loading = undefined;
    this.#loading.shift();
    return { id: one.id, pages: one.pages.length };
  }

  /** The offset of a ready adapter, which stays until it is released as often as taken. */
  take(id: string): number {
    const one = this.#held.get(id);
    if (one === undefined || one.loading !== undefined) {
      throw new Error(`expected a ready adapter, found ${id}`);
    }
    one.users += 1;
    this.#touch(one);
    return one.at;
  }

  release(id: string): void {
    this.#held.get(id)!.users -= 1;
  }

  /** A pinned adapter stays once it is in, unless a text alone could not run beside it. */
  pin(id: string, isPinned: boolean): void {
    if (isPinned) this.#pinned.add(id);
    else this.#pinned.delete(id);
  }

  /** Lets go of the adapter that is worth least and not spared; false when there is none. */
  evict(spared: (id: string) => boolean, evenPinned = false): boolean {
    let least: Resident | undefined;
    for (const one of this.#held.values()) {
      if (one.users > 0 || one.loading !== undefined || spared(one.id)) continue;
      if (this.#pinned.has(one.id) && !evenPinned) continue;
      if (least === undefined || one.credit < least.credit) least = one;
    }
    if (least === undefined) return false;
    this.#clock = least.credit;
    this.#held.delete(least.id);
    for (const page of least.pages) this.#graph.pool.release(page);
    this.evictions += 1;
    return true;
  }

  #touch(one: Resident): void {
    one.credit = this.#clock + (fixedCost + one.pages.length) / one.pages.length;
    this.#held.delete(one.id);
    this.#held.set(one.id, one);
  }
}
