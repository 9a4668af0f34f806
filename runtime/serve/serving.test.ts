// Serving behind threads: the same answers whatever their number, tiers nearest first, and ends.
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createEngine } from '../engine/engine.ts';
import { chooseToken, GREEDY } from '../model/sampling.ts';
import { openWeights } from '../model/weights.ts';
import { AdapterTiers } from './adapter-tiers.ts';
import { createServing } from './serving.ts';
import { adapterOf, alone, textOf, weights } from './testing.ts';

const sizes = { sequences: 4, rows: 16, pagePositions: 8, poolBytes: 1e6, rankMax: 16 };
const coded = (code: string) => (error: { code?: string }) => error.code === code;
const handle = (id: string) => ({ id, fetch: async () => adapterOf(id) });
const directory = await mkdtemp(join(tmpdir(), 'openledger-tiers-'));
after(() => rm(directory, { recursive: true, force: true }));

test('one thread or two: the same bits, WebAssembly', async (t) => {
  for (const threads of [1, 2]) {
    const serving = createServing({ weights, threads, sizes, backend: 'wasm' });
    t.after(() => serving.close());
    const asked = [null, 'a0', 'a1', 'a2', 'a0', null, 'a5', 'a1'].map(async (adapter, i) => {
      const tokens = textOf(5 + 5 * i, i);
      const sampling = {
        temperature: i % 2,
        topK: 0,
        topP: 0.9,
        minP: 0,
        repetitionPenalty: 1,
        seed: BigInt(i),
      };
      const seen: number[] = [];
      const served = await serving.generate({
        ...{ client: `c${i % 3}`, tokens, maxTokens: 10, sampling, logprobs: true },
        adapter: adapter === null ? null : handle(adapter),
        onToken: (token) => seen.push(token),
      });
      assert.deepEqual(seen, [...served.tokens]);
      assert.deepEqual(seen, alone(adapter, tokens, 10, sampling).tokens);
      assert.equal(served.finish, 'length');
    });
    await Promise.all(asked);
    const all = await serving.metrics();
    assert.equal(all.length, threads);
    assert.equal(
      all.reduce((sum, { finished }) => sum + finished.length, 0),
      8,
    );
  }
});

test('threads read a directory for themselves, keep it as int8, and a file that changed is MODEL_FILE_CHANGED', async (t) => {
  const stored = await openWeights(new URL('../golden/smollm2', import.meta.url).pathname);
  const tokens = Int32Array.of(1, 5, 9, 2);
  const options = { backend: 'wasm', training: false, weights: 'int8' } as const;
  const session = createEngine(stored, options).session(null);
  const expected = [session.prefill(tokens)];
  const request = { client: 'c', adapter: null, tokens, maxTokens: 6 };
  const serving = createServing({ weights: stored, sizes, backend: 'wasm', format: 'int8' });
  t.after(() => serving.close());
  const served = await serving.generate(request);
  const alone = [...served.tokens].map((token) => {
    const best = chooseToken(expected.at(-1)!, GREEDY, session.length);
    expected.push(session.decode(token));
    return best;
  });
  assert.deepEqual([...served.tokens], alone);
  const places = new Map(
    [...stored.places].map(([name, place]) => [name, { ...place, mark: 'another file' }] as const),
  );
  const changed = createServing({ weights: { ...stored, places }, sizes, backend: 'wasm' });
  t.after(() => changed.close());
  await assert.rejects(changed.generate(request), coded('MODEL_FILE_CHANGED'));
});

test('an aborted answer ends, a failing adapter fails its own requests, SERVING_CLOSED after close', async () => {
  const serving = createServing({ weights, sizes, backend: 'wasm' });
  const aborting = new AbortController();
  const long = { client: 'c', tokens: textOf(4), maxTokens: 60, adapter: null };
  const never = new Promise<never>(() => undefined);
  const aborted = serving.generate({
    ...long,
    signal: aborting.signal,
    adapter: {
      id: 'slow',
      fetch: () => {
        aborting.abort();
        return never;
      },
    },
  });
  const failing = serving.generate({
    ...long,
    adapter: { id: 'gone', fetch: () => Promise.reject(new Error('nobody has it')) },
  });
  const fine = serving.generate({ ...long, maxTokens: 5 });
  await assert.rejects(failing, coded('ADAPTER_UNAVAILABLE'));
  assert.equal((await aborted).finish, 'cancelled');
  assert.deepEqual([...(await fine).tokens], alone(null, long.tokens, 5).tokens);
  await assert.rejects(
    serving.generate({ ...long, signal: AbortSignal.abort() }),
    coded('WORK_ABORTED'),
  );
  await assert.rejects(serving.generate({ ...long, tokens: textOf(65) }), coded('CONTEXT_LENGTH'));
  await assert.rejects(
    serving.generate({ ...long, withinMs: 1e-9 }),
    coded('DEADLINE_UNREACHABLE'),
  );
  await serving.close();
  await assert.rejects(serving.generate(long), coded('SERVING_CLOSED'));
});

