// The door of the network folder: what the rest of the node may use.
export type { Received } from './block-fetch.ts';
export type { Blocks, GetOptions } from './blocks.ts';
export type { HostEvent, Sender } from './core.ts';
export type { CounterLabel, CounterName, Counters } from './counters.ts';
export type { NetworkError, NetworkErrorCode } from './errors.ts';
export type { Decoded, Gossip, TopicSpec, Verdict } from './gossip.ts';
export { type Host, type HostConfig, startHost } from './host.ts';
export { addressOfPeer, type Identity } from './key.ts';
export { type NetworkName, type NetworkPreset, networkPreset } from './preset.ts';
export type { Peer } from './roster.ts';
export type { CallOptions, Rpc, StreamOptions } from './rpc.ts';
export type { Handler, ServeOptions } from './rpc-answer.ts';
