/** Where a revealed contribution's shards are: their CIDs, for nodes that replicate the datanet. */
import { hash32, link, list, uint, type ValueOf } from '../codec.ts';
import { defineGossip } from './message.ts';

const shape = {
  contributionId: uint(),
  datanetId: hash32,
  manifest: link(),
  sentAtMs: uint(),
  /** The first of the manifest's shards; the manifest has all. */
  shards: list(link(), 1024),
};

/** 1,024 CIDs of 41 bytes and the rest. */
export const shardsAnnouncement = defineGossip('/openledger/shards/1', shape, 45_056);
export type ShardsAnnouncement = {
  readonly [Name in keyof typeof shape]: ValueOf<(typeof shape)[Name]>;
};
