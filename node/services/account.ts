/**
 * One key on one deployment: the JSON-RPC client, the outbox with its book on disk, and the contracts
 * as a port. Nodes, the story and the commands all act through it.
 */

import { type ContractName, contractInterfaces, type Deployment } from '#contracts';
import { parseAddress, toHex } from '#crypto';
import { type ChainClient, connectChain } from '../chain/client.ts';
import { type Outbox, openOutbox } from '../chain/outbox.ts';
import { type ChainPort, createChainPort } from './chain-port.ts';

export type Account = {
  readonly client: ChainClient;
  readonly outbox: Outbox;
  readonly chain: ChainPort<ContractName>;
  /** The second of the chain's latest block. */
  readonly chainSeconds: () => Promise<number>;
  readonly close: () => Promise<void>;
};

export type AccountOptions = {
  readonly rpc: string;
  readonly chainId: number;
  readonly deployment: Deployment;
  readonly privateKey: Uint8Array;
  /** The outbox's book. One process at a time may have it open. */
  readonly outboxFile: string;
  readonly patienceMs?: number;
};

type ReaderOptions = Pick<AccountOptions, 'rpc' | 'chainId' | 'deployment' | 'patienceMs'>;

const connect = (options: ReaderOptions, privateKey: string | null): Promise<ChainClient> =>
  connectChain({
    rpcUrl: options.rpc,
    expectedChainId: options.chainId,
    privateKey,
    ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
    contracts: Object.entries(options.deployment.contracts).map(([name, address]) => ({
      name,
      address,
      abi: contractInterfaces[name as ContractName].fragments,
    })),
  });

/** What anybody may read, without a key. @throws ChainError CHAIN_UNREACHABLE, CHAIN_ID_MISMATCH. */
export async function openReader(options: ReaderOptions) {
  const client = await connect(options, null);
  const { contracts } = options.deployment;
  const nobody = `0x${'00'.repeat(20)}` as const;
  const { read } = createChainPort<ContractName>(nobody, contracts, contractInterfaces, {
    call: (request) => client.call(request),
    submit: () => Promise.reject(new Error('a reader has no key to submit with')),
  });
  return { client, chain: { read }, close: client.close };
}

/** Connects. @throws ChainError CHAIN_UNREACHABLE, CHAIN_ID_MISMATCH, CHAIN_LOCKED. */
export async function openAccount(options: AccountOptions): Promise<Account> {
  const { deployment } = options;
  const client = await connect(options, toHex(options.privateKey));
  const outbox = await openOutbox(client, options.outboxFile);
  const chain = createChainPort<ContractName>(
    parseAddress(outbox.address),
    deployment.contracts,
    contractInterfaces,
    { call: (request) => client.call(request), submit: (intent) => outbox.submit(intent) },
  );
  return {
    client,
    outbox,
    chain,
    chainSeconds: async () => (await client.block('latest')).timestamp,
    close: async () => {
      await outbox.close();
      client.close();
    },
  };
}

/**
 * The key for doing again what may be done often: the first of `prefix/0`, `prefix/1`, … that is not
 * over, so that what a crash left under way is finished and not done twice.
 */
export function openKey(prefix: string, status: (key: string) => string): string {
  for (let number = 0; ; number += 1) {
    const key = `${prefix}/${number}`;
    if (status(key) !== 'done' && status(key) !== 'reverted') return key;
  }
}
