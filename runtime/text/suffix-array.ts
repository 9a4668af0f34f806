/**
 * Suffix arrays over bytes: linear construction (SA-IS), a linear checker, and the text index of a
 * datanet version that finds where any bytes occur in its records.
 */

/** No UTF-8 text contains this byte, so no match runs from one record into the next. */
export const SEPARATOR = 0xff;

/**
 * The suffix array of a text: the starts of all suffixes in byte order, where a suffix that is a
 * prefix of another comes first. Linear time by induced sorting (Nong, Zhang, Chan 2009).
 */
export function suffixArrayOf(text: Uint8Array): Int32Array {
  return induceSort(text, 256);
}

/** SA-IS over symbols 0 … `symbols` − 1; the end of the text counts as smaller than any symbol. */
function induceSort(text: Uint8Array | Int32Array, symbols: number): Int32Array {
  const n = text.length;
  const suffixes = new Int32Array(n);
  if (n <= 1) return suffixes;
  const isSmall = smallTypes(text);
  const buckets = bucketsOf(text, isSmall, symbols);
  const positions: number[] = [];
  for (let i = 1; i < n; i++) if (isSmall[i] === 1 && isSmall[i - 1] === 0) positions.push(i);
  const lms = Int32Array.from(positions);
  induce(text, isSmall, buckets, lms, suffixes);
  if (lms.length > 1) {
    const sorted = sortLms(text, lms, suffixes);
    induce(text, isSmall, buckets, sorted, suffixes);
  }
  return suffixes;
}

/** 1 where the suffix is smaller than the one that starts right after it. */
function smallTypes(text: Uint8Array | Int32Array): Uint8Array {
  const isSmall = new Uint8Array(text.length);
  for (let i = text.length - 2; i >= 0; i--) {
    const here = text[i]!;
    const next = text[i + 1]!;
    isSmall[i] = here === next ? isSmall[i + 1]! : here < next ? 1 : 0;
  }
  return isSmall;
}

/** Where, in the array, the large and the small suffixes of each first symbol begin. */
type Buckets = { readonly large: Int32Array; readonly small: Int32Array };

function bucketsOf(text: Uint8Array | Int32Array, isSmall: Uint8Array, symbols: number): Buckets {
  const largeCount = new Int32Array(symbols);
  const smallCount = new Int32Array(symbols);
  for (let i = 0; i < text.length; i++) {
    if (isSmall[i] === 1) smallCount[text[i]!]!++;
    else largeCount[text[i]!]!++;
  }
  const large = new Int32Array(symbols);
  const small = new Int32Array(symbols);
  let start = 0;
  for (let symbol = 0; symbol < symbols; symbol++) {
    large[symbol] = start;
    small[symbol] = start + largeCount[symbol]!;
    start += largeCount[symbol]! + smallCount[symbol]!;
  }
  return { large, small };
}

/** Places the given leftmost-small suffixes and induces the order of all others from them. */
function induce(
  text: Uint8Array | Int32Array,
  isSmall: Uint8Array,
  buckets: Buckets,
  lms: Int32Array,
  suffixes: Int32Array,
): void {
  const n = text.length;
  suffixes.fill(-1);
  const smallNext = buckets.small.slice();
  for (const position of lms) suffixes[smallNext[text[position]!]!++] = position;
  const largeNext = buckets.large.slice();
  suffixes[largeNext[text[n - 1]!]!++] = n - 1; // The suffix right before the imagined end.
  for (let i = 0; i < n; i++) {
    const before = suffixes[i]! - 1;
    if (before >= 0 && isSmall[before] === 0) suffixes[largeNext[text[before]!]!++] = before;
  }
  // The small suffixes of a symbol end where the large ones of the next symbol begin.
  const smallEnd = buckets.large.map((_, symbol) => buckets.large[symbol + 1] ?? n);
  for (let i = n - 1; i >= 0; i--) {
    const before = suffixes[i]! - 1;
    if (before < 0 || isSmall[before] === 0) continue;
    const symbol = text[before]!;
    smallEnd[symbol]!--;
    suffixes[smallEnd[symbol]!] = before;
  }
}

/** Names the LMS substrings in their induced order and sorts their suffixes, by recursion if need be. */
function sortLms(text: Uint8Array | Int32Array, lms: Int32Array, suffixes: Int32Array): Int32Array {
  const n = text.length;
  const rankOfLms = new Int32Array(n + 1).fill(-1);
  for (let i = 0; i < lms.length; i++) rankOfLms[lms[i]!] = i;
  const induced = new Int32Array(lms.length);
  let found = 0;
  for (let i = 0; i < n; i++) {
    const position = suffixes[i]!;
    if (position >= 0 && rankOfLms[position]! >= 0) induced[found++] = position;
  }
  const reduced = new Int32Array(lms.length);
  let name = 0;
  for (let i = 1; i < induced.length; i++) {
    if (!sameLmsSubstring(text, lms, rankOfLms, induced[i - 1]!, induced[i]!)) name++;
    reduced[rankOfLms[induced[i]!]!] = name;
  }
  if (name + 1 === lms.length) return induced;
  const order = induceSort(reduced, name + 1);
  return order.map((rank) => lms[rank]!);
}

