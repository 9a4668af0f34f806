// Fetches one missing block: bitswap first, and after a moment also our own stream protocol, asked
// of whoever should have it. The first whole, verified copy wins.
import type { HeliaWithLibp2p } from '@helia/libp2p';
import { setMaxListeners } from '@libp2p/interface';
import { CID } from 'multiformats/cid';
import { hashesTo, type VerifiedBlockstore } from './block-store.ts';
import type { Core, Services } from './core.ts';
import { isNetworkError, NetworkError } from './errors.ts';
import { findProviders, peerCids } from './providers.ts';
import type { Rpc } from './rpc.ts';
import { PENALTY } from './standing.ts';

export const BLOCK_PROTOCOL = '/openledger/block/1';
const BLOCK_BYTES_MAX = 4 * 1024 * 1024;
const CID_BYTES_MAX = 128;
/** bitswap delivers within a second on an idle machine; past this somebody is asked directly. */
const DIRECT_AFTER_MS = 1_500;
const ROUND_PAUSE_MS = 1_000;
const ASK_TIMEOUT_MS = 10_000;
const DHT_TIMEOUT_MS = 2_000;
const PEERS_ASKED_MAX = 8;
/** Blocks whose way here is remembered. */
const RECEIVED_MAX = 10_000;

/** How a block came here; absent for what was put here or was here before the start. */
export type Received = {
  readonly via: 'bitswap' | 'stream';
  readonly from: string;
  readonly bytes: number;
};

export type FetchOptions = {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly from: readonly string[];
};

export type BlockFetcher = {
  fetch(cid: CID, options: FetchOptions): Promise<Uint8Array>;
  /** By CID string. */
  readonly received: ReadonlyMap<string, Received>;
};

type Shared = {
  readonly result: Promise<Uint8Array>;
  readonly stop: AbortController;
  waiting: number;
};

export function createBlockFetcher(
  core: Core,
  helia: HeliaWithLibp2p<Services>,
  store: VerifiedBlockstore,
  rpc: Rpc,
): BlockFetcher {
  const received = new Map<string, Received>();
  const running = new Map<string, Shared>();
  const arrived = (cid: CID, how: Received) => {
    if (received.size >= RECEIVED_MAX) received.clear();
    received.set(cid.toString(), how);
    core.counters.add('blocks_received', { via: how.via });
  };

  const start = (cid: CID, from: readonly string[]): Shared => {
    const key = cid.toString();
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, core.closing]);
    setMaxListeners(0, signal);
    const work = { core, helia, store, rpc, cid, from, signal, arrived };
    const result = race(work).finally(() => {
      running.delete(key);
      stop.abort();
    });
    result.catch(() => undefined);
    const shared = { result, stop, waiting: 0 };
    running.set(key, shared);
    return shared;
  };

  return {
    received,
    // Callers share one fetch per block: bitswap keeps one want per CID, and a caller that gave up
    // would cancel it for the others.
    async fetch(cid, { timeoutMs, signal, from }) {
      signal?.throwIfAborted();
      const shared = running.get(cid.toString()) ?? start(cid, from);
      shared.waiting += 1;
      try {
        return await within(shared.result, cid, timeoutMs, signal);
      } finally {
        shared.waiting -= 1;
        if (shared.waiting === 0) shared.stop.abort();
      }
    },
  };
}

type Work = {
  readonly core: Core;
  readonly helia: HeliaWithLibp2p<Services>;
  readonly store: VerifiedBlockstore;
  readonly rpc: Rpc;
  readonly cid: CID;
  readonly from: readonly string[];
  readonly signal: AbortSignal;
  readonly arrived: (cid: CID, how: Received) => void;
};

function race(work: Work): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const ways = [overBitswap(work), overStreams(work)].map((way) =>
      way.catch((error: unknown) => {
        // The other way would meet the same disk.
        if (isNetworkError(error, 'STORE_DISK_FULL')) reject(error);
        throw error;
      }),
    );
    Promise.any(ways).then(resolve, reject);
  });
}

