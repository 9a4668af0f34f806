// What a provider refuses on the wire, each with its code, before it costs anything.
import assert from 'node:assert/strict';
import { after, type TestContext, test } from 'node:test';
import { toHex } from '#crypto';
import {
  INFER_PROTOCOL,
  type InferOrder,
  type InferReply,
  inferOrder,
  inferReply,
  inferVoucherReply,
  RECEIPTS_PROTOCOL,
  receiptHash,
  receiptsReply,
  receiptsRequest,
} from '#protocol';
import { PRICE, type Swarm, startSwarm } from '../gateway/testing.ts';
import { ownReceiptFile } from './receipts.ts';
import { VOUCHER_PROTOCOL } from './serve.ts';
import { makeWorld } from './testing.ts';

const world = await makeWorld();
after(world.close);
const PROMPT = 'Keepers of the weir';
const requestId = (byte: number) => toHex(new Uint8Array(32).fill(byte));

async function setup(t: TestContext) {
  const swarm = await startSwarm(t, world, { providers: [{ bundlesMax: 1 }] });
  const [provider] = swarm.providers;
  swarm.bank.deposit('first', swarm.client, provider!.account, 10n ** 18n);
  return { swarm, provider: provider! };
}

const orderOf = ({ client }: Swarm, changes: Partial<InferOrder> = {}): InferOrder => ({
  adapterId: world.lineage.adapterId,
  baseHash: world.baseHash,
  client,
  outputTokensMax: 6,
  price: PRICE,
  prompt: PROMPT,
  requestId: requestId(1),
  saidTokens: [],
  seed: 1,
  stops: [],
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  logprobs: null,
  ...changes,
});

async function ask({ front }: Swarm, peer: string, request: Uint8Array): Promise<InferReply[]> {
  const replies: InferReply[] = [];
  for await (const frame of front.rpc.stream(peer, INFER_PROTOCOL, request)) {
    const reply = inferReply.decode(frame);
    assert.ok(reply.ok);
    replies.push(reply.value);
  }
  return replies;
}

test('orders that cannot be taken are refused by code, transient or not', async (t) => {
  const { swarm, provider } = await setup(t);
  const low = { ...PRICE, outputWeiPerToken: 1n };
  const cases: readonly [string, boolean, Partial<InferOrder>][] = [
    ['REQUEST_INVALID', false, { client: provider.account }],
    ['REQUEST_INVALID', false, { saidTokens: [1, 2, 3, 4, 5, 6, 7] }],
    ['BASE_UNKNOWN', false, { baseHash: requestId(9) }],
    ['PRICE_TOO_LOW', false, { price: low }],
    ['CONTEXT_TOO_LONG', false, { outputTokensMax: 500 }],
    ['CONTEXT_TOO_LONG', false, { prompt: '' }],
    ['DEPOSIT_TOO_LOW', true, { price: { ...PRICE, outputWeiPerToken: 10n ** 18n } }],
  ];
  for (const [code, isTransient, changes] of cases) {
    const request = inferOrder.encode(orderOf(swarm, changes));
    const [reply, ...more] = await ask(swarm, provider.host.peerId, request);
    assert.ok(reply?.type === 'refusal' && more.length === 0, code);
    assert.deepEqual([reply.code, reply.isTransient], [code, isTransient]);
  }
  const garbage = await ask(swarm, provider.host.peerId, Uint8Array.of(1, 2, 3));
  assert.equal(garbage[0]?.type === 'refusal' && garbage[0].code, 'REQUEST_INVALID');
});

test('ADAPTER_UNKNOWN: an adapter that cannot be loaded is refused, transiently', async (t) => {
  const { swarm, provider } = await setup(t);
  const adapterId = requestId(7);
  const [reply] = await ask(
    swarm,
    provider.host.peerId,
    inferOrder.encode(orderOf(swarm, { adapterId })),
  );
  assert.deepEqual(reply?.type === 'refusal' && [reply.code, reply.isTransient], [
    'ADAPTER_UNKNOWN',
    true,
  ]);
});

