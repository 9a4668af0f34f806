// The control API over a real server: every route asks for the token, what comes in is judged before
// anything is done, limits hold, and failures keep their code.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fastify from 'fastify';
import { type Address, type Bytes32, keccak256, toHex, utf8 } from '#crypto';
import { type AdapterFiles, joinAdapterFiles, splitAdapterFiles } from '../adapter-files.ts';
import { NodeError } from '../errors.ts';
import type { CommitRequest, Contribution, SignedRotation } from '../services/datanets.ts';
import { addControl, type ClaimProof, type ControlParts } from './control.ts';

const TOKEN = 'a token of the swarm file';
const id = (name: string): Bytes32 => toHex(keccak256(utf8(name)));
const account = `0x${'ab'.repeat(20)}` as Address;
const MEGA = 2 ** 20;

const claim: ClaimProof = {
  epoch: 3,
  account,
  cumulativeWei: 10n ** 19n,
  runningWei: 10n ** 19n,
  paidWei: 4n,
  claimableWei: 10n ** 19n - 4n,
  index: 1,
  proof: [id('sibling')],
};
const contribution = { id: 7, state: 3, recordCount: 2, depositWei: 5n } as unknown as Contribution;

/** What the routes handed on, in order. */
const done: unknown[] = [];
const note = (...what: unknown[]): void => void done.push(what);
const files: AdapterFiles = { config: '{"r":2}', weights: Uint8Array.of(1, 2, 3, 4, 5) };
const view = { adapterId: id('adapter'), name: 'mine', registered: false, pinned: false };
const notThere = (which: string) =>
  new NodeError('NOT_FOUND', { what: 'adapter', name: which }, 'see the list');

const parts: ControlParts = {
  token: TOKEN,
  baseHash: id('base'),
  datanets: {
    create: async (name: string, licence: string) => {
      note('create', name, licence);
      return id(name);
    },
    list: async () => [],
    contributions: async () => [contribution],
    contribution: async (asked: number) => ({ ...contribution, id: asked }),
    relayCommit: async (request: CommitRequest) => {
      note('commit', request);
      return { contributionId: 7, lapsed: false };
    },
    contributor: async (asked: Address) => ({ account: asked, nonce: 2n }),
    relayRotation: async (request: SignedRotation) => note('rotate', request),
    relayReveal: async (of: number, salt: Bytes32, records: readonly Uint8Array[]) => {
      note(
        'reveal',
        of,
        salt,
        records.map((one) => Buffer.from(one).toString()),
      );
      return ['shard'];
    },
  } as unknown as ControlParts['datanets'],
  adapters: {
    list: async () => [view],
    add: async (name, given, isTrial) => {
      note('import', name, given, isTrial);
      return { ...view, name };
    },
    remove: async (which) => {
      throw notThere(which);
    },
    files: async () => files,
    pin: async (which, isPinned) => {
      note('pin', which, isPinned);
      return { ...view, pinned: isPinned };
    },
  },
  putBlock: async (bytes) => {
    note('block', bytes.length);
    return 'cid';
  },
  task: async (taskId) =>
    taskId === 1
      ? { taskId, state: 'training', provider: account, step: 2, steps: 8, loss: null }
      : null,
  claimOf: async (of) => (of === account ? claim : null),
  relayClaim: async (of) => {
    note('claim', of.claimableWei);
    return { hash: id('transaction') };
  },
  faucet: async (to, amountWei) => {
    note('faucet', to, amountWei);
    return { hash: id('gift') };
  },
  anchors: async () => '{"anchors":1}',
  proofOf: async (hash) => {
    if (hash === id('broken')) throw new Error('the store is gone');
    return null;
  },
  collect: async () => note('collect'),
  withdraw: async () => 12n,
  closeEpoch: async () => note('close'),
};

const server = fastify();
addControl(server, parts);
after(() => server.close());

type Sent = { readonly payload?: unknown; readonly bytes?: Uint8Array; readonly token?: string };
async function send(method: 'GET' | 'POST' | 'DELETE', path: string, sent: Sent = {}) {
  const { payload, bytes, token = TOKEN } = sent;
  const type = bytes === undefined ? 'application/json' : 'application/octet-stream';
  const body = bytes === undefined ? payload : Buffer.from(bytes);
  const reply = await server.inject({
    method,
    url: `/swarm/v1${path}`,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': type }),
    },
    ...(body === undefined ? {} : { payload: body as string | object | Buffer }),
  });
  return { status: reply.statusCode, body: reply.rawPayload, json: () => reply.json() };
}
const refused = async (answer: Promise<Awaited<ReturnType<typeof send>>>) => {
  const { status, json } = await answer;
  return [status, json().error.code];
};

