/**
 * Breaks the contracts on purpose, one seeded mutation at a time in a copy of the tree, and sees whether a test notices:
 * forge's first, because they are quick, then the TypeScript ones.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { forge } from './forge.ts';
import { CACHE, ROOT } from './foundry.ts';
import { allMutations, type Mutation } from './mutations.ts';

const COPY = join(ROOT, '.cache', 'mutants');
const COPIED = ['contracts', 'crypto', 'bin', 'package.json', 'tsconfig.json', 'foundry.toml'];
const TS = ['-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];

/** Who noticed, if anybody. */
type Outcome = 'forge' | 'typescript' | 'survived' | 'not Solidity';

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

function prepare(): void {
  rmSync(COPY, { recursive: true, force: true });
  mkdirSync(join(COPY, '.cache'), { recursive: true });
  for (const name of COPIED) cpSync(join(ROOT, name), join(COPY, name), { recursive: true });
  // A warning, of an unused variable for instance, is no test that noticed.
  const compiler = join(COPY, 'contracts', 'compile.ts');
  const text = readFileSync(compiler, 'utf8');
  const lenient = text.replace("severity === 'warning' &&", 'false &&');
  if (lenient === text) throw new Error('contracts/compile.ts no longer refuses warnings here');
  writeFileSync(compiler, lenient);
  // What forge has compiled so far comes along, so that only what a mutation touches is compiled.
  cpSync(CACHE, join(COPY, '.cache', 'forge'), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(COPY, 'node_modules'));
}

function run(command: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd: COPY, encoding: 'utf8', maxBuffer: 1 << 28 });
}

function caughtByForge(): 'yes' | 'no' | 'not Solidity' {
  const { status, stdout, stderr } = forge(
    ['test', '--fail-fast', '--fuzz-runs', '64'],
    { FOUNDRY_INVARIANT_RUNS: '8' },
    COPY,
  );
  if (status === 0) return 'no';
  return /Ran \d+ tests? for/.test(stdout) || !/Compiler run failed|Error/.test(stdout + stderr)
    ? 'yes'
    : 'not Solidity';
}

function caughtByTypeScript(): boolean {
  const built = run('node', [...TS, 'contracts/compile.ts']);
  if (built.status !== 0) return true;
  const files = readdirSync(join(COPY, 'contracts', 'test')).filter((name) =>
    name.endsWith('.test.ts'),
  );
  return files.some((name) => {
    const { status } = run('node', [...TS, '--test', join('contracts', 'test', name)]);
    return status !== 0;
  });
}

function tryOne(mutation: Mutation): Outcome {
  const path = join(COPY, 'contracts', mutation.file);
  const original = readFileSync(path);
  const end = mutation.start + mutation.length;
  // A dropped statement takes its semicolon with it.
  const rest = original[end] === 0x3b && mutation.text === '{}' ? end + 1 : end;
  writeFileSync(
    path,
    Buffer.concat([
      original.subarray(0, mutation.start),
      Buffer.from(mutation.text),
      original.subarray(rest),
    ]),
  );
  try {
    const byForge = caughtByForge();
    if (byForge === 'not Solidity') return byForge;
    if (byForge === 'yes') return 'forge';
    return caughtByTypeScript() ? 'typescript' : 'survived';
  } finally {
    writeFileSync(path, original);
  }
}

/** @returns how many of `count` mutations that compile no test noticed */
export function mutate(seed: string, count: number, say: (line: string) => void): number {
  prepare();
  const counts: Record<Outcome, number> = {
    forge: 0,
    typescript: 0,
    survived: 0,
    'not Solidity': 0,
  };
  for (const mutation of drawn(seed)) {
    if (counts.forge + counts.typescript + counts.survived >= count) break;
    const outcome = tryOne(mutation);
    counts[outcome] += 1;
    const text = mutation.text.replaceAll(/\s+/g, ' ').slice(0, 100);
    say(`${outcome}: contracts/${mutation.file}:${mutation.line} ${mutation.kind}: ${text}`);
  }
  const tried = counts.forge + counts.typescript + counts.survived;
  const caught = counts.forge + counts.typescript;
  say(
    `mutations: ${caught} of ${tried} caught (${counts.forge} by forge, ${counts.typescript} by TypeScript), ` +
      `${counts.survived} survived, ${counts['not Solidity']} were no Solidity and were drawn again`,
  );
  return counts.survived;
}
