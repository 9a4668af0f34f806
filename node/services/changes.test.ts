/** A tick runs on events, when time is up, and again after it failed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChainLog } from '../chain/client.ts';
import { whenChanged } from './changes.ts';

const SIGNAL = new AbortController().signal;
const LOG = { blockNumber: 1 } as ChainLog;

test('runs at first, on an event, after the time, and not otherwise', async () => {
  let now = 0;
  let fresh: ChainLog[] = [];
  let ran = 0;
  let fails = false;
  const tick = whenChanged(
    { logs: async (_filter, from) => ({ logs: fresh, nextBlock: from + 1 }) },
    '0x00',
    5_000,
    () => now,
    async () => {
      ran += 1;
      if (fails) throw new Error('no block');
    },
  );
  await tick(SIGNAL);
  now = 1_000;
  await tick(SIGNAL);
  assert.equal(ran, 1, 'nothing changed');
  fresh = [LOG];
  await tick(SIGNAL);
  assert.equal(ran, 2, 'an event');
  fresh = [];
  now = 7_000;
  fails = true;
  await assert.rejects(tick(SIGNAL));
  fails = false;
  await tick(SIGNAL);
  assert.equal(ran, 4, 'a failed tick is run again at once');
  await tick(SIGNAL);
  assert.equal(ran, 4);
});
