/**
 * The receipt: a provider's signed account of one answer, and how it is built from an answer's parts
 * (docs/protocol.md, section 4).
 */
import {
  type Address,
  type Bytes32,
  isSignedBy,
  keccak256,
  type SigningDomain,
  type StructType,
  signDigest,
  sketchBytes,
  squaredNorm,
  structHash,
  toHex,
  typedDigest,
} from '#crypto';
import {
  dividePool,
  type FeeRules,
  type FeeSplit,
  type Payout,
  splitFee,
  sumPayouts,
} from './payouts.ts';
import { type Score, type ScoreLeaf, scoreRoot } from './scores.ts';
import { type Span, type SpanLeaf, spanRoot } from './spans.ts';

/** What a provider signs. Counts are tokens, `issuedAt` is in seconds. */
export type Receipt = {
  readonly requestId: Bytes32;
  readonly client: Address;
  readonly provider: Address;
  readonly adapterId: Bytes32;
  readonly promptHash: Bytes32;
  readonly outputHash: Bytes32;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly querySketchHash: Bytes32;
  readonly queryNorm: number;
  readonly scoreRoot: Bytes32;
  readonly scoreCount: number;
  readonly spanRoot: Bytes32;
  readonly spanCount: number;
  readonly computeWei: bigint;
  readonly feeWei: bigint;
  readonly issuedAt: number;
};

const ANSWER_TYPE: StructType = {
  name: 'Answer',
  fields: [
    ['requestId', 'bytes32'],
    ['client', 'address'],
    ['provider', 'address'],
    ['promptHash', 'bytes32'],
    ['outputHash', 'bytes32'],
    ['promptTokens', 'uint32'],
    ['outputTokens', 'uint32'],
    ['spanRoot', 'bytes32'],
    ['spanCount', 'uint32'],
    ['computeWei', 'uint256'],
    ['feeWei', 'uint256'],
  ],
};
/** What a verdict on a score does not need stands in a struct of its own, of which it is shown the hash. */
export const RECEIPT_TYPE: StructType = {
  name: 'Receipt',
  fields: [
    ['adapterId', 'bytes32'],
    ['querySketchHash', 'bytes32'],
    ['queryNorm', 'uint256'],
    ['scoreRoot', 'bytes32'],
    ['scoreCount', 'uint32'],
    ['issuedAt', 'uint64'],
    ['answer', ANSWER_TYPE],
  ],
};

const structHashOf = (receipt: Receipt): Uint8Array =>
  structHash(RECEIPT_TYPE, { ...receipt, answer: receipt });

/** The struct hash of a receipt's answer. */
export function answerHash(receipt: Receipt): Bytes32 {
  return toHex(structHash(ANSWER_TYPE, receipt));
}

/** The provider's price for a token of prompt and of output, and the network's fee for either. */
export type Price = {
  readonly promptWeiPerToken: bigint;
  readonly outputWeiPerToken: bigint;
  readonly feeWeiPerToken: bigint;
};

/** What an answer of so many tokens costs. */
export function priceOf(
  price: Price,
  promptTokens: number,
  outputTokens: number,
): { readonly computeWei: bigint; readonly feeWei: bigint } {
  const [prompt, output] = [BigInt(promptTokens), BigInt(outputTokens)];
  return {
    computeWei: price.promptWeiPerToken * prompt + price.outputWeiPerToken * output,
    feeWei: price.feeWeiPerToken * (prompt + output),
  };
}

/** The receipt's struct hash: the leaf under an epoch's receiptsRoot. */
export function receiptHash(receipt: Receipt): Bytes32 {
  return toHex(structHashOf(receipt));
}

/** The digest that the provider signs. @param domain verifyingContract = Referee */
export function receiptDigest(domain: SigningDomain, receipt: Receipt): Uint8Array {
  return typedDigest(domain, structHashOf(receipt));
}

