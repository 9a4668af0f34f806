// One key, two names: the peer id and the Ethereum address agree with ethers, and native signing
// gives the bytes of the JavaScript version.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { privateKeyFromRaw, publicKeyFromRaw } from '@libp2p/crypto/keys';
import { peerIdFromPublicKey } from '@libp2p/peer-id';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hexlify, SigningKey, Wallet } from 'ethers';
import fc from 'fast-check';
import { isNetworkError } from './errors.ts';
import { addressOfPeer, identityFromPrivateKey, useNativeSecp256k1 } from './key.ts';

const privateKeys = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .filter((bytes) => secp256k1.utils.isValidSecretKey(bytes));

test('a key, its peer id and its address agree with ethers in both directions', () => {
  fc.assert(
    fc.property(privateKeys, (privateKey) => {
      const identity = identityFromPrivateKey(privateKey);
      const wallet = new Wallet(hexlify(privateKey));
      assert.equal(identity.address, wallet.address);
      assert.equal(addressOfPeer(identity.peerId), wallet.address);
      const digest = `0x${'11'.repeat(32)}`;
      const recovered = SigningKey.recoverPublicKey(digest, wallet.signingKey.sign(digest));
      const compressed = Buffer.from(SigningKey.computePublicKey(recovered, true).slice(2), 'hex');
      assert.equal(peerIdFromPublicKey(publicKeyFromRaw(compressed)).toString(), identity.peerId);
    }),
    { numRuns: 30 },
  );
});

test('native signatures are the same bytes, and each verifies the other', () => {
  assert.equal(useNativeSecp256k1(), 'native', 'this platform has no prebuilt libsecp256k1');
  fc.assert(
    fc.property(privateKeys, fc.uint8Array({ maxLength: 500 }), (privateKey, message) => {
      const key = privateKeyFromRaw(privateKey);
      const native = key.sign(message) as Uint8Array;
      const digest = createHash('sha256').update(message).digest();
      const options = { prehash: false, format: 'der' } as const;
      const javascript = secp256k1.sign(digest, privateKey, options);
      assert.deepEqual(Buffer.from(native), Buffer.from(javascript));
      assert.equal(key.publicKey.verify(message, javascript), true);
    }),
    { numRuns: 200 },
  );
});

test('native verification refuses what the JavaScript version refuses', () => {
  useNativeSecp256k1();
  const key = privateKeyFromRaw(new Uint8Array(32).fill(5));
  const message = new Uint8Array([1, 2, 3]);
  const good = key.sign(message) as Uint8Array;
  const digest = createHash('sha256').update(message).digest();
  const inJavascript = (der: Uint8Array) => {
    try {
      const options = { prehash: false, format: 'der' } as const;
      return secp256k1.verify(der, digest, key.publicKey.raw, options);
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bad = Uint8Array.from(good);
      bad[at] = bad[at]! ^ change;
      assert.equal(key.publicKey.verify(message, bad), inJavascript(bad));
      assert.equal(key.publicKey.verify(message, bad), false);
    }),
  );
  assert.equal(key.publicKey.verify(message, new Uint8Array()), false);
  assert.equal(key.publicKey.verify(new Uint8Array([9]), good), false);
});

test('a signature with the high half of s is refused, as by the JavaScript version', () => {
  useNativeSecp256k1();
  const key = privateKeyFromRaw(new Uint8Array(32).fill(6));
  const message = new Uint8Array([4]);
  const low = secp256k1.Signature.fromBytes(key.sign(message) as Uint8Array, 'der');
  const high = new secp256k1.Signature(low.r, secp256k1.Point.Fn.ORDER - low.s).toBytes('der');
  assert.equal(key.publicKey.verify(message, high), false);
});

test('NETWORK_KEY_INVALID', () => {
  for (const bytes of [new Uint8Array(31), new Uint8Array(32), new Uint8Array(32).fill(255)]) {
    assert.throws(
      () => identityFromPrivateKey(bytes),
      (error) => isNetworkError(error, 'NETWORK_KEY_INVALID'),
    );
  }
});

test('NETWORK_PEER_ID_INVALID', () => {
  const ed25519 = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN';
  for (const peerId of ['', 'nonsense', ed25519]) {
    assert.throws(
      () => addressOfPeer(peerId),
      (error) => isNetworkError(error, 'NETWORK_PEER_ID_INVALID'),
    );
  }
});
