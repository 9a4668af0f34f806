// The serving engine, step by step: what is batched equals what is computed alone, a cold adapter
// stalls nobody, and whoever cannot be served hears it by code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nativeStatus } from '../engine/backend.ts';
import { alone, bench, textOf } from './testing.ts';

const backends = nativeStatus().usable ? (['wasm', 'native'] as const) : (['wasm'] as const);
const coded = (code: string) => (error: { code?: string }) => error.code === code;

for (const backend of backends) {
  test(`batched answers are the answers alone, bit for bit (${backend})`, () => {
    const { ask, drain, core } = bench(backend);
    const asked = [null, 'a0', 'a1', 'a0', 'a2', 'a3', null, 'a4', 'a5', 'a6', 'a1'].map(
      (adapter, i) => {
        const tokens = textOf(3 + 4 * i, i);
        const temperature = i % 3 === 0 ? 0 : 0.9;
        const sampling = {
          ...{ temperature, topK: 0, topP: i % 2 ? 1 : 0.8, seed: BigInt(i) },
          ...{ minP: i % 3 ? 0 : 0.05, repetitionPenalty: i % 2 ? 1.3 : 1 },
        };
        const answer = ask({ adapter, tokens, sampling, maxTokens: 9 + i, logprobs: true });
        return { ...answer, expected: alone(adapter, tokens, 9 + i, sampling) };
      },
    );
    drain();
    for (const { outcome, expected } of asked) {
      assert.deepEqual(outcome.tokens, expected.tokens);
      assert.deepEqual(outcome.logprobs, expected.logprobs);
      assert.deepEqual(outcome.end, { finish: 'length' });
    }
    assert.deepEqual(core.metrics().requests, { running: 0, waiting: 0 });
  });
}

test('pages too few for all: texts are set back, adapters let go, answers stay the same', () => {
  // A page has 4096 bytes; the adapter of rank 8 takes thirteen, a text up to six.
  const sizes = { poolBytes: 22 * 4096, sequences: 4, rankMax: 8 };
  const { ask, drain, core, events } = bench('wasm', sizes);
  const asked = Array.from({ length: 8 }, (_, i) => {
    const adapter = i % 4 === 3 ? null : ['a0', 'a1', 'a3'][i % 3]!;
    const tokens = textOf(10 + i, i);
    return { ...ask({ adapter, tokens, maxTokens: 30 }), expected: alone(adapter, tokens, 30) };
  });
  drain();
  for (const { outcome, expected } of asked) assert.deepEqual(outcome.tokens, expected.tokens);
  const { preemptions, adapters, pages } = core.metrics();
  assert.ok(preemptions > 0 && adapters.evictions > 0, JSON.stringify(core.metrics()));
  assert.equal(events.filter(({ type }) => type === 'preempted').length, preemptions);
  assert.equal(pages.free + pages.adapters + pages.prefixes, pages.total);
});