/** Signs a receipt with the provider's key. */
export function signReceipt(
  domain: SigningDomain,
  receipt: Receipt,
  privateKey: Uint8Array,
): Uint8Array {
  return signDigest(receiptDigest(domain, receipt), privateKey);
}

/** Whether the receipt's own provider signed it. */
export function isReceiptSigned(
  domain: SigningDomain,
  receipt: Receipt,
  signature: Uint8Array,
): boolean {
  return isSignedBy(receiptDigest(domain, receipt), signature, receipt.provider);
}

/** `keccak256` of the 256 sketch bytes. */
export function hashSketch(sketch: Int8Array): Bytes32 {
  return toHex(keccak256(sketchBytes(sketch)));
}

/** Everything that an answer is, before anything is computed from it. */
export type AnswerParts = {
  readonly requestId: Bytes32;
  readonly client: Address;
  readonly provider: Address;
  readonly adapterId: Bytes32;
  /** UTF-8 bytes of what the model read, template included, and of what it wrote. */
  readonly prompt: Uint8Array;
  readonly output: Uint8Array;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly querySketch: Int8Array;
  readonly scores: readonly Score[];
  readonly spans: readonly Span[];
  readonly price: Price;
  readonly rules: FeeRules;
  readonly issuedAt: number;
};

/** A receipt, and the leaves and the division that it commits to. */
export type BuiltReceipt = {
  readonly receipt: Receipt;
  readonly scores: readonly ScoreLeaf[];
  readonly spans: readonly SpanLeaf[];
  readonly split: FeeSplit;
  /** The contributors' sums, by account. */
  readonly payouts: readonly Payout[];
};

/** The division of a fee over scores and spans: amounts in leaves, and the split they come from. */
export function divideFee(
  feeWei: bigint,
  rules: FeeRules,
  scores: readonly Score[],
  spans: readonly Span[],
): Omit<BuiltReceipt, 'receipt'> {
  const scoreWeights = scores.map(({ score }) => BigInt(score));
  const spanWeights = spans.map(({ weight }) => BigInt(weight));
  const sum = (weights: readonly bigint[]) => weights.reduce((total, weight) => total + weight, 0n);
  const split = splitFee(feeWei, rules, sum(scoreWeights), sum(spanWeights));
  const learned = dividePool(split.learnedWei, scoreWeights);
  const memorised = dividePool(split.memorisedWei, spanWeights);
  const scoreLeaves = scores.map((score, i) => ({ ...score, amountWei: learned[i] as bigint }));
  const spanLeaves = spans.map((span, i) => ({ ...span, amountWei: memorised[i] as bigint }));
  const payouts = sumPayouts(
    [...scoreLeaves, ...spanLeaves].map(({ contributor, amountWei }) => ({
      account: contributor,
      amountWei,
    })),
  );
  return { scores: scoreLeaves, spans: spanLeaves, split, payouts };
}

/** Builds the receipt of an answer. The same parts give the same receipt, to the byte. */
export function buildReceipt(parts: AnswerParts): BuiltReceipt {
  const { requestId, promptTokens, outputTokens } = parts;
  const { computeWei, feeWei } = priceOf(parts.price, promptTokens, outputTokens);
  const divided = divideFee(feeWei, parts.rules, parts.scores, parts.spans);
  const receipt: Receipt = {
    requestId,
    client: parts.client,
    provider: parts.provider,
    adapterId: parts.adapterId,
    promptHash: toHex(keccak256(parts.prompt)),
    outputHash: toHex(keccak256(parts.output)),
    promptTokens,
    outputTokens,
    querySketchHash: hashSketch(parts.querySketch),
    queryNorm: squaredNorm(parts.querySketch),
    scoreRoot: scoreRoot(divided.scores),
    scoreCount: divided.scores.length,
    spanRoot: spanRoot(requestId, divided.spans),
    spanCount: divided.spans.length,
    computeWei,
    feeWei,
    issuedAt: parts.issuedAt,
  };
  return { receipt, ...divided };
}
