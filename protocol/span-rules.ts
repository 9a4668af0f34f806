/** Which spans a receipt may be paid for, checked from the bytes in its file. */
import { equal } from '#crypto';
import { type ReceiptInvalid, receiptFault } from './receipt-fault.ts';
import type { ReceiptFile } from './receipt-file.ts';
import { SPAN_CLUSTERS_MAX, SPAN_LENGTH_MIN, spansKept, spanWeight } from './spans.ts';

type FileSpan = ReceiptFile['spans'][number];
type FileRecord = ReceiptFile['records'][number];
/** A text in which a span lies wholly, and where it begins in the exchange. */
type Part = { readonly text: Uint8Array; readonly base: number };

/** Letters, digits, and every byte of a character outside ASCII. */
function isWordByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  if (byte >= 0x80) return true;
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a);
}

/** Whether text[from … to − 1] is one or more whole words with what stands between them. */
export function isWholeWords(text: Uint8Array, from: number, to: number): boolean {
  return (
    isWordByte(text[from]) &&
    !isWordByte(text[from - 1]) &&
    isWordByte(text[to - 1]) &&
    !isWordByte(text[to])
  );
}

/** Checks every span of a file; its records are known to be those that spans cite. */
export function checkSpans(file: ReceiptFile): ReceiptInvalid | null {
  const { receipt, spans } = file;
  if (spans.length !== receipt.spanCount) {
    const message = `expected ${spans.length}, got ${receipt.spanCount}`;
    return receiptFault('receipt.spanCount', 'COUNT_WRONG', message);
  }
  const groups = groupSpans(spans);
  const kept = spansKept(receipt.promptTokens + receipt.outputTokens);
  if (groups.length > kept) {
    const message = `expected at most ${kept} spans of so many tokens, got ${groups.length}`;
    return receiptFault('spans', 'SPAN_RULE', message);
  }
  const records = new Map(file.records.map((record) => [record.index, record]));
  let at = 0;
  let previous: FileSpan | null = null;
  for (const group of groups) {
    const [first] = group as readonly [FileSpan];
    if (previous !== null && !isAfter(previous, first)) {
      return receiptFault(`spans[${at}]`, 'ORDER_WRONG', 'expected both starts and ends to rise');
    }
    const invalid = checkGroup(file, group, records, at);
    if (invalid !== null) return invalid;
    previous = first;
    at += group.length;
  }
  return null;
}

/** Spans at one place of the exchange stand together. */
function groupSpans(spans: readonly FileSpan[]): readonly (readonly FileSpan[])[] {
  const groups: FileSpan[][] = [];
  for (const span of spans) {
    const last = groups.at(-1);
    if (last?.[0]?.exchangeOffset === span.exchangeOffset) last.push(span);
    else groups.push([span]);
  }
  return groups;
}

function isAfter(previous: FileSpan, next: FileSpan): boolean {
  return (
    next.exchangeOffset > previous.exchangeOffset &&
    next.exchangeOffset + next.length > previous.exchangeOffset + previous.length
  );
}

/** The leaves of one span: one for each cluster, all of one length and one weight. */
function checkGroup(
  file: ReceiptFile,
  group: readonly FileSpan[],
  records: ReadonlyMap<number, FileRecord>,
  first: number,
): ReceiptInvalid | null {
  const [lead] = group as readonly [FileSpan];
  if (lead.length < SPAN_LENGTH_MIN) {
    const message = `expected at least ${SPAN_LENGTH_MIN} bytes, got ${lead.length}`;
    return receiptFault(`spans[${first}].length`, 'SPAN_RULE', message);
  }
  if (group.length > SPAN_CLUSTERS_MAX) {
    const message = `expected at most ${SPAN_CLUSTERS_MAX} clusters, got ${group.length}`;
    return receiptFault(`spans[${first}]`, 'SPAN_RULE', message);
  }
  const part = partOf(file, lead);
  if (part === null) {
    const message = 'expected a place wholly in the prompt or in the output';
    return receiptFault(`spans[${first}].exchangeOffset`, 'SPAN_NOT_THERE', message);
  }
  const clusters = new Set<number>();
  let recordBefore = -1;
  for (const [i, span] of group.entries()) {
    const at = `spans[${first + i}]`;
    const record = records.get(span.recordIndex) as FileRecord;
    if (span.length !== lead.length || span.recordIndex <= recordBefore) {
      return receiptFault(at, 'ORDER_WRONG', 'expected one length and recordIndex ascending');
    }
    recordBefore = span.recordIndex;
    if (clusters.has(record.cluster)) {
      return receiptFault(at, 'CLUSTER_TWICE', `cluster ${record.cluster} came before`);
    }
    clusters.add(record.cluster);
    const invalid = checkPlace(span, part, record, at);
    if (invalid !== null) return invalid;
    const weight = spanWeight(lead.length, group.length);
    if (span.weight !== weight) {
      return receiptFault(`${at}.weight`, 'WEIGHT_WRONG', `expected ${weight}, got ${span.weight}`);
    }
  }
  return null;
}

function partOf({ prompt, output }: ReceiptFile, span: FileSpan): Part | null {
  const end = span.exchangeOffset + span.length;
  if (end <= prompt.length) return { text: prompt, base: 0 };
  const isInOutput = span.exchangeOffset >= prompt.length && end <= prompt.length + output.length;
  return isInOutput ? { text: output, base: prompt.length } : null;
}

function checkPlace(
  span: FileSpan,
  { text, base }: Part,
  record: FileRecord,
  at: string,
): ReceiptInvalid | null {
  const from = span.exchangeOffset - base;
  const there = record.bytes.subarray(span.recordOffset, span.recordOffset + span.length);
  if (!equal(text.subarray(from, from + span.length), there)) {
    const message = `not the bytes of record ${record.index} at ${span.recordOffset}`;
    return receiptFault(at, 'SPAN_NOT_THERE', message);
  }
  const isWhole =
    isWholeWords(text, from, from + span.length) &&
    isWholeWords(record.bytes, span.recordOffset, span.recordOffset + span.length);
  if (!isWhole) return receiptFault(at, 'SPAN_RULE', 'expected whole words on both sides');
  return null;
}
