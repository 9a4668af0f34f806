/**
 * `npm run check:model`: the life and disputes of two tasks (contracts/tools/model/life.pml), searched exhaustively by
 * Spin. The full rules must hold everywhere; with any one rule removed the search must find a counter-example.
 * Needs `spin` and a C compiler (on Debian: apt-get install spin gcc).
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './foundry.ts';

const MODEL = join(ROOT, 'contracts', 'tools', 'model', 'life.pml');
const FOLDER = join(ROOT, '.cache', 'model');

/** A rule's absence, and the property whose assertion has to fail then. */
const REMOVED: readonly (readonly [flags: readonly string[], rule: string, breaks: RegExp])[] = [
  [['DEFAULT_SLASHES_VOTERS'], 'a default is no proof against voters', /honestVerifier/],
  [['VOTE_ATTESTS_ALL'], 'a vote attests its own segment only', /honestVerifier/],
  [['ONE_CHALLENGE'], 'challenges run in parallel', /good\[/],
  [['NO_EXTENSION', 'T_DA=2'], 'a data answer extends the window', /good\[/],
  [['EARLY_RELEASE'], 'stake stays locked to the end of the window', /lock\[.*==2/],
  [['MAJORITY_JURY'], 'the referee decides, no majority', /honestProvider/],
  [['SHARED_LOCK'], 'each task has a lock of its own', /lock\[.*==2/],
];

/** What must be reached for the search to mean anything: the model is told that it never is, and has to be refuted. */
const OUTCOMES: readonly (readonly [flag: string, outcome: string])[] = [
  ['NEVER=4', 'a result accepted'],
  ['NEVER=5', 'a result rejected and its lock slashed'],
  ['NEVER=6', 'a refund'],
  ['NEVER_SEAT', 'a verifier slashed'],
];

type Search = { violated: string | null; states: number; seconds: number; complete: boolean };

function must(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: FOLDER,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (error !== undefined || status !== 0) {
    throw new Error(`Expected ${command} to run; install spin and gcc.\n${stdout}${stderr}`);
  }
  return stdout;
}

/** Generates, compiles and runs one search. */
function search(flags: readonly string[]): Search {
  must('spin', ['-a', ...flags.map((flag) => `-D${flag}`), MODEL]);
  must('cc', [
    '-O2',
    '-w',
    '-DNOREDUCE',
    '-DSAFETY',
    '-DCOLLAPSE',
    '-DMEMLIM=6000',
    '-o',
    'pan',
    'pan.c',
  ]);
  const startedAt = process.hrtime.bigint();
  const output = must('./pan', ['-m100000']);
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  return {
    violated: /assertion violated (.*) \(at depth/.exec(output)?.[1] ?? null,
    states: Number(/(\d+(?:\.\d+e\+\d+)?) states, stored/.exec(output)?.[1] ?? 0),
    seconds,
    complete: !/Search not completed|out of memory|max search depth/.test(output),
  };
}

const say = (line: string) => process.stdout.write(`${line}\n`);
let failures = 0;
mkdirSync(FOLDER, { recursive: true });

const full = search([]);
const holds = full.violated === null && full.complete && full.states > 0;
if (!holds) failures += 1;
say(
  `${holds ? 'ok   ' : 'FAIL '} full rules: ${full.states} states in ${full.seconds.toFixed(1)} s, ` +
    `${full.violated === null ? 'no property violated' : `violated ${full.violated}`}${full.complete ? '' : ', incomplete'}`,
);
for (const [flag, outcome] of OUTCOMES) {
  const { violated, states } = search([flag]);
  if (violated === null) failures += 1;
  say(`${violated === null ? 'FAIL ' : 'ok   '} reached: ${outcome} (after ${states} states)`);
}
for (const [flags, rule, breaks] of REMOVED) {
  const { violated, states } = search(flags);
  const found = violated !== null && breaks.test(violated.replaceAll(' ', ''));
  if (!found) failures += 1;
  say(
    `${found ? 'ok   ' : 'FAIL '} without "${rule}" (${flags[0]}): ` +
      `${violated === null ? 'no counter-example' : `counter-example after ${states} states, ${violated}`}`,
  );
}
say(
  failures === 0
    ? 'all properties held, every removed rule has its counter-example'
    : `${failures} failures`,
);
process.exitCode = failures === 0 ? 0 : 1;
