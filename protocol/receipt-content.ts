/**
 * What a receipt says behind its hash: all that an epoch pays it by, and whether an epoch may list it
 * (docs/protocol.md, section 5).
 */
import { toHex } from '#crypto';
import type { FeeRules } from './payouts.ts';
import { divideFee, type Receipt } from './receipt.ts';
import { SCORE_LEAVES_MAX, type ScoreLeaf } from './scores.ts';
import { SPAN_CLUSTERS_MAX, SPANS_MAX, type SpanLeaf } from './spans.ts';

/** A receipt with all that shows how it divides its fee. */
export type ReceiptContent = {
  readonly receipt: Receipt;
  readonly signature: Uint8Array;
  readonly scores: readonly ScoreLeaf[];
  readonly spans: readonly SpanLeaf[];
};

const UINT32_MAX = 2 ** 32 - 1;
/** Span leaves of one receipt: every span kept, in every cluster that counts. */
const SPAN_LEAVES_MAX = SPANS_MAX * SPAN_CLUSTERS_MAX;

/**
 * Whether an epoch may list a receipt by its size and numbers: all that an honest one can have, so that
 * every node can hold it and one transaction can show it; and not of the future, whose rules are not
 * known yet. The contract asks the same of what is presented or shown.
 * @param nowSeconds the chain's clock
 */
export function isListable(
  { receipt, scores, spans }: Pick<ReceiptContent, 'receipt' | 'scores' | 'spans'>,
  nowSeconds: number,
): boolean {
  const small = (...values: readonly number[]) =>
    values.every((value) => Number.isInteger(value) && value >= 0 && value <= UINT32_MAX);
  return (
    receipt.issuedAt <= nowSeconds &&
    small(receipt.queryNorm) &&
    scores.length <= SCORE_LEAVES_MAX &&
    scores.length === receipt.scoreCount &&
    spans.length <= SPAN_LEAVES_MAX &&
    spans.length === receipt.spanCount &&
    scores.every(({ dot, score, sketchIndex }) => {
      const isDot = Number.isInteger(dot) && dot >= -(2 ** 31) && dot < 2 ** 31;
      return isDot && small(score, sketchIndex);
    }) &&
    spans.every(({ exchangeOffset, length, recordIndex, recordOffset, weight }) =>
      small(exchangeOffset, length, recordIndex, recordOffset, weight),
    )
  );
}

/** A receipt with its leaves, as the contract takes them. */
export function divisionOf({ receipt, signature, scores, spans }: ReceiptContent) {
  const { requestId } = receipt;
  return {
    receipt,
    signature: toHex(signature),
    scores,
    spans: spans.map((span) => ({ ...span, requestId })),
  };
}

/** How a receipt divides its fee by rules that give its leaves' amounts; null by others. */
export function dividedBy({ receipt, scores, spans }: ReceiptContent, rules: FeeRules) {
  const right = divideFee(receipt.feeWei, rules, scores, spans);
  const isRight =
    right.scores.every(({ amountWei }, i) => amountWei === scores[i]?.amountWei) &&
    right.spans.every(({ amountWei }, i) => amountWei === spans[i]?.amountWei);
  return isRight ? right : null;
}
