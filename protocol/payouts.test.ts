import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOfPrivateKey } from '#crypto';
import { hashOf, keyOf, RULES } from './fixture.ts';
import { InvariantViolation } from './invariant.ts';
import { dividePool, FEE_STEP_WEI, potOf, splitFee, sumPayouts } from './payouts.ts';
import { divideFee } from './receipt.ts';

const wei = fc.bigInt({ min: 0n, max: 10n ** 24n });
const weights = fc.array(fc.bigInt({ min: 0n, max: 2n ** 40n }), { maxLength: 20 });
const rules = fc
  .tuple(fc.nat(1_000_000), fc.nat(1_000_000), fc.nat(1_000_000), fc.nat(1_000_000))
  .map(([a, b, c, learnedPpm]) => {
    const [x, y, z] = [a, b, c].sort((p, q) => p - q) as [number, number, number];
    return {
      platformPpm: x,
      modelOwnerPpm: y - x,
      stakersPpm: z - y,
      dataPpm: 1_000_000 - z,
      learnedPpm,
    };
  });
const sum = (amounts: readonly bigint[]) => amounts.reduce((total, amount) => total + amount, 0n);

test('the parts of a fee sum to the fee, to the wei, and none is negative', () => {
  fc.assert(
    fc.property(wei, rules, wei, wei, (feeWei, each, learned, memorised) => {
      const split = splitFee(feeWei, each, learned, memorised);
      const parts = Object.values(split);
      assert.equal(sum(parts), feeWei);
      assert.ok(parts.every((part) => part >= 0n));
      assert.equal(potOf(feeWei, each), feeWei - split.platformWei);
      if (learned === 0n) assert.equal(split.learnedWei, 0n);
      if (memorised === 0n) assert.equal(split.memorisedWei, 0n);
      if (learned > 0n || memorised > 0n) assert.equal(split.fallbackWei, 0n);
    }),
  );
});

test('a pool is divided to the wei, by weight, remainder to the first', () => {
  fc.assert(
    fc.property(wei, weights, (poolWei, each) => {
      const total = sum(each);
      if (total === 0n) {
        if (poolWei > 0n) assert.throws(() => dividePool(poolWei, each), InvariantViolation);
        return;
      }
      const amounts = dividePool(poolWei, each);
      assert.equal(sum(amounts), poolWei);
      amounts.forEach((amount, i) => {
        const floor = (poolWei * (each[i] as bigint)) / total;
        if (i > 0) assert.equal(amount, floor);
        else assert.ok(amount >= floor && amount < floor + BigInt(each.length));
      });
    }),
  );
  assert.deepEqual(dividePool(0n, []), []);
  assert.deepEqual(dividePool(10n, [1n, 1n, 1n]), [4n, 3n, 3n]);
});

test('an answer pays out its fee to the wei, whatever was found', () => {
  const person = fc.integer({ min: 0, max: 4 }).map((n) => addressOfPrivateKey(keyOf(`p${n}`)));
  const score = fc.record({ contributor: person, score: fc.nat(70_000) });
  const span = fc.record({ contributor: person, weight: fc.nat(100_000) });
  fc.assert(
    fc.property(
      wei,
      rules,
      fc.array(score, { maxLength: 8 }),
      fc.array(span, { maxLength: 8 }),
      (feeWei, each, scores, spans) => {
        const divided = divideFee(
          feeWei,
          each,
          scores.map((s, i) => ({ ...s, sketchIndex: i, recordHash: hashOf('r'), dot: 1 })),
          spans.map((s, i) => ({
            ...s,
            exchangeOffset: i,
            length: 9,
            recordIndex: 0,
            recordOffset: 0,
          })),
        );
        const { split, payouts } = divided;
        const paid = sum(payouts.map(({ amountWei }) => amountWei));
        assert.equal(paid, split.learnedWei + split.memorisedWei);
        assert.equal(
          split.platformWei + split.modelOwnerWei + split.stakersWei + split.fallbackWei + paid,
          feeWei,
        );
      },
    ),
    { numRuns: 60 },
  );
});

test('fees in whole steps are divided without remainders, singly and in any sum', () => {
  const fee = fc.bigInt({ min: 0n, max: 10n ** 12n }).map((n) => n * FEE_STEP_WEI);
  fc.assert(
    fc.property(fc.array(fee, { maxLength: 8 }), rules, (fees, each) => {
      assert.equal(sum(fees.map((one) => potOf(one, each))), potOf(sum(fees), each));
    }),
  );
});

test('the platform has the data share only where nobody was found', () => {
  const feeWei = 1_000_000n;
  assert.equal(splitFee(feeWei, RULES, 0n, 0n).fallbackWei, 500_000n);
  assert.equal(splitFee(feeWei, RULES, 5n, 0n).learnedWei, 500_000n);
  assert.equal(splitFee(feeWei, RULES, 0n, 5n).memorisedWei, 500_000n);
  const both = splitFee(feeWei, RULES, 5n, 5n);
  assert.deepEqual([both.learnedWei, both.memorisedWei], [250_000n, 250_000n]);
  assert.throws(() => splitFee(1n, { ...RULES, dataPpm: 1 }, 0n, 0n), InvariantViolation);
});

test('sums per account are ordered and leave out zeros', () => {
  const [a, b] = [`0x${'01'.repeat(20)}`, `0x${'02'.repeat(20)}`] as [`0x${string}`, `0x${string}`];
  assert.deepEqual(
    sumPayouts([
      { account: b, amountWei: 1n },
      { account: a, amountWei: 0n },
      { account: b, amountWei: 2n },
    ]),
    [{ account: b, amountWei: 3n }],
  );
  assert.deepEqual(
    sumPayouts([
      { account: b, amountWei: 1n },
      { account: a, amountWei: 4n },
    ]).map(({ account }) => account),
    [a, b],
  );
});
