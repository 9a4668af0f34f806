// What may come in. A request that cannot be served, or not in time, hears it at once, because a
// client that hears no early can go elsewhere.

import { layoutSize, loraLayout } from '../engine/config.ts';
import { type Adapter, ModelInputError } from '../engine/graph.ts';
import type { BatchGraph } from './batch-graph.ts';
import { ServeError } from './errors.ts';
import type { Live, ServeLimits, ServeRequest } from './requests.ts';

/** How things stand when a request comes. */
export type Admission = {
  readonly limits: ServeLimits;
  readonly waiting: number;
  readonly clientWaiting: number;
  readonly running: number;
  /** Rows that waiting requests may still need. */
  readonly waitingRows: number;
  /** Rows per millisecond lately; 0 when unknown. */
  readonly rate: number;
  /** Pages that are not pinned. */
  readonly pages: number;
  readonly nowMs: number;
};

function checkTokens(graph: BatchGraph, { tokens, maxTokens, id }: ServeRequest): void {
  const { contextLength, vocabSize } = graph.config;
  if (tokens.length === 0 || tokens.length > contextLength) {
    const expected = `1 to ${contextLength} prompt tokens`;
    throw new ModelInputError('CONTEXT_LENGTH', expected, tokens.length);
  }
  for (const token of tokens) {
    if (token < 0 || token >= vocabSize) {
      throw new ModelInputError('TOKEN_RANGE', `0 to ${vocabSize - 1}`, token);
    }
  }
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 0) {
    const remedy = 'give maxTokens';
    throw new ServeError('REQUEST_INVALID', 'a number of tokens', maxTokens, remedy);
  }
  if (!Number.isSafeInteger(id)) {
    throw new ServeError('REQUEST_INVALID', 'a whole number as id', id, 'number the requests');
  }
}

/** An adapter of the right size and a rank within the limit. */
export function checkAdapter(graph: BatchGraph, { rank, parameters }: Adapter): void {
  const { rankMax } = graph.sizes;
  if (rank > rankMax) {
    const remedy = 'raise rankMax or ask for an adapter of lower rank';
    throw new ServeError('RANK_TOO_LARGE', `a rank of at most ${rankMax}`, rank, remedy);
  }
  const count = layoutSize(loraLayout(graph.config, rank));
  if (parameters.length !== count) {
    const remedy = 'ask for an adapter of this base';
    const expected = `${count} parameters at rank ${rank}`;
    throw new ServeError('ADAPTER_UNAVAILABLE', expected, parameters.length, remedy);
  }
}

/** The request as a live one. @throws see ServeCore.submit */
export function admit(graph: BatchGraph, state: Admission, request: ServeRequest): Live {
  const { limits, waiting, clientWaiting, running, waitingRows, rate, nowMs } = state;
  checkTokens(graph, request);
  const elsewhere = 'ask another provider or later';
  if (waiting >= limits.waitingMax) {
    const expected = `fewer than ${limits.waitingMax} waiting requests`;
    throw new ServeError('QUEUE_FULL', expected, waiting, elsewhere);
  }
  if (clientWaiting >= limits.clientWaitingMax) {
    const expected = `fewer than ${limits.clientWaitingMax} waiting requests of one client`;
    throw new ServeError('CLIENT_QUEUE_FULL', expected, clientWaiting, 'wait for an answer first');
  }
  const prompt = request.tokens.length;
  const limit = Math.min(request.maxTokens, graph.config.contextLength - prompt);
  // The largest adapter that may come with it has to fit beside its text.
  const adapterPages = request.adapter === null ? 0 : graph.layoutOf(graph.sizes.rankMax).pages;
  const needed = graph.pagesFor(prompt + limit) + adapterPages;
  if (needed > state.pages) {
    const remedy = 'raise poolBytes, unpin adapters, or ask for less';
    throw new ServeError('POOL_TOO_SMALL', `at most ${state.pages} pages`, needed, remedy);
  }
  const rows = prompt + limit;
  const { deadlineMs } = request;
  if (deadlineMs !== undefined && rate > 0) {
    // Its turn comes when those before it are done; then it shares every step with the others.
    const beside = Math.min(graph.sizes.sequences, running + waiting + 1);
    const readyMs = nowMs + (waitingRows + beside * rows) / rate;
    if (readyMs > deadlineMs) {
      const expected = `a deadline in ${Math.ceil(readyMs - nowMs)} ms or later`;
      const found = `${Math.floor(deadlineMs - nowMs)} ms`;
      throw new ServeError('DEADLINE_UNREACHABLE', expected, found, elsewhere);
    }
  }
  const tokens = new Int32Array(prompt + limit);
  tokens.set(request.tokens);
  return {
    request,
    limit,
    submittedMs: nowMs,
    tokens,
    known: prompt,
    done: 0,
    pages: [],
    chain: 0,
    kept: 0,
    table: 0,
    adapterAt: 0,
    owed: rows,
    startedMs: undefined,
    firstMs: undefined,
  };
}
