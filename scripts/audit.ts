/**
 * `npm run audit -- DATA_DIR [--json]`: recomputes every figure that a run stated in its final JSON,
 * and says for each what was stated, what comes out, and whether they agree. Ends with 0 when all
 * agree, 1 when one does not, 2 when called wrongly, 3 when the run cannot be audited.
 */
import { parseArgs } from 'node:util';
import { audit } from './audit/audit.ts';
import { AuditError } from './audit/errors.ts';
import { tableOf } from './audit/report.ts';

const EXIT = { agrees: 0, disagrees: 1, usage: 2, impossible: 3 } as const;

/** Runs the command line; returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const wantsJson = args.includes('--json');
  const startedAtMs = performance.now();
  try {
    const result = await audit(dataDirOf(args));
    const seconds = Math.round((performance.now() - startedAtMs) / 100) / 10;
    if (wantsJson) console.log(JSON.stringify({ ...result, seconds }));
    else console.log(`${tableOf(result.figures)}\n\n${summaryOf(result, seconds)}`);
    return result.ok ? EXIT.agrees : EXIT.disagrees;
  } catch (error) {
    if (!(error instanceof AuditError)) throw error;
    const { code, message, details, fix } = error;
    if (wantsJson) console.log(JSON.stringify({ ok: false, code, message, details, fix }));
    console.error(`${message}\n${fix}`);
    return code === 'USAGE' ? EXIT.usage : EXIT.impossible;
  }
}

function dataDirOf(args: readonly string[]): string {
  const expected = 'one data directory and at most --json';
  try {
    const options = { json: { type: 'boolean' } } as const;
    const { positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const [dataDir] = positionals;
    if (dataDir !== undefined && positionals.length === 1) return dataDir;
  } catch (error) {
    throw new AuditError('USAGE', { expected, came: args.join(' ') }, error);
  }
  throw new AuditError('USAGE', { expected, came: args.join(' ') || 'nothing' });
}

function summaryOf({ figures, seen }: Awaited<ReturnType<typeof audit>>, seconds: number): string {
  const agreeing = figures.filter(({ agrees }) => agrees).length;
  const chain = seen.startedChain ? 'a replay of its journal' : `the running chain at ${seen.rpc}`;
  return [
    `${agreeing} of ${figures.length} figures agree, in ${seconds} s`,
    `${chain}, block ${seen.atBlock}: ${seen.transactions} transactions, ${seen.accounts} addresses`,
    `${seen.stores} nodes' blocks: ${seen.blocksRead} read, ${seen.blocksDamaged} copies damaged, ${seen.receipts} receipts verified`,
  ].join('\n');
}

process.exitCode = await main(process.argv.slice(2));
