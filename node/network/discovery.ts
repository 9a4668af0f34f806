// Finds peers: the bootstrap address when lonely, everybody else through the DHT.
import type { PeerId } from '@libp2p/interface';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { Core } from './core.ts';
import { NetworkError } from './errors.ts';

/** A young node looks often, because its first neighbours arrive within seconds. */
const FIRST_INTERVAL_MS = 500;
/** While nobody is there, the bootstrap addresses are tried at up to this interval. */
const LONELY_INTERVAL_MS_MAX = 5_000;
const QUERY_TIMEOUT_MS = 5_000;
const DIAL_TIMEOUT_MS = 10_000;
const DIALS_AT_ONCE = 8;

/** @throws NetworkError NETWORK_ADDRESS_INVALID for what is not a multiaddr with a TCP port. */
export function parseAddress(address: string): Multiaddr {
  const refuse = (cause?: unknown) => {
    const message = `expected an address like /ip4/203.0.113.7/tcp/4001/p2p/16Uiu2HA…, got ${address}`;
    return new NetworkError('NETWORK_ADDRESS_INVALID', { address }, message, cause);
  };
  let parsed: Multiaddr;
  try {
    parsed = multiaddr(address);
  } catch (cause) {
    throw refuse(cause);
  }
  if (!parsed.getComponents().some(({ name }) => name === 'tcp')) throw refuse();
  return parsed;
}

/** Looks for peers until the host closes. */
export function startDiscovery(core: Core, bootstrap: readonly Multiaddr[]): void {
  const { libp2p, preset, closing } = core;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let intervalMs = FIRST_INTERVAL_MS;
  closing.addEventListener('abort', () => clearTimeout(timer));

  const round = async () => {
    const lonely = libp2p.getPeers().length === 0;
    if (lonely) await dialAll(core, bootstrap);
    if (libp2p.getPeers().length < preset.peersTarget) await dialFound(core);
    if (closing.aborted) return;
    const stillLonely = libp2p.getPeers().length === 0;
    const longest = stillLonely
      ? Math.min(LONELY_INTERVAL_MS_MAX, preset.discoveryIntervalMs)
      : preset.discoveryIntervalMs;
    intervalMs = stillLonely && !lonely ? FIRST_INTERVAL_MS : Math.min(intervalMs * 2, longest);
    schedule();
  };
  const schedule = () => {
    timer = setTimeout(() => {
      round().catch((error: unknown) => {
        core.emit({ type: 'handlerFailed', where: 'discovery', error });
        if (!closing.aborted) schedule();
      });
    }, intervalMs);
    timer.unref();
  };
  // The last neighbour may leave between two rounds; the next round is then due at once.
  libp2p.addEventListener('peer:disconnect', () => {
    if (closing.aborted || libp2p.getPeers().length > 0 || timer === undefined) return;
    intervalMs = FIRST_INTERVAL_MS;
    clearTimeout(timer);
    schedule();
  });
  round().catch((error: unknown) => {
    core.emit({ type: 'handlerFailed', where: 'discovery', error });
    if (!closing.aborted) schedule();
  });
}

async function dialFound(core: Core): Promise<void> {
  const known = new Set(core.libp2p.getPeers().map((peer) => peer.toString()));
  if (known.size === 0) return;
  const found = await closestPeers(core);
  const strangers = found.filter((peer) => !known.has(peer.toString()));
  const room = Math.max(0, core.preset.peersTarget - known.size);
  await dialAll(core, strangers.slice(0, room));
}

async function closestPeers({ libp2p, closing }: Core): Promise<PeerId[]> {
  const signal = AbortSignal.any([AbortSignal.timeout(QUERY_TIMEOUT_MS), closing]);
  const found = new Map<string, PeerId>();
  try {
    const self = libp2p.peerId.toMultihash().bytes;
    for await (const event of libp2p.services.dht.getClosestPeers(self, { signal })) {
      if (event.name !== 'PEER_RESPONSE') continue;
      for (const { id, multiaddrs } of event.closer) {
        if (id.equals(libp2p.peerId) || multiaddrs.length === 0) continue;
        found.set(id.toString(), id);
        await libp2p.peerStore.merge(id, { multiaddrs });
      }
    }
  } catch {
    // Out of time or nobody to ask: the next round tries again.
  }
  return [...found.values()];
}

async function dialAll(core: Core, targets: readonly (PeerId | Multiaddr)[]): Promise<void> {
  const waiting = [...targets];
  const work = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      core.counters.add('dials');
      const signal = AbortSignal.any([AbortSignal.timeout(DIAL_TIMEOUT_MS), core.closing]);
      try {
        await core.libp2p.dial(target, { signal });
      } catch {
        core.counters.add('dials_failed');
      }
    }
  };
  await Promise.all(Array.from({ length: DIALS_AT_ONCE }, work));
}
