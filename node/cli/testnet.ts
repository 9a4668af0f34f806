/** `openledger testnet` (`npm start`): a local swarm, the story on it, and then an ordinary network. */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { parseAddress } from '#crypto';
import { FAUCET_BALANCE_WEI } from '../chain/process.ts';
import { describe, EXIT, NodeError } from '../errors.ts';
import { lockDataDir } from '../store/data-lock.ts';
import type { StateFile } from '../store/state-file.ts';
import { createNarrator, type Narrator } from '../story/narrator.ts';
import { REDUCED, STORY } from '../story/scenario.ts';
import { openStoryState, type StoryState } from '../story/state.ts';
import { contributorAddresses, tellStory } from '../story/story.ts';
import { type Swarm, startSwarm } from '../story/swarm.ts';
import { type GlobalOptions, globals } from './session.ts';

type TestnetOptions = {
  readonly once: boolean;
  readonly fresh: boolean;
  readonly cheat: boolean;
  readonly challenger: boolean;
  readonly withoutCheat: boolean;
  readonly withoutChallenger: boolean;
  readonly reduced: boolean;
  readonly restart: boolean;
  readonly workerKeys: boolean;
  readonly gatewayPort: string;
  readonly threads: string;
};

export function testnetCommand(onExit: (code: number) => void): Command {
  return new Command('testnet')
    .description('start a local swarm, tell the story on it, keep it running')
    .option('--once', 'end after the story', false)
    .option('--fresh', 'forget an earlier run in this data directory', false)
    .option('--without-cheat', 'no provider lies', false)
    .option('--without-challenger', 'nobody challenges the lie, so it is paid', false)
    .option('--reduced', 'five nodes and about a hundred records', false)
    .option('--worker-keys', 'nodes work with the stake of owners whose keys they lack', false)
    .option('--no-restart', 'leave processes that died dead')
    .option('--gateway-port <port>', 'port of the OpenAI endpoint; 0 = any free one', '8080')
    .option('--threads <n>', 'compute threads per node', '2')
    .action(async (own: TestnetOptions, command: Command) => {
      onExit(await testnet(own, globals(command)));
    });
}

/** Other ways of telling it have their own folders, so that they can be run one after the other. */
function dataDirOf(own: TestnetOptions, { dataDir }: GlobalOptions): string {
  const variant = [
    own.withoutCheat ? '-without-cheat' : '',
    own.withoutChallenger ? '-without-challenger' : '',
    own.reduced ? '-reduced' : '',
    own.workerKeys ? '-worker-keys' : '',
  ].join('');
  return `${dataDir}${variant}`;
}

async function testnet(own: TestnetOptions, options: GlobalOptions): Promise<number> {
  const startedAtMs = Date.now();
  const dataDir = dataDirOf(own, options);
  const narrator = createNarrator(options.json ? process.stderr : process.stdout, startedAtMs);
  if (own.fresh) rmSync(dataDir, { recursive: true, force: true });
  const unlock = lockDataDir(dataDir);
  const state = openState(own, dataDir, narrator);
  const ended = untilSignal();
  let swarm: Swarm | null = null;
  try {
    narrator.heading(1, 'A chain');
    swarm = await startTold(own, dataDir, state, narrator);
    const told = tellStory({
      dataDir,
      scenario: own.reduced ? REDUCED : STORY,
      swarm,
      state,
      narrator,
    });
    const first = await Promise.race([
      told.then((figures) => ({ figures })),
      ended.then(() => null),
    ]);
    if (first === null) return EXIT.ok;
    const figures = {
      ok: true,
      seconds: Math.round((Date.now() - startedAtMs) / 100) / 10,
      peakRssMb: Math.round(swarm.peakRssBytes() / 1e6),
      ...first.figures,
      dataDir,
    };
    if (options.json && own.once) process.stdout.write(`${JSON.stringify(figures)}\n`);
    else narrator.fact(JSON.stringify(figures));
    if (own.once) return EXIT.ok;
    stayTold(swarm, narrator, dataDir);
    await ended;
    return EXIT.ok;
  } catch (error) {
    const told = describe(error);
    if (options.json)
      process.stdout.write(`${JSON.stringify({ ok: false, code: told.code, error: told.line })}\n`);
    process.stderr.write(`${told.line}\n`);
    return told.exitCode;
  } finally {
    await swarm?.close();
    unlock();
  }
}

function openState(
  own: TestnetOptions,
  dataDir: string,
  narrator: Narrator,
): StateFile<StoryState> {
  const state = openStoryState(
    dataDir,
    {
      scenario: own.reduced ? 'reduced' : 'story',
      cheats: !own.withoutCheat,
      challenges: !own.withoutChallenger,
    },
    { token: randomBytes(32).toString('hex'), seed: randomBytes(4).readUInt32LE() >>> 1 },
  );
  if (state.restored !== null)
    narrator.warn(
      `${state.restored.file} was damaged (${state.restored.reason}); the last good one is used`,
    );
  if (state.state.genesisWei === '0')
    state.save({ ...state.state, genesisWei: `${FAUCET_BALANCE_WEI}` });
  return state;
}

async function startTold(
  own: TestnetOptions,
  dataDir: string,
  state: StateFile<StoryState>,
  narrator: Narrator,
): Promise<Swarm> {
  const scenario = own.reduced ? REDUCED : STORY;
  const owned = contributorAddresses(state.state, scenario).at(-1);
  if (owned === undefined)
    throw new NodeError(
      'NOT_FOUND',
      { what: 'documentation', name: 'of packages' },
      'run `npm ci` first',
    );
  const swarm = await startSwarm({
    dataDir,
    nodes: scenario.nodes,
    token: state.state.token,
    challenges: !own.withoutChallenger,
    inflate: own.withoutCheat ? null : parseAddress(owned),
    restarts: own.restart,
    workerKeys: own.workerKeys,
    gatewayPort: Number(own.gatewayPort),
    threads: Number(own.threads),
    narrator,
  });
  for (const { name, address, peerId } of swarm.file.nodes)
    narrator.fact(`${name}  ${address}  …${peerId.slice(-12)}`);
  return swarm;
}

function stayTold(swarm: Swarm, narrator: Narrator, dataDir: string): void {
  narrator.fact('');
  narrator.fact(`The swarm goes on. OpenAI endpoint: ${swarm.file.gateway}/v1, model base:docs`);
  narrator.fact(`In a second terminal: npx openledger --data-dir ${join(dataDir)} info`);
  narrator.fact('Ctrl-C ends it; the next `npm start` goes on from here.');
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
