// Contributors, their relay and their curator on the real contracts: deposits, changed keys, locks of versions.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Wallet } from 'ethers';
import { addressOfPrivateKey, parseAddress } from '#crypto';
import { versionLockId } from '#protocol';
import { startChain } from '../../contracts/harness.ts';
import { OPEN_WEI, presets } from '../../contracts/presets.ts';
import { assertConserved, bonds, timing } from '../../contracts/test/fixtures.ts';
import { keyOf } from '../../protocol/fixture.ts';
import { NodeError } from '../errors.ts';
import { silentLog } from '../gateway/testing.ts';
import { type ContributionApi, contribute, type RotationApi, rotateKey } from './contributing.ts';
import { withdrawCredits } from './credits.ts';
import { createCurator } from './curator.ts';
import { createDatanets } from './datanets.ts';
import { blocksIn, portOn } from './testing.ts';

const chain = await startChain();
const { DatanetRegistry, Staking } = chain.contracts;
const [operator] = chain.wallets as [Wallet, ...Wallet[]];
const registry = parseAddress(chain.deployment.contracts.DatanetRegistry);
const chainId = chain.deployment.chainId;
const signal = new AbortController().signal;
const LOCK_WEI = 20n * OPEN_WEI;
const log = silentLog as never;

const TEXTS = {
  Pears: ['Pears keep all winter in a cool cellar.', 'A pear tree may live a hundred years.'],
  Apples: ['Bramleys are cooked, seldom eaten raw.', 'Codling moths bore into the core.'],
  Plums: ['Damsons make the best of jams.', 'The stone comes free when the fruit is ripe.'],
};

/** A node that relays and curates, on a chain of its own test. */
async function startNode(t: TestContext) {
  const before = await chain.snapshot();
  t.after(() => chain.revert(before));
  const port = portOn(chain, operator);
  const blocks = blocksIn(new Map());
  const datanets = createDatanets({
    chain: port,
    chainSeconds: chain.now,
    blocks,
    announce: async () => undefined,
    log,
  });
  const curate = createCurator({
    chain: port,
    blocks,
    datanets,
    log,
    nowMs: () => 0,
    chainSeconds: chain.now,
    revealGraceMs: Number.MAX_SAFE_INTEGER,
  });
  const datanetId = await datanets.create('docs', 'MIT');
  const api: ContributionApi & RotationApi = {
    commit: (request) => datanets.relayCommit(request),
    reveal: async (id, salt, records) => {
      await datanets.relayReveal(id, salt, records);
    },
    contributor: datanets.contributor,
    rotate: datanets.relayRotation,
  };
  const give = (name: string, subject: keyof typeof TEXTS, through: ContributionApi = api) =>
    contribute(through, {
      privateKey: keyOf(name),
      datanetId,
      records: TEXTS[subject],
      chainId,
      registry,
    });
  const rotate = async (from: string, to: string) =>
    rotateKey(api, {
      from: keyOf(from),
      to: keyOf(to),
      chainId,
      registry,
      nowSeconds: await chain.now(),
    });
  return { port, datanets, datanetId, api, give, rotate, tick: () => curate(signal) };
}

const creditWei = () => DatanetRegistry.credits(operator.address);

async function lockVersions(lockWei = LOCK_WEI): Promise<void> {
  await chain.send(chain.deployer, 'Parameters', 'change', [
    { ...presets.local, bonds: { ...bonds, versionLockWei: lockWei } },
  ]);
}

test('the relay pays the deposit, once, and has it back as a credit as soon as the records are shown', async (t) => {
  const { port, give, tick } = await startNode(t);
  const first = await give('ada', 'Pears');
  assert.equal(await creditWei(), bonds.contributionDepositWei);
  assert.equal(await give('ada', 'Pears'), first);
  assert.equal(await DatanetRegistry.contributionTotal(), 1n);
  // Whoever copies is refused, and its deposit is not the price of it.
  const second = await give('bob', 'Pears');
  await tick();
  const { state } = await DatanetRegistry.getContribution(second);
  assert.equal(state, 4n);
  assert.equal(await creditWei(), 2n * bonds.contributionDepositWei);
  const takenWei = await withdrawCredits(port, () => 'unknown');
  assert.equal(takenWei, 2n * bonds.contributionDepositWei);
  await assertConserved(chain);
});

test('CHAIN_UNFUNDED: an account that cannot pay the deposit says so, and nothing is committed', async (t) => {
  const { give } = await startNode(t);
  await chain.request('hardhat_setBalance', [operator.address, '0x1']);
  await assert.rejects(give('ada', 'Pears'), { code: 'CHAIN_UNFUNDED' });
  assert.equal(await DatanetRegistry.contributionTotal(), 0n);
});

