/**
 * `openledger worker`: a node's key that works with the stake of an owner whose own key stays off line.
 * The owner authorises (no network needed), the node's machine sets; doing it again with another
 * worker replaces the one before for ever.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { type Address, addressOfPrivateKey, parseAddress } from '#crypto';
import { encodeWorkerKey, signWorkerKey, type WorkerAuthorisation } from '#protocol';
import { NodeError } from '../errors.ts';
import { openAccount, openReader } from '../services/account.ts';
import { nameWorker, readAuthorisation, readStanding } from '../services/worker.ts';
import { keyAt, readKey } from '../store/key-file.ts';
import {
  addressValue,
  type GlobalOptions,
  globals,
  placeOf,
  print,
  wholeValue,
  withPlace,
} from './session.ts';
import { keyOfWallet, passwordOf, type WalletOptions, withKey } from './wallet.ts';

type NodeKeyOptions = { readonly key?: string; readonly passwordFile?: string };
type PlaceOptions = { readonly swarm?: string };
type AuthoriseOptions = WalletOptions &
  PlaceOptions & {
    readonly worker: Address;
    readonly chainId?: number;
    readonly staking?: Address;
    readonly nonce?: number;
    readonly deadline?: number;
    readonly validHours: number;
    readonly out?: string;
  };

const CONNECT_PATIENCE_MS = 10_000;

const withNodeKey = (command: Command): Command =>
  command
    .option('--key <file>', "the node's key; default: key.json in the data directory")
    .option('--password-file <file>', 'password of an encrypted key');

export function workerCommand(): Command {
  return new Command('worker')
    .description("keys of nodes that work with an owner's stake and can never take it out")
    .addCommand(
      withNodeKey(
        new Command('address').description("this node's address; makes its key when there is none"),
      ).action(showAddress),
    )
    .addCommand(authoriseCommand())
    .addCommand(
      withPlace(
        withNodeKey(
          new Command('set')
            .description("on the node's machine: sign an owner's authorisation too, and send it")
            .argument('<file>', 'what `openledger worker authorise` wrote'),
        ),
      ).action(set),
    )
    .addCommand(
      withPlace(
        withNodeKey(
          new Command('show')
            .description('whose stake an account works with, and which key acts with it now')
            .argument('[address]', "owner or worker; default: this node's key", addressValue),
        ),
      ).action(show),
    );
}

function authoriseCommand(): Command {
  const command = new Command('authorise')
    .description("with the owner's key: name the worker, in place of the one before")
    .requiredOption('--worker <address>', "the node's address", addressValue)
    .option('--chain-id <id>', 'chain id, in place of --swarm', wholeValue)
    .option('--staking <address>', 'Staking contract, in place of --swarm', addressValue)
    .option('--nonce <n>', "the owner's; default: read from the chain", wholeValue)
    .option('--deadline <seconds>', 'Unix time until which it can be sent', wholeValue)
    .option('--valid-hours <n>', 'the same, counted from now', wholeValue, 24)
    .option('--out <file>', 'write it there instead of to standard output')
    .addHelpText(
      'after',
      '\nOff line: give --chain-id, --staking and --nonce, which `openledger worker show OWNER` says.',
    );
  return withPlace(withKey(command)).action(authorise);
}

/** The authorisation in a file. FILE_UNREADABLE says what is wrong with it. */
export function readAuthorisationFile(file: string): WorkerAuthorisation {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new NodeError(
      'FILE_UNREADABLE',
      { file, reason: (error as Error).message },
      'give the file that `openledger worker authorise` wrote',
      error,
    );
  }
  return readAuthorisation(text, file);
}

const nodeKeyFile = ({ dataDir }: GlobalOptions, { key }: NodeKeyOptions): string =>
  key ?? join(dataDir, 'key.json');

async function showAddress(own: NodeKeyOptions, command: Command): Promise<void> {
  const options = globals(command);
  const file = nodeKeyFile(options, own);
  const key = existsSync(file) ? await readKey(file, passwordOf(own)) : await keyAt(file);
  const address = addressOfPrivateKey(key);
  print(options, { ok: true, address, file }, address);
}

