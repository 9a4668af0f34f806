/**
 * The composition root of one node: opens chain, network, store and compute, puts the services
 * together, runs their loops, serves the API, and closes everything in reverse.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Deployment } from '#contracts';
import { type Address, toHex } from '#crypto';
import {
  capacityAnnouncement,
  cidOfDigest,
  decodeResultManifest,
  encodeAnchors,
  lossesOf,
  PRESETS,
  receiptAnnouncement,
  shardsAnnouncement,
  type WorkerAuthorisation,
} from '#protocol';
import {
  createPool,
  createServing,
  loadModelDirectory,
  type ModelDirectory,
  type Pool,
  type Serving,
  type WeightFormat,
} from '#runtime';
import { addControl } from './api/control.ts';
import { type Log, openLog } from './log.ts';
import { type Host, startHost } from './network/host.ts';
import { networkPreset } from './network/preset.ts';
import { workerFile } from './paths.ts';
import { type OpenTable, openLevelTable } from './provider/level-table.ts';
import type { Provider } from './provider/provider.ts';
import { openReceipts, type Receipts } from './provider/receipts.ts';
import { type Account, openAccount } from './services/account.ts';
import type { Adapters } from './services/adapters.ts';
import { openBeacon } from './services/beacon.ts';
import { type ChainView, createChainView } from './services/chain-view.ts';
import { whenChanged } from './services/changes.ts';
import type { ContractTask } from './services/contract-types.ts';
import { withdrawCredits } from './services/credits.ts';
import { createCurator } from './services/curator.ts';
import { createDatanets, type Datanets } from './services/datanets.ts';
import { openEpochServices } from './services/epoch-services.ts';
import type { Epochs } from './services/epochs.ts';
import { createGatherer } from './services/gather.ts';
import { startLoop } from './services/loop.ts';
import { exportServing } from './services/serve-metrics.ts';
import {
  announceCapacity,
  openServingAdapters,
  openServingGateway,
  openServingProvider,
  openServingWatch,
  type ServingParts,
} from './services/serving.ts';
import { ensureStake, ROLE } from './services/staking.ts';
import { createTaskService, type TaskService } from './services/tasks.ts';
import { takeTopics } from './services/topics.ts';
import { createTrainer, type Trainer } from './services/trainer.ts';
import { verifyTask } from './services/verifier.ts';
import { openVersionWatch } from './services/version-watch.ts';
import { assertInForce, nameWorker, readStanding, watchRetirement } from './services/worker.ts';
import { endSignal } from './signals.ts';
import { lockDataDir } from './store/data-lock.ts';

export type NodeConfig = {
  readonly name: string;
  readonly dataDir: string;
  readonly privateKey: Uint8Array;
  readonly preset: 'local' | 'testnet' | 'mainnet';
  readonly rpc: string;
  readonly chainId: number;
  readonly deployment: Deployment;
  readonly token: string;
  readonly p2pPort: number;
  readonly apiPort: number;
  readonly bootstrap: readonly string[];
  readonly baseDir: string;
  readonly threads: number;
  /** How the weights that write answers stay in memory; default f32. Training is f32 always. */
  readonly weights?: WeightFormat;
  readonly isGateway: boolean;
  readonly challenges: boolean;
  /** By which an owner names this node's key as its worker, taken up at the start; null = none. */
  readonly authorisation: WorkerAuthorisation | null;
  /** Servers of drand to fetch rounds from, where committees are drawn by them. */
  readonly drandServers: readonly string[];
  /** The story's cheat: whose score this node overstates once, and to which client. */
  readonly inflate: { readonly contributor: Address; readonly client: Address } | null;
};

/** OPEN that a node of the local preset stakes; its roles lock parts of it. */
const STAKE_WEI = 200n * 10n ** 18n;

/** Adapters kept near, in bytes: decoded in memory, and on disk across restarts. */
const TIERS = { ramBytes: 256 * 2 ** 20, diskBytes: 2 ** 30 };

/** How long a node may take to close everything. */
const CLOSE_WITHIN_MS = 7_000;

