/**
 * Canonical dag-cbor and content ids. What is decoded is encoded again and compared, so that one
 * object has exactly one encoding (docs/protocol.md, section 1).
 */
import * as dagCbor from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import * as digest from 'multiformats/hashes/digest';
import { type Bytes32, bytes32, equal, sha256, toHex } from '#crypto';

export type { CID };

/** Codec of objects: shards, manifests, receipt files. */
export const DAG_CBOR = 0x71;
/** Codec of plain bytes: checkpoints, adapters. */
export const RAW = 0x55;
const SHA2_256 = 0x12;

/** The canonical bytes of an object of the IPLD data model. @throws if it has no such encoding. */
export function encodeCanonical(value: unknown): Uint8Array {
  return plain(dagCbor.encode(value));
}

/** The same bytes as a plain array: the encoder may give a Buffer, whose slices are not copies. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/**
 * What the bytes stand for, or null if they are not the canonical encoding of anything: truncated,
 * longer than their object, with keys out of order, integers or lengths in a longer form, of
 * indefinite length, with tags other than links, with floats that are integers. Never throws.
 */
export function decodeCanonical(bytes: Uint8Array): { readonly value: unknown } | null {
  try {
    const value: unknown = dagCbor.decode(plain(bytes));
    return equal(dagCbor.encode(value), bytes) ? { value } : null;
  } catch {
    // The decoder refuses in many words what is one thing to us: not the form that we agreed on.
    return null;
  }
}

/** CIDv1, sha2-256. @param codec DAG_CBOR or RAW */
export function cidOf(bytes: Uint8Array, codec: number = DAG_CBOR): CID {
  return CID.createV1(codec, digest.create(SHA2_256, sha256(bytes)));
}

/** The CID of the 32 bytes that stand on chain. @param codec DAG_CBOR or RAW, known by context */
export function cidOfDigest(hash: Bytes32 | Uint8Array, codec: number = DAG_CBOR): CID {
  return CID.createV1(codec, digest.create(SHA2_256, bytes32(hash)));
}

/** The 32 bytes of a CID that go on chain. */
export function digestOfCid(cid: CID): Bytes32 {
  return toHex(cid.multihash.digest);
}

/** A CID from its text. @throws SyntaxError or Error if it is none. */
export function parseCid(text: string): CID {
  return CID.parse(text);
}

/** Whether a value is a CIDv1, sha2-256, of 32 bytes, with that codec. */
export function isCidOf(value: unknown, codec: number): value is CID {
  const cid = CID.asCID(value);
  return (
    cid !== null &&
    cid.version === 1 &&
    cid.code === codec &&
    cid.multihash.code === SHA2_256 &&
    cid.multihash.digest.length === 32
  );
}
