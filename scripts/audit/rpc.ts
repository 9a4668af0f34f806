/** JSON-RPC over HTTP, one call or many at once, as any client of the chain would speak it. */
import { AuditError, reasonOf } from './errors.ts';

export type RpcRequest = { readonly method: string; readonly params: readonly unknown[] };

export type Rpc = {
  readonly url: string;
  readonly call: (method: string, params: readonly unknown[]) => Promise<unknown>;
  /** All results, in the order of the calls. */
  readonly batch: (calls: readonly RpcRequest[]) => Promise<readonly unknown[]>;
};

/** A number as JSON-RPC writes quantities. */
export const hexOf = (value: number): string => `0x${value.toString(16)}`;

/** Calls in one HTTP request; the local chain takes up to 1000. */
const CALLS_AT_ONCE = 400;
const TIMEOUT_MS = 30_000;

type Reply = {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
};

/** @throws AuditError CHAIN_UNAVAILABLE from every call that gets no result. */
export function connectRpc(url: string, timeoutMs: number = TIMEOUT_MS): Rpc {
  const post = async (calls: readonly RpcRequest[]): Promise<readonly unknown[]> => {
    const body = calls.map((call, id) => ({ jsonrpc: '2.0', id, ...call }));
    const replies = await answersTo(url, JSON.stringify(body), timeoutMs);
    const byId = new Map(replies.map((reply) => [reply.id, reply]));
    return calls.map(({ method }, id) => {
      const reply = byId.get(id);
      if (reply === undefined || reply.error !== undefined || reply.result === undefined) {
        const reason = `${method}: ${reply?.error?.message ?? 'no result'}`;
        throw new AuditError('CHAIN_UNAVAILABLE', { chain: url, reason });
      }
      return reply.result;
    });
  };
  const batch = async (calls: readonly RpcRequest[]): Promise<readonly unknown[]> => {
    const results: unknown[] = [];
    for (let from = 0; from < calls.length; from += CALLS_AT_ONCE)
      results.push(...(await post(calls.slice(from, from + CALLS_AT_ONCE))));
    return results;
  };
  return { url, batch, call: async (method, params) => (await post([{ method, params }]))[0] };
}

async function answersTo(url: string, body: string, timeoutMs: number): Promise<readonly Reply[]> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const replies: unknown = await response.json();
    if (!Array.isArray(replies)) throw new Error(`${JSON.stringify(replies).slice(0, 200)}`);
    return replies as readonly Reply[];
  } catch (error) {
    throw new AuditError('CHAIN_UNAVAILABLE', { chain: url, reason: reasonOf(error) }, error);
  }
}
