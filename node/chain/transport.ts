// JSON-RPC over HTTP that outlives the chain process: what cannot be delivered is sent again, with
// growing pauses, until the caller's patience ends. Every method of our chains may be repeated safely.
import { setTimeout as pause } from 'node:timers/promises';
import { ChainError } from './errors.ts';

export type RpcPayload = {
  readonly jsonrpc: '2.0';
  readonly id: number;
  readonly method: string;
  readonly params: unknown;
};
export type RpcAnswer = {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
};

export type Transport = {
  /** Sends a batch as one HTTP request; answers in the order of the calls. */
  send(payloads: readonly RpcPayload[]): Promise<RpcAnswer[]>;
  /**
   * One call. Calls made in the same turn of the event loop share an HTTP request.
   * @throws ChainError CHAIN_REFUSED with the node's words, CHAIN_UNREACHABLE, CHAIN_CLOSED.
   */
  request(method: string, params: readonly unknown[]): Promise<unknown>;
  close(): void;
};

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
const MAX_BATCH = 200;

/** A transport to `rpcUrl` that gives up on a request after `patienceMs`. */
export function openTransport(rpcUrl: string, patienceMs: number): Transport {
  const closed = new AbortController();
  let lastId = 0;
  const waiting: {
    payload: RpcPayload;
    done: (answer: RpcAnswer) => void;
    failed: (error: unknown) => void;
  }[] = [];

  async function send(payloads: readonly RpcPayload[]): Promise<RpcAnswer[]> {
    const deadlineMs = performance.now() + patienceMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      const leftMs = Math.max(1, Math.ceil(deadlineMs - performance.now()));
      const attempt = await post(
        rpcUrl,
        payloads,
        AbortSignal.any([closed.signal, AbortSignal.timeout(leftMs)]),
      );
      if (attempt.ok) return attempt.answers;
      if (closed.signal.aborted) throw closedError(rpcUrl);
      if (performance.now() + pauseMs >= deadlineMs)
        throw unreachable(rpcUrl, patienceMs, attempt.cause);
      await pause(pauseMs);
    }
  }

  function flush(): void {
    const batch = waiting.splice(0, MAX_BATCH);
    if (waiting.length > 0) setImmediate(flush);
    send(batch.map((item) => item.payload)).then(
      (answers) => {
        for (const [i, item] of batch.entries()) item.done(answers[i]!);
      },
      (error: unknown) => {
        for (const item of batch) item.failed(error);
      },
    );
  }

  return {
    send,
    async request(method, params) {
      if (closed.signal.aborted) throw closedError(rpcUrl);
      lastId += 1;
      const payload: RpcPayload = { jsonrpc: '2.0', id: lastId, method, params };
      const answer = await new Promise<RpcAnswer>((done, failed) => {
        if (waiting.length === 0) setImmediate(flush);
        waiting.push({ payload, done, failed });
      });
      if (answer.error === undefined) return answer.result ?? null;
      const { code, message, data } = answer.error;
      const details = {
        rpcCode: code,
        reason: message,
        data: typeof data === 'string' ? data : null,
      };
      throw new ChainError('CHAIN_REFUSED', `The chain refused ${method}: ${message}`, details);
    },
    close: () => closed.abort(),
  };
}

type Attempt =
  | { readonly ok: true; readonly answers: RpcAnswer[] }
  | { readonly ok: false; readonly cause: unknown };

async function post(
  rpcUrl: string,
  payloads: readonly RpcPayload[],
  signal: AbortSignal,
): Promise<Attempt> {
  let text: string;
  try {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify(payloads);
    const response = await fetch(rpcUrl, { method: 'POST', headers, body, signal });
    text = await response.text();
    if (response.status >= 500) return { ok: false, cause: new Error(`HTTP ${response.status}`) };
  } catch (cause) {
    return { ok: false, cause };
  }
  return { ok: true, answers: inOrder(payloads, parse(text)) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A batch may be answered in any order, and a server that dislikes it whole answers with one error. */
function inOrder(payloads: readonly RpcPayload[], body: unknown): RpcAnswer[] {
  const whole = { code: -32600, message: 'the answer is not JSON-RPC' };
  const error = (body as RpcAnswer | null)?.error ?? whole;
  const answers = new Map(Array.isArray(body) ? body.map((a: RpcAnswer) => [a.id, a]) : []);
  return payloads.map(({ id }) => answers.get(id) ?? { id, error });
}

function unreachable(rpcUrl: string, patienceMs: number, cause: unknown) {
  const message =
    `The chain at ${rpcUrl} gave no answer for ${patienceMs} ms: ` +
    'start it with `openledger chain`, or correct the address.';
  return new ChainError('CHAIN_UNREACHABLE', message, { rpcUrl, patienceMs }, cause);
}

function closedError(rpcUrl: string) {
  return new ChainError('CHAIN_CLOSED', `The connection to ${rpcUrl} was closed.`, {
    what: rpcUrl,
  });
}
