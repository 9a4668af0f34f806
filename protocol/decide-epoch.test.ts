import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, addressOfPrivateKey, buildTree } from '#crypto';
import { decideEpoch, type EpochView, epochDueMs } from './decide-epoch.ts';
import { hashOf, keyOf } from './fixture.ts';
import type { Intent } from './intent.ts';
import { PRESETS } from './params.ts';

const nodes = ['a', 'b', 'c', 'd'].map((name) => addressOfPrivateKey(keyOf(name)));
const [self, other] = nodes as [Address, Address];
const timing = PRESETS.local;
const view: EpochView = { latest: null, stakers: nodes, anchorers: nodes, claims: [] };
const tree = buildTree([new Uint8Array(32)]);
const candidate = {
  roots: {
    epoch: 1,
    payoutRoot: hashOf('p'),
    leafCount: 2,
    totalWei: 5n,
    receiptsRoot: hashOf('r'),
    receiptCount: 3,
    payoutTree: tree,
    receiptsTree: tree,
  },
  manifestDigest: hashOf('m'),
  oldestMs: 1_000_000,
};
const names = (intents: readonly Intent[]) => intents.map(({ key }) => key);
const all = (of: EpochView, with_: typeof candidate | null, nowMs: number) =>
  nodes.map((node) => names(decideEpoch(of, with_, node, nowMs, timing)));

test('an epoch is anchored when it is due, by one node, then by the next', () => {
  const dueMs = epochDueMs(candidate, timing);
  assert.equal(dueMs, 1_005_000);
  assert.deepEqual(all(view, candidate, dueMs - 1).flat(), []);
  assert.deepEqual(all(view, candidate, dueMs).flat(), ['epoch/1/anchor']);
  assert.equal(all(view, candidate, dueMs + timing.staggerMs).flat().length, 2);
  assert.equal(all(view, candidate, dueMs + 3 * timing.staggerMs).flat().length, 4);
  const full = { ...candidate, roots: { ...candidate.roots, receiptCount: timing.epochReceipts } };
  assert.equal(epochDueMs(full, timing), 1_000_000);
});

test('nothing is anchored out of turn, empty, without stake, or over an open epoch', () => {
  const late = 10_000_000;
  const open = { ...view, latest: { epoch: 1, finalisableAt: 99_999, finalised: false } };
  const next = { ...candidate, roots: { ...candidate.roots, epoch: 2 } };
  const empty = { ...candidate, roots: { ...candidate.roots, receiptCount: 0 } };
  for (const [of, with_] of [
    [open, next],
    [view, next],
    [view, empty],
    [view, null],
    [{ ...view, anchorers: [] }, candidate],
  ] as const) {
    assert.deepEqual(all(of, with_, late).flat(), []);
  }
});

test('an epoch is finalised after its window, once', () => {
  const open = { ...view, latest: { epoch: 4, finalisableAt: 2_000, finalised: false } };
  assert.deepEqual(all(open, null, 1_999_999).flat(), []);
  assert.deepEqual(all(open, null, 2_000_000).flat(), ['epoch/4/finalise']);
  const final = { ...open, latest: { ...open.latest, finalised: true } };
  assert.deepEqual(all(final, null, 9_000_000).flat(), []);
});

test('what is owed is claimed, and what was claimed is not', () => {
  const claim = { account: self, cumulativeWei: 7n, index: 0, proof: [] };
  const claims = [
    { claim, claimedWei: 3n },
    { claim: { ...claim, account: other }, claimedWei: 7n },
  ];
  const intents = decideEpoch({ ...view, claims }, null, self, 0, timing);
  assert.deepEqual(names(intents), [`claim/${self}/7/3`]);
  assert.deepEqual(intents[0]?.args, [self, 7n, 0, []]);
});
