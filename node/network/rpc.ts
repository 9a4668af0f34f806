// Request and response between two peers, one libp2p stream per request. A response is a row of
// length-prefixed frames whose first byte tells data, error or end, so that a proper end can be
// told from a connection that was lost.
import type { Stream } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import * as lengthPrefixed from 'it-length-prefixed';
import { pipe } from 'it-pipe';
import type { Core } from './core.ts';
import { type ByteList, streamDuplex, WRITE_TIMEOUT_MS } from './duplex.ts';
import { NetworkError } from './errors.ts';
import { answer, type ServeOptions } from './rpc-answer.ts';
import { decodeError, FRAME_DATA, FRAME_END, FRAME_ERROR, isTooLarge, letGo } from './rpc-frame.ts';
import { PENALTY } from './standing.ts';

/** libp2p's own limits are 32 and 64, and past them streams die without an error for the caller. */
const STREAMS_PER_PROTOCOL_MAX = 256;
const DIAL_TIMEOUT_MS = 10_000;
const CALL_TIMEOUT_MS = 30_000;
const RESPONSE_BYTES_MAX = 4 * 1024 * 1024;

export type CallOptions = {
  /** For the whole call. Default 30 s. */
  readonly timeoutMs?: number;
  /** Default 4 MiB. */
  readonly maxResponseBytes?: number;
  readonly signal?: AbortSignal;
};

export type StreamOptions = {
  /** How long to wait for each next frame. Default 30 s. */
  readonly idleTimeoutMs?: number;
  /** Of one frame. Default 4 MiB. */
  readonly maxFrameBytes?: number;
  readonly signal?: AbortSignal;
};

export type Rpc = {
  /**
   * Answers requests on `protocol` (`/openledger/<what>/<version>`). An error thrown by the handler
   * reaches the caller as its `code` and message if it has a code, otherwise as INTERNAL. The
   * handler's signal aborts when the caller goes away.
   */
  serve(protocol: string, options: ServeOptions): Promise<void>;
  /**
   * One request, one answer.
   * @throws NetworkError NETWORK_PEER_UNREACHABLE, NETWORK_TIMEOUT, NETWORK_REMOTE_ERROR,
   * NETWORK_STREAM_BROKEN or NETWORK_FRAME_TOO_LARGE.
   */
  call(
    peerId: string,
    protocol: string,
    request: Uint8Array,
    options?: CallOptions,
  ): Promise<Uint8Array>;
  /** One request, a row of answers. Throws as `call` does; leaving the loop tells the server. */
  stream(
    peerId: string,
    protocol: string,
    request: Uint8Array,
    options?: StreamOptions,
  ): AsyncGenerator<Uint8Array, void, undefined>;
};

export function createRpc(core: Core): Rpc {
  return {
    async serve(protocol, options) {
      await core.libp2p.handle(
        protocol,
        (stream, connection) => answer(core, options, stream, connection),
        { maxInboundStreams: STREAMS_PER_PROTOCOL_MAX },
      );
    },
    async call(peerId, protocol, request, options = {}) {
      const timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
      const maxFrameBytes = options.maxResponseBytes ?? RESPONSE_BYTES_MAX;
      const deadline = AbortSignal.timeout(timeoutMs);
      const target = { peerId, protocol };
      const signal = options.signal ? AbortSignal.any([deadline, options.signal]) : deadline;
      try {
        const settings = { idleTimeoutMs: timeoutMs, maxFrameBytes, signal };
        const parts: Uint8Array[] = [];
        for await (const part of exchange(core, target, request, settings)) parts.push(part);
        const [response] = parts;
        if (parts.length === 1 && response !== undefined) return response;
        const message = `expected one answer from ${peerId} on ${protocol}, got ${parts.length}`;
        throw new NetworkError('NETWORK_STREAM_BROKEN', target, message);
      } catch (error) {
        const late = deadline.aborted && !options.signal?.aborted;
        throw late && error === deadline.reason ? timedOut(target, timeoutMs) : error;
      }
    },
    stream: (peerId, protocol, request, options = {}) =>
      exchange(core, { peerId, protocol }, request, {
        idleTimeoutMs: options.idleTimeoutMs ?? CALL_TIMEOUT_MS,
        maxFrameBytes: options.maxFrameBytes ?? RESPONSE_BYTES_MAX,
        signal: options.signal,
      }),
  };
}

type Target = { readonly peerId: string; readonly protocol: string };
type Settings = {
  readonly idleTimeoutMs: number;
  readonly maxFrameBytes: number;
  readonly signal: AbortSignal | undefined;
};

