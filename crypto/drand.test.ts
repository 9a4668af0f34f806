// drand's rounds: one that quicknet published, rounds of a key of ours, and what is none of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { drandPoint, fromHex, sha256, toHex, uint256 } from './index.ts';

/** quicknet's key as DrandBeacon has it, and a round that it published. */
const QUICKNET = fromHex(
  '0x000000000000000000000000000000000d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a' +
    '0000000000000000000000000000000003cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451' +
    '000000000000000000000000000000000e5db2b6bfbb01c867749cadffca88b36c24f3012ba09fc4d3022c5c37dce0f977d3adb5d183c7477c442b1f04515273' +
    '0000000000000000000000000000000001a714f2edb74119a2f2b0d5a7c75ba902d163700a61bc224ededd8e63aef7be1aaf8e93d7a9718b047ccddb3eb5d68b',
);
const PUBLISHED = fromHex(
  '0xb44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
);

test("a published round is the network's signature, and its point compresses to the same bytes", () => {
  const point = drandPoint(QUICKNET, 1_000, PUBLISHED);
  assert.ok(point !== null);
  assert.equal(point.length, 128);
  const { x, y } = bls12_381.G1.Point.fromBytes(PUBLISHED).toAffine();
  assert.equal(BigInt(toHex(point.subarray(0, 64))), x);
  assert.equal(BigInt(toHex(point.subarray(64))), y);
  assert.equal(
    toHex(sha256(PUBLISHED)),
    '0xfe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd',
  );
});

test('another round, another key, a damaged or negated signature, and no point at all are refused', () => {
  assert.equal(drandPoint(QUICKNET, 1_001, PUBLISHED), null);
  for (const at of [0, 1, 20, 47]) {
    const damaged = Uint8Array.from(PUBLISHED);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    assert.equal(drandPoint(QUICKNET, 1_000, damaged), null);
  }
  const negated = Uint8Array.from(PUBLISHED);
  negated[0] = (negated[0] ?? 0) ^ 0x20;
  assert.equal(drandPoint(QUICKNET, 1_000, negated), null);
  for (const bytes of [new Uint8Array(0), new Uint8Array(48), new Uint8Array(96).fill(255)])
    assert.equal(drandPoint(QUICKNET, 1_000, bytes), null);
  // The point at infinity, well encoded.
  const infinity = new Uint8Array(48);
  infinity[0] = 0xc0;
  assert.equal(drandPoint(QUICKNET, 1_000, infinity), null);
  const { shortSignatures } = bls12_381;
  const { secretKey } = shortSignatures.keygen(new Uint8Array(48).fill(7));
  const message = shortSignatures.hash(
    sha256(uint256(1_000).subarray(24)),
    'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_',
  );
  const own = shortSignatures.Signature.toBytes(shortSignatures.sign(message, secretKey));
  assert.equal(drandPoint(QUICKNET, 1_000, own), null);
});
