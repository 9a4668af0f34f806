// One request on its way through the engine, and the queue of those that wait: first in, first out for
// one client, and among clients whoever was served least (virtual token counters).
import type { SamplingSettings } from '../model/sampling.ts';

export type ServeRequest = {
  readonly id: number;
  /** Who asks; fairness is among clients. */
  readonly client: string;
  /** Names the adapter's content; null is the base alone. */
  readonly adapter: string | null;
  readonly tokens: Int32Array;
  readonly maxTokens: number;
  readonly stopTokens: readonly number[];
  readonly sampling: SamplingSettings;
  /** On the engine's clock: whatever is done by then is the answer. */
  readonly deadlineMs?: number;
  readonly logprobs?: boolean;
  /** With `logprobs`: so many of the likeliest tokens at each place. */
  readonly topLogprobs?: number;
};

/** Log-probabilities are the model's own: before temperature, penalty and what is left out. */
export type TokenLogprob = { readonly token: number; readonly logprob: number };

export type ServeLimits = {
  readonly waitingMax: number;
  /** Waiting requests of one client. */
  readonly clientWaitingMax: number;
  /** Waiting requests whose adapters are fetched ahead of their turn. */
  readonly prefetch: number;
  readonly prefixCache: boolean;
};

export type Finish = 'stop' | 'length' | 'cancelled' | 'deadline';

/** What the engine knows of a live request. */
export type Live = {
  readonly request: ServeRequest;
  readonly limit: number;
  readonly submittedMs: number;
  /** Prompt and answer so far. */
  readonly tokens: Int32Array;
  /** How many of `tokens` there are. */
  known: number;
  /** How many are in the cache. */
  done: number;
  readonly pages: number[];
  /** End of its chain in the prefix cache; -1 when that chain was let go. */
  chain: number;
  kept: number;
  table: number;
  adapterAt: number;
  /** Rows still to be computed at most, as counted for admission. */
  owed: number;
  startedMs: number | undefined;
  firstMs: number | undefined;
};

/** An output token costs more than a prompt token, because it takes a step of its own. */
export const outputCost = 2;

const rememberedMax = 4096;

export class FairQueue {
  readonly #waiting = new Map<string, Live[]>();
  readonly #served = new Map<string, number>();
  readonly #active = new Map<string, number>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  waitingOf(client: string): number {
    return this.#waiting.get(client)?.length ?? 0;
  }

  /** Counts a client's live request in; one that was idle starts level with the least served. */
  enter(client: string): void {
    const active = this.#active.get(client) ?? 0;
    this.#active.set(client, active + 1);
    if (active > 0) return;
    let least = Number.POSITIVE_INFINITY;
    for (const other of this.#active.keys()) {
      if (other !== client) least = Math.min(least, this.#served.get(other) ?? 0);
    }
    const own = this.#served.get(client) ?? 0;
    this.#served.set(client, least === Number.POSITIVE_INFINITY ? own : Math.max(own, least));
  }

  /** Counts it out; idle clients are forgotten when nobody is active or too many are remembered. */
  leave(client: string): void {
    const active = this.#active.get(client)! - 1;
    if (active > 0) {
      this.#active.set(client, active);
      return;
    }
    this.#active.delete(client);
    if (this.#active.size > 0 && this.#served.size < rememberedMax) return;
    for (const known of this.#served.keys()) {
      if (!this.#active.has(known)) this.#served.delete(known);
    }
  }

  charge(client: string, cost: number): void {
    this.#served.set(client, (this.#served.get(client) ?? 0) + cost);
  }

  push(live: Live, first = false): void {
    const { client } = live.request;
    const row = this.#waiting.get(client) ?? [];
    if (first) row.unshift(live);
    else row.push(live);
    this.#waiting.set(client, row);
    this.#size += 1;
  }

  remove(live: Live): boolean {
    const { client } = live.request;
    const row = this.#waiting.get(client) ?? [];
    const at = row.indexOf(live);
    if (at < 0) return false;
    row.splice(at, 1);
    if (row.length === 0) this.#waiting.delete(client);
    this.#size -= 1;
    return true;
  }

  /** Those that wait, the least served client's first, each client's in order of arrival. */
  *inOrder(): Generator<Live, void, undefined> {
    const clients = [...this.#waiting].sort(
      ([a], [b]) => (this.#served.get(a) ?? 0) - (this.#served.get(b) ?? 0),
    );
    for (let depth = 0, some = true; some; depth++) {
      some = false;
      for (const [, row] of clients) {
        const live = row[depth];
        if (live === undefined) continue;
        some = true;
        yield live;
      }
    }
  }
}
