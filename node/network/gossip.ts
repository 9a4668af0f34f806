// Typed gossip topics over gossipsub: every message is signed, bounded, decoded and judged before
// it is passed on, and whoever passes on what must be refused loses score until we hang up.

import type { Message, SignedMessage } from '@chainsafe/libp2p-gossipsub';
import { TopicValidatorResult } from '@chainsafe/libp2p-gossipsub';
import type { PeerId } from '@libp2p/interface';
import type { Core, Sender } from './core.ts';
import { NetworkError } from './errors.ts';
import { watchFrames } from './gossip-frames.ts';
import { addressOfPeer } from './key.ts';
import { createReplays } from './replays.ts';
import { PENALTY } from './standing.ts';

const TOPIC = /^\/openledger\/[a-z0-9-]+\/[0-9]+$/;
/** A stream to a neighbour opens within milliseconds; past this the message goes without it. */
const STREAM_OPENING_MS_MAX = 1_000;
const STREAM_POLL_MS = 20;

/** What gossip does with a message: pass it on, drop it, or drop it and mark the sender. */
export type Verdict =
  | { readonly type: 'accept' }
  | { readonly type: 'ignore' | 'reject'; readonly code: string };

export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: string; readonly action: 'ignore' | 'reject' };

export type TopicSpec<T> = {
  /** `/openledger/<what>/<version>`, one of the topics the host was started with. */
  readonly name: string;
  readonly maxBytes: number;
  /**
   * Pure and total. `reject` is for what no honest node passes on; what depends on our own state
   * or clock is `ignore`, because an honest neighbour may see it differently.
   */
  readonly decode: (bytes: Uint8Array) => Decoded<T>;
  /** Runs before the message is passed on; must answer within about 100 ms. */
  readonly validate?: (value: T, from: Sender) => Verdict | Promise<Verdict>;
  /** `from` is the author, whose key signed the message, not the neighbour who brought it. */
  readonly onMessage: (value: T, from: Sender) => void | Promise<void>;
};

export type Gossip = {
  /** Subscribes. A topic can be taken once. */
  topic<T>(spec: TopicSpec<T>): void;
  /**
   * Signs and sends. Nobody may be listening: look at `recipients`. A neighbour passes on only to
   * those in its mesh, which takes up to a heartbeat to form, and never catches up: what must
   * arrive is announced again until its effect is seen, with a number or time in it.
   * @throws NetworkError GOSSIP_MESSAGE_TOO_LARGE past the topic's limit: send a CID instead.
   */
  publish(topic: string, bytes: Uint8Array): Promise<{ readonly recipients: number }>;
  /** Neighbours that listen to the topic and can be written to. */
  subscribers(topic: string): readonly string[];
  /** Resolves when at least `count` neighbours listen to the topic. */
  waitForSubscribers(topic: string, count: number, signal: AbortSignal): Promise<void>;
};

type Entry = { readonly maxBytes: number };

export function createGossip(core: Core, topics: readonly string[]): Gossip {
  const { libp2p, counters } = core;
  const pubsub = libp2p.services.gossip;
  const entries = new Map<string, Entry>();
  const replays = createReplays();
  const accepted = new WeakMap<Message, () => void>();

  watchFrames(pubsub, (peerId, code) => core.refuse(peerId, code, PENALTY.malformedFrame));
  pubsub.addEventListener('message', ({ detail }) => accepted.get(detail)?.());

  const judge = async <T>(spec: TopicSpec<T>, message: SignedMessage): Promise<Verdict> => {
    const { data, topic, sequenceNumber } = message;
    if (data.length > spec.maxBytes) return { type: 'reject', code: 'GOSSIP_TOO_LARGE' };
    const author = message.from.toString();
    // Ours come back after a restart, from neighbours that do nothing wrong.
    if (author === core.identity.peerId) return { type: 'ignore', code: 'GOSSIP_OWN' };
    const sighting = replays.look(topic, data, author, sequenceNumber);
    if (sighting === 'replayed') return { type: 'reject', code: 'GOSSIP_REPLAYED' };
    if (sighting === 'repeated') return { type: 'ignore', code: 'GOSSIP_REPEATED' };
    const from = senderOf(author);
    if (from === undefined) return { type: 'reject', code: 'GOSSIP_AUTHOR_INVALID' };
    const decoded = spec.decode(data);
    if (!decoded.ok) return { type: decoded.action, code: decoded.code };
    const verdict = (await spec.validate?.(decoded.value, from)) ?? { type: 'accept' };
    if (verdict.type !== 'accept') return verdict;
    replays.remember(topic, data, author, sequenceNumber);
    accepted.set(message, () => deliver(core, spec, decoded.value, from));
    return verdict;
  };

  return {
    topic(spec) {
      requireDeclared(spec.name, topics, entries);
      entries.set(spec.name, { maxBytes: spec.maxBytes });
      pubsub.topicValidators.set(spec.name, async (relay: PeerId, message: Message) => {
        const verdict = await judgeSafely(core, () =>
          message.type === 'signed'
            ? judge(spec, message)
            : { type: 'reject', code: 'GOSSIP_UNSIGNED' },
        );
        return conclude(core, spec.name, verdict, relay.toString());
      });
      pubsub.subscribe(spec.name);
    },
    async publish(topic, bytes) {
      const maxBytes = entries.get(topic)?.maxBytes;
      if (maxBytes === undefined) throw new Error(`expected a topic taken before, got ${topic}`);
      if (bytes.length > maxBytes) {
        const message = `expected at most ${maxBytes} bytes on ${topic}, got ${bytes.length}; publish a CID instead`;
        const details = { topic, bytes: bytes.length, maxBytes };
        throw new NetworkError('GOSSIP_MESSAGE_TOO_LARGE', details, message);
      }
      await streamsOpened(core, topic);
      const { recipients } = await pubsub.publish(topic, bytes);
      counters.add('gossip_published', { topic });
      return { recipients: recipients.length };
    },
    subscribers: (topic) => reachable(core, topic),
    async waitForSubscribers(topic, count, signal) {
      while (reachable(core, topic).length < count) {
        await subscriptionsChanged(core, AbortSignal.any([signal, core.closing]));
      }
    },
  };
}

