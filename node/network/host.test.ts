// A host over loopback: joining, finding everybody through one address, restart, and each reason
// not to start.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { isNetworkError } from './errors.ts';
import { startHost } from './host.ts';
import { networkPreset } from './preset.ts';
import {
  addressOf,
  soon,
  TOPIC,
  testDirectory,
  testHost,
  testKey,
  testPair,
  until,
} from './testing.ts';

test('two hosts meet and know each other by peer id, address and agent', async (t) => {
  const [first, second] = await testPair(t);
  const [peer] = first.peers();
  assert.equal(peer?.peerId, second.peerId);
  assert.equal(peer?.address, second.address);
  assert.match(peer?.agent ?? '', /^openledger-swarm\//);
  assert.equal(peer?.direction, 'inbound');
  assert.ok(first.events.some(({ type }) => type === 'peerConnected'));
});

test('five hosts that know one address find each other through the DHT', async (t) => {
  const first = await testHost(t, 1);
  const bootstrap = [addressOf(first)];
  const hosts = [first];
  for (const seed of [2, 3, 4, 5]) hosts.push(await testHost(t, seed, { bootstrap }));
  await Promise.all(hosts.map((host) => host.waitForPeers(4, soon())));
  for (const host of hosts) assert.equal(host.peers().length, 4);
});

test('a host that lost its only neighbour comes back to it', async (t) => {
  const dataDir = await testDirectory(t);
  const first = await testHost(t, 1, { dataDir });
  const address = addressOf(first);
  const second = await testHost(t, 2, { bootstrap: [address] });
  await second.waitForPeers(1, soon());
  await first.close();
  await until(() => second.peers().length === 0);
  await testHost(t, 1, { dataDir, port: Number(/tcp\/(\d+)/.exec(address)?.[1]) });
  await second.waitForPeers(1, soon());
});

test('a restarted host has the same peer id and still has its blocks', async (t) => {
  const dataDir = await testDirectory(t);
  const before = await testHost(t, 7, { dataDir });
  const cid = await before.blocks.put(new Uint8Array([1, 2, 3]), { codec: 'raw' });
  await before.blocks.pin(cid);
  await before.close();
  const after = await testHost(t, 7, { dataDir });
  assert.equal(after.peerId, before.peerId);
  assert.deepEqual(Array.from(await after.blocks.get(cid)), [1, 2, 3]);
  assert.equal(await after.blocks.isPinned(cid), true);
});

test('NETWORK_PORT_IN_USE', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const dataDir = await testDirectory(t);
  const config = { privateKey: testKey(1), preset: networkPreset('local'), bootstrap: [] };
  await assert.rejects(
    startHost({ ...config, dataDir, topics: [TOPIC], port: address.port }),
    (error) =>
      isNetworkError(error, 'NETWORK_PORT_IN_USE') && error.message.split('\n').length === 1,
  );
  // The failed start freed the data directory.
  await testHost(t, 1, { dataDir });
});

test('NETWORK_STORE_LOCKED', async (t) => {
  const { dataDir } = await testHost(t, 1);
  await assert.rejects(testHost(t, 1, { dataDir }), (error) =>
    isNetworkError(error, 'NETWORK_STORE_LOCKED'),
  );
});

test('NETWORK_ADDRESS_INVALID and NETWORK_PEER_UNREACHABLE', async (t) => {
  await assert.rejects(testHost(t, 1, { bootstrap: ['localhost:4001'] }), (error) =>
    isNetworkError(error, 'NETWORK_ADDRESS_INVALID'),
  );
  const host = await testHost(t, 1);
  await assert.rejects(host.connect('/ip4/127.0.0.1/tcp/1'), (error) =>
    isNetworkError(error, 'NETWORK_PEER_UNREACHABLE'),
  );
});

test('closing twice is closing once', async (t) => {
  const host = await testHost(t, 1);
  await Promise.all([host.close(), host.close()]);
});
