// One secp256k1 key is the libp2p peer id and the Ethereum address, so a signature on the wire and
// a signature on chain have one author. Signing goes through libsecp256k1 where it loads.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import type { PrivateKey, Secp256k1PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id';
import { computeAddress, hexlify } from 'ethers';
import { NetworkError } from './errors.ts';

const PRIVATE_KEY_BYTES = 32;
const ADDRESSES_CACHED_MAX = 4_096;

export type Identity = {
  /** libp2p peer id, `16Uiu2HA…`. */
  readonly peerId: string;
  /** Ethereum address with checksum. */
  readonly address: string;
  /** The 32 bytes both are derived from. */
  readonly privateKey: Uint8Array;
  /** Compressed public key, 33 bytes. */
  readonly publicKey: Uint8Array;
};

/**
 * The peer id and address of a private key.
 * @throws NetworkError NETWORK_KEY_INVALID unless the bytes are a secp256k1 private key.
 */
export function identityFromPrivateKey(privateKey: Uint8Array): Identity {
  const key = libp2pKey(privateKey);
  const publicKey = key.publicKey.raw;
  return {
    peerId: peerIdFromPrivateKey(key).toString(),
    address: computeAddress(hexlify(publicKey)),
    privateKey: Uint8Array.from(privateKey),
    publicKey,
  };
}

const addresses = new Map<string, string>();

/**
 * The Ethereum address of a peer. A secp256k1 peer id contains its public key, so this needs no
 * lookup; the way back needs the key itself.
 * @throws NetworkError NETWORK_PEER_ID_INVALID unless the id holds a secp256k1 key.
 */
export function addressOfPeer(peerId: string): string {
  const known = addresses.get(peerId);
  if (known !== undefined) return known;
  const address = deriveAddress(peerId);
  // Deriving costs an elliptic-curve decompression per message; ids come from strangers, so the
  // memory of them is bounded.
  if (addresses.size >= ADDRESSES_CACHED_MAX) addresses.clear();
  addresses.set(peerId, address);
  return address;
}

function deriveAddress(peerId: string): string {
  try {
    const { publicKey } = peerIdFromString(peerId);
    if (publicKey?.type === 'secp256k1') return computeAddress(hexlify(publicKey.raw));
  } catch (cause) {
    throw new NetworkError('NETWORK_PEER_ID_INVALID', { peerId }, notAPeer(peerId), cause);
  }
  throw new NetworkError('NETWORK_PEER_ID_INVALID', { peerId }, notAPeer(peerId));
}

function notAPeer(peerId: string): string {
  return `expected a peer id made of a secp256k1 key (16Uiu2HA…), got ${peerId}`;
}

/** The key in libp2p's own form; for this folder only. */
export function libp2pKey(privateKey: Uint8Array): Secp256k1PrivateKey {
  const lengthBytes = privateKey.length;
  const expected = `expected a secp256k1 private key of ${PRIVATE_KEY_BYTES} bytes`;
  if (lengthBytes === PRIVATE_KEY_BYTES) {
    try {
      const key: PrivateKey = privateKeyFromRaw(privateKey);
      if (key.type === 'secp256k1') return key;
    } catch (cause) {
      const message = `${expected}, got bytes outside the curve's order; create a new key`;
      throw new NetworkError('NETWORK_KEY_INVALID', { lengthBytes }, message, cause);
    }
  }
  throw new NetworkError(
    'NETWORK_KEY_INVALID',
    { lengthBytes },
    `${expected}, got ${lengthBytes} bytes; check the key file`,
  );
}

type Native = {
  ecdsaSign(digest: Uint8Array, key: Uint8Array): { signature: Uint8Array };
  ecdsaVerify(signature: Uint8Array, digest: Uint8Array, key: Uint8Array): boolean;
  signatureExport(signature: Uint8Array): Uint8Array;
  signatureImport(der: Uint8Array): Uint8Array;
};

type Message = Uint8Array | (Iterable<Uint8Array> & { subarray(): Uint8Array });
type Options = { signal?: AbortSignal };

let signing: 'native' | 'javascript' | undefined;

/**
 * Makes every secp256k1 key of this process sign and verify with libsecp256k1: 0.05 ms instead of
 * 0.86 and 1.84 ms, which is what bounds gossip (1,000 messages/s instead of 340). Signatures are
 * the same bytes, which a test asserts, because this reaches into @libp2p/crypto's classes. Where
 * the native module does not load, JavaScript stays.
 */
export function useNativeSecp256k1(): 'native' | 'javascript' {
  signing ??= patchPrototypes() ? 'native' : 'javascript';
  return signing;
}

function patchPrototypes(): boolean {
  const native = loadNative();
  if (native === undefined) return false;
  const sample = libp2pKey(new Uint8Array(PRIVATE_KEY_BYTES).fill(1));
  const privateKey = Object.getPrototypeOf(sample) as {
    sign(this: { raw: Uint8Array }, message: Message, options?: Options): Uint8Array;
  };
  const publicKey = Object.getPrototypeOf(sample.publicKey) as {
    verify(
      this: { raw: Uint8Array },
      message: Message,
      der: Uint8Array,
      options?: Options,
    ): boolean;
  };
  const before = sample.sign(new Uint8Array(1)) as Uint8Array;
  if (typeof privateKey.sign !== 'function' || typeof publicKey.verify !== 'function') return false;
  const sign = (digest: Uint8Array, key: Uint8Array) =>
    native.signatureExport(native.ecdsaSign(digest, key).signature);
  if (Buffer.compare(sign(sha256(new Uint8Array(1)), sample.raw), before) !== 0) return false;
  privateKey.sign = function (message, options) {
    options?.signal?.throwIfAborted();
    return sign(sha256(message), this.raw);
  };
  publicKey.verify = function (message, der, options) {
    options?.signal?.throwIfAborted();
    try {
      return native.ecdsaVerify(native.signatureImport(der), sha256(message), this.raw);
    } catch {
      // A signature that is not DER is a wrong signature, as it is in the JavaScript version.
      return false;
    }
  };
  return true;
}

function loadNative(): Native | undefined {
  try {
    // The package's main file falls back to a slow JavaScript version in silence; this one throws.
    return createRequire(import.meta.url)('secp256k1/bindings') as Native;
  } catch {
    return undefined;
  }
}

function sha256(message: Message): Uint8Array {
  const hash = createHash('sha256');
  if (message instanceof Uint8Array) hash.update(message);
  else for (const part of message) hash.update(part);
  return hash.digest();
}
