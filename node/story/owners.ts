/**
 * Owners of a local swarm whose nodes run with worker keys: each has its key beside the nodes' folders,
 * stakes, and authorises its node. The nodes are given the authorisation and nothing else.
 */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Deployment } from '#contracts';
import { type Address, addressOfPrivateKey, parseAddress } from '#crypto';
import { encodeWorkerKey, signWorkerKey } from '#protocol';
import { type Account, openAccount } from '../services/account.ts';
import { keyAt } from '../store/key-file.ts';

export type OwnersOptions = {
  readonly dataDir: string;
  readonly rpc: string;
  readonly chainId: number;
  readonly deployment: Deployment;
  readonly operator: Account;
};

const STAKE_WEI = 200n * 10n ** 18n;
/** The stake, and what its transaction costs. */
const FUNDS_WEI = STAKE_WEI + 10n ** 18n;
const VALID_SECONDS = 365 * 24 * 3_600;

/** The file of the authorisation of a node's key by its owner, who has staked; made once. */
export async function authorisationFor(
  { dataDir, operator, ...place }: OwnersOptions,
  name: string,
  worker: Address,
): Promise<string> {
  const folder = join(dataDir, 'owners');
  const file = join(folder, `${name}.authorisation.json`);
  if (existsSync(file)) return file;
  mkdirSync(folder, { recursive: true });
  const privateKey = await keyAt(join(folder, `${name}.json`));
  const owner = addressOfPrivateKey(privateKey);
  const funds = { to: owner, data: '0x', valueWei: FUNDS_WEI };
  await operator.outbox.submit({ key: `fund/${owner}`, ...funds });
  const outboxFile = join(folder, `${name}.outbox`);
  const account = await openAccount({ ...place, privateKey, outboxFile, patienceMs: 60_000 });
  try {
    const deposit = { contract: 'Staking', fn: 'deposit', args: [] } as const;
    await account.chain.submit({ key: 'stake', ...deposit, valueWei: STAKE_WEI });
  } finally {
    await account.close();
  }
  const statement = {
    chainId: place.chainId,
    staking: parseAddress(place.deployment.contracts.Staking),
    ...{ owner, worker, nonce: 0 },
    deadline: Math.floor(Date.now() / 1000) + VALID_SECONDS,
  };
  const ownerSignature = signWorkerKey(statement, privateKey);
  writeFileSync(`${file}.new`, encodeWorkerKey({ ...statement, ownerSignature }));
  renameSync(`${file}.new`, file);
  return file;
}
