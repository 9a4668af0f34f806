/** Credits that contracts hold for an account: rewards, shares of slashes, fees. Their owner takes them. */
import { moneyHolders } from '#contracts';
import { openKey } from './account.ts';
import type { ChainPort } from './chain-port.ts';

type Holder = (typeof moneyHolders)[number];

/** Withdraws all credits of the account; returns what it got. `status` tells which keys are used. */
export async function withdrawCredits(
  chain: ChainPort<Holder>,
  status: (key: string) => string,
): Promise<bigint> {
  let totalWei = 0n;
  for (const contract of moneyHolders) {
    const creditWei = await chain.read<bigint>(contract, 'credits', chain.self);
    if (creditWei === 0n) continue;
    const key = openKey(`credits/${contract}`, status);
    await chain.submit({ key, contract, fn: 'withdrawCredits', args: [] });
    totalWei += creditWei;
  }
  return totalWei;
}
