/**
 * The bytes in which the evidence about one score leaf goes on chain (docs/protocol.md, section 6).
 * What the contract can compute is not in them; the other way, all of it is computed again here.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  climb,
  concat,
  dotProduct,
  fromHex,
  type Hex,
  int256,
  merkleDepth,
  parseAddress,
  parseBytes32,
  SKETCH_SIZE,
  sketchBytes,
  sketchFromBytes,
  squaredNorm,
  toHex,
  toUint,
  uint256,
} from '#crypto';
import { invariant } from './invariant.ts';
import { answerHash, hashSketch, type Receipt } from './receipt.ts';
import { type ScoreLeaf, type SketchLeaf, scoreLeafBytes } from './scores.ts';

/** What the Referee decides from. */
export type ScoreEvidence = {
  readonly receipt: Receipt;
  /** 65 bytes `r ‖ s ‖ v`. */
  readonly signature: Hex;
  /** The adapter's place in the order of registration. */
  readonly adapterIndex: number;
  readonly leaf: ScoreLeaf;
  readonly leafIndex: number;
  readonly leafProof: readonly Bytes32[];
  readonly querySketch: Int8Array;
  /** What the adapter was trained on, with its proof; null when the leaf names no record of it. */
  readonly record: { readonly leaf: SketchLeaf; readonly proof: readonly Bytes32[] } | null;
};

const OPEN = 1;
const PLAIN = 2;
/** s of a compact signature, without the parity of R in its top bit (EIP-2098). */
const S_MASK = (1n << 255n) - 1n;

/** Big-endian integer of so many bytes. @throws InvariantError when it does not fit */
function integer(value: number | bigint, bytes: number): Uint8Array {
  const word = uint256(value);
  invariant(
    BigInt(value) >> BigInt(8 * bytes) === 0n,
    `an integer of evidence fits ${bytes} bytes`,
  );
  return word.subarray(32 - bytes);
}

const fits = (value: number | bigint, bits: number): boolean =>
  BigInt(value) >> BigInt(bits) === 0n;

/** Whether the leaf differs from the truth in more than its score and amount, or has no short form. */
function needsWords({ receipt, leaf, record, querySketch }: ScoreEvidence): boolean {
  if (record === null) return true;
  return (
    leaf.recordHash !== record.leaf.recordHash ||
    leaf.contributor !== record.leaf.contributor ||
    leaf.dot !== dotProduct(querySketch, record.leaf.sketch) ||
    receipt.queryNorm !== squaredNorm(querySketch) ||
    !fits(leaf.score, 32) ||
    !fits(leaf.amountWei, 96) ||
    !fits(leaf.sketchIndex, 32)
  );
}

/**
 * Packs evidence.
 * @param answer shown in full, as a challenge needs it, or by its hash, which is enough for findScore
 */
export function packScoreEvidence(
  evidence: ScoreEvidence,
  answer: 'open' | 'hash' = 'open',
): Uint8Array {
  const { receipt, leaf, record, querySketch } = evidence;
  const isPlain = needsWords(evidence);
  const form = (answer === 'open' ? OPEN : 0) | (isPlain ? PLAIN : 0);
  return concat(
    Uint8Array.of(form),
    compactSignature(fromHex(evidence.signature)),
    answer === 'open' ? answerBytes(receipt) : bytes32(answerHash(receipt)),
    integer(evidence.adapterIndex, 4),
    integer(receipt.issuedAt, 8),
    integer(evidence.leafIndex, 4),
    integer(receipt.scoreCount, 4),
    integer(leaf.sketchIndex, isPlain ? 32 : 4),
    bytes32(leaf.recordHash),
    addressBytes(leaf.contributor),
    ...(isPlain
      ? [int256(leaf.dot), uint256(leaf.score), uint256(leaf.amountWei), uint256(receipt.queryNorm)]
      : [integer(leaf.score, 4), integer(leaf.amountWei, 12)]),
    ...evidence.leafProof.map((sibling) => bytes32(sibling)),
    sketchBytes(querySketch),
    ...(record === null ? [] : recordBytes(record, isPlain)),
  );
}

