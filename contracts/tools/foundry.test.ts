/** Programs that several test processes want at once, in a clone that has none yet. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fillOnce } from './foundry.ts';

test('a folder appears whole, the first to be ready counts, and nothing is left beside it', (t) => {
  const place = mkdtempSync(join(tmpdir(), 'openledger-fill-'));
  t.after(() => rmSync(place, { recursive: true, force: true }));
  const folder = join(place, 'deeper', 'program');
  const write = (text: string) => (beside: string) => {
    assert.ok(!existsSync(folder), 'nobody sees what is not whole');
    writeFileSync(join(beside, 'binary'), text);
  };
  // The second begins and ends while the first is at work, as another process would.
  fillOnce(folder, (beside) => {
    write('late')(beside);
    fillOnce(folder, write('early'));
    assert.equal(readFileSync(join(folder, 'binary'), 'utf8'), 'early');
  });
  fillOnce(folder, () => assert.fail('it is there'));
  assert.equal(readFileSync(join(folder, 'binary'), 'utf8'), 'early');
  assert.deepEqual(readdirSync(join(place, 'deeper')), ['program']);
});

test('a failed filling is told and leaves nothing', (t) => {
  const place = mkdtempSync(join(tmpdir(), 'openledger-fill-'));
  t.after(() => rmSync(place, { recursive: true, force: true }));
  const folder = join(place, 'program');
  const fail = (beside: string) => {
    mkdirSync(join(beside, 'half'));
    throw new Error('no network');
  };
  assert.throws(() => fillOnce(folder, fail), /no network/);
  assert.deepEqual(readdirSync(place), []);
});
