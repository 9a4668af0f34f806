// Blocks between real nodes: over bitswap, over our own stream, verified, repaired, provided.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as dagCbor from '@ipld/dag-cbor';
import { NextToLast } from 'blockstore-fs/sharding';
import fc from 'fast-check';
import { CID } from 'multiformats/cid';
import { BLOCK_PROTOCOL } from './block-fetch.ts';
import { BLOCK_BYTES_MAX } from './blocks.ts';
import { isNetworkError, type NetworkErrorCode } from './errors.ts';
import { addressOf, bytesOf, soon, type TestHost, testHost, testPair, until } from './testing.ts';
import { answerWith, strangerFor } from './testing-stranger.ts';

const fails = (code: NetworkErrorCode) => (error: unknown) => isNetworkError(error, code);

function fileOf(host: TestHost, cid: string): string {
  const { dir, file } = new NextToLast().encode(CID.parse(cid));
  return join(host.dataDir, 'blocks', dir, file);
}

function randomBytes(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0, block = 0; at < length; at += 32, block += 1) {
    const digest = createHash('sha256').update(`${seed}:${block}`).digest();
    bytes.set(digest.subarray(0, Math.min(32, length - at)), at);
  }
  return bytes;
}

test('a block comes from the other node over bitswap, and the book says so', async (t) => {
  const [first, second] = await testPair(t);
  const bytes = randomBytes(300_000);
  const cid = await first.blocks.put(bytes, { codec: 'raw' });
  assert.equal(await second.blocks.has(cid), false);
  assert.deepEqual(Buffer.from(await second.blocks.get(cid)), Buffer.from(bytes));
  assert.equal(await second.blocks.has(cid), true);
  assert.deepEqual(second.blocks.received(cid), {
    via: 'bitswap',
    from: first.peerId,
    bytes: bytes.length,
  });
  assert.equal(second.counters.get('blocks_received', { via: 'bitswap' }), 1);
  assert.equal(first.blocks.received(cid), undefined);
});

test('many callers of one block share one fetch, and one that leaves spoils nothing', async (t) => {
  const [first, second] = await testPair(t);
  const cid = await first.blocks.put(randomBytes(1_000), { codec: 'raw' });
  const leaving = new AbortController();
  const left = assert.rejects(second.blocks.get(cid, { signal: leaving.signal }), /gone/);
  const staying = Array.from({ length: 5 }, () => second.blocks.get(cid));
  leaving.abort(new Error('gone'));
  await left;
  for (const bytes of await Promise.all(staying)) assert.equal(bytes.length, 1_000);
  assert.equal(second.counters.get('blocks_received', { via: 'bitswap' }), 1);
});

test('large content arrives whole, in chunks and with its manifest', async (t) => {
  const [first, second] = await testPair(t);
  for (const length of [0, 1, 1024 * 1024, 2_500_000]) {
    const bytes = randomBytes(length, length);
    const cid = await first.blocks.putLarge(bytes);
    const copy = await second.blocks.getLarge(cid);
    assert.equal(Buffer.compare(copy, bytes), 0);
    await second.blocks.pin(cid);
    assert.equal(await second.blocks.isPinned(cid), true);
  }
});

test('BLOCK_MANIFEST_INVALID', async (t) => {
  const host = await testHost(t, 1);
  const manifest = (value: unknown) =>
    host.blocks.put(dagCbor.encode(value), { codec: 'dag-cbor' });
  const kind = 'openledger-file/1';
  const broken = [
    await host.blocks.put(bytesOf('text'), { codec: 'raw' }),
    await manifest({ kind: 'other', bytes: 0, chunks: [] }),
    await manifest({ kind, bytes: 1, chunks: [] }),
    await manifest({ kind, bytes: -1, chunks: [] }),
    await manifest({ kind, bytes: 1, chunks: ['text'] }),
    await manifest(null),
  ];
  for (const cid of broken) {
    await assert.rejects(host.blocks.getLarge(cid), fails('BLOCK_MANIFEST_INVALID'));
  }
});

