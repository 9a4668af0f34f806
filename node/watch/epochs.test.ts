// False epochs on the real contracts: found, rejected and anchored again; withheld data asked for and judged.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Wallet, ZeroHash } from 'ethers';
import { contractInterfaces } from '#contracts';
import { type Address, type Bytes32, parseAddress, toHex } from '#crypto';
import {
  anchorIntent,
  cidOf,
  cidOfDigest,
  type EpochManifest,
  encodeEpochManifest,
  encodeReceiptFile,
  epochManifestDigest,
  epochRoots,
  type PayoutLeaf,
  payoutLeavesOf,
  showLeavesIntent,
} from '#protocol';
import { startChain } from '../../contracts/harness.ts';
import { pay, stake, timing } from '../../contracts/test/fixtures.ts';
import { keyOf, sampleAnswer } from '../../protocol/fixture.ts';
import { silentLog } from '../gateway/testing.ts';
import { createChainPort } from '../services/chain-port.ts';
import { openEpochLog } from '../services/epoch-log.ts';
import { createEpochs } from '../services/epochs.ts';
import { watchEpochs } from './epochs.ts';

const chain = await startChain();
const { Epochs, EpochDisputes, Staking } = chain.contracts;
const [liar, honest] = chain.wallets as [Wallet, Wallet, ...Wallet[]];
const [client, provider] = ['client', 'provider'].map((name) => new Wallet(toHex(keyOf(name)))) as [
  Wallet,
  Wallet,
];
const sample = sampleAnswer();
for (const { address } of [client, provider])
  await chain.request('hardhat_setBalance', [address, `0x${(10n ** 20n).toString(16)}`]);
for (const wallet of [liar, honest]) await stake(chain, wallet, 0);
await pay(chain, client, provider, 0n, sample.built.receipt.feeWei);
const { adapter } = sample.file;
await chain.sendAs(chain.deployment.contracts.TaskEscrow, 'ModelRegistry', 'registerAdapter', [
  {
    ...adapter,
    registeredAt: 0,
    owner: provider.address,
    provider: provider.address,
    // Of this task and these weights the sample's adapter has its id.
    taskId: 7n,
    traceRoot: ZeroHash,
    manifest: ZeroHash,
    name: 'weir',
  },
]);
assert.equal(await chain.contracts.ModelRegistry.adapterCount(), 1n);
const signal = new AbortController().signal;

/** A port that sends each key once, as the outbox does. */
function portOf(wallet: Wallet) {
  const sent = new Map<string, Awaited<ReturnType<typeof chain.sendData>>>();
  return createChainPort(
    parseAddress(wallet.address),
    chain.deployment.contracts,
    contractInterfaces,
    {
      call: (request) => chain.provider.call(request),
      submit: async ({ key, to, data, valueWei }) => {
        const receipt = sent.get(key) ?? (await chain.sendData(wallet, to, data, valueWei));
        sent.set(key, receipt);
        return { ...receipt, logs: [...receipt.logs] };
      },
    },
  );
}

/** A node that anchors and watches, with the blocks that it can fetch. */
async function startNode(t: TestContext) {
  const before = await chain.snapshot();
  t.after(() => chain.revert(before));
  const blocks = new Map<string, Uint8Array>();
  const clock = { nowMs: 0 };
  const port = portOf(honest);
  const epochLog = openEpochLog(
    {
      logs: async ({ address, topics }, fromBlock) => {
        const head = await chain.provider.getBlockNumber();
        const filter = { address: address as string, topics: [...(topics as string[])], fromBlock };
        const found = fromBlock > head ? [] : await chain.provider.getLogs(filter);
        const logs = found.map((log) => ({ ...log, logIndex: log.index }));
        return { logs, nextBlock: head + 1 };
      },
    },
    chain.deployment,
  );
  const epochs = createEpochs({
    chain: port,
    blocks: {
      get: async (cid) => {
        const found = blocks.get(cid);
        if (found === undefined) throw new Error('nobody has it');
        return found;
      },
      put: async (bytes) => {
        blocks.set(cidOf(bytes).toString(), bytes);
        return cidOf(bytes).toString();
      },
      putLarge: () => Promise.reject(new Error('not asked for')),
      getLarge: () => Promise.reject(new Error('not asked for')),
      has: async (cid) => blocks.has(cid),
      provide: async () => true,
    },
    chainSeconds: chain.now,
    manifestOf: epochLog.manifestOf,
    receipts: async function* () {
      yield encodeReceiptFile(sample.file);
    },
    treasury: parseAddress(chain.treasury.address),
    anchors: true,
    epochAgeMs: 1_000,
    nowMs: () => clock.nowMs,
    log: silentLog as never,
  });
  const watch = watchEpochs(
    {
      self: parseAddress(honest.address),
      chain: port,
      pending: epochs.pending,
      shownFor: epochLog.shownFor,
      watchers: async () => [parseAddress(honest.address)],
      waitForBlock: async (number) => {
        while ((await chain.provider.getBlockNumber()) < number) await chain.mine(1);
      },
      chainSeconds: chain.now,
      nowMs: () => clock.nowMs,
      log: silentLog,
    },
    { staggerMs: 1_000, patienceMs: 5_000, challenges: true },
  );
  return { blocks, clock, epochs, watch };
}

