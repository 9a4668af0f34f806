/** What contributors sign, and their commits with the deposit, for the tests of the registry. */
import { id, type Wallet } from 'ethers';
import type { Chain } from '../harness.ts';
import { bonds, domainOf } from './fixtures.ts';

export const CONTRIBUTION_TYPES = {
  Contribution: [
    { name: 'datanetId', type: 'bytes32' },
    { name: 'contributor', type: 'address' },
    { name: 'commitment', type: 'bytes32' },
    { name: 'recordCount', type: 'uint32' },
  ],
};
export const KEY_TYPES = {
  ContributorKey: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'nonce', type: 'uint256' },
    { name: 'deadline', type: 'uint64' },
  ],
};
export const SALT = id('salt');

export type Committed = {
  readonly datanetId: string;
  readonly who: Wallet;
  readonly root: string;
  readonly count: number;
  /** Who sends and pays; the contributor unless given. */
  readonly sender?: Wallet;
  readonly valueWei?: bigint;
};

/** Commits to records of this root under the contributor's signature; gives the contribution's id. */
export async function commitRecords(
  chain: Chain,
  { datanetId, who, root, count, sender, valueWei }: Committed,
): Promise<bigint> {
  const { DatanetRegistry } = chain.contracts;
  const contributor = who.address;
  const commitment = await DatanetRegistry.commitmentOf(datanetId, contributor, root, count, SALT);
  const signature = await who.signTypedData(
    domainOf(chain, 'DatanetRegistry'),
    CONTRIBUTION_TYPES,
    { datanetId, contributor, commitment, recordCount: count },
  );
  await chain.send(
    sender ?? who,
    'DatanetRegistry',
    'commit',
    [datanetId, contributor, commitment, count, signature],
    valueWei ?? bonds.contributionDepositWei,
  );
  return DatanetRegistry.contributionTotal();
}