test('pinning keeps what a dag-cbor block links to, fetched from elsewhere', async (t) => {
  const [first, second] = await testPair(t);
  const leaf = await first.blocks.put(bytesOf('leaf'), { codec: 'raw' });
  const node = dagCbor.encode({ shards: [{ at: CID.parse(leaf) }] });
  const root = await first.blocks.put(node, { codec: 'dag-cbor' });
  await second.blocks.pin(root);
  assert.equal(await second.blocks.has(leaf), true);
});

async function corrupt(host: TestHost, cid: string): Promise<void> {
  const file = fileOf(host, cid);
  const bytes = await readFile(file);
  bytes[0] = bytes[0]! ^ 1;
  await writeFile(file, bytes);
}

test('a corrupt block is reported, removed and fetched again', async (t) => {
  const [first, second] = await testPair(t);
  const bytes = randomBytes(5_000);
  const cid = await first.blocks.put(bytes, { codec: 'raw' });
  await second.blocks.get(cid);
  await corrupt(second, cid);
  assert.deepEqual(Buffer.from(await second.blocks.get(cid)), Buffer.from(bytes));
  assert.equal(second.counters.get('blocks_corrupt'), 1);
  assert.deepEqual(
    second.events.filter(({ type }) => type === 'blockCorrupt'),
    [{ type: 'blockCorrupt', cid }],
  );
  assert.deepEqual(await readFile(fileOf(second, cid)), Buffer.from(bytes));
});

test('BLOCK_NOT_FOUND for a corrupt block that nobody else has, and it is not served', async (t) => {
  const [first, second] = await testPair(t);
  const cid = await first.blocks.put(randomBytes(5_000), { codec: 'raw' });
  await corrupt(first, cid);
  const timeoutMs = 2_000;
  await assert.rejects(second.blocks.get(cid, { timeoutMs }), fails('BLOCK_NOT_FOUND'));
  await assert.rejects(first.blocks.get(cid, { timeoutMs }), fails('BLOCK_NOT_FOUND'));
  assert.equal(await first.blocks.has(cid), false);
});

test('a block cut short by a power failure counts as corrupt', async (t) => {
  const host = await testHost(t, 1);
  const cid = await host.blocks.put(randomBytes(5_000), { codec: 'raw' });
  await writeFile(fileOf(host, cid), '');
  await assert.rejects(host.blocks.get(cid, { timeoutMs: 2_000 }), fails('BLOCK_NOT_FOUND'));
  assert.equal(host.counters.get('blocks_corrupt'), 1);
});

test('a fetch that gave up can be tried again', async (t) => {
  const [first, second] = await testPair(t);
  const bytes = randomBytes(2_000);
  const cid = await testCid(t, bytes);
  const early = second.blocks.get(cid, { timeoutMs: 200 });
  await assert.rejects(early, fails('BLOCK_NOT_FOUND'));
  await first.blocks.put(bytes, { codec: 'raw' });
  assert.equal((await second.blocks.get(cid)).length, 2_000);
});

test('a waiting fetch ends when the block appears', async (t) => {
  const [first, second] = await testPair(t);
  const bytes = randomBytes(2_000);
  const waiting = second.blocks.get(await testCid(t, bytes));
  await first.blocks.put(bytes, { codec: 'raw' });
  assert.equal((await waiting).length, 2_000);
});

test('what does not speak bitswap serves over our own stream, verified', async (t) => {
  const host = await testHost(t, 1);
  const stranger = await strangerFor(t, host);
  const bytes = randomBytes(2_000);
  const cid = await testCid(t, bytes);
  const answer = Buffer.concat([frame(Buffer.concat([Buffer.from([0]), bytes])), frame([2])]);
  await stranger.handle(BLOCK_PROTOCOL, answerWith(answer));
  const from = [stranger.peerId.toString()];
  assert.equal((await host.blocks.get(cid, { from })).length, 2_000);
  assert.equal(host.blocks.received(cid)?.via, 'stream');
});