test('any mix of requests, cancellations and sizes ends with right answers and no page lost', () => {
  const request = fc.record({
    adapter: fc.option(fc.integer({ min: 0, max: 5 })),
    prompt: fc.integer({ min: 1, max: 40 }),
    seed: fc.integer({ min: 0, max: 3 }),
    maxTokens: fc.integer({ min: 0, max: 20 }),
    steps: fc.integer({ min: 0, max: 5 }),
    isCancelled: fc.boolean(),
  });
  const mixes = fc.record({
    requests: fc.array(request, { minLength: 1, maxLength: 10 }),
    pages: fc.integer({ min: 34, max: 60 }),
    prefixCache: fc.boolean(),
  });
  fc.assert(
    fc.property(mixes, ({ requests, pages, prefixCache }) => {
      const sizes = { poolBytes: pages * 4096, sequences: 4, rows: 12 };
      const { ask, drain, core } = bench('wasm', sizes, { prefixCache });
      const asked = requests.map(({ adapter, prompt, seed, maxTokens, steps, isCancelled }, i) => {
        const name = adapter === null ? null : `a${adapter}`;
        const tokens = textOf(prompt, seed);
        const answer = ask({ adapter: name, tokens, maxTokens, client: `c${i % 3}` });
        for (let step = 0; step < steps; step++) core.step();
        if (isCancelled) core.cancel(answer.id);
        const expected = maxTokens === 0 ? [] : alone(name, tokens, maxTokens).tokens;
        return { ...answer, expected };
      });
      drain();
      for (const { outcome, expected } of asked) {
        const end = outcome.end ?? {};
        if ('finish' in end && end.finish === 'cancelled') {
          assert.deepEqual(outcome.tokens, expected.slice(0, outcome.tokens.length));
        } else {
          assert.deepEqual(end, { finish: 'length' });
          assert.deepEqual(outcome.tokens, expected);
        }
      }
      const { pages: left } = core.metrics();
      assert.equal(left.free + left.adapters + left.prefixes, left.total);
    }),
    { numRuns: 40, seed: 1 },
  );
});

test('a cold adapter does not stall the others, and comes in layer by layer between their steps', () => {
  const { ask, core, state, wanted } = bench('wasm');
  state.holdsBack = (adapter) => adapter === 'a9';
  const cold = ask({ adapter: 'a9', maxTokens: 3 });
  const warm = ask({ adapter: 'a1', maxTokens: 3 });
  for (let i = 0; i < 20 && warm.outcome.end === undefined; i++) core.step();
  assert.deepEqual(warm.outcome.end, { finish: 'length' });
  assert.equal(cold.outcome.tokens.length, 0);
  assert.deepEqual(wanted, ['a9', 'a1']);
  assert.equal(core.step(), false);
  state.holdsBack = () => false;
  core.fail('a9', new Error('nobody has it'));
  const { end } = cold.outcome;
  assert.ok(end !== undefined && 'error' in end && end.error.code === 'ADAPTER_UNAVAILABLE');
});

test('adapters of waiting requests are fetched before their turn', () => {
  const { ask, core, wanted, drain } = bench('wasm', { sequences: 1 }, { prefetch: 2 });
  for (const adapter of ['a0', 'a1', 'a2', 'a3']) ask({ adapter, maxTokens: 20 });
  core.step();
  assert.deepEqual(wanted, ['a0', 'a1', 'a2']);
  drain();
  assert.deepEqual(wanted, ['a0', 'a1', 'a2', 'a3']);
});

test('ADAPTER_UNAVAILABLE and RANK_TOO_LARGE for adapters that do not fit this base', () => {
  for (const [adapter, code] of [
    [{ rank: 8, alpha: 8, parameters: new Float32Array(7) }, 'ADAPTER_UNAVAILABLE'],
    [{ rank: 99, alpha: 8, parameters: new Float32Array(7) }, 'RANK_TOO_LARGE'],
  ] as const) {
    const { ask, core, state } = bench('wasm');
    state.holdsBack = () => true;
    const { outcome } = ask({ adapter: 'x' });
    const other = ask();
    core.step();
    core.provide('x', adapter);
    assert.ok(outcome.end !== undefined && 'error' in outcome.end);
    assert.equal(outcome.end.error.code, code);
    while (core.step());
    assert.deepEqual(other.outcome.end, { finish: 'length' });
  }
});

