/**
 * An interpolated, modified Kneser–Ney model over bytes (Chen and Goodman 1998): the yardstick that
 * the base model must beat on the same bytes.
 */

/** A trained model of bytes. */
export type KneserNey = {
  /** Longest n-gram; the history is one byte shorter. */
  readonly order: number;
  /**
   * The probability of `byte` after `history` (most recent byte last; only the last order - 1 bytes
   * count, and the start of a document counts as zero bytes). Over all 256 bytes it sums to 1.
   */
  probability(history: ArrayLike<number>, byte: number): number;
};

/**
 * The n-grams of one length, as base-256 numbers in ascending order with their counts, and for each
 * history the mass that its n-grams hold and give away.
 */
type Level = {
  grams: Float64Array;
  counts: Uint32Array;
  histories: Float64Array;
  totals: Float64Array;
  /** What the discounts of a history's n-grams leave for the shorter history, as a share. */
  backoffs: Float64Array;
  discounts: readonly [number, number, number];
};

const ORDER_MAX = 6;

/**
 * Trains on documents; n-grams never cross from one into the next.
 *
 * @param order 1 to 6 (six bytes are exact in a float64)
 */
export function trainKneserNey(documents: readonly Uint8Array[], order: number): KneserNey {
  if (!Number.isInteger(order) || order < 1 || order > ORDER_MAX) {
    throw new RangeError(`order must be 1 to ${ORDER_MAX}, not ${order}`);
  }
  const levels: Level[] = [];
  let grams = countGrams(documents, order);
  for (let length = order; length >= 1; length--) {
    levels.unshift(makeLevel(grams.codes, grams.counts));
    grams = continuationCounts(grams.codes, length);
  }
  return {
    order,
    probability(history, byte) {
      let probability = 1 / 256;
      let context = 0;
      for (let length = 1; length <= order; length++) {
        if (length > 1) {
          context += (history[history.length - length + 1] ?? 0) * 256 ** (length - 2);
        }
        probability = interpolate(levels[length - 1]!, context, byte, probability);
      }
      return probability;
    },
  };
}

function interpolate(level: Level, context: number, byte: number, shorter: number): number {
  const history = indexOf(level.histories, context);
  if (history < 0) return shorter; // Never seen: the shorter history decides alone.
  const gram = indexOf(level.grams, context * 256 + byte);
  const count = gram < 0 ? 0 : level.counts[gram]!;
  const kept = count === 0 ? 0 : count - level.discounts[Math.min(count, 3) - 1]!;
  return kept / level.totals[history]! + level.backoffs[history]! * shorter;
}

type Counted = { codes: Float64Array; counts: Uint32Array };

function countGrams(documents: readonly Uint8Array[], order: number): Counted {
  const codes = new Float64Array(documents.reduce((sum, { length }) => sum + length, 0));
  const modulus = 256 ** order;
  let at = 0;
  for (const document of documents) {
    let code = 0;
    for (const byte of document) {
      code = (code * 256 + byte) % modulus;
      codes[at++] = code;
    }
  }
  return countSorted(codes.sort());
}

/** Kneser–Ney's counts for the next shorter n-grams: in how many different ways each is preceded. */
function continuationCounts(codes: Float64Array, length: number): Counted {
  const modulus = 256 ** (length - 1);
  return countSorted(codes.map((code) => code % modulus).sort());
}

function countSorted(sorted: Float64Array): Counted {
  const codes: number[] = [];
  const counts: number[] = [];
  for (const code of sorted) {
    if (codes.length > 0 && codes[codes.length - 1] === code) counts[counts.length - 1]! += 1;
    else {
      codes.push(code);
      counts.push(1);
    }
  }
  return { codes: Float64Array.from(codes), counts: Uint32Array.from(counts) };
}

function makeLevel(grams: Float64Array, counts: Uint32Array): Level {
  const discounts = discountsOf(counts);
  const histories: number[] = [];
  const totals: number[] = [];
  const given: number[] = [];
  for (let i = 0; i < grams.length; i++) {
    const history = Math.floor(grams[i]! / 256);
    const count = counts[i]!;
    if (histories.length === 0 || histories[histories.length - 1] !== history) {
      histories.push(history);
      totals.push(0);
      given.push(0);
    }
    totals[totals.length - 1]! += count;
    given[given.length - 1]! += discounts[Math.min(count, 3) - 1]!;
  }
  return {
    grams,
    counts,
    histories: Float64Array.from(histories),
    totals: Float64Array.from(totals),
    backoffs: Float64Array.from(given, (mass, i) => mass / totals[i]!),
    discounts,
  };
}

/** Chen and Goodman's three discounts for counts of 1, 2, and 3 or more. */
function discountsOf(counts: Uint32Array): [number, number, number] {
  const [n1 = 0, n2 = 0, n3 = 0, n4 = 0] = [1, 2, 3, 4].map((wanted) =>
    counts.reduce((sum, count) => sum + (count === wanted ? 1 : 0), 0),
  );
  if (n1 === 0 || n2 === 0 || n3 === 0) return [0.5, 0.5, 0.5]; // Too little text to estimate from.
  const y = n1 / (n1 + 2 * n2);
  const within = (discount: number, limit: number) => Math.min(Math.max(discount, 0), limit);
  return [
    within(1 - (2 * y * n2) / n1, 1),
    within(2 - (3 * y * n3) / n2, 2),
    within(3 - (4 * y * n4) / n3, 3),
  ];
}

function indexOf(sorted: Float64Array, wanted: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const value = sorted[middle]!;
    if (value === wanted) return middle;
    if (value < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** The mean of -log2 p over all bytes of the documents. */
export function bitsPerByte(model: KneserNey, documents: readonly Uint8Array[]): number {
  let bits = 0;
  let bytes = 0;
  for (const document of documents) {
    for (let i = 0; i < document.length; i++) {
      const history = document.subarray(Math.max(0, i - model.order + 1), i);
      bits -= Math.log2(model.probability(history, document[i]!));
    }
    bytes += document.length;
  }
  return bits / bytes;
}
