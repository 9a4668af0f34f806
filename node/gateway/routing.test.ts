import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Address, Bytes32 } from '#crypto';
import { type Offer, openFaults, rank, type Wanted } from './routing.ts';

const ADAPTER: Bytes32 = `0x${'aa'.repeat(32)}`;
const PRICE = { promptWeiPerToken: 10n, outputWeiPerToken: 20n, feeWeiPerToken: 5n };
const address = (digit: string): Address => `0x${digit.repeat(40)}`;
const offer = (digit: string, changes: Partial<Offer> = {}): Offer => ({
  provider: address(digit),
  peer: digit,
  price: PRICE,
  residentAdapters: [],
  slotsFree: 4,
  announcedAtMs: 1_000,
  ...changes,
});
const wanted: Wanted = {
  adapterId: ADAPTER,
  promptTokens: 10,
  outputTokens: 10,
  priceMaxWei: null,
  nowMs: 2_000,
  staleMs: 5_000,
  tie: BigInt,
};
const idle: Parameters<typeof rank>[2] = { faults: () => 0, underWay: () => 0 };
const order = (offers: readonly Offer[], changes: Partial<Wanted> = {}, known = idle) =>
  rank(offers, { ...wanted, ...changes }, known).map(({ peer }) => peer);

test('residency goes before price, room before residency, a clean record before all', () => {
  const resident = { residentAdapters: [ADAPTER] };
  const cheap = { price: { ...PRICE, outputWeiPerToken: 1n } };
  assert.deepEqual(order([offer('3'), offer('2', cheap), offer('1', resident)]), ['1', '2', '3']);
  assert.deepEqual(order([offer('1', { ...resident, slotsFree: 0 }), offer('2')]), ['2', '1']);
  const faults = (provider: string) => (provider === address('2') ? 4 : 0);
  const known = { ...idle, faults };
  assert.deepEqual(order([offer('2', resident), offer('1')], {}, known), ['1', '2']);
});

test('what we have under way counts as load until the next announcement', () => {
  const underWay = (provider: string) => (provider === address('1') ? 4 : 1);
  assert.deepEqual(order([offer('1'), offer('2')], {}, { ...idle, underWay }), ['2', '1']);
});

test('stale and dear offers are not asked at all', () => {
  const stale = offer('1', { announcedAtMs: -4_000 });
  assert.deepEqual(order([stale, offer('2')]), ['2']);
  assert.deepEqual(order([offer('1')], { priceMaxWei: 399n }), []);
  assert.deepEqual(order([offer('1')], { priceMaxWei: 400n }), ['1']);
});

test('faults fade by half in each half-life', () => {
  let nowMs = 0;
  const faults = openFaults(() => nowMs, 1_000);
  faults.add('a', 64);
  assert.deepEqual([faults.of('a'), faults.of('b')], [64, 0]);
  nowMs = 2_000;
  assert.equal(faults.of('a'), 16);
  faults.add('a', 4);
  assert.equal(faults.of('a'), 20);
  nowMs = 60_000;
  assert.equal(faults.of('a'), 0);
});
