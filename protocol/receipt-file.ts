/**
 * The receipt file: a receipt with everything needed to check it without a network. A dag-cbor list
 * of the magic text, the keccak256 of each field, and the fields in a fixed order, so that a damaged
 * file names its damaged field.
 */
import {
  type Address,
  type Bytes32,
  equal,
  keccak256,
  type MerkleTree,
  proveLeaf,
  SKETCH_SIZE,
  sketchBytes,
  sketchFromBytes,
} from '#crypto';
import type { AdapterAnchor, ReceiptRules, VersionAnchor } from './anchors.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import {
  address,
  bytes,
  type Codec,
  hash32,
  int,
  list,
  nullable,
  object,
  readWith,
  signature,
  uint,
  uint32,
  type ValueOf,
  wei,
} from './codec.ts';
import type { BuiltReceipt, Price } from './receipt.ts';
import { findDamage } from './receipt-damage.ts';
import { RECORD_BYTES_MAX } from './record.ts';
import { SCORE_LEAVES_MAX, type SketchLeaf } from './scores.ts';
import type { VersionTree } from './version.ts';

/** A long exchange with many spans in long records stays below this. */
export const RECEIPT_FILE_BYTES_MAX = 8 * 1024 * 1024;
/** Longest prompt or output, in bytes. */
export const EXCHANGE_BYTES_MAX = 1024 * 1024;
export const RECEIPT_FILE_MAGIC = 'openledger/receipt-file/2';
const SPAN_LEAVES_MAX = 65_536;
const SIBLINGS_MAX = 32;
/** |dot| ≤ 256 · 128²; a cosine in Q16 exceeds 2^16 only by the floor of a root. */
const DOT_MAX = SKETCH_SIZE * 128 * 128;
const SCORE_MAX = 1 << 24;

const sketch: Codec<Int8Array> = {
  read: (value, path) => sketchFromBytes(bytes({ length: SKETCH_SIZE }).read(value, path)),
  write: sketchBytes,
};
const siblings = list(bytes({ length: 32 }), SIBLINGS_MAX);
const ppm = uint(1_000_000);

const receipt = object({
  adapterId: hash32,
  client: address,
  computeWei: wei,
  feeWei: wei,
  issuedAt: uint(),
  outputHash: hash32,
  outputTokens: uint32,
  promptHash: hash32,
  promptTokens: uint32,
  provider: address,
  queryNorm: uint(),
  querySketchHash: hash32,
  requestId: hash32,
  scoreCount: uint32,
  scoreRoot: hash32,
  spanCount: uint32,
  spanRoot: hash32,
});
const adapter = object({
  adapterHash: hash32,
  adapterId: hash32,
  baseHash: hash32,
  datanetId: hash32,
  sketchCount: uint32,
  sketchRoot: hash32,
  version: uint32,
});
const score = object({
  amountWei: wei,
  cluster: uint32,
  contributor: address,
  dot: int(DOT_MAX),
  norm: uint32,
  recordHash: hash32,
  registeredAt: uint(),
  score: uint(SCORE_MAX),
  siblings,
  sketch,
  sketchIndex: uint32,
});
const span = object({
  amountWei: wei,
  exchangeOffset: uint32,
  length: uint32,
  recordIndex: uint32,
  recordOffset: uint32,
  weight: uint32,
});
const record = object({
  bytes: bytes({ max: RECORD_BYTES_MAX }),
  cluster: uint32,
  contributor: address,
  index: uint32,
  registeredAt: uint(),
  siblings,
});
const epochProof = object({
  epoch: uint32,
  index: uint32,
  receiptCount: uint32,
  receiptsRoot: hash32,
  siblings,
});

/** The fields in the order of the file. */
const FIELDS = {
  receipt,
  signature,
  domain: object({ chainId: uint(), referee: address }),
  prompt: bytes({ max: EXCHANGE_BYTES_MAX }),
  output: bytes({ max: EXCHANGE_BYTES_MAX }),
  price: object({ feeWeiPerToken: wei, outputWeiPerToken: wei, promptWeiPerToken: wei }),
  rules: object({
    dataPpm: ppm,
    denominator: uint32,
    learnedPpm: ppm,
    modelOwnerPpm: ppm,
    numerator: uint32,
    platformPpm: ppm,
    stakersPpm: ppm,
  }),
  adapter,
  datanet: object({ datanetId: hash32, recordCount: uint32, root: hash32, version: uint32 }),
  querySketch: sketch,
  scores: list(score, SCORE_LEAVES_MAX),
  spans: list(span, SPAN_LEAVES_MAX),
  records: list(record, SPAN_LEAVES_MAX),
  split: object({
    fallbackWei: wei,
    learnedWei: wei,
    memorisedWei: wei,
    modelOwnerWei: wei,
    platformWei: wei,
    stakersWei: wei,
  }),
  payouts: list(object({ account: address, amountWei: wei }), SPAN_LEAVES_MAX),
  epoch: nullable(epochProof),
};

export type ReceiptFileField = keyof typeof FIELDS;
/** The names of the fields, in order. */
export const RECEIPT_FILE_FIELDS = Object.keys(FIELDS) as readonly ReceiptFileField[];
/** What a receipt file holds. */
export type ReceiptFile = {
  readonly [Name in ReceiptFileField]: ValueOf<(typeof FIELDS)[Name]>;
};
/** Where a receipt stands under an anchored epoch's receiptsRoot. */
export type EpochProof = ValueOf<typeof epochProof>;

