import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TypedDataEncoder } from 'ethers';
import fc from 'fast-check';
import { type Hex, parseAddress, toHex } from './bytes.ts';
import {
  domainSeparator,
  encodeType,
  type StructType,
  structHash,
  typedDigest,
} from './typed-data.ts';

const type: StructType = {
  name: 'Sample',
  fields: [
    ['id', 'bytes32'],
    ['who', 'address'],
    ['small', 'uint32'],
    ['middle', 'uint64'],
    ['large', 'uint256'],
  ],
};
const hexOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => toHex(bytes));
const unsigned = (bits: bigint) => fc.bigInt({ min: 0n, max: 2n ** bits - 1n });

test('domain, struct and digest are those of ethers', () => {
  const values = fc.record({
    id: hexOf(32),
    who: hexOf(20),
    small: fc.nat(2 ** 32 - 1),
    middle: unsigned(64n),
    large: unsigned(256n),
  });
  fc.assert(
    fc.property(values, hexOf(20), fc.nat(), (value, verifyingContract, chainId) => {
      const domain = { name: 'OpenLedger', version: '1', chainId, verifyingContract };
      const types = { Sample: type.fields.map(([name, kind]) => ({ name, type: kind as string })) };
      const hashed = structHash(type, value);
      assert.equal(toHex(hashed), TypedDataEncoder.hashStruct('Sample', types, value));
      assert.equal(toHex(domainSeparator(domain)), TypedDataEncoder.hashDomain(domain));
      assert.equal(toHex(typedDigest(domain, hashed)), TypedDataEncoder.hash(domain, types, value));
    }),
  );
  assert.equal(
    encodeType(type),
    'Sample(bytes32 id,address who,uint32 small,uint64 middle,uint256 large)',
  );
});

test('a value that does not fit its field is refused', () => {
  const good = {
    id: `0x${'11'.repeat(32)}` as Hex,
    who: parseAddress(`0x${'22'.repeat(20)}`),
    small: 1,
    middle: 2n,
    large: 3n,
  };
  assert.equal(structHash(type, good).length, 32);
  assert.throws(() => structHash(type, { ...good, small: 2 ** 32 }), RangeError);
  assert.throws(() => structHash(type, { ...good, middle: 2n ** 64n }), RangeError);
  assert.throws(() => structHash(type, { ...good, large: -1n }), RangeError);
  assert.throws(() => structHash(type, { ...good, small: '0x01' }), TypeError);
  assert.throws(() => structHash(type, { ...good, who: 5 }), TypeError);
  assert.throws(() => structHash(type, { ...good, id: '0x11' }), RangeError);
  const { large: _, ...missing } = good;
  assert.throws(() => structHash(type, missing), TypeError);
});

test('a struct within a struct stands as its own hash, and after it in the type', () => {
  const outer: StructType = {
    name: 'Outer',
    fields: [
      ['first', type],
      ['count', 'uint32'],
      ['second', { name: 'Another', fields: [['id', 'bytes32']] }],
    ],
  };
  const first = { id: `0x${'11'.repeat(32)}`, who: `0x${'22'.repeat(20)}` } as const;
  const value = {
    first: { ...first, small: 1, middle: 2n, large: 3n },
    count: 4,
    second: { id: `0x${'33'.repeat(32)}` },
  } as const;
  const types = {
    Outer: [
      { name: 'first', type: 'Sample' },
      { name: 'count', type: 'uint32' },
      { name: 'second', type: 'Another' },
    ],
    Sample: type.fields.map(([name, kind]) => ({ name, type: kind as string })),
    Another: [{ name: 'id', type: 'bytes32' }],
  };
  assert.equal(encodeType(outer), TypedDataEncoder.from(types).encodeType('Outer'));
  assert.equal(toHex(structHash(outer, value)), TypedDataEncoder.hashStruct('Outer', types, value));
  assert.throws(() => structHash(outer, { ...value, first: 1 }), TypeError);
  assert.throws(() => structHash(outer, { ...value, count: value.second }), TypeError);
});