async function* exchange(
  core: Core,
  target: Target,
  request: Uint8Array,
  settings: Settings,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal } = settings;
  core.counters.add('rpc_called', { protocol: target.protocol });
  const stream = await open(core, target, signal);
  const onAbort = () => stream.abort(new Error('the caller went away'));
  signal?.addEventListener('abort', onAbort);
  let ended = false;
  try {
    const duplex = streamDuplex(stream, WRITE_TIMEOUT_MS);
    // A server may answer before it has read everything; what it answers tells more than the
    // failure to send, which the reading side sees as well.
    pipe([request], encode, duplex.sink).catch(onAbort);
    const frames = pipe(duplex.source, (source) =>
      lengthPrefixed.decode(source, { maxDataLength: settings.maxFrameBytes + 1 }),
    );
    for (;;) {
      const next = await withTimeout(frames.next(), target, settings.idleTimeoutMs);
      if (next.done === true) throw broken(target, 'the connection was lost before the end');
      const data = unpack(core, target, next.value);
      if (data === 'end') break;
      yield data;
    }
    ended = true;
  } catch (error) {
    core.counters.add('rpc_failed', { protocol: target.protocol });
    if (signal?.aborted) throw signal.reason;
    if (error instanceof NetworkError) throw error;
    if (isTooLarge(error)) throw tooLarge(core, target, settings.maxFrameBytes);
    throw broken(target, 'the stream broke before the end', error);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    if (ended) letGo(stream);
    else stream.abort(new Error('the caller stopped reading'));
  }
}

/** The data of a frame, or that it was the last. */
function unpack(core: Core, target: Target, bytes: ByteList): Uint8Array | 'end' {
  const kind = bytes.byteLength === 0 ? undefined : bytes.get(0);
  if (kind === FRAME_DATA) return bytes.subarray(1);
  if (kind === FRAME_END) return 'end';
  if (kind === FRAME_ERROR) throw remote(target, bytes.subarray(1));
  core.refuse(target.peerId, 'RPC_FRAME_UNKNOWN', PENALTY.malformedFrame);
  throw broken(target, 'a frame of unknown kind came');
}

async function open(core: Core, target: Target, signal?: AbortSignal): Promise<Stream> {
  const { peerId, protocol } = target;
  signal?.throwIfAborted();
  if (core.closing.aborted) {
    const message = `expected an open host, got a closed one while calling ${protocol}`;
    throw new NetworkError('NETWORK_CLOSED', { operation: protocol }, message);
  }
  try {
    const timeout = AbortSignal.timeout(DIAL_TIMEOUT_MS);
    return await core.libp2p.dialProtocol(peerIdFromString(peerId), protocol, {
      signal: signal ? AbortSignal.any([timeout, signal]) : timeout,
      maxOutboundStreams: STREAMS_PER_PROTOCOL_MAX,
    });
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    core.counters.add('rpc_failed', { protocol });
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `expected ${peerId} to answer on ${protocol}, got no stream: ${why}`;
    throw new NetworkError('NETWORK_PEER_UNREACHABLE', target, message, cause);
  }
}

async function* encode(requests: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (const request of requests) yield lengthPrefixed.encode.single(request).subarray();
}

async function withTimeout<T>(step: Promise<T>, target: Target, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timedOut(target, timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([step, late]);
  } finally {
    clearTimeout(timer);
  }
}

function timedOut(target: Target, timeoutMs: number): NetworkError {
  const message = `expected an answer from ${target.peerId} on ${target.protocol} within ${timeoutMs} ms, got none`;
  return new NetworkError('NETWORK_TIMEOUT', { ...target, timeoutMs }, message);
}

function broken(target: Target, what: string, cause?: unknown): NetworkError {
  const message = `expected a whole answer from ${target.peerId} on ${target.protocol}, but ${what}`;
  return new NetworkError('NETWORK_STREAM_BROKEN', target, message, cause);
}

function remote(target: Target, payload: Uint8Array): NetworkError {
  const { code, message } = decodeError(payload);
  return new NetworkError(
    'NETWORK_REMOTE_ERROR',
    { ...target, remoteCode: code, remoteMessage: message },
    `${target.peerId} refused on ${target.protocol} with ${code}: ${message}`,
  );
}

function tooLarge(core: Core, target: Target, maxBytes: number): NetworkError {
  core.refuse(target.peerId, 'RPC_FRAME_TOO_LARGE', PENALTY.malformedFrame);
  const message = `expected frames of at most ${maxBytes} bytes from ${target.peerId} on ${target.protocol}, got more`;
  return new NetworkError('NETWORK_FRAME_TOO_LARGE', { ...target, maxBytes }, message);
}
