/** Lines and branches of contracts/src that forge's tests run. What only the TypeScript tests run is not counted. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { forge } from './forge.ts';
import { CACHE } from './foundry.ts';

type Counts = { lines: number; linesHit: number; branches: number; branchesHit: number };

/** The records of an lcov file by source path. */
function parseLcov(text: string): Map<string, Counts> {
  const files = new Map<string, Counts>();
  let counts: Counts = { lines: 0, linesHit: 0, branches: 0, branchesHit: 0 };
  for (const line of text.split('\n')) {
    const [field, value = ''] = line.split(':');
    if (field === 'SF') {
      counts = { lines: 0, linesHit: 0, branches: 0, branchesHit: 0 };
      files.set(value, counts);
    } else if (field === 'LF') counts.lines = Number(value);
    else if (field === 'LH') counts.linesHit = Number(value);
    else if (field === 'BRF') counts.branches = Number(value);
    else if (field === 'BRH') counts.branchesHit = Number(value);
  }
  return files;
}

function row(name: string, counts: Counts): string {
  const share = (hit: number, all: number) =>
    `${(all === 0 ? 100 : (100 * hit) / all).toFixed(1)} % (${hit}/${all})`;
  return `coverage ${name.padEnd(26)} lines ${share(counts.linesHit, counts.lines).padEnd(20)} branches ${share(counts.branchesHit, counts.branches)}`;
}

/** Share of lines, and of branches, that must be run. */
const LEAST = 0.95;

/**
 * Runs the suite once more on instrumented contracts, with fewer runs: instrumented code is slow.
 * @returns a line per source and one for all, and whether all of them together are covered enough
 */
export function coverage(): { readonly rows: readonly string[]; readonly enough: boolean } {
  const report = join(CACHE, 'lcov.info');
  const { status, stdout, stderr } = forge(
    [
      'coverage',
      '--report',
      'lcov',
      '--report-file',
      report,
      '--exclude-tests',
      '--fuzz-runs',
      '64',
    ],
    { FOUNDRY_INVARIANT_RUNS: '16' },
  );
  if (status !== 0) throw new Error(`forge coverage failed:\n${stdout.slice(-2_000)}\n${stderr}`);
  const total: Counts = { lines: 0, linesHit: 0, branches: 0, branchesHit: 0 };
  const rows: string[] = [];
  for (const [path, counts] of parseLcov(readFileSync(report, 'utf8'))) {
    if (path.includes('src/test/')) continue;
    for (const key of Object.keys(total) as (keyof Counts)[]) total[key] += counts[key];
    rows.push(row(path.replace('contracts/src/', ''), counts));
  }
  const { lines, linesHit, branches, branchesHit } = total;
  const enough = linesHit >= LEAST * lines && branchesHit >= LEAST * branches && lines > 0;
  return { rows: [...rows, row('all of contracts/src', total)], enough };
}
