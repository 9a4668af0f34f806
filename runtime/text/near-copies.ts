/**
 * Near-copies: records whose sets of 6-byte shingles overlap by a Jaccard index of 0.6 or more. The
 * index is exact; the earliest record of a cluster of near-copies owns it.
 */

/** docs/protocol.md §2: from this Jaccard index on, in parts per million, a record is a near-copy. */
export const NEAR_COPY_PPM = 600_000;

const SHINGLE_BYTES = 6;
const PPM = 1_000_000;

/**
 * The set of 6-byte shingles of a record, sorted, each as a 48-bit integer. ASCII capitals and runs
 * of white space are folded first, so that changing them hides nothing. A text shorter than a
 * shingle is one shingle, filled up with zeros.
 */
export function shinglesOf(bytes: Uint8Array): Float64Array {
  const folded = fold(bytes);
  const count = Math.max(1, folded.length - SHINGLE_BYTES + 1);
  const all = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let shingle = 0;
    for (let j = 0; j < SHINGLE_BYTES; j++) shingle = shingle * 256 + (folded[i + j] ?? 0);
    all[i] = shingle;
  }
  all.sort();
  let distinct = 0;
  for (let i = 0; i < count; i++) {
    if (i === 0 || all[i] !== all[i - 1]) all[distinct++] = all[i]!;
  }
  return all.slice(0, distinct);
}

function fold(bytes: Uint8Array): Uint8Array {
  const folded = new Uint8Array(bytes.length);
  let length = 0;
  for (const byte of bytes) {
    const isSpace = byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
    if (isSpace && (length === 0 || folded[length - 1] === 0x20)) continue;
    folded[length++] = isSpace ? 0x20 : byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
  }
  if (length > 0 && folded[length - 1] === 0x20) length--;
  return folded.subarray(0, length);
}

/** The Jaccard index of two sets of shingles in parts per million, rounded down. */
export function jaccardPpm(a: Float64Array, b: Float64Array): number {
  let shared = 0;
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) shared++;
    if (a[i]! <= b[j]!) {
      if (a[i] === b[j]) j++;
      i++;
    } else j++;
  }
  return Math.floor((shared * PPM) / (a.length + b.length - shared));
}

/** An earlier record that a record is a near-copy of. */
export type NearCopy = { readonly record: number; readonly jaccardPpm: number };

export type NearCopyIndex = {
  /** Adds a record; the first one is number 0. Returns its number. */
  readonly add: (bytes: Uint8Array) => number;
  /** All records of the index that these bytes are a near-copy of, earliest first. */
  readonly find: (bytes: Uint8Array) => NearCopy[];
  readonly size: () => number;
};

/**
 * An inverted index from shingle to records. Overlaps are counted, not estimated, so nothing near
 * is missed and nothing far is named; the cost per record is the length of its shingles' lists.
 */
export function createNearCopyIndex(): NearCopyIndex {
  const postings = new Map<number, number[]>();
  const sizes: number[] = [];
  const find = (bytes: Uint8Array): NearCopy[] => {
    const shingles = shinglesOf(bytes);
    const overlaps = new Map<number, number>();
    for (const shingle of shingles) {
      for (const record of postings.get(shingle) ?? []) {
        overlaps.set(record, (overlaps.get(record) ?? 0) + 1);
      }
    }
    const found: NearCopy[] = [];
    for (const [record, shared] of overlaps) {
      const union = shingles.length + sizes[record]! - shared;
      const ppm = Math.floor((shared * PPM) / union);
      if (ppm >= NEAR_COPY_PPM) found.push({ record, jaccardPpm: ppm });
    }
    return found.sort((a, b) => a.record - b.record);
  };
  const add = (bytes: Uint8Array): number => {
    const record = sizes.length;
    const shingles = shinglesOf(bytes);
    sizes.push(shingles.length);
    for (const shingle of shingles) {
      const list = postings.get(shingle);
      if (list === undefined) postings.set(shingle, [record]);
      else list.push(record);
    }
    return record;
  };
  return { add, find, size: () => sizes.length };
}

/**
 * The cluster of each record, named by the index of its earliest record: a near-copy joins the
 * cluster of the earliest record that it copies, any other record opens its own.
 *
 * @param records in order of registration
 */
export function clustersOf(records: readonly Uint8Array[]): Int32Array {
  const index = createNearCopyIndex();
  const clusters = new Int32Array(records.length);
  for (let i = 0; i < records.length; i++) {
    const earliest = index.find(records[i]!)[0];
    clusters[i] = earliest === undefined ? i : clusters[earliest.record]!;
    index.add(records[i]!);
  }
  return clusters;
}

/** A record of a contribution and the earliest accepted record that it is a near-copy of. */
export type EarliestCopy = {
  /** Its place in the contribution. */
  readonly record: number;
  /** The number of the accepted record in the index. */
  readonly earlier: number;
  readonly jaccardPpm: number;
};

/**
 * The records of a contribution that near-copy an accepted record, each with the earliest such
 * record. Whose record that is, and what follows, the protocol decides.
 *
 * @param index the accepted records in order of registration; not changed
 */
export function earliestCopies(
  index: NearCopyIndex,
  records: readonly Uint8Array[],
): EarliestCopy[] {
  return records.flatMap((bytes, record) => {
    const [copy] = index.find(bytes);
    if (copy === undefined) return [];
    return [{ record, earlier: copy.record, jaccardPpm: copy.jaccardPpm }];
  });
}
