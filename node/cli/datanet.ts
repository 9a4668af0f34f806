/** `openledger datanet`: create a datanet, add a file of one's own, see what became of it. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { Command } from 'commander';
import type { Deployment } from '#contracts';
import { type Bytes32, parseAddress } from '#crypto';
import { chunkText, PERSONAL_CHUNKS } from '#runtime';
import { NodeError } from '../errors.ts';
import { contribute, rotateKey } from '../services/contributing.ts';
import type { SwarmFile } from '../swarm-file.ts';
import { contributionApi, rotationApi } from './contribution-api.ts';
import { callApi, globals, print, readSwarm } from './session.ts';
import { keyOfWallet, type WalletOptions, withWallet } from './wallet.ts';

const FILE_BYTES_MAX = 5 * 1024 * 1024;

type DatanetView = {
  readonly id: Bytes32;
  readonly name: string;
  readonly curator: string;
  readonly versionCount: number;
};
type ContributionView = {
  readonly id: number;
  readonly contributor: string;
  readonly recordCount: number;
  readonly stateName: string;
  readonly earlierRecordHash: string;
};

export function datanetCommand(): Command {
  const datanet = new Command('datanet').description(
    'community datasets: create, contribute, look',
  );
  datanet.addCommand(
    new Command('create')
      .description('create a datanet that a node of the swarm curates')
      .argument('<name>', 'its name')
      .option('--licence <id>', 'SPDX identifier', 'CC-BY-4.0')
      .action(async (name: string, own: { licence: string }, command: Command) => {
        const options = globals(command);
        const swarm = readSwarm(options.dataDir);
        const { datanetId } = await callApi<{ datanetId: Bytes32 }>(
          swarm.gateway,
          swarm.token,
          '/swarm/v1/datanets',
          { body: { name, licence: own.licence } },
        );
        print(options, { ok: true, name, datanetId }, `${name}  ${datanetId}`);
      }),
  );
  datanet.addCommand(
    new Command('list').description('all datanets').action(async (_own, command: Command) => {
      const options = globals(command);
      const datanets = await listDatanets(readSwarm(options.dataDir));
      print(
        options,
        { ok: true, datanets },
        datanets
          .map((each) => `${each.name.padEnd(28)} version ${each.versionCount}  ${each.id}`)
          .join('\n') || 'none yet; `openledger datanet create NAME`',
      );
    }),
  );
  datanet.addCommand(
    withWallet(
      new Command('add')
        .description('contribute a text file (.md, .txt, .jsonl with a "text" field) as records')
        .argument('<file>', 'the file')
        .requiredOption('--datanet <name>', 'name or id of the datanet')
        .option('--wait <seconds>', 'how long to wait for the curator', '60'),
    ).action(add),
  );
  datanet.addCommand(
    withWallet(
      new Command('rotate-key')
        .description("put another wallet's key in the place of a contributor's")
        .requiredOption('--to <wallet>', 'wallet of the new key')
        .option('--to-password-file <file>', 'file that holds the password of the new wallet'),
    ).action(rotate),
  );
  return datanet;
}

export async function listDatanets(swarm: SwarmFile): Promise<readonly DatanetView[]> {
  const reply = await callApi<{ datanets: DatanetView[] }>(
    swarm.gateway,
    swarm.token,
    '/swarm/v1/datanets',
  );
  return reply.datanets;
}

/** The datanet of that name or id; NOT_FOUND lists what there is. */
export async function findDatanet(swarm: SwarmFile, name: string): Promise<DatanetView> {
  const datanets = await listDatanets(swarm);
  const found = datanets.find((each) => each.name === name || each.id === name.toLowerCase());
  if (found === undefined)
    throw new NodeError(
      'NOT_FOUND',
      { what: 'datanet', name },
      `there are: ${datanets.map((each) => each.name).join(', ') || 'none'}`,
    );
  return found;
}

