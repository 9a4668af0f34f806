// The client side of a chain, local or remote: ethers over a transport that waits for a chain process
// that died, plus cheap batched reads and logs with a cursor.

import { setTimeout as pause } from 'node:timers/promises';
import { type JsonRpcPayload, JsonRpcProvider, type JsonRpcResult, Network, Wallet } from 'ethers';
import { ChainError, isChainError } from './errors.ts';
import {
  type DecodedRevert,
  type KnownContract,
  type RevertDecoder,
  revertDecoder,
} from './reverts.ts';
import { openTransport, type Transport } from './transport.ts';

export type ConnectOptions = {
  readonly rpcUrl: string;
  readonly expectedChainId: number;
  /** Signs transactions; null for a client that only reads. */
  readonly privateKey: string | null;
  /** How long a request may wait for a chain that does not answer, ms. */
  readonly patienceMs?: number;
  readonly pollMs?: number;
  /** Contracts whose custom errors are to be named. */
  readonly contracts?: readonly KnownContract[];
};

export type ContractCall = { readonly to: string; readonly data: string; readonly from?: string };

export type ChainLog = {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
  readonly blockNumber: number;
  readonly transactionHash: string;
  readonly logIndex: number;
};

export type LogFilter = {
  readonly address?: string | readonly string[];
  readonly topics?: readonly (string | readonly string[] | null)[];
};

export type ChainBlock = {
  readonly number: number;
  readonly hash: string;
  readonly timestamp: number;
  readonly prevRandao: string;
};

