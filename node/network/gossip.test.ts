// Gossip between real nodes: what is accepted, ignored and rejected, what a rejection costs, and
// that unsigned, oversized, replayed and undecodable messages reach nobody.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isNetworkError } from './errors.ts';
import type { Decoded, Verdict } from './gossip.ts';
import { networkPreset } from './preset.ts';
import {
  addressOf,
  bytesOf,
  soon,
  type TestHost,
  TOPIC,
  testHost,
  testPair,
  textOf,
  until,
} from './testing.ts';
import { strangerFor } from './testing-stranger.ts';

type Heard = { readonly text: string; readonly from: string };

/** Takes the test topic: `bad…` is rejected by its bytes, `early…` ignored, `false…` by judgement. */
function listen(host: TestHost, maxBytes = 100): Heard[] {
  const heard: Heard[] = [];
  host.gossip.topic<string>({
    name: TOPIC,
    maxBytes,
    decode: (bytes): Decoded<string> => {
      const text = textOf(bytes);
      if (text.startsWith('bad')) return { ok: false, code: 'TEST_BAD', action: 'reject' };
      if (text.startsWith('early')) return { ok: false, code: 'TEST_EARLY', action: 'ignore' };
      return { ok: true, value: text };
    },
    validate: async (text): Promise<Verdict> =>
      text.startsWith('false') ? { type: 'reject', code: 'TEST_FALSE' } : { type: 'accept' },
    onMessage: (text, from) => {
      heard.push({ text, from: from.address });
    },
  });
  return heard;
}

const refused = (host: TestHost, code: string) => host.counters.get('refused', { code });

async function hostAndStranger(t: TestContext, signed = true) {
  const host = await testHost(t, 1, {
    preset: { ...networkPreset('local'), gossipHeartbeatMs: 200 },
  });
  const heard = listen(host);
  const stranger = await strangerFor(t, host, signed);
  const say = (text: string) => stranger.services.gossip.publish(TOPIC, bytesOf(text));
  await until(() => stranger.services.gossip.getSubscribers(TOPIC).length === 1);
  return { host, heard, stranger, say };
}

test('an accepted message reaches the others once, with its author', async (t) => {
  const first = await testHost(t, 1);
  const bootstrap = [addressOf(first)];
  const second = await testHost(t, 2, { bootstrap });
  const third = await testHost(t, 3, { bootstrap });
  const heard = [first, second, third].map((host) => listen(host));
  await Promise.all([first, second, third].map((host) => host.waitForPeers(2, soon())));
  await second.gossip.waitForSubscribers(TOPIC, 2, soon());
  const { recipients } = await second.gossip.publish(TOPIC, bytesOf('hello'));
  assert.equal(recipients, 2);
  await until(() => heard[0]!.length === 1 && heard[2]!.length === 1);
  assert.deepEqual(heard[0], [{ text: 'hello', from: second.address }]);
  assert.deepEqual(heard[1], []);
});

test('a message travels over a neighbour to who is not connected to its author', async (t) => {
  const preset = { ...networkPreset('local'), peersTarget: 1 };
  const middle = await testHost(t, 1);
  const left = await testHost(t, 2, { preset });
  const right = await testHost(t, 3, { preset });
  await left.connect(addressOf(middle));
  await right.connect(addressOf(middle));
  await middle.waitForPeers(2, soon());
  const [, , heard] = [listen(left), listen(middle), listen(right)];
  await Promise.all([left, right].map((host) => host.gossip.waitForSubscribers(TOPIC, 1, soon())));
  // Until its mesh has formed the middle passes on to nobody, so this is announced until heard.
  let round = 0;
  await until(async () => {
    await left.gossip.publish(TOPIC, bytesOf(`round ${round}`));
    round += 1;
    return heard.length > 0;
  });
  assert.equal(heard[0]?.from, left.address);
  assert.equal(left.peers().length, 1);
});

test('rejected messages are counted, cost score, and end in a hang-up', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t);
  const peerId = stranger.peerId.toString();
  assert.equal(host.scoreOf(peerId), 0);
  await say('bad 1');
  await until(() => host.scoreOf(peerId) < 0);
  for (let index = 2; index < 6; index += 1) await say(`bad ${index}`);
  await until(() => stranger.getPeers().length === 0);
  assert.ok(refused(host, 'TEST_BAD') >= 3);
  assert.equal(host.counters.get('bans'), 1);
  assert.deepEqual(heard, []);
});

test('a false message is rejected by judgement as by its bytes', async (t) => {
  const { host, stranger, say } = await hostAndStranger(t);
  await say('false claim');
  await until(() => refused(host, 'TEST_FALSE') === 1);
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
});

test('an ignored message is counted, costs nothing, and may come again', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t);
  await say('early');
  await say('early');
  await until(() => host.counters.get('gossip_ignored', { code: 'TEST_EARLY' }) === 2);
  await say('fine');
  await until(() => heard.length === 1);
  assert.equal(host.scoreOf(stranger.peerId.toString()), 0);
});

