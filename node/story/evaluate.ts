/**
 * How often the contributor whose file a question came from is the one that its answer pays most:
 * the rate of the combined voices, of each voice alone, of BM25, and of the best constant payee.
 */
import type { StoryAnswer, StoryState } from './state.ts';

export type HitRates = {
  readonly top1ContributorHitRate: number;
  readonly chance: number;
  readonly gradientOnly: number;
  readonly spanOnly: number;
  readonly bm25: number;
  readonly paidNobody: number;
};

/** An answer that pays nobody is a miss. */
export function hitRates(
  answers: readonly StoryAnswer[],
  contributors: StoryState['contributors'],
): HitRates {
  const addressOf = new Map(contributors.map((each) => [each.package, each.address]));
  const rate = (hits: (answer: StoryAnswer) => boolean): number =>
    answers.length === 0 ? 0 : round(answers.filter(hits).length / answers.length);
  const perPackage = new Map<string, number>();
  for (const { package: name } of answers) perPackage.set(name, (perPackage.get(name) ?? 0) + 1);
  return {
    top1ContributorHitRate: rate((each) => each.topPaid === addressOf.get(each.package)),
    chance: round(Math.max(0, ...perPackage.values()) / Math.max(1, answers.length)),
    gradientOnly: rate((each) => each.topLearned === addressOf.get(each.package)),
    spanOnly: rate((each) => each.topSpan === addressOf.get(each.package)),
    bm25: rate((each) => each.topBm25 === each.package),
    paidNobody: rate((each) => each.topPaid === null),
  };
}

const round = (value: number): number => Math.round(value * 1e4) / 1e4;
