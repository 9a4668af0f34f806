// Where adapters come from, nearest first: memory, this machine's disk, and whoever else has them (a
// port that the node fills). Each tier is bounded in bytes and lets go what is used least for its size;
// pinned ones stay. One adapter is fetched once however many ask. Everything is asynchronous: a cold adapter stalls nobody.
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as othersFirst } from 'node:timers/promises';
import type { Adapter } from '../engine/graph.ts';
import { ServeError } from './errors.ts';

export type TierSizes = {
  readonly ramBytes: number;
  /** Kept under here; left out, there is no disk tier. */
  readonly directory?: string;
  readonly diskBytes?: number;
};

export type TierCounts = {
  ram: number;
  disk: number;
  swarm: number;
  /** Files that were not what was written. */
  damaged: number;
  /** Adapters that made room in memory, and on disk. */
  ramEvictions: number;
  diskEvictions: number;
};

/** What a tier holds now. */
export type TierLoad = { readonly adapters: number; readonly bytes: number };

const sliceBytes = 262144;
const headerBytes = 64;

/** rank and alpha as f64, zeros up to 32 bytes, SHA-256 of the factors, then the factors as f32. */
async function encode({ rank, alpha, parameters }: Adapter): Promise<Buffer> {
  const file = Buffer.alloc(headerBytes + parameters.byteLength);
  file.writeDoubleLE(rank, 0);
  file.writeDoubleLE(alpha, 8);
  new Uint8Array(file.buffer, file.byteOffset + headerBytes, parameters.byteLength).set(
    new Uint8Array(parameters.buffer, parameters.byteOffset, parameters.byteLength),
  );
  (await digestOf(file.subarray(headerBytes))).copy(file, 32);
  return file;
}

/** Hashes slice by slice, so that others have their turn in between. */
async function digestOf(bytes: Uint8Array): Promise<Buffer> {
  const digest = createHash('sha256');
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    digest.update(bytes.subarray(at, at + sliceBytes));
    await othersFirst();
  }
  return digest.digest();
}