test('BLOCK_WRONG costs its sender score and is not kept', async (t) => {
  const host = await testHost(t, 1);
  const stranger = await strangerFor(t, host);
  const cid = await testCid(t, randomBytes(2_000));
  const answer = Buffer.concat([frame([0, 1, 2, 3]), frame([2])]);
  await stranger.handle(BLOCK_PROTOCOL, answerWith(answer));
  const got = assert.rejects(host.blocks.get(cid, { timeoutMs: 4_000 }), fails('BLOCK_NOT_FOUND'));
  await until(() => host.counters.get('refused', { code: 'BLOCK_WRONG' }) >= 1);
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
  assert.equal(await host.blocks.has(cid), false);
  await got;
});

test('a provider is found through the DHT and asked', async (t) => {
  const preset = { discoveryIntervalMs: 600_000, peersTarget: 1 };
  const middle = await testHost(t, 1);
  const local = await import('./preset.ts').then(({ networkPreset }) => networkPreset('local'));
  const bootstrap = [addressOf(middle)];
  const holder = await testHost(t, 2, { bootstrap, preset: { ...local, ...preset } });
  const seeker = await testHost(t, 3, { bootstrap, preset: { ...local, ...preset } });
  await Promise.all([holder.waitForPeers(1, soon()), seeker.waitForPeers(1, soon())]);
  const cid = await holder.blocks.put(randomBytes(9_000), { codec: 'raw' });
  await until(() => holder.blocks.provide(cid));
  await until(async () => (await seeker.blocks.findProviders(cid)).includes(holder.peerId));
  assert.equal((await seeker.blocks.get(cid)).length, 9_000);
  assert.equal(seeker.blocks.received(cid)?.from, holder.peerId);
});

test('STORE_DISK_FULL', async (t) => {
  const [first, second] = await testPair(t);
  const bytes = randomBytes(2_000);
  const cid = await first.blocks.put(bytes, { codec: 'raw' });
  // The kernel's own full disk stands where the block would be written first.
  const file = fileOf(second, cid);
  const full = async () => {
    await mkdir(dirname(file), { recursive: true });
    await symlink('/dev/full', `${file}.tmp`);
  };
  await full();
  await assert.rejects(second.blocks.put(bytes, { codec: 'raw' }), fails('STORE_DISK_FULL'));
  await full();
  await assert.rejects(second.blocks.get(cid), fails('STORE_DISK_FULL'));
  assert.deepEqual(await readdir(dirname(file)), []);
  assert.equal((await second.blocks.get(cid)).length, 2_000);
});

test('BLOCK_TOO_LARGE', async (t) => {
  const host = await testHost(t, 1);
  const bytes = new Uint8Array(BLOCK_BYTES_MAX + 1);
  await assert.rejects(host.blocks.put(bytes, { codec: 'raw' }), fails('BLOCK_TOO_LARGE'));
});

test('BLOCK_CID_INVALID', async (t) => {
  const host = await testHost(t, 1);
  await fc.assert(
    fc.asyncProperty(fc.string(), async (text) => {
      await assert.rejects(host.blocks.get(text), fails('BLOCK_CID_INVALID'));
    }),
    { numRuns: 50 },
  );
  const identityCid = 'bafkqaaa';
  await assert.rejects(host.blocks.get(identityCid), fails('BLOCK_CID_INVALID'));
});

/** The CID of bytes, computed by a host that nobody knows. */
async function testCid(t: TestContext, bytes: Uint8Array): Promise<string> {
  const host = await testHost(t, 50);
  const cid = await host.blocks.put(bytes, { codec: 'raw' });
  await host.close();
  return cid;
}

function frame(bytes: ArrayLike<number>): Buffer {
  const prefix: number[] = [];
  let rest = bytes.length;
  for (; rest > 127; rest >>= 7) prefix.push((rest & 127) | 128);
  return Buffer.from([...prefix, rest, ...Array.from(bytes)]);
}