/**
 * Neighbours that listen to the topic and that we can write to. A neighbour's subscription may come
 * before our stream to it is open, and gossipsub loses what is published in between. Its map of
 * streams is left out of the published type.
 */
function reachable({ libp2p }: Core, topic: string): string[] {
  const pubsub = libp2p.services.gossip;
  const { streamsOutbound } = pubsub as unknown as { streamsOutbound: Map<string, unknown> };
  const subscribers = pubsub.getSubscribers(topic).map((peer) => peer.toString());
  return subscribers.filter((peerId) => streamsOutbound.has(peerId));
}

/** Waits a moment for the streams to neighbours that have just subscribed. */
async function streamsOpened(core: Core, topic: string): Promise<void> {
  const signal = AbortSignal.any([AbortSignal.timeout(STREAM_OPENING_MS_MAX), core.closing]);
  const subscribed = () => core.libp2p.services.gossip.getSubscribers(topic).length;
  while (!signal.aborted && reachable(core, topic).length < subscribed()) {
    await subscriptionsChanged(core, signal).catch(() => undefined);
  }
}

/** The opening of a stream has no event, so this also returns after a moment. */
function subscriptionsChanged({ libp2p }: Core, signal: AbortSignal): Promise<void> {
  const pubsub = libp2p.services.gossip;
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      pubsub.removeEventListener('subscription-change', finish);
      signal.removeEventListener('abort', finish);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(finish, STREAM_POLL_MS);
    pubsub.addEventListener('subscription-change', finish);
    signal.addEventListener('abort', finish);
    if (signal.aborted) finish();
  });
}

/** A verdict as gossipsub understands it, counted. */
function conclude(
  core: Core,
  topic: string,
  verdict: Verdict,
  relay: string,
): TopicValidatorResult {
  if (verdict.type === 'accept') {
    core.counters.add('gossip_accepted', { topic });
    return TopicValidatorResult.Accept;
  }
  if (verdict.type === 'ignore') {
    core.counters.add('gossip_ignored', { code: verdict.code });
    return TopicValidatorResult.Ignore;
  }
  if (verdict.code === 'GOSSIP_REPLAYED') {
    // gossipsub does not mark a sender for a message that it remembers as valid; we do.
    core.refuse(relay, verdict.code, PENALTY.replay);
    return TopicValidatorResult.Ignore;
  }
  core.counters.add('refused', { code: verdict.code });
  return TopicValidatorResult.Reject;
}

/** Our own mistakes in a validator must not be held against the neighbour, nor pass unseen. */
async function judgeSafely(core: Core, judge: () => Verdict | Promise<Verdict>): Promise<Verdict> {
  try {
    return await judge();
  } catch (error) {
    core.emit({ type: 'handlerFailed', where: 'gossip validator', error });
    return { type: 'ignore', code: 'GOSSIP_VALIDATOR_FAILED' };
  }
}

function deliver<T>(core: Core, spec: TopicSpec<T>, value: T, from: Sender): void {
  const report = (error: unknown) => core.emit({ type: 'handlerFailed', where: spec.name, error });
  try {
    Promise.resolve(spec.onMessage(value, from)).catch(report);
  } catch (error) {
    report(error);
  }
}

function senderOf(peerId: string): Sender | undefined {
  try {
    return { peerId, address: addressOfPeer(peerId) };
  } catch {
    return undefined;
  }
}

function requireDeclared(
  name: string,
  declared: readonly string[],
  taken: ReadonlyMap<string, unknown>,
): void {
  if (!TOPIC.test(name)) throw new Error(`expected /openledger/<what>/<version>, got ${name}`);
  if (!declared.includes(name)) {
    throw new Error(`expected one of the host's topics (${declared.join(', ')}), got ${name}`);
  }
  if (taken.has(name)) throw new Error(`expected a topic that is not taken yet, got ${name}`);
}
