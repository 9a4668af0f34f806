import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { isChainError } from './errors.ts';
import { openRecordLog } from './record-log.ts';

const KIND = 'test/1';
const RECORDS = [{ a: 1 }, { text: 'línea\n' }, { list: [1, 2, 3] }, { last: true }];

describe('record log', () => {
  let dir = '';
  let path = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'record-log-'));
    path = join(dir, 'log');
  });
  afterEach(() => rm(dir, { recursive: true }));

  async function fill(records: readonly unknown[]) {
    const log = await openRecordLog(path, KIND);
    await Promise.all(records.map((record) => log.append(record)));
    await log.close();
  }

  async function reopen(at = path) {
    const log = await openRecordLog(at, KIND);
    await log.close();
    return log;
  }

  it('gives back what was appended, in order, and goes on from there', async () => {
    await fill(RECORDS.slice(0, 2));
    await fill(RECORDS.slice(2));
    const log = await reopen();
    assert.deepEqual(log.records, RECORDS);
    assert.deepEqual(log.restored, []);
    assert.equal(log.tornBytes, 0);
  });

  it('drops a last record that was never completed, at every length it may have', async () => {
    await fill(RECORDS.slice(0, 3));
    const shorter = (await readFile(path)).length;
    await fill(RECORDS.slice(3));
    const whole = await readFile(path);
    for (let length = shorter + 1; length < whole.length; length += 1) {
      await writeFile(path, whole.subarray(0, length));
      await writeFile(`${path}.bak`, whole.subarray(0, shorter));
      const log = await reopen();
      assert.deepEqual(log.records, RECORDS.slice(0, 3));
      assert.equal(log.tornBytes, length - shorter);
    }
    await fill(RECORDS.slice(3));
    assert.deepEqual((await reopen()).records, RECORDS);
  });

  it('takes zeros behind the last record for a write that never reached the disk', async () => {
    await fill(RECORDS);
    await writeFile(path, Buffer.concat([await readFile(path), Buffer.alloc(100)]));
    assert.deepEqual((await reopen()).records, RECORDS);
  });

  it('restores any damaged byte from the mirror, and any damaged mirror from the file', async () => {
    await fill(RECORDS);
    const whole = await readFile(path);
    const flip = fc.record({
      at: fc.nat(whole.length - 1),
      byte: fc.integer({ min: 1, max: 255 }),
      file: fc.constantFrom('', '.bak'),
    });
    await fc.assert(
      fc.asyncProperty(flip, async ({ at, byte, file }) => {
        const damaged = Buffer.from(whole);
        damaged[at]! ^= byte;
        await writeFile(path + file, damaged);
        const log = await reopen();
        assert.deepEqual(log.records, RECORDS);
        assert.ok(log.restored.length > 0 || file === '.bak');
        assert.deepEqual(await readFile(path), whole);
        assert.deepEqual(await readFile(`${path}.bak`), whole);
      }),
      { numRuns: 150, seed: 1 },
    );
  });

  it('restores a file that is gone or empty, and keeps the damaged one aside', async () => {
    await fill(RECORDS);
    await rm(path);
    assert.deepEqual((await reopen()).records, RECORDS);
    const whole = await readFile(path);
    await writeFile(path, 'damaged beyond reading\n');
    assert.deepEqual((await reopen()).restored, [0, 1, 2, 3]);
    assert.deepEqual(await readFile(path), whole);
    assert.equal(await readFile(`${path}.damaged`, 'utf8'), 'damaged beyond reading\n');
  });

  it('takes each record from whichever file has it whole', async () => {
    await fill(RECORDS);
    for (const [file, record] of [
      ['', '"a"'],
      ['.bak', '"list"'],
    ] as const) {
      const bytes = await readFile(path + file);
      bytes[bytes.indexOf(record) + 1]! ^= 1;
      await writeFile(path + file, bytes);
    }
    const log = await reopen();
    assert.deepEqual(log.records, RECORDS);
    assert.deepEqual(log.restored, [0]);
  });

  it('CHAIN_JOURNAL_CORRUPT: names the record that is damaged in both files', async () => {
    await fill(RECORDS);
    const bytes = await readFile(path);
    bytes[bytes.indexOf('"list"') + 1]! ^= 1;
    await writeFile(path, bytes);
    await copyFile(path, `${path}.bak`);
    await assert.rejects(reopen(), (error) => {
      assert.ok(isChainError(error, 'CHAIN_JOURNAL_CORRUPT'));
      assert.deepEqual(error.details, { path, entry: 2 });
      assert.match(error.message, /Entry 2 of .* put back both files from a backup/);
      return true;
    });
    assert.deepEqual(await readFile(path), bytes, 'a file that cannot be read stays as it is');
  });

  it('CHAIN_JOURNAL_CORRUPT: a last record is not dropped when it was complete', async () => {
    await fill(RECORDS);
    const bytes = await readFile(path);
    bytes[bytes.indexOf('"last"') + 1]! ^= 1;
    await writeFile(path, bytes);
    await copyFile(path, `${path}.bak`);
    await assert.rejects(reopen(), (error) => isChainError(error, 'CHAIN_JOURNAL_CORRUPT'));
  });

  it('is not fooled by whole records in the wrong place or of another kind', async () => {
    await fill(RECORDS);
    const lines = (await readFile(path, 'utf8')).split('\n');
    const swapped = [lines[0], lines[2]?.replace('2', '1'), lines[1]?.replace('1', '2'), ''];
    await writeFile(path, swapped.join('\n'));
    await copyFile(path, `${path}.bak`);
    await assert.rejects(reopen(), (error) => isChainError(error, 'CHAIN_JOURNAL_CORRUPT'));
    await assert.rejects(openRecordLog(path, 'other/1'), (error) =>
      isChainError(error, 'CHAIN_JOURNAL_CORRUPT'),
    );
  });

  it('a kill between the two writes loses nothing: the file is ahead of its mirror', async () => {
    await fill(RECORDS.slice(0, 3));
    await copyFile(`${path}.bak`, join(dir, 'before'));
    await fill(RECORDS.slice(3));
    await copyFile(join(dir, 'before'), `${path}.bak`);
    assert.deepEqual((await reopen()).records, RECORDS);
    assert.deepEqual(await readFile(`${path}.bak`), await readFile(path));
  });
});
