// A provider's false receipt found, challenged and judged by the real contracts, and its leaf withheld.
import assert from 'node:assert/strict';
import { after, type TestContext, test } from 'node:test';
import type { EventLog } from 'ethers';
import OpenAI from 'openai';
import { contractInterfaces, RefereeLeafState } from '#contracts';
import { type Address, buildTree, fromHex, parseAddress, toHex } from '#crypto';
import { receiptAnnouncement } from '#protocol';
import { type Chain, startChain } from '../../contracts/harness.ts';
import { OPEN_WEI } from '../../contracts/presets.ts';
import { anchorsOf, type Swarm, silentLog, startSwarm } from '../gateway/testing.ts';
import { addressOf as hostAddress, testDirectory, testHost } from '../network/testing.ts';
import { openBundles } from '../provider/bundle.ts';
import { openLevelTable } from '../provider/level-table.ts';
import { addressOf, loadWorldBundle, makeWorld } from '../provider/testing.ts';
import { createChainPort } from '../services/chain-port.ts';
import {
  openWatch,
  WATCH_DEFAULTS,
  type Watch,
  type WatchOptions,
  type WatchParts,
} from './watch.ts';

const world = await makeWorld();
after(world.close);
const chain = await startChain();
const { Referee, Staking, ModelRegistry } = chain.contracts;
const DOMAIN = {
  chainId: 31_337,
  referee: parseAddress(chain.deployment.contracts.Referee),
};

await registerAdapter();

/** The world's adapter, as TaskEscrow registers one whose committee found it valid. */
async function registerAdapter(): Promise<void> {
  const [owner] = chain.wallets;
  const { lineage } = world;
  await chain.send(owner!, 'ModelRegistry', 'registerBase', [
    world.baseHash,
    'tiny',
    owner!.address,
  ]);
  await chain.sendAs(chain.deployment.contracts.TaskEscrow, 'ModelRegistry', 'registerAdapter', [
    { ...lineage, provider: owner!.address, taskId: 1n, traceRoot: toHex(new Uint8Array(32)) },
  ]);
  assert.equal(await ModelRegistry.adapterCount(), 1n);
}

/** A liar with its serving lock in place, and a gateway that does not look at scores. */
async function swarmWithLiar(t: TestContext): Promise<Swarm> {
  const before = await chain.snapshot();
  t.after(() => chain.revert(before));
  const swarm = await startSwarm(t, world, {
    providers: [{ inflate: { contributor: addressOf('cid') } }],
    gateway: { checkDepth: 'payment' },
    domain: DOMAIN,
  });
  const { account } = swarm.providers[0]!;
  await chain.sendData(chain.wallets[0]!, account, '0x', 50n * OPEN_WEI);
  await chain.sendAs(account, 'Staking', 'deposit', [], 40n * OPEN_WEI);
  await chain.sendAs(account, 'Staking', 'setRoles', [1]);
  await chain.sendAs(account, 'Staking', 'registerServing', []);
  return swarm;
}

const ask = async ({ url }: Swarm) => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
  const prompt = 'Keepers of the weir note each level';
  const body = { model: 'tiny:weir', prompt, max_tokens: 8, temperature: 0 } as const;
  const reply = await client.completions.create(body);
  return (reply as unknown as { x_swarm: { verified: boolean; receipt_id: string } }).x_swarm;
};

type Watcher = {
  readonly watch: Watch;
  readonly counts: Record<string, number>;
  /** The watcher as a restarted process opens it: the same disk, nothing else kept. */
  readonly reopen: () => Watch;
  readonly self: Address;
};

