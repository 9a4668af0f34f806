/** A short run of the fuzzer: what it finds in a million cases it must be able to find at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { philoxStream } from '#runtime';
import { ggufReader } from './gguf.ts';
import { type FuzzedReader, safetensorsReader, tokenizerReader } from './readers.ts';

function run(reader: FuzzedReader, runs: number): { verdicts: Set<string>; past: number } {
  const outcomes = Array.from({ length: runs }, (_, i) => reader(philoxStream(7n, i)));
  return {
    verdicts: new Set(outcomes.map(({ verdict }) => verdict)),
    past: outcomes.filter(({ isPastParsing }) => isPastParsing).length / runs,
  };
}

test('mutated safetensors files are accepted or refused by a code, most past the header', () => {
  const { verdicts, past } = run(safetensorsReader(), 5000);
  for (const verdict of ['accepted', 'SAFETENSORS_HEADER_INVALID', 'SAFETENSORS_TRUNCATED']) {
    assert.ok(verdicts.has(verdict), verdict);
  }
  assert.ok(past >= 0.3, `${past}`);
});

test('mutated tokenizers are accepted or refused by a code, most past the root', () => {
  const { verdicts, past } = run(tokenizerReader('runtime/golden/chat'), 200);
  assert.ok(verdicts.has('accepted') && verdicts.has('TOKENIZER_INVALID'));
  assert.ok(past >= 0.3, `${past}`);
});

test('mutated GGUF files are accepted or refused by a code, most past the header', () => {
  const { verdicts, past } = run(ggufReader(), 2000);
  const wanted = [
    'GGUF_HEADER_INVALID',
    'GGUF_TRUNCATED',
    'DTYPE_UNSUPPORTED',
    'TOKENIZER_INVALID',
  ];
  for (const verdict of ['accepted', 'CONFIG_INVALID', 'TENSOR_SHAPE', ...wanted]) {
    assert.ok(verdicts.has(verdict), verdict);
  }
  assert.ok(past >= 0.3, `${past}`);
});
