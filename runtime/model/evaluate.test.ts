/** Bits per byte: every token counts once, with as much context as a window allows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tokenizerFiles, trainMerges } from './bpe-train.ts';
import { modelBitsPerByte, sampleOf } from './evaluate.ts';
import { makeTokenizer } from './tokenizer.ts';

const TEXT = 'one two three four five six seven eight nine ten, and so on. '.repeat(20);
const files = tokenizerFiles(trainMerges([{ text: TEXT, weight: 1 }], 300), 64);
const tokenizer = makeTokenizer(files.tokenizer, files.config, 300);

test('a model that gives every token 1/256 needs 8 bits for each', async () => {
  let windows = 0;
  const score = (tokens: Int32Array) => {
    windows++;
    assert.ok(tokens.length <= 32);
    return new Float32Array(tokens.length).fill(-Math.log(256));
  };
  const bits = await modelBitsPerByte(score, tokenizer, [TEXT, 'x'], 32);
  const tokens = tokenizer.encode(TEXT).length + 1;
  assert.ok(Math.abs(bits - (8 * tokens) / (Buffer.byteLength(TEXT) + 1)) < 1e-6);
  assert.ok(windows > tokens / 16);
});

test('tokens after the first window keep half a window of context', async () => {
  const ids = Int32Array.of(tokenizer.endOfText, ...tokenizer.encode(TEXT));
  const seen = new Map<number, number>();
  let counted = 1;
  let start = 0;
  const score = (tokens: Int32Array) => {
    assert.deepEqual(tokens, ids.slice(start, start + 32));
    for (; counted < start + tokens.length; counted++) seen.set(counted, counted - start);
    start += 16;
    return new Float32Array(tokens.length);
  };
  assert.equal(await modelBitsPerByte(score, tokenizer, [TEXT], 32), 0);
  for (let at = 1; at < ids.length; at++) assert.ok(seen.get(at)! >= Math.min(at, 16));
});

test('a sample is spread over the list and cut', () => {
  const texts = Array.from({ length: 10 }, (_, i) => `${i}`.repeat(5));
  assert.deepEqual(sampleOf(texts, 3, 2), ['00', '33', '66', '99']);
});
