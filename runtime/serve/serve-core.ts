// The serving engine in the thread it lives in: continuous batching of many texts, each with its own
// adapter or none. A step is one pass over everything that runs: a row for each text that decodes, and
// what room is left for the prompts of newcomers. It computes; whoever owns it does the waiting.

import type { Adapter } from '../engine/graph.ts';
import { chooseToken, likeliestTokens } from '../model/sampling.ts';
import { type Admission, admit, checkAdapter } from './admit.ts';
import type { BatchGraph } from './batch-graph.ts';
import { ServeError } from './errors.ts';
import { Counters, type ServeEvent, type ServeMetrics } from './metrics.ts';
import { PrefixCache } from './prefix-cache.ts';
import {
  FairQueue,
  type Finish,
  type Live,
  outputCost,
  type ServeLimits,
  type ServeRequest,
  type TokenLogprob,
} from './requests.ts';
import { ResidentAdapters } from './resident.ts';

/** Layers of adapters packed in one step, whatever they take; beyond them, a share of a usual step's time. */
const layersMax = 8;
const loadShare = 0.04;

export type ServePorts = {
  /** Milliseconds; deadlines are on this clock. */
  readonly clock: () => number;
  /** `top`: as many likeliest tokens as were asked for, most likely first. */
  readonly onToken: (
    id: number,
    token: number,
    logprob: number | undefined,
    top: readonly TokenLogprob[],
  ) => void;
  readonly onEnd: (id: number, outcome: { finish: Finish } | { error: ServeError }) => void;
  /** An adapter is needed: answer with `provide` or `fail`, at any time. */
  readonly want: (adapter: string, id: number) => void;
  readonly onEvent?: (event: ServeEvent) => void;
};

export class ServeCore {
  readonly graph: BatchGraph;
  readonly #limits: ServeLimits;
  readonly #ports: ServePorts;
  readonly #counters: Counters;
  readonly #residents: ResidentAdapters;
  readonly #prefixes: PrefixCache;
  readonly #queue = new FairQueue();
  readonly #live = new Map<number, Live>();
  /** In order of admission. */
  readonly #running: Live[] = [];
  /** Fetched, waiting for pages. */
  readonly #arrived = new Map<string, Adapter>();
  readonly #wanted = new Set<string>();
  /** How many live requests name an adapter. */
  readonly #names = new Map<string, number>();
  #owed = 0;
  #nextDeadlineMs = Number.POSITIVE_INFINITY;
  /** Whether anything changed for those that wait since they were last looked at. */
  #stirred = false;

  constructor(graph: BatchGraph, limits: ServeLimits, ports: ServePorts) {
    this.graph = graph;
    this.#limits = limits;
    this.#ports = ports;
    this.#counters = new Counters(ports.onEvent);
    this.#residents = new ResidentAdapters(graph);
    this.#prefixes = new PrefixCache(graph.pool, graph.sizes.pagePositions);
  }

