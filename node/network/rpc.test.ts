// Request and response: what a caller gets in each way an answer can go wrong, and what hostile
// bytes cost their sender.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as lengthPrefixed from 'it-length-prefixed';
import { isNetworkError, type NetworkErrorCode } from './errors.ts';
import { bytesOf, testHost, testPair, textOf, until } from './testing.ts';
import { answerWith, strangerFor } from './testing-stranger.ts';

const ECHO = '/openledger/echo/1';

/** A promise and the call that resolves it. */
function signalled() {
  let resolve = () => undefined as unknown;
  const promise = new Promise<void>((fulfil) => {
    resolve = () => fulfil();
  });
  return { promise, resolve: () => resolve() };
}

const fails = (code: NetworkErrorCode) => (error: unknown) => isNetworkError(error, code);

test('a call returns the one answer, and the handler knows who asked', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 100,
    handler: async (request, from) => bytesOf(`${textOf(request)} ${from.address}`),
  });
  const answer = await client.rpc.call(server.peerId, ECHO, bytesOf('hello'));
  assert.equal(textOf(answer), `hello ${client.address}`);
  assert.equal(server.counters.get('rpc_served', { protocol: ECHO }), 1);
});

test('an empty request and an empty answer are a request and an answer', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, { maxRequestBytes: 1, handler: async (request) => request });
  assert.equal((await client.rpc.call(server.peerId, ECHO, new Uint8Array())).length, 0);
});

test('a stream delivers every frame in order, then ends', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    async *handler() {
      for (let index = 0; index < 500; index += 1) yield bytesOf(String(index));
    },
  });
  const seen: string[] = [];
  for await (const frame of client.rpc.stream(server.peerId, ECHO, bytesOf('go'))) {
    seen.push(textOf(frame));
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 500 }, (_, index) => String(index)),
  );
});

test('a fast server waits for a slow reader', async (t) => {
  const [server, client] = await testPair(t);
  let sent = 0;
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    async *handler() {
      for (; sent < 400; sent += 1) yield new Uint8Array(64 * 1024);
    },
  });
  let received = 0;
  for await (const frame of client.rpc.stream(server.peerId, ECHO, bytesOf('go'))) {
    received += 1;
    if (received !== 1) continue;
    // Let the server run as far as it can: it stops when the windows between us are full.
    let before = -1;
    await until(async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const still = sent === before;
      before = sent;
      return still;
    });
    assert.ok(sent < 200, `the server had sent ${sent} of 400 frames unread`);
    assert.equal(frame.length, 64 * 1024);
  }
  assert.equal(received, 400);
});

test('leaving a stream tells the server at once', async (t) => {
  const [server, client] = await testPair(t);
  const left = signalled();
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    async *handler(_request, _from, signal) {
      signal.addEventListener('abort', () => left.resolve());
      yield bytesOf('first');
      await new Promise(() => undefined);
    },
  });
  for await (const _frame of client.rpc.stream(server.peerId, ECHO, bytesOf('go'))) break;
  await left.promise;
});

test('a caller that aborts gets its own reason, and the server is told', async (t) => {
  const [server, client] = await testPair(t);
  const left = signalled();
  const asked = signalled();
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    handler: (_request, _from, signal) => {
      asked.resolve();
      signal.addEventListener('abort', () => left.resolve());
      return new Promise(() => undefined);
    },
  });
  const abort = new AbortController();
  const call = client.rpc.call(server.peerId, ECHO, bytesOf('x'), { signal: abort.signal });
  await asked.promise;
  abort.abort(new Error('enough'));
  await assert.rejects(call, /enough/);
  await left.promise;
});

