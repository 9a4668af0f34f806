/** Drawing by stake: the tree on chain against a flat list, its memory of every block, and what it refuses. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AbiCoder, getBytes, id, keccak256, type Wallet } from 'ethers';
import { createRandom } from '#crypto';
import { startChain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import { isolate, PROVIDER, refuses, stake, tagged, toReverted, VERIFIER } from './fixtures.ts';

const chain = await startChain('local', 24);
const { Staking } = chain.contracts;
const [alice, bob] = chain.wallets as [Wallet, Wallet];
isolate(chain);

const WEIGHT_WEI = 10n ** 12n;
const coder = AbiCoder.defaultAbiCoder();

/** docs/protocol.md section 3 over a list: [account, weight] in the order in which they first had a weight. */
function drawnOf(
  seed: string,
  weights: readonly (readonly [account: string, weight: bigint])[],
  count: number,
): string[] {
  const left = weights.map(([account, weight]) => ({ account, weight }));
  return Array.from({ length: count }, (_, i) => {
    const sum = left.reduce((all, { weight }) => all + weight, 0n);
    const word = keccak256(
      coder.encode(['bytes32', 'bytes32', 'uint256'], [id('openledger/sortition/2'), seed, i]),
    );
    let point = BigInt(word) % sum;
    const at = left.findIndex(({ weight }) => {
      if (point < weight) return true;
      point -= weight;
      return false;
    });
    return left.splice(at, 1)[0]!.account;
  });
}

const draw = async (
  seed: string,
  block: number,
  count: number,
  excluded: readonly string[] = [],
) => [...(await Staking.draw(seed, block, count, excluded).catch(toReverted))];

describe('Staking.draw', () => {
  test('draws as a flat list would, at every block of a past with changes, for any exclusion', async () => {
    const random = createRandom(getBytes(id('sortition')), 'test');
    const order: string[] = [];
    const weights = new Map<string, bigint>();
    const past: { block: number; weights: (readonly [string, bigint])[] }[] = [];
    for (let step = 0; step < 60; step += 1) {
      // Every third step brings a new account, so that the tree grows to its third level.
      const wallet = chain.wallets[step % 3 === 0 ? step / 3 : random.below(20)]!;
      const { freeWei, roles } = await Staking.getAccount(wallet.address);
      if (roles === 0n) await chain.send(wallet, 'Staking', 'setRoles', [VERIFIER]);
      let sent: { blockNumber: number };
      if (freeWei > 0n && random.below(4) === 0) {
        const partWei = (freeWei * BigInt(random.below(100) + 1)) / 100n;
        sent = await chain.send(wallet, 'Staking', 'requestThaw', [partWei]);
      } else if (roles !== 0n && random.below(6) === 0) {
        const role = random.below(6) === 0 ? PROVIDER : VERIFIER;
        sent = await chain.send(wallet, 'Staking', 'setRoles', [role]);
      } else {
        const wei = BigInt(random.below(40) + 1) * OPEN_WEI + BigInt(random.below(1000));
        sent = await chain.send(wallet, 'Staking', 'deposit', [], wei);
      }
      const account = await Staking.getAccount(wallet.address);
      const counts = account.listed && account.roles === BigInt(VERIFIER);
      const weight = counts ? account.stakeWei / WEIGHT_WEI : 0n;
      if (weight > 0n && !order.includes(wallet.address)) order.push(wallet.address);
      weights.set(wallet.address, weight);
      past.push({
        block: sent.blockNumber,
        weights: order.map((each) => [each, weights.get(each)!] as const),
      });
    }
    let drawnInAll = 0;
    for (const { block, weights: then } of past) {
      const excluded = [then[random.below(then.length)]![0]];
      // Named twice it is still left out once.
      if (random.below(2) === 0) excluded.push(...excluded);
      const left = then.filter(([each, weight]) => !excluded.includes(each) && weight > 0n);
      const seed = id(`seed ${block}`);
      const count = Math.min(left.length, 5);
      assert.deepEqual(await draw(seed, block, count, excluded), drawnOf(seed, left, count));
      await refuses(draw(seed, block, left.length + 1, excluded), 'StakingTooFewVerifiers', [
        BigInt(left.length),
        BigInt(left.length + 1),
      ]);
      const [each, weight] = then[random.below(then.length)]!;
      assert.equal(await Staking.weightAt(each, block), weight);
      drawnInAll += count;
    }
    assert.ok(drawnInAll > 150 && order.length > 16, `${drawnInAll} drawn of ${order.length}`);
  });

  test('twice the stake is drawn first twice as often', async () => {
    await stake(chain, alice, VERIFIER, 20n);
    await stake(chain, bob, VERIFIER, 10n);
    const block = await chain.provider.getBlockNumber();
    let wins = 0;
    for (let i = 0; i < 400; i += 1) {
      const [first] = await draw(id(`seed ${i}`), block, 1);
      if (first === alice.address) wins += 1;
    }
    // Three standard deviations of 400 draws at two thirds.
    assert.ok(Math.abs(wins - 800 / 3) < 3 * Math.sqrt(800 / 9), `${wins} wins`);
  });

  test('a slash counts in the list and in draws once anybody settles it', async () => {
    await stake(chain, alice, PROVIDER | VERIFIER, 25n);
    await stake(chain, bob, VERIFIER, 10n);
    await chain.send(alice, 'Staking', 'registerServing', []);
    const referee = chain.deployment.contracts.Referee;
    const lockId = tagged('openledger/serving/1', ['address'], [alice.address]);
    await chain.sendAs(referee, 'Staking', 'slash', [lockId, bob.address, bob.address]);
    const before = await chain.provider.getBlockNumber();
    assert.equal(await Staking.weightAt(alice.address, before), (25n * OPEN_WEI) / WEIGHT_WEI);
    await chain.send(bob, 'Staking', 'settle', [alice.address]);
    assert.equal(await Staking.weightAt(alice.address, before + 1), 0n);
    assert.equal((await Staking.getAccount(alice.address)).listed, false);
    assert.deepEqual(await draw(id('seed'), before + 1, 1), [bob.address]);
    // Nothing to settle changes nothing.
    await chain.send(bob, 'Staking', 'settle', [alice.address]);
    await chain.send(bob, 'Staking', 'settle', [bob.address]);
    assert.deepEqual([...(await Staking.stakers())], [bob.address]);
  });

  test('StakeTreeFull: stake beyond 2^56 millionths of an OPEN cannot count in draws', async () => {
    const mostWei = (2n ** 56n - 1n) * WEIGHT_WEI;
    const rich = '0x00000000000000000000000000000000000051c4';
    await chain.request('hardhat_setBalance', [rich, `0x${(2n * mostWei).toString(16)}`]);
    await chain.sendAs(rich, 'Staking', 'setRoles', [VERIFIER]);
    await chain.sendAs(rich, 'Staking', 'deposit', [], mostWei);
    await refuses(chain.sendAs(rich, 'Staking', 'deposit', [], WEIGHT_WEI), 'StakeTreeFull', [
      2n ** 56n,
    ]);
    // What no verifier holds is not in the tree.
    await chain.sendAs(rich, 'Staking', 'setRoles', [PROVIDER]);
    await chain.sendAs(rich, 'Staking', 'deposit', [], WEIGHT_WEI);
  });
});
