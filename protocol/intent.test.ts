import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOfPrivateKey } from '#crypto';
import { keyOf } from './fixture.ts';
import { isTurn, isTurnInRound } from './intent.ts';

const nodes = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => addressOfPrivateKey(keyOf(name)));

test('turns come one after the other, in another order for another subject', () => {
  const firstOf = (subject: string) =>
    nodes.filter((node) => isTurn(subject, nodes, node, 1_000, 1_000, 500));
  assert.equal(firstOf('a').length, 1);
  assert.deepEqual(
    nodes.filter((node) => isTurn('a', nodes, node, 1_000, 999, 500)),
    [],
  );
  for (let rank = 0; rank < nodes.length; rank += 1) {
    const now = 1_000 + rank * 500;
    assert.equal(
      nodes.filter((node) => isTurn('a', nodes, node, 1_000, now, 500)).length,
      rank + 1,
    );
    assert.equal(nodes.filter((node) => isTurnInRound('a', nodes, node, now, 500)).length, 1);
  }
  const firsts = new Set(
    ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((subject) => firstOf(subject)[0]),
  );
  assert.ok(firsts.size > 1);
  const stranger = addressOfPrivateKey(keyOf('stranger'));
  assert.equal(isTurn('a', nodes, stranger, 0, 2_999, 500), false);
  assert.equal(isTurn('a', nodes, stranger, 0, 3_000, 500), true);
});
