/**
 * The evaluation of attribution on real text: which packages contribute which records, and questions
 * from sentences of their own files that no record holds, without the packages' names.
 */
import { createHash } from 'node:crypto';
import { chunkText, DOCUMENTATION_CHUNKS, isProse, sentencesOf } from './chunk.ts';
import { type CorpusDocument, documentsOf, listPackages, splitOf } from './corpus.ts';
import { shinglesOf } from './near-copies.ts';

/** One contributor of the story: a package, with the records that it contributes. */
export type PackageContribution = { readonly package: string; readonly records: readonly string[] };

/** A held-out sentence, as it stood in the file, and the prompt made of it without names. */
export type Question = {
  readonly package: string;
  readonly sentence: string;
  readonly prompt: string;
};

export type Evaluation = {
  readonly contributions: readonly PackageContribution[];
  readonly questions: readonly Question[];
};

export type EvaluationSettings = {
  readonly contributors: number;
  /** The fewest records in all; the cap per contributor is the lowest that reaches it. */
  readonly recordsMin: number;
  readonly questionsPerContributor: number;
  readonly seed: string;
};

export const STORY_EVALUATION: EvaluationSettings = {
  contributors: 24,
  recordsMin: 1_020,
  questionsPerContributor: 2,
  seed: 'openledger/questions/1',
};

/** A held-out sentence shares less than this part of its shingles with every record. */
const CONTAINED_PPM_MAX = 600_000;
const SENTENCE_BYTES_MIN = 60;
const SENTENCE_BYTES_MAX = 220;
const SENTENCE_WORDS_MIN = 9;
/** How many sentences of a package are looked at before it counts as having too few. */
const CANDIDATES_MAX = 24;

/** The evaluation on the packages of the datanet split below a node_modules folder. */
export function readEvaluation(
  nodeModulesDirectory: string,
  settings: EvaluationSettings = STORY_EVALUATION,
): Evaluation {
  const documents = listPackages(nodeModulesDirectory)
    .filter(({ name }) => splitOf(name) === 'datanet')
    .map((installed) => ({ package: installed.name, documents: documentsOf(installed) }));
  return buildEvaluation(documents, settings);
}

type Source = { readonly package: string; readonly documents: readonly CorpusDocument[] };

/** The evaluation on given documents: the same documents and seed give the same evaluation. */
export function buildEvaluation(
  sources: readonly Source[],
  settings: EvaluationSettings,
): Evaluation {
  const chosen = sources
    .map((source) => ({ ...source, count: recordsOf(source, []).length }))
    .sort((a, b) => b.count - a.count || (a.package < b.package ? -1 : 1))
    .slice(0, settings.contributors);
  const cap = capFor(
    chosen.map(({ count }) => count - settings.questionsPerContributor),
    settings.recordsMin,
  );
  const candidates = new Map(
    chosen.map((source) => [source.package, candidatesOf(source, cap, settings.seed)]),
  );
  for (;;) {
    // A package without enough sentences of its own makes room for the next one.
    const mute = chosen.find(
      ({ package: name }) => candidates.get(name)!.length < settings.questionsPerContributor,
    );
    if (mute !== undefined && sources.length > settings.contributors)
      return buildEvaluation(
        sources.filter((source) => source.package !== mute.package),
        settings,
      );
    const heldOut = new Map(
      chosen.map(({ package: name }) => [
        name,
        candidates.get(name)!.slice(0, settings.questionsPerContributor),
      ]),
    );
    const contributions = chosen.map((source) => ({
      package: source.package,
      records: recordsOf(source, heldOut.get(source.package)!, cap),
    }));
    const known = knownSentences(contributions, heldOut);
    if (known.size === 0) return { contributions, questions: questionsOf(heldOut, settings) };
    for (const [name, sentences] of candidates) {
      candidates.set(
        name,
        sentences.filter((sentence) => !known.has(sentence)),
      );
    }
  }
}

/** The lowest number of records per contributor with which all together reach `recordsMin`. */
function capFor(counts: readonly number[], recordsMin: number): number {
  const most = Math.max(0, ...counts);
  for (let cap = 1; cap < most; cap++) {
    if (counts.reduce((sum, count) => sum + Math.min(count, cap), 0) >= recordsMin) return cap;
  }
  return most;
}

/** At most `cap` records: README first and changelogs last, so that a capped package is described, not dated. */
function recordsOf(source: Source, leftOut: readonly string[], cap = Infinity): string[] {
  const rank = ({ path }: CorpusDocument): number =>
    /(^|\/)readme/i.test(path) ? 0 : /(^|\/)(changelog|history|upgrading)/i.test(path) ? 2 : 1;
  const records: string[] = [];
  const ordered = [...source.documents].sort(
    (a, b) => rank(a) - rank(b) || (a.path < b.path ? -1 : 1),
  );
  for (const { text } of ordered) {
    if (records.length >= cap) break;
    records.push(...chunkText(leftOut.reduce(withoutSentence, text), DOCUMENTATION_CHUNKS));
  }
  return records.slice(0, cap);
}

function withoutSentence(text: string, sentence: string): string {
  return text.replace(patternOf(sentence), ' ');
}

/** A sentence wherever it stands, also wrapped over lines. */
function patternOf(sentence: string): RegExp {
  const words = sentence.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(words.join('\\s+'), 'g');
}

