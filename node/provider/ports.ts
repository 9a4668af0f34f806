/**
 * What serving, asking and watching need from the rest of the node, as narrow as they need it. The
 * composition root supplies the real parts.
 */

/** One change of a table; `value` null removes the key. */
export type Change = { readonly key: string; readonly value: Uint8Array | null };

/** A sorted, durable map. `write` is atomic: after a crash all of its changes are there, or none. */
export type Table = {
  readonly get: (key: string) => Promise<Uint8Array | undefined>;
  readonly write: (changes: readonly Change[]) => Promise<void>;
  /** Keys that begin with `prefix`, in byte order, from `start` on where it is given. */
  readonly entries: (
    prefix: string,
    start?: string,
  ) => AsyncIterable<readonly [string, Uint8Array]>;
};

export type LogPort = {
  readonly debug: (message: string, data?: Record<string, unknown>) => void;
  readonly info: (message: string, data?: Record<string, unknown>) => void;
  readonly warn: (message: string, data?: Record<string, unknown>) => void;
  readonly error: (message: string, data?: Record<string, unknown>) => void;
};

/** Who sent something: a peer id, and the address that its key has on chain, in any case. */
export type Sender = { readonly peerId: string; readonly address: string };

/** The part of the network that serving needs; the host's `rpc` fits. */
export type ServePort = {
  readonly serve: (
    protocol: string,
    options: {
      readonly maxRequestBytes: number;
      readonly handler: (
        request: Uint8Array,
        from: Sender,
        signal: AbortSignal,
      ) => Promise<Uint8Array> | AsyncIterable<Uint8Array>;
    },
  ) => Promise<void>;
};

/** The part of the network that asking needs; the host's `rpc` fits. */
export type AskPort = {
  readonly call: (
    peerId: string,
    protocol: string,
    request: Uint8Array,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ) => Promise<Uint8Array>;
  readonly stream: (
    peerId: string,
    protocol: string,
    request: Uint8Array,
    options?: {
      readonly idleTimeoutMs?: number;
      readonly maxFrameBytes?: number;
      readonly signal?: AbortSignal;
    },
  ) => AsyncIterable<Uint8Array>;
};
