/** An imported adapter from the question to the receipt: served, paid, and naming nobody. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import OpenAI from 'openai';
import { importedAnchor, importedHashOf, verifyReceiptFile } from '#protocol';
import { loadWorldBundle, makeWorld } from '../provider/testing.ts';
import { withBaseAlone } from './check.ts';
import { startSwarm } from './testing.ts';

const world = await makeWorld();
after(world.close);

test('an imported adapter answers under its name, with a receipt that names nobody', async (t) => {
  const registered = await (await loadWorldBundle(world)).adapter();
  const adapter = { ...registered, alpha: 3 * registered.alpha };
  const parameters = new Uint8Array(adapter.parameters.buffer);
  const anchor = importedAnchor(world.baseHash, importedHashOf(adapter, parameters));
  const { adapterId, adapterHash } = anchor;
  const swarm = await startSwarm(t, world, {
    providers: [{}],
    imported: [
      {
        served: { anchor, handle: { id: adapterId, fetch: async () => adapter } },
        listed: {
          ...{ adapterId, adapterHash, name: 'mine', owner: null },
          ...{ registeredAt: 1, isRegistered: false },
        },
      },
    ],
  });
  const client = new OpenAI({ baseURL: `${swarm.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const listed = (await client.models.retrieve('tiny:mine')) as unknown as { x_swarm: object };
  assert.deepEqual(listed.x_swarm, { adapter_id: adapterId, registered: false });
  const ask = async (model: string) => {
    const prompt = 'Keepers of the weir note each level';
    const reply = await client.completions.create({ model, prompt, max_tokens: 8, temperature: 0 });
    const { x_swarm } = reply as unknown as {
      x_swarm: { receipt_id: string; registered: boolean; verified: boolean };
    };
    return { text: reply.choices[0]?.text, ...x_swarm };
  };
  const mine = await ask('tiny:mine');
  assert.deepEqual([mine.registered, mine.verified], [false, true]);
  const others = [await ask('tiny'), await ask('tiny:weir')];
  assert.deepEqual(
    others.map(({ registered: isRegistered }) => isRegistered),
    [false, true],
  );
  assert.ok(!others.some(({ text }) => text === mine.text), 'the imported weights were not used');

  const file = await fetch(`${swarm.url}/swarm/v1/receipts/${mine.receipt_id}/file`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  // What a stranger has: the chain's anchors, none of which is the imported adapter's.
  const anchors = withBaseAlone({ ...swarm.anchors, adapters: [] }, world.baseHash);
  const verdict = verifyReceiptFile(bytes, { anchors, countTokens: world.countTokens });
  assert.ok(verdict.valid);
  assert.deepEqual(verdict.file.adapter, anchor);
  assert.deepEqual([verdict.file.payouts, verdict.file.scores, verdict.file.spans], [[], [], []]);
});
