// The EVM behind the local chain: EDR in this process, OP chain type, Isthmus (Prague) rules. It mines
// only when told, at the time and with the randomness it is given, so the same calls always give the
// same block hashes. It keeps nothing on disk; the journal does.
import { createRequire } from 'node:module';
import type { EdrContext, Provider } from '@nomicfoundation/edr';
import { atMost } from './at-most.ts';

/** What fixes the genesis block, and with the transactions every later one. */
export type EngineGenesis = {
  readonly chainId: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
  /** Base fee of every block, in wei: it never moves. */
  readonly baseFeeWei: bigint;
  readonly blockGasLimit: number;
  readonly alloc: readonly { readonly address: string; readonly balanceWei: bigint }[];
};

/** One block to be mined: what the miner, not the transactions, decides. */
export type BlockFrame = {
  /** Seconds since 1970, not before the parent's. */
  readonly timestamp: number;
  /** 32 bytes, 0x-prefixed. */
  readonly prevRandao: string;
};

/** A JSON-RPC error as the engine or the server reports it. */
export type RpcFailure = {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
};

export type Engine = {
  /** Any JSON-RPC method; a refusal is a value. */
  request(method: string, params: readonly unknown[]): Promise<EngineReply>;
  /** Mines one block for each frame, in order, with the pending transactions that fit. */
  mine(frames: readonly BlockFrame[]): Promise<void>;
};

export type EngineReply =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: RpcFailure };

/** Name and version of the engine, written into every journal: another one may hash differently. */
export const ENGINE_NAME = 'edr-0.13.0-op-isthmus';

/** EIP-7825, in force on OP chains since Karst: no transaction may ask for more gas than this. */
export const TRANSACTION_GAS_CAP = 16_777_216;

// The largest denominator EDR takes. With elasticity 1 the target is the limit, so the base fee could
// only fall, by (fee / denominator) rounded down = 0: it stays where genesis put it.
const BASE_FEE_DENOMINATOR = 4_294_967_295n;

// The engine answers one call after the other but holds a thread, and what that thread's allocator
// keeps, for each call that waits: 130 calls at once took 1.6 GB and twice as long as four.
const CALLS_AT_ONCE = 4;

type Edr = typeof import('@nomicfoundation/edr');
let context: Promise<{ edr: Edr; context: EdrContext }> | null = null;

/** Starts an engine at its genesis block. */
export async function startEngine(genesis: EngineGenesis): Promise<Engine> {
  context ??= createContext();
  const shared = await context;
  const provider = await createProvider(shared.edr, shared.context, genesis);
  const inTurn = atMost(CALLS_AT_ONCE);
  let lastId = 0;

  async function request(method: string, params: readonly unknown[]): Promise<EngineReply> {
    lastId += 1;
    const call = { jsonrpc: '2.0', id: lastId, method, params };
    const reply = (await inTurn(() => send(provider, call))) as {
      result?: unknown;
      error?: RpcFailure;
    };
    if (reply.error !== undefined) return { ok: false, error: reply.error };
    return { ok: true, result: reply.result ?? null };
  }

  async function mine(frames: readonly BlockFrame[]): Promise<void> {
    const calls = frames.flatMap(({ timestamp, prevRandao }, i) => [
      { jsonrpc: '2.0', id: i, method: 'evm_setNextBlockTimestamp', params: [hex(timestamp)] },
      { jsonrpc: '2.0', id: i, method: 'hardhat_setPrevRandao', params: [prevRandao] },
      { jsonrpc: '2.0', id: i, method: 'evm_mine', params: [] },
    ]);
    // EDR answers a batch with one array of results, and with one error if any call fails.
    const reply = (await send(provider, calls)) as { error?: RpcFailure };
    if (reply.error !== undefined)
      throw new Error(`The engine mined no block: ${reply.error.message}`);
  }

  return { request, mine };
}

async function createContext() {
  // The package is CommonJS and its members are defined at run time, which `import` cannot see.
  const edr = createRequire(import.meta.url)('@nomicfoundation/edr') as Edr;
  const made = new edr.EdrContext();
  await made.registerProviderFactory(edr.OP_CHAIN_TYPE, edr.opProviderFactory());
  return { edr, context: made };
}

function createProvider(edr: Edr, shared: EdrContext, genesis: EngineGenesis): Promise<Provider> {
  const alloc = genesis.alloc.map(({ address, balanceWei }) => ({
    address: Buffer.from(address.slice(2), 'hex'),
    balance: balanceWei,
  }));
  const config = {
    allowBlocksWithSameTimestamp: true,
    allowUnlimitedContractSize: false,
    bailOnCallFailure: true,
    bailOnTransactionFailure: false,
    baseFeeConfig: [
      {
        activation: { blockNumber: 0n },
        maxChangeDenominator: BASE_FEE_DENOMINATOR,
        elasticityMultiplier: 1n,
      },
    ],
    chainId: BigInt(genesis.chainId),
    coinbase: Buffer.alloc(20),
    defaultTransactionGasLimit: BigInt(TRANSACTION_GAS_CAP),
    genesisState: [...edr.opGenesisState(edr.OpHardfork.Isthmus), ...alloc],
    hardfork: edr.ISTHMUS,
    initialBaseFeePerGas: genesis.baseFeeWei,
    initialParentBeaconBlockRoot: Buffer.alloc(32),
    minGasPrice: 0n,
    mining: {
      autoMine: false,
      blockGasLimit: BigInt(genesis.blockGasLimit),
      memPool: { order: edr.MineOrdering.Fifo },
    },
    network: {
      genesisBlockGasLimit: BigInt(genesis.blockGasLimit),
      genesisBlockTime: BigInt(genesis.timestamp),
    },
    networkId: BigInt(genesis.chainId),
    observability: {},
    ownedAccounts: [],
    precompileOverrides: [],
    transactionGasCap: BigInt(TRANSACTION_GAS_CAP),
  };
  const logger = {
    enable: false,
    decodeConsoleLogInputsCallback: () => [],
    printLineCallback: () => undefined,
  };
  const subscription = { subscriptionCallback: () => undefined };
  const decoder = new edr.ContractDecoder();
  return shared.createProvider(edr.OP_CHAIN_TYPE, config, logger, subscription, decoder);
}

async function send(provider: Provider, body: unknown): Promise<unknown> {
  const response = await provider.handleRequest(JSON.stringify(body));
  // EDR hands over an object instead of text when the text would be too long for one string.
  return typeof response.data === 'string' ? JSON.parse(response.data) : response.data;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
