/**
 * secp256k1 keys and signatures in the chain's form: 65 bytes `r ‖ s ‖ v`, v 27 or 28, low s.
 * The curve is noble's; nothing here draws randomness (nonces follow RFC 6979).
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { type Address, concat, toHex, toUint } from './bytes.ts';
import { keccak256 } from './hash.ts';

/** Order of the group; a low s is at most half of it. */
const GROUP_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const S_MAX = GROUP_ORDER / 2n;

/** Whether 32 bytes are a usable private key: 1 … group order − 1. */
export function isPrivateKey(key: Uint8Array): boolean {
  return key.length === 32 && secp256k1.utils.isValidSecretKey(key);
}

/** The compressed public key, 33 bytes, the one libp2p carries. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  return secp256k1.getPublicKey(privateKey, true);
}

/**
 * The address of a public key, compressed or not: the last 20 bytes of keccak256 of its point.
 * @throws Error if the bytes are not a point of the curve.
 */
export function addressOfPublicKey(publicKey: Uint8Array): Address {
  const point = secp256k1.Point.fromBytes(publicKey).toBytes(false);
  return toHex(keccak256(point.subarray(1)).subarray(12));
}

/** The address of a private key. */
export function addressOfPrivateKey(privateKey: Uint8Array): Address {
  return addressOfPublicKey(publicKeyOf(privateKey));
}

/** Signs a 32-byte digest: 65 bytes, low s, the same bytes for the same key and digest. */
export function signDigest(digest: Uint8Array, privateKey: Uint8Array): Uint8Array {
  if (digest.length !== 32) throw new RangeError(`sign: expected 32 bytes, got ${digest.length}`);
  const signed = secp256k1.sign(digest, privateKey, { prehash: false, format: 'recovered' });
  return concat(signed.subarray(1), Uint8Array.of(27 + (signed[0] as number)));
}

/**
 * The address that signed the digest, or null if the 65 bytes are no signature in canonical form
 * (wrong length, v other than 27 or 28, high s, r or s out of range). Never throws.
 */
export function recoverAddress(digest: Uint8Array, signature: Uint8Array): Address | null {
  if (digest.length !== 32 || signature.length !== 65) return null;
  const v = signature[64] as number;
  if (v !== 27 && v !== 28) return null;
  if (toUint(signature.subarray(32, 64)) > S_MAX) return null;
  try {
    const recovered = concat(Uint8Array.of(v - 27), signature.subarray(0, 64));
    return addressOfPublicKey(secp256k1.recoverPublicKey(recovered, digest, { prehash: false }));
  } catch {
    // Bytes that are no point on the curve: a stranger's bad signature, an answer and not a fault.
    return null;
  }
}

/** Whether `signer` signed the digest, in canonical form. */
export function isSignedBy(digest: Uint8Array, signature: Uint8Array, signer: Address): boolean {
  return recoverAddress(digest, signature) === signer;
}
