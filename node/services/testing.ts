/** For tests of services: a port onto the tests' chain, and blocks in memory. */
import type { TransactionReceipt, Wallet } from 'ethers';
import { contractInterfaces, type Deployment } from '#contracts';
import { parseAddress } from '#crypto';
import { cidOf } from '#protocol';
import { ChainError } from '../chain/errors.ts';
import { createChainPort, type Receipt } from './chain-port.ts';
import type { BlockPort } from './datanets.ts';

/** What the tests' chain gives. */
type TestChain = {
  readonly provider: {
    readonly call: (request: { to: string; data: string }) => Promise<string>;
    readonly getBalance: (address: string) => Promise<bigint>;
  };
  readonly deployment: Deployment;
  readonly sendData: (
    from: Wallet,
    to: string,
    data: string,
    valueWei: bigint,
  ) => Promise<TransactionReceipt>;
};

/** A wallet's port that sends each key once and says when the account cannot pay, as the outbox does. */
export function portOn(chain: TestChain, wallet: Wallet) {
  const sent = new Map<string, Receipt>();
  let queue: Promise<unknown> = Promise.resolve();
  const { address } = wallet;
  const send = async (key: string, to: string, data: string, valueWei: bigint) => {
    const known = sent.get(key);
    if (known !== undefined) return known;
    const balanceWei = await chain.provider.getBalance(address);
    if (balanceWei < valueWei) {
      const details = { address, balanceWei, neededWei: valueWei };
      throw new ChainError('CHAIN_UNFUNDED', `${address} cannot pay it`, details);
    }
    const mined = await chain.sendData(wallet, to, data, valueWei);
    const receipt: Receipt = { ...mined, logs: [...mined.logs] };
    sent.set(key, receipt);
    return receipt;
  };
  return createChainPort(parseAddress(address), chain.deployment.contracts, contractInterfaces, {
    call: (request) => chain.provider.call(request),
    submit: ({ key, to, data, valueWei }) => {
      const receipt = queue.then(() => send(key, to, data, valueWei));
      queue = receipt.catch(() => undefined);
      return receipt;
    },
  });
}

/** Blocks that whoever is given the same map shares. */
export function blocksIn(blocks: Map<string, Uint8Array>): BlockPort {
  const get = async (cid: string): Promise<Uint8Array> => {
    const found = blocks.get(cid);
    if (found === undefined) throw new Error(`nobody has ${cid}`);
    return found;
  };
  const put = async (bytes: Uint8Array): Promise<string> => {
    const cid = cidOf(bytes).toString();
    blocks.set(cid, bytes);
    return cid;
  };
  return {
    get,
    put,
    getLarge: get,
    putLarge: put,
    has: async (cid) => blocks.has(cid),
    provide: async () => true,
  };
}
