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

/** Connects. @throws ChainError CHAIN_UNREACHABLE, CHAIN_ID_MISMATCH, CHAIN_LOCKED. */
export async function openAccount(options: AccountOptions): Promise<Account> {
  const { deployment } = options;
  const client = await connectChain({
    rpcUrl: options.rpc,
    expectedChainId: options.chainId,
    privateKey: toHex(options.privateKey),
    ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
    contracts: Object.entries(deployment.contracts).map(([name, address]) => ({
      name,
      address,
      abi: contractInterfaces[name as ContractName].fragments,
    })),
  });
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
