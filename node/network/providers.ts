// Who has a block, as far as the DHT says.
import { peerIdFromString } from '@libp2p/peer-id';
import type { CID } from 'multiformats/cid';
import type { Core } from './core.ts';

const PROVIDERS_MAX = 20;

/** Peers that say they have the block, as far as the DHT answers in time. */
export async function findProviders(
  core: Core,
  cid: CID,
  timeoutMs: number,
  countMax = PROVIDERS_MAX,
): Promise<string[]> {
  const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), core.closing]);
  const found = new Set<string>();
  try {
    for await (const event of core.libp2p.services.dht.findProviders(cid, { signal })) {
      if (event.name !== 'PROVIDER' && event.name !== 'PEER_RESPONSE') continue;
      for (const { id, multiaddrs } of event.providers) {
        const peerId = id.toString();
        if (peerId === core.identity.peerId) continue;
        if (multiaddrs.length > 0) await core.libp2p.peerStore.merge(id, { multiaddrs });
        found.add(peerId);
      }
      if (found.size >= countMax) break;
    }
  } catch {
    // Out of time or out of peers: what was found is the answer.
  }
  return [...found].slice(0, countMax);
}

/** Peer ids in the form that bitswap dials; what does not parse is left out. */
export function peerCids(peerIds: readonly string[]) {
  return peerIds.flatMap((peerId) => {
    try {
      return [peerIdFromString(peerId).toCID()];
    } catch {
      return [];
    }
  });
}