type Opened = {
  readonly config: NodeConfig;
  readonly log: Log;
  readonly account: Account;
  readonly host: Host;
  readonly table: OpenTable;
  readonly base: ModelDirectory;
  readonly pool: Pool;
  readonly serving: Serving;
  readonly view: ChainView;
  readonly datanets: Datanets;
  readonly trainer: Trainer;
  readonly tasks: TaskService;
};

/** Runs a node until it is told to end; prints its ready line when it serves. */
export async function runNode(config: NodeConfig): Promise<void> {
  const unlock = lockDataDir(config.dataDir);
  const closers: (() => Promise<void> | void)[] = [unlock];
  const close = async (): Promise<void> => {
    for (const step of closers.splice(0).reverse()) await step();
  };
  const ended = endSignal(CLOSE_WITHIN_MS);
  try {
    const opened = await open(config, closers);
    const { ready, retired } = await startServices(opened, closers);
    process.stdout.write(`${JSON.stringify(ready)}\n`);
    const why = await Promise.race([ended, retired]);
    if (why instanceof Error) throw why;
  } finally {
    await close();
    // The channel to the parent would keep a finished process alive.
    if (process.connected) process.disconnect();
  }
}

async function open(config: NodeConfig, closers: (() => Promise<void> | void)[]): Promise<Opened> {
  const { dataDir, deployment, privateKey } = config;
  mkdirSync(dataDir, { recursive: true });
  const log = openLog({ file: join(dataDir, 'node.log'), level: 'info', echo: false });
  const base = await loadModelDirectory(config.baseDir);
  const account = await openAccount({
    rpc: config.rpc,
    chainId: config.chainId,
    deployment,
    privateKey,
    outboxFile: join(dataDir, 'outbox'),
    patienceMs: 60_000,
  });
  closers.push(account.close);
  if (config.authorisation !== null)
    await nameWorker({ ...account, privateKey }, config.authorisation);
  const { owner } = await assertInForce(account.chain);
  log.info('works', { owner });
  const host = await startHost({
    privateKey,
    dataDir: join(dataDir, 'network'),
    preset: networkPreset(config.preset),
    port: config.p2pPort,
    bootstrap: config.bootstrap,
    topics: [capacityAnnouncement.topic, receiptAnnouncement.topic, shardsAnnouncement.topic],
    onEvent: (event) => log.info(event.type, { ...event }),
  });
  closers.push(host.close);
  const table = await openLevelTable(join(dataDir, 'table'));
  closers.push(table.close);
  const { pool, serving } = openCompute(base, config);
  closers.push(pool.close, serving.close);
  const { chain } = account;
  const view = createChainView(chain, config.chainId, Date.now);
  const datanets = createDatanets({
    chain,
    chainSeconds: account.chainSeconds,
    blocks: host.blocks,
    announce: async (announcement) => {
      await host.gossip.publish(
        shardsAnnouncement.topic,
        shardsAnnouncement.encode({ ...announcement, sentAtMs: Date.now() }),
      );
    },
    log: log.child('datanets'),
  });
  const trainer = createTrainer({
    dataDir,
    blocks: host.blocks,
    datanets,
    pool: async () => pool,
    tokenizer: base.tokenizer,
    baseHash: toHex(base.hash),
    log: log.child('trainer'),
  });
  closers.push(trainer.close);
  const tasks = createTaskService({
    chain,
    head: () => account.client.block('latest'),
    privateKey,
    trainer,
    verify: (taskId, task, signal) =>
      verifyTask(
        {
          self: chain.self,
          blocks: host.blocks,
          datanets,
          pool: async () => pool,
          tokenizer: base.tokenizer,
          log: log.child('verifier'),
        },
        taskId,
        task,
        signal,
      ),
    timing: PRESETS[config.preset],
    log: log.child('tasks'),
  });
  return { config, log, account, host, table, base, pool, serving, view, datanets, trainer, tasks };
}

/** The pool trains, verifies and sketches; answers are written in batches beside it, by one thread. */
function openCompute(base: ModelDirectory, { threads, weights, dataDir }: NodeConfig) {
  const file = workerFile();
  const worker = file === undefined ? {} : { workerFile: file };
  return {
    pool: createPool({ weights: base, threads, ...worker }),
    serving: createServing({
      weights: base,
      format: weights ?? 'f32',
      tiers: { ...TIERS, directory: join(dataDir, 'adapter-cache') },
      ...worker,
    }),
  };
}

