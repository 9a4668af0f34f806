/**
 * Every OPEN there is: the balances of all accounts that a block, a transaction, a log or a call ever
 * named, and of the addresses that an OP chain reserves, against what there was in the first block.
 */
import { moneyHolders } from '#contracts';
import type { Chain } from './chain.ts';
import type { Recomputed } from './report.ts';
import { hexOf } from './rpc.ts';

/** One billion OPEN: all there is on a local chain. */
const GENESIS_WEI = 10n ** 27n;
/** Predeploys and fee vaults of an OP chain, and the precompiles of any. */
const PREDEPLOYS = { first: 0x4200000000000000000000000000000000000000n, count: 2_048 };
const PRECOMPILES = { first: 0n, count: 512 };
const reserved = ({ first, count }: { first: bigint; count: number }): string[] =>
  Array.from(
    { length: count },
    (_, i) => `0x${(first + BigInt(i)).toString(16).padStart(40, '0')}`,
  );

export type Conservation = Recomputed & { readonly accounts: number };

/** What is there now less what there was, in wei; or what contracts hold beyond their books. */
export async function auditConservation(chain: Chain): Promise<Conservation> {
  const { rpc, read, contracts, atBlock, history } = chain;
  const accounts = new Set(history.accounts);
  for (const account of [...reserved(PREDEPLOYS), ...reserved(PRECOMPILES)]) accounts.add(account);
  const sumAt = async (block: number): Promise<bigint> => {
    const balances = await rpc.batch(
      [...accounts].map((account) => ({
        method: 'eth_getBalance',
        params: [account, hexOf(block)],
      })),
    );
    return balances.reduce<bigint>((sum, balance) => sum + BigInt(String(balance)), 0n);
  };
  const [genesisWei, foundWei] = [await sumAt(0), await sumAt(atBlock)];
  const faults: string[] = [];
  if (genesisWei !== GENESIS_WEI)
    faults.push(`the first block holds ${genesisWei} wei, not ${GENESIS_WEI}`);
  let astrayWei = 0n;
  for (const name of moneyHolders) {
    const saysWei = await read(name, 'accountedWei', []);
    const holder = [contracts[name], hexOf(atBlock)];
    const hasWei = BigInt(String(await rpc.call('eth_getBalance', holder)));
    if (hasWei !== saysWei) faults.push(`${name} holds ${hasWei} wei, its books say ${saysWei}`);
    astrayWei += hasWei > saysWei ? hasWei - saysWei : saysWei - hasWei;
  }
  const errorWei = astrayWei === 0n ? foundWei - GENESIS_WEI : astrayWei;
  return { value: `${errorWei}`, faults, accounts: accounts.size };
}
