/** SA-IS against a naive sort and a prefix-doubling oracle; the checker; searching records. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  buildTextIndex,
  countOf,
  isSuffixArray,
  longestMatchAt,
  matchOf,
  occurrencesOf,
  suffixArrayOf,
} from './suffix-array.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function naive(text: Uint8Array): Int32Array {
  const starts = Array.from(text, (_, i) => i);
  return Int32Array.from(starts.sort((a, b) => Buffer.compare(text.subarray(a), text.subarray(b))));
}

/** O(n log² n) by doubling the compared prefix: an independent method for larger texts. */
function byPrefixDoubling(text: Uint8Array): Int32Array {
  const n = text.length;
  let ranks = Int32Array.from(text);
  let starts = Array.from(text, (_, i) => i);
  for (let width = 1; ; width *= 2) {
    const second = (i: number): number => (i + width < n ? ranks[i + width]! : -1);
    starts = starts.sort((a, b) => ranks[a]! - ranks[b]! || second(a) - second(b));
    const next = new Int32Array(n);
    for (let i = 1; i < n; i++) {
      const [a, b] = [starts[i - 1]!, starts[i]!];
      const differs = ranks[a] !== ranks[b] || second(a) !== second(b);
      next[b] = next[a]! + (differs ? 1 : 0);
    }
    ranks = next;
    if (n === 0 || ranks[starts[n - 1]!] === n - 1) return Int32Array.from(starts);
  }
}

const texts = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.array(fc.constantFrom(97, 98), { maxLength: 60 }).map((list) => Uint8Array.from(list)),
  fc.array(fc.constantFrom(0, 97, 255), { maxLength: 60 }).map((list) => Uint8Array.from(list)),
  fc
    .tuple(fc.array(fc.constantFrom(97, 98, 99), { maxLength: 8 }), fc.integer({ min: 1, max: 9 }))
    .map(([unit, times]) => Uint8Array.from(Array.from({ length: times }, () => unit).flat())),
);

test('the suffix array of 4,000 random strings equals a naive sort and passes the checker', () => {
  fc.assert(
    fc.property(texts, (text) => {
      const suffixes = suffixArrayOf(text);
      assert.deepEqual(suffixes, naive(text));
      assert.ok(isSuffixArray(text, suffixes));
    }),
    { numRuns: 4000, seed: 7 },
  );
});

test('prefix doubling agrees on a text with long repeats', () => {
  const part = 'the records of a datanet repeat one another, and then the records of ';
  const text = utf8(`${part.repeat(40)}${'ab'.repeat(300)}${part.repeat(9)}`);
  assert.deepEqual(suffixArrayOf(text), byPrefixDoubling(text));
});

test('the checker refuses a swap, a repeat, a stranger and a wrong length', () => {
  const text = utf8('mississippi runs by the mississippi');
  const right = suffixArrayOf(text);
  for (let rank = 1; rank < right.length; rank++) {
    const swapped = right.slice();
    [swapped[rank - 1], swapped[rank]] = [right[rank]!, right[rank - 1]!];
    assert.ok(!isSuffixArray(text, swapped));
    const repeated = right.slice();
    repeated[rank] = right[rank - 1]!;
    assert.ok(!isSuffixArray(text, repeated));
  }
  const outside = right.slice();
  outside[3] = text.length;
  assert.ok(!isSuffixArray(text, outside));
  assert.ok(!isSuffixArray(text, right.slice(1)));
});

test('longest matches, counts and occurrences equal a search byte by byte', () => {
  const word = fc.constantFrom('a', 'b', 'ab', 'ba', ' ', 'é');
  const words = fc.array(word, { maxLength: 12 }).map((list) => list.join(''));
  fc.assert(
    fc.property(fc.array(words, { minLength: 1, maxLength: 6 }), words, (list, query) => {
      const records = list.map(utf8);
      const index = buildTextIndex(records);
      const bytes = utf8(query);
      for (let offset = 0; offset < bytes.length; offset++) {
        const match = longestMatchAt(index, bytes, offset);
        const longest = Math.max(...records.map((record) => longestIn(record, bytes, offset)));
        assert.equal(match.length, longest);
        const pattern = bytes.subarray(offset, offset + match.length);
        const expected = match.length === 0 ? [] : placesIn(records, pattern);
        assert.deepEqual(occurrencesOf(index, match), expected);
        assert.equal(countOf(index, pattern), expected.length);
        const shorter = match.length >> 1;
        const found = occurrencesOf(index, matchOf(index, bytes, offset, shorter));
        const head = bytes.subarray(offset, offset + shorter);
        assert.deepEqual(found, shorter === 0 ? [] : placesIn(records, head));
      }
    }),
    { numRuns: 300, seed: 11 },
  );
});

function longestIn(record: Uint8Array, query: Uint8Array, offset: number): number {
  for (let length = query.length - offset; length > 0; length--) {
    const pattern = query.subarray(offset, offset + length);
    if (Buffer.from(record).includes(Buffer.from(pattern))) return length;
  }
  return 0;
}

function placesIn(records: readonly Uint8Array[], pattern: Uint8Array) {
  return records.flatMap((record, recordIndex) =>
    Array.from(record, (_, recordOffset) => recordOffset)
      .filter((at) => Buffer.compare(record.subarray(at, at + pattern.length), pattern) === 0)
      .map((recordOffset) => ({ recordIndex, recordOffset })),
  );
}
