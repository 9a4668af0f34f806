// The serving side of one request: reads one frame, runs the handler, writes its answers.
import type { Connection, Stream } from '@libp2p/interface';
import * as lengthPrefixed from 'it-length-prefixed';
import { pipe } from 'it-pipe';
import type { Core, Sender } from './core.ts';
import { type Chunk, streamDuplex, WRITE_TIMEOUT_MS } from './duplex.ts';
import { addressOfPeer } from './key.ts';
import {
  encodeError,
  FRAME_DATA,
  FRAME_END,
  frame,
  isCutOff,
  isTooLarge,
  letGo,
} from './rpc-frame.ts';
import { PENALTY } from './standing.ts';

/** How long a caller may take to send its one request. */
const REQUEST_TIMEOUT_MS = 10_000;

/** One answer, or a row of them as they become ready. */
export type Handler = (
  request: Uint8Array,
  from: Sender,
  signal: AbortSignal,
) => Promise<Uint8Array> | AsyncIterable<Uint8Array>;

export type ServeOptions = { readonly maxRequestBytes: number; readonly handler: Handler };

/** Why a request was not handled; the caller is told, and pays for what only malice explains. */
class Refusal extends Error {
  readonly code: string;
  readonly points: number;

  constructor(code: string, points: number, message: string) {
    super(message);
    this.code = code;
    this.points = points;
  }
}

/** Serves one stream to its end; never throws, because nobody waits for it. */
export async function answer(
  core: Core,
  options: ServeOptions,
  stream: Stream,
  connection: Connection,
): Promise<void> {
  const peerId = connection.remotePeer.toString();
  const gone = new AbortController();
  stream.addEventListener('close', () => gone.abort(new Error('the caller went away')));
  const signal = AbortSignal.any([gone.signal, core.closing]);
  const duplex = streamDuplex(stream, WRITE_TIMEOUT_MS);
  try {
    const request = await readRequest(stream, duplex.source, options.maxRequestBytes);
    const from = { peerId, address: addressOfPeer(peerId) };
    core.counters.add('rpc_served', { protocol: stream.protocol });
    const frames = respond(core, options, request, from, signal);
    await pipe(frames, (source) => lengthPrefixed.encode(source), duplex.sink);
    letGo(stream);
  } catch (error) {
    if (error instanceof Refusal) {
      // A peer that was cut off with its connection is no offender.
      core.refuse(peerId, error.code, connection.status === 'open' ? error.points : 0);
      await tell(stream, error);
    }
    stream.abort(error instanceof Error ? error : new Error(String(error)));
  }
}

async function readRequest(
  stream: Stream,
  source: AsyncIterable<Chunk>,
  maxRequestBytes: number,
): Promise<Uint8Array> {
  const late = new Refusal('RPC_REQUEST_LATE', 0, 'expected the request sooner');
  const timer = setTimeout(() => stream.abort(late), REQUEST_TIMEOUT_MS);
  try {
    for await (const request of lengthPrefixed.decode(source, { maxDataLength: maxRequestBytes })) {
      return request.subarray();
    }
  } catch (error) {
    if (isTooLarge(error)) {
      const expected = `expected a request of at most ${maxRequestBytes} bytes, got more`;
      throw new Refusal('RPC_REQUEST_TOO_LARGE', PENALTY.malformedFrame, expected);
    }
    if (isCutOff(error)) {
      throw new Refusal('RPC_REQUEST_MALFORMED', PENALTY.malformedFrame, 'a frame was cut off');
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
  // Opened and closed again: what a caller does who got the answer elsewhere meanwhile.
  throw new Refusal('RPC_REQUEST_ABSENT', 0, 'expected a request');
}

async function* respond(
  core: Core,
  { handler }: ServeOptions,
  request: Uint8Array,
  from: Sender,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let onAbort: (() => void) | undefined;
  const left = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
  });
  left.catch(() => undefined);
  let answers: AsyncIterator<Uint8Array> | undefined;
  try {
    signal.throwIfAborted();
    const result = handler(request, from, signal);
    if (result instanceof Promise) {
      yield frame(FRAME_DATA, await Promise.race([result, left]));
    } else {
      answers = result[Symbol.asyncIterator]();
      for (;;) {
        const next = await Promise.race([answers.next(), left]);
        if (next.done === true) break;
        yield frame(FRAME_DATA, next.value);
      }
      answers = undefined;
    }
    yield frame(FRAME_END);
  } catch (error) {
    if (signal.aborted) throw error;
    answers = undefined;
    const coded = error instanceof Error && 'code' in error;
    if (!coded) core.emit({ type: 'handlerFailed', where: 'rpc', error });
    yield encodeError(error);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    // Answers are left when the caller stopped reading: the handler may clean up, but a handler
    // that is still waiting for something must not hold the stream.
    answers?.return?.().catch((error: unknown) => {
      core.emit({ type: 'handlerFailed', where: 'rpc', error });
    });
  }
}

/** Tells an honest caller why; a hostile one may not listen, so nothing waits long for it. */
async function tell(stream: Stream, refusal: Refusal): Promise<void> {
  try {
    stream.send(lengthPrefixed.encode.single(encodeError(refusal)));
    await stream.close({ signal: AbortSignal.timeout(1_000) });
  } catch {
    // The stream is already gone, which is what we are about to make it.
  }
}
