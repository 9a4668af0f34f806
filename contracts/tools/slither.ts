/**
 * `npm run slither`: Slither over contracts/src, in a virtual environment of its own under .cache/slither. Every finding
 * must stand in slither-explained.json with the reason why it is none, and everything that stands there must be found.
 * Needs Python 3 with its venv module, and on the first run PyPI.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './foundry.ts';
import { contractSources } from './mutations.ts';

const PACKAGES = ['slither-analyzer==0.11.6', 'crytic-compile==0.4.2'];
const ENVIRONMENT = join(ROOT, '.cache', 'slither', PACKAGES.join('_'));
const EXPLAINED = join(ROOT, 'contracts', 'tools', 'slither-explained.json');

type Element = { name: string; type_specific_fields?: { parent?: Element } };
type Finding = { check: string; impact: string; description: string; elements: Element[] };
type Report = { success: boolean; error: string | null; results: { detectors?: Finding[] } };
/** By detector: places, named without lines and types, which change too easily, and why they are right. */
type Explanations = Record<string, { why: string; places: string[] }[]>;

const say = (line: string) => process.stdout.write(`${line}\n`);

/** What this machine lacks; it is said, not thrown as a fault of ours. */
class Absent extends Error {}

/** Runs a command; its output is an error's text when it fails. */
function must(command: string, args: readonly string[], otherwise: string): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Absent(`${otherwise}\n${error?.message ?? `${stdout}${stderr}`.trim()}`);
}

/** The slither command's path; makes its environment where that is missing. */
function slitherCommand(): string {
  const command = join(ENVIRONMENT, 'bin', 'slither');
  if (existsSync(command)) return command;
  // An environment that was left half made is no use.
  rmSync(ENVIRONMENT, { recursive: true, force: true });
  mkdirSync(ENVIRONMENT, { recursive: true });
  must('python3', ['-m', 'venv', ENVIRONMENT], 'Slither needs Python 3 with its venv module.');
  must(
    join(ENVIRONMENT, 'bin', 'python'),
    ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES],
    `Slither needs PyPI once, for ${PACKAGES.join(' and ')}.`,
  );
  return command;
}

/** Runs every detector on our contracts as we compile them. */
function findings(command: string): Finding[] {
  // Not below the checkout: there slither would find foundry.toml and ask forge.
  const folder = mkdtempSync(join(tmpdir(), 'slither-'));
  try {
    symlinkSync(join(ROOT, 'contracts', 'src'), join(folder, 'src'));
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const input = {
      language: 'Solidity',
      sources: Object.fromEntries(
        contractSources().map((file) => [
          file,
          { content: readFileSync(join(folder, file), 'utf8') },
        ]),
      ),
      settings: {
        evmVersion: 'prague',
        optimizer: { enabled: true, runs: 200 },
        outputSelection: {
          '*': { '*': ['abi', 'evm.bytecode', 'evm.deployedBytecode'], '': ['ast'] },
        },
      },
    };
    writeFileSync(join(folder, 'input.json'), JSON.stringify(input));
    const args = ['input.json', '--compile-force-framework', 'solc-json', '--json', 'report.json'];
    const solc = join(ROOT, 'contracts', 'tools', 'solc.mjs');
    // It exits with an error when it finds anything, therefore only its report counts.
    const { stdout, stderr } = spawnSync(
      command,
      [...args, '--solc', solc, '--filter-paths', 'node_modules'],
      { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 },
    );
    const path = join(folder, 'report.json');
    const report = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Report) : null;
    if (report?.success !== true) {
      throw new Error(`slither gave no report: ${report?.error ?? ''}\n${stdout}${stderr}`);
    }
    return report.results.detectors ?? [];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** `Contract.function` or `Contract.function.variable`. */
function placeOf({ elements }: Finding): string {
  const names: string[] = [];
  for (let at = elements[0]; at !== undefined; at = at.type_specific_fields?.parent) {
    if (!at.name.endsWith('.sol')) names.unshift(at.name);
  }
  return names.join('.');
}

function main(): number {
  const found = findings(slitherCommand());
  const explanations = JSON.parse(readFileSync(EXPLAINED, 'utf8')) as Explanations;
  const explained = new Set(
    Object.entries(explanations).flatMap(([check, entries]) =>
      entries.flatMap(({ places }) => places.map((place) => `${check} ${place}`)),
    ),
  );
  const seen = new Set<string>();
  let failures = 0;
  for (const finding of found) {
    const key = `${finding.check} ${placeOf(finding)}`;
    seen.add(key);
    if (explained.has(key)) continue;
    failures += 1;
    say(`FAIL  unexplained (${finding.impact}): ${key}\n${finding.description.trim()}`);
  }
  for (const key of explained) {
    if (seen.has(key)) continue;
    failures += 1;
    say(`FAIL  explained, but found no longer: ${key}`);
  }
  const { length } = contractSources();
  say(`slither: ${found.length} findings in ${length} sources, ${explained.size} places explained`);
  say(failures === 0 ? 'nothing unexplained' : `${failures} failures`);
  return failures === 0 ? 0 : 1;
}

try {
  process.exitCode = main();
} catch (cause) {
  if (!(cause instanceof Absent)) throw cause;
  say(cause.message);
  process.exitCode = 1;
}
