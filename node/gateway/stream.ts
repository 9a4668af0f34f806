/**
 * Server-sent events as OpenAI's clients read them: `data: {…}` per chunk, a comment while nothing
 * happens, an error as one last data event once the status line is gone, `[DONE]` at a good end.
 */
import type { ServerResponse } from 'node:http';
import type { ApiError } from './errors.ts';

export type EventStream = {
  readonly send: (data: Record<string, unknown>) => Promise<void>;
  readonly fail: (error: ApiError) => void;
  readonly end: () => void;
};

/**
 * Opens the stream on a raw response: headers go out at once, and a comment every `pingMs` while it
 * is open. `send` resolves when the client has room for more.
 */
export function openEventStream(
  response: ServerResponse,
  options: { readonly headers: Readonly<Record<string, string>>; readonly pingMs: number },
): EventStream {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    connection: 'keep-alive',
    'x-accel-buffering': 'no',
    ...options.headers,
  });
  response.flushHeaders();
  const ping = setInterval(() => response.write(': ping\n\n'), options.pingMs);
  ping.unref();
  const close = (): void => {
    clearInterval(ping);
    response.end();
  };
  response.once('close', () => clearInterval(ping));
  return {
    send: (data) => write(response, `data: ${JSON.stringify(data)}\n\n`),
    fail: (error) => {
      response.write(`data: ${JSON.stringify(error.body())}\n\n`);
      close();
    },
    end: () => {
      response.write('data: [DONE]\n\n');
      close();
    },
  };
}

function write(response: ServerResponse, line: string): Promise<void> {
  if (response.destroyed || response.write(line)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}
