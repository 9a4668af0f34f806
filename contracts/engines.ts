/**
 * The two engines that the contracts' tests run on: the one embedded in this process, and anvil in a process of its own
 * (OPENLEDGER_TEST_ENGINE=anvil). Both by Prague's rules, without base fee, and mining only when told.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import {
  ContractDecoder,
  EdrContext,
  L1_CHAIN_TYPE,
  l1GenesisState,
  l1HardforkFromString,
  l1ProviderFactory,
  MineOrdering,
  PRAGUE,
} from '@nomicfoundation/edr';
import { getBytes, toQuantity } from 'ethers';
import { foundryBinary } from './tools/foundry.ts';

export const TEST_CHAIN_ID = 31_337;
/** EIP-7825: no transaction may use more; no engine enforces it by itself, so the tests do. */
export const MAX_TRANSACTION_GAS = 16_777_216n;
const BLOCK_GAS = 60_000_000n;
const GENESIS_SECONDS = 1_800_000_000;
const COINBASE = '0xc014ba5ec014ba5ec014ba5ec014ba5ec014ba5e';

/** An answer of JSON-RPC, with a revert's bytes as `data` itself. */
export type EngineAnswer = {
  readonly error?: { readonly code: number; readonly message: string; readonly data?: string };
  readonly result: unknown;
};

export type Engine = {
  readonly ask: (request: object) => Promise<EngineAnswer>;
  /** Mines this many blocks, a second apart, the first at a chosen time. */
  readonly mine: (blocks: number, firstAtSeconds: number) => Promise<void>;
};

type Funds = { readonly accounts: readonly string[]; readonly balanceWei: bigint };

/** A new chain on the engine that the environment names, the embedded one unless it does. */
export function createEngine(funds: Funds): Promise<Engine> {
  const name = process.env['OPENLEDGER_TEST_ENGINE'] ?? 'embedded';
  if (name === 'anvil') return anvil(funds);
  if (name === 'embedded') return embedded(funds);
  throw new Error(`Expected OPENLEDGER_TEST_ENGINE to be embedded or anvil, got ${name}.`);
}

async function must(ask: Engine['ask'], method: string, params: unknown[]): Promise<void> {
  const { error } = await ask({ jsonrpc: '2.0', id: 0, method, params });
  if (error !== undefined) throw new Error(`${method}: ${error.message}`);
}

const context = new EdrContext();
const factory = context.registerProviderFactory(L1_CHAIN_TYPE, l1ProviderFactory());

async function embedded({ accounts, balanceWei }: Funds): Promise<Engine> {
  await factory;
  const hardfork = PRAGUE;
  const provider = await context.createProvider(
    L1_CHAIN_TYPE,
    {
      allowBlocksWithSameTimestamp: false,
      allowUnlimitedContractSize: false,
      bailOnCallFailure: true,
      bailOnTransactionFailure: false,
      chainId: BigInt(TEST_CHAIN_ID),
      coinbase: getBytes(COINBASE),
      defaultTransactionGasLimit: MAX_TRANSACTION_GAS,
      genesisState: [
        ...l1GenesisState(l1HardforkFromString(hardfork)),
        ...accounts.map((address) => ({ address: getBytes(address), balance: balanceWei })),
      ],
      hardfork,
      initialBaseFeePerGas: 0n,
      minGasPrice: 0n,
      mining: {
        autoMine: false,
        blockGasLimit: BLOCK_GAS,
        memPool: { order: MineOrdering.Fifo },
      },
      network: { genesisBlockGasLimit: BLOCK_GAS, genesisBlockTime: BigInt(GENESIS_SECONDS) },
      networkId: BigInt(TEST_CHAIN_ID),
      observability: {},
      ownedAccounts: [],
      precompileOverrides: [],
      transactionGasCap: MAX_TRANSACTION_GAS,
    },
    { enable: false, decodeConsoleLogInputsCallback: () => [], printLineCallback: () => {} },
    { subscriptionCallback: () => {} },
    new ContractDecoder(),
  );
  const ask: Engine['ask'] = async (request) => {
    const { data } = await provider.handleRequest(JSON.stringify(request));
    const { error, result } = (typeof data === 'string' ? JSON.parse(data) : data) as {
      readonly error?: {
        readonly code: number;
        readonly message: string;
        readonly data?: { readonly data: string };
      };
      readonly result: unknown;
    };
    if (error === undefined) return { result };
    const { code, message, data: more } = error;
    return {
      error: { code, message, ...(more === undefined ? {} : { data: more.data }) },
      result,
    };
  };
  return {
    ask,
    mine: async (blocks, firstAtSeconds) => {
      await must(ask, 'evm_setNextBlockTimestamp', [firstAtSeconds]);
      await must(ask, 'hardhat_mine', [toQuantity(blocks), '0x1']);
    },
  };
}

async function anvil({ accounts, balanceWei }: Funds): Promise<Engine> {
  const url = await startAnvil();
  const ask: Engine['ask'] = async (request) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    return (await response.json()) as EngineAnswer;
  };
  for (const address of accounts)
    await must(ask, 'anvil_setBalance', [address, toQuantity(balanceWei)]);
  await must(ask, 'anvil_setCoinbase', [COINBASE]);
  // Without it the time between two blocks would be the machine's.
  await must(ask, 'anvil_setBlockTimestampInterval', [1]);
  return {
    ask,
    mine: async (blocks, firstAtSeconds) => {
      await must(ask, 'evm_setNextBlockTimestamp', [firstAtSeconds]);
      await must(ask, 'anvil_mine', [toQuantity(blocks)]);
    },
  };
}

/** Starts anvil on a free port, to end with this process. */
function startAnvil(): Promise<string> {
  const flags: Record<string, string> = {
    port: '0',
    'chain-id': String(TEST_CHAIN_ID),
    hardfork: 'prague',
    timestamp: String(GENESIS_SECONDS),
    'gas-limit': String(BLOCK_GAS),
    'base-fee': '0',
    'gas-price': '0',
    order: 'fifo',
    accounts: '1',
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(foundryBinary('anvil'), ['--no-mining', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const end = () => child.kill();
  process.on('exit', end);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      process.off('exit', end);
      reject(new Error(`anvil ended with ${code} before it listened`));
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const found = /^Listening on (\S+)/.exec(line);
      if (found === null) return;
      // Neither the child nor what it prints keeps a finished test alive.
      child.unref();
      (child.stdout as unknown as { unref(): void }).unref();
      resolve(`http://${found[1]}`);
    });
  });
}
