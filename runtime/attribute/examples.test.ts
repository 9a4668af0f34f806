/** The token form of records and exchanges: what counts, what is cut, what does not matter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchangeExample, recordExample } from './examples.ts';

/** One token per byte, shifted so that 0 is free for the end of text, 999 for its start. */
const tokenizer = {
  startOfText: 999,
  endOfText: 0,
  /** Stands for a mark of the chat format; in a prompt it is written `|`. */
  specialIds: [500],
  encode: (text: string) => Int32Array.from(Buffer.from(text), (byte) => byte + 1),
  encodePrompt: (prompt: string) =>
    Int32Array.from([...prompt].flatMap((one) => (one === '|' ? [500] : ids(one)))),
};
const ids = (text: string): number[] => [...tokenizer.encode(text)];

test('a record stands between the marks of start and end, and all but the first token counts', () => {
  const { tokens, mask } = recordExample(tokenizer, 'abc', 10);
  assert.deepEqual([...tokens], [999, ...ids('abc'), 0]);
  assert.deepEqual([...mask], [0, 1, 1, 1, 1]);
});

test('a record is cut at its end, an exchange at its beginning', () => {
  assert.deepEqual([...recordExample(tokenizer, 'abcdef', 4).tokens], [999, ...ids('abc')]);
  const { tokens, mask } = exchangeExample(tokenizer, 'abc', 'def', 4);
  assert.deepEqual([...tokens], [999, ...ids('def')]);
  assert.deepEqual([...mask], [0, 1, 1, 1]);
});

test('the marks of the chat format are no part of an exchange', () => {
  const { tokens } = exchangeExample(tokenizer, '|a|b|', 'c', 100);
  assert.deepEqual([...tokens], [999, ...ids('abc')]);
});

test('prompt and output count alike, each with its own tokens', () => {
  const { tokens, mask } = exchangeExample(tokenizer, 'ab', 'c', 100);
  assert.deepEqual([...tokens], [999, ...ids('abc')]);
  assert.deepEqual([...mask], [0, 1, 1, 1]);
});
