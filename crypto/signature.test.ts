import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recoverAddress as ethersRecover, SigningKey, Wallet } from 'ethers';
import fc from 'fast-check';
import { concat, fromHex, toHex, toUint, uint256 } from './bytes.ts';
import { keccak256 } from './hash.ts';
import {
  addressOfPrivateKey,
  addressOfPublicKey,
  isPrivateKey,
  isSignedBy,
  publicKeyOf,
  recoverAddress,
  signDigest,
} from './signature.ts';

const key = (n: number) => keccak256(Uint8Array.of(n));
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

test('addresses and signatures are those of ethers', () => {
  for (let n = 0; n < 20; n += 1) {
    const digest = keccak256(Uint8Array.of(n, n));
    const wallet = new Wallet(toHex(key(n)));
    assert.equal(addressOfPrivateKey(key(n)), wallet.address.toLowerCase());
    assert.equal(toHex(publicKeyOf(key(n))), wallet.signingKey.compressedPublicKey);
    assert.equal(
      addressOfPublicKey(fromHex(wallet.signingKey.publicKey)),
      wallet.address.toLowerCase(),
    );
    const signature = signDigest(digest, key(n));
    assert.equal(toHex(signature), new SigningKey(key(n)).sign(digest).serialized);
    assert.equal(recoverAddress(digest, signature), wallet.address.toLowerCase());
    assert.equal(ethersRecover(digest, toHex(signature)), wallet.address);
  }
});

test('one changed bit is another signer or none', () => {
  const digest = keccak256(Uint8Array.of(1));
  const signature = signDigest(digest, key(1));
  const signer = addressOfPrivateKey(key(1));
  fc.assert(
    fc.property(fc.nat(65 * 8 - 1), (bit) => {
      const changed = signature.slice();
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.equal(isSignedBy(digest, changed, signer), false);
    }),
    { numRuns: 60 },
  );
  assert.equal(isSignedBy(keccak256(Uint8Array.of(2)), signature, signer), false);
});

test('high s, other v and other lengths are no signatures', () => {
  const digest = keccak256(Uint8Array.of(1));
  const signature = signDigest(digest, key(1));
  const highS = uint256(ORDER - toUint(signature.subarray(32, 64)));
  const twin = concat(
    signature.subarray(0, 32),
    highS,
    Uint8Array.of(signature[64] === 27 ? 28 : 27),
  );
  assert.equal(recoverAddress(digest, twin), null);
  for (const v of [0, 1, 26, 29, 255]) {
    assert.equal(recoverAddress(digest, concat(signature.subarray(0, 64), Uint8Array.of(v))), null);
  }
  assert.equal(recoverAddress(digest, signature.subarray(0, 64)), null);
  assert.equal(recoverAddress(digest, concat(signature, Uint8Array.of(0))), null);
  assert.equal(recoverAddress(digest.subarray(1), signature), null);
  const zero = concat(new Uint8Array(64), Uint8Array.of(27));
  assert.equal(recoverAddress(digest, zero), null);
  const beyond = concat(uint256(ORDER), signature.subarray(32));
  assert.equal(recoverAddress(digest, beyond), null);
});

test('private keys are 1 to the group order', () => {
  assert.equal(isPrivateKey(uint256(1)), true);
  assert.equal(isPrivateKey(uint256(0)), false);
  assert.equal(isPrivateKey(uint256(ORDER)), false);
  assert.equal(isPrivateKey(new Uint8Array(31)), false);
  assert.throws(() => signDigest(new Uint8Array(31), key(1)), RangeError);
});
