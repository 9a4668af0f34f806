/**
 * The stake that a node works with, its own or its owner's: deposits what its roles need, takes the
 * roles, registers to serve. Each step is done once, by its key; what the chain already says is not
 * done again.
 */
import type { Address } from '#crypto';
import type { Stake } from '#protocol';
import type { ChainPort } from './chain-port.ts';

export const ROLE = { provider: 1, verifier: 2 } as const;

/** What nodes and owners read of `Staking.getAccount`; times in Unix seconds, 0 = not asked for. */
export type StakeAccount = {
  readonly freeWei: bigint;
  readonly lockedWei: bigint;
  readonly thawingWei: bigint;
  readonly stakeWei: bigint;
  readonly servingLockWei: bigint;
  readonly thawReadyAt: number;
  readonly servingExitAt: number;
  readonly roles: number;
  readonly listed: boolean;
};

/** The stake that an account works with, and the serving bond of the key that acts. */
export const readStake = (
  chain: Pick<ChainPort<'Staking'>, 'read'>,
  account: Address,
): Promise<StakeAccount> => chain.read('Staking', 'getAccount', account);

export type StakeOptions = {
  readonly chain: ChainPort<'Staking'>;
  readonly targetWei: bigint;
  readonly roles: number;
  readonly serves: boolean;
};

/** Brings the stake to where it should be and returns it. */
export async function ensureStake({
  chain,
  targetWei,
  roles,
  serves,
}: StakeOptions): Promise<StakeAccount> {
  const read = () => readStake(chain, chain.self);
  const submit = (step: string, fn: string, args: readonly unknown[], valueWei = 0n) =>
    chain.submit({ key: `stake/${step}`, contract: 'Staking', fn, args, valueWei });
  const before = await read();
  const steps: Promise<unknown>[] = [];
  // Slashed stake is not topped up by itself, nor what an owner put in: that is for them to decide.
  if (before.stakeWei === 0n && before.roles === 0)
    steps.push(submit('deposit', 'deposit', [], targetWei));
  if (before.roles !== roles) steps.push(submit(`roles/${roles}`, 'setRoles', [roles]));
  await Promise.all(steps);
  // Once for each key, by the outbox: an owner's next key registers anew, a slashed one does not.
  if (serves && before.servingLockWei === 0n) await submit('serve', 'registerServing', []);
  return read();
}

/** Stakes at the end of a block, of everybody who had any as a staker. */
export async function readStakes(
  chain: Pick<ChainPort<'Staking'>, 'read'>,
  atBlock: number,
): Promise<Stake[]> {
  type Page = readonly { readonly owner: Address; readonly stakeWei: bigint }[];
  const count = Number(await chain.read<bigint>('Staking', 'ownerCount'));
  const stakes: Stake[] = [];
  for (let from = 0; from < count; from += STAKERS_PER_READ) {
    const args = [atBlock, from, STAKERS_PER_READ];
    for (const { owner, stakeWei } of await chain.read<Page>('Staking', 'getStakes', ...args))
      if (stakeWei > 0n) stakes.push({ account: owner, stakeWei });
  }
  return stakes;
}

/** A listed staker: the account that acts, and what it acts with. */
export type Staker = {
  readonly account: Address;
  readonly state: { readonly freeWei: bigint; readonly roles: number; readonly stakeWei: bigint };
};

/** Stakers per read: there may be thousands, and a call's gas is bounded. */
const STAKERS_PER_READ = 256;

/** All stakers, in the contract's order. */
export async function readStakers(chain: ChainPort<'Staking'>): Promise<Staker[]> {
  const count = Number(await chain.read<bigint>('Staking', 'stakerCount'));
  const stakers: Staker[] = [];
  for (let from = 0; from < count; from += STAKERS_PER_READ)
    stakers.push(...(await chain.read<Staker[]>('Staking', 'getStakers', from, STAKERS_PER_READ)));
  return stakers;
}
