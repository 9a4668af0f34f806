// The node's place in the network: one libp2p node with Helia on it, from one key and one data
// directory. Nothing of libp2p leaves this folder.
import { gossipsub } from '@chainsafe/libp2p-gossipsub';
import { withBitswap } from '@helia/bitswap';
import { type HeliaWithLibp2p, withLibp2pLight } from '@helia/libp2p';
import * as dagCbor from '@ipld/dag-cbor';
import { identify } from '@libp2p/identify';
import type { PeerId } from '@libp2p/interface';
import { setMaxListeners } from '@libp2p/interface';
import { kadDHT, passthroughMapper, removePrivateAddressesMapper } from '@libp2p/kad-dht';
import { noise } from '@libp2p/noise';
import { peerIdFromString } from '@libp2p/peer-id';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { isPrivate } from '@libp2p/utils';
import { yamux } from '@libp2p/yamux';
import { createHeliaLight } from 'helia';
import { createBlockFetcher, serveBlocks } from './block-fetch.ts';
import { type Blocks, createBlocks } from './blocks.ts';
import type { Core, HostEvent, Services } from './core.ts';
import { type Counters, createCounters } from './counters.ts';
import { parseAddress, startDiscovery } from './discovery.ts';
import { NetworkError, systemCodeOf } from './errors.ts';
import { createGossip, type Gossip } from './gossip.ts';
import { gossipSettings } from './gossip-settings.ts';
import { type Identity, identityFromPrivateKey, libp2pKey, useNativeSecp256k1 } from './key.ts';
import type { NetworkPreset } from './preset.ts';
import { createRoster, type Peer } from './roster.ts';
import { createRpc, type Rpc } from './rpc.ts';
import { createStanding, GRAYLIST_SCORE, type Standing } from './standing.ts';
import { openStores, type Stores } from './store.ts';

/** Our own DHT, apart from the public one. */
export const DHT_PROTOCOL = '/openledger/kad/1.0.0';
/**
 * A paused stream still receives up to its window, and the library breaks a stream that holds
 * more than 4 MiB unread; its own limit of the window is 16 MiB.
 */
const STREAM_WINDOW_BYTES_MAX = 1024 * 1024;
/** For a connection or a stream to be agreed on: a busy machine with several nodes needs more than libp2p's 10 s. */
const HANDSHAKE_TIMEOUT_MS = 30_000;
const AGENT = 'openledger-swarm/0.1.0';

export type HostConfig = {
  /** 32 bytes; the peer id and the Ethereum address come from it. */
  readonly privateKey: Uint8Array;
  /** Blocks go to `blocks/`, addresses, DHT records and pins to `records/` below it. */
  readonly dataDir: string;
  readonly preset: NetworkPreset;
  /** Default 0: any free port. */
  readonly port?: number;
  /** Addresses to join through; one that answers is enough. Empty for the first node. */
  readonly bootstrap: readonly string[];
  /** All topics this node may take, because scoring has to know them at the start. */
  readonly topics: readonly string[];
  readonly onEvent?: (event: HostEvent) => void;
};

export type Host = {
  readonly peerId: string;
  /** Ethereum address of the same key. */
  readonly address: string;
  readonly counters: Counters;
  readonly gossip: Gossip;
  readonly rpc: Rpc;
  readonly blocks: Blocks;
  /** Where others reach us, with our peer id at the end. */
  listenAddresses(): readonly string[];
  /** Connected peers that have identified themselves. */
  peers(): readonly Peer[];
  /** Resolves when at least `count` peers are connected and identified. */
  waitForPeers(count: number, signal: AbortSignal): Promise<void>;
  /** Connects to an address. @throws NetworkError NETWORK_PEER_UNREACHABLE, NETWORK_ADDRESS_INVALID. */
  connect(address: string): Promise<void>;
  /** What the peer's gossip score is now; 0 for strangers, below -80 it is hung up on. */
  scoreOf(peerId: string): number;
  /** Counts a refusal and takes points from a peer for something it sent outside gossip. */
  penalise(peerId: string, code: string, points: number): void;
  /** Ends everything and frees the data directory; may be called twice. */
  close(): Promise<void>;
};

