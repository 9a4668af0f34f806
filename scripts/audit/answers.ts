/**
 * The answers and whom they pay: questions rebuilt from the packages' own files, each with the
 * anchored receipt that encloses it; packages known by the roots of what they contributed.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Address, type Bytes32, utf8 } from '#crypto';
import { hashRecord, recordsRoot, type ScoreLeaf } from '#protocol';
import {
  createBm25,
  type Evaluation,
  type EvaluationSettings,
  readEvaluation,
  STORY_EVALUATION,
} from '#runtime';
import type { StatedStory } from './data-dir.ts';
import type { Contribution } from './datanet.ts';
import type { AuditedJudgement } from './disputes.ts';
import type { AuditedReceipt } from './receipts.ts';
import type { Recomputed } from './report.ts';

/** What each scenario asks; a test holds them to what the swarm uses. */
export const EVALUATIONS: Readonly<Record<StatedStory['scenario'], EvaluationSettings>> = {
  story: STORY_EVALUATION,
  reduced: { ...STORY_EVALUATION, contributors: 5, recordsMin: 100, questionsPerContributor: 1 },
};

export function evaluationOf({ scenario }: StatedStory): Evaluation {
  const packages = fileURLToPath(new URL('../../node_modules', import.meta.url));
  return readEvaluation(join(packages), EVALUATIONS[scenario]);
}

type Names =
  | 'answers'
  | 'top1ContributorHitRate'
  | 'chance'
  | 'gradientOnly'
  | 'spanOnly'
  | 'bm25'
  | 'paidNobody';

/** Counts the answers and how often each voice names the package that was asked about. */
export function auditAnswers(
  story: StatedStory,
  evaluation: Evaluation,
  contributions: readonly Contribution[],
  receipts: readonly AuditedReceipt[],
  judgements: readonly AuditedJudgement[],
): Readonly<Record<Names, Recomputed>> {
  const faults = untrueFaults(story, receipts, judgements);
  const answered = answeredQuestions(story, evaluation, receipts);
  const owners = ownersOf(evaluation, contributions);
  for (const { package: name } of evaluation.contributions)
    if (!owners.has(name)) faults.push(`nobody's accepted records are those of ${name}`);
  const bm25 = bm25Of(evaluation);
  const rate = (isHit: (asked: Answered) => boolean): Recomputed => ({
    value: round(answered.filter(isHit).length / Math.max(1, answered.length)),
    faults,
  });
  const perPackage = new Map<string, number>();
  for (const { name } of answered) perPackage.set(name, (perPackage.get(name) ?? 0) + 1);
  const most = Math.max(0, ...perPackage.values());
  const isOwner = (name: string, account: Address | null): boolean =>
    account !== null && owners.get(name) === account;
  return {
    answers: { value: answered.length, faults },
    top1ContributorHitRate: rate(({ name, receipt }) => isOwner(name, receipt.topPaid)),
    chance: { value: round(most / Math.max(1, answered.length)), faults },
    gradientOnly: rate(({ name, receipt }) => isOwner(name, receipt.topLearned)),
    spanOnly: rate(({ name, receipt }) => isOwner(name, receipt.topSpan)),
    bm25: rate(({ name, receipt }) => bm25(receipt.prompt) === name),
    paidNobody: rate(({ receipt }) => receipt.topPaid === null),
  };
}

/** The form in which rates are stated: four decimals. */
const round = (value: number): number => Math.round(value * 1e4) / 1e4;

type Answered = { readonly name: string; readonly receipt: AuditedReceipt };

/**
 * The questions that a true receipt of the story's adapter answers. One that was asked again, after
 * a crash or by the client that the cheat picked, counts once.
 */
function answeredQuestions(
  { adapterId, requestIds }: StatedStory,
  { questions }: Evaluation,
  receipts: readonly AuditedReceipt[],
): readonly Answered[] {
  const byPrompt = new Map<string, AuditedReceipt[]>();
  for (const receipt of receipts)
    if (receipt.untrue === null && receipt.adapterId === adapterId)
      byPrompt.set(turnOf(receipt), [...(byPrompt.get(turnOf(receipt)) ?? []), receipt]);
  return questions.flatMap(({ package: name, prompt }) => {
    const all = byPrompt.get(prompt) ?? [];
    const counted = all.find(({ requestId }) => requestIds.has(requestId)) ?? all[0];
    return counted === undefined ? [] : [{ name, receipt: counted }];
  });
}

/** What was asked: a prompt is a conversation's turns, each ended by an empty line. */
const turnOf = ({ prompt }: AuditedReceipt): string => prompt.trimEnd();

/** The false receipts have to be exactly the judged ones, false in the leaf that was judged. */
function untrueFaults(
  { challenges, lie }: StatedStory,
  receipts: readonly AuditedReceipt[],
  judgements: readonly AuditedJudgement[],
): string[] {
  const faults = receipts
    .filter(({ misbooked }) => misbooked !== null)
    .map(({ hash, misbooked }) => `the epoch of receipt ${hash} has another ${misbooked} than it`);
  const byHash = new Map(receipts.map((receipt) => [receipt.hash, receipt]));
  for (const { id, receiptHash, leafIndex, leaf } of judgements) {
    const receipt = byHash.get(receiptHash);
    // One whose voucher was never collected stands in no epoch, and pays nobody.
    if (receipt === undefined) continue;
    const at = `receipt ${receiptHash}, judged in judgement ${id},`;
    if (receipt.untrue === null) faults.push(`${at} is right`);
    const found = receipt.scores[leafIndex];
    if (found === undefined || !isSame(found, leaf)) faults.push(`${at} has another leaf`);
  }
  const judged = new Set(judgements.map(({ receiptHash }) => receiptHash));
  for (const { hash, requestId, untrue } of receipts) {
    if (untrue === null || judged.has(hash)) continue;
    // Without a challenger the cheat's one false receipt stands, and is paid.
    if (!challenges && requestId === lie) continue;
    faults.push(`receipt ${hash} is false (${untrue}), and nobody judged it`);
  }
  return faults;
}

const isSame = (a: ScoreLeaf, b: ScoreLeaf): boolean =>
  (Object.keys(b) as (keyof ScoreLeaf)[]).every((name) => a[name] === b[name]);

/** Whose contribution has exactly the records of a package. */
function ownersOf(
  { contributions: packages }: Evaluation,
  contributions: readonly Contribution[],
): ReadonlyMap<string, Address> {
  const byRoot = new Map<Bytes32, Address>();
  for (const { state, recordsRoot: root, contributor } of contributions)
    if (state === 'accepted' && !byRoot.has(root)) byRoot.set(root, contributor);
  const owners = new Map<string, Address>();
  for (const { package: name, records } of packages) {
    const root = recordsRoot(records.map((text) => hashRecord(utf8(text.normalize('NFC')))));
    const owner = byRoot.get(root);
    if (owner !== undefined) owners.set(name, owner);
  }
  return owners;
}

/** The package of the record that BM25 ranks first for a question; null where no word is shared. */
function bm25Of({ contributions }: Evaluation): (prompt: string) => string | null {
  const corpus = contributions.flatMap(({ package: name, records }) =>
    records.map((text) => ({ name, text })),
  );
  const { scores } = createBm25(corpus.map(({ text }) => text));
  return (prompt) => {
    const found = scores(prompt);
    const best = Math.max(0, ...found);
    return best === 0 ? null : (corpus[found.indexOf(best)]?.name ?? null);
  };
}
