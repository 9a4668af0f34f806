// No more run at once than allowed, in the order in which they came, whatever some of them throw.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atMost } from './at-most.ts';

test('two hundred actions run four at a time, in their order, also when some fail', async () => {
  const inTurn = atMost(4);
  const started: number[] = [];
  let running = 0;
  let most = 0;
  const all = Array.from({ length: 200 }, (_, i) =>
    inTurn(async () => {
      started.push(i);
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      if (i % 7 === 0) throw new Error(`no ${i}`);
      return i;
    }),
  );
  const settled = await Promise.allSettled(all);
  assert.equal(most, 4);
  assert.deepEqual(
    started,
    Array.from({ length: 200 }, (_, i) => i),
  );
  for (const [i, outcome] of settled.entries())
    assert.equal(outcome.status, i % 7 === 0 ? 'rejected' : 'fulfilled');
  assert.equal(await inTurn(async () => 'free again'), 'free again');
});
