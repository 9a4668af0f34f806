// What a node hears by gossip, and to whom it goes: capacities to the directory of providers, receipts to
// the watcher, shards to the mirror.
import { capacityAnnouncement, PRESETS, receiptAnnouncement, shardsAnnouncement } from '#protocol';
import type { Directory } from '../gateway/directory.ts';
import type { Log } from '../log.ts';
import type { Host } from '../network/host.ts';
import type { Watch } from '../watch/watch.ts';
import type { Datanets } from './datanets.ts';

export type TopicParts = {
  readonly host: Host;
  readonly datanets: Datanets;
  readonly log: Log;
  /** The preset says how old or early a message may be. */
  readonly config: { readonly preset: keyof typeof PRESETS };
};

/** Subscribes to every topic; what does not decode or is out of its time window is refused by the codec. */
export function takeTopics(
  { host, datanets, log, config }: TopicParts,
  announced: Directory['announced'],
  heard: Watch['heard'],
): void {
  const window = PRESETS[config.preset];
  host.gossip.topic({
    name: capacityAnnouncement.topic,
    maxBytes: capacityAnnouncement.bytesMax,
    decode: (bytes) => capacityAnnouncement.decode(bytes, Date.now(), window),
    onMessage: async (announcement, from) => {
      await announced(announcement, from);
    },
  });
  host.gossip.topic({
    name: receiptAnnouncement.topic,
    maxBytes: receiptAnnouncement.bytesMax,
    decode: (bytes) => receiptAnnouncement.decode(bytes, Date.now(), window),
    onMessage: heard,
  });
  host.gossip.topic({
    name: shardsAnnouncement.topic,
    maxBytes: shardsAnnouncement.bytesMax,
    decode: (bytes) => shardsAnnouncement.decode(bytes, Date.now(), window),
    onMessage: ({ contributionId }) => {
      log.debug('shards announced', { contributionId });
      return datanets.mirrorOne(contributionId);
    },
  });
}
