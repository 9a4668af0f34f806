/** A peer that cannot be had ends the bench with a reason. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startPython } from './peers.ts';

const folder = mkdtempSync(join(tmpdir(), 'peers-'));
after(() => rmSync(folder, { recursive: true }));

test('PEER_ABSENT: no such program, and one that ends without an answer', async () => {
  const missing = startPython(join(folder, 'none'), 'script', [], 1);
  await assert.rejects(missing.ask({}), { code: 'PEER_ABSENT', message: /ENOENT/ });
  const script = join(folder, 'ends.cjs');
  writeFileSync(script, 'process.exit(3)');
  const ending = startPython(process.execPath, script, [], 1);
  await assert.rejects(ending.ask({}), { code: 'PEER_ABSENT', message: /code 3/ });
  await assert.rejects(ending.ask({}), { code: 'PEER_ABSENT', message: /code 3/ });
});

test('an answer per request, in order', async () => {
  const script = join(folder, 'echoes.cjs');
  const echo = `require('node:readline').createInterface({ input: process.stdin })
    .on('line', (line) => console.log(line));`;
  writeFileSync(script, echo);
  const child = startPython(process.execPath, script, [], 1);
  const answers = await Promise.all([child.ask({ n: 1 }), child.ask({ n: 2 })]);
  assert.deepEqual(answers, [{ n: 1 }, { n: 2 }]);
  child.close();
});