async function startWatcher(
  t: TestContext,
  seed: number,
  { providers }: Swarm,
  changes: { parts?: Partial<WatchParts>; options?: Partial<WatchOptions> } = {},
): Promise<Watcher> {
  const host = await testHost(t, 20 + seed, { topics: [receiptAnnouncement.topic] });
  for (const provider of providers) await host.connect(hostAddress(provider.host));
  const table = await openLevelTable(`${await testDirectory(t)}/watch`);
  t.after(() => table.close());
  const wallet = chain.wallets[seed]!;
  const self = parseAddress(wallet.address);
  const counts: Record<string, number> = {};
  const sent = new Map<string, Awaited<ReturnType<Chain['sendData']>>>();
  const port = createChainPort(self, chain.deployment.contracts, contractInterfaces, {
    call: (request) => chain.provider.call(request),
    submit: async ({ key, to, data, valueWei }) => {
      const receipt = sent.get(key) ?? (await chain.sendData(wallet, to, data, valueWei));
      sent.set(key, receipt);
      return { ...receipt, logs: [...receipt.logs] };
    },
  });
  const parts: WatchParts = {
    self,
    rpc: host.rpc,
    getBlock: (cid) => host.blocks.get(cid, { timeoutMs: 2_000 }),
    table,
    bundles: openBundles(() => loadWorldBundle(world), 2),
    sketch: world.engine.sketch,
    countTokens: world.countTokens,
    anchors: async () => anchorsOf(world, DOMAIN),
    chain: port,
    waitForBlock: async (number) => {
      while ((await chain.provider.getBlockNumber()) < number) await chain.mine(1);
    },
    watchers: async () => [self],
    proofOf: async () => null,
    count: (name, by) => {
      counts[name] = (counts[name] ?? 0) + by;
    },
    nowMs: () => 0,
    log: silentLog,
    ...changes.parts,
  };
  const options = { ...WATCH_DEFAULTS, samplePpm: 1_000_000, staggerMs: 2_000, ...changes.options };
  const reopen = (): Watch => openWatch(parts, options);
  return { watch: reopen(), counts, reopen, self };
}

const signal = new AbortController().signal;
/** Announces everything that the liar has signed, as gossip would. */
async function hear(watch: Watch, { providers }: Swarm): Promise<void> {
  for (const { announcements, host } of providers)
    for (const announcement of announcements) await watch.heard(announcement, host);
}

test('a false score is found, judged by the contract, slashed, and its leaf withheld', async (t) => {
  const swarm = await swarmWithLiar(t);
  const [liar] = swarm.providers;
  assert.equal((await ask(swarm)).verified, false, 'this gateway pays without looking at scores');
  assert.equal((await ask(swarm)).verified, true, 'it lies once');
  await until(() => liar!.announcements.length === 2);
  const [falseOne, trueOne] = liar!.announcements.map(({ receiptHash }) => receiptHash);

  let isAnchored = false;
  const receipts = buildTree([fromHex(falseOne!)]);
  const { watch, counts, reopen, self } = await startWatcher(t, 2, swarm, {
    parts: {
      proofOf: async () =>
        isAnchored
          ? {
              epoch: 1,
              index: 0,
              receiptCount: 1,
              receiptsRoot: toHex(receipts.root),
              siblings: [],
            }
          : null,
    },
  });
  await hear(watch, swarm);
  await hear(watch, swarm);
  const lockedWei = (await Staking.getAccount(liar!.account)).servingLockWei;
  assert.ok(lockedWei > 0n);
  await watch.tick(signal);
  assert.deepEqual({ ...counts }, { checked: 2, wrong: 1, right: 1 });
  assert.equal(await watch.book.outcome(trueOne!), 'right');

  // The process dies between finding and challenging; another goes on from the disk.
  const second = reopen();
  await second.tick(signal);
  const [judgement] = await judgements();
  assert.equal(judgement?.['receiptHash'], falseOne);
  assert.equal(parseAddress(String(judgement?.['challenger'])), self);
  assert.equal(parseAddress(String(judgement?.['contributor'])), addressOf('cid'));
  assert.equal(judgement?.['slashedWei'], lockedWei);
  assert.equal((await Staking.getAccount(liar!.account)).servingLockWei, 0n);

  await second.tick(signal);
  assert.equal(counts['withheld'], undefined, 'nothing to withhold before the receipt is anchored');
  await anchor(toHex(receipts.root));
  isAnchored = true;
  await second.tick(signal);
  assert.equal(counts['withheld'], 1);
  const leafIndex = judgement?.['leafIndex'] as bigint;
  assert.equal(await Referee.stateOf(falseOne!, leafIndex), RefereeLeafState.Withheld);
  assert.equal(await second.book.outcome(falseOne!), 'judged');
  await second.tick(signal);
  assert.deepEqual([counts['challenged'], (await judgements()).length], [1, 1]);
});

