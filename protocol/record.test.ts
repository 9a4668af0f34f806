import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concat as joinHex, keccak256, toUtf8Bytes } from 'ethers';
import { concat, utf8 } from '#crypto';
import { hashRecord, parseRecord, RECORD_BYTES_MAX } from './record.ts';

function expectFault(bytes: Uint8Array, code: string): void {
  const parsed = parseRecord(bytes);
  assert.ok(!parsed.ok && parsed.code === code, `expected ${code}, got ${JSON.stringify(parsed)}`);
}

test('a record is text with a hash of its bytes', () => {
  const bytes = utf8('Grüße: ∀x ∈ ℝ, 𝔘\nnext line\t');
  const parsed = parseRecord(bytes);
  assert.ok(parsed.ok);
  assert.equal(parsed.text, 'Grüße: ∀x ∈ ℝ, 𝔘\nnext line\t');
  assert.equal(parsed.recordHash, hashRecord(bytes));
  const tag = keccak256(toUtf8Bytes('openledger/record/1'));
  assert.equal(hashRecord(bytes), keccak256(joinHex([tag, keccak256(bytes)])));
  assert.ok(parseRecord(new Uint8Array(RECORD_BYTES_MAX).fill(0x61)).ok);
});

test('RECORD_EMPTY', () => expectFault(new Uint8Array(0), 'RECORD_EMPTY'));

test('RECORD_TOO_LONG', () => {
  expectFault(new Uint8Array(RECORD_BYTES_MAX + 1).fill(0x61), 'RECORD_TOO_LONG');
});

test('RECORD_NOT_UTF8', () => {
  for (const bytes of [
    [0xff],
    [0xc3, 0x28],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xc0, 0x80],
  ]) {
    expectFault(Uint8Array.from(bytes), 'RECORD_NOT_UTF8');
  }
});

test('RECORD_NOT_NFC', () => {
  expectFault(utf8('e\u0301'), 'RECORD_NOT_NFC');
  expectFault(utf8('\u212b'), 'RECORD_NOT_NFC');
});

test('RECORD_HAS_NUL', () => expectFault(utf8('a\u0000b'), 'RECORD_HAS_NUL'));

test('a byte order mark is a character of the record, not dropped', () => {
  const marked = concat(Uint8Array.of(0xef, 0xbb, 0xbf), utf8('a'));
  const parsed = parseRecord(marked);
  assert.ok(parsed.ok);
  assert.deepEqual(utf8(parsed.text), marked);
});
