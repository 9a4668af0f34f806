import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isOverdue,
  judgeIntent,
  lapseIntent,
  publishIntent,
  releaseIntent,
  revealIntent,
  standingOf,
} from './decide-datanet.ts';
import { hashOf } from './fixture.ts';

const GRACE_MS = 60_000;
const committedAt = 1_000;

test('who does not reveal in time holds up nobody; what is refused or revoked is no part', () => {
  const at = (state: number, revokedAt = 0, nowMs = 1_060_000) =>
    standingOf({ state, committedAt, revokedAt }, nowMs, GRACE_MS);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 6].map((state) => at(state)),
    ['absent', 'awaited', 'revealed', 'accepted', 'absent', 'absent', 'absent'],
  );
  assert.equal(at(1, 0, 1_060_001), 'absent');
  for (const state of [1, 2, 3]) assert.equal(at(state, 7), 'absent');
});

test('only what is still hidden after its last second is overdue', () => {
  const overdue = (state: number, chainSeconds: number) =>
    isOverdue({ state, revealBy: 500 }, chainSeconds);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 6].map((state) => overdue(state, 501)),
    [false, true, false, false, false, false, false],
  );
  assert.equal(overdue(1, 500), false);
  assert.deepEqual(lapseIntent(9), {
    key: 'contribution/9/lapse',
    contract: 'DatanetRegistry',
    fn: 'lapse',
    args: [9],
  });
  assert.deepEqual(releaseIntent(hashOf('d'), 2), {
    key: `datanet/${hashOf('d')}/version/2/release`,
    contract: 'DatanetRegistry',
    fn: 'releaseVersion',
    args: [hashOf('d'), 2],
  });
});

test('a contribution is judged once: accepting and refusing share one key', () => {
  const accepted = judgeIntent(9, { verdict: 'accept' }, null);
  const refusal = { verdict: 'refuse' as const, earlierRecordHash: hashOf('e'), evidence: [] };
  const refused = judgeIntent(9, refusal, hashOf('d'));
  assert.deepEqual([accepted.fn, refused.fn], ['accept', 'refuse']);
  assert.equal(accepted.key, refused.key);
  assert.deepEqual(accepted.args, [9]);
  assert.deepEqual(refused.args, [9, hashOf('d'), hashOf('e')]);
});

test('a reveal and a version carry what the registry is asked to hold', () => {
  const opening = { recordsRoot: hashOf('r'), salt: hashOf('s'), manifest: hashOf('m') };
  assert.deepEqual(revealIntent(9, opening), {
    key: 'contribution/9/reveal',
    contract: 'DatanetRegistry',
    fn: 'reveal',
    args: [9, hashOf('r'), hashOf('s'), hashOf('m')],
  });
  const built = { root: hashOf('r'), recordCount: 4, manifestDigest: hashOf('m') };
  assert.deepEqual(publishIntent(hashOf('d'), 2, built), {
    key: `datanet/${hashOf('d')}/version/2/${hashOf('r')}`,
    contract: 'DatanetRegistry',
    fn: 'publishVersion',
    args: [hashOf('d'), hashOf('r'), 4, hashOf('m')],
  });
});
