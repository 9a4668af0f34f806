// Where adapters come from, nearest first: memory, this machine's disk, and whoever else has them (a
// port that the node fills). Each tier is bounded and lets the least recently used go; one adapter is
// fetched once however many ask. Everything is asynchronous: a cold adapter stalls nobody.
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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
};

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

async function decode(file: Buffer): Promise<Adapter | undefined> {
  if (file.length <= headerBytes || file.length % 4 !== 0) return undefined;
  const body = file.subarray(headerBytes);
  if (!(await digestOf(body)).equals(file.subarray(32, 64))) return undefined;
  const parameters = new Float32Array(body.length / 4);
  new Uint8Array(parameters.buffer).set(body);
  return { rank: file.readDoubleLE(0), alpha: file.readDoubleLE(8), parameters };
}

export class AdapterTiers {
  readonly #sizes: TierSizes;
  readonly #ram = new Map<string, Adapter>();
  #ramBytes = 0;
  /** File name to bytes, least recently used first; undefined until the folder was read. */
  #files: Promise<Map<string, number>> | undefined;
  readonly #coming = new Map<string, Promise<Adapter>>();
  readonly counts: TierCounts = { ram: 0, disk: 0, swarm: 0, damaged: 0 };

  constructor(sizes: TierSizes) {
    this.#sizes = sizes;
  }

  /** @throws ServeError ADAPTER_UNAVAILABLE with the cause, when `fetch` fails */
  get(id: string, fetch: () => Promise<Adapter>): Promise<Adapter> {
    const held = this.#ram.get(id);
    if (held !== undefined) {
      this.counts.ram += 1;
      this.#ram.delete(id);
      this.#ram.set(id, held);
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
    const { byteLength } = adapter.parameters;
    if (byteLength > this.#sizes.ramBytes) return;
    this.#ram.set(id, adapter);
    this.#ramBytes += byteLength;
    for (const [old, { parameters }] of this.#ram) {
      if (this.#ramBytes <= this.#sizes.ramBytes) break;
      this.#ram.delete(old);
      this.#ramBytes -= parameters.byteLength;
    }
  }

  /** Ids are anybody's text, file names are hashes. */
  #nameOf(id: string): string {
    return `${createHash('sha256').update(id).digest('hex')}.lora`;
  }

  async #folder(): Promise<{ directory: string; files: Map<string, number> } | undefined> {
    const { directory } = this.#sizes;
    if (directory === undefined) return undefined;
    this.#files ??= (async () => {
      await mkdir(directory, { recursive: true });
      const names = (await readdir(directory)).filter((name) => name.endsWith('.lora')).sort();
      const sizes = await Promise.all(names.map(async (name) => stat(join(directory, name))));
      return new Map(names.map((name, i) => [name, sizes[i]!.size]));
    })();
    return { directory, files: await this.#files };
  }

  async #read(id: string): Promise<Adapter | undefined> {
    const folder = await this.#folder();
    const name = this.#nameOf(id);
    const size = folder?.files.get(name);
    if (folder === undefined || size === undefined) return undefined;
    const file = await readFile(join(folder.directory, name)).catch(() => Buffer.alloc(0));
    const adapter = await decode(file);
    folder.files.delete(name);
    if (adapter !== undefined) folder.files.set(name, size);
    else this.counts.damaged += 1;
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
    files.set(name, bytes.length);
    let sum = 0;
    for (const size of files.values()) sum += size;
    for (const [old, size] of files) {
      if (sum <= (this.#sizes.diskBytes ?? Number.POSITIVE_INFINITY)) break;
      files.delete(old);
      sum -= size;
      await rm(join(directory, old), { force: true });
    }
  }
}
