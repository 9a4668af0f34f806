// JSON-RPC 2.0 over the local chain: parses requests, lets through the methods a stranger may call, and
// words failures the way Ethereum clients expect them.
import type { EngineReply, RpcFailure } from './engine.ts';
import type { LocalChain } from './local-chain.ts';

export type RpcReply =
  | { readonly jsonrpc: '2.0'; readonly id: RpcId; readonly result: unknown }
  | { readonly jsonrpc: '2.0'; readonly id: RpcId; readonly error: RpcFailure };
export type RpcId = string | number | null;

/** Answers one call; eth_subscribe and its like come from the WebSocket side. */
export type RpcCall = (method: string, params: readonly unknown[]) => Promise<EngineReply>;

/** Calls that one batch may hold. */
export const MAX_BATCH_CALLS = 1_000;

/** Methods that the engine answers as they are. Everything not named here or in `own` is refused. */
const ENGINE_METHODS = new Set([
  'eth_blockNumber',
  'eth_call',
  'eth_chainId',
  'eth_estimateGas',
  'eth_feeHistory',
  'eth_getBalance',
  'eth_getBlockByHash',
  'eth_getBlockByNumber',
  'eth_getBlockTransactionCountByHash',
  'eth_getBlockTransactionCountByNumber',
  'eth_getCode',
  'eth_getFilterChanges',
  'eth_getFilterLogs',
  'eth_getLogs',
  'eth_getProof',
  'eth_getStorageAt',
  'eth_getTransactionByBlockHashAndIndex',
  'eth_getTransactionByBlockNumberAndIndex',
  'eth_getTransactionByHash',
  'eth_getTransactionCount',
  'eth_getTransactionReceipt',
  'eth_newBlockFilter',
  'eth_newFilter',
  'eth_newPendingTransactionFilter',
  'eth_syncing',
  'eth_uninstallFilter',
  'net_version',
  'web3_sha3',
]);

/** The public face of a chain. */
export function publicRpc(chain: LocalChain): RpcCall {
  const own: Record<string, (params: readonly unknown[]) => EngineReply | Promise<EngineReply>> = {
    eth_sendRawTransaction: ([raw]) =>
      typeof raw === 'string' && /^0x([0-9a-fA-F]{2})+$/.test(raw)
        ? chain.sendRaw(raw)
        : failed(-32602, 'eth_sendRawTransaction takes one 0x-prefixed byte string'),
    // The base fee never moves and nobody is outbid within the gas limit: a tip buys nothing.
    eth_gasPrice: () => succeeded(`0x${chain.baseFeeWei.toString(16)}`),
    eth_maxPriorityFeePerGas: () => succeeded('0x0'),
    eth_getBlockReceipts: ([block]) => blockReceipts(chain, block),
    eth_accounts: () => succeeded([]),
    net_listening: () => succeeded(true),
    web3_clientVersion: () => succeeded('openledger-chain/1'),
  };
  return async (method, params) => {
    const answer = Object.hasOwn(own, method) ? own[method] : undefined;
    if (answer !== undefined) return await answer(params);
    if (!ENGINE_METHODS.has(method)) {
      return failed(-32601, `The method ${method.slice(0, 64)} does not exist or is not open`);
    }
    const reply = await chain.request(method, params);
    return reply.ok ? reply : { ok: false, error: worded(reply.error) };
  };
}

/** Answers a request body: one call or a batch. Null when nothing is to be answered. */
export async function answerBody(body: string, call: RpcCall): Promise<string | null> {
  let request: unknown;
  try {
    request = JSON.parse(body);
  } catch {
    return JSON.stringify(errorReply(null, -32700, 'The request is not JSON'));
  }
  if (!Array.isArray(request)) {
    const reply = await answerOne(request, call);
    return reply === null ? null : JSON.stringify(reply);
  }
  if (request.length === 0 || request.length > MAX_BATCH_CALLS) {
    const message = `A batch holds 1 to ${MAX_BATCH_CALLS} calls, this one ${request.length}`;
    return JSON.stringify(errorReply(null, -32600, message));
  }
  // All are started in order before any is awaited: transactions of a batch keep their order and
  // may share a block.
  const replies = await Promise.all(request.map((item) => answerOne(item, call)));
  const answers = replies.filter((reply) => reply !== null);
  return answers.length === 0 ? null : JSON.stringify(answers);
}

export function errorReply(id: RpcId, code: number, message: string): RpcReply {
  return { jsonrpc: '2.0', id, error: { code, message } };
}

async function answerOne(request: unknown, call: RpcCall): Promise<RpcReply | null> {
  if (typeof request !== 'object' || request === null) {
    return errorReply(null, -32600, 'A call is a JSON object');
  }
  const { id, method, params = [] } = request as Record<string, unknown>;
  const isId = typeof id === 'string' || typeof id === 'number' || id === null;
  if (typeof method !== 'string' || !Array.isArray(params) || !(isId || id === undefined)) {
    const message = 'A call has an id (string or number), a method (string) and params (array)';
    return errorReply(isId ? id : null, -32600, message);
  }
  const reply = await call(method, params);
  if (!isId) return null;
  const { jsonrpc } = { jsonrpc: '2.0' as const };
  return reply.ok ? { jsonrpc, id, result: reply.result } : { jsonrpc, id, error: reply.error };
}

async function blockReceipts(chain: LocalChain, block: unknown): Promise<EngineReply> {
  const byHash = typeof block === 'string' && block.length === 66;
  const method = byHash ? 'eth_getBlockByHash' : 'eth_getBlockByNumber';
  const reply = await chain.request(method, [block, false]);
  if (!reply.ok) return { ok: false, error: worded(reply.error) };
  if (reply.result === null) return succeeded(null);
  const receipts: unknown[] = [];
  for (const hash of (reply.result as { transactions: string[] }).transactions) {
    const receipt = await chain.request('eth_getTransactionReceipt', [hash]);
    if (!receipt.ok) return receipt;
    receipts.push(receipt.result);
  }
  return succeeded(receipts);
}

/** The engine nests revert data and echoes whole requests; clients look for code 3 and plain data. */
function worded(error: RpcFailure): RpcFailure {
  const data = error.data as { data?: unknown; reason?: { Revert?: unknown } } | null | undefined;
  if (typeof data?.reason?.Revert === 'string' && typeof data.data === 'string') {
    return { code: 3, message: 'execution reverted', data: data.data };
  }
  return { code: error.code, message: error.message };
}

function succeeded(result: unknown): EngineReply {
  return { ok: true, result };
}

function failed(code: number, message: string): EngineReply {
  return { ok: false, error: { code, message } };
}
