// Opens the host's two stores, blocks and small records, and says in one line why it cannot.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { LevelDatastore } from 'datastore-level';
import type { CID } from 'multiformats/cid';
import { VerifiedBlockstore } from './block-store.ts';
import { NetworkError, systemCodeOf } from './errors.ts';

export type Stores = {
  readonly blockstore: VerifiedBlockstore;
  readonly datastore: LevelDatastore;
  /** True when the record store was damaged and has been repaired from its own log. */
  readonly repaired: boolean;
  close(): Promise<void>;
};

/**
 * Opens `blocks/` and `records/` under the data directory.
 * @throws NetworkError NETWORK_STORE_LOCKED, NETWORK_STORE_CORRUPT or STORE_DISK_FULL.
 */
export async function openStores(dataDir: string, corrupt: (cid: CID) => void): Promise<Stores> {
  const blockDirectory = join(dataDir, 'blocks');
  const directory = join(dataDir, 'records');
  try {
    await mkdir(blockDirectory, { recursive: true });
    await mkdir(directory, { recursive: true });
    const blockstore = new VerifiedBlockstore(blockDirectory, corrupt);
    await blockstore.open();
    const { level, repaired } = await openLevel(directory);
    // The library names the type of its own wrapper, which is this class under Node.
    const datastore = new LevelDatastore(level as never);
    return { blockstore, datastore, repaired, close: () => level.close() };
  } catch (error) {
    if (error instanceof NetworkError) throw error;
    const code = systemCodeOf(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') throw notAFolder(directory, error);
    if (code !== 'ENOSPC') throw error;
    const message = `expected room in ${dataDir}, got a full disk; free space and start again`;
    throw new NetworkError('STORE_DISK_FULL', { directory: dataDir }, message, error);
  }
}

function notAFolder(directory: string, cause: unknown): NetworkError {
  const message = `expected folders at ${directory} and beside it, got a file in the way; move it away and start again`;
  return new NetworkError('NETWORK_STORE_CORRUPT', { directory }, message, cause);
}

type Level = ClassicLevel<string, Uint8Array>;

async function openLevel(directory: string): Promise<{ level: Level; repaired: boolean }> {
  try {
    return { level: await openedLevel(directory), repaired: false };
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'LEVEL_LOCKED') {
      const message = `expected ${directory} to be free, but another process has it open; stop that process or choose another data directory`;
      throw new NetworkError('NETWORK_STORE_LOCKED', { directory }, message, error);
    }
    if (code === 'ENOSPC') throw error;
  }
  // What is in there (addresses of peers, DHT records, pins) can be rebuilt by LevelDB from the
  // tables that are whole; only when that fails is the operator asked.
  try {
    await ClassicLevel.repair(directory);
    return { level: await openedLevel(directory), repaired: true };
  } catch (error) {
    const message = `expected a readable store in ${directory}, got a damaged one that could not be repaired; move that folder away and start again (blocks and keys are elsewhere and stay)`;
    throw new NetworkError('NETWORK_STORE_CORRUPT', { directory }, message, error);
  }
}

async function openedLevel(directory: string): Promise<Level> {
  const level = new ClassicLevel<string, Uint8Array>(directory, {
    keyEncoding: 'utf8',
    valueEncoding: 'view',
    compression: false,
  });
  try {
    await level.open();
    // Damage behind the manifest shows only when something is read.
    for await (const _key of level.keys());
    return level;
  } catch (error) {
    await level.close();
    throw error;
  }
}