export type ChainClient = {
  readonly rpcUrl: string;
  readonly chainId: number;
  readonly genesisHash: string;
  readonly pollMs: number;
  /** For ethers contracts; shares the patient transport. */
  readonly provider: JsonRpcProvider;
  readonly signer: Wallet | null;
  readonly address: string | null;
  request(method: string, params: readonly unknown[]): Promise<unknown>;
  /** One read. @throws ChainError CHAIN_REVERTED with the decoded error. */
  call(call: ContractCall, blockTag?: string): Promise<string>;
  /** Many reads in one HTTP request. */
  calls(calls: readonly ContractCall[], blockTag?: string): Promise<string[]>;
  blockNumber(): Promise<number>;
  block(tag: number | 'latest'): Promise<ChainBlock>;
  balance(address: string): Promise<bigint>;
  /** Resolves when the head has reached `number`. */
  waitForBlock(number: number, signal?: AbortSignal): Promise<void>;
  /** Logs from `fromBlock` to the head; `nextBlock` is where the next call has to go on. */
  logs(filter: LogFilter, fromBlock: number): Promise<{ logs: ChainLog[]; nextBlock: number }>;
  /**
   * Hands over logs as blocks come, each range once and in order, and after each range (also an empty
   * one) the block to resume from. Ends when `signal` aborts; a throw of `take` ends it too.
   */
  followLogs(
    filter: LogFilter,
    fromBlock: number,
    take: (logs: ChainLog[], nextBlock: number) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Teaches the client more contracts, when their addresses become known. */
  knowContracts(contracts: readonly KnownContract[]): void;
  decodeRevert(to: string | null, data: string): DecodedRevert;
  close(): void;
};

export const DEFAULT_PATIENCE_MS = 30_000;
const DEFAULT_POLL_MS = 200;
/** Blocks asked for at once, below the limits that public endpoints set. */
const LOG_RANGE_BLOCKS = 2_000;

/**
 * Connects to a chain.
 * @throws ChainError CHAIN_UNREACHABLE after `patienceMs`, CHAIN_ID_MISMATCH.
 */
export async function connectChain(options: ConnectOptions): Promise<ChainClient> {
  const { rpcUrl, expectedChainId, privateKey } = options;
  const transport = openTransport(rpcUrl, options.patienceMs ?? DEFAULT_PATIENCE_MS);
  const genesisHash = await checkChain(transport, rpcUrl, expectedChainId).catch((error) => {
    transport.close();
    throw error;
  });
  const pollMs = options.pollMs ?? DEFAULT_POLL_MS;
  const provider = new PatientProvider(transport, rpcUrl, expectedChainId, pollMs);
  const signer = privateKey === null ? null : new Wallet(privateKey, provider);
  const reverts = revertDecoder();
  reverts.know(options.contracts ?? []);
  return {
    rpcUrl,
    chainId: expectedChainId,
    genesisHash,
    pollMs,
    provider,
    signer,
    address: signer?.address ?? null,
    ...reads(transport, reverts, pollMs),
    knowContracts: reverts.know,
    decodeRevert: reverts.decode,
    close() {
      provider.destroy();
      transport.close();
    },
  };
}

/** ethers' provider with our transport under it. */
class PatientProvider extends JsonRpcProvider {
  readonly #transport: Transport;

  constructor(transport: Transport, rpcUrl: string, chainId: number, pollMs: number) {
    const network = new Network('openledger', chainId);
    super(rpcUrl, network, { staticNetwork: network, cacheTimeout: -1, batchStallTime: 0 });
    this.#transport = transport;
    this.pollingInterval = pollMs;
  }

  override async _send(payload: JsonRpcPayload | JsonRpcPayload[]): Promise<JsonRpcResult[]> {
    const payloads = Array.isArray(payload) ? payload : [payload];
    return (await this.#transport.send(payloads)) as JsonRpcResult[];
  }
}

async function checkChain(transport: Transport, rpcUrl: string, chainId: number): Promise<string> {
  const [id, genesis] = await Promise.all([
    transport.request('eth_chainId', []),
    transport.request('eth_getBlockByNumber', ['0x0', false]),
  ]);
  const [expected, found] = [String(chainId), String(Number(id))];
  if (expected !== found) {
    const message =
      `The chain at ${rpcUrl} has id ${found}, not ${expected}: ` +
      'correct the address, or set the chain id that you mean.';
    throw new ChainError('CHAIN_ID_MISMATCH', message, { expected, found, where: rpcUrl });
  }
  return (genesis as { hash: string }).hash;
}

function reads(transport: Transport, reverts: RevertDecoder, pollMs: number) {
  const { request } = transport;
  const blockNumber = async () => Number(await request('eth_blockNumber', []));

  async function call(what: ContractCall, blockTag = 'latest'): Promise<string> {
    try {
      return (await request('eth_call', [what, blockTag])) as string;
    } catch (error) {
      throw asReverted(error, what.to, null, reverts);
    }
  }

  async function logs(filter: LogFilter, fromBlock: number) {
    const head = await blockNumber();
    const last = Math.min(head, fromBlock + LOG_RANGE_BLOCKS - 1);
    if (last < fromBlock) return { logs: [], nextBlock: fromBlock };
    const range = { ...filter, fromBlock: hex(fromBlock), toBlock: hex(last) };
    const found = (await request('eth_getLogs', [range])) as RawLog[];
    return { logs: found.map(parseLog), nextBlock: last + 1 };
  }

  return {
    request,
    call,
    calls: (all: readonly ContractCall[], blockTag = 'latest') =>
      Promise.all(all.map((one) => call(one, blockTag))),
    blockNumber,
    async block(tag: number | 'latest'): Promise<ChainBlock> {
      const id = typeof tag === 'number' ? hex(tag) : tag;
      const block = (await request('eth_getBlockByNumber', [id, false])) as RawBlock;
      const { hash, mixHash } = block;
      const [number, timestamp] = [Number(block.number), Number(block.timestamp)];
      return { number, hash, timestamp, prevRandao: mixHash };
    },
    balance: async (address: string) =>
      BigInt((await request('eth_getBalance', [address, 'latest'])) as string),
    async waitForBlock(number: number, signal?: AbortSignal): Promise<void> {
      while ((await blockNumber()) < number) await pause(pollMs, undefined, signal && { signal });
    },
    logs,
    async followLogs(
      filter: LogFilter,
      fromBlock: number,
      take: (logs: ChainLog[], nextBlock: number) => Promise<void> | void,
      signal: AbortSignal,
    ): Promise<void> {
      let from = fromBlock;
      while (!signal.aborted) {
        const range = await logs(filter, from);
        if (range.nextBlock > from) await take(range.logs, range.nextBlock);
        const isBehind = range.nextBlock - from === LOG_RANGE_BLOCKS;
        from = range.nextBlock;
        if (!isBehind) await pause(pollMs, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}

/** A refusal that is a revert, in words; any other error as it is. */
export function asReverted(
  error: unknown,
  to: string | null,
  hash: string | null,
  reverts: Pick<RevertDecoder, 'decode'>,
): unknown {
  if (!isChainError(error, 'CHAIN_REFUSED') || error.details.data === null) return error;
  return revertedError(reverts.decode(to, error.details.data), hash);
}

export function revertedError(revert: DecodedRevert, hash: string | null) {
  const reason = revert.error === '' ? 'without a known reason' : `with ${revert.error}`;
  const args = revert.args.length > 0 ? `(${revert.args.join(', ')})` : '';
  const message = `${revert.contract} reverted ${reason}${args}.`;
  return new ChainError('CHAIN_REVERTED', message, { ...revert, hash });
}

type RawBlock = { number: string; hash: string; timestamp: string; mixHash: string };
export type RawLog = {
  address: string;
  topics: string[];
  data: string;
  blockNumber: string;
  transactionHash: string;
  logIndex: string;
};

export function parseLog(log: RawLog): ChainLog {
  const { address, topics, data, transactionHash } = log;
  const [blockNumber, logIndex] = [Number(log.blockNumber), Number(log.logIndex)];
  return { address, topics, data, blockNumber, transactionHash, logIndex };
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
