/**
 * Every OPEN there is, account by account. On the local chain all of it came from one genesis
 * account, so what is missing or too much is an error of the system. Whoever the chain has ever named
 * counts, also people who came to the swarm from outside the story.
 */

import type { ContractName } from '#contracts';
import type { Address } from '#crypto';
import type { ChainClient } from '../chain/client.ts';
import type { ChainPort } from '../services/chain-port.ts';

/** Where an OP chain keeps what fees were paid: sequencer, base fee, L1 fee, operator fee. */
const FEE_VAULTS = [
  '0x4200000000000000000000000000000000000011',
  '0x4200000000000000000000000000000000000019',
  '0x420000000000000000000000000000000000001a',
  '0x420000000000000000000000000000000000001b',
] as const;

export type Holding = { readonly account: string; readonly name: string; readonly wei: bigint };

export type Accounting = {
  /** The block whose state this is. */
  readonly block: number;
  readonly genesisWei: bigint;
  readonly holdings: readonly Holding[];
  /** Everything found less everything there was. */
  readonly errorWei: bigint;
  /** What each contract says it holds less what it does hold, summed. */
  readonly bucketErrorWei: bigint;
};

const BUCKETS: readonly ContractName[] = [
  'Staking',
  'TaskEscrow',
  'InferenceEscrow',
  'Epochs',
  'EpochDisputes',
  'DatanetRegistry',
];

/** A look at balances is repeated until no block came between; blocks are rarer than looks. */
const LOOKS_MAX = 10;

/** Sums the balances of all accounts that the chain knows against the genesis amount, at one block. */
export async function account(
  client: ChainClient,
  chain: ChainPort<ContractName>,
  contracts: Readonly<Record<ContractName, string>>,
  people: ReadonlyMap<Address, string>,
  genesisWei: bigint,
): Promise<Accounting> {
  const named = new Map<string, string>([
    ...people,
    ...Object.entries(contracts).map(([name, at]): [string, string] => [at.toLowerCase(), name]),
    ...FEE_VAULTS.map((at): [string, string] => [at, 'fees']),
  ]);
  const head = await client.blockNumber();
  for (const each of [...(await partiesTo(client, head)), ...(await eventParties(client, head))])
    if (!named.has(each)) named.set(each, `${each.slice(0, 10)}…`);
  for (let look = 1; ; look += 1) {
    const block = await client.blockNumber();
    const holdings = await Promise.all(
      [...named].map(async ([holder, name]) => ({
        account: holder,
        name,
        wei: await client.balance(holder),
      })),
    );
    const bucketErrorWei = await bucketError(client, chain, contracts);
    if ((await client.blockNumber()) !== block && look < LOOKS_MAX) continue;
    const foundWei = holdings.reduce((sum, { wei }) => sum + wei, 0n);
    return { block, genesisWei, holdings, errorWei: foundWei - genesisWei, bucketErrorWei };
  }
}

async function bucketError(
  client: ChainClient,
  chain: ChainPort<ContractName>,
  contracts: Readonly<Record<ContractName, string>>,
): Promise<bigint> {
  let errorWei = 0n;
  for (const name of BUCKETS) {
    const [saysWei, hasWei] = await Promise.all([
      chain.read<bigint>(name, 'accountedWei'),
      client.balance(contracts[name]),
    ]);
    errorWei += hasWei > saysWei ? hasWei - saysWei : saysWei - hasWei;
  }
  return errorWei;
}

type Block = {
  readonly transactions: readonly { readonly from: string; readonly to: string | null }[];
};
const BLOCKS_AT_ONCE = 200;

/** Every account that has sent or been sent a transaction. */
async function partiesTo(client: ChainClient, head: number): Promise<Set<string>> {
  const found = new Set<string>();
  for (let from = 0; from <= head; from += BLOCKS_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(BLOCKS_AT_ONCE, head + 1 - from) }, (_, i) =>
      client.request('eth_getBlockByNumber', [`0x${(from + i).toString(16)}`, true]),
    );
    for (const { transactions } of (await Promise.all(numbers)) as Block[])
      for (const { from: sender, to } of transactions) {
        found.add(sender.toLowerCase());
        if (to !== null) found.add(to.toLowerCase());
      }
  }
  return found;
}

/** Twelve bytes of zeros, and then not a small number. */
const ADDRESS_WORD = /^0x0{24}(?!0{8})/;

/** Every account that an event names. */
async function eventParties(client: ChainClient, head: number): Promise<Set<string>> {
  const found = new Set<string>();
  for (let from = 0; from <= head; ) {
    const { logs, nextBlock } = await client.logs({}, from);
    for (const topic of logs.flatMap(({ topics }) => topics.slice(1)))
      if (ADDRESS_WORD.test(topic)) found.add(`0x${topic.slice(26).toLowerCase()}`);
    if (nextBlock === from) break;
    from = nextBlock;
  }
  return found;
}
