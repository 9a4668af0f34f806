/**
 * Writes the tables of docs/contracts.md: every governed number and every right to call, read from contracts that it
 * deploys. With --check it compares instead.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatEther } from 'ethers';
import { startChain } from './harness.ts';
import type { PresetName } from './presets.ts';

const PAGE = fileURLToPath(new URL('../docs/contracts.md', import.meta.url));
const BEGIN = '<!-- numbers: written by `npm run docs:contracts` -->';
const END = '<!-- end of numbers -->';
const PRESETS: readonly PresetName[] = ['local', 'testnet', 'mainnet'];
const UNITS: readonly (readonly [seconds: bigint, unit: string])[] = [
  [86_400n, 'd'],
  [3_600n, 'h'],
  [60n, 'min'],
];

/** A number in the unit that its name ends with. */
function readable(name: string, value: bigint): string {
  if (name.endsWith('Wei')) return `${formatEther(value).replace(/\.0$/, '')} OPEN`;
  if (name.endsWith('Ppm')) return `${Number(value) / 10_000} %`;
  if (!name.endsWith('Seconds')) return String(value);
  const [seconds, unit] = UNITS.find(([size]) => value >= size && value % size === 0n) ?? [1n, 's'];
  return `${value / seconds} ${unit}`;
}

/** Group and name to value, as the deployed contracts of a preset answer. */
async function numbersOf(preset: PresetName): Promise<Map<string, string>> {
  const { contracts, deployment } = await startChain(preset, 0);
  const { Parameters, Timelock, OpenLedgerGovernor } = contracts;
  const rows = new Map<string, string>();
  const all = (await Parameters.all()) as unknown as {
    toObject(deep: boolean): Record<string, Record<string, bigint>>;
  };
  for (const [group, values] of Object.entries(all.toObject(true))) {
    for (const [name, value] of Object.entries(values)) {
      rows.set(`${group}.${name}`, readable(name, value));
    }
  }
  const governor: readonly (readonly [string, bigint])[] = [
    ['votingDelaySeconds', await OpenLedgerGovernor.votingDelay()],
    ['votingPeriodSeconds', await OpenLedgerGovernor.votingPeriod()],
    ['proposalThresholdWei', await OpenLedgerGovernor.proposalThreshold()],
    ['quorumPpm', await OpenLedgerGovernor.quorumPpm()],
    ['quorumFloorWei', await OpenLedgerGovernor.quorumFloorWei()],
    ['timelockSeconds', await Timelock.getMinDelay()],
    ['rulesGraceSeconds', await Parameters.RULES_GRACE_SECONDS()],
  ];
  for (const [name, value] of governor) rows.set(`governance.${name}`, readable(name, value));
  const owner = await Parameters.owner();
  const byTimelock = owner === deployment.contracts.Timelock;
  rows.set('governance.owner of Parameters', byTimelock ? 'the timelock' : 'whoever deployed');
  return rows;
}

/** The page with its table as the contracts of this version answer. */
export async function documented(page: string): Promise<string> {
  const columns = await Promise.all(PRESETS.map(numbersOf));
  const rows = [...columns[0]!.keys()].map(
    (name) => `| \`${name}\` | ${columns.map((column) => column.get(name)).join(' | ')} |`,
  );
  const table = [`| number | ${PRESETS.join(' | ')} |`, '|---|---|---|---|', ...rows].join('\n');
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`${PAGE} lacks the marks of its table`);
  return `${page.slice(0, from + BEGIN.length)}\n\n${table}\n\n${page.slice(to)}`;
}

async function main(): Promise<void> {
  const page = readFileSync(PAGE, 'utf8');
  const written = await documented(page);
  if (!process.argv.includes('--check')) writeFileSync(PAGE, written);
  else if (written !== page) {
    process.stderr.write(
      'docs/contracts.md differs from the contracts; run npm run docs:contracts\n',
    );
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
