/** Imported adapters on disk: whole or not at all, and what they are is judged before. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { toHex } from '#crypto';
import { type Adapter, encodeAdapter, ModelError } from '#runtime';
import { NodeError } from '../errors.ts';
import { loadWorldBundle, makeWorld } from '../provider/testing.ts';
import { openImported } from './imported.ts';

const world = await makeWorld();
const adapter = await (await loadWorldBundle(world)).adapter();
await world.close();
const root = mkdtempSync(join(tmpdir(), 'imported-'));
after(() => rmSync(root, { recursive: true }));
const hash = new Uint8Array(32).fill(7);
const base = { config: world.config, hash, name: 'base' };
const filesOf = (one: Adapter) => encodeAdapter(one, base);
let folders = 0;
const open = (folder = join(root, `${folders++}`), rankMax = 8) => ({
  folder,
  store: openImported({ folder, base, baseHash: toHex(hash), rankMax, nowMs: () => 5_000 }),
});

test('an import is found again by the next process, with its weights to the bit', async () => {
  const { folder, store } = open();
  const { anchor } = store.add('mine', filesOf(adapter));
  mkdirSync(join(folder, `${'ab'.repeat(32)}.partial`));
  const again = open(folder).store;
  assert.deepEqual(
    again.list().map(({ name, rank, importedAt }) => ({ name, rank, importedAt })),
    [{ name: 'mine', rank: 2, importedAt: 5 }],
  );
  assert.deepEqual(await again.load(anchor.adapterId), adapter);
  assert.deepEqual(readdirSync(folder), [anchor.adapterId.slice(2)]);
  again.remove(anchor.adapterId);
  assert.deepEqual([readdirSync(folder), again.list()], [[], []]);
});

test('the scale is part of what an adapter is', () => {
  const { store } = open();
  const one = store.add('one', filesOf(adapter));
  const two = store.add('two', filesOf({ ...adapter, alpha: adapter.alpha + 1 }));
  assert.notEqual(one.anchor.adapterId, two.anchor.adapterId);
});

test('ADAPTER_KNOWN: a name or weights that are here already, and nothing changes', () => {
  const { folder, store } = open();
  store.add('mine', filesOf(adapter));
  const before = readdirSync(folder);
  for (const [name, files] of [
    ['mine', filesOf({ ...adapter, alpha: 9 })],
    ['other', filesOf(adapter)],
  ] as const)
    assert.throws(
      () => store.add(name, files),
      (error) => error instanceof NodeError && error.code === 'ADAPTER_KNOWN',
    );
  assert.deepEqual(readdirSync(folder), before);
});

test('refused files leave nothing behind and say what was expected and found', () => {
  const { folder, store } = open(undefined, 1);
  const good = filesOf(adapter);
  const config = JSON.parse(good.config) as Record<string, unknown>;
  const changed = (fields: Record<string, unknown>) => ({
    ...good,
    config: JSON.stringify({ ...config, ...fields }),
  });
  const cases = [
    ['ADAPTER_RANK_TOO_LARGE', good],
    ['ADAPTER_DORA_UNSUPPORTED', changed({ use_dora: true })],
    ['ADAPTER_BIAS_UNSUPPORTED', changed({ bias: 'all' })],
    ['ADAPTER_MODULES_TO_SAVE_UNSUPPORTED', changed({ modules_to_save: ['lm_head'] })],
    ['ADAPTER_OTHER_BASE', changed({ openledger_base_sha256: '00' })],
  ] as const;
  for (const [code, files] of cases)
    assert.throws(
      () => store.add('mine', files),
      (error) =>
        error instanceof ModelError &&
        error.code === code &&
        error.details.expected !== undefined &&
        error.details.found !== undefined,
      code,
    );
  assert.throws(
    () => store.add('no/path', good),
    (error) => error instanceof NodeError && error.code === 'USAGE',
  );
  assert.deepEqual([readdirSync(folder), store.list()], [[], []]);
});

test('STATE_CORRUPT: a damaged note of an import is named', () => {
  const { folder, store } = open();
  const { anchor } = store.add('mine', filesOf(adapter));
  writeFileSync(join(folder, anchor.adapterId.slice(2), 'import.json'), '{');
  assert.throws(
    () => open(folder),
    (error) => error instanceof NodeError && error.code === 'STATE_CORRUPT',
  );
});
