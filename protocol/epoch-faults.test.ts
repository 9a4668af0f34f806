import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Address, addressOfPrivateKey } from '#crypto';
import { findEpochFault } from './epoch-faults.ts';
import { accountOfKey, type KeyedPayout, keyedPayouts } from './epoch-trees.ts';
import { keyOf } from './fixture.ts';
import { type Payout, sumPayouts, withRunningSums } from './payouts.ts';

const people = ['ada', 'bob', 'cid', 'dee', 'eve'].map(
  (name): Address => addressOfPrivateKey(keyOf(name)),
);
const amounts = fc.array(
  fc.record({ person: fc.nat(4), amountWei: fc.bigInt({ min: 1n, max: 10n ** 20n }) }),
  { maxLength: 8 },
);
const payoutsOf = (drawn: readonly { person: number; amountWei: bigint }[]): readonly Payout[] =>
  sumPayouts(drawn.map(({ person, amountWei }) => ({ account: people[person]!, amountWei })));
/** Leaves of accounts, and of one channel behind them. */
const leavesOf = (payouts: readonly Payout[]): readonly KeyedPayout[] => {
  const [client, provider] = people as [Address, Address, ...Address[]];
  const covered = payouts.length === 0 ? [] : [{ client, provider, feeWei: 7n }];
  return keyedPayouts(withRunningSums(payouts), covered);
};
const totalOf = (leaves: readonly KeyedPayout[]) => leaves.at(-1)?.runningWei ?? 0n;

test('what only grows and adds up has no fault; less for anybody, or a sum astray, has one', () => {
  fc.assert(
    fc.property(amounts, amounts, fc.nat(), (first, second, at) => {
      const before = leavesOf(payoutsOf(first));
      const payouts = leavesOf(payoutsOf([...first, ...second]));
      const totalWei = totalOf(payouts);
      const anchored = { epoch: 2, totalWei, payouts };
      assert.equal(findEpochFault(anchored, before), null);
      if (payouts.length === 0) return;
      const index = at % payouts.length;
      const astray = payouts.map((leaf, i) =>
        i === index ? { ...leaf, runningWei: leaf.runningWei + 1n } : leaf,
      );
      const sums = findEpochFault({ ...anchored, payouts: astray }, before);
      // The last running sum is wrong against the leaf before it, or, alone, against its amount.
      assert.equal(sums?.code, 'EPOCH_RUNNING_SUM_WRONG');
      assert.equal(
        findEpochFault({ ...anchored, totalWei: totalWei + 1n }, before)?.code,
        'EPOCH_TOTAL_WRONG',
      );
      // Without one of its leaves, an account's or the channel's, the others still adding up.
      let runningWei = 0n;
      const poorer = payouts
        .filter((_, i) => i !== index)
        .map((leaf) => {
          runningWei += accountOfKey(leaf.key) === null ? 0n : leaf.amountWei;
          return { ...leaf, runningWei };
        });
      const fallen = findEpochFault(
        { epoch: 2, totalWei: totalOf(poorer), payouts: poorer },
        payouts,
      );
      assert.equal(fallen?.code, 'EPOCH_PAYOUT_DECREASED');
    }),
    { numRuns: 50 },
  );
});
