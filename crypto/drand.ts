/**
 * Rounds of drand as it publishes them (scheme bls-unchained-g1-rfc9380), checked and written as EIP-2537 writes points,
 * which is what contracts take.
 */
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { concat, toUint, uint256 } from './bytes.ts';
import { sha256 } from './hash.ts';

const { shortSignatures, G1, G2 } = bls12_381;
const DST = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_';
const FIELD_BYTES = 64;

/** A number of the field in 64 bytes, big-endian. */
const fieldBytes = (value: bigint): Uint8Array =>
  concat(uint256(value >> 256n), uint256(BigInt.asUintN(256, value)));

/**
 * The signature of a round as a point of G1; null when it is not that round's.
 * @param publicKey point of G2 as EIP-2537 writes it: x.c0, x.c1, y.c0, y.c1 in 64 bytes each
 * @param signature 48 bytes, compressed, as drand publishes it
 * @returns 128 bytes: x and y in 64 bytes each
 */
export function drandPoint(
  publicKey: Uint8Array,
  round: number,
  signature: Uint8Array,
): Uint8Array | null {
  const parts = [0, 1, 2, 3].map((i) =>
    toUint(publicKey.subarray(FIELD_BYTES * i, FIELD_BYTES * (i + 1))),
  ) as [bigint, bigint, bigint, bigint];
  const key = G2.Point.fromAffine({
    x: { c0: parts[0], c1: parts[1] },
    y: { c0: parts[2], c1: parts[3] },
  });
  try {
    const point = G1.Point.fromBytes(signature);
    point.assertValidity();
    const message = shortSignatures.hash(sha256(uint256(round).subarray(24)), DST);
    if (!shortSignatures.verify(point, message, key)) return null;
    const { x, y } = point.toAffine();
    return concat(fieldBytes(x), fieldBytes(y));
  } catch {
    // noble throws on what is no point of the group.
    return null;
  }
}
