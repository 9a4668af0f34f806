// The network's settings as data. What only loopback needs is in the local preset alone; a test
// holds the other presets to the library's defaults.

export type NetworkName = 'local' | 'testnet' | 'mainnet';

export type NetworkPreset = {
  readonly name: NetworkName;
  /** Interface to listen on. */
  readonly listenHost: string;
  /** Gossip score weight for many peers behind one IP; 0 switches the penalty off. */
  readonly ipColocationWeight: number;
  /** Inbound connections accepted per second from one IP. */
  readonly inboundConnectionsPerSecondMax: number;
  readonly inboundPendingMax: number;
  /** Whether private and loopback addresses are announced and kept in the DHT. */
  readonly privateAddressesAnnounced: boolean;
  /** Whether to serve the DHT without having been seen on a public address. */
  readonly dhtServerAlways: boolean;
  /**
   * Whether a connection that misses its pings is closed. A dead process on the same machine is
   * seen at once by TCP, while a training node may not answer for seconds; across the internet a
   * silent peer is the only sign there is.
   */
  readonly silentPeersDropped: boolean;
  readonly discoveryIntervalMs: number;
  /** Discovery stops dialling at this many peers. */
  readonly peersTarget: number;
  readonly connectionsMax: number;
  /** For how long a peer that was hung up on is refused. */
  readonly banMs: number;
  /**
   * How long gossip remembers message ids. Longer than the library's two minutes: a node whose
   * thread was busy that long would otherwise look as if it replayed what its socket had buffered.
   */
  readonly gossipSeenTtlMs: number;
  readonly gossipHeartbeatMs: number;
};

const mainnet: NetworkPreset = {
  name: 'mainnet',
  listenHost: '0.0.0.0',
  ipColocationWeight: -5,
  inboundConnectionsPerSecondMax: 5,
  inboundPendingMax: 10,
  privateAddressesAnnounced: false,
  dhtServerAlways: false,
  silentPeersDropped: true,
  discoveryIntervalMs: 30_000,
  peersTarget: 50,
  connectionsMax: 300,
  banMs: 60 * 60_000,
  gossipSeenTtlMs: 10 * 60_000,
  gossipHeartbeatMs: 1_000,
};

const presets: Readonly<Record<NetworkName, NetworkPreset>> = {
  mainnet,
  testnet: { ...mainnet, name: 'testnet', discoveryIntervalMs: 10_000, banMs: 10 * 60_000 },
  local: {
    ...mainnet,
    name: 'local',
    listenHost: '127.0.0.1',
    ipColocationWeight: 0,
    inboundConnectionsPerSecondMax: 100_000,
    inboundPendingMax: 1_000,
    privateAddressesAnnounced: true,
    dhtServerAlways: true,
    silentPeersDropped: false,
    discoveryIntervalMs: 3_000,
    peersTarget: 24,
    banMs: 60_000,
  },
};

/** The settings that only loopback needs. Outside `local` they equal the library's defaults. */
export const loopbackOnlySettings = [
  'ipColocationWeight',
  'inboundConnectionsPerSecondMax',
  'inboundPendingMax',
  'privateAddressesAnnounced',
  'dhtServerAlways',
  'silentPeersDropped',
] as const satisfies readonly (keyof NetworkPreset)[];

/** The settings of a network by name. */
export function networkPreset(name: NetworkName): NetworkPreset {
  return presets[name];
}
