/** Two processes never share a data directory; a dead one does not keep it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockDataDir } from './data-lock.ts';

test('DATA_DIR_LOCKED while another process lives, free after it died', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lock-'));
  const other = spawn('sleep', ['30']);
  writeFileSync(join(folder, 'node.lock'), String(other.pid));
  assert.throws(() => lockDataDir(folder), { code: 'DATA_DIR_LOCKED' });
  other.kill('SIGKILL');
  await new Promise((resolve) => other.once('exit', resolve));
  const free = lockDataDir(folder);
  free();
  lockDataDir(folder)();
  rmSync(folder, { recursive: true });
});

test('a killed process that nobody has waited for holds no lock', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lock-'));
  // The shell becomes a `sleep`, which waits for nobody: its ended child stays as a zombie.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 300']);
  const pid = await new Promise<string>((resolve) =>
    parent.stdout.once('data', (text) => resolve(String(text).trim())),
  );
  writeFileSync(join(folder, 'node.lock'), pid);
  try {
    while (/\) [^Z] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
      await new Promise((resolve) => setImmediate(resolve));
    lockDataDir(folder)();
  } finally {
    parent.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});
