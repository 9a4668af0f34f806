/**
 * `npm run check`: format, lint, purity of the core, types, layers, dead code, and that committed
 * artefacts (WebAssembly, contract bindings) are what their sources compile to. Prints one line per
 * check and the output of those that fail.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

type Check = { name: string; command: string[]; needs?: string };

const TS = ['node', '-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];
const FOLDERS = ['crypto', 'protocol', 'runtime', 'contracts', 'node', 'sim'].filter(existsSync);
const CHECKS: Check[] = [
  {
    name: 'format and lint',
    command: ['npx', '--no-install', 'biome', 'ci', '--max-diagnostics=60', '.'],
  },
  { name: 'types', command: ['npx', '--no-install', 'tsc', '--noEmit'] },
  {
    name: 'layers',
    command: [
      'npx',
      '--no-install',
      'depcruise',
      '--config',
      'dependency-cruiser.config.mjs',
      ...FOLDERS,
      'scripts',
      'bench',
    ],
  },
  { name: 'dead code', command: ['npx', '--no-install', 'knip'] },
  { name: 'contract bindings', command: [...TS, 'contracts/compile.ts', '--check'] },
  {
    name: 'kernels.wasm',
    command: [...TS, 'runtime/kernels/build.ts', '--check'],
    needs: 'clang-19',
  },
];

let failures = 0;
for (const { name, command, needs } of CHECKS) {
  const startedAtMs = Date.now();
  if (needs !== undefined && spawnSync('which', [needs]).status !== 0) {
    console.log(`skip  ${name} (needs ${needs}, which is not installed)`);
    continue;
  }
  const [program, ...args] = command;
  const ended = spawnSync(program as string, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  const seconds = ((Date.now() - startedAtMs) / 1000).toFixed(1);
  console.log(`${ended.status === 0 ? 'ok   ' : 'FAIL '} ${name} (${seconds} s)`);
  if (ended.status === 0) continue;
  failures += 1;
  console.log(`${ended.stdout}\n${ended.stderr}`);
}
process.exitCode = failures === 0 ? 0 : 1;