async function overBitswap(work: Work): Promise<Uint8Array> {
  const { helia, cid, signal } = work;
  let sender = 'unknown';
  const parts: Uint8Array[] = [];
  const blocks = helia.blockstore.get(cid, {
    signal,
    providers: peerCids(work.from),
    onProgress: (event) => {
      // bitswap's own events pass through Helia, whose type does not list them.
      const { type, detail } = event as { type: string; detail: unknown };
      if (type !== 'bitswap:block') return;
      const block = detail as { cid: CID; sender: { toString(): string } };
      if (block.cid.equals(cid)) sender = block.sender.toString();
    },
  });
  for await (const part of blocks) parts.push(part);
  const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  if (sender !== 'unknown') {
    work.arrived(cid, { via: 'bitswap', from: sender, bytes: bytes.length });
  }
  return bytes;
}

async function overStreams(work: Work): Promise<Uint8Array> {
  const { core, cid, signal, store } = work;
  await pause(DIRECT_AFTER_MS, signal);
  for (;;) {
    const asked = new Set<string>();
    for await (const peerId of candidates(core, cid, work.from)) {
      if (asked.has(peerId)) continue;
      if (asked.size >= PEERS_ASKED_MAX) break;
      asked.add(peerId);
      const bytes = await ask(work, peerId);
      if (bytes === undefined) continue;
      await store.put(cid, bytes);
      work.arrived(cid, { via: 'stream', from: peerId, bytes: bytes.length });
      return bytes;
    }
    await pause(ROUND_PAUSE_MS, signal);
  }
}

/** Who may have it, the likeliest and cheapest to ask first. */
async function* candidates(core: Core, cid: CID, from: readonly string[]): AsyncGenerator<string> {
  yield* from;
  yield* await findProviders(core, cid, DHT_TIMEOUT_MS);
  yield* core.libp2p.getPeers().map((peer) => peer.toString());
}

/** The block from one peer, or undefined for whatever reason it did not come. */
async function ask(work: Work, peerId: string): Promise<Uint8Array | undefined> {
  const { core, cid, rpc, signal } = work;
  try {
    const bytes = await rpc.call(peerId, BLOCK_PROTOCOL, cid.bytes, {
      timeoutMs: ASK_TIMEOUT_MS,
      maxResponseBytes: BLOCK_BYTES_MAX,
      signal,
    });
    if (hashesTo(cid, bytes)) return bytes;
    core.refuse(peerId, 'BLOCK_WRONG', PENALTY.wrongBlock);
  } catch {
    signal.throwIfAborted();
  }
  return undefined;
}

/** Serves blocks we hold to peers that ask for them directly; never fetches on their behalf. */
export async function serveBlocks(rpc: Rpc, store: VerifiedBlockstore): Promise<void> {
  await rpc.serve(BLOCK_PROTOCOL, {
    maxRequestBytes: CID_BYTES_MAX,
    async handler(request) {
      const cid = decodeCid(request);
      const bytes = cid === undefined ? undefined : await store.read(cid);
      if (bytes !== undefined) return bytes;
      const details = { cid: String(cid), timeoutMs: 0 };
      throw new NetworkError('BLOCK_NOT_FOUND', details, 'this peer does not have that block');
    },
  });
}

function decodeCid(bytes: Uint8Array): CID | undefined {
  try {
    return CID.decode(bytes);
  } catch {
    return undefined;
  }
}

function within(
  result: Promise<Uint8Array>,
  cid: CID,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const notFound = (cause?: unknown) => {
      const text = cid.toString();
      const message = `expected block ${text} within ${timeoutMs} ms, but no connected peer or provider delivered it`;
      const details = { cid: text, timeoutMs };
      return new NetworkError('BLOCK_NOT_FOUND', details, message, cause);
    };
    const timer = setTimeout(() => reject(notFound()), timeoutMs);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    result
      .then(resolve, (error) => reject(error instanceof NetworkError ? error : notFound(error)))
      .finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      });
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