function recordBytes(
  { leaf, proof }: NonNullable<ScoreEvidence['record']>,
  isPlain: boolean,
): readonly Uint8Array[] {
  return [
    ...(isPlain ? [bytes32(leaf.recordHash), addressBytes(leaf.contributor)] : []),
    integer(leaf.cluster, 4),
    integer(leaf.registeredAt, 5),
    integer(leaf.norm, 4),
    sketchBytes(leaf.sketch),
    ...proof.map((sibling) => bytes32(sibling)),
  ];
}

/** Where a receipt stands in an anchored epoch; `count` is how many receipts the epoch has. */
export type ReceiptPlace = {
  readonly epoch: number;
  readonly index: number;
  readonly count: number;
  readonly siblings: readonly Uint8Array[];
};

/** What stands before the evidence that challengeAnchoredScore judges. */
export function packReceiptPlace({ epoch, index, count, siblings }: ReceiptPlace): Uint8Array {
  const numbers = [epoch, index, count].map((each) => integer(each, 4));
  return concat(...numbers, ...siblings);
}

/** The evidence behind a receipt's place; a place that is no place has none behind it. */
export function behindReceiptPlace(bytes: Uint8Array): Uint8Array {
  const reader = readerOf(bytes);
  const [, index, count] = [reader.number(4), reader.number(4), reader.number(4)] as const;
  return bytes.subarray(12 + (index < count ? 32 * merkleDepth(count) : 0));
}

const addressBytes = (address: Address): Uint8Array => addressWord(address).subarray(12);

function answerBytes(receipt: Receipt): Uint8Array {
  return concat(
    bytes32(receipt.requestId),
    addressBytes(receipt.client),
    addressBytes(receipt.provider),
    bytes32(receipt.promptHash),
    bytes32(receipt.outputHash),
    integer(receipt.promptTokens, 4),
    integer(receipt.outputTokens, 4),
    bytes32(receipt.spanRoot),
    integer(receipt.spanCount, 4),
    uint256(receipt.computeWei),
    uint256(receipt.feeWei),
  );
}

/** `r ‖ s` with the parity of R in the top bit of s: 64 bytes. */
function compactSignature(signature: Uint8Array): Uint8Array {
  const s = toUint(signature.subarray(32, 64)) | (BigInt((signature[64] as number) - 27) << 255n);
  return concat(signature.subarray(0, 32), uint256(s));
}

/** Why bytes are no evidence that challengeScore judges. */
export type EvidenceFault =
  | 'EVIDENCE_FORM'
  | 'EVIDENCE_ADAPTER'
  | 'EVIDENCE_LEAF_OUTSIDE'
  | 'EVIDENCE_LENGTH'
  | 'EVIDENCE_RANGE';
export type UnpackedEvidence =
  | { readonly ok: true; readonly value: ScoreEvidence }
  | { readonly ok: false; readonly code: EvidenceFault };

/**
 * Reads evidence with an open answer back, computing what it leaves out. Whether the signature is its
 * provider's, and the record's leaf one of the adapter's, is for the caller to check.
 * @param adapters all that are registered, in their order
 */
