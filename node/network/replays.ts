// Memory of accepted gossip by content, so that a message recorded by a stranger and published
// again is refused after gossipsub itself has forgotten its id.
import { createHash } from 'node:crypto';

/** Messages remembered: at 10 per second, nearly two hours; about 10 MB. */
const MESSAGES_MAX = 65_536;

/**
 * `fresh`: not seen. `repeated`: the author published the same bytes again, which is no offence.
 * `replayed`: the same signed message, or the same bytes under another author.
 */
export type Sighting = 'fresh' | 'repeated' | 'replayed';

export type Replays = {
  look(topic: string, data: Uint8Array, author: string, sequence: bigint): Sighting;
  remember(topic: string, data: Uint8Array, author: string, sequence: bigint): void;
};

export function createReplays(messagesMax = MESSAGES_MAX): Replays {
  const seen = new Map<string, { author: string; sequence: bigint }>();
  return {
    look(topic, data, author, sequence) {
      const first = seen.get(contentKey(topic, data));
      if (first === undefined) return 'fresh';
      if (first.author === author && first.sequence < sequence) return 'repeated';
      return 'replayed';
    },
    remember(topic, data, author, sequence) {
      const key = contentKey(topic, data);
      seen.delete(key);
      seen.set(key, { author, sequence });
      if (seen.size <= messagesMax) return;
      for (const oldest of seen.keys()) {
        seen.delete(oldest);
        return;
      }
    },
  };
}

function contentKey(topic: string, data: Uint8Array): string {
  return createHash('sha256').update(topic).update('\0').update(data).digest('base64');
}
