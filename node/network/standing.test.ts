// Penalties fade, bans end, and a ban starts a new account.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createStanding, GRAYLIST_SCORE, PENALTY } from './standing.ts';

test('half of a penalty is forgotten in a minute', () => {
  const standing = createStanding();
  standing.penalise('a', 40, 0);
  assert.equal(standing.scoreOf('a', 60_000), -20);
  assert.equal(standing.penalise('a', 40, 60_000), 60);
  assert.ok(standing.scoreOf('a', 3_600_000) === 0);
  assert.ok(standing.scoreOf('b', 0) === 0);
});

test('four malformed frames within seconds are past the graylist, three are not', () => {
  const standing = createStanding();
  const totals = [0, 1, 2, 3].map((s) => standing.penalise('a', PENALTY.malformedFrame, s * 1_000));
  assert.ok(-totals[2]! > GRAYLIST_SCORE);
  assert.ok(-totals[3]! < GRAYLIST_SCORE);
});

test('a ban ends, and the peer starts anew', () => {
  const standing = createStanding();
  standing.penalise('a', 100, 0);
  standing.ban('a', 1_000);
  assert.equal(standing.isBanned('a', 999), true);
  assert.equal(standing.isBanned('a', 1_000), false);
  assert.ok(standing.scoreOf('a', 1_000) === 0);
  assert.equal(standing.isBanned('b', 0), false);
});