export function unpackScoreEvidence(
  bytes: Uint8Array,
  adapters: readonly { readonly adapterId: Bytes32; readonly sketchCount: number }[],
): UnpackedEvidence {
  const reader = readerOf(bytes);
  const form = reader.number(1);
  if (form !== OPEN && form !== (OPEN | PLAIN)) return { ok: false, code: 'EVIDENCE_FORM' };
  const isPlain = form !== OPEN;
  const signature = wideSignature(reader.take(64));
  const answer = {
    requestId: reader.hash(),
    client: reader.address(),
    provider: reader.address(),
    promptHash: reader.hash(),
    outputHash: reader.hash(),
    promptTokens: reader.number(4),
    outputTokens: reader.number(4),
    spanRoot: reader.hash(),
    spanCount: reader.number(4),
    computeWei: reader.big(32),
    feeWei: reader.big(32),
  };
  const adapterIndex = reader.number(4);
  const adapter = adapters[adapterIndex];
  if (adapter === undefined) return { ok: false, code: 'EVIDENCE_ADAPTER' };
  const issuedAt = reader.number(8);
  const leafIndex = reader.number(4);
  const scoreCount = reader.number(4);
  const sketchIndex = reader.number(isPlain ? 32 : 4);
  const recordHash = reader.hash();
  const contributor = reader.address();
  const signedDot = isPlain ? Number(BigInt.asIntN(256, reader.big(32))) : null;
  const score = reader.number(isPlain ? 32 : 4);
  const amountWei = reader.big(isPlain ? 32 : 12);
  const signedNorm = isPlain ? reader.number(32) : null;
  const isNamed = sketchIndex < adapter.sketchCount;
  if (!isNamed && !isPlain) return { ok: false, code: 'EVIDENCE_FORM' };
  if (leafIndex >= scoreCount) return { ok: false, code: 'EVIDENCE_LEAF_OUTSIDE' };
  const leafProof = reader.hashes(merkleDepth(scoreCount));
  const querySketch = sketchFromBytes(reader.take(SKETCH_SIZE));
  const record = isNamed
    ? recordOf(reader, isPlain ? null : { recordHash, contributor }, adapter.sketchCount)
    : null;
  if (!reader.isAtEnd()) return { ok: false, code: 'EVIDENCE_LENGTH' };
  const dot = signedDot ?? dotProduct(querySketch, (record as { leaf: SketchLeaf }).leaf.sketch);
  const queryNorm = signedNorm ?? squaredNorm(querySketch);
  // Numbers that no honest provider signs: the contract judges them, we cannot hold them.
  if (![issuedAt, sketchIndex, dot, score, queryNorm].every(Number.isSafeInteger))
    return { ok: false, code: 'EVIDENCE_RANGE' };
  const leaf = { sketchIndex, recordHash, contributor, dot, score, amountWei };
  const siblings = leafProof.map((sibling) => fromHex(sibling));
  const scoreRoot = climb(scoreLeafBytes(leaf), { index: leafIndex, count: scoreCount, siblings });
  const receipt: Receipt = {
    ...answer,
    adapterId: adapter.adapterId,
    querySketchHash: hashSketch(querySketch),
    queryNorm,
    scoreRoot: toHex(scoreRoot),
    scoreCount,
    issuedAt,
  };
  const value = {
    receipt,
    signature,
    adapterIndex,
    leaf,
    leafIndex,
    leafProof,
    querySketch,
    record,
  };
  return { ok: true, value };
}

function recordOf(
  reader: Reader,
  named: Pick<SketchLeaf, 'recordHash' | 'contributor'> | null,
  sketchCount: number,
): ScoreEvidence['record'] {
  const { recordHash, contributor } = named ?? {
    recordHash: reader.hash(),
    contributor: reader.address(),
  };
  const cluster = reader.number(4);
  const registeredAt = reader.number(5);
  const norm = reader.number(4);
  const sketch = sketchFromBytes(reader.take(SKETCH_SIZE));
  const proof = reader.hashes(merkleDepth(sketchCount));
  return { leaf: { recordHash, contributor, cluster, registeredAt, norm, sketch }, proof };
}

function wideSignature(compact: Uint8Array): Hex {
  const s = toUint(compact.subarray(32));
  const v = 27 + Number(s >> 255n);
  return toHex(concat(compact.subarray(0, 32), uint256(s & S_MASK), Uint8Array.of(v)));
}

type Reader = ReturnType<typeof readerOf>;

/** Takes fields in their order; beyond the end are zeros, as in calldata. */
function readerOf(bytes: Uint8Array) {
  let taken = 0;
  const take = (length: number): Uint8Array => {
    const part = new Uint8Array(length);
    part.set(bytes.subarray(taken, taken + length));
    taken += length;
    return part;
  };
  const hash = (): Bytes32 => parseBytes32(toHex(take(32)));
  return {
    take,
    hash,
    hashes: (count: number) => Array.from({ length: count }, hash),
    address: () => parseAddress(toHex(take(20))),
    big: (length: number) => toUint(take(length)),
    number: (length: number) => Number(toUint(take(length))),
    isAtEnd: () => taken === bytes.length,
  };
}