test('GOSSIP_UNSIGNED', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t, false);
  await say('unsigned');
  await until(() => refused(host, 'GOSSIP_UNSIGNED') === 1);
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
  assert.deepEqual(heard, []);
});

test('GOSSIP_TOO_LARGE', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t);
  await say('x'.repeat(101));
  await until(() => refused(host, 'GOSSIP_TOO_LARGE') === 1);
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
  assert.deepEqual(heard, []);
});

test('GOSSIP_MESSAGE_TOO_LARGE is refused before it is sent', async (t) => {
  const [first] = await testPair(t);
  listen(first);
  await assert.rejects(first.gossip.publish(TOPIC, new Uint8Array(101)), (error) =>
    isNetworkError(error, 'GOSSIP_MESSAGE_TOO_LARGE'),
  );
});

test('GOSSIP_REPLAYED under another author', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t);
  const author = await testHost(t, 2, { bootstrap: [addressOf(host)] });
  listen(author);
  await author.gossip.waitForSubscribers(TOPIC, 1, soon());
  await author.gossip.publish(TOPIC, bytesOf('pay me'));
  await until(() => heard.length === 1);
  await say('pay me');
  await until(() => refused(host, 'GOSSIP_REPLAYED') >= 1);
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
  assert.equal(heard.length, 1);
});

test('GOSSIP_REPLAYED long after, as recorded, with its author’s own signature', async (t) => {
  const preset = { ...networkPreset('local'), gossipHeartbeatMs: 100, gossipSeenTtlMs: 300 };
  const host = await testHost(t, 1, { preset });
  const heard = listen(host);
  const stranger = await strangerFor(t, host);
  type Rpc = { messages?: unknown[] };
  const inside = stranger.services.gossip as unknown as {
    sendRpc(peerId: string, rpc: Rpc): boolean;
  };
  const send = inside.sendRpc.bind(inside);
  let recorded: Rpc = {};
  inside.sendRpc = (peerId, rpc) => {
    if ((rpc.messages?.length ?? 0) > 0) recorded = { messages: [...(rpc.messages ?? [])] };
    return send(peerId, rpc);
  };
  await until(() => stranger.services.gossip.getSubscribers(TOPIC).length === 1);
  await stranger.services.gossip.publish(TOPIC, bytesOf('pay me'));
  await until(() => heard.length === 1);
  await until(() => {
    send(host.peerId, recorded);
    return refused(host, 'GOSSIP_REPLAYED') > 0;
  });
  await until(() => host.scoreOf(stranger.peerId.toString()) < 0);
  assert.equal(heard.length, 1);
});

test('GOSSIP_MALFORMED and GOSSIP_FRAME_TOO_LARGE cost their sender score', async (t) => {
  const { host, stranger } = await hostAndStranger(t);
  const peerId = stranger.peerId.toString();
  const stream = await stranger.dialProtocol(stranger.getPeers()[0]!, '/meshsub/1.2.0');
  stream.send(new Uint8Array([3, 0xff, 0xff, 0xff]));
  await until(() => refused(host, 'GOSSIP_MALFORMED') === 1);
  await until(() => host.scoreOf(peerId) <= -20);
  stream.send(new Uint8Array([0xff, 0xff, 0xff, 0xff, 0x0f]));
  await until(() => refused(host, 'GOSSIP_FRAME_TOO_LARGE') === 1);
  await until(() => host.scoreOf(peerId) <= -40);
});

test('GOSSIP_REPEATED by its own author costs nothing', async (t) => {
  const { host, heard, stranger, say } = await hostAndStranger(t);
  await say('again');
  await say('again');
  await until(() => host.counters.get('gossip_ignored', { code: 'GOSSIP_REPEATED' }) === 1);
  assert.equal(heard.length, 1);
  assert.equal(host.scoreOf(stranger.peerId.toString()), 0);
});

test('topics outside the host’s list are a mistake of ours', async (t) => {
  const host = await testHost(t, 1);
  const spec = {
    maxBytes: 1,
    decode: () => ({ ok: true, value: 0 }) as const,
    onMessage: () => undefined,
  };
  assert.throws(
    () => host.gossip.topic({ ...spec, name: '/openledger/other/1' }),
    /one of the host/,
  );
  assert.throws(() => host.gossip.topic({ ...spec, name: 'test' }), /<what>/);
  host.gossip.topic({ ...spec, name: TOPIC });
  assert.throws(() => host.gossip.topic({ ...spec, name: TOPIC }), /not taken/);
});

test('a listener that fails is reported and does not stop the others', async (t) => {
  const [first, second] = await testPair(t);
  listen(second);
  first.gossip.topic<string>({
    name: TOPIC,
    maxBytes: 100,
    decode: (bytes) => ({ ok: true, value: textOf(bytes) }),
    onMessage: () => {
      throw new Error('our mistake');
    },
  });
  await second.gossip.waitForSubscribers(TOPIC, 1, soon());
  await second.gossip.publish(TOPIC, bytesOf('one'));
  await until(() => first.events.some(({ type }) => type === 'handlerFailed'));
  assert.equal(first.scoreOf(second.peerId), 0);
});