/**
 * Opens the stores, listens, and starts to look for peers; returns as soon as we listen.
 * @throws NetworkError NETWORK_KEY_INVALID, NETWORK_ADDRESS_INVALID, NETWORK_PORT_IN_USE,
 * NETWORK_LISTEN_FAILED, NETWORK_STORE_LOCKED, NETWORK_STORE_CORRUPT or STORE_DISK_FULL.
 */
export async function startHost(config: HostConfig): Promise<Host> {
  useNativeSecp256k1();
  const identity = identityFromPrivateKey(config.privateKey);
  const bootstrap = config.bootstrap.map(parseAddress);
  const counters = createCounters();
  const standing = createStanding();
  const emit = config.onEvent ?? (() => undefined);
  const stores = await openStores(config.dataDir, (cid) => {
    counters.add('blocks_corrupt');
    counters.add('refused', { code: 'BLOCK_CORRUPT' });
    emit({ type: 'blockCorrupt', cid: cid.toString() });
  });
  if (stores.repaired) {
    counters.add('store_repaired');
    emit({ type: 'storeRepaired', directory: config.dataDir });
  }
  const helia = buildHelia(config, identity, stores, counters, standing);
  try {
    await helia.start();
  } catch (error) {
    await helia.stop().catch(() => undefined);
    await stores.close();
    throw listenFailure(config, error);
  }
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const core: Core = {
    libp2p: helia.libp2p,
    identity,
    preset: config.preset,
    counters,
    closing: stop.signal,
    emit,
    refuse: (peerId, code, points) => {
      counters.add('refused', { code });
      if (points === 0) return;
      counters.add('penalties', { code });
      const total = standing.penalise(peerId, points, Date.now());
      if (-total < GRAYLIST_SCORE) hangUp(core, standing, peerId, code);
    },
  };
  const rpc = createRpc(core);
  await serveBlocks(rpc, stores.blockstore);
  const fetcher = createBlockFetcher(core, helia, stores.blockstore, rpc);
  hangUpOnGraylisted(core, standing);
  const roster = await createRoster(core);
  startDiscovery(core, bootstrap);
  let closed: Promise<void> | undefined;
  const close = async () => {
    stop.abort(closedError());
    await helia.stop();
    await stores.close();
  };
  return {
    peerId: identity.peerId,
    address: identity.address,
    counters,
    gossip: createGossip(core, config.topics),
    rpc,
    blocks: createBlocks(core, helia, stores.blockstore, fetcher),
    listenAddresses: () => helia.libp2p.getMultiaddrs().map((address) => address.toString()),
    peers: roster.peers,
    waitForPeers: roster.waitForPeers,
    connect: (address) => connect(core, address),
    scoreOf: (peerId) => scoreOf(core, peerId),
    penalise: core.refuse,
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

function buildHelia(
  { preset, port = 0, topics }: HostConfig,
  identity: Identity,
  { blockstore, datastore }: Stores,
  counters: Counters,
  standing: Standing,
): HeliaWithLibp2p<Services> {
  const light = createHeliaLight({ codecs: [dagCbor], blockstore, datastore });
  const banned = (peer: PeerId) => standing.isBanned(peer.toString(), Date.now());
  const scorePenalties = (peerId: string) => standing.scoreOf(peerId, Date.now());
  const withNode = withLibp2pLight(light, {
    // Without it libp2p would make a key of its own and keep it in the datastore.
    privateKey: libp2pKey(identity.privateKey),
    datastore,
    nodeInfo: { name: 'openledger-swarm', version: '0.1.0', userAgent: AGENT },
    addresses: {
      listen: [`/ip4/${preset.listenHost}/tcp/${port}`],
      ...(preset.privateAddressesAnnounced
        ? {}
        : { announceFilter: (addresses) => addresses.filter((at) => !isPrivate(at)) }),
    },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ streamOptions: { maxStreamWindowSize: STREAM_WINDOW_BYTES_MAX } })],
    connectionManager: {
      maxConnections: preset.connectionsMax,
      inboundConnectionThreshold: preset.inboundConnectionsPerSecondMax,
      maxIncomingPendingConnections: preset.inboundPendingMax,
      inboundUpgradeTimeout: HANDSHAKE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: HANDSHAKE_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: HANDSHAKE_TIMEOUT_MS,
    },
    connectionMonitor: { abortConnectionOnPingFailure: preset.silentPeersDropped },
    connectionGater: {
      denyDialPeer: banned,
      denyInboundEncryptedConnection: banned,
    },
    services: {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol: DHT_PROTOCOL,
        // Left unset, the DHT serves once it has seen itself on a public address.
        ...(preset.dhtServerAlways ? { clientMode: false } : {}),
        peerInfoMapper: preset.privateAddressesAnnounced
          ? passthroughMapper
          : removePrivateAddressesMapper,
        // Otherwise every question of a lonely node waits for its first neighbour.
        allowQueryWithZeroPeers: true,
      }),
      gossip: gossipsub(gossipSettings(preset, topics, counters, scorePenalties)),
    },
  });
  return withBitswap(withNode as unknown as HeliaWithLibp2p<Services>);
}

