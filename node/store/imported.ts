/**
 * Adapters that the operator imported, one folder each: a PEFT directory and what is known of it. A
 * folder is written beside its place and renamed, so that an adapter is here whole or not at all.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Bytes32 } from '#crypto';
import { type AdapterAnchor, importedAnchor, importedHashOf } from '#protocol';
import {
  type Adapter,
  type AdapterBase,
  decodeAdapter,
  encodeAdapter,
  readAdapterDirectory,
} from '#runtime';
import type { AdapterFiles } from '../adapter-files.ts';
import { NodeError } from '../errors.ts';

export type ImportedAdapter = {
  readonly name: string;
  readonly anchor: AdapterAnchor;
  readonly rank: number;
  /** Of its factors, as f32. */
  readonly bytes: number;
  readonly importedAt: number;
};

export type ImportedAdapters = {
  readonly list: () => readonly ImportedAdapter[];
  readonly get: (adapterId: Bytes32) => ImportedAdapter | undefined;
  /** The factors, from disk. */
  readonly load: (adapterId: Bytes32) => Promise<Adapter>;
  /** What these files would become. @throws ModelError as `decodeAdapter`, NodeError ADAPTER_KNOWN. */
  readonly check: (name: string, files: AdapterFiles) => ImportedAdapter;
  /** Checks, then keeps. */
  readonly add: (name: string, files: AdapterFiles) => ImportedAdapter;
  readonly remove: (adapterId: Bytes32) => void;
};

const ABOUT = 'import.json';
const about = z.object({
  name: z.string(),
  adapterHash: z.string().regex(/^0x[0-9a-f]{64}$/),
  rank: z.number().int(),
  bytes: z.number().int(),
  importedAt: z.number(),
});

/** Names as clients write them after `base:`. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export type ImportedParts = {
  readonly folder: string;
  readonly base: AdapterBase;
  readonly baseHash: Bytes32;
  /** The highest rank that is served. */
  readonly rankMax: number;
  readonly nowMs: () => number;
};

/** Opens the folder; what an import left unfinished is removed. */
export function openImported(parts: ImportedParts): ImportedAdapters {
  const { folder, base, baseHash } = parts;
  mkdirSync(folder, { recursive: true });
  const held = new Map<Bytes32, ImportedAdapter>();
  for (const entry of readdirSync(folder)) {
    if (entry.endsWith('.partial')) rmSync(join(folder, entry), { recursive: true });
    else if (existsSync(join(folder, entry, ABOUT))) {
      const found = readAbout(join(folder, entry, ABOUT), baseHash);
      // Of another base that this data directory once served: kept, and not served.
      if (found.anchor.adapterId === `0x${entry}`) held.set(found.anchor.adapterId, found);
    }
  }
  const folderOf = (adapterId: Bytes32): string => join(folder, adapterId.slice(2));
  const judge = (name: string, files: AdapterFiles) => {
    if (!NAME.test(name))
      throw new NodeError(
        'USAGE',
        { expected: 'a name of 1 to 64 letters, digits, dots, dashes and underscores', came: name },
        'choose another --name',
      );
    const adapter = decodeAdapter(files.config, files.weights, base, parts.rankMax);
    const { parameters, rank } = adapter;
    const adapterHash = importedHashOf(adapter, bytesOf(parameters));
    const anchor = importedAnchor(baseHash, adapterHash);
    for (const other of held.values())
      if (other.name === name || other.anchor.adapterId === anchor.adapterId)
        throw new NodeError(
          'ADAPTER_KNOWN',
          { name, as: `${other.name} (imported as ${other.anchor.adapterId})` },
          'remove that one first, or choose another --name',
        );
    const importedAt = Math.floor(parts.nowMs() / 1000);
    const found = { name, anchor, rank, bytes: parameters.byteLength, importedAt };
    return { adapter, found };
  };
  return {
    list: () => [...held.values()],
    get: (adapterId) => held.get(adapterId),
    load: (adapterId) => readAdapterDirectory(folderOf(adapterId), base, parts.rankMax),
    check: (name, files) => judge(name, files).found,
    add: (name, files) => {
      const { adapter, found } = judge(name, files);
      const { adapterId, adapterHash } = found.anchor;
      const partial = `${folderOf(adapterId)}.partial`;
      const { config, weights } = encodeAdapter(adapter, base);
      const { rank, bytes, importedAt } = found;
      rmSync(partial, { recursive: true, force: true });
      mkdirSync(partial);
      try {
        writeFileSync(join(partial, 'adapter_model.safetensors'), weights);
        writeFileSync(join(partial, 'adapter_config.json'), config);
        const text = JSON.stringify({ name, adapterHash, rank, bytes, importedAt });
        writeFileSync(join(partial, ABOUT), `${text}\n`);
        renameSync(partial, folderOf(adapterId));
      } catch (error) {
        rmSync(partial, { recursive: true, force: true });
        throw (error as NodeJS.ErrnoException).code === 'ENOSPC'
          ? new NodeError('DISK_FULL', { path: folder }, 'make room and import again', error)
          : error;
      }
      held.set(adapterId, found);
      return found;
    },
    remove: (adapterId) => {
      held.delete(adapterId);
      rmSync(folderOf(adapterId), { recursive: true, force: true });
    },
  };
}

/** float32, little-endian: what every machine that we run on has in memory. */
const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function readAbout(file: string, baseHash: Bytes32): ImportedAdapter {
  try {
    const { adapterHash, ...rest } = about.parse(JSON.parse(readFileSync(file, 'utf8')));
    return { ...rest, anchor: importedAnchor(baseHash, adapterHash as Bytes32) };
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : '';
    throw new NodeError('STATE_CORRUPT', { file, reason }, 'import it again', error);
  }
}