async function startServices(
  opened: Opened,
  closers: (() => Promise<void> | void)[],
): Promise<{ ready: Record<string, unknown>; retired: Promise<Error> }> {
  const { config, account, host, log, table, view, datanets, tasks } = opened;
  const { chain } = account;
  const preset = PRESETS[config.preset];
  const roles = ROLE.provider | ROLE.verifier;
  await ensureStake({ chain, targetWei: STAKE_WEI, roles, serves: true });
  const adapters = openServingAdapters({ ...opened, blocks: host.blocks }, config.dataDir);
  const parts: ServingParts = {
    adapters,
    host,
    chain,
    view,
    blocks: host.blocks,
    table,
    privateKey: config.privateKey,
    chainId: config.chainId,
    preset: config.preset,
    base: opened.base,
    pool: opened.pool,
    serving: opened.serving,
    inflate: config.inflate,
    status: async () => statusOf(opened),
    log: log.child('serving'),
  };
  const provider = await openServingProvider(parts);
  const gateway = openServingGateway(parts);
  exportServing(gateway.metrics.registry, opened.serving);
  const gathered = openReceipts(table, 'gathered/');
  const gather = createGatherer({
    rpc: host.rpc,
    providers: gateway.directory.offers,
    receipts: gathered,
    log: log.child('gather'),
  });
  const epochServices = await openEpochServices(opened, () => filesOf(gathered));
  const { epochs } = epochServices;
  const watch = openServingWatch(parts, provider, {
    challenges: config.challenges,
    client: account.client,
    proofOf: epochs.proofOf,
  });
  takeTopics(opened, gateway.directory.announced, watch.heard);
  await provider.serve();
  const loop = (
    name: string,
    everyMs: number,
    tick: (signal: AbortSignal) => Promise<void>,
  ): void => {
    closers.push(startLoop(name, everyMs, log, tick).close);
  };
  loop('capacity', preset.capacityPeriodMs, announceCapacity(host, provider));
  const registry = chain.addressOf('DatanetRegistry');
  const watched = (tick: (signal: AbortSignal) => Promise<void>) =>
    whenChanged(account.client, registry, 5 * preset.pollMs, Date.now, tick);
  loop('mirror', preset.pollMs, watched(datanets.mirror));
  loop('curator', preset.pollMs, watched(curatorOf(opened)));
  const versions = openVersionWatch(account, datanets, config, log.child('versions'));
  loop('watch of versions', preset.pollMs, watched(versions));
  loop('tasks', preset.pollMs, tasks.tick);
  const { undertaken } = tasks;
  const retirement = watchRetirement(chain, undertaken, provider.collect, log.child('worker'));
  loop('worker key', preset.pollMs, retirement.tick);
  const beacon = await beaconOf(opened);
  if (beacon !== null) loop('beacon', preset.pollMs, beacon);
  if (config.isGateway) loop('gather', 1_500, gather);
  loop('epochs', preset.pollMs, epochs.tick);
  loop('collect', preset.collectAgeMs, async () => {
    await provider.collect();
  });
  loop('watch', preset.pollMs, watch.tick);
  loop('watch of epochs', preset.pollMs, epochServices.watch);
  loop('prefetch', 2_000, async () => {
    await provider.prefetch((await view.adapters()).map(({ adapterId }) => adapterId));
  });
  loop('vouchers', 5_000, gateway.retryVouchers);
  const api = await serveApi(opened, gateway.server, epochs, provider, gather, adapters);
  closers.push(async () => {
    await gateway.server.close();
  });
  const { peerId } = host;
  const listen = host.listenAddresses();
  const ready = { name: config.name, api, peerId, address: chain.self, listen };
  return { ready, retired: retirement.retired };
}

const curatorOf = ({ account: { chain, chainSeconds }, host, datanets, log }: Opened) =>
  createCurator({
    chain,
    blocks: host.blocks,
    datanets,
    log: log.child('curator'),
    nowMs: Date.now,
    chainSeconds,
    revealGraceMs: 30_000,
  });

const beaconOf = ({ config, account: { chain }, tasks, log }: Opened) =>
  openBeacon({
    chain,
    servers: config.drandServers,
    rounds: tasks.seedMarks,
    nowMs: Date.now,
    staggerMs: PRESETS[config.preset].staggerMs,
    log: log.child('beacon'),
  });

