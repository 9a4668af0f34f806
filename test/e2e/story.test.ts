/**
 * The whole story as `npm start -- --once --json` tells it, in real processes: its figures, the audit
 * of them, a receipt of it under every kind of damage, and what is left of a damaged state file.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeAnchors, verifyReceiptFile } from '#protocol';
import { loadModelDirectory } from '#runtime';
import { lastJson, type Place, place } from './harness.ts';
import { assertBooksRight, receiptFileIn } from './money.ts';
import { readStory, storyFile } from './story-file.ts';

const STORY_WITHIN_MS = 600_000;
const CHANGED_BYTES = 240;

test('the story, told once', async (t) => {
  const here = place(t);
  const dataDir = join(here.folder, 'swarm');
  const testnet = ['--data-dir', dataDir, '--json', 'testnet', '--once', '--gateway-port', '0'];
  const told = await here.run(testnet, { withinMs: STORY_WITHIN_MS });
  assert.equal(told.code, 0, told.err.join('\n'));
  assertFigures(t, lastJson(told));
  await t.test('the audit, which shares no code with the node, agrees', () => audit(here, dataDir));
  await t.test('a receipt is valid, and invalid with any byte changed', () =>
    checkReceipts(here, dataDir),
  );
  await t.test('all is paid once and conserved', () => assertBooksRight(here, dataDir));
  await t.test('a corrupted state file is reported and restored, and nothing told twice', () =>
    restore(here, dataDir, testnet, lastJson(told)),
  );
});

type Figures = Readonly<Record<string, unknown>>;

function assertFigures(t: TestContext, told: Figures): void {
  const number = (name: string): number => {
    const value = told[name];
    assert.equal(typeof value, 'number', `${name} is a number, got ${value}`);
    return value as number;
  };
  t.diagnostic(JSON.stringify(told));
  assert.equal(told['ok'], true);
  assert.equal(told['nodes'], 6);
  assert.ok(number('contributors') >= 16);
  assert.ok(number('records') >= 1_000);
  assert.ok(number('nearCopiesRefused') >= 1);
  assert.ok(number('trainLossLast') < number('trainLossFirst'));
  assert.ok(number('answers') >= 40);
  assert.ok(
    number('top1ContributorHitRate') >= 4 * number('chance'),
    `${told['top1ContributorHitRate']} is four times ${told['chance']}`,
  );
  assert.equal(told['slashed'], 1);
  assert.ok(number('claimsPaid') > 0);
  assert.equal(told['conservationErrorWei'], '0');
  assert.ok(number('seconds') > 0);
  assert.ok(number('peakRssMb') < 6_000, `${told['peakRssMb']} MB in all processes together`);
}

async function audit(here: Place, dataDir: string): Promise<void> {
  assert.ok(existsSync(join('scripts', 'audit.ts')), 'scripts/audit.ts is there to be run');
  const npm = ['npm', 'run', '--silent', 'audit', '--'];
  const done = await here.run([dataDir], { program: npm, withinMs: 120_000 });
  assert.equal(done.code, 0, [...done.out, ...done.err].join('\n'));
}

async function checkReceipts(here: Place, dataDir: string): Promise<void> {
  const { answers } = readStory(dataDir);
  const paying = answers.find(({ topPaid }) => topPaid !== null);
  assert.ok(paying !== undefined, 'an answer pays somebody');
  const bytes = await receiptFileIn(join(dataDir, 'node-1'), paying.receiptId);
  const file = join(here.folder, 'receipt.car');
  const verify = () => here.run(['--data-dir', dataDir, '--json', 'receipt', 'verify', file]);
  writeFileSync(file, bytes);
  const valid = await verify();
  assert.equal(valid.code, 0, valid.err.join('\n'));
  assert.equal(lastJson(valid)['valid'], true);

  const { tokenizer } = await loadModelDirectory(join('runtime', 'base'));
  const count = (text: string): number => tokenizer.encode(text).length;
  const check = {
    anchors: decodeAnchors(readFileSync(join(dataDir, 'anchors.json'), 'utf8')),
    countTokens: (prompt: string, output: string) => ({
      promptTokens: count(prompt),
      outputTokens: count(output),
    }),
  };
  assert.equal(verifyReceiptFile(bytes, check).valid, true);
  const changed = (at: number): Uint8Array => {
    const copy = bytes.slice();
    copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8));
    return copy;
  };
  for (let sample = 0; sample < CHANGED_BYTES; sample += 1) {
    const at = Math.floor((sample * (bytes.length - 1)) / (CHANGED_BYTES - 1));
    const verdict = verifyReceiptFile(changed(at), check);
    assert.ok(!verdict.valid, `byte ${at} of ${bytes.length} changed: must be invalid`);
    assert.ok(verdict.field.length > 0, `byte ${at}: a field is named`);
  }
  for (const part of [0.25, 0.5, 0.99]) {
    writeFileSync(file, changed(Math.floor(bytes.length * part)));
    const refused = await verify();
    assert.equal(refused.code, 1);
    const [line = ''] = refused.err;
    assert.match(line, /^error\[RECEIPT_INVALID\]: .*field \S+, reason .* fix: /);
  }
}

async function restore(
  here: Place,
  dataDir: string,
  testnet: readonly string[],
  before: Figures,
): Promise<void> {
  const file = storyFile(dataDir);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  const again = await here.run(testnet, { withinMs: 180_000 });
  assert.equal(again.code, 0, again.err.join('\n'));
  const reported = again.err.find((line) => line.includes('was damaged'));
  assert.match(reported ?? '', /story\.json.*checksum differs.*last good one is used/);
  const after = lastJson(again);
  for (const name of Object.keys(before).filter((each) => !/seconds|peakRssMb|atBlock/.test(each)))
    assert.deepEqual(after[name], before[name], `${name} is as it was`);
}
