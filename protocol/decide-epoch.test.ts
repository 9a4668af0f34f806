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

test('each action has its own key: another root, another withholding', () => {
  const tree = buildTree([new Uint8Array(32)]);
  const roots = {
    epoch: 1,
    payoutRoot: hashOf('p'),
    leafCount: 2,
    totalWei: 5n,
    receiptsRoot: hashOf('r'),
    receiptCount: 3,
    payoutTree: tree,
    receiptsTree: tree,
  };
  const anchored = anchorIntent(roots, hashOf('m'));
  assert.deepEqual(anchored.args, [1, hashOf('p'), 2, 5n, hashOf('r'), 3, hashOf('m')]);
  assert.notEqual(
    anchored.key,
    anchorIntent({ ...roots, payoutRoot: hashOf('q') }, hashOf('m')).key,
  );
  assert.deepEqual(finaliseIntent(4, hashOf('p')).args, [4]);
  const claim = { account, cumulativeWei: 7n, index: 0, proof: [] };
  assert.deepEqual(claimIntent(claim, 3n).args, [account, 7n, 0, []]);
  assert.notEqual(claimIntent(claim, 3n).key, claimIntent(claim, 5n).key);
});