/**
 * Sentences that could be asked about, in seeded order: first those without any part of the
 * package's name, then those with a part, last those that name it (the name is stripped from them).
 */
function candidatesOf(source: Source, cap: number, seed: string): string[] {
  const whole = source.documents.map(({ text }) => text).join('\n\n');
  const names = namePattern(source.package);
  const parts = partsPattern(source.package);
  const keyOf = (sentence: string): string => {
    const group = sentence.search(names) >= 0 ? 2 : sentence.search(parts) >= 0 ? 1 : 0;
    const order = createHash('sha256').update(`${seed}\n${source.package}\n${sentence}`, 'utf8');
    return `${group}${order.digest('hex')}`;
  };
  const sentences = recordsOf(source, [], cap)
    .flatMap((record) => record.split('\n').flatMap(sentencesOf))
    .filter(isAskable);
  return [...new Set(sentences)]
    .map((sentence) => ({ sentence, key: keyOf(sentence) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .slice(0, CANDIDATES_MAX)
    .map(({ sentence }) => sentence)
    .filter((sentence) => whole.match(patternOf(sentence))?.length === 1);
}

function isAskable(sentence: string): boolean {
  const bytes = Buffer.byteLength(sentence);
  if (bytes < SENTENCE_BYTES_MIN || bytes > SENTENCE_BYTES_MAX) return false;
  if (!/^[A-Z`"]/.test(sentence) || !/[.!?]$/.test(sentence) || !isProse(sentence)) return false;
  if (/:\/\/|\bwww\.|@|licen[cs]e|copyright|warrant/i.test(sentence)) return false;
  return sentence.split(/\s+/).length >= SENTENCE_WORDS_MIN;
}

/** The held-out sentences that a record holds, or nearly holds, all the same. */
function knownSentences(
  contributions: readonly PackageContribution[],
  heldOut: ReadonlyMap<string, readonly string[]>,
): Set<string> {
  const sentences = [...heldOut.values()].flat();
  const sizes = new Int32Array(sentences.length);
  const holding = new Map<number, number[]>();
  for (let i = 0; i < sentences.length; i++) {
    const shingles = shinglesOf(Buffer.from(sentences[i]!));
    sizes[i] = shingles.length;
    for (const shingle of shingles) holding.set(shingle, [...(holding.get(shingle) ?? []), i]);
  }
  const known = new Set<string>();
  for (const record of contributions.flatMap((contribution) => contribution.records)) {
    const shared = new Int32Array(sentences.length);
    for (const shingle of shinglesOf(Buffer.from(record))) {
      for (const sentence of holding.get(shingle) ?? []) shared[sentence]!++;
    }
    for (let i = 0; i < sentences.length; i++) {
      if (shared[i]! * 1e6 >= CONTAINED_PPM_MAX * sizes[i]!) known.add(sentences[i]!);
    }
  }
  return known;
}

function questionsOf(
  heldOut: ReadonlyMap<string, readonly string[]>,
  { questionsPerContributor }: EvaluationSettings,
): Question[] {
  const questions: Question[] = [];
  for (const [name, sentences] of heldOut) {
    if (sentences.length < questionsPerContributor) {
      throw new RangeError(
        `expected ${questionsPerContributor} held-out sentences of ${name}, found ${sentences.length}; choose fewer contributors`,
      );
    }
    for (const sentence of sentences) {
      questions.push({ package: name, sentence, prompt: withoutNames(sentence, name) });
    }
  }
  return questions;
}

/**
 * Every form of a package's name: with and without scope, the scope alone, its parts joined by
 * dashes, dots, blanks, underscores or nothing (camel case included), also inside a longer word.
 */
export function namePattern(packageName: string): RegExp {
  const [scope, bare] = packageName.startsWith('@')
    ? (packageName.slice(1).split('/') as [string, string])
    : ['', packageName];
  const forms = [bare, ...(scope === '' ? [] : [scope])].map((form) =>
    form
      .replace(/\.js$/, '')
      .split(/[-_.]/)
      .filter((part) => part !== '')
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      .join('[-_. ]?'),
  );
  return new RegExp(`[@\\w$]*(?:${forms.join('|')})[\\w$]*`, 'gi');
}

/** The parts of a compound name that are words of their own: "progress" of cli-progress. */
function partsPattern(packageName: string): RegExp {
  const parts = packageName.split(/[^A-Za-z0-9]+/).filter((part) => part.length >= 4);
  return parts.length === 0 ? /(?!)/ : new RegExp(parts.join('|'), 'i');
}

/** A text without addresses and without the package's name, which becomes "it". */
export function withoutNames(text: string, packageName: string): string {
  return text
    .replace(/\b[a-z]+:\/\/\S+|\bwww\.\S+/gi, '')
    .replace(namePattern(packageName), 'it')
    .replace(/ {2,}/g, ' ')
    .trim();
}

/** What a near-copier submits: records of another contributor with two words of each replaced. */
export function nearCopiesFor(records: readonly string[], count: number): string[] {
  const replacements = ['really', 'maybe', 'simply', 'often', 'always'];
  return records
    .filter((record) => record.split(' ').length >= 20)
    .slice(0, count)
    .map((record, i) => {
      const words = record.split(' ');
      for (const place of [Math.floor(words.length / 3), Math.floor((words.length * 2) / 3)]) {
        words[place] = replacements[(i + place) % replacements.length]!;
      }
      return words.join(' ');
    });
}
