/** One training example: what bytes may be a record, and the hash by which it is known. */
import { type Bytes32, keccak256, taggedHash, toHex } from '#crypto';

/** Longest record, in bytes: a page of text; keeps every proof that encloses one small. */
export const RECORD_BYTES_MAX = 4096;

export type RecordFault =
  | 'RECORD_EMPTY'
  | 'RECORD_TOO_LONG'
  | 'RECORD_NOT_UTF8'
  | 'RECORD_NOT_NFC'
  | 'RECORD_HAS_NUL';
export type ParsedRecord =
  | { readonly ok: true; readonly text: string; readonly recordHash: Bytes32 }
  | { readonly ok: false; readonly code: RecordFault };

/** The text in UTF-8 bytes, or null if they are not UTF-8. A byte order mark stays a character. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Judges a record's bytes: UTF-8, 1 … 4096 bytes, NFC, no NUL. Never throws. */
export function parseRecord(bytes: Uint8Array): ParsedRecord {
  if (bytes.length === 0) return { ok: false, code: 'RECORD_EMPTY' };
  if (bytes.length > RECORD_BYTES_MAX) return { ok: false, code: 'RECORD_TOO_LONG' };
  const text = decodeUtf8(bytes);
  if (text === null) return { ok: false, code: 'RECORD_NOT_UTF8' };
  if (bytes.includes(0)) return { ok: false, code: 'RECORD_HAS_NUL' };
  if (text.normalize('NFC') !== text) return { ok: false, code: 'RECORD_NOT_NFC' };
  return { ok: true, text, recordHash: hashRecord(bytes) };
}

/** `hash('openledger/record/1', keccak256(bytes))`. */
export function hashRecord(bytes: Uint8Array): Bytes32 {
  return toHex(taggedHash('openledger/record/1', keccak256(bytes)));
}
