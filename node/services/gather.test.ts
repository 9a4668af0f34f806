// Gathering misses no receipt, whatever its date and hash, and is held up by no provider.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { toHex } from '#crypto';
import { INFER_PROTOCOL, inferOrder, receiptsReply, receiptsRequest } from '#protocol';
import { PRICE, silentLog, startSwarm } from '../gateway/testing.ts';
import { testDirectory } from '../network/testing.ts';
import { openLevelTable } from '../provider/level-table.ts';
import type { AskPort } from '../provider/ports.ts';
import { openReceipts } from '../provider/receipts.ts';
import { makeWorld } from '../provider/testing.ts';
import { createGatherer } from './gather.ts';

const world = await makeWorld();
after(world.close);

test('receipts of one second are all gathered, however their hashes are ordered', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{ bundlesMax: 1 }] });
  const [provider] = swarm.providers;
  swarm.bank.deposit('first', swarm.client, provider!.account, 10n ** 18n);
  const table = await openLevelTable(`${await testDirectory(t)}/gathered`);
  t.after(() => table.close());
  const receipts = openReceipts(table, 'gathered/');
  const { peerId } = provider!.host;
  const gather = createGatherer({
    rpc: swarm.front.rpc,
    providers: () => [{ provider: provider!.account, peer: peerId }],
    receipts,
    log: silentLog,
  });
  // Ten receipts in any order of hashes: one that is gathered behind another is there all the same.
  for (let count = 1; count <= 10; count += 1) {
    const order = inferOrder.encode({
      adapterId: world.lineage.adapterId,
      baseHash: world.baseHash,
      client: swarm.client,
      outputTokensMax: 2,
      price: PRICE,
      prompt: 'Keepers of the weir',
      requestId: toHex(new Uint8Array(32).fill(count)),
      saidTokens: [],
      seed: 1,
      stops: [],
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      repetitionPenalty: 1,
      logprobs: null,
    });
    for await (const _ of swarm.front.rpc.stream(peerId, INFER_PROTOCOL, order));
    await gather();
    assert.equal(await receipts.newest(), count);
  }
});

test('a provider that says there is more and gives nothing holds nobody up', async (t) => {
  const table = await openLevelTable(`${await testDirectory(t)}/gathered`);
  t.after(() => table.close());
  const asked: number[] = [];
  let place = 5;
  const rpc: AskPort = {
    ...({} as AskPort),
    stream: async function* (_peer, _protocol, bytes) {
      const request = receiptsRequest.decode(bytes);
      assert.ok(request.ok && request.value.type === 'since');
      asked.push(request.value.after);
      yield receiptsReply.encode({ type: 'done', isMore: true, place });
    },
  };
  const gather = createGatherer({
    rpc,
    providers: () => [{ provider: '0x00', peer: 'peer' }],
    receipts: openReceipts(table, 'gathered/'),
    log: silentLog,
  });
  await gather();
  assert.deepEqual(asked, [0, 5], 'it stops where there is no step forward');
  // The place goes back: the provider lost its files, and is asked for all it has now.
  place = 2;
  await gather();
  assert.deepEqual(asked, [0, 5, 5]);
  await gather();
  assert.deepEqual(asked, [0, 5, 5, 0, 2]);
});