function sameLmsSubstring(
  text: Uint8Array | Int32Array,
  lms: Int32Array,
  rankOfLms: Int32Array,
  a: number,
  b: number,
): boolean {
  const n = text.length;
  const endA = lms[rankOfLms[a]! + 1] ?? n;
  const endB = lms[rankOfLms[b]! + 1] ?? n;
  if (endA - a !== endB - b) return false;
  // The last substring ends at the imagined end, which no other one does.
  if (endA === n || endB === n) return false;
  for (let i = 0; i <= endA - a; i++) if (text[a + i] !== text[b + i]) return false;
  return true;
}

/**
 * Whether `suffixes` is the suffix array of `text`, in one pass (Burkhardt, Kärkkäinen 2003): it is
 * a permutation, and neighbours are in order by their first byte and then by the ranks of the rest.
 */
export function isSuffixArray(text: Uint8Array, suffixes: Int32Array): boolean {
  const n = text.length;
  if (suffixes.length !== n) return false;
  const ranks = new Int32Array(n + 1).fill(-1);
  for (let rank = 0; rank < n; rank++) {
    const position = suffixes[rank]!;
    if (position < 0 || position >= n || ranks[position] !== -1) return false;
    ranks[position] = rank;
  }
  for (let rank = 1; rank < n; rank++) {
    const a = suffixes[rank - 1]!;
    const b = suffixes[rank]!;
    if (text[a]! > text[b]!) return false;
    if (text[a]! === text[b]! && ranks[a + 1]! >= ranks[b + 1]!) return false;
  }
  return true;
}

/** The records of a datanet version joined by separators, with the suffix array of the whole. */
export type TextIndex = {
  readonly text: Uint8Array;
  readonly suffixes: Int32Array;
  /** Where each record begins in `text`; one more entry, where a next record would begin. */
  readonly starts: Int32Array;
};

/** Bytes that occur in the text: all suffixes of ranks `first` (included) to `end` start with them. */
export type Match = { readonly length: number; readonly first: number; readonly end: number };

export type Occurrence = { readonly recordIndex: number; readonly recordOffset: number };

/** The text index of records in version order. */
export function buildTextIndex(records: readonly Uint8Array[]): TextIndex {
  const starts = new Int32Array(records.length + 1);
  for (let i = 0; i < records.length; i++) starts[i + 1] = starts[i]! + records[i]!.length + 1;
  const text = new Uint8Array(starts[records.length]!);
  for (let i = 0; i < records.length; i++) {
    text.set(records[i]!, starts[i]!);
    text[starts[i + 1]! - 1] = SEPARATOR;
  }
  return { text, suffixes: suffixArrayOf(text), starts };
}

/** The longest prefix of `query` from `offset` on that occurs in the records; its length may be 0. */
export function longestMatchAt(index: TextIndex, query: Uint8Array, offset: number): Match {
  const { suffixes } = index;
  const length = query.length - offset;
  const at = lowerBound(index, query, offset, length);
  const after =
    at < suffixes.length ? commonLength(index, suffixes[at]!, query, offset, length) : 0;
  const before = at > 0 ? commonLength(index, suffixes[at - 1]!, query, offset, length) : 0;
  return matchOf(index, query, offset, Math.max(after, before));
}

/** All suffixes that start with `length` bytes of `query` from `offset` on. */
export function matchOf(
  index: TextIndex,
  query: Uint8Array,
  offset: number,
  length: number,
): Match {
  const first = lowerBound(index, query, offset, length);
  let low = first;
  let high = index.suffixes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const common = commonLength(index, index.suffixes[middle]!, query, offset, length);
    if (common === length) low = middle + 1;
    else high = middle;
  }
  return { length, first, end: low };
}

/** The first rank whose suffix is not smaller than `length` bytes of `query` from `offset` on. */
function lowerBound(index: TextIndex, query: Uint8Array, offset: number, length: number): number {
  const { text, suffixes } = index;
  let low = 0;
  let high = suffixes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const start = suffixes[middle]!;
    const common = commonLength(index, start, query, offset, length);
    const smaller =
      common < length &&
      (start + common >= text.length || text[start + common]! < query[offset + common]!);
    if (smaller) low = middle + 1;
    else high = middle;
  }
  return low;
}

function commonLength(
  { text }: TextIndex,
  start: number,
  query: Uint8Array,
  offset: number,
  length: number,
): number {
  const longest = Math.min(length, text.length - start);
  let common = 0;
  while (
    common < longest &&
    text[start + common] === query[offset + common] &&
    text[start + common] !== SEPARATOR
  ) {
    common++;
  }
  return common;
}

/** Where a match occurs, ordered by record, then by place in it. */
export function occurrencesOf(index: TextIndex, match: Match): Occurrence[] {
  if (match.length === 0) return [];
  const positions = index.suffixes.slice(match.first, match.end).sort();
  const occurrences: Occurrence[] = [];
  for (const position of positions) {
    const recordIndex = recordAt(index, position);
    occurrences.push({ recordIndex, recordOffset: position - index.starts[recordIndex]! });
  }
  return occurrences;
}

/** How often `pattern` occurs in the records, overlapping occurrences included. */
export function countOf(index: TextIndex, pattern: Uint8Array): number {
  if (pattern.length === 0) return 0;
  const { first, end } = matchOf(index, pattern, 0, pattern.length);
  return end - first;
}

function recordAt({ starts }: TextIndex, position: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= position) low = middle;
    else high = middle;
  }
  return low;
}
