import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concat, createRandom, equal, keccak256, toHex, utf8 } from '#crypto';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { countTokens, hashOf, sampleAnswer } from './fixture.ts';
import {
  decodeReceiptFile,
  encodeReceiptFile,
  RECEIPT_FILE_BYTES_MAX,
  RECEIPT_FILE_FIELDS,
  RECEIPT_FILE_MAGIC,
  withEpochProof,
} from './receipt-file.ts';
import { verifyReceiptFile } from './receipt-verify.ts';

const sample = sampleAnswer();
const file = withEpochProof(sample.file, {
  epoch: 1,
  receiptsRoot: hashOf('any'),
  receiptCount: 2,
  index: 1,
  siblings: [new Uint8Array(32).fill(7)],
});
const bytes = encodeReceiptFile(file);
const check = { anchors: null, countTokens };

test('a receipt file reads back as it was written, to the byte', () => {
  const decoded = decodeReceiptFile(bytes);
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.value, file);
  assert.ok(equal(encodeReceiptFile(decoded.value), bytes));
});

test('the format stands still: the sample has the bytes that it had in version 2', () => {
  const expected = '0xa9dd09a5c0c807f54e1ac88c179bb85cfc51b60d7458a67a26b839082e78b8c2';
  assert.equal(toHex(keccak256(encodeReceiptFile(sample.file))), expected);
});

type Parts = [magic: string, digests: Uint8Array[], written: unknown[]];

function partsOf(encoded: Uint8Array): Parts {
  const decoded = decodeCanonical(encoded);
  assert.ok(decoded !== null);
  return decoded.value as Parts;
}

/** Where each field lies in the file, so that the test knows which one it damages. */
function fieldAt(offset: number): string {
  const head = 3 + RECEIPT_FILE_MAGIC.length + 1;
  const digestsEnd = head + 34 * RECEIPT_FILE_FIELDS.length;
  if (offset < head) return 'file';
  if (offset < digestsEnd) {
    return RECEIPT_FILE_FIELDS[Math.floor((offset - head) / 34)] as string;
  }
  if (offset === digestsEnd) return 'file';
  const [, , written] = partsOf(bytes);
  let at = digestsEnd + 1;
  for (const [i, name] of RECEIPT_FILE_FIELDS.entries()) {
    at += encodeCanonical(written[i]).length;
    if (offset < at) return name;
  }
  return 'file';
}

test('any single byte changed anywhere is invalid and names its field', () => {
  const random = createRandom(keccak256(utf8('every byte')), 'flips');
  const fields = new Set<string>();
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at] = (changed[at] as number) ^ (1 + random.below(255));
    const verdict = verifyReceiptFile(changed, check);
    assert.ok(!verdict.valid, `byte ${at}`);
    const expected = fieldAt(at);
    assert.equal(verdict.field, expected, `byte ${at}: ${verdict.code}`);
    fields.add(expected);
  }
  assert.deepEqual([...fields].sort(), ['file', ...RECEIPT_FILE_FIELDS].sort());
});

test('bytes cut off or added are NON_CANONICAL', () => {
  for (const length of [0, 1, 30, 100, bytes.length - 1]) {
    const verdict = decodeReceiptFile(bytes.subarray(0, length));
    assert.ok(!verdict.ok && verdict.code === 'NON_CANONICAL', `${length}`);
  }
  const longer = decodeReceiptFile(concat(bytes, Uint8Array.of(0)));
  assert.ok(!longer.ok && longer.code === 'NON_CANONICAL' && longer.field === 'file');
});

/** Replaces one run of bytes by another and writes the digests anew, as a forger would. */
function forge(find: Uint8Array, put: Uint8Array): Uint8Array {
  const at = Buffer.from(bytes).indexOf(find, 600);
  assert.ok(at > 0);
  return concat(bytes.subarray(0, at), put, bytes.subarray(at + find.length));
}

