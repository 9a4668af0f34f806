// Damaged, locked and full stores: what is repaired by itself, and what the operator is told.
import assert from 'node:assert/strict';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isNetworkError } from './errors.ts';
import { startHost } from './host.ts';
import { networkPreset } from './preset.ts';
import { testDirectory, testHost, testKey } from './testing.ts';

const start = (dataDir: string) =>
  startHost({
    privateKey: testKey(1),
    dataDir,
    preset: networkPreset('local'),
    bootstrap: [],
    topics: [],
  });

/** A data directory with one pinned block in it, closed. */
async function used(t: Parameters<typeof testHost>[0]) {
  const host = await testHost(t, 1);
  const cid = await host.blocks.put(new Uint8Array([1, 2, 3]), { codec: 'raw' });
  await host.blocks.pin(cid);
  await host.close();
  return { dataDir: host.dataDir, records: join(host.dataDir, 'records'), cid };
}

for (const file of ['CURRENT', 'MANIFEST']) {
  test(`a damaged ${file} is repaired, reported, and the pins are still there`, async (t) => {
    const { dataDir, records, cid } = await used(t);
    const names = await readdir(records);
    const name = names.find((each) => each.startsWith(file));
    assert.ok(name !== undefined);
    await writeFile(join(records, name), 'garbage');
    const host = await testHost(t, 1, { dataDir });
    assert.equal(host.counters.get('store_repaired'), 1);
    assert.ok(host.events.some(({ type }) => type === 'storeRepaired'));
    assert.equal(await host.blocks.isPinned(cid), true);
    assert.deepEqual(Array.from(await host.blocks.get(cid)), [1, 2, 3]);
  });
}

test('NETWORK_STORE_CORRUPT when nothing can be read, and the blocks survive', async (t) => {
  const { dataDir, records, cid } = await used(t);
  await rm(records, { recursive: true });
  await mkdir(records);
  await mkdir(join(records, 'CURRENT'));
  await assert.rejects(start(dataDir), (error) => isNetworkError(error, 'NETWORK_STORE_CORRUPT'));
  await rm(records, { recursive: true });
  const host = await testHost(t, 1, { dataDir });
  assert.equal(await host.blocks.has(cid), true);
});

test('NETWORK_STORE_CORRUPT when a file stands where a folder should', async (t) => {
  const dataDir = await testDirectory(t);
  await writeFile(join(dataDir, 'records'), '');
  await assert.rejects(start(dataDir), (error) => isNetworkError(error, 'NETWORK_STORE_CORRUPT'));
});

test('STORE_DISK_FULL at the start', async (t) => {
  const dataDir = await testDirectory(t);
  await mkdir(join(dataDir, 'records'), { recursive: true });
  await symlink('/dev/full', join(dataDir, 'records', 'MANIFEST-000001'));
  await assert.rejects(start(dataDir), (error) => isNetworkError(error, 'STORE_DISK_FULL'));
});
