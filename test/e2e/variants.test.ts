/**
 * The story's other endings, with real processes on the reduced scenario: nobody lies and nobody is
 * slashed; nobody challenges and the lie is paid. On the way the chain process is killed, and a node
 * while it trains, because neither ending may depend on that.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectContracts } from '#contracts';
import { addressOfPrivateKey } from '#crypto';
import {
  control,
  heading,
  lastJson,
  memberWith,
  type Place,
  place,
  type Running,
  type SwarmView,
  swarmOf,
  until,
  within,
} from './harness.ts';
import { keysWithFirst, writeBareKey } from './keys.ts';
import { assertBooksRight, eventsOf, type Seen } from './money.ts';
import { readStory } from './story-file.ts';

const STORY_WITHIN_MS = 240_000;
const NODES = 5;
const TESTNET = ['--json', 'testnet', '--once', '--reduced', '--gateway-port', '0'];

test('without a cheat nobody is slashed, also with worker keys and when the chain process is killed twice', async (t) => {
  const here = place(t);
  const data = join(here.folder, 'swarm');
  const run = here.start(['--data-dir', data, ...TESTNET, '--without-cheat', '--worker-keys']);
  for (const [count, step] of [3, 5].entries()) {
    await run.says(heading(step), STORY_WITHIN_MS);
    process.kill(memberWith(run.pid, 'chain'), 'SIGKILL');
    await until(() => chainDeaths(run) > count, 10_000, 'the supervisor to notice');
  }
  await assertUnslashed(run);
  await assertBooksRight(here, `${data}-without-cheat-reduced-worker-keys`);
});

const chainDeaths = ({ err }: Running): number =>
  err.filter((line) => line.includes('the chain process ended (SIGKILL); it is started again'))
    .length;

async function assertUnslashed(run: Running): Promise<void> {
  const { code } = await within(
    run.ended,
    STORY_WITHIN_MS,
    () => `the end:\n${run.err.join('\n')}`,
  );
  assert.equal(code, 0, run.err.join('\n'));
  const told = lastJson(run);
  assert.deepEqual(
    [told['ok'], told['nodes'], told['slashed'], told['conservationErrorWei']],
    [true, NODES, 0, '0'],
    JSON.stringify(told),
  );
}

test('without a challenger the lie is paid, also when a node is killed while it trains', async (t) => {
  const here = place(t);
  const data = join(here.folder, 'swarm');
  const dataDir = `${data}-without-challenger-reduced`;
  // So that the first to claim the training is neither the gateway nor the one that lies.
  const keys = keysWithFirst(1, NODES, 2);
  for (const [index, key] of keys.entries())
    writeBareKey(join(dataDir, `node-${index + 1}`, 'key.json'), key);
  const doomed = addressOfPrivateKey(keys[2] as Uint8Array);
  const run = here.start(['--data-dir', data, ...TESTNET, '--without-challenger', '--no-restart']);
  await run.says(/task 1 announced/, STORY_WITHIN_MS);
  const back = await killTrainer(here, run, dataDir, doomed);
  await assertUnslashed(run);
  back.signal('SIGTERM');
  await within(back.ended, 30_000, () => 'the node to end');
  await assertBooksRight(here, dataDir, async (seen) => {
    await assertSecondAttempt(seen, doomed);
    assertLiePaid(seen, dataDir);
  });
});

type Task = {
  readonly provider: string;
  readonly step: number;
  readonly state: string;
  readonly attempt: number;
};

/** Kills the node that trains; once another one has its task, starts it again, as an operator would. */
async function killTrainer(
  here: Place,
  run: Running,
  dataDir: string,
  doomed: string,
): Promise<Running> {
  const swarm = swarmOf(dataDir);
  const trainer = swarm.nodes.find(({ address }) => address === doomed);
  assert.ok(trainer !== undefined);
  const taskAt = (api: string) => control<Task>(api, swarm.token, '/swarm/v1/tasks/1');
  const training = async () => {
    const seen = await taskAt(trainer.api);
    return seen.provider === doomed && seen.state === 'claimed' && seen.step >= 1;
  };
  await until(training, 60_000, 'the first steps of the training');
  process.kill(memberWith(run.pid, 'up', trainer.name), 'SIGKILL');
  const taken = async () => {
    const seen = await taskAt(swarm.gateway);
    return seen.attempt === 2 && seen.provider !== doomed;
  };
  await until(taken, 120_000, 'the lease to run out and another node to take the task');
  return startAgain(here, dataDir, swarm, trainer);
}

function startAgain(
  here: Place,
  dataDir: string,
  { nodes }: SwarmView,
  { name, api }: SwarmView['nodes'][number],
): Running {
  const portOf = (of: string) => readFileSync(join(dataDir, of, 'p2p.port'), 'utf8');
  const first = nodes.find((each) => each.name === 'node-1');
  return here.start([
    ...['--data-dir', join(dataDir, name), 'up', '--swarm', join(dataDir, 'join.json')],
    ...['--name', name, '--port', portOf(name), '--api-port', new URL(api).port, '--no-challenge'],
    ...['--bootstrap', `/ip4/127.0.0.1/tcp/${portOf('node-1')}/p2p/${first?.peerId}`],
  ]);
}

async function assertSecondAttempt({ provider, deployment }: Seen, doomed: string): Promise<void> {
  const task = await connectContracts(deployment, provider).TaskEscrow.getTask(1);
  assert.equal(Number(task.attempt), 2, 'the second attempt finished the task');
  assert.notEqual(task.provider.toLowerCase(), doomed);
}

function assertLiePaid(seen: Seen, dataDir: string): void {
  const { cheat } = readStory(dataDir);
  assert.ok(cheat !== null, 'a provider has lied');
  const inflatedWei = BigInt(cheat.inflatedWei);
  assert.ok(inflatedWei > 0n);
  const paidWei = eventsOf(seen, 'Epochs', 'Claimed')
    .filter(({ args }) => String(args['account']).toLowerCase() === cheat.contributor)
    .reduce((sum, { args }) => sum + (args['amountWei'] as bigint), 0n);
  assert.ok(paidWei >= inflatedWei, `${paidWei} claimed, ${inflatedWei} of it by the lie`);
  assert.deepEqual(eventsOf(seen, 'Epochs', 'Withheld'), [], 'nothing of it is withheld');
}
