/** Near-copies: exactness against all pairs, edits that must be found, texts that must not be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  clustersOf,
  createNearCopyIndex,
  earliestCopies,
  jaccardPpm,
  NEAR_COPY_PPM,
  shinglesOf,
} from './near-copies.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const WORDS =
  'a node stores shards that the swarm trains and every answer names its source so people who wrote the text are paid from what clients spend on it'.split(
    ' ',
  );

/** Sentences of seeded words; equal seeds give equal texts. */
function sentence(seed: number, words = 30): string {
  let state = seed * 2654435761;
  return Array.from({ length: words }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return WORDS[(state >>> 16) % WORDS.length] ?? '';
  }).join(' ');
}

test('the Jaccard index in PPM equals the definition on sets', () => {
  const text = fc.string({ maxLength: 60 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const setA = new Set(shinglesOf(utf8(a)));
      const setB = new Set(shinglesOf(utf8(b)));
      const shared = [...setA].filter((shingle) => setB.has(shingle)).length;
      const expected = Math.floor((shared * 1e6) / (setA.size + setB.size - shared));
      assert.equal(jaccardPpm(shinglesOf(utf8(a)), shinglesOf(utf8(b))), expected);
    }),
  );
});

test('the index finds exactly the earlier records that comparing all pairs finds', () => {
  const records = Array.from({ length: 120 }, (_, i) => {
    const base = sentence(i % 40);
    return utf8(
      i < 40 ? base : base.replace(/ \w+ /, i % 3 === 0 ? ' entirely other words ' : ' new '),
    );
  });
  const index = createNearCopyIndex();
  for (let i = 0; i < records.length; i++) {
    const here = shinglesOf(records[i]!);
    const expected = records
      .slice(0, i)
      .map((other, record) => ({ record, jaccardPpm: jaccardPpm(here, shinglesOf(other)) }))
      .filter((copy) => copy.jaccardPpm >= NEAR_COPY_PPM);
    assert.deepEqual(index.find(records[i]!), expected);
    assert.equal(index.add(records[i]!), i);
  }
  assert.equal(index.size(), records.length);
});

test('capitals and white space hide nothing; another text is no copy', () => {
  const index = createNearCopyIndex();
  index.add(utf8(sentence(1)));
  const disguised = sentence(1).toUpperCase().replaceAll(' ', ' \n ');
  assert.deepEqual(index.find(utf8(disguised)), [{ record: 0, jaccardPpm: 1_000_000 }]);
  assert.deepEqual(index.find(utf8(sentence(2))), []);
});

test('a cluster belongs to its earliest record, also through a chain of copies', () => {
  const first = sentence(3);
  const second = first.replace(/ \w+ \w+ /, ' swapped words ');
  const other = sentence(4);
  assert.deepEqual(
    [...clustersOf([first, other, second, second, other].map(utf8))],
    [0, 1, 0, 0, 1],
  );
});

test('the copies in a contribution are named, each with the earliest record it copies', () => {
  const index = createNearCopyIndex();
  for (let i = 0; i < 10; i++) index.add(utf8(sentence(i % 8)));
  const copies = [1, 2, 3].map((i) => utf8(`Well, ${sentence(i)}`));
  const own = [20, 21].map((i) => utf8(sentence(i)));
  const found = earliestCopies(index, [...own, ...copies]);
  assert.deepEqual(
    found.map(({ record, earlier }) => [record, earlier]),
    [
      [2, 1],
      [3, 2],
      [4, 3],
    ],
  );
  assert.ok(found.every((copy) => copy.jaccardPpm >= NEAR_COPY_PPM && copy.jaccardPpm < 1e6));
  assert.equal(index.size(), 10);
});
