// False epochs on the real contracts: found, rejected and anchored again; withheld data asked for and judged.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type EventLog, Wallet, ZeroHash } from 'ethers';
import { contractInterfaces, presets } from '#contracts';
import { type Address, type Bytes32, parseAddress, toHex } from '#crypto';
import {
  aggregateEpoch,
  anchorIntent,
  cidOf,
  cidOfDigest,
  type EpochManifest,
  encodeEpochManifest,
  encodeReceiptFile,
  epochLeaves,
  epochManifestDigest,
  epochRoots,
  payoutLeavesOf,
  presentIntent,
  receiptHash,
  showLeavesIntent,
} from '#protocol';
import { PaymentDisputesFault } from '../../contracts/bindings/structs.ts';
import { startChain } from '../../contracts/harness.ts';
import { pay, stake, timing } from '../../contracts/test/fixtures.ts';
import { hashOf, keyOf, PRICE, RULES, type Sample, sampleAnswer } from '../../protocol/fixture.ts';
import { silentLog } from '../gateway/testing.ts';
import { createChainPort } from '../services/chain-port.ts';
import { openEpochLog } from '../services/epoch-log.ts';
import { createEpochs } from '../services/epochs.ts';
import { contentOfFile } from '../services/receipt-contents.ts';
import { watchEpochs } from './epochs.ts';

const chain = await startChain();
const domain = {
  chainId: chain.deployment.chainId,
  verifyingContract: parseAddress(chain.deployment.contracts.Referee),
};
/** An answer on this chain by its rules; `fee` per token decides whether presenting it is worth it. */
const sampleOf = (name: string, feeWeiPerToken: bigint) =>
  sampleAnswer(name, undefined, {
    domain: { chainId: domain.chainId, referee: domain.verifyingContract },
    rules: { ...RULES, learnedPpm: Number(presets.local.fees.learnedPpm) },
    price: { ...PRICE, feeWeiPerToken },
  });
