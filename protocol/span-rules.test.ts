/** The rule that receipts are checked by, against the search that finds spans in the runtime. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { utf8 } from '#crypto';
import {
  buildTextIndex,
  matchedSpans,
  SPAN_SETTINGS,
  spanWeight as searchedWeight,
} from '#runtime';
import { hashOf, sampleAnswer } from './fixture.ts';
import type { ReceiptFile } from './receipt-file.ts';
import { checkSpans, isWholeWords } from './span-rules.ts';
import {
  SPAN_CLUSTERS_MAX,
  SPAN_DENSITY_PPM,
  SPAN_LENGTH_MIN,
  SPANS_MAX,
  SPANS_MIN,
  spansOf,
  spanWeight,
} from './spans.ts';

test('the numbers of the rule and of the search are the same', () => {
  assert.deepEqual(SPAN_SETTINGS, {
    lengthMin: SPAN_LENGTH_MIN,
    clustersMax: SPAN_CLUSTERS_MAX,
    densityPpm: SPAN_DENSITY_PPM,
    spansMin: SPANS_MIN,
    spansMax: SPANS_MAX,
  });
  fc.assert(
    fc.property(fc.nat(4096), fc.integer({ min: 1, max: 8 }), (length, clusters) => {
      assert.equal(spanWeight(length, clusters), searchedWeight(length, clusters));
    }),
  );
});

const { file, version } = sampleAnswer();
const [owner] = version.leaves;

/** A file with these spans, as far as their rule looks at it. */
function fileOf(prompt: string, output: string, records: readonly string[], clusters: number[]) {
  const bytes = records.map(utf8);
  const exchange = { prompt: utf8(prompt), output: utf8(output), tokens: 40 };
  const matches = matchedSpans(buildTextIndex(bytes), Int32Array.from(clusters), exchange);
  const leaves = records.map((_, i) => ({
    recordHash: hashOf(`record ${i}`),
    contributor: owner?.contributor ?? `0x${'00'.repeat(20)}`,
    cluster: clusters[i] as number,
    registeredAt: 0,
  }));
  const spans = spansOf(matches, leaves).map((span) => ({ ...span, amountWei: 0n }));
  const receipt = { ...file.receipt, promptTokens: 10, outputTokens: 30, spanCount: spans.length };
  const cited = leaves.map((leaf, index) => ({
    ...leaf,
    index,
    bytes: bytes[index],
    siblings: [],
  }));
  const checked = { ...file, receipt, prompt: exchange.prompt, output: exchange.output, spans };
  return { ...checked, records: cited } as unknown as ReceiptFile;
}

const word = fc.constantFrom(
  'weir',
  'sluice',
  'opens',
  'at',
  'dawn',
  'Ångström',
  'x1',
  'the',
  'of',
);
const sentence = fc
  .array(fc.tuple(word, fc.constantFrom(' ', ', ', '. ', '-')), { maxLength: 14 })
  .map((parts) => parts.flat().join(''));

test('whatever the search finds, the rule accepts', () => {
  let found = 0;
  fc.assert(
    fc.property(
      sentence,
      sentence,
      fc.array(
        sentence.filter((text) => text.length > 0),
        { minLength: 1, maxLength: 12 },
      ),
      fc.nat(),
      (prompt, output, records, salt) => {
        // Clusters of neighbours, named by their earliest record.
        const clusters = records.map((_, i) => (i > 0 && (salt >> i) % 3 === 0 ? -1 : i));
        for (let i = 0; i < clusters.length; i += 1) {
          if (clusters[i] === -1) clusters[i] = clusters[i - 1] as number;
        }
        const built = fileOf(prompt, output, records, clusters);
        found += built.spans.length;
        assert.equal(checkSpans(built), null);
      },
    ),
    { numRuns: 200 },
  );
  assert.ok(found > 200, `${found} spans`);
});

test('whole words begin and end where letters, digits and other scripts do', () => {
  const text = utf8('a bc-é d');
  const whole: [number, number, boolean][] = [
    [0, 1, true],
    [0, 4, true],
    [2, 4, true],
    [2, 3, false],
    [3, 4, false],
    [2, 7, true],
    [2, 6, false],
    [1, 4, false],
    [0, 2, false],
  ];
  for (const [from, to, expected] of whole) {
    assert.equal(isWholeWords(text, from, to), expected, `${from} to ${to}`);
  }
});
