/**
 * Gathers receipt files from all providers, for who anchors epochs. It asks each provider for what
 * came after the last it has; gossip may be missed, this is not. Scores are not judged here: that is
 * for verifiers and the Referee.
 */
import { decodeReceiptFile, RECEIPTS_PROTOCOL, receiptsReply, receiptsRequest } from '#protocol';
import type { AskPort, LogPort } from '../provider/ports.ts';
import type { Receipts } from '../provider/receipts.ts';

const FILES_AT_ONCE = 64;

export type GatherParts = {
  readonly rpc: AskPort;
  readonly providers: () => readonly { readonly provider: string; readonly peer: string }[];
  readonly receipts: Receipts;
  readonly log: LogPort;
};

/** One round over all providers. */
export function createGatherer(parts: GatherParts): () => Promise<void> {
  const places = new Map<string, number>();
  return async () => {
    for (const { provider, peer } of parts.providers()) {
      try {
        await gatherFrom(parts, places, provider, peer);
      } catch (error) {
        parts.log.debug('receipts not gathered, will try again', { provider, error });
      }
    }
  };
}

async function gatherFrom(
  { rpc, receipts }: GatherParts,
  places: Map<string, number>,
  provider: string,
  peer: string,
): Promise<void> {
  for (let isMore = true; isMore; ) {
    const after = places.get(provider) ?? 0;
    const request = receiptsRequest.encode({ type: 'since', after, filesMax: FILES_AT_ONCE });
    isMore = false;
    for await (const frame of rpc.stream(peer, RECEIPTS_PROTOCOL, request, {
      idleTimeoutMs: 5_000,
    })) {
      const reply = receiptsReply.decode(frame);
      if (!reply.ok) return;
      if (reply.value.type === 'done') {
        const { place } = reply.value;
        // A place that goes back: the provider lost its files, and counts anew. More without a step
        // forward would keep us here for ever.
        places.set(provider, place < after ? 0 : place);
        isMore = reply.value.isMore && place > after;
        continue;
      }
      const decoded = decodeReceiptFile(reply.value.file);
      if (!decoded.ok || decoded.value.receipt.provider !== provider) continue;
      await receipts.put(decoded.value, reply.value.file);
    }
  }
}
