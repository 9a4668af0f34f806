/**
 * Everything that happened on a chain up to a block: the events of our contracts in order, and every
 * account that a transaction, a log or a block names.
 */
import { getCreateAddress } from 'ethers';
import { type Deployment, decodeEvent } from '#contracts';
import { hexOf, type Rpc } from './rpc.ts';

export type ChainEvent = {
  readonly contract: string;
  readonly event: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly blockNumber: number;
  readonly transaction: string;
};

export type History = {
  readonly blocks: number;
  readonly transactions: number;
  readonly events: readonly ChainEvent[];
  /** Lower-case. Words that only look like addresses are among them; they hold nothing. */
  readonly accounts: ReadonlySet<string>;
  /** The events of one kind, in order. */
  readonly of: (contract: string, event: string) => readonly ChainEvent[];
};

type Transaction = {
  readonly hash: string;
  readonly from: string;
  readonly to: string | null;
  readonly nonce: string;
  readonly input: string;
};
type Block = { readonly miner: string; readonly transactions: readonly Transaction[] };
type Log = {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
  readonly blockNumber: string;
  readonly transactionHash: string;
};

const BLOCKS_AT_ONCE = 200;
const SELECTOR_END = 10;

/** Walks blocks 0 … atBlock, a few hundred at a time. */
export async function readHistory(
  rpc: Rpc,
  contracts: Deployment['contracts'],
  atBlock: number,
): Promise<History> {
  const events: ChainEvent[] = [];
  const accounts = new Set<string>();
  let transactions = 0;
  for (let from = 0; from <= atBlock; from += BLOCKS_AT_ONCE) {
    const until = Math.min(from + BLOCKS_AT_ONCE - 1, atBlock);
    const numbers = Array.from({ length: until - from + 1 }, (_, i) => from + i);
    const blocks = await rpc.batch(
      numbers.map((n) => ({ method: 'eth_getBlockByNumber', params: [hexOf(n), true] })),
    );
    for (const block of blocks as readonly Block[]) {
      accounts.add(block.miner.toLowerCase());
      for (const transaction of block.transactions) addAccounts(accounts, transaction);
      transactions += block.transactions.length;
    }
    const range = { fromBlock: hexOf(from), toBlock: hexOf(until) };
    for (const log of (await rpc.call('eth_getLogs', [range])) as readonly Log[]) {
      accounts.add(log.address.toLowerCase());
      for (const word of [...log.topics, ...wordsOf(log.data.slice(2))]) addWord(accounts, word);
      const decoded = decodeEvent({ contracts }, log);
      if (decoded === null) continue;
      events.push({
        contract: decoded.contract,
        event: decoded.event,
        args: decoded.args.toObject(),
        blockNumber: Number(log.blockNumber),
        transaction: log.transactionHash,
      });
    }
  }
  return {
    blocks: atBlock + 1,
    transactions,
    events,
    accounts,
    of: (contract, event) =>
      events.filter((each) => each.contract === contract && each.event === event),
  };
}

function addAccounts(accounts: Set<string>, { from, to, nonce, input }: Transaction): void {
  accounts.add(from.toLowerCase());
  if (to === null) {
    accounts.add(getCreateAddress({ from, nonce: Number(nonce) }).toLowerCase());
    return;
  }
  accounts.add(to.toLowerCase());
  for (const word of wordsOf(input.slice(SELECTOR_END))) addWord(accounts, word);
}

function wordsOf(hex: string): readonly string[] {
  return Array.from({ length: hex.length >> 6 }, (_, i) => `0x${hex.slice(i * 64, (i + 1) * 64)}`);
}

/** A word with twelve zero bytes first may be an address; small numbers are addresses too. */
function addWord(accounts: Set<string>, word: string): void {
  if (/^0x0{24}/.test(word)) accounts.add(`0x${word.slice(26).toLowerCase()}`);
}
