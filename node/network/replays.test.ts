// What counts as a replay, and that the memory of messages is bounded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReplays } from './replays.ts';
import { bytesOf, TOPIC } from './testing.ts';

const data = bytesOf('message');

test('the same signed message, or another author’s copy, is a replay', () => {
  const replays = createReplays();
  assert.equal(replays.look(TOPIC, data, 'a', 5n), 'fresh');
  replays.remember(TOPIC, data, 'a', 5n);
  assert.equal(replays.look(TOPIC, data, 'a', 5n), 'replayed');
  assert.equal(replays.look(TOPIC, data, 'a', 4n), 'replayed');
  assert.equal(replays.look(TOPIC, data, 'b', 9n), 'replayed');
});

test('an author may repeat itself, and the same bytes may appear on another topic', () => {
  const replays = createReplays();
  replays.remember(TOPIC, data, 'a', 5n);
  assert.equal(replays.look(TOPIC, data, 'a', 6n), 'repeated');
  assert.equal(replays.look('/openledger/other/1', data, 'b', 1n), 'fresh');
});

test('the oldest message is forgotten first', () => {
  const replays = createReplays(2);
  for (const text of ['1', '2', '3']) replays.remember(TOPIC, bytesOf(text), 'a', 1n);
  assert.equal(replays.look(TOPIC, bytesOf('1'), 'b', 1n), 'fresh');
  assert.equal(replays.look(TOPIC, bytesOf('2'), 'b', 1n), 'replayed');
  assert.equal(replays.look(TOPIC, bytesOf('3'), 'b', 1n), 'replayed');
});