  /**
   * Takes a request on.
   * @throws ServeError QUEUE_FULL | CLIENT_QUEUE_FULL | DEADLINE_UNREACHABLE | REQUEST_INVALID |
   *   POOL_TOO_SMALL, ModelInputError CONTEXT_LENGTH | TOKEN_RANGE
   */
  submit(request: ServeRequest): void {
    const nowMs = this.#ports.clock();
    const admission: Admission = {
      limits: this.#limits,
      waiting: this.#queue.size,
      clientWaiting: this.#queue.waitingOf(request.client),
      running: this.#running.length,
      waitingRows: this.#running.reduce((rows, live) => rows - live.owed, this.#owed),
      rate: this.#counters.rate,
      pages: this.graph.pool.total,
      nowMs,
    };
    let live: Live;
    try {
      live = admit(this.graph, admission, request);
    } catch (error) {
      this.#counters.tell({
        type: 'refused',
        code: (error as { code?: string }).code ?? 'UNKNOWN',
      });
      throw error;
    }
    this.#live.set(request.id, live);
    this.#stirred = true;
    this.#owed += live.owed;
    const { deadlineMs = Number.POSITIVE_INFINITY } = request;
    this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, deadlineMs);
    if (request.adapter !== null) {
      this.#names.set(request.adapter, (this.#names.get(request.adapter) ?? 0) + 1);
    }
    this.#queue.enter(request.client);
    if (live.limit === 0) this.#end(live, { finish: 'length' });
    else this.#queue.push(live);
  }

  /** Ends a request wherever it is; unknown ones are none of our concern. */
  cancel(id: number): void {
    const live = this.#live.get(id);
    if (live !== undefined) this.#end(live, { finish: 'cancelled' });
  }

  /** A wanted adapter, whole and checked. */
  provide(id: string, adapter: Adapter): void {
    this.#wanted.delete(id);
    try {
      checkAdapter(this.graph, adapter);
    } catch (error) {
      this.#failAll(id, error as ServeError);
      return;
    }
    if (!this.#residents.has(id)) this.#arrived.set(id, adapter);
  }

  /** A wanted adapter cannot be had: the requests that name it fail, others go on. */
  fail(id: string, cause: unknown): void {
    this.#wanted.delete(id);
    const found = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'ask for another adapter, or again later';
    this.#failAll(id, new ServeError('ADAPTER_UNAVAILABLE', `adapter ${id}`, found, remedy, cause));
  }

  /** A pinned adapter stays once it is in; it is fetched when a request first names it. */
  pin(id: string, isPinned: boolean): void {
    this.#residents.pin(id, isPinned);
  }

  /** One step; false when there is nothing to do until a request or an adapter comes. */
  step(): boolean {
    const startedMs = this.#ports.clock();
    this.#expire(startedMs);
    this.#takeIn(startedMs);
    this.#admit(startedMs);
    const turn = this.#turn();
    if (turn.length > 0) this.#run(turn, startedMs);
    if (this.#running.length > 0 || this.#residents.loading > 0) return true;
    this.#stirred = true;
    return this.#canStart();
  }

  metrics(): ServeMetrics {
    const { finished, refused, rate, loads, steps, rows, preemptions } = this.#counters;
    const { promptTokens, prefixTokens, outputTokens } = this.#counters;
    const { pool } = this.graph;
    return {
      requests: { running: this.#running.length, waiting: this.#queue.size },
      finished: { ...finished },
      refused: { ...refused },
      ...{ promptTokens, prefixTokens, outputTokens, steps, rows, preemptions, rate },
      adapters: {
        resident: this.#residents.count,
        loads,
        evictions: this.#residents.evictions,
      },
      pages: {
        total: pool.total,
        free: pool.free,
        adapters: this.#residents.pages,
        prefixes: this.#prefixes.pages,
      },
    };
  }

  #expire(nowMs: number): void {
    if (nowMs < this.#nextDeadlineMs) return;
    this.#nextDeadlineMs = Number.POSITIVE_INFINITY;
    for (const live of [...this.#live.values()]) {
      const { deadlineMs = Number.POSITIVE_INFINITY } = live.request;
      if (deadlineMs <= nowMs) this.#end(live, { finish: 'deadline' });
      else this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, deadlineMs);
    }
  }

  /** Gives arrived adapters pages as far as there are any, and packs some of their layers. */
  #takeIn(nowMs: number): void {
    for (const [id, adapter] of this.#arrived) {
      if (!this.#names.has(id)) {
        this.#arrived.delete(id);
        continue;
      }
      const isAlone = this.#running.length === 0 && this.#residents.loading === 0;
      const pages = this.#takePages(this.graph.layoutOf(adapter.rank).pages, isAlone);
      if (pages === undefined) break;
      this.#arrived.delete(id);
      this.#residents.begin(id, adapter, pages);
    }
    // A layer for each that loads, so that many cold ones do not wait for one another, and more while
    // it hardly lengthens the step; all of them while nobody runs.
    const idle = this.#running.length === 0;
    const turns = idle ? this.graph.config.layers : Math.min(this.#residents.loading, layersMax);
    const untilMs = nowMs + loadShare * this.#counters.stepMs;
    for (let turn = 0; this.#residents.loading > 0; turn++) {
      if (turn >= turns && this.#ports.clock() >= untilMs) break;
      const ready = this.#residents.packNext();
      if (ready === undefined) continue;
      this.#stirred = true;
      this.#counters.tell({ type: 'loaded', adapter: ready.id, pages: ready.pages });
    }
  }

  readonly #isNamed = (id: string): boolean => this.#names.has(id);

  /**
   * So many pages or none. What nobody uses makes room: earlier texts, then idle adapters; those that
   * live requests name only for the one text that runs alone, pinned ones for it too.
   */
  #takePages(count: number, isAlone: boolean): number[] | undefined {
    const { pool } = this.graph;
    const spared = isAlone ? () => false : this.#isNamed;
    while (pool.free < count) {
      const made =
        this.#prefixes.evict() ||
        this.#residents.evict(spared) ||
        (isAlone && this.#residents.evict(spared, true));
      if (!made) return undefined;
    }
    return Array.from({ length: count }, () => pool.take()!);
  }

  /** Whether a step can do anything for those that wait: not when all wait for adapters on their way. */
  #canStart(): boolean {
    return this.#near().some(
      ({ request: { adapter } }) => adapter === null || !this.#wanted.has(adapter),
    );
  }

  /** The next of those that wait, in their order. */
  #near(): Live[] {
    const most = this.graph.sizes.sequences + this.#limits.prefetch;
    const near: Live[] = [];
    for (const live of this.#queue.inOrder()) {
      near.push(live);
      if (near.length === most) break;
    }
    return near;
  }

  #admit(nowMs: number): void {
    if (this.#queue.size === 0 || !this.#stirred) return;
    this.#stirred = false;
    let blocked = false;
    for (const live of this.#near()) {
      const { adapter, id } = live.request;
      if (!this.#live.has(id)) continue;
      if (adapter !== null && !this.#residents.isReady(adapter)) {
        const isComing = this.#residents.has(adapter) || this.#arrived.has(adapter);
        if (!isComing && !this.#wanted.has(adapter)) {
          this.#wanted.add(adapter);
          this.#ports.want(adapter, id);
        }
        continue;
      }
      if (!blocked) blocked = !this.#start(live, nowMs);
    }
  }

  /** Moves a request into the batch; false when the batch or the pool is full. */
  #start(live: Live, nowMs: number): boolean {
    const { adapter } = live.request;
    if (this.#running.length >= this.graph.sizes.sequences) return false;
    const tokens = live.tokens.subarray(0, live.known);
    const hit = this.#limits.prefixCache
      ? this.#prefixes.take(adapter ?? '', tokens)
      : { pages: [], last: 0 };
    const at = adapter === null ? 0 : this.#residents.take(adapter);
    const missing = this.graph.pagesFor(live.known) - hit.pages.length;
    const pages = this.#takePages(missing, this.#running.length === 0);
    if (pages === undefined) {
      for (const page of hit.pages) this.graph.pool.release(page);
      if (adapter !== null) this.#residents.release(adapter);
      return false;
    }
    this.#queue.remove(live);
    live.table = this.graph.takeTable()!;
    live.pages.push(...hit.pages, ...pages);
    for (const [i, page] of live.pages.entries()) this.graph.setPage(live.table, i, page);
    live.adapterAt = at;
    live.done = hit.pages.length * this.graph.sizes.pagePositions;
    live.kept = hit.pages.length;
    live.chain = hit.last;
    live.startedMs ??= nowMs;
    this.#counters.prefixTokens += live.done;
    this.#running.push(live);
    return true;
  }

  /** Who computes how many rows now: texts that decode first, then prompts, the oldest first. */
  #turn(): { live: Live; rows: number }[] {
    const turn = new Map<Live, number>();
    let room = this.graph.sizes.rows;
    for (const isDecode of [true, false]) {
      for (const live of [...this.#running]) {
        const open = live.known - live.done;
        if ((open === 1) !== isDecode || room === 0) continue;
        // A text that was set back by another one meanwhile has no place in this step.
        if (!this.#running.includes(live)) continue;
        const rows = Math.min(open, room);
        if (!this.#grow(live, turn)) continue;
        turn.set(live, rows);
        room -= rows;
      }
    }
    return [...turn]
      .map(([live, rows]) => ({ live, rows }))
      .sort((a, b) => a.live.adapterAt - b.live.adapterAt);
  }

  /** Makes sure that the pages reach to the known end, setting back the newest others if they must. */
  #grow(live: Live, turn: Map<Live, number>): boolean {
    while (live.pages.length < this.graph.pagesFor(live.known)) {
      const pages = this.#takePages(1, this.#running.length === 1);
      if (pages !== undefined) {
        this.graph.setPage(live.table, live.pages.length, pages[0]!);
        live.pages.push(pages[0]!);
        continue;
      }
      const newest = this.#running.at(-1)!;
      this.#setBack(newest);
      turn.delete(newest);
      if (newest === live) return false;
    }
    return true;
  }

  /** Takes a running text's pages away; it waits again, first of its client, and is computed anew. */
  #setBack(live: Live): void {
    const again = live.done;
    this.#stop(live);
    live.owed += again;
    this.#owed += again;
    this.#queue.push(live, true);
    this.#stirred = true;
    this.#counters.tell({ type: 'preempted', id: live.request.id });
  }

  #run(turn: readonly { live: Live; rows: number }[], startedMs: number): void {
    const { vocabSize } = this.graph.config;
    const logits = this.graph.step(
      turn.map(({ live, rows }) => ({
        table: live.table,
        tokens: live.tokens.subarray(live.done, live.done + rows),
        start: live.done,
        adapter: live.adapterAt,
        wanted: live.done + rows === live.known,
      })),
    );
    let row = 0;
    let total = 0;
    const chosen: { live: Live; logits: Float32Array }[] = [];
    for (const { live, rows } of turn) {
      live.done += rows;
      total += rows;
      this.#pay(live, rows);
      this.#keepPages(live);
      if (live.done < live.known) continue;
      chosen.push({ live, logits: logits.subarray(row * vocabSize, (row + 1) * vocabSize) });
      row += 1;
    }
    for (const { live, logits: row } of chosen) {
      if (this.#live.has(live.request.id)) this.#choose(live, row);
    }
    const adapters = new Set(turn.map(({ live }) => live.adapterAt)).size;
    const ms = this.#ports.clock() - startedMs;
    this.#counters.tell({ type: 'step', rows: total, sequences: turn.length, adapters, ms });
  }

  #pay(live: Live, rows: number): void {
    const isAnswer = live.known > live.request.tokens.length;
    this.#queue.charge(live.request.client, rows * (isAnswer ? outputCost : 1));
    const paid = Math.min(live.owed, rows);
    live.owed -= paid;
    this.#owed -= paid;
  }

  #keepPages(live: Live): void {
    const { pagePositions } = this.graph.sizes;
    if (!this.#limits.prefixCache || live.chain < 0) return;
    while ((live.kept + 1) * pagePositions <= live.done && live.chain >= 0) {
      const from = live.kept * pagePositions;
      const { adapter } = live.request;
      const page = live.pages[live.kept]!;
      live.chain = this.#prefixes.keep(adapter ?? '', live.chain, live.tokens, from, page);
      live.kept += 1;
    }
  }

  #choose(live: Live, logits: Float32Array): void {
    const { id, sampling, stopTokens, logprobs, topLogprobs = 0, tokens } = live.request;
    const token = chooseToken(logits, sampling, live.done, live.tokens.subarray(0, live.known));
    const logprob = logprobs === true ? this.graph.logprob(logits, token) : undefined;
    const top = likeliestTokens(logits, logprobs === true ? topLogprobs : 0).map((one) => ({
      token: one,
      logprob: this.graph.logprob(logits, one),
    }));
    live.firstMs ??= this.#ports.clock();
    live.tokens[live.known++] = token;
    this.#ports.onToken(id, token, logprob, top);
    if (stopTokens.includes(token)) this.#end(live, { finish: 'stop' });
    else if (live.known - tokens.length >= live.limit) this.#end(live, { finish: 'length' });
  }

  /** Gives back what a running text holds. */
  #stop(live: Live): void {
    const at = this.#running.indexOf(live);
    if (at < 0) return;
    this.#running.splice(at, 1);
    for (const page of live.pages.splice(0)) this.graph.pool.release(page);
    this.graph.giveTable(live.table);
    if (live.request.adapter !== null) this.#residents.release(live.request.adapter);
    live.done = 0;
  }

  #end(live: Live, outcome: { finish: Finish } | { error: ServeError }): void {
    const { id, client, adapter, tokens } = live.request;
    if (!this.#live.delete(id)) return;
    this.#stirred = true;
    this.#queue.remove(live);
    this.#stop(live);
    this.#queue.leave(client);
    this.#owed -= live.owed;
    if (adapter !== null) {
      const names = this.#names.get(adapter)! - 1;
      if (names > 0) this.#names.set(adapter, names);
      else this.#names.delete(adapter);
    }
    if ('finish' in outcome) {
      const nowMs = this.#ports.clock();
      this.#counters.tell({
        type: 'finished',
        id,
        finish: outcome.finish,
        promptTokens: tokens.length,
        outputTokens: live.known - tokens.length,
        queueMs: (live.startedMs ?? nowMs) - live.submittedMs,
        firstTokenMs: (live.firstMs ?? nowMs) - live.submittedMs,
        totalMs: nowMs - live.submittedMs,
      });
    } else this.#counters.tell({ type: 'refused', code: outcome.error.code });
    this.#ports.onEnd(id, outcome);
  }

  #failAll(id: string, error: ServeError): void {
    for (const live of [...this.#live.values()]) {
      if (live.request.adapter === id) this.#end(live, { error });
    }
  }
}
