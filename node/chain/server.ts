// The chain's front door: JSON-RPC over HTTP and WebSocket on the loopback address only, with
// eth_subscribe for new heads and logs.
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { BlockHeader } from './chain-core.ts';
import type { EngineReply } from './engine.ts';
import { ChainError } from './errors.ts';
import type { LocalChain } from './local-chain.ts';
import { answerBody, errorReply, publicRpc, type RpcCall } from './rpc.ts';

export type ChainServer = {
  readonly port: number;
  /** Lets requests through; until then they wait, so a client sees a restart as a slow answer. */
  serve(chain: LocalChain): void;
  /** Ends every connection. */
  close(): Promise<void>;
};

/** The largest request read: a transaction with 1 MiB of calldata, in hex, with room to spare. */
export const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
const MAX_SUBSCRIPTIONS = 64;
const MAX_UNSENT_BYTES = 16 * 1024 * 1024;
const LOOPBACK = '127.0.0.1';

/**
 * Listens on 127.0.0.1 and `port` (0: any free one).
 * @throws ChainError CHAIN_PORT_IN_USE.
 */
export async function startChainServer(port: number): Promise<ChainServer> {
  let serve: (chain: LocalChain) => void = () => {};
  let refuse: (error: unknown) => void = () => {};
  const ready = new Promise<LocalChain>((resolve, reject) => {
    serve = resolve;
    refuse = reject;
  });
  const rpc: Promise<RpcCall> = ready.then(publicRpc);
  rpc.catch(() => undefined);
  const server = createServer((request, response) => {
    answerHttp(request, response, rpc).catch(() => response.destroy());
  });
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_REQUEST_BYTES });
  server.on('upgrade', (request, socket, head) => {
    if (!isLocal(request)) {
      socket.destroy();
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      answerWebSocket(webSocket, ready, rpc);
    });
  });
  await listen(server, port);
  return {
    port: (server.address() as AddressInfo).port,
    serve,
    async close() {
      refuse(new ChainError('CHAIN_CLOSED', 'The server was closed.', { what: 'server' }));
      for (const client of sockets.clients) client.terminate();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') reject(error);
      const message = `Port ${port} of ${LOOPBACK} is in use: stop what uses it, or pass another.`;
      reject(new ChainError('CHAIN_PORT_IN_USE', message, { port }, error));
    });
    server.listen(port, LOOPBACK, resolve);
  });
}

/** A name other than loopback's in Host means that a web page was made to call us. */
function isLocal(request: IncomingMessage): boolean {
  return /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? '');
}

async function answerHttp(
  request: IncomingMessage,
  response: ServerResponse,
  rpc: Promise<RpcCall>,
): Promise<void> {
  if (!isLocal(request))
    return end(response, 403, 'This chain answers on the loopback address only');
  if (request.method !== 'POST') return end(response, 405, 'Send JSON-RPC by POST');
  const body = await readBody(request);
  if (body === null)
    return end(response, 413, `A request holds ${MAX_REQUEST_BYTES} bytes at most`);
  const answer = await answerBody(body, await rpc);
  if (answer === null) {
    response.writeHead(204).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
}

function end(response: ServerResponse, status: number, message: string): void {
  const body = JSON.stringify(errorReply(null, -32600, message));
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(body);
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_REQUEST_BYTES) return null;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

type Subscription =
  | { readonly kind: 'newHeads' }
  | { readonly kind: 'logs'; readonly filter: Record<string, unknown> };

function answerWebSocket(
  socket: WebSocket,
  chain: Promise<LocalChain>,
  rpc: Promise<RpcCall>,
): void {
  const subscriptions = new Map<string, Subscription>();
  let unlisten = () => {};
  // Notices of one block leave before those of the next, whatever the engine answers first.
  let notices: Promise<void> = Promise.resolve();

  chain.then(
    (open) => {
      unlisten = open.onBlock((block) => {
        if (subscriptions.size === 0) return;
        notices = notices
          .then(() => notify(socket, open, subscriptions, block))
          .catch(() => {
            socket.terminate();
          });
      });
      if (socket.readyState !== socket.OPEN) unlisten();
    },
    () => socket.terminate(),
  );
  socket.on('close', () => unlisten());
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => {
    rpc
      .then((call) => answerBody(String(data), withSubscriptions(call, subscriptions)))
      .then((answer) => {
        if (answer !== null) push(socket, answer);
      })
      .catch(() => socket.terminate());
  });
}

function withSubscriptions(call: RpcCall, subscriptions: Map<string, Subscription>): RpcCall {
  return async (method, params): Promise<EngineReply> => {
    if (method === 'eth_unsubscribe') {
      return { ok: true, result: subscriptions.delete(String(params[0])) };
    }
    if (method !== 'eth_subscribe') return call(method, params);
    const [kind, filter = {}] = params;
    const isKnown = kind === 'newHeads' || kind === 'logs';
    if (!isKnown || typeof filter !== 'object' || filter === null) {
      const message = 'eth_subscribe takes "newHeads", or "logs" with an optional filter object';
      return { ok: false, error: { code: -32602, message } };
    }
    if (subscriptions.size >= MAX_SUBSCRIPTIONS) {
      const message = `A connection holds ${MAX_SUBSCRIPTIONS} subscriptions at most`;
      return { ok: false, error: { code: -32005, message } };
    }
    const id = `0x${randomBytes(16).toString('hex')}`;
    const isHeads = kind === 'newHeads';
    subscriptions.set(id, isHeads ? { kind } : { kind, filter: filter as Record<string, unknown> });
    return { ok: true, result: id };
  };
}

async function notify(
  socket: WebSocket,
  chain: LocalChain,
  subscriptions: Map<string, Subscription>,
  block: BlockHeader,
): Promise<void> {
  for (const [id, subscription] of [...subscriptions]) {
    if (subscription.kind === 'newHeads') {
      const { transactions: _, ...header } = block;
      push(socket, notice(id, header));
      continue;
    }
    if (block.transactions.length === 0) continue;
    const { address, topics } = subscription.filter;
    const filter = { address, topics, blockHash: block.hash };
    const reply = await chain.request('eth_getLogs', [filter]);
    // A filter that the engine refuses matches nothing; the subscriber learns it from eth_getLogs.
    if (!reply.ok) continue;
    for (const log of reply.result as unknown[]) push(socket, notice(id, log));
  }
}

function notice(subscription: string, result: unknown): string {
  const params = { subscription, result };
  return JSON.stringify({ jsonrpc: '2.0', method: 'eth_subscription', params });
}

/** Sends, and gives up on a reader that does not keep up. */
function push(socket: WebSocket, text: string): void {
  if (socket.readyState !== socket.OPEN) return;
  if (socket.bufferedAmount > MAX_UNSENT_BYTES) socket.terminate();
  else socket.send(text);
}
