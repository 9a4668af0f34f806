// Content by CID: put, fetch over bitswap with our own stream protocol behind it, verify always,
// announce in the DHT. Large content is a dag-cbor manifest over raw chunks.
import { createHash } from 'node:crypto';
import type { HeliaWithLibp2p } from '@helia/libp2p';
import * as dagCbor from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import * as raw from 'multiformats/codecs/raw';
import * as Digest from 'multiformats/hashes/digest';
import type { BlockFetcher, Received } from './block-fetch.ts';
import type { VerifiedBlockstore } from './block-store.ts';
import type { Core, Services } from './core.ts';
import { NetworkError } from './errors.ts';
import { findProviders } from './providers.ts';

/** A bitswap message holds 4 MiB; chunks of 1 MiB measured fastest. */
export const BLOCK_BYTES_MAX = 2 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const CHUNKS_AT_ONCE = 4;
const MANIFEST_KIND = 'openledger-file/1';
const FETCH_TIMEOUT_MS = 30_000;
const PROVIDE_TIMEOUT_MS = 10_000;

export type GetOptions = {
  /** Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Peers known to have it; asked first. */
  readonly from?: readonly string[];
};

export type Blocks = {
  /** Stores one block of at most 2 MiB; returns its CID (version 1, sha2-256, base32). */
  put(bytes: Uint8Array, options: { readonly codec: 'raw' | 'dag-cbor' }): Promise<string>;
  /** Stores bytes of any length as chunks; returns the CID of their manifest. */
  putLarge(bytes: Uint8Array): Promise<string>;
  /**
   * One block, from here or from whoever has it; its hash has been checked.
   * @throws NetworkError BLOCK_NOT_FOUND when nobody delivered it in time, STORE_DISK_FULL,
   * BLOCK_CID_INVALID.
   */
  get(cid: string, options?: GetOptions): Promise<Uint8Array>;
  /** What `putLarge` stored. @throws as `get`, and BLOCK_MANIFEST_INVALID. */
  getLarge(cid: string, options?: GetOptions): Promise<Uint8Array>;
  /** Whether the block is here, without reading it. */
  has(cid: string): Promise<boolean>;
  /** Keeps the block and everything it links to, fetching what is missing. */
  pin(cid: string, options?: GetOptions): Promise<void>;
  isPinned(cid: string): Promise<boolean>;
  /** Announces in the DHT that we have it; true when at least one peer took the record. */
  provide(cid: string): Promise<boolean>;
  /** Peers that announced it, ourselves excluded; empty when nobody is known within the time. */
  findProviders(
    cid: string,
    options?: { readonly timeoutMs?: number; readonly countMax?: number },
  ): Promise<readonly string[]>;
  /** How the block came here over the network, since the start. */
  received(cid: string): Received | undefined;
};

