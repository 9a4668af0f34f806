/**
 * Names the field in which the bytes of a receipt file are broken, for bytes that do not even decode:
 * walks over the file's items and compares each with its digest.
 */
import { concat, equal, keccak256, utf8 } from '#crypto';
import { decodeCanonical } from './cbor.ts';

/** Deeper than any field of a receipt file. */
const DEPTH_MAX = 16;
const DIGEST_HEAD = Uint8Array.of(0x58, 0x20);
const DIGEST_LENGTH = 34;

/**
 * The first field whose bytes are not what its digest says, or `file` if it is the frame around them.
 * @param magic ASCII text of 24 to 255 characters, @param fields at most 23 names
 */
export function findDamage(encoded: Uint8Array, magic: string, fields: readonly string[]): string {
  const head = concat(
    Uint8Array.of(0x83, 0x78, magic.length),
    utf8(magic),
    Uint8Array.of(0x80 + fields.length),
  );
  if (!equal(encoded.subarray(0, head.length), head)) return 'file';
  const digestsEnd = head.length + DIGEST_LENGTH * fields.length;
  const digests: Uint8Array[] = [];
  for (const [i, field] of fields.entries()) {
    const at = head.length + DIGEST_LENGTH * i;
    if (!equal(encoded.subarray(at, at + 2), DIGEST_HEAD)) return field;
    digests.push(encoded.subarray(at + 2, at + DIGEST_LENGTH));
  }
  if (encoded[digestsEnd] !== 0x80 + fields.length) return 'file';
  let from = digestsEnd + 1;
  for (const [i, field] of fields.entries()) {
    const to = itemEnd(encoded, from, 0);
    if (to === null) return field;
    const item = encoded.subarray(from, to);
    if (!equal(keccak256(item), digests[i] as Uint8Array)) return field;
    if (decodeCanonical(item) === null) return field;
    from = to;
  }
  return 'file';
}

/** Where the item that begins at `from` ends, or null if it is none of definite length. */
function itemEnd(encoded: Uint8Array, from: number, depth: number): number | null {
  const head = encoded[from];
  if (head === undefined || depth > DEPTH_MAX) return null;
  const major = head >> 5;
  const minor = head & 0x1f;
  if (minor > 27) return null;
  const argumentLength = minor < 24 ? 0 : 2 ** (minor - 24);
  let at = from + 1 + argumentLength;
  if (at > encoded.length) return null;
  let argument = minor;
  if (minor >= 24) {
    argument = 0;
    for (let i = from + 1; i < at; i += 1) argument = argument * 256 + (encoded[i] as number);
  }
  if (major === 2 || major === 3) {
    return at + argument <= encoded.length ? at + argument : null;
  }
  const items = { 4: argument, 5: 2 * argument, 6: 1 }[major] ?? 0;
  if (items > encoded.length - at) return null;
  for (let i = 0; i < items; i += 1) {
    const end = itemEnd(encoded, at, depth + 1);
    if (end === null) return null;
    at = end;
  }
  return at;
}
