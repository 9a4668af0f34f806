/**
 * `npm run -s bench -- SUITE [--json] [--only R1,R3] [--pairs 7]`: measures ratios of two arms that
 * alternate in one process, or compares digests, and prints a table or JSON. Exit code 1 when an exact row fails.
 */
import { parseArgs } from 'node:util';
import { bitsSuite } from './bits/suite.ts';
import { gpuSuite } from './gpu/suite.ts';
import { toleranceSuite } from './gpu/tolerance.ts';
import { streamedSuite } from './model/streamed.ts';
import { decodeRows } from './runtime/decode-rows.ts';
import { servingSuite } from './serving/suite.ts';
import type { Row, SuiteOptions } from './stats.ts';
import { tableOf } from './stats.ts';

const SUITES: Readonly<Record<string, (options: SuiteOptions) => Promise<Row[]>>> = {
  gpu: gpuSuite,
  bits: bitsSuite,
  serving: servingSuite,
  tolerance: toleranceSuite,
  streamed: streamedSuite,
  decode: decodeRows,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    pairs: { type: 'string', default: '7' },
    model: { type: 'string' },
  },
});
const suite = SUITES[positionals[0] ?? ''];
if (suite === undefined) {
  console.error(`expected a suite: ${Object.keys(SUITES).join(', ')}`);
  process.exit(2);
}
const only = values.only?.split(',');
const rows = await suite({
  pairs: Number(values.pairs),
  wants: (id) => only === undefined || only.includes(id),
  model: values.model,
  // Whoever reads JSON from stdout still sees that something moves.
  say: (line) => console.error(line),
});
console.log(values.json ? JSON.stringify(rows, null, 2) : tableOf(rows));
process.exitCode = rows.some(({ isExact, isMet }) => isExact && !isMet) ? 1 : 0;
