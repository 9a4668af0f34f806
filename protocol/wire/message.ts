/**
 * What all messages have in common: canonical dag-cbor, a version, a limit, and for gossip a time
 * that must lie in our window. A stranger's bad message is a value that says what to do about it.
 */
import { decodeCanonical } from '../cbor.ts';
import { type Codec, encodeWith, literal, object, readWith, type ValueOf } from '../codec.ts';

export type WireFault =
  | 'TOO_LARGE'
  | 'NON_CANONICAL'
  | 'WRONG_VERSION'
  | 'WRONG_SHAPE'
  | 'TOO_OLD'
  | 'FROM_FUTURE';
/** reject: no honest node sends this. ignore: an honest one may, being newer, slow or out of time. */
export type WireRefusal = {
  readonly ok: false;
  readonly code: WireFault;
  readonly action: 'ignore' | 'reject';
};
export type WireResult<Value> = { readonly ok: true; readonly value: Value } | WireRefusal;

/** A message of one kind. `bytesMax` is judged before anything is decoded. */
export type Message<Value> = {
  readonly bytesMax: number;
  /** @throws ShapeError if the value does not fit the message. */
  readonly encode: (value: Value) => Uint8Array;
  /** Never throws. */
  readonly decode: (encoded: Uint8Array) => WireResult<Value>;
};

/** How far from our clock a message's time may lie. */
export type AcceptWindow = { readonly clockSkewMs: number; readonly gossipAgeMs: number };

/** A message that carries the time at which it was sent. */
export type GossipMessage<Value> = Omit<Message<Value>, 'decode'> & {
  readonly topic: string;
  readonly decode: (encoded: Uint8Array, nowMs: number, window: AcceptWindow) => WireResult<Value>;
};

const VERSION = 1;
type Fields = { readonly [name: string]: Codec<unknown> };
type Values<Shape extends Fields> = { readonly [Name in keyof Shape]: ValueOf<Shape[Name]> };

const refuse = (code: WireFault, action: 'ignore' | 'reject'): WireRefusal => ({
  ok: false,
  code,
  action,
});

function versionOf(value: unknown): unknown {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isMap ? (value as { readonly v?: unknown }).v : undefined;
}

/** A message of version 1 with these fields and no others. */
export function defineMessage<Shape extends Fields>(
  shape: Shape,
  bytesMax: number,
): Message<Values<Shape>> {
  const codec = object<Fields>({ ...shape, v: literal(VERSION) });
  return {
    bytesMax,
    encode: (value) => encodeWith(codec, { ...value, v: VERSION }),
    decode: (encoded) => {
      if (encoded.length > bytesMax) return refuse('TOO_LARGE', 'reject');
      const decoded = decodeCanonical(encoded);
      if (decoded === null) return refuse('NON_CANONICAL', 'reject');
      const version = versionOf(decoded.value);
      if (typeof version === 'number' && version !== VERSION) {
        return refuse('WRONG_VERSION', 'ignore');
      }
      const read = readWith(codec, decoded.value);
      if (!read.ok) return refuse('WRONG_SHAPE', 'reject');
      const { v: _, ...value } = read.value;
      return { ok: true, value: value as Values<Shape> };
    },
  };
}

/** A gossip message; `sentAtMs` must be one of its fields. */
export function defineGossip<Shape extends Fields & { readonly sentAtMs: Codec<number> }>(
  topic: string,
  shape: Shape,
  bytesMax: number,
): GossipMessage<Values<Shape>> {
  const message = defineMessage(shape, bytesMax);
  return {
    topic,
    bytesMax,
    encode: message.encode,
    decode: (encoded, nowMs, { clockSkewMs, gossipAgeMs }) => {
      const decoded = message.decode(encoded);
      if (!decoded.ok) return decoded;
      const sentAtMs = decoded.value.sentAtMs as number;
      if (sentAtMs > nowMs + clockSkewMs) return refuse('FROM_FUTURE', 'ignore');
      if (sentAtMs < nowMs - gossipAgeMs) return refuse('TOO_OLD', 'ignore');
      return decoded;
    },
  };
}

/** One of several kinds of message on one stream, told apart by their field `type`. */
export function oneOf<Value extends { readonly type: string }>(
  kinds: {
    readonly [Type in Value['type']]: Message<Extract<Value, { readonly type: Type }>>;
  },
): Message<Value> {
  type Any = Message<Value> | undefined;
  const named = kinds as unknown as { readonly [type: string]: Any };
  const bytesMax = Math.max(
    ...Object.values(named).map((kind) => (kind as Message<Value>).bytesMax),
  );
  return {
    bytesMax,
    encode: (value) => (named[value.type] as Message<Value>).encode(value),
    decode: (encoded) => {
      if (encoded.length > bytesMax) return refuse('TOO_LARGE', 'reject');
      const decoded = decodeCanonical(encoded);
      if (decoded === null) return refuse('NON_CANONICAL', 'reject');
      const version = versionOf(decoded.value);
      if (typeof version === 'number' && version !== VERSION) {
        return refuse('WRONG_VERSION', 'ignore');
      }
      const type = (decoded.value as { readonly type?: unknown } | null)?.type;
      const isKnown = typeof type === 'string' && Object.hasOwn(named, type);
      if (!isKnown) return refuse('WRONG_SHAPE', 'reject');
      return (named[type] as Message<Value>).decode(encoded);
    },
  };
}
