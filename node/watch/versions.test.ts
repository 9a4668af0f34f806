// Versions of datanets on the real contracts: whose author separates equal records is found and slashed, nobody else.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Wallet } from 'ethers';
import { type Bytes32, parseAddress } from '#crypto';
import {
  buildVersion,
  digestOfCid,
  encodeVersionManifest,
  hashRecord,
  parseCid,
  publishIntent,
  recordLeaves,
  versionLockId,
} from '#protocol';
import { startChain } from '../../contracts/harness.ts';
import { OPEN_WEI, presets } from '../../contracts/presets.ts';
import { assertConserved, bonds, stake, timing } from '../../contracts/test/fixtures.ts';
import { keyOf } from '../../protocol/fixture.ts';
import { silentLog } from '../gateway/testing.ts';
import { contribute } from '../services/contributing.ts';
import { createCurator } from '../services/curator.ts';
import { createDatanets } from '../services/datanets.ts';
import { blocksIn, portOn } from '../services/testing.ts';
import { watchVersions } from './versions.ts';

const LOCK_WEI = 20n * OPEN_WEI;
const chain = await startChain();
const { DatanetRegistry, Staking } = chain.contracts;
const [author, watcher, other] = chain.wallets as [Wallet, Wallet, Wallet, ...Wallet[]];
await chain.send(chain.deployer, 'Parameters', 'change', [
  { ...presets.local, bonds: { ...bonds, versionLockWei: LOCK_WEI } },
]);
await stake(chain, author, 0, 50n);
for (const wallet of [watcher, other]) await stake(chain, wallet, 0);
const signal = new AbortController().signal;
const log = silentLog as never;

const SHARED = 'Both of them contribute this very sentence.';
const TEXTS = {
  ada: ['Codling moths bore into the core of an apple.', SHARED],
  bob: [SHARED, 'Damsons make the best of jams.', 'A pear tree may live a hundred years.'],
};

/** A datanet with two contributions that share a record, its author, and a watcher that has the blocks. */
async function startWatch(t: TestContext, { challenges = true } = {}) {
  const before = await chain.snapshot();
  t.after(() => chain.revert(before));
  const stored = new Map<string, Uint8Array>();
  const blocks = blocksIn(stored);
  const parts = (wallet: Wallet) => {
    const port = portOn(chain, wallet);
    const announce = async () => undefined;
    return {
      port,
      datanets: createDatanets({ chain: port, chainSeconds: chain.now, blocks, announce, log }),
    };
  };
  const own = parts(author);
  const datanetId = await own.datanets.create('docs', 'MIT');
  for (const [name, records] of Object.entries(TEXTS))
    await contribute(
      {
        commit: own.datanets.relayCommit,
        reveal: async (id, salt, bytes) => {
          await own.datanets.relayReveal(id, salt, bytes);
        },
      },
      {
        privateKey: keyOf(name),
        datanetId,
        records,
        chainId: chain.deployment.chainId,
        registry: parseAddress(chain.deployment.contracts.DatanetRegistry),
      },
    );
  const clock = { nowMs: 0 };
  const watchOf = (wallet: Wallet) => {
    const { port, datanets } = parts(wallet);
    return watchVersions(
      {
        self: parseAddress(wallet.address),
        chain: port,
        datanets,
        watchers: async () => [watcher, other].map(({ address }) => parseAddress(address)),
        waitForBlock: async (number) => {
          while ((await chain.provider.getBlockNumber()) < number) await chain.mine(1);
        },
        chainSeconds: chain.now,
        nowMs: () => clock.nowMs,
        log: silentLog,
      },
      { staggerMs: 1_000, challenges },
    );
  };
  return { ...own, blocks, stored, datanetId, clock, watchOf };
}

type Watched = Awaited<ReturnType<typeof startWatch>>;

/** Publishes both contributions with these clusters, and the manifest that says so. */
async function publishWith(
  { port, datanets, blocks, datanetId }: Watched,
  clusters: readonly number[],
): Promise<void> {
  const entries = await datanets.contributions(datanetId);
  const shown = await Promise.all(entries.map((entry) => datanets.recordsOf(entry)));
  const incoming = entries.flatMap(({ contributor, committedAt }, i) =>
    (shown[i]?.records ?? []).map((record) => ({
      recordHash: hashRecord(record),
      contributor,
      registeredAt: committedAt,
    })),
  );
  const { root, recordCount } = buildVersion(recordLeaves(incoming, clusters));
  const version = Number((await DatanetRegistry.getDatanet(datanetId)).versionCount) + 1;
  const manifest = encodeVersionManifest({
    datanetId,
    version,
    contributions: entries.map(({ id, contributor, committedAt }, i) => ({
      id,
      contributor,
      registeredAt: committedAt,
      shards: (shown[i]?.shards ?? []).slice(0, -1).map(parseCid),
    })),
    clusters,
  });
  const manifestDigest = digestOfCid(parseCid(await blocks.put(manifest, { codec: 'dag-cbor' })));
  await chain.pass(1);
  await port.submit(publishIntent(datanetId, version, { root, recordCount, manifestDigest }));
}

