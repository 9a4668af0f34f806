// When a deadline can be met, from how things stand; and how fast the engine is, from its steps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openArena } from '../engine/backend.ts';
import { GREEDY } from '../model/sampling.ts';
import { type Admission, admit } from './admit.ts';
import { BatchGraph } from './batch-graph.ts';
import { Counters } from './metrics.ts';
import { textOf, weights } from './testing.ts';

const sizes = { sequences: 4, rows: 16, pagePositions: 8, poolBytes: 2e6, rankMax: 16 };
const graph = new BatchGraph(openArena('wasm'), weights, sizes);
const idle: Admission = {
  limits: { waitingMax: 64, clientWaitingMax: 32, prefetch: 4, prefixCache: true },
  ...{ waiting: 0, clientWaiting: 0, running: 0, waitingRows: 0, pages: 1000 },
  rate: 2,
  nowMs: 1000,
};
/** Eight prompt tokens and eight of the answer: eight milliseconds alone. */
const ask = (state: Admission, withinMs: number) =>
  admit(graph, state, {
    ...{ id: 1, client: 'c', adapter: null, tokens: textOf(8), maxTokens: 8, stopTokens: [] },
    ...{ sampling: GREEDY, deadlineMs: state.nowMs + withinMs },
  });

test('DEADLINE_UNREACHABLE: the time of those before it, then of its own steps, shared with those beside it', () => {
  for (const [state, leastMs] of [
    [idle, 8],
    [{ ...idle, running: 1 }, 16],
    // The batch has four places, and those who wait come first.
    [{ ...idle, running: 4, waiting: 3, waitingRows: 48 }, 24 + 32],
    [{ ...idle, running: 3, waiting: 0 }, 32],
  ] as const) {
    assert.equal(ask(state, leastMs).owed, 16);
    assert.throws(() => ask(state, leastMs - 0.5), { code: 'DEADLINE_UNREACHABLE' });
  }
  // Nobody knows yet how fast it is.
  ask({ ...idle, rate: 0 }, 0.1);
});

test('the rate is that of rows to time, so that short steps do not count as much as long ones', () => {
  const counters = new Counters();
  assert.equal(counters.rate, 0);
  const step = (rows: number, ms: number) =>
    counters.tell({ type: 'step', rows, sequences: 1, adapters: 1, ms });
  step(8, 4);
  assert.equal(counters.rate, 2);
  for (let i = 0; i < 400; i++) step(i % 2 === 0 ? 8 : 24, i % 2 === 0 ? 8 : 12);
  // 32 rows in 20 ms; the mean of the steps' own rates would be 1.5.
  assert.ok(Math.abs(counters.rate - 1.6) < 0.02, String(counters.rate));
  assert.ok(Math.abs(counters.stepMs - 10) < 0.2);
});
