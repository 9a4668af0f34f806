/** BM25 retrieval over records: the baseline that attribution is measured against, never a payer. */

const K1 = 1.2;
const B = 0.75;

export type Bm25 = {
  /** The score of every record for a query; 0 where no word is shared. */
  readonly scores: (query: string) => Float64Array;
};

/** The index of records for BM25 with k1 = 1.2, b = 0.75 and the never negative idf of Lucene. */
export function createBm25(records: readonly string[]): Bm25 {
  const postings = new Map<string, Map<number, number>>();
  const lengths = new Float64Array(records.length);
  for (let record = 0; record < records.length; record++) {
    const words = wordsOf(records[record]!);
    lengths[record] = words.length;
    for (const word of words) {
      const counts = postings.get(word) ?? new Map<number, number>();
      counts.set(record, (counts.get(record) ?? 0) + 1);
      postings.set(word, counts);
    }
  }
  const meanLength = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length);
  const scores = (query: string): Float64Array => {
    const totals = new Float64Array(records.length);
    for (const word of new Set(wordsOf(query))) {
      const counts = postings.get(word);
      if (counts === undefined) continue;
      const idf = Math.log(1 + (records.length - counts.size + 0.5) / (counts.size + 0.5));
      for (const [record, count] of counts) {
        const norm = K1 * (1 - B + (B * lengths[record]!) / meanLength);
        totals[record]! += (idf * count * (K1 + 1)) / (count + norm);
      }
    }
    return totals;
  };
  return { scores };
}

/** Lower-case runs of letters and digits. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
