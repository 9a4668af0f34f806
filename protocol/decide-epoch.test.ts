import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOfPrivateKey, buildTree } from '#crypto';
import {
  anchorIntent,
  claimIntent,
  finaliseIntent,
  isAnchorDue,
  isFinaliseDue,
} from './decide-epoch.ts';
import { hashOf, keyOf } from './fixture.ts';

const account = addressOfPrivateKey(keyOf('a'));
const AGE_MS = 600_000;
const waiting = { receipts: 3, covered: 3, openedAtMs: 1_000_000, closeByMs: null };

test('an epoch is anchored when it is old enough, with what is covered', () => {
  const at = (nowMs: number, covered: number) =>
    isAnchorDue({ ...waiting, covered }, nowMs, AGE_MS);
  assert.equal(at(1_599_999, 3), false);
  assert.equal(at(1_600_000, 3), true);
  assert.equal(at(1_600_000, 1), true);
  assert.equal(at(9_000_000, 0), false, 'nothing is anchored empty');
});

test('an epoch that is asked for is anchored as soon as it is whole, or when patience ends', () => {
  const at = (nowMs: number, covered: number) =>
    isAnchorDue({ ...waiting, covered, closeByMs: 1_030_000 }, nowMs, AGE_MS);
  assert.equal(at(1_000_001, 3), true);
  assert.equal(at(1_029_999, 2), false);
  assert.equal(at(1_030_000, 2), true);
  assert.equal(at(1_030_000, 0), false);
});

test('who anchored finalises after the window, others a little later', () => {
  assert.deepEqual(
    [1_999, 2_000, 2_014, 2_015].map((now) => [
      isFinaliseDue(2_000, now, true),
      isFinaliseDue(2_000, now, false),
    ]),
    [
      [false, false],
      [true, false],
      [true, false],
      [true, true],
    ],
  );
});

test('each action has its own key: another root, round, withholding', () => {
  const tree = buildTree([new Uint8Array(32)]);
  const roots = {
    epoch: 1,
    payoutRoot: hashOf('p'),
    leafCount: 2,
    totalWei: 5n,
    receiptsRoot: hashOf('r'),
    receiptCount: 3,
    paymentsRoot: hashOf('e'),
    paymentCount: 4,
    payoutTree: tree,
    receiptsTree: tree,
  };
  const anchored = anchorIntent(roots, hashOf('m'), 1, '0xce');
  const { payoutTree: _, receiptsTree: __, epoch: ___, ...onChain } = roots;
  assert.deepEqual(anchored.args, [1, { ...onChain, manifest: hashOf('m') }, '0xce']);
  const others = [
    anchorIntent({ ...roots, payoutRoot: hashOf('q') }, hashOf('m'), 1),
    anchorIntent(roots, hashOf('m'), 2),
    anchorIntent({ ...roots, paymentsRoot: hashOf('q') }, hashOf('m'), 1),
  ];
  assert.equal(new Set([anchored, ...others].map(({ key }) => key)).size, 4);
  assert.deepEqual(finaliseIntent(4, 5).args, [4]);
  assert.notEqual(finaliseIntent(4, 5).key, finaliseIntent(4, 6).key);
  const claim = { account, cumulativeWei: 7n, runningWei: 9n, index: 0, proof: [] };
  assert.deepEqual(claimIntent(claim, 3n).args, [account, 7n, 9n, 0, []]);
  assert.notEqual(claimIntent(claim, 3n).key, claimIntent(claim, 5n).key);
});
