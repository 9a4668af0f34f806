/** Step 4: a training task with escrow, claimed under a lease, trained, re-executed, registered. */
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { addressOfPrivateKey, type Bytes32 } from '#crypto';
import { digestOfCid, encodeTaskSpec, parseCid, segmentCount } from '#protocol';
import { callApi } from '../../cli/session.ts';
import { type Account, openAccount } from '../../services/account.ts';
import { formatOpen } from '../../units.ts';
import { specFor } from '../scenario.ts';
import { personKey, type Stage } from '../stage.ts';

export const ADAPTER = 'docs';
const REWARD_WEI = 20n * 10n ** 18n;
const OWNER_FUNDS_WEI = 50n * 10n ** 18n;
const TRAINED_WITHIN_MS = 600_000;

type Status = {
  readonly state: string;
  readonly provider: string;
  readonly attempt: number;
  readonly step: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly phase: string | null;
  readonly sketched: number;
  readonly tokensPerSecond: number;
  readonly adapterId: Bytes32;
  readonly committee: readonly { readonly verifier: string; readonly verdict: number }[];
  readonly losses: { readonly first: number; readonly last: number } | null;
};

/** The model owner's account; its outbox lies with the story. */
export async function openOwner({ dataDir, swarm, state }: Stage): Promise<Account> {
  const privateKey = personKey(state.state, 'model owner');
  const to = addressOfPrivateKey(privateKey);
  await swarm.operator.outbox.submit({
    key: `fund/${to}`,
    to,
    data: '0x',
    valueWei: OWNER_FUNDS_WEI,
  });
  return openAccount({
    rpc: swarm.rpc,
    chainId: swarm.chainId,
    deployment: swarm.deployment,
    privateKey,
    outboxFile: join(dataDir, 'model-owner.outbox'),
    patienceMs: 60_000,
  });
}

export async function trainAdapter(stage: Stage): Promise<void> {
  const { state, swarm, scenario, narrator } = stage;
  const taskId = await announce(stage);
  state.save({ ...state.state, taskId });
  narrator.fact(`task ${taskId} announced, ${formatOpen(REWARD_WEI)} OPEN in escrow`);
  const ended = await watch(stage, taskId);
  if (ended.state !== 'registered') throw new Error(`task ${taskId} is ${ended.state}`);
  state.save({ ...state.state, adapterId: ended.adapterId, losses: ended.losses });
  const name = (address: string) =>
    swarm.file.nodes.find((each) => each.address === address)?.name ?? address;
  narrator.fact(
    `trained by ${name(ended.provider)} in ${scenario.training.steps} steps, loss ${ended.losses?.first.toFixed(3)} → ${ended.losses?.last.toFixed(3)}`,
  );
  narrator.fact(
    `committee ${ended.committee.map(({ verifier, verdict }) => `${name(verifier)} ${verdict === 1 ? 'VALID' : verdict === 2 ? 'INVALID' : 'silent'}`).join(', ')}`,
  );
  narrator.fact(`adapter base:${ADAPTER} registered as ${ended.adapterId.slice(0, 18)}…`);
}

async function announce(stage: Stage): Promise<number> {
  const { state, swarm, scenario } = stage;
  const { file, baseHash } = swarm;
  const { datanetId, datanetVersion, seed } = state.state;
  const spec = specFor(scenario.training, {
    base: baseHash,
    datanetId: datanetId as Bytes32,
    version: datanetVersion,
    seed,
  });
  const { cid } = await callApi<{ cid: string }>(file.gateway, file.token, '/swarm/v1/blocks', {
    bytes: encodeTaskSpec(spec),
  });
  const owner = await openOwner(stage);
  try {
    const receipt = await owner.chain.submit({
      key: 'task/announce/story',
      contract: 'TaskEscrow',
      fn: 'announce',
      args: [
        digestOfCid(parseCid(cid)),
        baseHash,
        spec.datanetId,
        spec.version,
        segmentCount(spec),
        ADAPTER,
      ],
      valueWei: REWARD_WEI,
    });
    const event = owner.chain.event<{ taskId: bigint }>(receipt, 'TaskEscrow', 'TaskAnnounced');
    if (event === null) throw new Error('an announced task has an event');
    return Number(event.taskId);
  } finally {
    await owner.close();
  }
}

async function watch({ swarm, narrator, scenario }: Stage, taskId: number): Promise<Status> {
  const untilMs = Date.now() + TRAINED_WITHIN_MS;
  const bar = narrator.progress('training', scenario.training.steps);
  for (;;) {
    const status = await statusOf(swarm.file, taskId);
    // What the chain calls a step counts sketches too, once the adapter is trained.
    bar.update(Math.min(status.step, scenario.training.steps), noteOf(status));
    if (['registered', 'refunded', 'cancelled'].includes(status.state)) {
      bar.end(status.state);
      return status;
    }
    if (Date.now() > untilMs)
      throw new Error(`task ${taskId} is still ${status.state} after ${TRAINED_WITHIN_MS} ms`);
    await wait(500);
  }
}

/** What is being done now, for who watches. */
function noteOf({ state, phase, sketched, loss, tokensPerSecond, committee }: Status): string {
  if (state === 'announced') return 'waiting for a node';
  if (state === 'escalated') return 'found invalid, waiting for another node';
  if (state === 'voting') {
    const voted = committee.filter(({ verdict }) => verdict !== 0).length;
    return `re-executed by a committee of ${committee.length}, ${voted} shown`;
  }
  if (state !== 'claimed') return 'the result is committed';
  if (phase === 'sketching') return `sketches ${sketched}`;
  return loss === null ? '' : `loss ${loss.toFixed(3)}, ${Math.round(tokensPerSecond)} tokens/s`;
}

/** The status as the node that trains tells it, or else as the gateway reads it from the chain. */
async function statusOf(file: Stage['swarm']['file'], taskId: number): Promise<Status> {
  const path = `/swarm/v1/tasks/${taskId}`;
  const seen = await callApi<Status>(file.gateway, file.token, path);
  const trainer = file.nodes.find(({ address }) => address === seen.provider);
  if (trainer === undefined || !['claimed', 'committed'].includes(seen.state)) return seen;
  // It may have died just now; then the gateway's view is what there is.
  return callApi<Status>(trainer.api, file.token, path, { timeoutMs: 2_000 }).catch(() => seen);
}
