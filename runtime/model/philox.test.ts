/** Philox against the published known answers of its authors' Random123 library. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { philox, philoxKey, philoxStream } from './philox.ts';

const F = 0xffffffff;
const KNOWN_ANSWERS = [
  [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
  [[F, F, F, F], [F, F], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  ],
] as const;

test('known answers', () => {
  const out = new Uint32Array(4);
  for (const [counter, key, expected] of KNOWN_ANSWERS) {
    philox(counter, key, out);
    const words = Array.from(out, (word) => word.toString(16).padStart(8, '0'));
    assert.equal(words.join(' '), expected);
  }
});

test('a stream is a function of its seed and number, and stays below its limit', () => {
  const draw = (seed: bigint, stream: number) => {
    const words = philoxStream(seed, stream);
    return Array.from({ length: 9 }, () => words.below(1000));
  };
  assert.deepEqual(draw(7n, 1), draw(7n, 1));
  assert.notDeepEqual(draw(7n, 1), draw(7n, 2));
  assert.notDeepEqual(draw(7n, 1), draw(8n, 1));
  assert.ok(draw(9n, 0).every((value) => Number.isInteger(value) && value >= 0 && value < 1000));
  assert.deepEqual(philoxKey(0x1_0000_0002n), [2, 1]);
});
