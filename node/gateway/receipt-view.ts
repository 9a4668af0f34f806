/** A receipt file as JSON for people: who was paid what, for which record and which span, and why. */
import { toHex } from '#crypto';
import { type ReceiptFile, receiptHash } from '#protocol';

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const COSINE_ONE = 65_536;

/** Amounts are decimal text in wei; scores are cosines in Q16 with their fraction beside them. */
export function receiptView(file: ReceiptFile): Record<string, unknown> {
  const { receipt, scores, spans, records } = file;
  const exchange = Buffer.concat([file.prompt, file.output]);
  const byIndex = new Map(records.map((record) => [record.index, record]));
  return {
    receiptHash: receiptHash(receipt),
    signature: toHex(file.signature),
    domain: file.domain,
    ...plain(receipt),
    prompt: textOf(file.prompt),
    output: textOf(file.output),
    price: plain(file.price),
    rules: file.rules,
    adapter: file.adapter,
    datanet: file.datanet,
    split: plain(file.split),
    payouts: file.payouts.map(plain),
    topContributors: topContributors(file),
    scores: scores.map(({ siblings: _siblings, sketch: _sketch, ...score }) => ({
      ...plain(score),
      cosine: score.score / COSINE_ONE,
    })),
    spans: spans.map((span) => {
      const record = byIndex.get(span.recordIndex);
      const end = span.exchangeOffset + span.length;
      return {
        ...plain(span),
        text: textOf(exchange.subarray(span.exchangeOffset, end)),
        isInPrompt: end <= file.prompt.length,
        contributor: record?.contributor,
        document: record === undefined ? null : textOf(record.bytes),
      };
    }),
    epoch: file.epoch === null ? null : { epoch: file.epoch.epoch, index: file.epoch.index },
  };
}

/** Contributors by what this answer pays them, with their parts of all that contributors get. */
function topContributors({ payouts, scores }: ReceiptFile): readonly Record<string, unknown>[] {
  const totalWei = payouts.reduce((sum, { amountWei }) => sum + amountWei, 0n);
  // Of equals the lower account stays first: payouts come in that order, and the sort keeps it.
  return [...payouts]
    .sort((left, right) => Number(right.amountWei - left.amountWei))
    .map(({ account, amountWei }) => ({
      contributor: account,
      amountWei: `${amountWei}`,
      sharePpm: totalWei === 0n ? 0 : Number((amountWei * 1_000_000n) / totalWei),
      bestScore: Math.max(
        0,
        ...scores.filter(({ contributor }) => contributor === account).map(({ score }) => score),
      ),
    }));
}

const plain = (value: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      typeof each === 'bigint' ? `${each}` : each,
    ]),
  );
