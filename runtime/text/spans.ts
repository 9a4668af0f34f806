/**
 * The memorised voice: bytes of an exchange that stand word for word in records. Which spans count
 * is decided here; everything is integer arithmetic on bytes, so that anybody can recompute it.
 */
import {
  longestMatchAt,
  type Match,
  matchOf,
  occurrencesOf,
  type TextIndex,
} from './suffix-array.ts';

export type SpanSettings = {
  /** The shortest span that counts, in bytes. */
  readonly lengthMin: number;
  /** A span that more clusters than this contain is common language and counts for nobody. */
  readonly clustersMax: number;
  /** Spans kept per token of the exchange, in parts per million, rounded up. */
  readonly densityPpm: number;
  /** At least so many spans are kept, where there are so many: short exchanges have few tokens. */
  readonly spansMin: number;
  /** At most so many, however long the exchange. */
  readonly spansMax: number;
};

export const SPAN_SETTINGS: SpanSettings = {
  lengthMin: 8,
  clustersMax: 8,
  densityPpm: 50_000,
  spansMin: 5,
  spansMax: 128,
};

/** A place in a record where the bytes of a span stand. */
export type SpanPlace = { readonly recordIndex: number; readonly recordOffset: number };

/** A span of the exchange (prompt bytes, then output bytes); it lies wholly in one of the two. */
export type MatchedSpan = {
  readonly exchangeOffset: number;
  readonly length: number;
  readonly isInPrompt: boolean;
  /** For each cluster that contains the bytes: its earliest record that does, and where. */
  readonly places: readonly SpanPlace[];
  /** The weight of each of the places. */
  readonly weight: number;
};

/** Divisible by every number of clusters up to 8, so that the usual divisions are exact. */
const WEIGHT_PER_BYTE = 840;

/**
 * The weight of one place of a span: its length, divided among the clusters that contain it. So a
 * span is worth the same to all of them together, and the rarer it is, the more to each.
 *
 * @param length in bytes
 * @param clusters how many clusters contain the span, at least 1
 */
export function spanWeight(length: number, clusters: number): number {
  return Math.floor((length * WEIGHT_PER_BYTE) / clusters);
}

/**
 * The spans of an exchange that are paid for, in the order of the exchange: maximal spans of whole
 * words, of which the heaviest ⌈density · tokens⌉ are kept.
 *
 * @param clusters the cluster of each record of the index, by its earliest record's index
 * @param tokens of prompt and output together
 */
export function matchedSpans(
  index: TextIndex,
  clusters: Int32Array,
  exchange: { readonly prompt: Uint8Array; readonly output: Uint8Array; readonly tokens: number },
  settings: SpanSettings = SPAN_SETTINGS,
): MatchedSpan[] {
  const { prompt, output, tokens } = exchange;
  const spans = [
    ...spansOf(index, clusters, prompt, 0, true, settings),
    ...spansOf(index, clusters, output, prompt.length, false, settings),
  ];
  const share = Math.ceil((tokens * settings.densityPpm) / 1_000_000);
  const kept = Math.min(settings.spansMax, Math.max(settings.spansMin, share));
  return spans
    .sort((a, b) => b.weight - a.weight || a.exchangeOffset - b.exchangeOffset)
    .slice(0, kept)
    .sort((a, b) => a.exchangeOffset - b.exchangeOffset);
}

function spansOf(
  index: TextIndex,
  clusters: Int32Array,
  text: Uint8Array,
  base: number,
  isInPrompt: boolean,
  settings: SpanSettings,
): MatchedSpan[] {
  const spans: MatchedSpan[] = [];
  let furthest = 0;
  for (let start = 0; start < text.length; start++) {
    if (!isWordStart(text, start)) continue;
    const found = longestWholeWords(
      index,
      text,
      start,
      Math.max(settings.lengthMin, furthest - start + 1),
    );
    if (found === undefined) continue;
    furthest = start + found.length;
    const places = earliestPerCluster(found.places, clusters);
    if (places.length > settings.clustersMax) continue;
    const weight = spanWeight(found.length, places.length);
    spans.push({ exchangeOffset: base + start, length: found.length, isInPrompt, places, weight });
  }
  return spans;
}

/** The longest run of whole words from `start` on that stands as whole words in a record. */
function longestWholeWords(
  index: TextIndex,
  text: Uint8Array,
  start: number,
  lengthMin: number,
): { length: number; places: SpanPlace[] } | undefined {
  let match: Match = longestMatchAt(index, text, start);
  for (let length = match.length; length >= lengthMin; length--) {
    if (!isWordEnd(text, start + length)) continue;
    if (length !== match.length) match = matchOf(index, text, start, length);
    const places = occurrencesOf(index, match).filter(({ recordIndex, recordOffset }) => {
      const at = index.starts[recordIndex]! + recordOffset;
      return isWordStart(index.text, at) && isWordEnd(index.text, at + length);
    });
    if (places.length > 0) return { length, places };
  }
  return undefined;
}

/** Occurrences come in record order, so the first one of each cluster is the earliest. */
function earliestPerCluster(places: readonly SpanPlace[], clusters: Int32Array): SpanPlace[] {
  const seen = new Set<number>();
  return places.filter(({ recordIndex }) => {
    const cluster = clusters[recordIndex]!;
    if (seen.has(cluster)) return false;
    seen.add(cluster);
    return true;
  });
}

function isWordStart(text: Uint8Array, at: number): boolean {
  return isWordByte(text[at]) && !isWordByte(text[at - 1]);
}

/** Whether a word ends right before `end`. */
function isWordEnd(text: Uint8Array, end: number): boolean {
  return isWordByte(text[end - 1]) && !isWordByte(text[end]);
}

/** Letters, digits, and every byte of a character outside ASCII. The separator is no word. */
function isWordByte(byte: number | undefined): boolean {
  if (byte === undefined || byte === 0xff) return false;
  if (byte >= 0x80) return true;
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a);
}
