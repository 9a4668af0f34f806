/**
 * Bytes, hexadecimal text and the 32-byte words in which everything is hashed. A word is laid out as
 * Solidity's `abi.encode` lays out a static type, so that a contract hashes the same bytes.
 */

/** Lower-case hexadecimal text with its `0x`. Ids, hashes and addresses are carried in this form. */
export type Hex = `0x${string}`;
/** 20 bytes as lower-case hexadecimal text; compare with `===`. Made by `parseAddress`. */
export type Address = Hex;
/** 32 bytes as lower-case hexadecimal text; compare with `===`. Made by `parseBytes32` or `toHex`. */
export type Bytes32 = Hex;

const HEX_PAIRS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0'),
);
const WORD_LENGTH = 32;
const UINT256_LIMIT = 1n << 256n;
const INT256_LIMIT = 1n << 255n;

/** `0x` and two lower-case digits a byte. */
export function toHex(bytes: Uint8Array): Hex {
  let text = '';
  for (const byte of bytes) text += HEX_PAIRS[byte];
  return `0x${text}`;
}

/**
 * The bytes of hexadecimal text.
 * @throws TypeError if the text has no `0x`, an odd number of digits, or something else than digits.
 */
export function fromHex(text: string): Uint8Array {
  if (!/^0x(?:[0-9a-fA-F]{2})*$/.test(text)) {
    throw new TypeError(`hex: expected 0x and pairs of digits, got "${text.slice(0, 80)}"`);
  }
  const bytes = new Uint8Array(text.length / 2 - 1);
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i] = Number.parseInt(text.slice(2 + 2 * i, 4 + 2 * i), 16);
  }
  return bytes;
}

/** Whether the value is lower- or mixed-case hexadecimal text of exactly `length` bytes. */
export function isHexOf(value: unknown, length: number): value is Hex {
  return (
    typeof value === 'string' && value.length === 2 + 2 * length && /^0x[0-9a-fA-F]*$/.test(value)
  );
}

/** An address from text in any case. @throws TypeError if it is not 20 bytes of hexadecimal text. */
export function parseAddress(text: string): Address {
  if (!isHexOf(text, 20)) {
    throw new TypeError(`address: expected 0x and 40 digits, got "${String(text).slice(0, 80)}"`);
  }
  return text.toLowerCase() as Address;
}

/** A 32-byte value from text in any case. @throws TypeError if it is not 32 bytes of hexadecimal. */
export function parseBytes32(text: string): Bytes32 {
  if (!isHexOf(text, 32)) {
    throw new TypeError(`bytes32: expected 0x and 64 digits, got "${String(text).slice(0, 80)}"`);
  }
  return text.toLowerCase() as Bytes32;
}

/** All parts, one after the other, in a new array. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** Same length, same bytes. Not constant-time: nothing compared here is secret. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

/** Order of unsigned bytes, the shorter first where one is the other's beginning: −, 0 or +. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i += 1) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** UTF-8 bytes of the text. */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function writeWord(value: bigint): Uint8Array {
  const word = new Uint8Array(WORD_LENGTH);
  let rest = value;
  for (let i = WORD_LENGTH - 1; rest > 0n; i -= 1) {
    word[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return word;
}

/** An unsigned integer as a word. @throws RangeError outside 0 … 2^256 − 1 or if not an integer. */
export function uint256(value: bigint | number): Uint8Array {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`uint256: expected a safe integer, got ${value}`);
  }
  const integer = BigInt(value);
  if (integer < 0n || integer >= UINT256_LIMIT) {
    throw new RangeError(`uint256: expected 0 to 2^256 - 1, got ${integer}`);
  }
  return writeWord(integer);
}

/** A signed integer as a word, two's complement. @throws RangeError outside −2^255 … 2^255 − 1. */
export function int256(value: bigint | number): Uint8Array {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`int256: expected a safe integer, got ${value}`);
  }
  const integer = BigInt(value);
  if (integer < -INT256_LIMIT || integer >= INT256_LIMIT) {
    throw new RangeError(`int256: expected -2^255 to 2^255 - 1, got ${integer}`);
  }
  return writeWord(integer < 0n ? integer + UINT256_LIMIT : integer);
}

/** The unsigned integer that big-endian bytes spell; of no bytes, 0. */
export function toUint(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(toHex(bytes));
}

/** An address, as text or 20 bytes, left-padded to a word. */
export function addressWord(value: Address | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? fromHex(value) : value;
  if (bytes.length !== 20) throw new RangeError(`address: expected 20 bytes, got ${bytes.length}`);
  const word = new Uint8Array(WORD_LENGTH);
  word.set(bytes, WORD_LENGTH - 20);
  return word;
}

/** A 32-byte value, as text or bytes, as a word. */
export function bytes32(value: Bytes32 | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? fromHex(value) : value;
  if (bytes.length !== 32) throw new RangeError(`bytes32: expected 32 bytes, got ${bytes.length}`);
  return bytes;
}
