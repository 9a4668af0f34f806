/** `openledger train`: announce a training task on a datanet, pay for it, watch it; or train here. */
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Command } from 'commander';
import { parseBytes32 } from '#crypto';
import { digestOfCid, encodeTaskSpec, parseCid, segmentCount, type TaskSpec } from '#protocol';
import { DEFAULT_OPTIONS, learningRateAt, type TrainingOptions } from '#runtime';
import { NodeError } from '../errors.ts';
import { createNarrator } from '../story/narrator.ts';
import { REDUCED, STORY, specFor } from '../story/scenario.ts';
import { formatOpen, parseOpen } from '../units.ts';
import { findDatanet } from './datanet.ts';
import { callApi, globals, print, readSwarm } from './session.ts';
import { type LocalFlags, trainLocal } from './train-local.ts';
import { stepNote, trainingOptionsOf, withTrainingOptions } from './train-options.ts';
import { accountOf, keyOfWallet, type WalletOptions, withWallet } from './wallet.ts';

type TrainOptions = WalletOptions &
  LocalFlags & {
    readonly datanet?: string;
    readonly name?: string;
    readonly reward: string;
    readonly wait: string;
  };

export type TaskStatus = {
  readonly taskId: number;
  readonly state: string;
  readonly provider: string;
  readonly attempt: number;
  readonly step: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly tokensPerSecond: number;
  readonly adapterId: string;
};

const FINAL = new Set(['registered', 'refunded', 'cancelled']);

const HELP = `
In a swarm:       openledger train --datanet NAME --name NAME
On this machine:  openledger train --local DATA --out DIR
                  DATA: JSON, JSON lines, CSV, TSV or text with text, prompt/completion, messages,
                  instruction/output …; DIR becomes a PEFT adapter. Ctrl-C leaves a checkpoint, the
                  same command goes on. With --json: one JSON object per event, the result last.
Names of axolotl and PEFT, and what each option does: docs/training.md`;

export function trainCommand(): Command {
  const command = new Command('train')
    .description('train an adapter: by the swarm, verified and registered, or on this machine')
    .option('--datanet <name>', 'in the swarm: name or id of the datanet')
    .option('--name <name>', 'in the swarm: name of the adapter; clients ask for base:NAME')
    .option('--reward <open>', 'in the swarm: what trainer and verifiers get, in OPEN', '5')
    .option('--wait <seconds>', 'in the swarm: how long to watch', '300')
    .option('--local [data]', 'train on this machine, on this file (or --config’s dataset)')
    .option('--base <dir>', 'with --local: base model in Hugging Face layout (the shipped one)')
    .option('--out <dir>', 'with --local: folder of the adapter and of its checkpoints')
    .option('--threads <n>', 'with --local: compute threads (all processors)')
    .option('--device <device>', 'with --local: cpu, or gpu (by WebGPU; the package webgpu)')
    .addHelpText('after', HELP);
  return withWallet(withTrainingOptions(command)).action(async (own: TrainOptions, of: Command) => {
    if (own.local === undefined) await trainInSwarm(own, of);
    else await trainLocal(own, globals(of));
  });
}

/** What the swarm trains with where nothing is said: the story's settings, in short segments. */
const SWARM_OPTIONS: TrainingOptions = {
  ...DEFAULT_OPTIONS,
  ...{ rank: STORY.training.rank, alpha: STORY.training.alpha },
  learningRate: STORY.training.learningRate,
  warmupSteps: 2,
  maxSteps: 4 * REDUCED.training.checkpointEvery,
  microBatch: STORY.training.batch,
  accumulation: 1,
  seed: 1,
};

/** The options for a task; those that a committee could not repeat are refused. */
function swarmOptions(own: TrainOptions): TrainingOptions {
  const { options, notes, localOnly } = trainingOptionsOf(own, SWARM_OPTIONS);
  if (localOnly.length > 0) {
    const details = { expected: 'options of a task in the swarm', came: localOnly.join(', ') };
    throw new NodeError('USAGE', details, 'leave them out, or train on this machine with --local');
  }
  for (const note of notes) process.stderr.write(`   ! ${note}\n`);
  return options;
}

/** The spec of a task: whole segments, everything that changes a bit. */
function specOf(
  options: TrainingOptions,
  of: Pick<TaskSpec, 'base' | 'datanetId' | 'version'>,
): TaskSpec {
  const { checkpointEvery } = REDUCED.training;
  const { beta1, beta2, epsilon, weightDecay, clipNorm, learningRate, floor } = options;
  const { dropout, rankStabilised, targets, rank, alpha, seed } = options;
  const asked = options.maxSteps ?? 4 * checkpointEvery;
  const steps = Math.max(1, Math.ceil(asked / checkpointEvery)) * checkpointEvery;
  const warmupSteps = options.warmupSteps ?? Math.ceil(options.warmupRatio * steps);
  const plain = specFor(
    { ...STORY.training, rank, alpha, learningRate, warmupSteps, steps, checkpointEvery },
    { ...of, seed },
  );
  return {
    ...plain,
    batch: options.microBatch * options.accumulation,
    optimiser: { beta1, beta2, clipNorm, epsilon, weightDecay },
    schedule: { floor, kind: options.schedule, learningRate, warmupSteps },
    options: {
      dropout,
      packTokens: options.packing ? plain.contextLength : 0,
      rankStabilised,
      targets,
    },
  };
}

