import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BundleError, loadAdapterBundle, openBundles } from './bundle.ts';
import { loadWorldBundle, makeWorld } from './testing.ts';

const world = await makeWorld();
after(world.close);

test('a bundle leads from blocks to the roots on chain', async () => {
  const bundle = await loadWorldBundle(world);
  assert.equal(bundle.records.length, 9);
  assert.equal(bundle.version.root, world.lineage.versionRoot);
  assert.ok(bundle.sketches.every(({ norm }) => norm > 0));
});

const isInvalid = (part: string) => (error: unknown) =>
  error instanceof BundleError && error.code === 'BUNDLE_INVALID' && error.details.part === part;

test('BUNDLE_INVALID: whatever does not lead to its root is named', async () => {
  const zero = `0x${'00'.repeat(32)}` as const;
  for (const [field, part] of [
    ['versionRoot', 'version root'],
    ['sketchRoot', 'sketch root'],
  ] as const) {
    const lineage = { ...world.lineage, [field]: zero };
    await assert.rejects(loadAdapterBundle(world.blocks, lineage, world.config), isInvalid(part));
  }
  // The factors are judged when they come.
  const lineage = { ...world.lineage, adapterHash: zero };
  const bundle = await loadAdapterBundle(world.blocks, lineage, world.config);
  await assert.rejects(bundle.adapter(), isInvalid('parameters'));
});

test('bundles are loaded once, the least used one makes room, a failed load is tried again', async () => {
  const loads: string[] = [];
  const bundle = await loadWorldBundle(world);
  let fails = true;
  const bundles = openBundles(async (adapterId) => {
    loads.push(adapterId);
    if (adapterId === '0xcc' && fails) throw new Error('not there yet');
    return bundle;
  }, 2);
  await Promise.all([bundles.get('0xaa'), bundles.get('0xaa'), bundles.get('0xbb')]);
  await bundles.get('0xaa');
  await assert.rejects(bundles.get('0xcc'));
  fails = false;
  await bundles.get('0xcc');
  assert.deepEqual(bundles.resident(), ['0xaa', '0xcc']);
  assert.deepEqual(loads, ['0xaa', '0xbb', '0xcc', '0xcc']);
});
