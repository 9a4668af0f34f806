/** Matched spans: whole words, maximal, rare, in one half of the exchange, earliest record first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { clustersOf } from './near-copies.ts';
import { matchedSpans, SPAN_SETTINGS, type SpanSettings, spanWeight } from './spans.ts';
import { buildTextIndex } from './suffix-array.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function spansOf(records: string[], prompt: string, output: string, settings?: SpanSettings) {
  const bytes = records.map(utf8);
  const exchange = { prompt: utf8(prompt), output: utf8(output), tokens: 40 };
  return matchedSpans(buildTextIndex(bytes), clustersOf(bytes), exchange, settings);
}

test('a span is named with its half, its place and its weight', () => {
  const records = ['The heron waits by the river.', 'A lamp hangs over the silent harbour.'];
  const prompt = 'Tell me: the silent harbour?';
  assert.deepEqual(spansOf(records, prompt, ' The heron waits, I think'), [
    {
      exchangeOffset: 9,
      length: 18,
      isInPrompt: true,
      places: [{ recordIndex: 1, recordOffset: 18 }],
      weight: spanWeight(18, 1),
    },
    {
      exchangeOffset: prompt.length + 1,
      length: 15,
      isInPrompt: false,
      places: [{ recordIndex: 0, recordOffset: 0 }],
      weight: spanWeight(15, 1),
    },
  ]);
});

test('parts of words do not match', () => {
  assert.deepEqual(spansOf(['xthe quick foxy'], 'the quick fox', ''), []);
});

test('of a cluster only the earliest record counts, and copies do not divide the weight', () => {
  const text = 'Nobody may open the seventh gate before the old clock has struck nine times.';
  const copy = text.replace('old', 'tall');
  const [span] = spansOf([text, copy, 'An unrelated line of words.'], 'open the seventh gate', '');
  assert.deepEqual(span?.places, [{ recordIndex: 0, recordOffset: 11 }]);
  assert.equal(span?.weight, spanWeight(21, 1));
});

test('what too many clusters contain counts for nobody', () => {
  const records = Array.from(
    { length: 9 },
    (_, i) => `${'zyxwvutsr'[i]?.repeat(90)} common saying`,
  );
  assert.deepEqual(spansOf(records, 'a common saying', ''), []);
  assert.equal(spansOf(records.slice(1), 'a common saying', '')[0]?.places.length, 8);
});

test('every span equals its record bytes, lies in one half, and no span contains another', () => {
  const word = fc.constantFrom('alpha', 'beta', 'gamma', 'delta', 'é', 'x1');
  const text = fc.array(word, { minLength: 1, maxLength: 14 }).map((list) => list.join(' '));
  const settings = { ...SPAN_SETTINGS, lengthMin: 5, spansMin: 3 };
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), text, text, (records, a, b) => {
      const prompt = utf8(a);
      const whole = utf8(a + b);
      const spans = spansOf(records, a, b, settings);
      assert.ok(spans.length <= 3);
      let [start, end] = [-1, -1];
      for (const span of spans) {
        const spanEnd = span.exchangeOffset + span.length;
        assert.ok(
          span.isInPrompt ? spanEnd <= prompt.length : span.exchangeOffset >= prompt.length,
        );
        assert.ok(span.exchangeOffset > start && spanEnd > end);
        [start, end] = [span.exchangeOffset, spanEnd];
        for (const { recordIndex, recordOffset } of span.places) {
          const there = utf8(records[recordIndex]!).subarray(
            recordOffset,
            recordOffset + span.length,
          );
          assert.deepEqual(there, whole.subarray(span.exchangeOffset, spanEnd));
        }
      }
    }),
    { numRuns: 300, seed: 3 },
  );
});

test('weights are whole numbers; what clusters get together never exceeds the span', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4096 }), fc.integer({ min: 1, max: 64 }), (length, m) => {
      assert.ok(Number.isSafeInteger(spanWeight(length, m)));
      assert.ok(spanWeight(length, m) * m <= spanWeight(length, 1));
    }),
  );
});