export function createBlocks(
  core: Core,
  helia: HeliaWithLibp2p<Services>,
  store: VerifiedBlockstore,
  fetcher: BlockFetcher,
): Blocks {
  const putBlock = async (bytes: Uint8Array, codec: number): Promise<CID> => {
    if (bytes.length > BLOCK_BYTES_MAX) {
      const details = { bytes: bytes.length, maxBytes: BLOCK_BYTES_MAX };
      const message = `expected a block of at most ${BLOCK_BYTES_MAX} bytes, got ${bytes.length}; use putLarge`;
      throw new NetworkError('BLOCK_TOO_LARGE', details, message);
    }
    const cid = cidOf(bytes, codec);
    // Through Helia, so that peers waiting for this block get it now.
    await helia.blockstore.put(cid, bytes as Uint8Array<ArrayBuffer>);
    core.counters.add('blocks_put');
    return cid;
  };
  const getBlock = async (cid: CID, options: GetOptions): Promise<Uint8Array> =>
    (await store.read(cid)) ??
    (await fetcher.fetch(cid, {
      timeoutMs: options.timeoutMs ?? FETCH_TIMEOUT_MS,
      signal: options.signal,
      from: options.from ?? [],
    }));

  return {
    put: async (bytes, { codec }) =>
      (await putBlock(bytes, codec === 'raw' ? raw.code : dagCbor.code)).toString(),
    async putLarge(bytes) {
      const chunks: CID[] = [];
      for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
        chunks.push(await putBlock(bytes.subarray(start, start + CHUNK_BYTES), raw.code));
      }
      const manifest = { kind: MANIFEST_KIND, bytes: bytes.length, chunks };
      return (await putBlock(dagCbor.encode(manifest), dagCbor.code)).toString();
    },
    get: async (cid, options = {}) => getBlock(parseCid(cid), options),
    async getLarge(cid, options = {}) {
      const manifest = parseManifest(cid, await getBlock(parseCid(cid), options));
      const target = new Uint8Array(manifest.bytes);
      let next = 0;
      const work = async () => {
        for (let index = next++; index < manifest.chunks.length; index = next++) {
          const chunk = await getBlock(manifest.chunks[index]!, options);
          const start = index * CHUNK_BYTES;
          if (chunk.length !== Math.min(CHUNK_BYTES, manifest.bytes - start)) {
            throw manifestInvalid(cid, `chunk ${index} of another length`);
          }
          target.set(chunk, start);
        }
      };
      await Promise.all(Array.from({ length: CHUNKS_AT_ONCE }, work));
      return target;
    },
    has: async (cid) => store.has(parseCid(cid)),
    async pin(cid, options = {}) {
      const root = parseCid(cid);
      if (await helia.pins.isPinned(root)) return;
      // Fetched our way first; the walk then finds everything here.
      await fetchAll(root, (at) => getBlock(at, options));
      for await (const _block of helia.pins.add(root));
    },
    isPinned: async (cid) => helia.pins.isPinned(parseCid(cid)),
    async provide(cid) {
      const parsed = parseCid(cid);
      const signal = AbortSignal.any([AbortSignal.timeout(PROVIDE_TIMEOUT_MS), core.closing]);
      try {
        let taken = false;
        for await (const event of core.libp2p.services.dht.provide(parsed, { signal })) {
          if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') taken = true;
        }
        return taken;
      } catch {
        // No peer in time: the record is kept here and announced again by the DHT's own schedule.
        return false;
      }
    },
    findProviders: async (cid, options = {}) =>
      findProviders(core, parseCid(cid), options.timeoutMs ?? 5_000, options.countMax),
    received: (cid) => fetcher.received.get(parseCid(cid).toString()),
  };
}

/** @throws NetworkError BLOCK_CID_INVALID unless it is a CID whose hash we can check. */
export function parseCid(text: string): CID {
  const refuse = (cause?: unknown) => {
    const message = `expected a CID with a sha2-256 hash, got ${text.slice(0, 100)}`;
    return new NetworkError('BLOCK_CID_INVALID', { cid: text.slice(0, 100) }, message, cause);
  };
  let cid: CID;
  try {
    cid = CID.parse(text);
  } catch (cause) {
    throw refuse(cause);
  }
  if (cid.multihash.code !== SHA2_256) throw refuse();
  return cid;
}

const SHA2_256 = 0x12;

function cidOf(bytes: Uint8Array, codec: number): CID {
  const digest = createHash('sha256').update(bytes).digest();
  return CID.createV1(codec, Digest.create(SHA2_256, digest));
}

async function fetchAll(cid: CID, get: (cid: CID) => Promise<Uint8Array>): Promise<void> {
  const bytes = await get(cid);
  if (cid.code !== dagCbor.code) return;
  for (const link of linksOf(dagCbor.decode(bytes))) await fetchAll(link, get);
}

function* linksOf(value: unknown): Generator<CID> {
  const cid = CID.asCID(value);
  if (cid !== null) yield cid;
  else if (Array.isArray(value)) for (const item of value) yield* linksOf(item);
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    for (const item of Object.values(value)) yield* linksOf(item);
  }
}

type Manifest = { readonly bytes: number; readonly chunks: readonly CID[] };

function parseManifest(cid: string, block: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = dagCbor.decode(block);
  } catch {
    throw manifestInvalid(cid, 'bytes that are not dag-cbor');
  }
  const { kind, bytes, chunks } = (value ?? {}) as Record<string, unknown>;
  if (kind !== MANIFEST_KIND || !Array.isArray(chunks) || !Number.isSafeInteger(bytes)) {
    throw manifestInvalid(cid, 'something else');
  }
  const length = bytes as number;
  if (length < 0 || chunks.length !== Math.ceil(length / CHUNK_BYTES)) {
    throw manifestInvalid(cid, `${chunks.length} chunks for ${length} bytes`);
  }
  const links = chunks.map((chunk) => CID.asCID(chunk));
  if (!links.every((link) => link !== null)) throw manifestInvalid(cid, 'chunks that are no CIDs');
  return { bytes: length, chunks: links };
}

function manifestInvalid(cid: string, got: string): NetworkError {
  const message = `expected a manifest written by putLarge at ${cid}, got ${got}`;
  return new NetworkError('BLOCK_MANIFEST_INVALID', { cid }, message);
}
