/**
 * The two hash functions of the protocol, and the tagged hash that keeps one kind of statement from
 * being taken for another (docs/protocol.md, section 1).
 */
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concat, utf8 } from './bytes.ts';

/** Keccak-256, the hash of the chain. */
export function keccak256(bytes: Uint8Array): Uint8Array {
  return keccak_256(bytes);
}

/** SHA-256, the hash of content ids. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return nobleSha256(bytes);
}

/** The word that stands for a tag: keccak256 of its UTF-8 text. */
export function tagHash(tag: string): Uint8Array {
  return keccak256(utf8(tag));
}

/**
 * `keccak256(keccak256(utf8(tag)) ‖ words…)`.
 * @param tag `openledger/<what>/<version>`
 * @param words each a multiple of 32 bytes, so that no field can run into the next
 */
export function taggedHash(tag: string, ...words: readonly Uint8Array[]): Uint8Array {
  for (const word of words) {
    if (word.length % 32 !== 0 || word.length === 0) {
      throw new RangeError(`taggedHash: expected whole words, got ${word.length} bytes for ${tag}`);
    }
  }
  return keccak256(concat(tagHash(tag), ...words));
}