const sample = sampleOf('request', PRICE.feeWeiPerToken);
const { Epochs, EpochDisputes, PaymentDisputes, Staking } = chain.contracts;
const [liar, honest] = chain.wallets as [Wallet, Wallet, ...Wallet[]];
const [client, provider] = ['client', 'provider'].map((name) => new Wallet(toHex(keyOf(name)))) as [
  Wallet,
  Wallet,
];
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
async function startNode(t: TestContext, answer: Sample | null = sample, anchors = true) {
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
  const store = {
    get: async (cid: string) => {
      const found = blocks.get(cid);
      if (found === undefined) throw new Error('nobody has it');
      return found;
    },
    put: async (bytes: Uint8Array) => {
      blocks.set(cidOf(bytes).toString(), bytes);
      return cidOf(bytes).toString();
    },
    putLarge: () => Promise.reject(new Error('not asked for')),
    getLarge: () => Promise.reject(new Error('not asked for')),
    has: async (cid: string) => blocks.has(cid),
    provide: async () => true,
  };
  const epochs = createEpochs({
    chain: port,
    blocks: store,
    chainSeconds: chain.now,
    manifestOf: epochLog.manifestOf,
    presented: epochLog.presented,
    domain,
    receipts: async function* () {
      if (answer !== null) yield encodeReceiptFile(answer.file);
    },
    treasury: parseAddress(chain.treasury.address),
    anchors,
    epochAgeMs: 1_000,
    nowMs: () => clock.nowMs,
    log: silentLog as never,
  });
  const watch = watchEpochs(
    {
      self: parseAddress(honest.address),
      chain: port,
      blocks: store,
      domain,
      treasury: parseAddress(chain.treasury.address),
      presented: epochLog.presented,
      lists: epochs.lists,
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

test('the same lie, told again after it was rejected, is rejected again', async (t) => {
  const { blocks, watch } = await startNode(t);
  const manifest = falseManifest(null, 1);
  blocks.set(cidOfDigest(epochManifestDigest(manifest)).toString(), encodeEpochManifest(manifest));
  for (const round of [1, 2, 3]) {
    await anchorFalse(manifest, round);
    await watch(signal);
    assert.equal(await Epochs.epochCount(), 0n, `round ${round}`);
  }
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
  const leaves = payoutLeavesOf(epochLeaves(manifest).payouts);
  await portOf(liar).submit(showLeavesIntent(1n, leaves, [0]));
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

/** The epoch that pays the sample, as everybody would compute it. */
async function honestManifest(epochs: Awaited<ReturnType<typeof startNode>>['epochs']) {
  await epochs.tick(signal);
  const pending = await epochs.pending();
  assert.ok(pending?.manifest);
  return pending.manifest;
}

test('a payment that the receipt does not give is found in its file and rejected', async (t) => {
  const { blocks, clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  const before = await chain.snapshot();
  const manifest = await honestManifest(epochs);
  await chain.revert(before);
  const thief = parseAddress(liar.address);
  const [line, ...others] = manifest.receipts;
  assert.ok(line !== undefined);
  const payouts = line.payouts.map((payout, i) =>
    i === 0 ? { ...payout, account: thief } : payout,
  );
  const receipts = [{ ...line, payouts }, ...others];
  // All else follows from the lie.
  const lying = aggregateEpoch({ ...manifest, previous: null, receipts, isPaid: () => false });
  blocks.set(cidOfDigest(epochManifestDigest(lying)).toString(), encodeEpochManifest(lying));
  await anchorFalse(lying, 1);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 0n);
  assert.equal((await PaymentDisputes.queryFilter('PaymentDisputed')).length, 1);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  assert.equal(await anchorer(1), honest.address);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 1n);
});

test('a listed receipt that nobody can show costs the epoch', async (t) => {
  const { blocks, clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  const before = await chain.snapshot();
  const manifest = await honestManifest(epochs);
  await chain.revert(before);
  const phantom = { ...manifest.receipts[0]!, receiptHash: hashOf('phantom'), file: null };
  const receipts = [phantom];
  const lying = aggregateEpoch({ ...manifest, previous: null, receipts, isPaid: () => false });
  blocks.set(cidOfDigest(epochManifestDigest(lying)).toString(), encodeEpochManifest(lying));
  await anchorFalse(lying, 1);
  await watch(signal);
  assert.equal(await EpochDisputes.askCount(), 0n, 'patience first');
  clock.nowMs += 5_000;
  await watch(signal);
  assert.equal(await EpochDisputes.askCount(), 1n);
  await chain.pass(timing.daAnswerSeconds + 1n);
  await watch(signal);
  assert.equal(await Epochs.epochCount(), 0n);
});

test('what receipts say is shown to whoever asks', async (t) => {
  const { clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  const bondWei = await EpochDisputes.bondOf(3, 1);
  await chain.send(client, 'EpochDisputes', 'ask', [1, 3, [0]], bondWei * 2n);
  await watch(signal);
  assert.equal((await EpochDisputes.getAsk(1)).settled, true);
  assert.equal(await EpochDisputes.credits(honest.address), bondWei * 2n);
  const [shown] = (await epochs.pending())?.manifest?.receipts ?? [];
  assert.equal(shown?.receiptHash, receiptHash(sample.built.receipt));
});

test('a collected receipt that epochs pass over is presented, and has to be paid then', async (t) => {
  const large = sampleOf('large', 10n ** 18n);
  const { blocks, epochs, watch } = await startNode(t, large, false);
  await pay(chain, client, provider, 0n, large.built.receipt.feeWei);
  const hash = receiptHash(large.built.receipt);
  let previous: Bytes32 | null = null;
  const passOver = async (epoch: number) => {
    const { openedBlock } = await Epochs.getEpoch(epoch);
    const stakes = await Staking.getStakes(openedBlock, 0, 9);
    const nothing = {
      ...falseManifest(previous, epoch),
      stakers: stakes.map((each) => ({
        account: parseAddress(each.owner),
        stakeWei: each.stakeWei,
      })),
      payouts: [],
    };
    previous = epochManifestDigest(nothing);
    blocks.set(cidOfDigest(previous).toString(), encodeEpochManifest(nothing));
    await anchorFalse(nothing, epoch);
    await watch(signal);
  };
  for (const epoch of [1, 2, 3, 4]) {
    await passOver(epoch);
    assert.equal(await Epochs.epochCount(), BigInt(epoch), 'nothing is due yet');
    const stated = await PaymentDisputes.getPresented(hash, honest.address);
    assert.equal(stated.blockNumber > 0n, epoch === 4, `presented before epoch ${epoch}`);
    await chain.pass(timing.challengeWindowSeconds + 600n);
    await epochs.tick(signal);
    assert.equal(await Epochs.finalisedCount(), BigInt(epoch));
  }
  await passOver(5);
  assert.equal(await Epochs.epochCount(), 4n, 'the fifth opened after it was presented');
  const [dispute] = await PaymentDisputes.queryFilter('PaymentDisputed');
  assert.equal((dispute as EventLog).args['fault'], PaymentDisputesFault.Omitted);
});

test('a presented receipt that was paid before is refuted', async (t) => {
  const { clock, epochs, watch } = await startNode(t);
  clock.nowMs += 2_000;
  await epochs.tick(signal);
  await chain.pass(timing.challengeWindowSeconds);
  await epochs.tick(signal);
  const { receipt } = sample.built;
  const content = contentOfFile(encodeReceiptFile(sample.file), receiptHash(receipt), domain);
  assert.ok(content !== null);
  await portOf(liar).submit(presentIntent(content));
  const stated = () => PaymentDisputes.getPresented(receiptHash(receipt), liar.address);
  assert.ok((await stated()).blockNumber > 0n);
  await watch(signal);
  assert.equal((await stated()).blockNumber, 0n);
});