test('NON_CANONICAL: longer integers, indefinite lengths, other key orders', () => {
  const { prompt } = file;
  const head = Uint8Array.of(0x58, prompt.length);
  const parts: [string, Uint8Array][] = [
    [
      'length in a longer form',
      forge(concat(head, prompt), concat(Uint8Array.of(0x59, 0, prompt.length), prompt)),
    ],
    [
      'bytes of indefinite length',
      forge(concat(head, prompt), concat(Uint8Array.of(0x5f), head, prompt, Uint8Array.of(0xff))),
    ],
  ];
  // Keys of the domain: "chainId" and "referee" have one length, so their order is alphabetic.
  const chainId = concat(Uint8Array.of(0x67), utf8('chainId'), Uint8Array.of(0x19, 0x03, 0x85));
  const at = Buffer.from(bytes).indexOf(chainId);
  const referee = bytes.subarray(at + chainId.length, at + chainId.length + 8 + 21);
  parts.push(['keys in another order', forge(concat(chainId, referee), concat(referee, chainId))]);
  parts.push([
    'integer in a longer form',
    forge(chainId, concat(chainId.subarray(0, 8), Uint8Array.of(0x1a, 0, 0, 3, 0x85))),
  ]);
  parts.push([
    'a float that is an integer',
    forge(
      chainId,
      concat(chainId.subarray(0, 8), Uint8Array.of(0xfb, 0x40, 0x8c, 0x28, 0, 0, 0, 0, 0)),
    ),
  ]);
  parts.push([
    'a key twice',
    forge(concat(Uint8Array.of(0xa2), chainId), concat(Uint8Array.of(0xa3), chainId, chainId)),
  ]);
  assert.equal(parts.length, 6);
  for (const [what, forged] of parts) {
    const verdict = verifyReceiptFile(forged, check);
    assert.ok(!verdict.valid && verdict.code === 'NON_CANONICAL', what);
    assert.notEqual(verdict.field, 'file', what);
  }
});

test('WRONG_SHAPE: what is canonical and no receipt file', () => {
  const shapes: unknown[] = [
    null,
    {},
    [],
    ['openledger/receipt-file/2', [], []],
    [RECEIPT_FILE_MAGIC, [], []],
    [RECEIPT_FILE_MAGIC, 1, 2],
    [RECEIPT_FILE_MAGIC, [], [], []],
  ];
  for (const shape of shapes) {
    const verdict = decodeReceiptFile(encodeCanonical(shape));
    assert.ok(!verdict.ok && verdict.code === 'WRONG_SHAPE' && verdict.field === 'file');
  }
});

/** A file with one field replaced and its digest made to fit. */
function withField(name: string, value: unknown): Uint8Array {
  const [magic, digests, written] = partsOf(bytes);
  const i = RECEIPT_FILE_FIELDS.indexOf(name as never);
  written[i] = value;
  digests[i] = keccak256(encodeCanonical(value));
  return encodeCanonical([magic, digests, written]);
}

test('WRONG_SHAPE names the place inside the field', () => {
  const places: [string, unknown, string][] = [
    ['signature', new Uint8Array(64), 'signature'],
    ['domain', { chainId: -1, referee: new Uint8Array(20) }, 'domain.chainId'],
    ['domain', { chainId: 1, referee: new Uint8Array(20), more: 1 }, 'domain.more'],
    ['domain', { chainId: 1 }, 'domain.referee'],
    ['scores', [{}], 'scores[0].amountWei'],
    ['prompt', 'text', 'prompt'],
    ['querySketch', new Uint8Array(255), 'querySketch'],
    ['epoch', 5, 'epoch'],
  ];
  for (const [field, value, place] of places) {
    const verdict = decodeReceiptFile(withField(field, value));
    assert.ok(!verdict.ok && verdict.code === 'WRONG_SHAPE', field);
    assert.equal(verdict.field, place);
  }
});

test('FIELD_DAMAGED: a field that is well formed and not the one that was digested', () => {
  const [magic, digests, written] = partsOf(bytes);
  written[RECEIPT_FILE_FIELDS.indexOf('prompt')] = utf8('Another prompt');
  const verdict = decodeReceiptFile(encodeCanonical([magic, digests, written]));
  assert.ok(!verdict.ok && verdict.code === 'FIELD_DAMAGED' && verdict.field === 'prompt');
});

test('TOO_LARGE: a file over the limit is not decoded', () => {
  const verdict = decodeReceiptFile(new Uint8Array(RECEIPT_FILE_BYTES_MAX + 1));
  assert.ok(!verdict.ok && verdict.code === 'TOO_LARGE');
});

test('deeply nested bytes are refused, not followed', () => {
  const verdict = decodeReceiptFile(new Uint8Array(1_000_000).fill(0x81));
  assert.ok(!verdict.ok && verdict.code === 'NON_CANONICAL');
});
