/** `openledger wallet`: keys of people, their balances, and what the swarm owes them. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Deployment } from '#contracts';
import { type Address, addressOfPrivateKey } from '#crypto';
import { connectChain } from '../chain/client.ts';
import { NodeError } from '../errors.ts';
import { type Account, openAccount } from '../services/account.ts';
import { readKey, writeKey } from '../store/key-file.ts';
import type { SwarmFile } from '../swarm-file.ts';
import { formatOpen, parseOpen } from '../units.ts';
import { addressValue, callApi, type GlobalOptions, globals, print, readSwarm } from './session.ts';

export type WalletOptions = {
  readonly wallet: string;
  readonly passwordFile?: string;
  /** A key's own file, in place of a wallet. */
  readonly key?: string;
};

/** Adds the options that name a wallet. */
export function withWallet(command: Command): Command {
  return command
    .option('--wallet <name>', 'name of the wallet', 'default')
    .option('--password-file <file>', 'file that holds the password of an encrypted wallet');
}

/** Adds the options that name a wallet, or a key wherever it is. */
export const withKey = (command: Command): Command =>
  withWallet(command).option('--key <file>', 'file of the key, in place of a wallet');

const folderOf = (options: GlobalOptions): string => join(options.dataDir, 'wallets');
const fileOf = (options: GlobalOptions, name: string): string => {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name))
    throw new NodeError(
      'USAGE',
      { expected: 'letters, digits, - and _', came: name },
      'choose another name',
    );
  return join(folderOf(options), `${name}.json`);
};

/** The private key that the options name. */
export function keyOfWallet(options: GlobalOptions, wallet: WalletOptions): Promise<Uint8Array> {
  return readKey(wallet.key ?? fileOf(options, wallet.wallet), passwordOf(wallet));
}

/** The password in the file that the options name; null where none is named. */
export function passwordOf({ passwordFile }: { passwordFile?: string }): string | null {
  if (passwordFile === undefined) return null;
  if (!existsSync(passwordFile))
    throw new NodeError(
      'FILE_UNREADABLE',
      { file: passwordFile, reason: 'absent' },
      'give the file that holds the password',
    );
  return readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '');
}

/** Opens the chain account of a wallet. */
export function accountOf(
  options: GlobalOptions,
  swarm: Pick<SwarmFile, 'rpc' | 'chainId' | 'deployment'>,
  name: string,
  key: Uint8Array,
): Promise<Account> {
  // With a key from elsewhere the data directory may be new.
  mkdirSync(folderOf(options), { recursive: true });
  return openAccount({
    rpc: swarm.rpc,
    chainId: swarm.chainId,
    deployment: swarm.deployment as Deployment,
    privateKey: key,
    outboxFile: join(folderOf(options), `${name}.outbox`),
    patienceMs: 10_000,
  });
}

export function walletCommand(): Command {
  const wallet = new Command('wallet').description(
    'make keys, see balances, claim what you earned',
  );
  wallet.addCommand(
    withWallet(new Command('new').description('make a key')).action(
      async (own: WalletOptions, command: Command) => {
        const options = globals(command);
        const key = new Uint8Array(randomBytes(32));
        const file = fileOf(options, own.wallet);
        await writeKey(file, key, passwordOf(own));
        const address = addressOfPrivateKey(key);
        print(
          options,
          { ok: true, wallet: own.wallet, address, file },
          `${own.wallet}  ${address}\nkept in ${file}; back it up, nobody else has it`,
        );
      },
    ),
  );
  wallet.addCommand(
    withWallet(new Command('show').description('address, balance and what can be claimed')).action(
      show,
    ),
  );
  wallet.addCommand(
    new Command('list')
      .description('all wallets in the data directory')
      .action((_own, command: Command) => {
        const options = globals(command);
        const folder = folderOf(options);
        const names = existsSync(folder)
          ? readdirSync(folder)
              .filter((name) => name.endsWith('.json'))
              .map((name) => name.slice(0, -5))
          : [];
        print(
          options,
          { ok: true, wallets: names },
          names.length === 0 ? 'none yet; make one with `openledger wallet new`' : names.join('\n'),
        );
      }),
  );
  wallet.addCommand(
    withWallet(new Command('fund').description('local swarm only: take OPEN from its faucet'))
      .option('--amount <open>', 'how much, in OPEN', '100')
      .action(fund),
  );
  wallet.addCommand(
    withWallet(new Command('claim').description('draw what finalised epochs owe to the wallet'))
      .option(
        '--account <address>',
        "claim for another account, such as a cold owner's; the contract pays it",
        addressValue,
      )
      .action(claim),
  );
  return wallet;
}

async function show(own: WalletOptions, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const address = addressOfPrivateKey(await keyOfWallet(options, own));
  const client = await connectChain({
    rpcUrl: swarm.rpc,
    expectedChainId: swarm.chainId,
    privateKey: null,
    patienceMs: 5_000,
  });
  const balanceWei = await client.balance(address);
  client.close();
  const owed = await owedTo(swarm, address);
  print(
    options,
    { ok: true, wallet: own.wallet, address, balanceWei, claimableWei: owed },
    `${own.wallet}  ${address}\nbalance    ${formatOpen(balanceWei)} OPEN\nclaimable  ${formatOpen(owed)} OPEN`,
  );
}

/** What an account may claim now, in wei. */
async function owedTo({ gateway, token }: SwarmFile, address: Address): Promise<bigint> {
  const path = `/swarm/v1/claims/${address}`;
  return BigInt((await callApi<{ claimableWei: string }>(gateway, token, path)).claimableWei);
}

async function fund(own: WalletOptions & { amount: string }, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const amountWei = parseOpen(own.amount);
  if (amountWei === null)
    throw new NodeError(
      'USAGE',
      { expected: 'an amount like 12.5', came: own.amount },
      'give --amount as a decimal number of OPEN',
    );
  const address = addressOfPrivateKey(await keyOfWallet(options, own));
  const sent = await callApi<{ hash: string }>(swarm.gateway, swarm.token, '/swarm/v1/faucet', {
    body: { account: address, amountWei },
  });
  print(
    options,
    { ok: true, address, amountWei, hash: sent.hash },
    `${formatOpen(amountWei)} OPEN sent to ${address}`,
  );
}

async function claim(own: WalletOptions & { account?: Address }, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const address = own.account ?? addressOfPrivateKey(await keyOfWallet(options, own));
  const owed = await owedTo(swarm, address);
  if (owed === 0n) {
    print(
      options,
      { ok: true, address, claimedWei: 0n },
      'nothing to claim yet: epochs are paid after their challenge window',
    );
    return;
  }
  // Anybody may send it, the contract pays the account itself; so a wallet without funds can claim too.
  const sent = await callApi<{ hash: string | null; claimedWei: string }>(
    swarm.gateway,
    swarm.token,
    `/swarm/v1/claims/${address}`,
    { body: {} },
  );
  print(
    options,
    { ok: true, address, claimedWei: sent.claimedWei, hash: sent.hash },
    `claimed ${formatOpen(BigInt(sent.claimedWei))} OPEN to ${address}`,
  );
}
