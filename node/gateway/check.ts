/**
 * Whether a receipt is worth a signature: it is for this question, at the price agreed, of the very
 * text that was shown, and every number in it follows from the bytes it encloses and from the chain.
 */
import { type Address, type Bytes32, equal, utf8 } from '#crypto';
import {
  decodeReceiptFile,
  NO_ADAPTER,
  type Price,
  type ReceiptCheck,
  type ReceiptFile,
  type TrustedAnchors,
  verifyReceiptFile,
} from '#protocol';
import type { Ask } from '../provider/exchange.ts';
import { baseAloneAnchors } from '../provider/seal.ts';
import type { CheckedReceipt } from './answer.ts';
import { AskFailure } from './asking.ts';
import type { Offer } from './routing.ts';

/**
 * all: scores and spans are recomputed too. payment: only what this client pays for; whose data is
 * paid is left to those who watch.
 */
export type CheckDepth = 'all' | 'payment';

export type CheckParts = {
  readonly client: Address;
  readonly baseHash: Bytes32;
  readonly depth: CheckDepth;
  /** What the chain says now about this adapter and the governed numbers. */
  readonly anchors: (adapterId: Ask['adapterId']) => Promise<TrustedAnchors>;
  readonly countTokens: ReceiptCheck['countTokens'];
  readonly nowMs: () => number;
};

/** A receipt may be dated so far from our clock. */
const CLOCK_DIFFERENCE_SECONDS_MAX = 600;
/** Faults in which only the division among contributors is at stake, not the client's money. */
const SCORE_FAULTS: readonly string[] = ['DOT_WRONG', 'SCORE_WRONG', 'BELOW_THRESHOLD'];

/** @throws AskFailure of kind `lied`, its code that of the first thing that does not hold. */
export async function checkReceipt(
  parts: CheckParts,
  offer: Offer,
  ask: Ask,
  output: string,
  receiptFile: Uint8Array,
): Promise<CheckedReceipt> {
  const anchors = withBaseAlone(await parts.anchors(ask.adapterId), parts.baseHash);
  const verdict = verifyReceiptFile(receiptFile, { anchors, countTokens: parts.countTokens });
  const file = verdict.valid ? verdict.file : toleratedFile(parts.depth, receiptFile, verdict);
  const { receipt } = file;
  const holds: readonly (readonly [code: string, holds: boolean])[] = [
    ['OTHER_REQUEST', receipt.requestId === ask.requestId],
    ['OTHER_CLIENT', receipt.client === parts.client],
    ['OTHER_PROVIDER', receipt.provider === offer.provider],
    ['OTHER_ADAPTER', receipt.adapterId === (ask.adapterId ?? NO_ADAPTER)],
    ['OTHER_PROMPT', equal(file.prompt, utf8(ask.prompt))],
    ['OTHER_OUTPUT', equal(file.output, utf8(output))],
    ['OTHER_PRICE', isSamePrice(file.price, offer.price)],
    [
      'OTHER_TIME',
      Math.abs(receipt.issuedAt - parts.nowMs() / 1000) <= CLOCK_DIFFERENCE_SECONDS_MAX,
    ],
  ];
  const failed = holds.find(([, each]) => !each);
  if (failed !== undefined)
    throw new AskFailure('lied', failed[0], `the receipt is not for this answer: ${failed[0]}`);
  return {
    promptTokens: receipt.promptTokens,
    outputTokens: receipt.outputTokens,
    computeWei: receipt.computeWei,
    feeWei: receipt.feeWei,
    verified: verdict.valid,
  };
}

/** The chain knows no adapter that is none; an answer of the base alone is trusted as such. */
export function withBaseAlone(anchors: TrustedAnchors, baseHash: Bytes32): TrustedAnchors {
  const { adapter, version } = baseAloneAnchors(baseHash);
  return {
    ...anchors,
    adapters: [...anchors.adapters, adapter],
    versions: [...anchors.versions, version],
  };
}

function toleratedFile(
  depth: CheckDepth,
  receiptFile: Uint8Array,
  {
    code,
    field,
    message,
  }: { readonly code: string; readonly field: string; readonly message: string },
): ReceiptFile {
  const decoded = decodeReceiptFile(receiptFile);
  // Scores are checked after trust, signature, exchange and price, so those hold here.
  if (depth === 'payment' && SCORE_FAULTS.includes(code) && decoded.ok) return decoded.value;
  throw new AskFailure('lied', code, `receipt, ${field}: ${message}`);
}

const isSamePrice = (left: Price, right: Price): boolean =>
  left.promptWeiPerToken === right.promptWeiPerToken &&
  left.outputWeiPerToken === right.outputWeiPerToken &&
  left.feeWeiPerToken === right.feeWeiPerToken;
