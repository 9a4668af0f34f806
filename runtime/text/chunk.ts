/**
 * Cuts documents into records: whole paragraphs where they fit, else whole sentences, of a size that
 * one training step reads at once. Deterministic, and free of locale: every node cuts alike.
 */

/** Sizes in UTF-8 bytes: nothing shorter than `bytesMin` or longer than `bytesMax` is a record. */
export type ChunkSizes = {
  readonly bytesMin: number;
  /** A record that has reached this size ends at the next paragraph. */
  readonly bytesTarget: number;
  readonly bytesMax: number;
};

/** For documentation: seldom above 110 tokens, at least a sentence that says something. */
export const DOCUMENTATION_CHUNKS: ChunkSizes = { bytesMin: 100, bytesTarget: 100, bytesMax: 300 };

/** For a person's own file: even one short sentence is a record, because it is all they wrote. */
export const PERSONAL_CHUNKS: ChunkSizes = { bytesMin: 1, bytesTarget: 100, bytesMax: 300 };

/** The most that docs/protocol.md §2 allows a record to hold. */
const RECORD_BYTES_MAX = 4096;
/** Tags that Markdown files carry for looks. Others, such as `Array<string>`, are text. */
const LOOKS_TAG =
  /<\/?(a|b|i|p|br|em|strong|code|kbd|sub|sup|img|div|span|details|summary|h[1-6]|li|ul|ol|table|tr|td|th|tbody|thead|hr|center|picture|source)(\s[^<>]*)?\/?>/gi;
const LIST_ITEM = /^\s*([-*+]|\d+[.)])\s+/;
const SENTENCE_END = /([.!?:]["')\]`*]*)\s+(?=[`"'([*]*[\p{Lu}\p{Lo}\p{N}`])/gu;

type Block = { readonly type: 'heading' | 'prose'; readonly text: string };

/**
 * The records of one document, in reading order. Code blocks, tables, and lumps that are mostly
 * code, numbers or links are left out.
 *
 * @param text a document, Markdown or plain
 */
export function chunkText(text: string, sizes: ChunkSizes = DOCUMENTATION_CHUNKS): string[] {
  const records: string[] = [];
  let pending = '';
  let heading = '';
  const flush = (): void => {
    if (byteLength(pending) >= sizes.bytesMin && isProse(pending)) records.push(pending);
    pending = '';
  };
  for (const block of blocksOf(toRecordText(text))) {
    if (block.type === 'heading') {
      if (byteLength(pending) >= sizes.bytesMin) flush();
      heading = block.text;
      continue;
    }
    const titled = heading === '' ? block.text : `${heading}\n${block.text}`;
    heading = '';
    for (const piece of piecesOf(titled, sizes.bytesMax)) {
      if (pending !== '' && byteLength(pending) + 1 + byteLength(piece) > sizes.bytesMax) flush();
      pending = pending === '' ? piece : `${pending}\n${piece}`;
      if (byteLength(pending) >= sizes.bytesTarget) flush();
    }
  }
  flush();
  return records;
}

/** Text as a record may hold it: NFC, no NUL or other control characters but newlines. */
export function toRecordText(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/[\u2028\u2029\u0085]/g, '\n')
    .replace(/\t/g, '  ')
    .replace(/[\p{Cc}\p{Cs}]/gu, (char) => (char === '\n' ? char : ''))
    .normalize('NFC');
}

/** Whether the bytes are a record: 1 to 4,096 bytes of UTF-8 in NFC without NUL. */
export function isRecord(bytes: Uint8Array): boolean {
  if (bytes.length === 0 || bytes.length > RECORD_BYTES_MAX || bytes.includes(0)) return false;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return text === text.normalize('NFC');
  } catch {
    return false; // Not UTF-8.
  }
}

