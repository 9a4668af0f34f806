// `npm run test:interop`: our host against implementations that share no code with it. kubo and we
// exchange blocks over bitswap; a go-libp2p peer and we exchange gossip and DHT records; llama.cpp
// reads our GGUF files. `npm run test:interop -- gguf` runs the last alone, without Go.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addressOfPeer, type Host, networkPreset, startHost } from '../../node/network/index.ts';
import { buildPeers } from './build.ts';
import { ggufChecks } from './gguf.ts';
import { type GoPeer, startGoPeer } from './go-peer.ts';
import { type Kubo, startKubo } from './kubo.ts';

const TOPIC = '/openledger/interop/1';
const TIMEOUT_MS = 30_000;

const checks: { readonly name: string; readonly run: () => Promise<void> }[] = [];
const endings: (() => void | Promise<void>)[] = [];
const check = (name: string, run: () => Promise<void>) => checks.push({ name, run });

async function ourHost(seed: number, bootstrap: readonly string[] = []): Promise<Host> {
  const dataDir = mkdtempSync(join(tmpdir(), 'openledger-interop-'));
  endings.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const privateKey = createHash('sha256').update(`interop ${seed}`).digest();
  const preset = networkPreset('local');
  const host = await startHost({ privateKey, dataDir, preset, bootstrap, topics: [TOPIC] });
  endings.push(() => host.close());
  return host;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + TIMEOUT_MS;
  while (!(await condition())) {
    if (Date.now() > deadlineMs) throw new Error(`expected ${what} within ${TIMEOUT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function blockChecks(host: Host, kubo: Kubo): void {
  const shard = new Uint8Array(randomBytes(300_000));
  check('kubo fetches one of our shards over bitswap, and names it as we do', async () => {
    const cid = await host.blocks.put(shard, { codec: 'raw' });
    const fetched = await kubo.run(['block', 'get', '--timeout=20s', cid]);
    assert.equal(Buffer.compare(fetched, shard), 0);
    const named = await kubo.run(['block', 'put', '--cid-codec=raw', '--mhtype=sha2-256'], shard);
    assert.equal(named.toString().trim(), cid);
  });
  check('we fetch a block of kubo’s over bitswap, and name it as kubo does', async () => {
    const bytes = new Uint8Array(randomBytes(300_000));
    const cid = await kubo.run(['block', 'put', '--cid-codec=raw', '--mhtype=sha2-256'], bytes);
    const name = cid.toString().trim();
    const fetched = await host.blocks.get(name, { timeoutMs: TIMEOUT_MS });
    assert.equal(Buffer.compare(fetched, bytes), 0);
    const { via, from } = host.blocks.received(name) ?? {};
    assert.deepEqual({ via, from }, { via: 'bitswap', from: kubo.peerId });
    assert.equal(await host.blocks.put(bytes, { codec: 'raw' }), name);
  });
  check('kubo reads our dag-cbor manifest and fetches what it links to', async () => {
    const large = new Uint8Array(randomBytes(2_500_000));
    const cid = await host.blocks.putLarge(large);
    const manifest = JSON.parse((await kubo.run(['dag', 'get', '--timeout=20s', cid])).toString());
    assert.equal(manifest.bytes, large.length);
    const chunks: Buffer[] = [];
    for (const link of manifest.chunks as { '/': string }[]) {
      chunks.push(await kubo.run(['block', 'get', '--timeout=20s', link['/']]));
    }
    assert.equal(Buffer.compare(Buffer.concat(chunks), large), 0);
  });
}

function gossipChecks(host: Host, go: GoPeer): void {
  const heard: { text: string; from: string }[] = [];
  host.gossip.topic<string>({
    name: TOPIC,
    maxBytes: 1_000,
    decode: (bytes) => ({ ok: true, value: new TextDecoder().decode(bytes) }),
    onMessage: (text, { peerId }) => {
      heard.push({ text, from: peerId });
    },
  });
  check('the Go peer identifies itself, and its key gives an Ethereum address', async () => {
    const known = () => host.peers().find(({ peerId }) => peerId === go.peerId);
    await until('the Go peer among ours', () => known() !== undefined);
    const peer = known();
    assert.equal(peer?.address, addressOfPeer(go.peerId));
  });
  check('gossip of ours reaches go-libp2p-pubsub under our name', async () => {
    await host.gossip.waitForSubscribers(TOPIC, 1, AbortSignal.timeout(TIMEOUT_MS));
    await host.gossip.publish(TOPIC, new TextEncoder().encode('from TypeScript'));
    await until('our message at the Go peer', () => go.messages.length > 0);
    assert.deepEqual(go.messages[0], { from: host.peerId, text: 'from TypeScript' });
  });
  check('gossip of go-libp2p-pubsub reaches us under its name', async () => {
    await until('the Go peer to see us listen', async () => {
      return (await go.ask('listeners'))['count'] === 1;
    });
    // Go passes nothing on until its mesh has formed, so this is published until heard.
    let round = 0;
    await until('a message of the Go peer here', async () => {
      await go.ask(`publish from Go ${round}`);
      round += 1;
      return heard.length > 0;
    });
    assert.equal(heard[0]?.from, go.peerId);
    assert.match(heard[0]?.text ?? '', /^from Go \d+$/);
    assert.equal(host.scoreOf(go.peerId), 0);
  });
}

function dhtChecks(host: Host, third: Host, go: GoPeer): void {
  check('go-libp2p-kad-dht finds a host of ours through another', async () => {
    const { addresses } = await go.ask(`find ${third.peerId}`);
    const [expected] = third.listenAddresses();
    const found = (addresses as string[]).map((each) => `${each}/p2p/${third.peerId}`);
    assert.ok(found.includes(expected as string), `${found} lacks ${expected}`);
  });
  check('go-libp2p-kad-dht finds what we provide', async () => {
    const cid = await third.blocks.put(new Uint8Array(randomBytes(100)), { codec: 'raw' });
    await until('a peer to take our record', () => third.blocks.provide(cid));
    const { peers } = await go.ask(`providers ${cid}`);
    assert.deepEqual(peers, [third.peerId]);
  });
  check('we find what go-libp2p-kad-dht provides', async () => {
    const cid = await host.blocks.put(new Uint8Array(randomBytes(100)), { codec: 'raw' });
    await go.ask(`provide ${cid}`);
    const found = await third.blocks.findProviders(cid);
    assert.ok(found.includes(go.peerId), `${found} lacks ${go.peerId}`);
  });
}

async function addNetworkChecks(): Promise<void> {
  const { kubo: kuboProgram, goPeer: goProgram } = buildPeers();
  const host = await ourHost(1);
  const [address] = host.listenAddresses();
  const third = await ourHost(2, [address as string]);
  await third.waitForPeers(1, AbortSignal.timeout(TIMEOUT_MS));
  const go = await startGoPeer(goProgram, TOPIC);
  endings.push(go.stop);
  await go.ask(`connect ${address}`);
  gossipChecks(host, go);
  dhtChecks(host, third, go);
  const kubo = await startKubo(kuboProgram);
  endings.push(kubo.stop);
  await host.connect(kubo.address);
  blockChecks(host, kubo);
}

async function main(only: string | undefined): Promise<number> {
  if (only !== 'gguf') await addNetworkChecks();
  const gguf = ggufChecks();
  endings.push(gguf.end);
  checks.push(...gguf.checks);
  let failed = 0;
  for (const { name, run } of checks) {
    try {
      await run();
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv[2]);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
} finally {
  for (const end of endings.reverse()) await end();
}