/** The canonical bytes of a receipt file. */
export function encodeReceiptFile(file: ReceiptFile): Uint8Array {
  const written = RECEIPT_FILE_FIELDS.map((name) =>
    (FIELDS[name] as Codec<unknown>).write(file[name]),
  );
  const digests = written.map((value) => keccak256(encodeCanonical(value)));
  return encodeCanonical([RECEIPT_FILE_MAGIC, digests, written]);
}

export type ReceiptFileFault = 'TOO_LARGE' | 'NON_CANONICAL' | 'WRONG_SHAPE' | 'FIELD_DAMAGED';
export type DecodedReceiptFile =
  | { readonly ok: true; readonly value: ReceiptFile }
  | {
      readonly ok: false;
      readonly field: string;
      readonly code: ReceiptFileFault;
      readonly message: string;
    };

function fault(field: string, code: ReceiptFileFault, message: string): DecodedReceiptFile {
  return { ok: false, field, code, message };
}

/** Reads a file's form: canonical, each field as digested, every value in its shape. Never throws. */
export function decodeReceiptFile(encoded: Uint8Array): DecodedReceiptFile {
  if (encoded.length > RECEIPT_FILE_BYTES_MAX) {
    const message = `expected at most ${RECEIPT_FILE_BYTES_MAX} bytes, got ${encoded.length}`;
    return fault('file', 'TOO_LARGE', message);
  }
  const decoded = decodeCanonical(encoded);
  if (decoded === null) {
    const field = findDamage(encoded, RECEIPT_FILE_MAGIC, RECEIPT_FILE_FIELDS);
    return fault(field, 'NON_CANONICAL', `expected canonical dag-cbor; ${field} is not`);
  }
  const parts = decoded.value;
  if (!Array.isArray(parts) || parts.length !== 3 || parts[0] !== RECEIPT_FILE_MAGIC) {
    return fault('file', 'WRONG_SHAPE', `expected a list of "${RECEIPT_FILE_MAGIC}" and two lists`);
  }
  const [, digests, written] = parts as readonly unknown[];
  if (!isListOf(digests) || !isListOf(written)) {
    const message = `expected ${RECEIPT_FILE_FIELDS.length} digests and as many fields`;
    return fault('file', 'WRONG_SHAPE', message);
  }
  const file: { [name: string]: unknown } = {};
  for (const [i, name] of RECEIPT_FILE_FIELDS.entries()) {
    const digest = digests[i];
    const found = keccak256(encodeCanonical(written[i]));
    if (!(digest instanceof Uint8Array) || !equal(digest, found)) {
      return fault(name, 'FIELD_DAMAGED', `expected ${name} to hash to its digest in the file`);
    }
    const read = readWith(FIELDS[name] as Codec<unknown>, written[i]);
    if (!read.ok) {
      return fault(read.at.replace('value', name), 'WRONG_SHAPE', read.message);
    }
    file[name] = read.value;
  }
  return { ok: true, value: file as ReceiptFile };
}

function isListOf(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length === RECEIPT_FILE_FIELDS.length;
}

/** Everything that goes into a file; trees and bytes are those of the adapter and its version. */
export type ReceiptFileParts = {
  readonly built: BuiltReceipt;
  readonly signature: Uint8Array;
  readonly domain: { readonly chainId: number; readonly referee: Address };
  readonly prompt: Uint8Array;
  readonly output: Uint8Array;
  readonly price: Price;
  readonly rules: ReceiptRules;
  readonly adapter: AdapterAnchor;
  readonly querySketch: Int8Array;
  readonly sketches: { readonly leaves: readonly SketchLeaf[]; readonly tree: MerkleTree };
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly records: VersionTree;
  /** The bytes of a record of the version. */
  readonly recordBytes: (recordIndex: number) => Uint8Array;
};

/** Puts a file together, without an epoch's proof; `encodeReceiptFile` gives its bytes. */
export function assembleReceiptFile(parts: ReceiptFileParts): ReceiptFile {
  const { built, sketches, records } = parts;
  const datanet: VersionAnchor = {
    datanetId: parts.datanetId,
    version: parts.version,
    root: records.root,
    recordCount: records.recordCount,
  };
  const cited = [...new Set(built.spans.map(({ recordIndex }) => recordIndex))];
  return {
    receipt: built.receipt,
    signature: parts.signature,
    domain: parts.domain,
    prompt: parts.prompt,
    output: parts.output,
    price: parts.price,
    rules: parts.rules,
    adapter: parts.adapter,
    datanet,
    querySketch: parts.querySketch,
    scores: built.scores.map((leaf) => ({
      ...(sketches.leaves[leaf.sketchIndex] as SketchLeaf),
      ...leaf,
      siblings: proveLeaf(sketches.tree, leaf.sketchIndex).siblings,
    })),
    spans: built.spans.map(({ contributor: _, ...leaf }) => leaf),
    records: cited
      .sort((a, b) => a - b)
      .map((index) => {
        const leaf = records.leaves[index];
        if (leaf === undefined) throw new RangeError(`expected a record at ${index}`);
        const { contributor, cluster, registeredAt } = leaf;
        const proof = proveLeaf(records.tree, index);
        const place = { index, contributor, cluster, registeredAt, siblings: proof.siblings };
        return { ...place, bytes: parts.recordBytes(index) };
      }),
    split: built.split,
    payouts: built.payouts,
    epoch: null,
  };
}

/** The same file with the proof to its epoch's root. */
export function withEpochProof(file: ReceiptFile, epoch: EpochProof): ReceiptFile {
  return { ...file, epoch };
}
