/** Properties of the chunker: valid records of the right sizes, nothing invented, code left out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  chunkText,
  DOCUMENTATION_CHUNKS,
  isProse,
  isRecord,
  PERSONAL_CHUNKS,
  sentencesOf,
} from './chunk.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const words = (text: string): string[] => text.match(/[\p{L}\p{N}]+/gu) ?? [];

test('any text gives valid records within the sizes, the same ones every time', () => {
  const line = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 900 }),
    fc.lorem({ maxCount: 60 }),
    fc.constantFrom('', '# Title', '- item', '```', '---', '    code();', '| a | b |'),
  );
  const document = fc.array(line, { maxLength: 30 }).map((lines) => lines.join('\n'));
  fc.assert(
    fc.property(document, fc.constantFrom(DOCUMENTATION_CHUNKS, PERSONAL_CHUNKS), (text, sizes) => {
      const records = chunkText(text, sizes);
      for (const record of records) {
        const bytes = utf8(record);
        assert.ok(isRecord(bytes));
        assert.ok(bytes.length >= sizes.bytesMin && bytes.length <= sizes.bytesMax);
        assert.ok(isProse(record));
      }
      assert.deepEqual(chunkText(text, sizes), records);
    }),
    { numRuns: 200, seed: 5 },
  );
});

test('prose keeps every word in order', () => {
  const paragraph = fc.lorem({ maxCount: 120, mode: 'sentences' });
  fc.assert(
    fc.property(fc.array(paragraph, { minLength: 1, maxLength: 8 }), (paragraphs) => {
      const records = chunkText(paragraphs.join('\n\n'), PERSONAL_CHUNKS);
      assert.deepEqual(words(records.join(' ')), words(paragraphs.join(' ')));
    }),
    { numRuns: 100, seed: 5 },
  );
});

test('headings stay with what they head; code, tables and link lists go', () => {
  const prose =
    'A cache keeps what was read last, so that the next reader need not wait for the disk again; it forgets the oldest entry first when it is full.';
  const document = [
    '# Using the cache',
    '',
    prose,
    '',
    '```js',
    'const cache = new Cache({ max: 10 });',
    '```',
    '',
    '| option | default |',
    '| ------ | ------- |',
    '| max    | 10      |',
    '',
    '[one](https://example.org/one) https://example.org/a/long/path/to/somewhere https://example.org/another/long/path',
  ].join('\n');
  assert.deepEqual(chunkText(document), [`Using the cache\n${prose}`]);
});

test('lines that were wrapped are joined, so that spans run over the wrap', () => {
  const wrapped = `The first half of this sentence stands on one line\nand the other on the next. ${'It goes on. '.repeat(6)}`;
  assert.match(chunkText(wrapped)[0] ?? '', /on one line and the other/);
});

test('a person may contribute one short sentence', () => {
  assert.deepEqual(chunkText('Zorblax lives in Fenwick.', PERSONAL_CHUNKS), [
    'Zorblax lives in Fenwick.',
  ]);
});

test('sentences end before a capital, not inside names or numbers', () => {
  assert.deepEqual(sentencesOf('Use v1.2 of path.sep, e.g. here. It works! `b` too. and more'), [
    'Use v1.2 of path.sep, e.g. here.',
    'It works!',
    '`b` too. and more',
  ]);
});

test('a record is 1 to 4,096 bytes of UTF-8 in NFC without NUL', () => {
  assert.ok(isRecord(utf8('é')));
  assert.ok(isRecord(utf8('a'.repeat(4096))));
  assert.ok(!isRecord(utf8('')));
  assert.ok(!isRecord(utf8('a'.repeat(4097))));
  assert.ok(!isRecord(utf8('e\u0301')));
  assert.ok(!isRecord(utf8('a\0b')));
  assert.ok(!isRecord(Uint8Array.of(0xc3, 0x28)));
});
