/**
 * `npm run test:contracts`: the long tests of the contracts. Fuzz and invariants by forge with what they reached, the
 * integration tests on each local engine, soft-float against Math.fround on 100,000 pairs per operation, coverage;
 * `--nightly` fuzzes 10,000 times each, `--integration embedded|anvil|both` runs only the integration tests,
 * `--mutate --seed N --count N` breaks the contracts on purpose and counts what the tests notice, with `--survivors`
 * trying again only what nobody noticed so far; `--json` puts their result on stdout.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { coverage } from './coverage.ts';
import { forge } from './forge.ts';
import { CACHE, foundryBinary, ROOT } from './foundry.ts';
import { longFloats } from './long-floats.ts';
import { mutate, placeOf } from './mutate.ts';

const REACHED = join(CACHE, 'reached.jsonl');

type Kind = {
  Fuzz?: { runs: number };
  Invariant?: { runs: number; calls: number; reverts: number };
  Unit?: unknown;
};
type Suites = Record<
  string,
  { test_results: Record<string, { status: string; reason: string | null; kind: Kind }> }
>;

const { values } = parseArgs({
  options: {
    nightly: { type: 'boolean', default: false },
    integration: { type: 'string' },
    mutate: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '100' },
    survivors: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
let failures = 0;
const say = (line: string) => (values.json ? process.stderr : process.stdout).write(`${line}\n`);

/** Runs every `.t.sol` and says what ran; zero of an outcome that must be reached is a failure. */
function fuzzAndInvariants(): void {
  rmSync(REACHED, { force: true });
  const runs = values.nightly ? 10_000 : 1_000;
  const { stdout, stderr } = forge(['test', '--json', '--fuzz-runs', String(runs)]);
  const json = stdout.slice(stdout.indexOf('{'));
  if (!json.startsWith('{')) throw new Error(`forge gave no results:\n${stdout}\n${stderr}`);
  const totals = { tests: 0, fuzzRuns: 0, invariantRuns: 0, calls: 0 };
  for (const [suite, { test_results: results }] of Object.entries(JSON.parse(json) as Suites)) {
    for (const [name, { status, reason, kind }] of Object.entries(results)) {
      totals.tests += 1;
      totals.fuzzRuns += kind.Fuzz?.runs ?? 0;
      totals.invariantRuns += kind.Invariant?.runs ?? 0;
      totals.calls += kind.Invariant?.calls ?? 0;
      if (status === 'Success') continue;
      failures += 1;
      say(`FAIL  ${suite} ${name}: ${reason ?? 'no reason given'}`);
    }
  }
  say(
    `forge: ${totals.tests} tests, ${totals.fuzzRuns} fuzz runs, ${totals.calls} invariant calls in ${totals.invariantRuns} runs`,
  );
  reached();
}

function reached(): void {
  const lines = existsSync(REACHED) ? readFileSync(REACHED, 'utf8').trim().split('\n') : [];
  const sums: Record<string, number> = {
    slashes: 0,
    refunds: 0,
    timeouts: 0,
    lapses: 0,
    rejections: 0,
  };
  for (const line of lines) {
    for (const [outcome, count] of Object.entries(JSON.parse(line) as Record<string, number>)) {
      sums[outcome] = (sums[outcome] ?? 0) + count;
    }
  }
  const parts = Object.entries(sums).map(([outcome, count]) => `${outcome} ${count}`);
  say(`reached: ${parts.join(', ')}`);
  for (const [outcome, count] of Object.entries(sums)) {
    if (count > 0) continue;
    failures += 1;
    say(`FAIL  no run reached any ${outcome}`);
  }
}

async function floats(): Promise<void> {
  for (const { operation, compared, differences } of await longFloats()) {
    say(`soft-float ${operation.padEnd(8)} ${compared} pairs, ${differences.length} differences`);
    for (const difference of differences) say(`FAIL  ${difference}`);
    failures += differences.length;
  }
}

/** Runs the tests that `npm test -- contracts` runs on each of these engines. */
function integration(engines: readonly string[]): void {
  // Before many test processes want it at once.
  if (engines.includes('anvil')) foundryBinary('anvil');
  for (const engine of engines) {
    const { status, stdout } = spawnSync(
      process.execPath,
      [...process.execArgv, '--import', './scripts/test-setup.ts', 'scripts/test.ts', 'contracts'],
      {
        cwd: ROOT,
        encoding: 'utf8',
        env: { ...process.env, OPENLEDGER_TEST_ENGINE: engine },
        maxBuffer: 1 << 28,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const lines = stdout.trim().split('\n');
    if (status !== 0) {
      failures += 1;
      for (const line of lines) say(line);
    }
    say(`integration on ${engine}: ${lines.at(-1)}`);
  }
}

/** Nine of ten mutations must be noticed. */
function mutations(): void {
  const report = mutate(values.seed, Number(values.count), values.survivors, say);
  const { tried, caught, counts, survivors } = report;
  if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  for (const survivor of survivors) say(`survived: ${placeOf(survivor)}`);
  say(
    `mutations: ${caught} of ${tried} caught (${counts.forge} by forge, ${counts.typescript} by TypeScript), ` +
      `${counts.survived} survived, ${counts.unfinished} ran out of time; drawn again: ` +
      `${counts['same code']} of the same code, ${counts['not Solidity']} that were no Solidity`,
  );
  if (10 * caught < 9 * tried) failures += 1;
}

const ENGINES = ['embedded', 'anvil'];
if (values.mutate) mutations();
else if (values.integration !== undefined) {
  integration(values.integration === 'both' ? ENGINES : [values.integration]);
} else {
  fuzzAndInvariants();
  integration(ENGINES);
  await floats();
  const { rows, enough } = coverage();
  for (const row of rows) say(row);
  if (!enough) {
    failures += 1;
    say('FAIL  below 95 % of the lines or of the branches');
  }
}
say(failures === 0 ? 'all pass' : `${failures} failures`);
process.exitCode = failures === 0 ? 0 : 1;