/** A manifest that pays the liar one wei and says that it adds up to more. */
function falseManifest(previous: Bytes32 | null, epoch: number): EpochManifest {
  const account = parseAddress(liar.address);
  return {
    epoch,
    previous,
    treasury: account,
    potTotalWei: 2n,
    stakers: [],
    modelOwners: [],
    collected: [],
    receipts: [],
    covered: [],
    payouts: [{ account, amountWei: 1n, runningWei: 2n }],
  };
}

async function anchorFalse(manifest: EpochManifest, round: number): Promise<void> {
  await portOf(liar).submit(
    anchorIntent(epochRoots(manifest), epochManifestDigest(manifest), round),
  );
}

const anchorer = async (epoch: number) => (await Epochs.getEpoch(epoch)).anchorer;

test('a false epoch is rejected, its anchorer slashed, and the epoch anchored again', async (t) => {
  const { blocks, clock, epochs, watch } = await startNode(t);
  const manifest = falseManifest(null, 1);
  blocks.set(cidOfDigest(epochManifestDigest(manifest)).toString(), encodeEpochManifest(manifest));
  await anchorFalse(manifest, 1);
  await epochs.tick(signal);
  assert.equal(await anchorer(1), liar.address);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 0n);
  assert.equal((await Staking.credits(honest.address)) > 0n, true);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  assert.equal(await anchorer(1), honest.address);
  assert.equal((await Epochs.getEpoch(1)).receiptCount, 1n);
  // An honest epoch is left alone, becomes final, and is what claims are made of.
  await watch(signal);
  await chain.pass(timing.challengeWindowSeconds);
  await epochs.tick(signal);
  assert.equal(await Epochs.finalisedCount(), 1n);
  const owed = await epochs.claimOf(parseAddress(provider.address));
  if (owed === null) throw new Error('the model owner is owed nothing');
  await epochs.relayClaim(owed);
  assert.equal(await Epochs.claimedWei(provider.address), owed.cumulativeWei);
});

test('payouts that fell against the last final epoch are rejected', async (t) => {
  const { blocks, clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  await chain.pass(timing.challengeWindowSeconds);
  await epochs.tick(signal);
  const first = await Epochs.getEpoch(1);
  const totalWei = first.totalWei;
  // All of it to the liar alone.
  const account: Address = parseAddress(liar.address);
  const payouts = [{ account, amountWei: totalWei, runningWei: totalWei }];
  const manifest = { ...falseManifest(first.manifest as Bytes32, 2), payouts };
  blocks.set(cidOfDigest(epochManifestDigest(manifest)).toString(), encodeEpochManifest(manifest));
  await anchorFalse(manifest, 2);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 1n);
});

test('a withheld manifest is asked for on chain, and what is shown is judged', async (t) => {
  const { clock, watch } = await startNode(t);
  const manifest = falseManifest(null, 1);
  await anchorFalse(manifest, 1);
  await watch(signal);
  assert.equal(await EpochDisputes.askCount(), 0n, 'patience first');
  clock.nowMs += 5_000;
  await watch(signal);
  assert.equal(await EpochDisputes.askCount(), 1n);
  const leaves: readonly PayoutLeaf[] = manifest.payouts;
  await portOf(liar).submit(showLeavesIntent(1n, payoutLeavesOf(leaves), [0]));
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 0n);
});

test('data that nobody shows costs the epoch', async (t) => {
  const { clock, watch } = await startNode(t);
  await anchorFalse(falseManifest(null, 1), 1);
  await watch(signal);
  clock.nowMs += 5_000;
  await watch(signal);
  await chain.pass(timing.daAnswerSeconds + 1n);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 0n);
  assert.equal((await EpochDisputes.getAsk(1)).settled, true);
});

test('leaves that another asks for are shown, of payouts and of receipts', async (t) => {
  const { clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  for (const tree of [0, 1]) {
    await chain.send(client, 'EpochDisputes', 'ask', [1, tree, [0]], 5n);
    await watch(signal);
  }
  assert.equal(await EpochDisputes.credits(honest.address), 10n);
  assert.equal(await Epochs.epochCount(), 1n);
});
