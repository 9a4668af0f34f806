// drand over HTTP from a server of ours: a round of quicknet, and every way in which a server can be wrong.
import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { quicknet } from '#contracts';
import { drandPoint, fromHex, toHex } from '#crypto';
import { type DrandSource, fetchDrandRound } from './drand-http.ts';

const ROUND = 1_000;
const PATH = `/${quicknet.chainHash}/public/${ROUND}`;
/** What quicknet's servers say of this round. */
const published = {
  round: ROUND,
  randomness: 'fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd',
  signature:
    'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
};
const publicKey = fromHex(quicknet.publicKey as `0x${string}`);
const point = drandPoint(publicKey, ROUND, fromHex(`0x${published.signature}`));
assert.ok(point !== null);

async function serverOf(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const saying =
  (body: unknown, status = 200): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

const sourceOf = (servers: readonly string[]): DrandSource => ({
  servers,
  chainHash: quicknet.chainHash,
  publicKey,
  // Far beyond what a loopback needs, on any machine.
  patienceMs: 120_000,
});
const never = new AbortController().signal;

test('a round comes as the point that the contract takes, from the address that drand gives it', async (t) => {
  const paths: string[] = [];
  const server = await serverOf(t, (request, response) => {
    paths.push(request.url ?? '');
    saying(published)(request, response);
  });
  for (const base of [server, `${server}/`]) {
    const answer = await fetchDrandRound(sourceOf([base]), ROUND, never);
    assert.ok(answer.ok);
    assert.equal(toHex(answer.point), toHex(point));
  }
  assert.deepEqual(paths, [PATH, PATH]);
});

test('the next server is asked when one fails, and none after the one that answers', async (t) => {
  const asked: string[] = [];
  const counted =
    (name: string, listener: RequestListener): RequestListener =>
    (request, response) => {
      asked.push(name);
      listener(request, response);
    };
  const servers = await Promise.all([
    serverOf(t, counted('liar', saying({ ...published, round: ROUND + 1 }))),
    serverOf(t, counted('honest', saying(published))),
    serverOf(t, counted('spare', saying(published))),
  ]);
  const answer = await fetchDrandRound(sourceOf(servers), ROUND, never);
  assert.ok(answer.ok);
  assert.deepEqual(asked, ['liar', 'honest']);
});

const flipped = published.signature.replace('b4', 'a4');
const wrong: [string, string, RequestListener][] = [
  ['DRAND_STATUS', 'a round that is not made yet', saying('not yet', 404)],
  ['DRAND_STATUS', 'an error with a right body', saying(published, 500)],
  ['DRAND_TOO_LONG', 'more than a round can be', saying(`{"a":"${'x'.repeat(5_000)}"}`)],
  ['DRAND_MALFORMED', 'no JSON', saying('<html>')],
  ['DRAND_MALFORMED', 'no object', saying('null')],
  ['DRAND_MALFORMED', 'no signature', saying({ round: ROUND })],
  ['DRAND_MALFORMED', 'another round', saying({ ...published, round: ROUND + 1 })],
  ['DRAND_MALFORMED', 'a short signature', saying({ ...published, signature: 'b446' })],
  [
    'DRAND_MALFORMED',
    'a signature in capitals',
    saying({ ...published, signature: published.signature.toUpperCase() }),
  ],
  [
    'DRAND_SIGNATURE_INVALID',
    'a point that is another',
    saying({ ...published, signature: flipped }),
  ],
  [
    'DRAND_SIGNATURE_INVALID',
    'bytes that are no point',
    saying({ ...published, signature: 'ff'.repeat(48) }),
  ],
  [
    'DRAND_UNREACHABLE',
    'elsewhere',
    (_request, response) => {
      response.writeHead(302, { location: '/elsewhere' });
      response.end();
    },
  ],
  ['DRAND_UNREACHABLE', 'nothing', (request) => request.socket.destroy()],
  [
    'DRAND_UNREACHABLE',
    'half an answer',
    (request, response) => {
      response.writeHead(200, { 'content-length': '400' });
      response.write('{"round"');
      setImmediate(() => request.socket.destroy());
    },
  ],
];
for (const [code, what, listener] of wrong) {
  test(`${code}: ${what}`, async (t) => {
    const server = await serverOf(t, listener);
    const answer = await fetchDrandRound(sourceOf([server]), ROUND, never);
    assert.deepEqual(answer, { ok: false, faults: [{ server, code }] });
  });
}

test('DRAND_UNREACHABLE: a server that takes the question and never answers', async (t) => {
  const server = await serverOf(t, () => undefined);
  const source = { ...sourceOf([server]), patienceMs: 1 };
  const answer = await fetchDrandRound(source, ROUND, never);
  assert.deepEqual(answer, { ok: false, faults: [{ server, code: 'DRAND_UNREACHABLE' }] });
});

test('a node that closes does not wait for a server', async (t) => {
  const closing = new AbortController();
  const server = await serverOf(t, () => closing.abort());
  await assert.rejects(fetchDrandRound(sourceOf([server]), ROUND, closing.signal), {
    name: 'AbortError',
  });
});
