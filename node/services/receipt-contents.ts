/**
 * What receipts say, behind the hashes that an epoch lists: read from receipt files or from what
 * somebody showed on chain, and taken only if it is what the hash names and its provider signed.
 */
import { contractInterfaces } from '#contracts';
import { type Bytes32, fromHex, type Hex, type SigningDomain } from '#crypto';
import {
  decodeReceiptFile,
  isReceiptSigned,
  type Receipt,
  type ReceiptContent,
  receiptHash,
  type ScoreLeaf,
  type SpanLeaf,
  scoreLeafOf,
  scoreRoot,
  spanLeavesOf,
  spanRoot,
} from '#protocol';
import { plainValue } from './chain-port.ts';

/** A receipt with its leaves as the chain port reads it: integers above 64 bits as bigints. */
export type ShownDivision = {
  readonly receipt: Omit<Receipt, 'queryNorm'> & { readonly queryNorm: bigint };
  readonly signature: Hex;
  readonly scores: readonly (Pick<ScoreLeaf, 'recordHash' | 'contributor' | 'amountWei'> &
    Record<'sketchIndex' | 'dot' | 'score', bigint>)[];
  readonly spans: readonly (Pick<SpanLeaf, 'contributor' | 'amountWei'> &
    Record<'exchangeOffset' | 'length' | 'recordIndex' | 'recordOffset' | 'weight', bigint>)[];
};

/** The division that stands in a log or a call. */
export function contentOf({ receipt, signature, scores, spans }: ShownDivision): ReceiptContent {
  return {
    receipt: { ...receipt, queryNorm: Number(receipt.queryNorm) },
    signature: fromHex(signature),
    scores: scores.map(({ recordHash, contributor, amountWei, sketchIndex, dot, score }) => ({
      sketchIndex: Number(sketchIndex),
      recordHash,
      contributor,
      dot: Number(dot),
      score: Number(score),
      amountWei,
    })),
    spans: spans.map((span) => ({
      exchangeOffset: Number(span.exchangeOffset),
      length: Number(span.length),
      recordIndex: Number(span.recordIndex),
      recordOffset: Number(span.recordOffset),
      contributor: span.contributor,
      weight: Number(span.weight),
      amountWei: span.amountWei,
    })),
  };
}

/** Contents as they are shown for an ask; the contract has checked them. */
export function contentOfShown(encoded: Hex): ReceiptContent {
  const abi = contractInterfaces.PaymentDisputes;
  const fragment = abi.getFunction('present');
  const [division] = abi.decodeFunctionData('present', fragment?.selector + encoded.slice(2));
  const [input] = fragment?.inputs ?? [];
  if (input === undefined) throw new Error('PaymentDisputes.present takes a division');
  return contentOf(plainValue(input, division) as ShownDivision);
}

/** Contents out of a receipt file; null for bytes that are not the file of this receipt. */
export function contentOfFile(
  file: Uint8Array,
  hash: Bytes32,
  domain: SigningDomain,
): ReceiptContent | null {
  const decoded = decodeReceiptFile(file);
  if (!decoded.ok) return null;
  const { receipt, signature, scores } = decoded.value;
  const leaves = scores.map(scoreLeafOf);
  const spans = spanLeavesOf(decoded.value);
  const isSo =
    receiptHash(receipt) === hash &&
    scoreRoot(leaves) === receipt.scoreRoot &&
    spanRoot(receipt.requestId, spans) === receipt.spanRoot &&
    isReceiptSigned(domain, receipt, signature);
  return isSo ? { receipt, signature, scores: leaves, spans } : null;
}