test('refusals have codes: QUEUE_FULL, CLIENT_QUEUE_FULL, POOL_TOO_SMALL, REQUEST_INVALID and those of the input', () => {
  const full = bench('wasm', {}, { waitingMax: 3, clientWaitingMax: 2 });
  full.ask();
  full.ask();
  assert.throws(() => full.ask(), coded('CLIENT_QUEUE_FULL'));
  full.ask({ client: 'bob' });
  assert.throws(() => full.ask({ client: 'cyd' }), coded('QUEUE_FULL'));
  full.drain();
  assert.deepEqual(full.core.metrics().refused, { CLIENT_QUEUE_FULL: 1, QUEUE_FULL: 1 });
  const small = bench('wasm', { poolBytes: 6 * 4096 });
  assert.throws(() => small.ask({ maxTokens: 40 }), coded('POOL_TOO_SMALL'));
  const { ask } = bench('wasm');
  assert.throws(() => ask({ maxTokens: -1 }), coded('REQUEST_INVALID'));
  assert.throws(() => ask({ tokens: new Int32Array(0) }), coded('CONTEXT_LENGTH'));
  assert.throws(() => ask({ tokens: new Int32Array(65) }), coded('CONTEXT_LENGTH'));
  assert.throws(() => ask({ tokens: Int32Array.of(104) }), coded('TOKEN_RANGE'));
});

test('DEADLINE_UNREACHABLE is said at once; a deadline that passes ends an answer where it is', () => {
  const { ask, core, state, drain } = bench('wasm');
  const late = ask({ maxTokens: 40, deadlineMs: 50 });
  for (let i = 0; i < 5; i++) {
    core.step();
    state.nowMs += 10;
  }
  core.step();
  assert.deepEqual(late.outcome.end, { finish: 'deadline' });
  assert.ok(late.outcome.tokens.length > 0 && late.outcome.tokens.length < 40);
  // The engine's own clock stood still in each step, so its rate is known and very high.
  ask({ maxTokens: 40, deadlineMs: state.nowMs + 1 });
  assert.throws(() => ask({ deadlineMs: state.nowMs - 1 }), coded('DEADLINE_UNREACHABLE'));
  drain();
});

test('a client with one request is not behind the many of another', () => {
  const { ask, drain, events } = bench('wasm', { sequences: 2, rows: 16 });
  for (let i = 0; i < 12; i++) ask({ client: 'many', maxTokens: 6, tokens: textOf(8, i) });
  const one = ask({ client: 'one', maxTokens: 6 });
  drain();
  const order = events.flatMap((event) => (event.type === 'finished' ? [event.id] : []));
  assert.equal(order.length, 13);
  assert.ok(order.indexOf(one.id) < 3, `${one.id} in ${order}`);
});

test('a text that begins like an earlier one takes its pages, for the same adapter only', () => {
  const { ask, drain, core } = bench('wasm');
  const tokens = textOf(33);
  ask({ tokens, adapter: 'a1' });
  drain();
  assert.equal(core.metrics().prefixTokens, 0);
  const { outcome } = ask({ tokens, adapter: 'a1' });
  drain();
  assert.equal(core.metrics().prefixTokens, 32);
  assert.deepEqual(outcome.tokens, alone('a1', tokens, 8).tokens);
  const other = ask({ tokens, adapter: 'a2' });
  drain();
  assert.equal(core.metrics().prefixTokens, 32);
  assert.deepEqual(other.outcome.tokens, alone('a2', tokens, 8).tokens);
});

test('a pinned adapter stays while others go', () => {
  const { ask, drain, core, wanted } = bench('wasm', { poolBytes: 48 * 4096, sequences: 1 });
  core.pin('a0', true);
  for (const adapter of ['a0', 'a4', 'a8', 'a12', 'a0', 'a16', 'a0']) {
    ask({ adapter, maxTokens: 2 });
    drain();
  }
  assert.equal(wanted.filter((adapter) => adapter === 'a0').length, 1);
  assert.ok(core.metrics().adapters.evictions > 0);
});

test('a stop token ends an answer and is its last token', () => {
  const expected = alone(null, textOf(12), 8).tokens;
  const stop = expected[3]!;
  const { ask, drain } = bench('wasm');
  const { outcome } = ask({ stopTokens: [stop] });
  drain();
  assert.deepEqual(outcome.tokens, expected.slice(0, expected.indexOf(stop) + 1));
  assert.deepEqual(outcome.end, { finish: 'stop' });
});