test('NETWORK_REMOTE_ERROR carries the code of a refusal and hides other errors', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    async *handler(request) {
      yield bytesOf('one');
      if (textOf(request) === 'coded') {
        throw Object.assign(new Error('no such task'), { code: 'TASK_UNKNOWN' });
      }
      throw new Error('a secret of the server');
    },
  });
  const failure = async (what: string) => {
    try {
      for await (const _ of client.rpc.stream(server.peerId, ECHO, bytesOf(what)));
    } catch (error) {
      assert.ok(isNetworkError(error, 'NETWORK_REMOTE_ERROR'));
      return error.details;
    }
    return undefined;
  };
  assert.equal((await failure('coded'))?.remoteCode, 'TASK_UNKNOWN');
  assert.equal((await failure('coded'))?.remoteMessage, 'no such task');
  assert.equal((await failure('other'))?.remoteCode, 'INTERNAL');
  assert.doesNotMatch((await failure('other'))?.remoteMessage ?? '', /secret/);
  assert.ok(server.events.some(({ type }) => type === 'handlerFailed'));
});

test('NETWORK_PEER_UNREACHABLE for a stranger and for an unknown protocol', async (t) => {
  const [server, client] = await testPair(t);
  const stranger = '16Uiu2HAmPZ5oGmMZ7UsVgtAzRhGiXPpuEdxA8VUDYcG8iNkwnFc2';
  const unreachable = fails('NETWORK_PEER_UNREACHABLE');
  await assert.rejects(client.rpc.call(stranger, ECHO, bytesOf('x')), unreachable);
  await assert.rejects(
    client.rpc.call(server.peerId, '/openledger/none/1', bytesOf('x')),
    unreachable,
  );
});

test('NETWORK_TIMEOUT for a call and for a silent stream', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    handler: () => new Promise(() => undefined),
  });
  const call = client.rpc.call(server.peerId, ECHO, bytesOf('x'), { timeoutMs: 100 });
  await assert.rejects(call, fails('NETWORK_TIMEOUT'));
  const stream = client.rpc.stream(server.peerId, ECHO, bytesOf('x'), { idleTimeoutMs: 100 });
  await assert.rejects(stream.next(), fails('NETWORK_TIMEOUT'));
});

test('NETWORK_STREAM_BROKEN when the server dies before the end frame', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, {
    maxRequestBytes: 10,
    async *handler() {
      yield bytesOf('first');
      await new Promise(() => undefined);
    },
  });
  const stream = client.rpc.stream(server.peerId, ECHO, bytesOf('x'));
  assert.equal(textOf((await stream.next()).value ?? new Uint8Array()), 'first');
  const next = assert.rejects(stream.next(), fails('NETWORK_STREAM_BROKEN'));
  await server.close();
  await next;
});

test('NETWORK_CLOSED after the host has closed', async (t) => {
  const [server, client] = await testPair(t);
  await client.close();
  await assert.rejects(client.rpc.call(server.peerId, ECHO, bytesOf('x')), fails('NETWORK_CLOSED'));
});

test('100 calls at once are all answered', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, { maxRequestBytes: 10, handler: async (request) => request });
  const calls = Array.from({ length: 100 }, (_, index) =>
    client.rpc.call(server.peerId, ECHO, bytesOf(String(index))),
  );
  const answers = (await Promise.all(calls)).map(textOf);
  assert.deepEqual(
    answers,
    Array.from({ length: 100 }, (_, index) => String(index)),
  );
});

test('RPC_REQUEST_TOO_LARGE is refused, counted and told', async (t) => {
  const [server, client] = await testPair(t);
  await server.rpc.serve(ECHO, { maxRequestBytes: 10, handler: async (request) => request });
  await assert.rejects(client.rpc.call(server.peerId, ECHO, new Uint8Array(11)), (error) => {
    assert.ok(isNetworkError(error, 'NETWORK_REMOTE_ERROR'));
    return error.details.remoteCode === 'RPC_REQUEST_TOO_LARGE';
  });
  assert.equal(server.counters.get('refused', { code: 'RPC_REQUEST_TOO_LARGE' }), 1);
  await until(() => server.scoreOf(client.peerId) < 0);
});