test('what nobody reveals is ended by the curator, and its contributor commits anew', async (t) => {
  const { api, give, tick } = await startNode(t);
  const hidden: ContributionApi = {
    ...api,
    reveal: () => Promise.reject(new Error('the machine stopped')),
  };
  await assert.rejects(give('ada', 'Pears', hidden));
  await tick();
  assert.equal(await DatanetRegistry.depositsWei(), bonds.contributionDepositWei);
  await chain.pass(timing.contributionRevealSeconds + 1n);
  // It is over before anybody has ended it.
  assert.equal(await give('ada', 'Pears'), 2);
  assert.equal(await give('ada', 'Pears'), 2);
  await tick();
  assert.equal(await DatanetRegistry.depositsWei(), 0n);
  assert.equal(await DatanetRegistry.burnedWei(), bonds.contributionDepositWei);
  await tick();
  const states = [1, 2].map(async (id) => (await DatanetRegistry.getContribution(id)).state);
  assert.deepEqual(await Promise.all(states), [5n, 3n]);
  await assertConserved(chain);
});

test('a contributor with a new key stays who it is: later versions pay the new one, and its own records are no copies', async (t) => {
  const { datanets, datanetId, give, rotate, tick } = await startNode(t);
  await give('ada', 'Pears');
  await tick();
  const [ada, next] = [addressOfPrivateKey(keyOf('ada')), addressOfPrivateKey(keyOf('ada 2'))];
  assert.equal(await rotate('ada', 'ada 2'), next);
  // Asked again, nothing is sent.
  assert.equal(await rotate('ada', 'ada 2'), next);
  assert.deepEqual(await datanets.contributor(ada), { account: next, nonce: 1n });
  const again = await give('ada 2', 'Pears');
  await tick();
  assert.equal((await DatanetRegistry.getContribution(again)).state, 3n);
  const paid = async (version: number) => {
    const { tree } = await datanets.load(datanetId, version);
    return [...new Set(tree.leaves.map(({ contributor }) => contributor))];
  };
  assert.deepEqual([await paid(1), await paid(2)], [[ada], [next]]);
});

test('KEY_RETIRED: a key that was replaced by another one is not replaced again', async (t) => {
  const { rotate } = await startNode(t);
  await rotate('ada', 'ada 2');
  await assert.rejects(rotate('ada', 'ada 3'), {
    code: 'KEY_RETIRED',
    details: {
      account: addressOfPrivateKey(keyOf('ada')),
      replacedBy: addressOfPrivateKey(keyOf('ada 2')),
    },
  });
});

test('the curator puts up what a version locks, and takes it back when the window is over', async (t) => {
  const { datanetId, give, tick } = await startNode(t);
  await lockVersions();
  await give('ada', 'Pears');
  await tick();
  const locked = async (version: number) =>
    (await Staking.getLock(versionLockId(datanetId, version))).amountWei;
  assert.equal(await locked(1), LOCK_WEI);
  await give('bob', 'Apples');
  await tick();
  assert.equal(await locked(2), LOCK_WEI);
  assert.equal(await Staking.freeOf(operator.address), 0n);
  await tick();
  assert.equal(await locked(1), LOCK_WEI);
  await chain.pass(timing.challengeWindowSeconds);
  await tick();
  assert.deepEqual([await locked(1), await locked(2)], [0n, 0n]);
  assert.equal(await Staking.freeOf(operator.address), 2n * LOCK_WEI);
  // What came back is what the next version locks.
  await give('cid', 'Plums');
  await tick();
  assert.equal(await locked(3), LOCK_WEI);
  assert.equal(await Staking.freeOf(operator.address), LOCK_WEI);
});

test('STAKE_SHORT: a curator that cannot put it up says how much is missing, and publishes nothing', async (t) => {
  const { datanetId, give, tick } = await startNode(t);
  await lockVersions();
  await chain.send(operator, 'Staking', 'deposit', [], 5n * OPEN_WEI);
  await give('ada', 'Pears');
  await chain.request('hardhat_setBalance', [operator.address, `0x${OPEN_WEI.toString(16)}`]);
  const short = (fix: RegExp) => (error: unknown) => {
    assert.ok(error instanceof NodeError);
    assert.equal(error.code, 'STAKE_SHORT');
    assert.deepEqual(error.details, {
      account: parseAddress(operator.address),
      freeWei: `${5n * OPEN_WEI}`,
      neededWei: `${LOCK_WEI}`,
      missingWei: `${15n * OPEN_WEI}`,
    });
    assert.match(error.fix, fix);
    return true;
  };
  await assert.rejects(tick(), short(/send at least 15 OPEN/));
  assert.equal((await DatanetRegistry.getDatanet(datanetId)).versionCount, 0n);
  await chain.request('hardhat_setBalance', [
    operator.address,
    `0x${(100n * OPEN_WEI).toString(16)}`,
  ]);
  await tick();
  assert.equal((await DatanetRegistry.getDatanet(datanetId)).versionCount, 1n);
});

test('STAKE_SHORT: what was slashed for a version is not put up again by itself', async (t) => {
  const { datanetId, give, tick } = await startNode(t);
  await lockVersions();
  await give('ada', 'Pears');
  await tick();
  const { contracts } = chain.deployment;
  const lockId = versionLockId(datanetId, 1);
  await chain.sendAs(contracts.DatanetRegistry, 'Staking', 'slash', [
    lockId,
    operator.address,
    operator.address,
  ]);
  await give('bob', 'Apples');
  await assert.rejects(tick(), { code: 'STAKE_SHORT', fix: /slashed/ });
  assert.equal((await DatanetRegistry.getDatanet(datanetId)).versionCount, 1n);
});