function listenFailure({ preset, port = 0 }: HostConfig, error: unknown): unknown {
  const name = error instanceof Error ? error.name : '';
  const address = `${preset.listenHost}:${port}`;
  const code = systemCodeOf(error);
  if (code === 'EADDRINUSE') {
    const message = `expected ${address} to be free, but another program listens there; stop it or choose another port`;
    return new NetworkError('NETWORK_PORT_IN_USE', { address }, message, error);
  }
  if (name !== 'UnsupportedListenAddressesError') return error;
  const message = `expected to listen on ${address}, got ${code ?? 'a refusal'}; choose another port or interface`;
  return new NetworkError('NETWORK_LISTEN_FAILED', { address }, message, error);
}

function closedError(): NetworkError {
  const message = 'expected an open host, got one that is closing';
  return new NetworkError('NETWORK_CLOSED', { operation: 'close' }, message);
}

/** gossipsub has the score as a method that its published type leaves out. */
function scoreOf(core: Core, peerId: string): number {
  const { gossip } = core.libp2p.services as unknown as {
    gossip: { getScore(peerId: string): number };
  };
  return gossip.getScore(peerId);
}

/** A graylisted peer is ignored by gossipsub but stays connected; we hang up. */
function hangUpOnGraylisted(core: Core, standing: Standing): void {
  const { libp2p } = core;
  libp2p.services.gossip.addEventListener('gossipsub:heartbeat', () => {
    for (const peer of libp2p.getPeers()) {
      const peerId = peer.toString();
      if (scoreOf(core, peerId) < GRAYLIST_SCORE) hangUp(core, standing, peerId, 'GOSSIP_SCORE');
    }
  });
}

function hangUp(core: Core, standing: Standing, peerId: string, reason: string): void {
  const nowMs = Date.now();
  if (standing.isBanned(peerId, nowMs)) return;
  standing.ban(peerId, nowMs + core.preset.banMs);
  core.counters.add('bans');
  core.emit({ type: 'peerBanned', peerId, reason });
  core.libp2p
    .hangUp(peerIdFromString(peerId), { signal: AbortSignal.timeout(5_000) })
    .catch((error: unknown) => core.emit({ type: 'handlerFailed', where: 'hang up', error }));
}

async function connect(core: Core, address: string): Promise<void> {
  const target = parseAddress(address);
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS), core.closing]);
    await core.libp2p.dial(target, { signal });
  } catch (cause) {
    const peerId = target.getComponents().find(({ name }) => name === 'p2p')?.value ?? address;
    const message = `expected a node at ${address}, got no connection; check that it runs and that the address is right`;
    throw new NetworkError('NETWORK_PEER_UNREACHABLE', { peerId }, message, cause);
  }
}