async function authorise(own: AuthoriseOptions, command: Command): Promise<void> {
  const options = globals(command);
  const key = await keyOfWallet(options, own);
  const owner = addressOfPrivateKey(key);
  const statement = {
    ...(await whereOf(options, own, owner)),
    owner,
    worker: own.worker,
    deadline: own.deadline ?? Math.floor(Date.now() / 1000) + own.validHours * 3_600,
  };
  const authorisation = { ...statement, ownerSignature: signWorkerKey(statement, key) };
  const text = encodeWorkerKey(authorisation);
  if (own.out === undefined) {
    print(options, { ok: true, authorisation }, text.trimEnd());
    return;
  }
  mkdirSync(dirname(own.out), { recursive: true });
  writeFileSync(`${own.out}.new`, text, { mode: 0o600 });
  renameSync(`${own.out}.new`, own.out);
  const until = new Date(statement.deadline * 1000).toISOString();
  print(
    options,
    { ok: true, authorisation, file: own.out },
    `${owner} lets ${own.worker} work with its stake\nin ${own.out}, to be set until ${until}`,
  );
}

/** Chain, contract and nonce: from the options where all are given, else from the swarm's file and its chain. */
async function whereOf(options: GlobalOptions, own: AuthoriseOptions, owner: Address) {
  const { chainId, staking, nonce } = own;
  if (chainId !== undefined && staking !== undefined && nonce !== undefined)
    return { chainId, staking, nonce };
  const place = placeOf(options, own);
  const where = {
    chainId: chainId ?? place.chainId,
    staking: staking ?? parseAddress(place.deployment.contracts.Staking),
  };
  if (nonce !== undefined) return { ...where, nonce };
  const { chain, close } = await openReader({ ...place, patienceMs: CONNECT_PATIENCE_MS });
  try {
    return { ...where, nonce: Number(await chain.read<bigint>('Staking', 'workerNonce', owner)) };
  } finally {
    close();
  }
}

async function set(
  file: string,
  own: NodeKeyOptions & PlaceOptions,
  command: Command,
): Promise<void> {
  const options = globals(command);
  const authorisation = readAuthorisationFile(file);
  const { owner, worker } = authorisation;
  const privateKey = await readKey(nodeKeyFile(options, own), passwordOf(own));
  mkdirSync(options.dataDir, { recursive: true });
  // The node's own outbox: what a crash leaves under way here, the node's start finishes.
  const account = await openAccount({
    ...placeOf(options, own),
    privateKey,
    outboxFile: join(options.dataDir, 'outbox'),
    patienceMs: CONNECT_PATIENCE_MS,
  });
  try {
    const hash = await nameWorker({ ...account, privateKey }, authorisation);
    const was = hash === null ? 'already worked' : 'now works';
    print(
      options,
      { ok: true, owner, worker, hash },
      `${worker} ${was} with the stake of ${owner}`,
    );
  } finally {
    await account.close();
  }
}

async function show(
  address: Address | undefined,
  own: NodeKeyOptions & PlaceOptions,
  command: Command,
): Promise<void> {
  const options = globals(command);
  const place = placeOf(options, own);
  const account =
    address ?? addressOfPrivateKey(await readKey(nodeKeyFile(options, own), passwordOf(own)));
  const { chain, close } = await openReader({ ...place, patienceMs: CONNECT_PATIENCE_MS });
  try {
    const { owner, worker } = await readStanding(chain, account);
    const nonce = Number(await chain.read<bigint>('Staking', 'workerNonce', owner));
    const isRetired = account !== owner && account !== worker;
    const { chainId } = place;
    const staking = parseAddress(place.deployment.contracts.Staking);
    const lines = [
      `account  ${account}${isRetired ? ', a retired key' : ''}`,
      `owner    ${owner}${owner === account ? ', itself' : ''}`,
      `worker   ${worker}${worker === owner ? ', no key is named' : ''}`,
      `nonce    ${nonce}`,
      `chain    ${chainId}, Staking ${staking}`,
    ];
    print(
      options,
      { ok: true, account, owner, worker, isRetired, nonce, chainId, staking },
      lines.join('\n'),
    );
  } finally {
    close();
  }
}
