// Blocks as files, verified whenever they are read: a block that does not hash to its name is
// reported, removed and from then on missing, so that it is fetched again and never served.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FsBlockstore } from 'blockstore-fs';
import { NextToLast } from 'blockstore-fs/sharding';
import type { CID } from 'multiformats/cid';
import { NetworkError, systemCodeOf } from './errors.ts';

const SHA2_256 = 0x12;
const names = new NextToLast();

/** What Helia expects of a block that is not there: an error with this name. */
class BlockMissing extends Error {
  override readonly name = 'NotFoundError';
}

type Corrupt = (cid: CID) => void;

/** The library's store by layout and iteration; reading and writing are ours. */
export class VerifiedBlockstore extends FsBlockstore {
  readonly directory: string;
  readonly #corrupt: Corrupt;
  readonly #writing = new Map<string, Promise<void>>();

  constructor(directory: string, corrupt: Corrupt) {
    super(directory);
    this.directory = directory;
    this.#corrupt = corrupt;
  }

  /** The block's bytes, or undefined where it is absent or was found corrupt just now. */
  async read(cid: CID): Promise<Uint8Array | undefined> {
    const file = this.#fileOf(cid);
    let bytes: Uint8Array;
    try {
      bytes = await readFile(file);
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    if (hashesTo(cid, bytes)) return bytes;
    this.#corrupt(cid);
    await rm(file, { force: true });
    return undefined;
  }

  override async *get(cid: CID): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const bytes = await this.read(cid);
    if (bytes === undefined) throw new BlockMissing(`expected block ${cid}, got none`);
    yield bytes as Uint8Array<ArrayBuffer>;
  }

  /**
   * Writes beside and renames, so that a block is whole or absent after a kill. There is no fsync:
   * a power cut may leave a short file, which the next read finds and repairs.
   */
  override async put(
    cid: CID,
    value: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<CID> {
    const file = this.#fileOf(cid);
    const already = this.#writing.get(file);
    if (already !== undefined) {
      await already;
      return cid;
    }
    const writing = this.#write(file, value);
    this.#writing.set(file, writing);
    try {
      await writing;
    } finally {
      this.#writing.delete(file);
    }
    return cid;
  }

  async #write(
    file: string,
    value: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const beside = `${file}.tmp`;
    try {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(beside, value);
      await rename(beside, file);
    } catch (cause) {
      await rm(beside, { force: true });
      throw diskFull(this.directory, cause) ?? cause;
    }
  }

  #fileOf(cid: CID): string {
    const { dir, file } = names.encode(cid);
    return join(this.directory, dir, file);
  }
}

/** Whether the bytes are the block that the CID names. Only sha2-256 is in use here. */
export function hashesTo(cid: CID, bytes: Uint8Array): boolean {
  if (cid.multihash.code !== SHA2_256) return false;
  const digest = createHash('sha256').update(bytes).digest();
  return Buffer.compare(digest, cid.multihash.digest) === 0;
}

/** The error for a full disk, if that is what `cause` says. */
function diskFull(directory: string, cause: unknown): NetworkError | undefined {
  if (!['ENOSPC', 'EDQUOT'].includes(systemCodeOf(cause) ?? '')) return undefined;
  const message = `expected room for a block in ${directory}, got a full disk; free space and try again`;
  return new NetworkError('STORE_DISK_FULL', { directory }, message, cause);
}
