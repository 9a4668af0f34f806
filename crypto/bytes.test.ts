import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder } from 'ethers';
import fc from 'fast-check';
import {
  addressWord,
  bytes32,
  compareBytes,
  concat,
  equal,
  fromHex,
  int256,
  isHexOf,
  parseAddress,
  parseBytes32,
  toHex,
  toUint,
  uint256,
} from './bytes.ts';

const abi = AbiCoder.defaultAbiCoder();

test('hexadecimal text and bytes are two forms of one value', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      assert.deepEqual(fromHex(toHex(bytes)), bytes);
      assert.equal(toHex(bytes), `0x${Buffer.from(bytes).toString('hex')}`);
    }),
  );
});

test('text that is not hexadecimal is refused', () => {
  for (const text of ['', '0', '0x0', '0xzz', 'ff', '0x00 ', '0X00']) {
    assert.throws(() => fromHex(text), TypeError, text);
  }
});

test('words are laid out as abi.encode lays them out', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }), (value) => {
      assert.equal(toHex(uint256(value)), abi.encode(['uint256'], [value]));
      assert.equal(toUint(uint256(value)), value);
      const signed = value - 2n ** 255n;
      assert.equal(toHex(int256(signed)), abi.encode(['int256'], [signed]));
    }),
  );
  const address = parseAddress('0x00112233445566778899AABBCCDDEEFF00112233');
  assert.equal(toHex(addressWord(address)), abi.encode(['address'], [address]));
  assert.equal(toHex(addressWord(fromHex(address))), abi.encode(['address'], [address]));
});

test('integers that do not fit a word are refused', () => {
  for (const value of [-1, -1n, 2n ** 256n, 1.5, 2 ** 53, Number.NaN]) {
    assert.throws(() => uint256(value), RangeError, String(value));
  }
  for (const value of [2n ** 255n, -(2n ** 255n) - 1n, 0.5]) {
    assert.throws(() => int256(value), RangeError, String(value));
  }
});

test('addresses and 32-byte values are parsed to lower case or refused', () => {
  assert.equal(parseAddress(`0x${'AB'.repeat(20)}`), `0x${'ab'.repeat(20)}`);
  assert.equal(parseBytes32(`0x${'AB'.repeat(32)}`), `0x${'ab'.repeat(32)}`);
  assert.throws(() => parseAddress(`0x${'ab'.repeat(19)}`), TypeError);
  assert.throws(() => parseBytes32(`0x${'ab'.repeat(33)}`), TypeError);
  assert.throws(() => bytes32(new Uint8Array(31)), RangeError);
  assert.throws(() => addressWord(new Uint8Array(21)), RangeError);
  assert.equal(isHexOf('0xff', 1), true);
  assert.equal(isHexOf(255, 1), false);
});

test('concatenation, equality and order agree with Buffer', () => {
  const some = fc.uint8Array({ maxLength: 8 });
  fc.assert(
    fc.property(some, some, (a, b) => {
      assert.deepEqual(concat(a, b), new Uint8Array(Buffer.concat([a, b])));
      assert.equal(equal(a, b), Buffer.compare(a, b) === 0);
      assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(a, b));
    }),
  );
});