test('unauthorised: no route does anything without the token', async () => {
  const before = done.length;
  for (const token of ['', 'another token of this len', TOKEN.slice(1), `${TOKEN} `]) {
    for (const [method, path] of [
      ['GET', '/datanets'],
      ['POST', '/epochs/close'],
      ['POST', '/collect'],
      ['DELETE', '/adapters/mine'],
      ['GET', '/adapters/mine/files'],
    ] as const) {
      assert.deepEqual(await refused(send(method, path, { token })), [401, 'unauthorised']);
    }
  }
  assert.equal(done.length, before);
});

test('a change of key is handed on as it was signed', async () => {
  done.length = 0;
  const signature = `0x${'01'.repeat(65)}`;
  const change = { from: account, to: account, fromSignature: signature, toSignature: signature };
  const rotate = (deadline: unknown) =>
    send('POST', '/contributors/rotate', { payload: { ...change, deadline } });
  assert.deepEqual((await rotate('7')).json(), { account });
  assert.deepEqual(done, [['rotate', { ...change, deadline: 7n }]]);
  assert.equal((await rotate(-1)).status, 400);
  assert.deepEqual((await send('GET', `/contributors/${account}`)).json(), { account, nonce: '2' });
});

test('a contribution is committed and revealed as it was signed', async () => {
  done.length = 0;
  const commit = {
    datanetId: id('datanet'),
    contributor: account,
    commitment: id('commitment'),
    recordCount: 2,
    signature: `0x${'01'.repeat(65)}`,
  };
  assert.deepEqual((await send('POST', '/contributions', { payload: commit })).json(), {
    contributionId: 7,
    lapsed: false,
  });
  const records = ['one', 'two'].map((text) => Buffer.from(text).toString('base64'));
  const reveal = { salt: id('salt'), records };
  const revealed = await send('POST', '/contributions/7/reveal', { payload: reveal });
  assert.deepEqual(revealed.json(), { shards: ['shard'] });
  assert.deepEqual(done, [
    ['commit', commit],
    ['reveal', 7, id('salt'), ['one', 'two']],
  ]);
  const seen = (await send('GET', '/contributions/7')).json();
  assert.deepEqual([seen.id, seen.stateName], [7, 'accepted']);
  const all = (await send('GET', `/datanets/${id('datanet')}/contributions`)).json();
  assert.equal(all.contributions[0].stateName, 'accepted');
});

test('invalid_request: what is malformed is refused before anything is done', async () => {
  done.length = 0;
  const commit = { datanetId: id('d'), contributor: account, commitment: id('c'), recordCount: 2 };
  const signature = `0x${'01'.repeat(65)}`;
  const reveal = { salt: id('salt'), records: ['b25l'] };
  for (const [path, payload] of [
    ['/datanets', { name: '', licence: 'MIT' }],
    ['/datanets', { name: 'x'.repeat(101), licence: 'MIT' }],
    ['/contributions', commit],
    ['/contributions', { ...commit, signature, recordCount: 0 }],
    ['/contributions', { ...commit, signature, recordCount: 1_048_577 }],
    ['/contributions', { ...commit, signature, contributor: '0xab' }],
    ['/contributions/7/reveal', { ...reveal, records: [] }],
    ['/contributions/7/reveal', { ...reveal, records: ['not base64!'] }],
    ['/contributions/seven/reveal', reveal],
    ['/contributions/-1/reveal', reveal],
    ['/faucet', { account, amountWei: '-1' }],
    ['/adapters/mine/pin', { pinned: 'yes' }],
    ['/blocks', { bytes: 'as JSON' }],
    ['/claims/0xab', {}],
    ['/datanets', '{"name": '],
  ] as const) {
    const [status, code] = await refused(send('POST', path, { payload }));
    assert.deepEqual([path, status, code], [path, 400, 'invalid_request']);
  }
  for (const path of [
    '/contributions/x',
    '/tasks/1.5',
    '/proofs/0x12',
    '/datanets/1/contributions',
  ]) {
    assert.deepEqual([path, ...(await refused(send('GET', path)))], [path, 400, 'invalid_request']);
  }
  assert.deepEqual(done, []);
});

