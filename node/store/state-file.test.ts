/** A state file comes back whole, or says what was damaged. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStateFile } from './state-file.ts';

type Ledger = { spentWei: bigint; note: string };
const parse = (body: unknown) => body as Ledger;
const EMPTY: Ledger = { spentWei: 0n, note: '' };

function withFolder(run: (path: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'state-'));
  try {
    run(join(folder, 'ledger.json'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a saved state comes back, amounts as bigint', () =>
  withFolder((path) => {
    openStateFile(path, EMPTY, parse).save({ spentWei: 10n ** 30n, note: 'a' });
    const again = openStateFile(path, EMPTY, parse);
    assert.deepEqual(again.state, { spentWei: 10n ** 30n, note: 'a' });
    assert.equal(again.restored, null);
  }));

test('a corrupted state file is reported and restored from the last good one', () =>
  withFolder((path) => {
    const file = openStateFile(path, EMPTY, parse);
    file.save({ spentWei: 1n, note: 'one' });
    file.save({ spentWei: 2n, note: 'two' });
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += 7) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ 0x10;
      writeFileSync(path, damaged);
      const again = openStateFile(path, EMPTY, parse);
      assert.equal(again.state.note, 'one', `byte ${at}`);
      assert.ok(again.restored !== null);
    }
  }));

test('STATE_CORRUPT when both generations are damaged', () =>
  withFolder((path) => {
    const file = openStateFile(path, EMPTY, parse);
    file.save({ spentWei: 1n, note: 'one' });
    file.save({ spentWei: 2n, note: 'two' });
    writeFileSync(path, 'x');
    writeFileSync(`${path}.previous`, 'y');
    assert.throws(() => openStateFile(path, EMPTY, parse), { code: 'STATE_CORRUPT' });
  }));

test('a kill between the two renames loses nothing', () =>
  withFolder((path) => {
    const file = openStateFile(path, EMPTY, parse);
    file.save({ spentWei: 1n, note: 'one' });
    file.save({ spentWei: 2n, note: 'two' });
    rmSync(path);
    const again = openStateFile(path, EMPTY, parse);
    assert.equal(again.state.note, 'one');
    assert.equal(again.restored?.reason, 'absent');
  }));