async function trainInSwarm(own: TrainOptions, command: Command): Promise<void> {
  const { datanet: asked, name } = own;
  if (asked === undefined || name === undefined) {
    const details = { expected: '--datanet and --name, or --local', came: 'neither' };
    throw new NodeError('USAGE', details, '`openledger train --help` shows both ways');
  }
  const training = swarmOptions(own);
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const key = await keyOfWallet(options, own);
  const datanet = await findDatanet(swarm, asked);
  if (datanet.versionCount === 0)
    throw new NodeError(
      'NOT_FOUND',
      { what: 'version of datanet', name: datanet.name },
      'contribute to it first: `openledger datanet add`',
    );
  const rewardWei = parseOpen(own.reward);
  if (rewardWei === null || rewardWei === 0n)
    throw new NodeError(
      'USAGE',
      { expected: 'an amount above 0', came: own.reward },
      'correct --reward',
    );
  const status = await callApi<{ baseHash: string }>(swarm.gateway, swarm.token, '/swarm/v1/base');
  const spec = specOf(training, {
    base: parseBytes32(status.baseHash),
    datanetId: datanet.id,
    version: datanet.versionCount,
  });
  const { cid } = await callApi<{ cid: string }>(swarm.gateway, swarm.token, '/swarm/v1/blocks', {
    bytes: encodeTaskSpec(spec),
  });
  const account = await accountOf(options, swarm, own.wallet, key);
  const digest = digestOfCid(parseCid(cid));
  const intent = createHash('sha256').update(`${digest}/${name}`).digest('hex').slice(0, 24);
  const receipt = await account.chain.submit({
    key: `task/announce/${intent}`,
    contract: 'TaskEscrow',
    fn: 'announce',
    args: [digest, spec.base, spec.datanetId, spec.version, segmentCount(spec), name],
    valueWei: rewardWei,
  });
  const event = account.chain.event<{ taskId: bigint }>(receipt, 'TaskEscrow', 'TaskAnnounced');
  await account.close();
  if (event === null) throw new Error('an announced task has an event');
  const taskId = Number(event.taskId);
  const narrator = createNarrator(process.stderr, Date.now());
  const bar = narrator.progress(`task ${taskId}`, spec.steps);
  const told = swarmNote(spec);
  const ended = await watchTask(
    swarm.gateway,
    swarm.token,
    taskId,
    Number(own.wait) * 1000,
    (seen) => bar.update(seen.step, `${seen.state} ${told(seen)}`),
  );
  bar.end(ended.state);
  if (ended.state !== 'registered')
    throw new NodeError(
      'STEP_FAILED',
      { step: `task ${taskId}`, reason: `it is ${ended.state}` },
      'see the nodes’ logs; an unfinished task goes on without this command',
    );
  print(
    options,
    {
      ok: true,
      taskId,
      adapterId: ended.adapterId,
      model: `base:${name}`,
      provider: ended.provider,
      rewardWei,
    },
    `adapter base:${name} registered as ${ended.adapterId}\ntrained by ${ended.provider} for ${formatOpen(rewardWei)} OPEN`,
  );
}

/** Loss, rate, tokens a second and what is left, from what is seen of a task. */
function swarmNote(spec: TaskSpec): (seen: TaskStatus) => string {
  let first: { readonly step: number; readonly atMs: number } | undefined;
  const schedule = { ...spec.schedule, totalSteps: spec.steps };
  return ({ step, loss, tokensPerSecond }) => {
    if (step === 0 || step > spec.steps) return '';
    first ??= { step, atMs: Date.now() };
    const done = step - first.step;
    const etaSeconds =
      done === 0 ? null : ((Date.now() - first.atMs) / 1000 / done) * (spec.steps - step);
    const learningRate = learningRateAt(schedule, step - 1);
    return stepNote({ loss, learningRate, tokensPerSecond, etaSeconds });
  };
}

/** Polls a task until it has ended or patience is over. */
export async function watchTask(
  api: string,
  token: string,
  taskId: number,
  patienceMs: number,
  onChange: (status: TaskStatus) => void,
): Promise<TaskStatus> {
  const untilMs = Date.now() + patienceMs;
  for (;;) {
    const status = await callApi<TaskStatus>(api, token, `/swarm/v1/tasks/${taskId}`);
    onChange(status);
    if (FINAL.has(status.state) || Date.now() > untilMs) return status;
    await wait(400);
  }
}