/** The receipt files that this gateway was given and found valid, oldest first. */
async function* filesOf(receipts: Receipts): AsyncIterable<Uint8Array> {
  for await (const { hash } of receipts.after(0)) {
    const file = await receipts.byHash(hash);
    if (file !== undefined) yield file;
  }
}

async function statusOf({ account, host, config, pool }: Opened): Promise<Record<string, unknown>> {
  return {
    node: config.name,
    address: account.chain.self,
    owner: (await readStanding(account.chain, account.chain.self)).owner,
    peerId: host.peerId,
    peers: host.peers().map(({ peerId }) => peerId),
    backend: await pool.backend(),
    counters: Object.fromEntries(host.counters.values),
    rssMb: Math.round(process.memoryUsage().rss / 1e6),
  };
}

async function serveApi(
  { config, account, datanets, host, tasks, view, base, log }: Opened,
  server: Parameters<typeof addControl>[0],
  epochs: Epochs,
  provider: Provider,
  gather: () => Promise<void>,
  adapters: Adapters,
): Promise<string> {
  const { outbox } = account;
  addControl(server, {
    token: config.token,
    datanets,
    adapters,
    baseHash: toHex(base.hash),
    putBlock: (bytes) => host.blocks.put(bytes, { codec: 'dag-cbor' }),
    task: async (taskId) => {
      const seen = await tasks.view(taskId);
      if (seen === null) return null;
      const { task, state, progress } = seen;
      return {
        taskId,
        state: state.toLowerCase(),
        provider: task.provider,
        attempt: task.attempt,
        step: progress?.step ?? task.step,
        steps: progress?.steps ?? 0,
        loss: progress?.loss ?? null,
        phase: progress?.phase ?? null,
        sketched: progress?.sketched ?? 0,
        tokensPerSecond: progress?.tokensPerSecond ?? 0,
        adapterId: task.adapterId,
        committee: task.committee.map(({ verifier, verdict }) => ({ verifier, verdict })),
        losses: state === 'Registered' ? await segmentLosses(host, task) : null,
      };
    },
    claimOf: epochs.claimOf,
    relayClaim: epochs.relayClaim,
    faucet:
      config.preset === 'local' && config.isGateway
        ? (to, amountWei) =>
            outbox.submit({
              key: `faucet/${to}/${Date.now()}`,
              to,
              data: '0x',
              valueWei: amountWei,
            })
        : null,
    anchors: async () => encodeAnchors(await view.allAnchors(await epochs.anchored())),
    closeEpoch: async () => {
      await provider.collect();
      // What was answered a moment ago belongs into the epoch too.
      await gather();
      epochs.close(20_000);
    },
    proofOf: epochs.proofOf,
    collect: async () => {
      await provider.collect();
    },
    withdraw: () => withdrawCredits(account.chain, (key) => outbox.status(key)),
  });
  try {
    return await server.listen({ host: '127.0.0.1', port: config.apiPort });
  } catch (error) {
    log.error('the API cannot listen', { error });
    throw portInUse(error, config.apiPort);
  }
}

/** Mean loss over the first and over the last segment of a registered training, from its manifest. */
async function segmentLosses(
  host: Host,
  task: ContractTask,
): Promise<{ first: number; last: number } | null> {
  const cid = cidOfDigest(task.result.manifest).toString();
  const manifest = decodeResultManifest(await host.blocks.get(cid, { timeoutMs: 10_000 }));
  if (!manifest.ok) return null;
  const losses = lossesOf(manifest.value);
  const each = losses.length / task.segments;
  const mean = (values: readonly number[]) =>
    values.reduce((sum, one) => sum + one, 0) / values.length;
  return { first: mean(losses.slice(0, each)), last: mean(losses.slice(-each)) };
}

function portInUse(error: unknown, port: number): unknown {
  if ((error as { code?: string }).code !== 'EADDRINUSE') return error;
  const failure = new Error(`expected port ${port} to be free, another program listens there`, {
    cause: error,
  });
  return Object.assign(failure, {
    code: 'API_PORT_IN_USE',
    fix: 'stop it, or choose another --api-port',
  });
}
