/** The pool of records and questions, and the rates of the voices that need no model. */
import { createBm25 } from '../../runtime/text/bm25.ts';
import { clustersOf } from '../../runtime/text/near-copies.ts';
import type { Evaluation, Question } from '../../runtime/text/questions.ts';
import { matchedSpans, SPAN_SETTINGS, type SpanSettings } from '../../runtime/text/spans.ts';
import { buildTextIndex, type TextIndex } from '../../runtime/text/suffix-array.ts';

export type Pool = {
  readonly names: readonly string[];
  readonly records: readonly string[];
  /** The contributor (index in names) of each record. */
  readonly owners: readonly number[];
  readonly clusters: Int32Array;
  readonly index: TextIndex;
  readonly questions: readonly (Question & { readonly contributor: number })[];
};

export function openPool({ contributions, questions }: Evaluation): Pool {
  const names = contributions.map((contribution) => contribution.package);
  const records = contributions.flatMap((contribution) => contribution.records);
  const bytes = records.map((record) => Buffer.from(record));
  return {
    names,
    records,
    owners: contributions.flatMap(({ records: own }, contributor) => own.map(() => contributor)),
    clusters: clustersOf(bytes),
    index: buildTextIndex(bytes),
    questions: questions.map((question) => ({
      ...question,
      contributor: names.indexOf(question.package),
    })),
  };
}

/** The index of the largest positive number, or -1. */
export function best(amounts: ArrayLike<number>): number {
  let top = -1;
  for (let i = 0; i < amounts.length; i++) {
    if (amounts[i]! > 0 && (top < 0 || amounts[i]! > amounts[top]!)) top = i;
  }
  return top;
}

/** How many questions have their package as best payee, and how many pay nobody. */
export function rate(
  pool: Pool,
  amountsOf: (question: number) => ArrayLike<number>,
): { hits: number; unpaid: number } {
  let hits = 0;
  let unpaid = 0;
  for (let i = 0; i < pool.questions.length; i++) {
    const top = best(amountsOf(i));
    if (top < 0) unpaid++;
    else if (top === pool.questions[i]!.contributor) hits++;
  }
  return { hits, unpaid };
}

export function print(
  pool: Pool,
  name: string,
  { hits, unpaid }: { hits: number; unpaid: number },
) {
  const share = hits / pool.questions.length;
  console.log(
    `${name.padEnd(60)} ${String(hits).padStart(4)}  ${share.toFixed(3)}  unpaid ${unpaid}`,
  );
}

/** What the spans of an exchange would pay each contributor, in span weights. */
export function spanAmounts(
  pool: Pool,
  prompt: string,
  output: string,
  settings: SpanSettings,
  promptPpm = 1_000_000,
): Float64Array {
  const amounts = new Float64Array(pool.names.length);
  const exchange = { prompt: Buffer.from(prompt), output: Buffer.from(output), tokens: 1 };
  for (const span of matchedSpans(pool.index, pool.clusters, exchange, settings)) {
    const weight = span.isInPrompt ? (span.weight * promptPpm) / 1_000_000 : span.weight;
    for (const { recordIndex } of span.places) amounts[pool.owners[recordIndex]!]! += weight;
  }
  return amounts;
}

export function compareText(pool: Pool): void {
  const bm25 = createBm25(pool.records);
  const retrieved = pool.questions.map(({ prompt }) => {
    const amounts = new Float64Array(pool.names.length);
    const top = best(bm25.scores(prompt));
    if (top >= 0) amounts[pool.owners[top]!] = 1;
    return amounts;
  });
  print(
    pool,
    'BM25, contributor of the best record',
    rate(pool, (i) => retrieved[i]!),
  );
  for (const lengthMin of [6, 8, 10, 12, 16]) {
    for (const clustersMax of [4, 8]) {
      for (const spansMin of [3, 5]) {
        const settings = { ...SPAN_SETTINGS, lengthMin, clustersMax, spansMin };
        const name = `spans of the prompt: >= ${lengthMin} bytes, <= ${clustersMax} clusters, ${spansMin} kept`;
        print(
          pool,
          name,
          rate(pool, (i) => spanAmounts(pool, pool.questions[i]!.prompt, '', settings)),
        );
      }
    }
  }
}