const SEPARATED = [0, 1, 2, 3, 4];
const TOGETHER = [0, 1, 1, 3, 4];
const lockedWei = async (datanetId: Bytes32, version: number) =>
  (await Staking.getLock(versionLockId(datanetId, version))).amountWei;

test('an author that separates equal records is found and loses its lock, and an honest version stands', async (t) => {
  const watched = await startWatch(t);
  const { datanetId, clock, watchOf } = watched;
  await publishWith(watched, TOGETHER);
  await publishWith(watched, SEPARATED);
  const watchers = [watchOf(watcher), watchOf(other)];
  // Whose turn it is challenges at once, the other when it would be its turn and finds it done.
  for (const watch of watchers) await watch(signal);
  assert.deepEqual([await lockedWei(datanetId, 1), await lockedWei(datanetId, 2)], [LOCK_WEI, 0n]);
  assert.equal(await DatanetRegistry.areMerged(datanetId, 2, 1, 2), true);
  assert.equal(await Staking.freeOf(author.address), 50n * OPEN_WEI - 2n * LOCK_WEI);
  clock.nowMs += 1_000;
  for (const watch of watchers) await watch(signal);
  const credits = await Promise.all(
    [watcher, other].map(({ address }) => Staking.credits(address)),
  );
  assert.deepEqual(
    credits.toSorted((a, b) => (a < b ? -1 : 1)),
    [0n, (LOCK_WEI * 4n) / 10n],
  );
  assert.equal(await Staking.burnedWei(), (LOCK_WEI * 6n) / 10n);
  await assertConserved(chain);
});

test('what the curator of a node publishes is left alone', async (t) => {
  const { port, datanets, blocks, datanetId, clock, watchOf } = await startWatch(t);
  const curate = createCurator({
    chain: port,
    blocks,
    datanets,
    log,
    nowMs: () => 0,
    chainSeconds: chain.now,
    revealGraceMs: Number.MAX_SAFE_INTEGER,
  });
  await curate(signal);
  assert.equal((await DatanetRegistry.getDatanet(datanetId)).versionCount, 1n);
  clock.nowMs += 60_000;
  await watchOf(watcher)(signal);
  assert.equal(await lockedWei(datanetId, 1), LOCK_WEI);
  assert.equal(await Staking.credits(watcher.address), 0n);
});

test('a version that cannot be had is looked for again, and judged before its lock is released', async (t) => {
  const watched = await startWatch(t);
  const { datanetId, clock, stored, watchOf } = watched;
  await publishWith(watched, SEPARATED);
  const all = [...stored];
  stored.clear();
  const watch = watchOf(watcher);
  await watch(signal);
  clock.nowMs += 60_000;
  for (const [cid, bytes] of all) stored.set(cid, bytes);
  // The window is over, and nobody has released what it locks.
  await chain.pass(timing.challengeWindowSeconds);
  await watch(signal);
  clock.nowMs += 60_000;
  await watch(signal);
  assert.equal(await lockedWei(datanetId, 1), 0n);
});

test('after the release nothing is challenged any more', async (t) => {
  const watched = await startWatch(t);
  const { datanetId, clock, watchOf } = watched;
  await publishWith(watched, SEPARATED);
  await chain.pass(timing.challengeWindowSeconds);
  await chain.send(other, 'DatanetRegistry', 'releaseVersion', [datanetId, 1]);
  clock.nowMs += 60_000;
  await watchOf(watcher)(signal);
  assert.equal(await DatanetRegistry.areMerged(datanetId, 1, 1, 2), false);
  assert.equal(await Staking.freeOf(author.address), 50n * OPEN_WEI);
});

test('a node that only looks leaves a separated version alone', async (t) => {
  const watched = await startWatch(t, { challenges: false });
  const { datanetId, clock, watchOf } = watched;
  await publishWith(watched, SEPARATED);
  const watch = watchOf(watcher);
  await watch(signal);
  clock.nowMs += 60_000;
  await watch(signal);
  assert.equal(await lockedWei(datanetId, 1), LOCK_WEI);
});