/** In memory of its own, so that the factors can stay where they were read to. */
async function readWhole(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const bytes = Buffer.from(new ArrayBuffer((await file.stat()).size));
    let at = 0;
    for (let read = 1; at < bytes.length && read > 0; at += read) {
      read = (await file.read(bytes, at, bytes.length - at, at)).bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}

async function decode(file: Buffer): Promise<Adapter | undefined> {
  if (file.length <= headerBytes || file.length % 4 !== 0) return undefined;
  const body = file.subarray(headerBytes);
  if (!(await digestOf(body)).equals(file.subarray(32, 64))) return undefined;
  const parameters = new Float32Array(body.buffer, body.byteOffset, body.length / 4);
  return { rank: file.readDoubleLE(0), alpha: file.readDoubleLE(8), parameters };
}

/** Fetching anything anew costs about as much as this many bytes of it. */
const fixedBytes = 65536;

/**
 * Things of different sizes within so many bytes. What goes first is used least for its size, as among
 * resident adapters (GreedyDual-Size): a use is worth what fetching it again would cost for each byte.
 */
class Shelf<Value> {
  readonly #bytesMax: number;
  readonly #isPinned: (key: string) => boolean;
  /** Least recently used first, so that of equal credits the oldest goes. */
  readonly #held = new Map<string, { value: Value; size: number; credit: number }>();
  #bytes = 0;
  #clock = 0;

  constructor(bytesMax: number, isPinned: (key: string) => boolean) {
    this.#bytesMax = bytesMax;
    this.#isPinned = isPinned;
  }

  get load(): TierLoad {
    return { adapters: this.#held.size, bytes: this.#bytes };
  }

  use(key: string): Value | undefined {
    const found = this.#held.get(key);
    if (found === undefined) return undefined;
    this.#held.delete(key);
    found.credit = this.#clock + (fixedBytes + found.size) / found.size;
    this.#held.set(key, found);
    return found.value;
  }

  /** Takes it in; returns what had to go, which may be the newcomer itself. */
  put(key: string, value: Value, size: number): string[] {
    this.remove(key);
    this.#held.set(key, { value, size, credit: this.#clock + (fixedBytes + size) / size });
    this.#bytes += size;
    const gone: string[] = [];
    // One that could never fit must not empty the shelf first.
    if (size > this.#bytesMax && !this.#isPinned(key)) {
      this.remove(key);
      gone.push(key);
    }
    while (this.#bytes > this.#bytesMax) {
      const least = this.#least(key);
      if (least === undefined) break;
      this.#clock = this.#held.get(least)!.credit;
      this.remove(least);
      gone.push(least);
    }
    return gone;
  }

  remove(key: string): void {
    const found = this.#held.get(key);
    if (found === undefined) return;
    this.#held.delete(key);
    this.#bytes -= found.size;
  }

  /** The newcomer goes last of all: it is about to be used. */
  #least(newcomer: string): string | undefined {
    let least: string | undefined;
    let credit = Number.POSITIVE_INFINITY;
    for (const [key, one] of this.#held) {
      if (key === newcomer || this.#isPinned(key) || one.credit >= credit) continue;
      least = key;
      credit = one.credit;
    }
    const isLast = least === undefined && this.#held.has(newcomer) && !this.#isPinned(newcomer);
    return isLast ? newcomer : least;
  }
}

export class AdapterTiers {
  readonly #sizes: TierSizes;
  readonly #ram: Shelf<Adapter>;
  /** By file name; undefined until the folder was read. */
  #files: Promise<Shelf<null>> | undefined;
  #disk: Shelf<null> | undefined;
  readonly #pinned = new Set<string>();
  readonly #coming = new Map<string, Promise<Adapter>>();
  readonly counts: TierCounts = {
    ...{ ram: 0, disk: 0, swarm: 0, damaged: 0 },
    ...{ ramEvictions: 0, diskEvictions: 0 },
  };

  constructor(sizes: TierSizes) {
    this.#sizes = sizes;
    this.#ram = new Shelf(sizes.ramBytes, (id) => this.#pinned.has(id));
  }

  /** A pinned adapter stays in the tiers it comes to; pins beyond a tier's size make it overflow. */
  pin(id: string, isPinned: boolean): void {
    for (const key of [id, this.#nameOf(id)])
      if (isPinned) this.#pinned.add(key);
      else this.#pinned.delete(key);
  }

  /** The disk tier is empty until it was first looked at. */
  load(): { readonly ram: TierLoad; readonly disk: TierLoad } {
    return { ram: this.#ram.load, disk: this.#disk?.load ?? { adapters: 0, bytes: 0 } };
  }

  /** @throws ServeError ADAPTER_UNAVAILABLE with the cause, when `fetch` fails */
  get(id: string, fetch: () => Promise<Adapter>): Promise<Adapter> {
    const held = this.#ram.use(id);
    if (held !== undefined) {
      this.counts.ram += 1;
      return Promise.resolve(held);
    }
    const coming = this.#coming.get(id) ?? this.#bring(id, fetch);
    if (!this.#coming.has(id)) {
      this.#coming.set(id, coming);
      const done = () => this.#coming.delete(id);
      coming.then(done, done);
    }
    return coming;
  }

  async #bring(id: string, fetch: () => Promise<Adapter>): Promise<Adapter> {
    const found = await this.#read(id);
    if (found !== undefined) {
      this.counts.disk += 1;
      this.#remember(id, found);
      return found;
    }
    let adapter: Adapter;
    try {
      adapter = await fetch();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const remedy = 'ask for another adapter, or again later';
      throw new ServeError('ADAPTER_UNAVAILABLE', `adapter ${id}`, reason, remedy, cause);
    }
    this.counts.swarm += 1;
    this.#remember(id, adapter);
    await this.#write(id, adapter);
    return adapter;
  }

  #remember(id: string, adapter: Adapter): void {
    const gone = this.#ram.put(id, adapter, adapter.parameters.byteLength);
    this.counts.ramEvictions += gone.filter((each) => each !== id).length;
  }

  /** Ids are anybody's text, file names are hashes. */
  #nameOf(id: string): string {
    return `${createHash('sha256').update(id).digest('hex')}.lora`;
  }

  async #folder(): Promise<{ directory: string; files: Shelf<null> } | undefined> {
    const { directory } = this.#sizes;
    if (directory === undefined) return undefined;
    this.#files ??= (async () => {
      await mkdir(directory, { recursive: true });
      const names = (await readdir(directory)).filter((name) => name.endsWith('.lora')).sort();
      const sizes = await Promise.all(names.map(async (name) => stat(join(directory, name))));
      const { diskBytes = Number.POSITIVE_INFINITY } = this.#sizes;
      const shelf = new Shelf<null>(diskBytes, (name) => this.#pinned.has(name));
      const gone = names.flatMap((name, i) => shelf.put(name, null, sizes[i]!.size));
      await Promise.all(gone.map((name) => rm(join(directory, name), { force: true })));
      this.#disk = shelf;
      return shelf;
    })();
    return { directory, files: await this.#files };
  }

  async #read(id: string): Promise<Adapter | undefined> {
    const folder = await this.#folder();
    const name = this.#nameOf(id);
    if (folder === undefined || folder.files.use(name) === undefined) return undefined;
    const file = await readWhole(join(folder.directory, name)).catch(() => Buffer.alloc(0));
    const adapter = await decode(file);
    if (adapter === undefined) {
      folder.files.remove(name);
      this.counts.damaged += 1;
    }
    return adapter;
  }

  /** A full disk costs the tier, not the answer. */
  async #write(id: string, adapter: Adapter): Promise<void> {
    const folder = await this.#folder();
    if (folder === undefined) return;
    const { directory, files } = folder;
    const name = this.#nameOf(id);
    const partial = join(directory, `${name}.partial`);
    const bytes = await encode(adapter);
    try {
      await writeFile(partial, bytes);
      await rename(partial, join(directory, name));
    } catch {
      await rm(partial, { force: true });
      return;
    }
    const gone = files.put(name, null, bytes.length);
    this.counts.diskEvictions += gone.length;
    for (const old of gone) await rm(join(directory, old), { force: true });
  }
}