test('RPC_REQUEST_MALFORMED costs score until the peer is hung up on and kept out', async (t) => {
  const server = await testHost(t, 1);
  await server.rpc.serve(ECHO, { maxRequestBytes: 10, handler: async (request) => request });
  const stranger = await strangerFor(t, server);
  for (const hostile of [[0x80], [0x05, 1], [0x03, 1], [0xff, 0xff]]) {
    const stream = await stranger.dialProtocol(stranger.getPeers()[0]!, ECHO);
    stream.send(new Uint8Array(hostile));
    await stream.close().catch(() => undefined);
    const refused = server.counters.get('refused', { code: 'RPC_REQUEST_MALFORMED' });
    await until(() => server.counters.get('refused', { code: 'RPC_REQUEST_MALFORMED' }) >= refused);
  }
  await until(() => stranger.getPeers().length === 0);
  assert.equal(server.counters.get('refused', { code: 'RPC_REQUEST_MALFORMED' }), 4);
  assert.equal(server.counters.get('bans'), 1);
  assert.ok(server.events.some(({ type }) => type === 'peerBanned'));
  await assert.rejects(async () => {
    await stranger.dial(server.listenAddresses().map((at) => stranger.address(at)));
    await stranger.dialProtocol(stranger.address(server.listenAddresses()[0]!), ECHO);
  });
});

test('RPC_REQUEST_ABSENT is counted and costs nothing', async (t) => {
  const server = await testHost(t, 1);
  await server.rpc.serve(ECHO, { maxRequestBytes: 10, handler: async (request) => request });
  const stranger = await strangerFor(t, server);
  for (let opened = 1; opened <= 6; opened += 1) {
    const stream = await stranger.dialProtocol(stranger.getPeers()[0]!, ECHO);
    await stream.close().catch(() => undefined);
    await until(() => server.counters.get('refused', { code: 'RPC_REQUEST_ABSENT' }) === opened);
  }
  assert.equal(server.counters.get('bans'), 0);
  assert.equal(stranger.getPeers().length, 1);
});

test('a huge announced length is refused before its bytes come', async (t) => {
  const server = await testHost(t, 1);
  await server.rpc.serve(ECHO, { maxRequestBytes: 10, handler: async (request) => request });
  const stranger = await strangerFor(t, server);
  const stream = await stranger.dialProtocol(stranger.getPeers()[0]!, ECHO);
  stream.send(new Uint8Array([0xff, 0xff, 0xff, 0xff, 0x0f]));
  await until(() => server.counters.get('refused', { code: 'RPC_REQUEST_TOO_LARGE' }) === 1);
});

test('NETWORK_FRAME_TOO_LARGE and RPC_FRAME_UNKNOWN from a hostile server', async (t) => {
  const client = await testHost(t, 1);
  const stranger = await strangerFor(t, client);
  const encode = (bytes: number[] | Uint8Array) =>
    lengthPrefixed.encode.single(new Uint8Array(bytes)).subarray();
  await stranger.handle('/openledger/huge/1', answerWith(encode(new Uint8Array(1_000))));
  await stranger.handle('/openledger/odd/1', answerWith(encode([9])));
  await stranger.handle('/openledger/short/1', answerWith(encode([0, 1])));
  const peerId = stranger.peerId.toString();
  const ask = (what: string) =>
    client.rpc.call(peerId, `/openledger/${what}/1`, bytesOf('x'), { maxResponseBytes: 100 });
  await assert.rejects(ask('huge'), fails('NETWORK_FRAME_TOO_LARGE'));
  await assert.rejects(ask('odd'), fails('NETWORK_STREAM_BROKEN'));
  await assert.rejects(ask('short'), fails('NETWORK_STREAM_BROKEN'));
  assert.equal(client.counters.get('refused', { code: 'RPC_FRAME_TOO_LARGE' }), 1);
  assert.equal(client.counters.get('refused', { code: 'RPC_FRAME_UNKNOWN' }), 1);
});
