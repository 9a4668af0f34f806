/** Keys come back as they were written, and say why when they do not. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keyAt, readKey, writeKey } from './key-file.ts';

const KEY = new Uint8Array(32).fill(7);

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'key-'));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a bare key comes back and only its owner may read the file', () =>
  withFolder(async (folder) => {
    const file = join(folder, 'a.json');
    await writeKey(file, KEY, null);
    assert.deepEqual(await readKey(file, null), KEY);
    assert.equal(statSync(file).mode & 0o777, 0o600);
  }));

test('an encrypted key needs its password', () =>
  withFolder(async (folder) => {
    const file = join(folder, 'a.json');
    await writeKey(file, KEY, 'secret');
    assert.deepEqual(await readKey(file, 'secret'), KEY);
    await assert.rejects(readKey(file, 'wrong'), { code: 'KEY_INVALID' });
    await assert.rejects(readKey(file, null), { code: 'KEY_INVALID' });
  }));

test('KEY_INVALID: absent, damaged, or already there', () =>
  withFolder(async (folder) => {
    const file = join(folder, 'a.json');
    await assert.rejects(readKey(file, null), { code: 'KEY_INVALID' });
    writeFileSync(file, '{"privateKey":"0x12"}');
    await assert.rejects(readKey(file, null), { code: 'KEY_INVALID' });
    await assert.rejects(writeKey(file, KEY, null), { code: 'KEY_INVALID' });
  }));

test('keyAt makes a key once', () =>
  withFolder(async (folder) => {
    const file = join(folder, 'keys', 'node.json');
    assert.deepEqual(await keyAt(file), await keyAt(file));
  }));
