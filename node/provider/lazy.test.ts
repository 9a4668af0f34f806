// Factors of the chain's adapters come through the engine's swarm tier, and only when an answer asks.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { toHex } from '#crypto';
import { cidOf, INFER_PROTOCOL, type InferReply, inferOrder, inferReply } from '#protocol';
import { PRICE, startSwarm } from '../gateway/testing.ts';
import { loadWorldBundle, makeWorld } from './testing.ts';

const made = await makeWorld();
after(made.close);
const { parameters } = await (await loadWorldBundle(made)).adapter();
const factors = cidOf(new Uint8Array(parameters.slice().buffer)).toString();

/** The world with its reads of the factors counted, and failing while `state.isAway`. */
const state = { reads: 0, isAway: true };
const world = {
  ...made,
  blocks: {
    get: made.blocks.get,
    getLarge: async (cid: string) => {
      if (cid === factors) {
        state.reads += 1;
        if (state.isAway) throw new Error('nobody has this block now');
      }
      return made.blocks.getLarge(cid);
    },
  },
};

test('an adapter is announced without its factors, which one fetch brings for all answers', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}] });
  const [provider] = swarm.providers;
  swarm.bank.deposit('first', swarm.client, provider!.account, 10n ** 18n);
  const { adapterId } = world.lineage;
  const ask = async (number: number): Promise<InferReply> => {
    const order = inferOrder.encode({
      ...{ adapterId, baseHash: world.baseHash, client: swarm.client, price: PRICE },
      ...{ prompt: 'Keepers of the weir', outputTokensMax: 4, saidTokens: [], stops: [] },
      ...{ seed: 1, temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 },
      logprobs: null,
      requestId: toHex(new Uint8Array(32).fill(number)),
    });
    let last: InferReply | undefined;
    for await (const frame of swarm.front.rpc.stream(
      provider!.host.peerId,
      INFER_PROTOCOL,
      order,
    )) {
      const reply = inferReply.decode(frame);
      assert.ok(reply.ok);
      last = reply.value;
    }
    return last!;
  };
  await provider!.provider.prefetch([adapterId]);
  assert.deepEqual(provider!.provider.capacity().adapters, [adapterId]);
  assert.equal(state.reads, 0);
  // What the swarm cannot give now is refused for now, and asked for anew.
  const refused = await ask(1);
  assert.deepEqual(refused.type === 'refusal' && [refused.code, refused.isTransient], [
    'ADAPTER_UNKNOWN',
    true,
  ]);
  state.isAway = false;
  const before = state.reads;
  for (const number of [2, 3]) assert.equal((await ask(number)).type, 'end');
  assert.equal(state.reads, before + 1);
});
