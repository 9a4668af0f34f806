// What the parts of this folder share: the libp2p node and the books kept about peers. It stays
// inside the folder; the rest of the program sees only Host.
import type { GossipSub } from '@chainsafe/libp2p-gossipsub';
import type { Libp2p } from '@libp2p/interface';
import type { KadDHT } from '@libp2p/kad-dht';
import type { Counters } from './counters.ts';
import type { Identity } from './key.ts';
import type { NetworkPreset } from './preset.ts';

/** gossipsub and the DHT as libp2p services; identify and ping are used by libp2p itself. */
export type Services = { readonly gossip: GossipSub; readonly dht: KadDHT } & Record<
  string,
  unknown
>;

/** Who sent something: a peer id and the address that its key has on chain. */
export type Sender = { readonly peerId: string; readonly address: string };

/** What the host tells its owner; nothing here needs an answer. */
export type HostEvent =
  | { readonly type: 'peerConnected'; readonly peer: Sender }
  | { readonly type: 'peerDisconnected'; readonly peerId: string }
  | { readonly type: 'peerBanned'; readonly peerId: string; readonly reason: string }
  | { readonly type: 'blockCorrupt'; readonly cid: string }
  | { readonly type: 'storeRepaired'; readonly directory: string }
  | { readonly type: 'handlerFailed'; readonly where: string; readonly error: unknown };

export type Core = {
  readonly libp2p: Libp2p<Services>;
  readonly identity: Identity;
  readonly preset: NetworkPreset;
  readonly counters: Counters;
  /** Aborted when the host closes. */
  readonly closing: AbortSignal;
  /** Counts a refusal and takes points from the peer that caused it. */
  readonly refuse: (peerId: string, code: string, points: number) => void;
  readonly emit: (event: HostEvent) => void;
};
