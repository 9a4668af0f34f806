/**
 * Commit and reveal: a hash that hides words behind a salt until they are opened. Commitments bind
 * who made them by carrying the maker among the words; that is the caller's duty.
 */
import { equal } from './bytes.ts';
import { taggedHash } from './hash.ts';

/** `hash(tag, words…, salt)`. @param salt 32 bytes that nobody else knows before the opening. */
export function commitTo(tag: string, words: readonly Uint8Array[], salt: Uint8Array): Uint8Array {
  if (salt.length !== 32) throw new RangeError(`salt: expected 32 bytes, got ${salt.length}`);
  return taggedHash(tag, ...words, salt);
}

/** Whether the words and the salt are those that were committed to. */
export function opensCommitment(
  commitment: Uint8Array,
  tag: string,
  words: readonly Uint8Array[],
  salt: Uint8Array,
): boolean {
  return equal(commitTo(tag, words, salt), commitment);
}
