/** The command line as a process: what a shell sees of it when its reader has gone. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const POLYFILL = fileURLToPath(new URL('../bin/polyfill.mjs', import.meta.url));

/** Runs a command line whose standard output (or error) nobody reads; the other one is returned. */
async function runWithout(closed: 'stdout' | 'stderr', args: readonly string[]) {
  const run = `import { main } from ${JSON.stringify(MAIN)};
    process.exitCode = await main(${JSON.stringify(args)});`;
  const node = ['-C', 'source', '--import', POLYFILL, '--import', 'tsx', '--input-type=module'];
  const child = spawn(process.execPath, [...node, '-e', run], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Long before the child can write: its first write finds the pipe closed.
  child[closed].destroy();
  let said = '';
  const other = closed === 'stdout' ? child.stderr : child.stdout;
  other.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code] = await once(child, 'close');
  return { code, said };
}

test('a closed standard output ends a command quietly', async () => {
  assert.deepEqual(await runWithout('stdout', ['--help']), { code: 0, said: '' });
});

test('a closed standard error changes neither result nor exit code', async () => {
  const { code, said } = await runWithout('stderr', ['--json', '--data-dir', '/nowhere', 'info']);
  assert.equal(code, 3);
  assert.equal(JSON.parse(said).code, 'NOT_RUNNING');
});
