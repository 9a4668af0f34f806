/** BM25 against its formula on three records small enough to compute by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBm25, wordsOf } from './bm25.ts';

test('scores follow the formula with k1 = 1.2 and b = 0.75', () => {
  const { scores } = createBm25(['red fox', 'red red hen sits', 'blue whale here']);
  const idf = (holding: number): number => Math.log(1 + (3 - holding + 0.5) / (holding + 0.5));
  const part = (count: number, length: number): number =>
    (count * 2.2) / (count + 1.2 * (0.25 + (0.75 * length) / 3));
  const [fox, hen, whale] = scores('Red fox, red');
  const near = (got: number | undefined, expected: number): void =>
    assert.ok(Math.abs((got ?? NaN) - expected) < 1e-12, `${got} is not ${expected}`);
  near(fox, idf(2) * part(1, 2) + idf(1) * part(1, 2));
  near(hen, idf(2) * part(2, 4));
  assert.equal(whale, 0);
});

test('words are runs of letters and digits in lower case; nothing shared scores nothing', () => {
  assert.deepEqual(wordsOf('Ünder_score, v2!'), ['ünder', 'score', 'v2']);
  assert.deepEqual([...createBm25([]).scores('red')], []);
  assert.deepEqual([...createBm25(['one', 'two']).scores('three')], [0, 0]);
});
