/**
 * Runs the tests of the folders or files named on the command line, or all of them, and closes with
 * one line that CI can read: `N passed, N failed`. End-to-end tests (test/e2e) run one file at a
 * time, because each starts a whole swarm on the machine's few cores.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const FOLDERS = [
  'crypto',
  'protocol',
  'runtime',
  'node',
  'sim',
  'contracts',
  'scripts',
  'bench',
  'test',
].filter((folder) => existsSync(folder));

type Totals = { passed: number; failed: number; skipped: number };

function testFiles(target: string): string[] {
  if (statSync(target).isFile()) return [resolve(target)];
  return readdirSync(target, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(process.cwd(), target, name));
}

async function runFiles(files: string[], concurrency: boolean | number, totals: Totals) {
  if (files.length === 0) return;
  const stream = run({ files: files.sort(), concurrency });
  stream.on('test:pass', ({ details, skip }) => {
    if (details.type === 'suite') return;
    if (skip === undefined) totals.passed += 1;
    else totals.skipped += 1;
  });
  stream.on('test:fail', ({ details }) => {
    if (details.type !== 'suite') totals.failed += 1;
  });
  const report = stream.compose(new spec());
  for await (const chunk of report) process.stdout.write(chunk);
}

const targets = process.argv.slice(2);
const files = (targets.length > 0 ? targets : FOLDERS).flatMap(testFiles);
const isEndToEnd = (file: string) => file.includes(`${join('test', 'e2e')}`);
const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
await runFiles(
  files.filter((file) => !isEndToEnd(file)),
  2,
  totals,
);
await runFiles(
  files.filter((file) => isEndToEnd(file)),
  1,
  totals,
);
const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : '';
console.log(`${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exitCode = totals.failed > 0 || totals.passed === 0 ? 1 : 0;
