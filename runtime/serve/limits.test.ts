// What is too much for the engine: a queue of ten thousand, a text beyond the context, memory that is
// not to be had. Each is refused by a code, and the others go on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena, ArenaFullError } from '../engine/arena.ts';
import { wasmMemory } from '../engine/wasm.ts';
import { BatchGraph } from './batch-graph.ts';
import { createServing } from './serving.ts';
import { adapterOf, alone, bench, textOf, weights } from './testing.ts';

const coded = (code: string) => (error: { code?: string }) => error.code === code;

test('10,000 queued requests are answered, each as alone, and one more hears QUEUE_FULL at once', () => {
  const limits = { waitingMax: 10_000, clientWaitingMax: 10_000 };
  const { ask, core, outcomes } = bench('wasm', { sequences: 16, rows: 64 }, limits);
  const texts = [textOf(2, 1), textOf(3, 2), textOf(4, 3)];
  const expected = texts.map((tokens) => alone(null, tokens, 1).tokens);
  for (let i = 0; i < 10_000; i++)
    ask({ client: `client ${i % 97}`, tokens: texts[i % 3]!, maxTokens: 1 });
  assert.equal(core.metrics().requests.waiting, 10_000);
  assert.throws(() => ask(), coded('QUEUE_FULL'));
  for (let steps = 0; core.step(); steps++) assert.ok(steps < 10_000, 'expected an end');
  const wrong = [...outcomes.values()]
    .slice(0, 10_000)
    .filter(({ tokens }, i) => tokens.length !== 1 || tokens[0] !== expected[i % 3]![0]);
  assert.deepEqual(wrong, []);
  assert.deepEqual(core.metrics().refused, { QUEUE_FULL: 1 });
  assert.deepEqual(core.metrics().requests, { running: 0, waiting: 0 });
});

test('a prompt longer than the context is refused by CONTEXT_LENGTH; what waits and runs goes on', () => {
  const { ask, core, drain } = bench('wasm');
  const before = ask({ tokens: textOf(5), maxTokens: 6 });
  core.step();
  const { contextLength } = core.graph.config;
  assert.throws(() => ask({ tokens: textOf(contextLength + 1) }), coded('CONTEXT_LENGTH'));
  assert.throws(() => ask({ tokens: textOf(40 * contextLength) }), coded('CONTEXT_LENGTH'));
  const behind = ask({ tokens: textOf(7), maxTokens: 3 });
  drain();
  assert.deepEqual(before.outcome.tokens, alone(null, textOf(5), 6).tokens);
  assert.deepEqual(behind.outcome.tokens, alone(null, textOf(7), 3).tokens);
  assert.deepEqual(core.metrics().refused, { CONTEXT_LENGTH: 2 });
});

test('out of memory while a model is loaded is ARENA_FULL, and another engine goes on', () => {
  const { ask, drain } = bench('wasm');
  const running = ask({ maxTokens: 4 });
  const memory = wasmMemory();
  const bounded = {
    ...memory,
    start: memory.start,
    buffer: () => memory.buffer(),
    run: memory.run.bind(memory),
    grow: (): never => {
      throw new RangeError('WebAssembly.Memory.grow(): Unable to grow instance memory');
    },
  };
  const sizes = { sequences: 6, rows: 16, pagePositions: 8, poolBytes: 2 ** 28, rankMax: 16 };
  assert.throws(
    () => new BatchGraph(new Arena(bounded), weights, sizes),
    (error) => error instanceof ArenaFullError && error.code === 'ARENA_FULL',
  );
  drain();
  assert.deepEqual(running.outcome.tokens, alone(null, textOf(12), 4).tokens);
});

test('out of memory while an adapter is loaded fails who asked for it, leaves nothing, and may pass', async (t) => {
  const sizes = { sequences: 4, rows: 16, pagePositions: 8, poolBytes: 1e6, rankMax: 16 };
  const serving = createServing({ weights, sizes, backend: 'wasm' });
  t.after(() => serving.close());
  let isShort = true;
  const adapter = {
    id: 'a0',
    fetch: async () => {
      if (isShort) throw new RangeError('Array buffer allocation failed');
      return adapterOf('a0');
    },
  };
  const tokens = textOf(6);
  const ask = (one: typeof adapter | null) =>
    serving.generate({ client: 'ann', adapter: one, tokens, maxTokens: 5 });
  const [failed, base] = await Promise.allSettled([ask(adapter), ask(null)]);
  assert.equal(failed.status === 'rejected' && failed.reason.code, 'ADAPTER_UNAVAILABLE');
  assert.match(String(failed.status === 'rejected' && failed.reason), /allocation failed/);
  assert.deepEqual(
    base.status === 'fulfilled' && Array.from(base.value.tokens),
    alone(null, tokens, 5).tokens,
  );
  assert.equal(serving.tierLoad().ram.adapters, 0);
  assert.equal((await serving.metrics())[0]?.adapters.resident, 0);
  isShort = false;
  assert.deepEqual(Array.from((await ask(adapter)).tokens), alone('a0', tokens, 5).tokens);
});