test('a leaf whose receipt is anchored already is judged and withheld at once', async (t) => {
  const swarm = await swarmWithLiar(t);
  await ask(swarm);
  await until(() => swarm.providers[0]!.announcements.length === 1);
  const hash = swarm.providers[0]!.announcements[0]!.receiptHash;
  const root = toHex(buildTree([fromHex(hash)]).root);
  const place = { epoch: 1, index: 0, receiptCount: 1, receiptsRoot: root, siblings: [] };
  const changes = { parts: { proofOf: async () => place } };
  const { watch, counts } = await startWatcher(t, 8, swarm, changes);
  await hear(watch, swarm);
  await watch.tick(signal);
  await anchor(root);
  await watch.tick(signal);
  const [judgement] = await judgements();
  const leafIndex = judgement?.['leafIndex'] as bigint;
  assert.equal(await Referee.stateOf(hash, leafIndex), RefereeLeafState.Withheld);
  await watch.tick(signal);
  assert.deepEqual([counts['challenged'], counts['withheld']], [1, 1]);
  assert.equal(await watch.book.outcome(hash), 'judged');
});

test('of several watchers one challenges, and the others see that it is done', async (t) => {
  const swarm = await swarmWithLiar(t);
  await ask(swarm);
  await until(() => swarm.providers[0]!.announcements.length === 1);
  const watchers = async () => [3, 4].map((seed) => parseAddress(chain.wallets[seed]!.address));
  let nowMs = 0;
  const changes = { parts: { watchers, nowMs: () => nowMs } };
  const both = await Promise.all([3, 4].map((seed) => startWatcher(t, seed, swarm, changes)));
  for (const { watch } of both) await hear(watch, swarm);
  for (const { watch } of both) await watch.tick(signal);
  for (const { watch } of both) await watch.tick(signal);
  const first = both.filter(({ counts }) => counts['challenged'] === 1);
  assert.equal(first.length, 1);
  nowMs = 2_000;
  for (const { watch } of both) await watch.tick(signal);
  assert.equal((await judgements()).length, 1);
  assert.equal(both.filter(({ counts }) => counts['challenged'] === 1).length, 1);
});

test('without a challenger the false leaf is counted and left alone', async (t) => {
  const swarm = await swarmWithLiar(t);
  await ask(swarm);
  await until(() => swarm.providers[0]!.announcements.length === 1);
  const { watch, counts } = await startWatcher(t, 5, swarm, { options: { challenges: false } });
  await hear(watch, swarm);
  await watch.tick(signal);
  await watch.tick(signal);
  assert.equal(counts['wrong'], 1);
  assert.equal((await judgements()).length, 0);
});

test('a receipt is found by content when its provider is gone, and given up when nobody has it', async (t) => {
  const swarm = await swarmWithLiar(t);
  await ask(swarm);
  const [provider] = swarm.providers;
  await until(() => provider!.announcements.length === 1);
  const [announcement] = provider!.announcements;
  const file = await provider!.host.blocks.get(announcement!.file.toString());
  const getBlock = async () => file;
  const found = await startWatcher(t, 6, swarm, { parts: { getBlock } });
  const lost = await startWatcher(t, 7, swarm, {
    options: { attemptsMax: 2, retryMs: 0 },
    parts: { getBlock: () => Promise.reject(new Error('nobody has it')) },
  });
  await provider!.host.close();
  for (const { watch } of [found, lost]) {
    await watch.heard(announcement!, provider!.host);
    await watch.tick(signal);
    await watch.tick(signal);
  }
  assert.deepEqual([found.counts['checked'], found.counts['wrong']], [1, 1]);
  assert.deepEqual(lost.counts, { unavailable: 1 });
  assert.equal(await lost.watch.book.outcome(announcement!.receiptHash), 'unavailable');
});

/** What the referee logged, in order. */
async function judgements() {
  const { ScoreJudged } = Referee.filters;
  const logs = await Referee.queryFilter(ScoreJudged!());
  return logs.map((log) => (log as EventLog).args);
}

async function anchor(receiptsRoot: string): Promise<void> {
  const [staker] = chain.wallets;
  await chain.send(staker!, 'Staking', 'deposit', [], 40n * OPEN_WEI);
  await chain.sendAs(chain.deployment.contracts.InferenceEscrow, 'Epochs', 'fund', [], 0n);
  const zero = toHex(new Uint8Array(32));
  const roots = {
    payoutRoot: zero,
    receiptsRoot,
    paymentsRoot: zero,
    manifest: zero,
    totalWei: 0n,
    leafCount: 0,
    receiptCount: 1,
    paymentCount: 0,
  };
  await chain.send(staker!, 'Epochs', 'anchor', [1n, roots, '0x']);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}
