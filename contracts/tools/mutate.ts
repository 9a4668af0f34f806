/**
 * Breaks the contracts on purpose, one seeded mutation at a time, and sees whether a test notices: forge's first,
 * because they are quick, then the TypeScript ones. What was tried is kept in the cache by seed, sources and tests, so
 * that an interrupted run goes on where it was.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './foundry.ts';
import { type Outcome, type Verdict, Workshop } from './mutants.ts';
import { allMutations, type Mutation } from './mutations.ts';

const RESULTS = join(ROOT, '.cache', 'mutations');
/** Drawn again: there was nothing for a test to notice. */
const NOT_TRIED: readonly Outcome[] = ['same code', 'not Solidity'];

export type Tried = Verdict & { readonly mutation: Mutation; readonly tests: string };
export type Report = {
  readonly seed: string;
  readonly tried: number;
  readonly caught: number;
  readonly counts: Readonly<Record<Outcome, number>>;
  readonly survivors: readonly Mutation[];
};

/** Mutations in an order that the seed fixes, from every contract in turn. */
function* drawn(seed: string): Generator<Mutation> {
  const rank = (mutation: Mutation) =>
    createHash('sha256')
      .update(`${seed}/${JSON.stringify(mutation)}`)
      .digest('hex');
  const queues = [...allMutations().values()].map((list) =>
    list
      .map((mutation) => ({ mutation, key: rank(mutation) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1)),
  );
  for (let place = 0; queues.some((queue) => place < queue.length); place += 1) {
    for (const queue of queues) {
      const next = queue[place];
      if (next !== undefined) yield next.mutation;
    }
  }
}

/** Hash of every file under these folders of contracts/. */
function hashOf(...folders: readonly string[]): string {
  const hash = createHash('sha256');
  for (const folder of folders) {
    const path = join(ROOT, 'contracts', folder);
    for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' }).sort()) {
      if (/\.(sol|ts)$/.test(name)) hash.update(name).update(readFileSync(join(path, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

/** Earlier results, by mutation; a later line replaces an earlier one. */
function earlier(path: string): Map<string, Tried> {
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  const results = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Tried);
  return new Map(results.map((tried) => [JSON.stringify(tried.mutation), tried]));
}

/** A workshop whose tests pass without a mutation; the time that they may take is kept in a file. */
function opened(sources: string, say: (line: string) => void): Workshop {
  const workshop = new Workshop(sources);
  const limitFile = join(RESULTS, `limit-${sources}`);
  if (!existsSync(limitFile)) {
    writeFileSync(limitFile, String(workshop.baseline()));
    say('without a mutation every test passes');
  }
  workshop.limitMs = Number(readFileSync(limitFile, 'utf8'));
  return workshop;
}

export function placeOf({ file, line, kind, text }: Mutation): string {
  return `contracts/${file}:${line} ${kind}: ${text.replaceAll(/\s+/g, ' ').slice(0, 100)}`;
}

/**
 * Tries `count` mutations that compile to other code: all by forge, then what it missed by the TypeScript tests.
 * @param survivorsOnly whether a mutation that was caught by earlier tests counts as caught by these without a try
 * @throws Error when a test fails on the contracts as they are
 */
export function mutate(
  seed: string,
  count: number,
  survivorsOnly: boolean,
  say: (line: string) => void,
): Report {
  mkdirSync(RESULTS, { recursive: true });
  const path = join(RESULTS, `${seed}-${hashOf('src')}.jsonl`);
  const tests = hashOf('test', 'test-forge');
  const known = earlier(path);
  let workshop: Workshop | undefined;
  const open = () => {
    workshop ??= opened(hashOf('src', 'test', 'test-forge'), say);
    return workshop;
  };
  const keep = (mutation: Mutation, verdict: Verdict): Verdict => {
    appendFileSync(path, `${JSON.stringify({ ...verdict, mutation, tests })}\n`);
    return verdict;
  };
  const remembered = (mutation: Mutation): Verdict | undefined => {
    const before = known.get(JSON.stringify(mutation));
    if (before === undefined) return undefined;
    const caught = before.outcome === 'forge' || before.outcome === 'typescript';
    const isStill = before.tests === tests || NOT_TRIED.includes(before.outcome);
    return isStill || (survivorsOnly && caught) ? before : undefined;
  };
  const counts: Record<Outcome, number> = {
    forge: 0,
    typescript: 0,
    survived: 0,
    unnoticed: 0,
    unfinished: 0,
    'same code': 0,
    'not Solidity': 0,
  };
  const verdicts = new Map<Mutation, Verdict>();
  const report = (mutation: Mutation, { outcome, by }: Verdict): void => {
    const who = by === '' ? outcome : `${outcome} (${by})`;
    say(`${verdicts.size}/${count} ${who}: ${placeOf(mutation)}`);
  };
  for (const mutation of drawn(seed)) {
    if (verdicts.size >= count) break;
    const verdict = remembered(mutation) ?? keep(mutation, open().tryForge(mutation));
    if (NOT_TRIED.includes(verdict.outcome)) counts[verdict.outcome] += 1;
    else verdicts.set(mutation, verdict);
    report(mutation, verdict);
  }
  for (const [mutation, { outcome }] of verdicts) {
    if (outcome !== 'unnoticed') continue;
    const verdict = keep(mutation, open().tryTypescript(mutation));
    verdicts.set(mutation, verdict);
    report(mutation, verdict);
  }
  for (const { outcome } of verdicts.values()) counts[outcome] += 1;
  const caught = counts.forge + counts.typescript;
  const survivors = [...verdicts]
    .filter(([, { outcome }]) => outcome !== 'forge' && outcome !== 'typescript')
    .map(([mutation]) => mutation);
  return { seed, tried: verdicts.size, caught, counts, survivors };
}
