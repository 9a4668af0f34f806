// The read cache: one run per question and block, and never an answer from before a block after it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Engine, EngineReply } from './engine.ts';
import { withReadCache } from './read-cache.ts';

/** An engine whose every answer says how many blocks there were and how often it was asked. */
function countingEngine() {
  const asked: string[] = [];
  let blocks = 0;
  let onMine = () => {};
  const engine: Engine = {
    async request(method, params): Promise<EngineReply> {
      asked.push(`${method} ${JSON.stringify(params)}`);
      return { ok: true, result: blocks };
    },
    async mine(frames) {
      onMine();
      blocks += frames.length;
    },
  };
  const hookMine = (run: () => void) => {
    onMine = run;
  };
  return { engine, asked, hookMine };
}

const FRAME = { timestamp: 1, prevRandao: `0x${'00'.repeat(32)}` };
const CALL = [{ to: '0x01', data: '0x02' }, 'latest'];

test('asks the engine once per block for the same read', async () => {
  const { engine, asked } = countingEngine();
  const cached = withReadCache(engine);
  const same = await Promise.all([1, 2, 3].map(() => cached.request('eth_call', CALL)));
  assert.deepEqual(same, Array(3).fill({ ok: true, result: 0 }));
  assert.equal(asked.length, 1);
  await cached.request('eth_call', [{ to: '0x01', data: '0x03' }, 'latest']);
  assert.equal(asked.length, 2);
  await cached.mine([FRAME]);
  assert.deepEqual(await cached.request('eth_call', CALL), { ok: true, result: 1 });
  assert.equal(asked.length, 3);
});

test('forgets what was asked while a block was made', async () => {
  const { engine, hookMine } = countingEngine();
  const cached = withReadCache(engine);
  let during: Promise<EngineReply> | null = null;
  hookMine(() => {
    during = cached.request('eth_blockNumber', []);
  });
  await cached.mine([FRAME]);
  assert.deepEqual(await during, { ok: true, result: 0 });
  assert.deepEqual(await cached.request('eth_blockNumber', []), { ok: true, result: 1 });
});

test('forgets when a block could not be made', async () => {
  const { engine, asked, hookMine } = countingEngine();
  const cached = withReadCache(engine);
  await cached.request('eth_blockNumber', []);
  hookMine(() => {
    throw new Error('no block');
  });
  await assert.rejects(cached.mine([FRAME]), /no block/);
  await cached.request('eth_blockNumber', []);
  assert.equal(asked.length, 2);
});

test('keeps nothing of the pending state, nor what is not a read', async () => {
  const { engine, asked } = countingEngine();
  const cached = withReadCache(engine);
  for (const [method, params] of [
    ['eth_call', [CALL[0], 'pending']],
    ['eth_getBalance', ['0x01', 'pending']],
    ['eth_getLogs', [{ toBlock: 'pending' }]],
    ['eth_getTransactionByHash', ['0x01']],
    ['eth_getTransactionCount', ['0x01', 'latest']],
    ['eth_estimateGas', [CALL[0]]],
    ['eth_getFilterChanges', ['0x1']],
  ] as const) {
    asked.length = 0;
    await cached.request(method, params);
    await cached.request(method, params);
    assert.equal(asked.length, 2, method);
  }
});

test('asks again after a question that broke', async () => {
  let isBroken = true;
  const { engine, asked } = countingEngine();
  const cached = withReadCache({
    mine: engine.mine,
    request: (method, params) =>
      isBroken ? Promise.reject(new Error('broken')) : engine.request(method, params),
  });
  await assert.rejects(cached.request('eth_blockNumber', []), /broken/);
  isBroken = false;
  assert.deepEqual(await cached.request('eth_blockNumber', []), { ok: true, result: 0 });
  assert.equal(asked.length, 1);
});

test('remembers a bounded number of answers', async () => {
  const { engine, asked } = countingEngine();
  const cached = withReadCache(engine);
  for (let i = 0; i < 1_001; i += 1) await cached.request('eth_getBalance', [`0x${i}`]);
  asked.length = 0;
  await cached.request('eth_getBalance', ['0x0']);
  await cached.request('eth_getBalance', ['0x1000']);
  assert.deepEqual(asked, ['eth_getBalance ["0x1000"]']);
});