test('tiers: memory, then disk, then the swarm; one fetch for many; a damaged file is fetched anew', async () => {
  const bytes = adapterOf('a0').parameters.byteLength;
  let fetches = 0;
  const fetch = async () => {
    fetches += 1;
    return adapterOf('a0');
  };
  const first = new AdapterTiers({ ramBytes: bytes, directory, diskBytes: 3 * bytes });
  const both = await Promise.all([first.get('x', fetch), first.get('x', fetch)]);
  assert.equal(both[0], both[1]);
  assert.equal(await first.get('x', fetch), both[0]);
  await first.get('y', fetch);
  const again = await first.get('x', fetch);
  assert.deepEqual(again, both[0]);
  const counts = { ram: 1, disk: 1, swarm: 2, damaged: 0, ramEvictions: 2, diskEvictions: 0 };
  assert.deepEqual(first.counts, counts);
  assert.deepEqual(first.load().ram, { adapters: 1, bytes });
  assert.equal(fetches, 2);
  // A new start finds what lies there; the smallest disk keeps what was used last.
  const second = new AdapterTiers({ ramBytes: 0, directory, diskBytes: 2.5 * bytes });
  assert.deepEqual(await second.get('x', fetch), both[0]);
  await second.get('z', fetch);
  const left = await readdir(directory);
  assert.equal(left.length, 2);
  for (const name of left) await writeFile(join(directory, name), 'not what was written');
  assert.deepEqual(await second.get('x', fetch), both[0]);
  assert.deepEqual(second.counts, {
    ...{ ram: 0, disk: 1, swarm: 2, damaged: 1 },
    ...{ ramEvictions: 0, diskEvictions: 1 },
  });
  await assert.rejects(
    second.get('w', () => Promise.reject(new Error('gone'))),
    coded('ADAPTER_UNAVAILABLE'),
  );
});

test('a full tier lets go what is used least for its size, and never what is pinned', async () => {
  const bytes = (name: string) => adapterOf(name).parameters.byteLength;
  const place = await mkdtemp(join(tmpdir(), 'openledger-pins-'));
  after(() => rm(place, { recursive: true }));
  // a0 has rank 8, a1 rank 3, a2 rank 16, a3 rank 1.
  const ramBytes = bytes('a2') + bytes('a3') + bytes('a1');
  const tiers = new AdapterTiers({ ramBytes, directory: place, diskBytes: 1.5 * ramBytes });
  const get = (name: string) => tiers.get(name, async () => adapterOf(name));
  for (const name of ['a2', 'a3', 'a1']) await get(name);
  assert.equal(tiers.load().ram.bytes, ramBytes);
  await get('a0');
  // The large one went, though it alone would not have had to: small ones are worth more for each byte.
  assert.deepEqual(tiers.load().ram.bytes, ramBytes - bytes('a2') + bytes('a0'));
  assert.equal(tiers.counts.ramEvictions, 1);

  tiers.pin('a2', true);
  for (const name of ['a2', 'a0', 'a5', 'a4', 'a7', 'a6']) await get(name);
  const before = tiers.counts.ram;
  await get('a2');
  assert.equal(tiers.counts.ram, before + 1);
  assert.ok(tiers.load().ram.bytes <= ramBytes);
  assert.ok(tiers.load().disk.bytes <= 1.5 * ramBytes);
  // Pinned on disk as well: a new start has it, and lets it go once it is not.
  const anew = new AdapterTiers({ ramBytes: 0, directory: place, diskBytes: 1 });
  anew.pin('a2', true);
  await anew.get('a2', () => Promise.reject(new Error('expected it on disk')));
  assert.equal(anew.load().disk.adapters, 1);
  anew.pin('a2', false);
  await anew.get('a3', async () => adapterOf('a3'));
  assert.equal(anew.load().disk.adapters, 0);
});