/** The records of a file, by its form. */
export function recordsOfFile(file: string): string[] {
  if (!existsSync(file))
    throw new NodeError('FILE_UNREADABLE', { file, reason: 'absent' }, 'give a file that exists');
  if (statSync(file).size > FILE_BYTES_MAX)
    throw new NodeError(
      'FILE_UNREADABLE',
      { file, reason: `larger than ${FILE_BYTES_MAX} bytes` },
      'split it and add the parts one by one',
    );
  const text = readFileSync(file, 'utf8');
  const records = file.endsWith('.jsonl') ? linesOf(file, text) : chunkText(text, PERSONAL_CHUNKS);
  if (records.length === 0)
    throw new NodeError(
      'FILE_UNREADABLE',
      { file, reason: 'no sentence in it' },
      'records are made of sentences; code and links alone are left out',
    );
  return records;
}

function linesOf(file: string, text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, at) => {
      const fail = (reason: string) =>
        new NodeError(
          'FILE_UNREADABLE',
          { file, reason: `line ${at + 1}: ${reason}` },
          'each line is an object with a "text" field',
        );
      let body: unknown;
      try {
        body = JSON.parse(line);
      } catch {
        throw fail('not JSON');
      }
      const value = (body as { text?: unknown } | null)?.text;
      if (typeof value !== 'string') throw fail('no "text"');
      return value;
    });
}

type AddOptions = WalletOptions & { readonly datanet: string; readonly wait: string };

async function add(file: string, own: AddOptions, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const key = await keyOfWallet(options, own);
  const records = recordsOfFile(file);
  const datanet = await findDatanet(swarm, own.datanet);
  if (!options.json)
    process.stderr.write(
      `${records.length} records; the first: ${JSON.stringify(records[0]?.slice(0, 80))}\n`,
    );
  const id = await contribute(contributionApi(swarm.gateway, swarm.token), {
    privateKey: key,
    datanetId: datanet.id,
    records,
    chainId: swarm.chainId,
    registry: parseAddress((swarm.deployment as Deployment).contracts.DatanetRegistry),
  });
  const ended = await settled(swarm, id, Number(own.wait) * 1000);
  const version = await versionAfter(swarm, datanet, ended.stateName, Number(own.wait) * 1000);
  print(
    options,
    {
      ok: ended.stateName !== 'refused',
      contributionId: id,
      records: records.length,
      state: ended.stateName,
      earlierRecord: ended.earlierRecordHash,
      version,
    },
    ended.stateName === 'refused'
      ? `contribution ${id} refused: its records copy ${ended.earlierRecordHash} and others`
      : `contribution ${id}: ${records.length} records ${ended.stateName}, datanet ${datanet.name} version ${version}`,
  );
}

type RotateOptions = WalletOptions & { readonly to: string; readonly toPasswordFile?: string };

async function rotate(own: RotateOptions, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const { to, toPasswordFile: passwordFile } = own;
  const next = { wallet: to, ...(passwordFile === undefined ? {} : { passwordFile }) };
  const account = await rotateKey(rotationApi(swarm.gateway, swarm.token), {
    from: await keyOfWallet(options, own),
    to: await keyOfWallet(options, next),
    chainId: swarm.chainId,
    registry: parseAddress((swarm.deployment as Deployment).contracts.DatanetRegistry),
    nowSeconds: Math.floor(Date.now() / 1000),
  });
  print(
    options,
    { ok: true, wallet: own.wallet, to, account },
    `${to} (${account}) contributes from now on in the place of ${own.wallet}; keep the old key, versions published before pay to it`,
  );
}

async function settled(
  swarm: SwarmFile,
  id: number,
  patienceMs: number,
): Promise<ContributionView> {
  const untilMs = Date.now() + patienceMs;
  for (;;) {
    const view = await callApi<ContributionView>(
      swarm.gateway,
      swarm.token,
      `/swarm/v1/contributions/${id}`,
    );
    const open = view.stateName === 'committed' || view.stateName === 'revealed';
    if (!open || Date.now() > untilMs) return view;
    await wait(300);
  }
}

/** The version that holds an accepted contribution, once the curator has published it. */
async function versionAfter(
  swarm: SwarmFile,
  before: DatanetView,
  state: string,
  patienceMs: number,
): Promise<number> {
  const untilMs = Date.now() + patienceMs;
  for (;;) {
    const now = await findDatanet(swarm, before.id);
    if (state !== 'accepted' || now.versionCount > before.versionCount || Date.now() > untilMs)
      return now.versionCount;
    await wait(300);
  }
}
