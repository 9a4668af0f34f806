import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { equal, fromHex, utf8 } from '#crypto';
import {
  cidOf,
  cidOfDigest,
  DAG_CBOR,
  decodeCanonical,
  digestOfCid,
  encodeCanonical,
  isCidOf,
  parseCid,
  RAW,
} from './cbor.ts';
import {
  address,
  bool,
  bytes,
  decodeWith,
  encodeWith,
  fraction,
  hash32,
  int,
  link,
  list,
  literal,
  nullable,
  object,
  ShapeError,
  text,
  uint,
  wei,
} from './codec.ts';

const codec = object({
  amount: wei,
  flag: bool,
  id: hash32,
  kind: literal('a', 'b'),
  links: list(link(RAW), 2),
  maybe: nullable(uint(9)),
  name: text(8),
  ratio: fraction,
  raw: bytes({ max: 3 }),
  signed: int(5),
  who: address,
});
const value = {
  amount: 2n ** 255n,
  flag: true,
  id: `0x${'ab'.repeat(32)}` as const,
  kind: 'b' as const,
  links: [cidOf(utf8('x'), RAW)],
  maybe: null,
  name: 'ßß',
  ratio: 0.3,
  raw: Uint8Array.of(1),
  signed: -5,
  who: `0x${'0c'.repeat(20)}` as const,
};

test('a value reads back as it was written, to the byte', () => {
  const encoded = encodeWith(codec, value);
  const decoded = decodeWith(codec, encoded, 1_000);
  assert.ok(decoded.ok);
  assert.ok(equal(encodeWith(codec, decoded.value), encoded));
  assert.equal(decoded.value.amount, value.amount);
  assert.equal(decoded.value.id, value.id);
});

test('what does not fit its codec is not written', () => {
  for (const change of [
    { maybe: 10 },
    { name: 'ßßßßß' },
    { raw: new Uint8Array(4) },
    { signed: 6 },
    { signed: 0.5 },
    { ratio: -1 },
    { ratio: Number.NaN },
    { ratio: -0 },
    { links: [cidOf(utf8('x'), DAG_CBOR)] },
    { links: [1, 2, 3].map(() => cidOf(utf8('x'), RAW)) },
  ]) {
    assert.throws(
      () => encodeWith(codec, { ...value, ...change }),
      ShapeError,
      JSON.stringify(change),
    );
  }
  assert.throws(() => encodeWith(codec, { ...value, amount: 2n ** 256n }), RangeError);
});

test('what is decoded names the place that is wrong', () => {
  const map = { a: [{ b: -1 }] };
  const nested = object({ a: list(object({ b: uint() }), 3) });
  const decoded = decodeWith(nested, encodeCanonical(map), 100);
  assert.ok(!decoded.ok && decoded.code === 'WRONG_SHAPE' && decoded.at === 'value.a[0].b');
  const large = decodeWith(nested, new Uint8Array(101), 100);
  assert.ok(!large.ok && large.code === 'TOO_LARGE');
  const cut = decodeWith(nested, encodeCanonical(map).subarray(1), 100);
  assert.ok(!cut.ok && cut.code === 'NON_CANONICAL');
});

test('keys that objects inherit are not taken for fields', () => {
  const empty = object({});
  for (const key of ['__proto__', 'constructor', 'toString']) {
    // A map of one key, written by hand: a key and the integer 1.
    const encoded = Uint8Array.of(0xa1, 0x60 + key.length, ...utf8(key), 1);
    const decoded = decodeWith(empty, encoded, 100);
    assert.ok(!decoded.ok, key);
  }
  const missing = decodeWith(object({ toString: uint() }), encodeCanonical({}), 100);
  assert.ok(!missing.ok && missing.code === 'WRONG_SHAPE');
});

test('canonical bytes are the only ones that decode', () => {
  const any = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: 'small' },
      fc.integer(),
      fc.string(),
      fc.boolean(),
      fc.constant(null),
      fc.uint8Array({ maxLength: 8 }),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(fc.string({ minLength: 1, maxLength: 3 }), tie('node'), { maxKeys: 3 }),
    ),
  })).node;
  fc.assert(
    fc.property(any, fc.nat(), (written, at) => {
      const encoded = encodeCanonical(written);
      const decoded = decodeCanonical(encoded);
      assert.ok(decoded !== null);
      assert.ok(equal(encodeCanonical(decoded.value), encoded));
      const changed = encoded.slice();
      changed[at % changed.length] = (changed[at % changed.length] as number) ^ 1;
      const other = decodeCanonical(changed);
      if (other !== null) assert.ok(equal(encodeCanonical(other.value), changed));
    }),
  );
});

test('a content id and its digest on chain are two forms of one thing', () => {
  for (const kind of [DAG_CBOR, RAW]) {
    const cid = cidOf(utf8('bytes'), kind);
    assert.equal(cidOfDigest(digestOfCid(cid), kind).toString(), cid.toString());
    assert.equal(cidOfDigest(fromHex(digestOfCid(cid)), kind).toString(), cid.toString());
    assert.ok(parseCid(cid.toString()).equals(cid));
    assert.ok(isCidOf(cid, kind) && !isCidOf(cid, kind === RAW ? DAG_CBOR : RAW));
  }
  assert.equal(isCidOf({}, RAW), false);
  assert.equal(isCidOf(parseCid('QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n'), RAW), false);
});