test('a continuation says only the rest, and its receipt covers the whole', async (t) => {
  const { swarm, provider } = await setup(t);
  const { peerId } = provider.host;
  const whole = await ask(swarm, peerId, inferOrder.encode(orderOf(swarm)));
  const tokens = whole.flatMap((reply) => (reply.type === 'tokens' ? reply.tokens : []));
  const [first] = whole;
  assert.ok(first?.type === 'tokens' && tokens.length > first.tokens.length);
  const rest = await ask(
    swarm,
    peerId,
    inferOrder.encode(orderOf(swarm, { requestId: requestId(2), saidTokens: first.tokens })),
  );
  assert.deepEqual(
    rest.flatMap((reply) => (reply.type === 'tokens' ? reply.tokens : [])),
    tokens.slice(first.tokens.length),
  );
  const [one, other] = [whole, rest].map((replies) => {
    const end = replies.at(-1);
    assert.ok(end?.type === 'end');
    return ownReceiptFile(end.receiptFile);
  });
  assert.deepEqual(other!.output, one!.output);
  assert.equal(other!.receipt.computeWei, one!.receipt.computeWei);
});

test('REQUEST_REPEATED: one request id is answered once', async (t) => {
  const { swarm, provider } = await setup(t);
  const request = inferOrder.encode(orderOf(swarm));
  const first = await ask(swarm, provider.host.peerId, request);
  assert.equal(first.at(-1)?.type, 'end');
  const again = await ask(swarm, provider.host.peerId, request);
  assert.deepEqual(
    again.map((reply) => reply.type === 'refusal' && reply.code),
    ['REQUEST_REPEATED'],
  );
});

test('receipts are given out by hash and in order; what is not there is left out', async (t) => {
  const { swarm, provider } = await setup(t);
  const { peerId } = provider.host;
  for (const byte of [1, 2, 3])
    await ask(swarm, peerId, inferOrder.encode(orderOf(swarm, { requestId: requestId(byte) })));
  const get = async (request: Parameters<typeof receiptsRequest.encode>[0]) => {
    const hashes: string[] = [];
    let done: { isMore: boolean; place: number } | undefined;
    const encoded = receiptsRequest.encode(request);
    for await (const frame of swarm.front.rpc.stream(peerId, RECEIPTS_PROTOCOL, encoded)) {
      const reply = receiptsReply.decode(frame);
      assert.ok(reply.ok);
      if (reply.value.type === 'done') done = reply.value;
      else {
        assert.equal(
          receiptHash(ownReceiptFile(reply.value.file).receipt),
          reply.value.receiptHash,
        );
        hashes.push(reply.value.receiptHash);
      }
    }
    return { hashes, isMore: done?.isMore, place: done?.place };
  };
  const all = await get({ type: 'since', after: 0, filesMax: 10 });
  assert.deepEqual([all.hashes.length, all.isMore, all.place], [3, false, 3]);
  const two = await get({ type: 'since', after: 0, filesMax: 2 });
  assert.deepEqual(two, { hashes: all.hashes.slice(0, 2), isMore: true, place: 2 });
  const third = await get({ type: 'since', after: 2, filesMax: 2 });
  assert.deepEqual(third, { hashes: all.hashes.slice(2), isMore: false, place: 3 });
  const beyond = await get({ type: 'since', after: 9, filesMax: 2 });
  assert.deepEqual(beyond, { hashes: [], isMore: false, place: 3 });
  const wanted = [all.hashes[2]!, requestId(9)] as `0x${string}`[];
  assert.deepEqual((await get({ type: 'byHash', hashes: wanted })).hashes, [all.hashes[2]]);
});

test('VOUCHER_INVALID: a voucher that is none is refused by code', async (t) => {
  const { swarm, provider } = await setup(t);
  const { peerId } = provider.host;
  const bytes = await swarm.front.rpc.call(peerId, VOUCHER_PROTOCOL, Uint8Array.of(1));
  const reply = inferVoucherReply.decode(bytes);
  assert.deepEqual(reply.ok && reply.value, { code: 'VOUCHER_INVALID' });
});

test('ANSWER_FAILED: a fault of our own is told without its insides', async (t) => {
  const { swarm, provider } = await setup(t);
  const stopped = provider.gate.closeAfter(1);
  const answer = ask(swarm, provider.host.peerId, inferOrder.encode(orderOf(swarm)));
  await stopped;
  provider.gate.fail(new Error('secret insides'));
  const last = (await answer).at(-1);
  assert.ok(last?.type === 'refusal');
  assert.equal(last.code, 'ANSWER_FAILED');
  assert.doesNotMatch(last.message, /secret/);
});

test('adapters are loaded ahead and announced; what cannot be had does not stop the others', async (t) => {
  const { provider } = await setup(t);
  const { adapterId } = world.lineage;
  assert.deepEqual(provider.provider.capacity().adapters, []);
  await provider.provider.prefetch([requestId(7), adapterId, adapterId]);
  assert.deepEqual(provider.provider.capacity().adapters, [adapterId]);
});
