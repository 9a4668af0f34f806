/** Staking: deposits, thawing, locks, the division of what is slashed, and every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { id, toQuantity, type Wallet } from 'ethers';
import { startChain } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import {
  announce,
  assertConserved,
  bonds,
  isolate,
  PROVIDER,
  publish,
  refuses,
  stake,
  tagged,
  timing,
  VERIFIER,
} from './fixtures.ts';

const chain = await startChain();
const { Staking } = chain.contracts;
const [alice, bob, carol] = chain.wallets as [Wallet, Wallet, Wallet];
isolate(chain);

describe('Staking: free stake', () => {
  test('a deposit lists its account, and a verifier weighs in draws by block', async () => {
    const first = await chain.send(alice, 'Staking', 'deposit', [], 10n * OPEN_WEI);
    await chain.send(alice, 'Staking', 'setRoles', [PROVIDER | VERIFIER]);
    const last = await chain.send(alice, 'Staking', 'deposit', [], 5n * OPEN_WEI);
    const account = await Staking.getAccount(alice.address);
    assert.equal(account.freeWei, 15n * OPEN_WEI);
    assert.equal(account.stakeWei, 15n * OPEN_WEI);
    assert.equal(account.roles, 3n);
    assert.equal(account.listed, true);
    const { blockNumber } = last;
    const at = (block: number) => Staking.weightAt(alice.address, block);
    assert.deepEqual(await Promise.all([first.blockNumber, blockNumber - 1, blockNumber].map(at)), [
      0n,
      10_000_000n,
      15_000_000n,
    ]);
    assert.deepEqual([...(await Staking.stakers())], [alice.address]);
    await assertConserved(chain);
  });

  test('stake below the minimum is not listed; leaving the list moves the last one up', async () => {
    await stake(chain, alice, 0, 9n);
    assert.equal(await Staking.stakerCount(), 0n);
    for (const wallet of [alice, bob, carol]) await stake(chain, wallet, 0, 20n);
    await chain.send(alice, 'Staking', 'requestThaw', [25n * OPEN_WEI]);
    assert.deepEqual([...(await Staking.stakers())], [carol.address, bob.address]);
    const page = await Staking.getStakers(1, 5);
    assert.deepEqual(
      page.map(({ account, state }) => [account, state.freeWei]),
      [[bob.address, 20n * OPEN_WEI]],
    );
    assert.equal((await Staking.getStakers(2, 5)).length, 0);
    await stake(chain, alice, 0, 20n);
    assert.deepEqual([...(await Staking.stakers())], [carol.address, bob.address, alice.address]);
  });

  test('thawing stake is paid after its time and counts for nothing before', async () => {
    await stake(chain, alice, 0, 30n);
    await chain.send(alice, 'Staking', 'requestThaw', [12n * OPEN_WEI]);
    assert.equal((await Staking.getAccount(alice.address)).stakeWei, 18n * OPEN_WEI);
    await refuses(chain.send(alice, 'Staking', 'withdraw', []), 'StakingStillThawing');
    await chain.pass(timing.thawSeconds);
    const before = await chain.provider.getBalance(alice.address);
    await chain.send(alice, 'Staking', 'withdraw', []);
    assert.equal((await chain.provider.getBalance(alice.address)) - before, 12n * OPEN_WEI);
    await refuses(chain.send(alice, 'Staking', 'withdraw', []), 'StakingNothingThawing', [
      alice.address,
    ]);
    await assertConserved(chain);
  });

  test('a second request restarts the clock for all of it', async () => {
    await stake(chain, alice, 0, 30n);
    await chain.send(alice, 'Staking', 'requestThaw', [1n]);
    await chain.pass(timing.thawSeconds - 10n);
    await chain.send(alice, 'Staking', 'requestThaw', [2n]);
    await chain.pass(60);
    await refuses(chain.send(alice, 'Staking', 'withdraw', []), 'StakingStillThawing');
  });

  test('AmountZero, FreeShort, RolesUnknown', async () => {
    await refuses(chain.send(alice, 'Staking', 'deposit', []), 'StakingAmountZero');
    await refuses(chain.send(alice, 'Staking', 'requestThaw', [0]), 'StakingAmountZero');
    await refuses(chain.send(alice, 'Staking', 'requestThaw', [1]), 'StakingFreeShort', [
      alice.address,
      1n,
      0n,
    ]);
    await refuses(chain.send(alice, 'Staking', 'setRoles', [4]), 'StakingRolesUnknown', [4n]);
  });

  test('StakingListFull: no deposit enters a full list, none that is in it is kept from more', async () => {
    const small = { ...presets.local, bonds: { ...bonds, maxStakers: 1n } };
    await chain.send(chain.deployer, 'Parameters', 'change', [small]);
    await stake(chain, alice, 0, 10n);
    await refuses(chain.send(bob, 'Staking', 'deposit', [], 10n * OPEN_WEI), 'StakingListFull', [
      1n,
    ]);
    await chain.send(bob, 'Staking', 'deposit', [], OPEN_WEI);
    await chain.send(alice, 'Staking', 'deposit', [], OPEN_WEI);
  });
});

describe('Staking: locks', () => {
  test('StakingLockTooLarge: a lock of 2^95 wei is refused; one of a wei less holds, and says when it was slashed', async () => {
    const largest = 2n ** 95n - 1n;
    const { TaskEscrow: escrow } = chain.deployment.contracts;
    await chain.request('hardhat_setBalance', [alice.address, toQuantity(4n * largest)]);
    await chain.send(alice, 'Staking', 'deposit', [], 2n * largest);
    const lockId = id('lock');
    const lock = (amountWei: bigint) =>
      chain.sendAs(escrow, 'Staking', 'lock', [alice.address, lockId, amountWei]);
    const held = async () => {
      const { owner, amountWei, slashedAt, slashedWhole } = await Staking.getLock(lockId);
      return [owner, amountWei, slashedAt, slashedWhole];
    };
    await refuses(lock(largest + 1n), 'StakingLockTooLarge', [lockId, largest + 1n]);
    await lock(largest);
    assert.deepEqual(await held(), [alice.address, largest, 0n, false]);
    await chain.sendAs(escrow, 'Staking', 'slash', [lockId, bob.address, carol.address]);
    const slashed = [alice.address, 0n, BigInt(await chain.now()), false];
    assert.deepEqual(await held(), slashed);
    await lock(1n);
    assert.deepEqual(await held(), [alice.address, 1n, 0n, false]);
    await assertConserved(chain);
  });
});

describe('Staking: the serving bond', () => {
  test('is locked, stays until the exit has thawed, and comes back whole', async () => {
    await stake(chain, alice, PROVIDER);
    await chain.send(alice, 'Staking', 'registerServing', []);
    const lockId = tagged('openledger/serving/1', ['address'], [alice.address]);
    assert.equal(await Staking.servingLockId(alice.address), lockId);
    const lock = await Staking.getLock(lockId);
    assert.equal(lock.owner, alice.address);
    assert.equal(lock.amountWei, bonds.servingLockWei);
    assert.equal((await Staking.getAccount(alice.address)).servingLockWei, bonds.servingLockWei);
    await refuses(chain.send(alice, 'Staking', 'registerServing', []), 'StakingLockExists', [
      lockId,
    ]);
    await refuses(
      chain.send(alice, 'Staking', 'releaseServing', []),
      'StakingServingExitNotRequested',
      [alice.address],
    );
    await chain.send(alice, 'Staking', 'requestServingExit', []);
    await refuses(chain.send(alice, 'Staking', 'releaseServing', []), 'StakingServingExitPending');
    await chain.pass(timing.thawSeconds);
    await chain.send(alice, 'Staking', 'releaseServing', []);
    assert.equal((await Staking.getAccount(alice.address)).freeWei, 100n * OPEN_WEI);
    await assertConserved(chain);
  });

  test('RoleMissing, NotServing, FreeShort', async () => {
    await refuses(chain.send(alice, 'Staking', 'registerServing', []), 'StakingRoleMissing', [
      alice.address,
      1n,
    ]);
    await stake(chain, alice, PROVIDER, 1n);
    await refuses(chain.send(alice, 'Staking', 'registerServing', []), 'StakingFreeShort');
    await refuses(chain.send(alice, 'Staking', 'requestServingExit', []), 'StakingNotServing', [
      alice.address,
    ]);
  });
});

describe('Staking: who may move locks', () => {
  test('StakingUnauthorised: lock, unlock, forfeit, slash', async () => {
    const lockId = id('lock');
    const refused = ['StakingUnauthorised', [alice.address]] as const;
    await refuses(chain.send(alice, 'Staking', 'lock', [alice.address, lockId, 1]), ...refused);
    await refuses(chain.send(alice, 'Staking', 'unlock', [lockId]), ...refused);
    await refuses(chain.send(alice, 'Staking', 'forfeit', [lockId, 1, alice.address]), ...refused);
    await refuses(
      chain.send(alice, 'Staking', 'slash', [lockId, alice.address, alice.address]),
      ...refused,
    );
  });

  test('slash divides a lock to the wei; the remainders are burned; a gone lock gives nothing', async () => {
    const oddWei = 20n * OPEN_WEI + 7n;
    await chain.send(chain.deployer, 'Parameters', 'change', [
      { ...presets.local, bonds: { ...bonds, servingLockWei: oddWei } },
    ]);
    await stake(chain, alice, PROVIDER, 25n);
    await chain.send(alice, 'Staking', 'registerServing', []);
    // The referee is a contract; the engine lets the test speak for it.
    const referee = chain.deployment.contracts.Referee;
    const lockId = await Staking.servingLockId(alice.address);
    await chain.sendAs(referee, 'Staking', 'slash', [lockId, bob.address, carol.address]);
    assert.equal(await Staking.credits(bob.address), (oddWei * 4n) / 10n);
    assert.equal(await Staking.credits(carol.address), oddWei / 10n);
    assert.equal(await Staking.burnedWei(), oddWei - (oddWei * 4n) / 10n - oddWei / 10n);
    const account = await Staking.getAccount(alice.address);
    assert.equal(account.stakeWei, 25n * OPEN_WEI - oddWei);
    assert.equal(account.lockedWei, 0n);
    assert.equal(account.listed, true);
    await chain.send(carol, 'Staking', 'settle', [alice.address]);
    assert.equal((await Staking.getAccount(alice.address)).listed, false);
    await chain.sendAs(referee, 'Staking', 'slash', [lockId, bob.address, carol.address]);
    assert.equal(await Staking.credits(carol.address), oddWei / 10n);
    await assertConserved(chain);
    const before = await chain.provider.getBalance(bob.address);
    await chain.send(bob, 'Staking', 'withdrawCredits', []);
    assert.equal((await chain.provider.getBalance(bob.address)) - before, (oddWei * 4n) / 10n);
    await assertConserved(chain);
  });

  test('StakingLockShort: no more is forfeited than is locked', async () => {
    const lockId = id('lock');
    const escrow = chain.deployment.contracts.TaskEscrow;
    await stake(chain, alice, PROVIDER);
    await chain.sendAs(escrow, 'Staking', 'lock', [alice.address, lockId, 5]);
    await refuses(
      chain.sendAs(escrow, 'Staking', 'forfeit', [lockId, 6, bob.address]),
      'StakingLockShort',
      [lockId, 6n, 5n],
    );
    await chain.sendAs(escrow, 'Staking', 'forfeit', [lockId, 5, bob.address]);
    assert.equal(await Staking.credits(bob.address), 2n);
    assert.equal(await Staking.burnedWei(), 3n);
  });

  test('stake locked for a task cannot thaw', async () => {
    await stake(chain, alice, PROVIDER, 20n);
    const datanet = await publish(chain, bob);
    const taskId = await announce(chain, bob, datanet);
    await chain.send(alice, 'TaskEscrow', 'claim', [taskId]);
    await refuses(chain.send(alice, 'Staking', 'requestThaw', [1]), 'StakingFreeShort');
    assert.equal((await Staking.getAccount(alice.address)).stakeWei, 20n * OPEN_WEI);
  });

  test('CreditsTransferFailed: an account that takes no money keeps its credit', async () => {
    // Runtime code that reverts on everything.
    const refuser = '0x00000000000000000000000000000000000bad00';
    await stake(chain, alice, PROVIDER);
    await chain.send(alice, 'Staking', 'registerServing', []);
    const lockId = await Staking.servingLockId(alice.address);
    await chain.sendAs(chain.deployment.contracts.Referee, 'Staking', 'slash', [
      lockId,
      refuser,
      bob.address,
    ]);
    await chain.request('hardhat_setCode', [refuser, '0x5f5ffd']);
    const owed = await Staking.credits(refuser);
    await refuses(
      chain.sendAs(refuser, 'Staking', 'withdrawCredits', []),
      'CreditsTransferFailed',
      ['0x00000000000000000000000000000000000BAd00', owed],
    );
    assert.equal(await Staking.credits(refuser), owed);
  });
});
