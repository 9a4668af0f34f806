/** `openledger up`: one node of a swarm. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { parseAddress } from '#crypto';
import type { WeightFormat } from '#runtime';
import { NodeError } from '../errors.ts';
import { baseFolder, shippedBase } from '../paths.ts';
import { DRAND_SERVERS } from '../services/drand-http.ts';
import { keyAt, readKey } from '../store/key-file.ts';
import { readJoinFile } from '../swarm-file.ts';
import { globals } from './session.ts';
import { readAuthorisationFile } from './worker.ts';

type UpOptions = {
  readonly swarm: string;
  readonly name: string;
  readonly key?: string;
  readonly passwordFile?: string;
  readonly port: string;
  readonly apiPort: string;
  readonly bootstrap: string[];
  readonly base: string;
  readonly threads: string;
  readonly weights: WeightFormat;
  readonly gateway: boolean;
  readonly challenge: boolean;
  readonly preset: string;
  readonly drand: string[];
  readonly inflate?: string;
  readonly authorisation?: string;
};

const WEIGHT_FORMATS: readonly WeightFormat[] = ['f32', 'bf16', 'f16', 'int8'];

export function upCommand(): Command {
  return new Command('up')
    .description('run one node: joins a swarm, stakes, trains, verifies, serves')
    .requiredOption('--swarm <file>', 'chain and contracts: the join.json of a swarm')
    .option('--name <name>', 'how it calls itself', 'node')
    .option('--key <file>', 'its key; made in the data directory when absent')
    .option('--password-file <file>', 'password of an encrypted key')
    .option(
      '--authorisation <file>',
      "its owner's (`openledger worker authorise`): it works with that owner's stake from now on",
    )
    .option('--port <port>', 'TCP port for peers; 0 = any free one', '0')
    .option('--api-port <port>', 'TCP port of its HTTP API on loopback; 0 = any free one', '0')
    .option('--bootstrap <address...>', 'peers to join through', [])
    .option('--base <dir>', 'base model in Hugging Face layout', shippedBase())
    .option('--threads <n>', 'compute threads', '2')
    .addOption(
      new Option('--weights <format>', 'how the weights that write answers stay in memory')
        .choices(WEIGHT_FORMATS)
        .default('f32'),
    )
    .option('--gateway', 'answer clients with the OpenAI protocol', false)
    .option('--no-challenge', 'look at receipts, but challenge none')
    .option(
      '--inflate <address>',
      'local preset only: overstate this contributor once, to be caught',
    )
    .option('--preset <name>', 'local, testnet or mainnet', 'local')
    .option(
      '--drand <url...>',
      'testnet and mainnet: servers that rounds of drand are fetched from, asked in this order',
      [...DRAND_SERVERS],
    )
    .action(async (own: UpOptions, command: Command) => {
      const options = globals(command);
      if (own.preset !== 'local' && own.preset !== 'testnet' && own.preset !== 'mainnet')
        throw new NodeError(
          'USAGE',
          { expected: 'local, testnet or mainnet', came: own.preset },
          'correct --preset',
        );
      const joined = readJoinFile(own.swarm);
      const password =
        own.passwordFile === undefined ? null : readFileSync(own.passwordFile, 'utf8').trim();
      const privateKey =
        own.key === undefined
          ? await keyAt(join(options.dataDir, 'key.json'))
          : await readKey(own.key, password);
      const { runNode } = await import('../node.ts');
      await runNode({
        name: own.name,
        dataDir: options.dataDir,
        privateKey,
        preset: own.preset,
        rpc: joined.rpc,
        chainId: joined.chainId,
        deployment: joined.deployment,
        token: joined.token,
        p2pPort: Number(own.port),
        apiPort: Number(own.apiPort),
        bootstrap: own.bootstrap,
        baseDir: baseFolder(options.dataDir, own.base),
        threads: Number(own.threads),
        weights: own.weights,
        isGateway: own.gateway,
        challenges: own.challenge,
        authorisation:
          own.authorisation === undefined ? null : readAuthorisationFile(own.authorisation),
        drandServers: own.drand,
        inflate: own.inflate === undefined ? null : inflateOf(own.inflate),
      });
    });
}

function inflateOf(text: string) {
  const [contributor = '', client = ''] = text.split(':');
  return { contributor: parseAddress(contributor), client: parseAddress(client) };
}
