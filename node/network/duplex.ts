// A libp2p stream as the source and sink that it-pipe joins, with backpressure in both directions:
// the remote is paused while we do not read, and we wait while it does not.
import type { Stream } from '@libp2p/interface';

/** What a stream carries: bytes, or the library's list of them. */
export type Chunk = Parameters<Stream['send']>[0];
export type ByteList = Exclude<Chunk, Uint8Array>;

/** Bytes read ahead of the reader before the remote is asked to pause. */
const READ_AHEAD_BYTES = 256 * 1024;
/** How long the other side may leave a frame unread. */
export const WRITE_TIMEOUT_MS = 30_000;

export type Duplex = {
  readonly source: AsyncIterable<Chunk>;
  /** Writes all of `source`, then closes our writing end. Fails when the stream breaks. */
  sink(source: AsyncIterable<Chunk>): Promise<void>;
};

/**
 * The library's own adapter reads ahead without limit, and stops noticing a reset once the remote
 * has closed its writing end, which a caller with one request does at once; hence this one.
 * @param writeTimeoutMs how long the remote may leave one chunk unread before the write fails.
 */
export function streamDuplex(stream: Stream, writeTimeoutMs: number): Duplex {
  return { source: read(stream), sink: (source) => write(stream, source, writeTimeoutMs) };
}

async function* read(stream: Stream): AsyncGenerator<Chunk> {
  const queue: Chunk[] = [];
  let queuedBytes = 0;
  let ended = stream.readableEnded;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  const settle = () => {
    wake?.();
    wake = undefined;
  };
  const onMessage = (event: { data: Chunk }) => {
    queue.push(event.data);
    queuedBytes += event.data.byteLength;
    if (queuedBytes > READ_AHEAD_BYTES && stream.readStatus === 'readable') stream.pause();
    settle();
  };
  const onEnd = () => {
    ended = true;
    settle();
  };
  const onClose = (event: { error?: Error }) => {
    failure = event.error;
    // What is still in the stream's own buffer, because we paused or came late, is delivered yet;
    // 'end' follows it.
    if (failure !== undefined || stream.readBufferLength === 0) ended = true;
    settle();
  };
  stream.addEventListener('message', onMessage);
  stream.addEventListener('end', onEnd);
  stream.addEventListener('close', onClose);
  try {
    for (;;) {
      const chunk = queue.shift();
      if (chunk !== undefined) {
        queuedBytes -= chunk.byteLength;
        yield chunk;
        continue;
      }
      if (stream.readStatus === 'paused') {
        stream.resume();
        if (queue.length > 0) continue;
      }
      if (failure !== undefined) throw failure;
      if (ended || stream.status === 'aborted' || stream.status === 'reset') return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    stream.removeEventListener('message', onMessage);
    stream.removeEventListener('end', onEnd);
    stream.removeEventListener('close', onClose);
  }
}

async function write(
  stream: Stream,
  source: AsyncIterable<Chunk>,
  writeTimeoutMs: number,
): Promise<void> {
  for await (const chunk of source) {
    if (!stream.send(chunk)) await drained(stream, writeTimeoutMs);
  }
  await stream.close({ signal: AbortSignal.timeout(writeTimeoutMs) });
}

/** `stream.onDrain` keeps its first promise for ever, so only its first wait waits. */
function drained(stream: Stream, timeoutMs: number): Promise<void> {
  if (!stream.writableNeedsDrain) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const finish = (failure?: Error) => {
      clearTimeout(timer);
      stream.removeEventListener('drain', onDrain);
      stream.removeEventListener('close', onClose);
      if (failure === undefined) resolve();
      else reject(failure);
    };
    const onDrain = () => finish();
    const onClose = (event: { error?: Error }) =>
      finish(event.error ?? new Error('the remote closed the stream'));
    const timer = setTimeout(() => {
      finish(new Error(`the remote read nothing for ${timeoutMs} ms`));
    }, timeoutMs);
    stream.addEventListener('drain', onDrain);
    stream.addEventListener('close', onClose);
  });
}