/** The paragraphs and headings of a document; code blocks and tables are left out. */
function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let lines: string[] = [];
  const close = (): void => {
    const prose = lines.join('\n').trim();
    if (prose !== '') blocks.push({ type: 'prose', text: prose });
    lines = [];
  };
  let fenced = false;
  for (const raw of text.split('\n')) {
    if (/^\s*(```|~~~)/.test(raw)) {
      fenced = !fenced;
      close();
      continue;
    }
    const line = raw
      .replace(LOOKS_TAG, '')
      .replace(/ {2,}/g, (run) => (raw.startsWith(run) ? run : ' '));
    if (fenced || isTableRow(line)) continue;
    const title = /^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$/.exec(line)?.[1];
    if (title !== undefined) {
      close();
      blocks.push({ type: 'heading', text: title });
    } else if (/^\s*(={3,}|-{3,}|\*{3,}|_{3,})\s*$/.test(line)) {
      underline(lines, blocks);
      close();
    } else if (line.trim() === '') close();
    else if (!(lines.length === 0 && /^( {4,}|\t)/.test(line) && !LIST_ITEM.test(line))) {
      addLine(lines, line);
    }
  }
  close();
  return blocks;
}

/** A line of dashes below one line makes it a heading; below a paragraph it is a rule. */
function underline(lines: string[], blocks: Block[]): void {
  const only = lines[0];
  if (only === undefined || lines.length !== 1) return;
  lines.length = 0;
  blocks.push({ type: 'heading', text: only });
}

/** Wrapped lines are joined, so that a span can run over the wrap; list items keep their own line. */
function addLine(lines: string[], line: string): void {
  const last = lines.at(-1);
  if (last === undefined || LIST_ITEM.test(line)) lines.push(line.trim());
  else lines[lines.length - 1] = `${last} ${line.trim()}`;
}

function isTableRow(line: string): boolean {
  return /^\s*\|/.test(line) || /^[\s|:-]+\|[\s|:-]*$/.test(line);
}

/** Cuts a paragraph into pieces of at most `bytesMax`: list items, then sentences, then words. */
function piecesOf(paragraph: string, bytesMax: number): string[] {
  if (byteLength(paragraph) <= bytesMax) return [paragraph];
  const cuts: { glue: string; cut: (text: string) => string[] }[] = [
    { glue: '\n', cut: (text) => text.split('\n') },
    { glue: ' ', cut: sentencesOf },
    { glue: ' ', cut: (text) => text.split(/\s+/) },
    { glue: '', cut: (text) => Array.from(text) },
  ];
  let pieces = [paragraph];
  for (const { glue, cut } of cuts) {
    pieces = pieces.flatMap((piece) =>
      byteLength(piece) <= bytesMax ? [piece] : joinUpTo(cut(piece), glue, bytesMax),
    );
  }
  return pieces.map((piece) => piece.trim()).filter((piece) => piece !== '');
}

/** Joins neighbours while they fit; what does not fit alone is left for the next, finer cut. */
function joinUpTo(parts: readonly string[], glue: string, bytesMax: number): string[] {
  const joined: string[] = [];
  let current = '';
  for (const part of parts) {
    const next = current === '' ? part : `${current}${glue}${part}`;
    if (current !== '' && byteLength(next) > bytesMax) {
      joined.push(current);
      current = part;
    } else current = next;
  }
  if (current !== '') joined.push(current);
  return joined;
}

/** The sentences of a paragraph, trimmed. A full stop inside `a.b` or before a small letter is none. */
export function sentencesOf(paragraph: string): string[] {
  return paragraph
    .replace(SENTENCE_END, '$1\u0000')
    .split('\u0000')
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== '');
}

/** Whether a text is mostly words: code, tables of numbers and lists of links are not. */
export function isProse(text: string): boolean {
  const plain = text.replace(/\b[a-z]+:\/\/\S+/gi, '');
  const chars = Array.from(plain).length;
  if (chars * 2 < Array.from(text).length) return false;
  const letters = plain.match(/[\p{L}\p{M}]/gu)?.length ?? 0;
  const spaces = plain.match(/\s/g)?.length ?? 0;
  const codeMarks = plain.match(/[{}()[\];=<>|&$\\]/g)?.length ?? 0;
  return (letters + spaces) * 100 >= chars * 78 && codeMarks * 100 <= chars * 7;
}

const encoder = new TextEncoder();

function byteLength(text: string): number {
  return encoder.encode(text).length;
}