test('too_large: bodies above their limit are not taken', async () => {
  done.length = 0;
  const large = new Uint8Array(9 * MEGA);
  assert.deepEqual(await refused(send('POST', '/blocks', { bytes: large })), [413, 'too_large']);
  const payload = { name: 'n', licence: 'x'.repeat(2 * MEGA) };
  assert.deepEqual(await refused(send('POST', '/datanets', { payload })), [413, 'too_large']);
  assert.deepEqual(done, []);
  const bytes = new Uint8Array(7 * MEGA);
  assert.deepEqual((await send('POST', '/blocks', { bytes })).json(), { cid: 'cid' });
  // An adapter may be larger than a block.
  const body = joinAdapterFiles({ config: '{}', weights: large });
  assert.equal((await send('POST', '/adapters?name=big', { bytes: body })).status, 200);
});

test('adapters come in, are listed, pinned and go out as the files they are', async () => {
  done.length = 0;
  const bytes = joinAdapterFiles(files);
  const added = await send('POST', '/adapters?name=mine&trial=1', { bytes });
  assert.equal(added.json().name, 'mine');
  assert.deepEqual(done, [['import', 'mine', files, true]]);
  assert.deepEqual((await send('GET', '/adapters')).json(), { adapters: [view] });
  const out = await send('GET', '/adapters/mine/files');
  assert.deepEqual(splitAdapterFiles(new Uint8Array(out.body)), files);
  const pinned = await send('POST', '/adapters/mine/pin', { payload: { pinned: true } });
  assert.equal(pinned.json().pinned, true);
  const cut = send('POST', '/adapters?name=cut', { bytes: bytes.subarray(0, 6) });
  assert.deepEqual(await refused(cut), [409, 'FILE_UNREADABLE']);
  assert.deepEqual(await refused(send('DELETE', '/adapters/none')), [409, 'NOT_FOUND']);
});

test('claims: what is owed is told as text, and nothing owed is an answer', async () => {
  done.length = 0;
  const mine = (await send('GET', `/claims/${account}`)).json();
  assert.deepEqual([mine.claimableWei, mine.epoch], [`${10n ** 19n - 4n}`, 3]);
  const paid = (await send('POST', `/claims/${account}`)).json();
  assert.deepEqual([paid.hash, paid.claimedWei], [id('transaction'), mine.claimableWei]);
  const nobody = `/claims/0x${'cd'.repeat(20)}`;
  assert.deepEqual((await send('POST', nobody)).json(), {
    claimableWei: '0',
    hash: null,
    claimedWei: '0',
  });
  assert.deepEqual(done, [['claim', claim.claimableWei]]);
});

test('not_found: what does not exist; INTERNAL: a failure of the node is its own', async () => {
  assert.equal((await send('GET', '/tasks/1')).json().step, 2);
  assert.deepEqual(await refused(send('GET', '/tasks/2')), [404, 'not_found']);
  assert.deepEqual(await refused(send('GET', `/proofs/${id('none')}`)), [404, 'not_found']);
  assert.deepEqual(await refused(send('GET', `/proofs/${id('broken')}`)), [500, 'INTERNAL']);
  const other = fastify();
  addControl(other, { ...parts, faucet: null });
  const headers = { authorization: `Bearer ${TOKEN}` };
  const payload = { account, amountWei: '1' };
  const reply = await other.inject({ method: 'POST', url: '/swarm/v1/faucet', headers, payload });
  assert.deepEqual([reply.statusCode, reply.json().error.code], [404, 'not_found']);
  await other.close();
});

test('the rest: faucet, withdrawal, anchors, base, collection and epochs', async () => {
  done.length = 0;
  const gift = await send('POST', '/faucet', { payload: { account, amountWei: '25' } });
  assert.deepEqual(gift.json(), { hash: id('gift') });
  assert.deepEqual((await send('POST', '/withdraw')).json(), { withdrawnWei: '12' });
  assert.deepEqual((await send('GET', '/anchors')).json(), { anchors: 1 });
  assert.deepEqual((await send('GET', '/base')).json(), { baseHash: id('base') });
  for (const path of ['/collect', '/epochs/close']) {
    assert.deepEqual((await send('POST', path)).json(), { ok: true });
  }
  assert.deepEqual(done, [['faucet', account, 25n], ['collect'], ['close']]);
});
