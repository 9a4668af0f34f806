/**
 * The blocks that the nodes of a run keep on disk. Nothing is believed: each block read is hashed,
 * and one that is damaged in one node's store is looked for in the others.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NextToLast } from 'blockstore-fs/sharding';
import type { CID } from '#protocol';
import { AuditError } from './errors.ts';

export type Blocks = {
  /**
   * The bytes of a block. @param holds what it is, for the report
   * @throws AuditError BLOCK_MISSING
   */
  readonly get: (cid: CID, holds: string) => Promise<Uint8Array>;
  /** Distinct blocks read so far, and copies that were found damaged. */
  readonly counts: () => { readonly read: number; readonly damaged: number };
};

const names = new NextToLast();

/** Reads from the given block folders, without writing to them. */
export function openBlocks(folders: readonly string[]): Blocks {
  const seen = new Set<string>();
  let damaged = 0;
  const candidates = async function* (cid: CID) {
    const { dir, file } = names.encode(cid as Parameters<typeof names.encode>[0]);
    for (const folder of folders) {
      try {
        yield new Uint8Array(await readFile(join(folder, dir, file)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  };
  return {
    get: async (cid, holds) => {
      for await (const bytes of candidates(cid)) {
        const digest = createHash('sha256').update(bytes).digest();
        if (Buffer.compare(digest, cid.multihash.digest) === 0) {
          seen.add(cid.toString());
          return bytes;
        }
        damaged += 1;
      }
      throw new AuditError('BLOCK_MISSING', { cid: cid.toString(), holds });
    },
    counts: () => ({ read: seen.size, damaged }),
  };
}
