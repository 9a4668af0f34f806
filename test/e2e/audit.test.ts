/**
 * A whole run audited: everything agrees; then, in a copy of it, a figure is forged and a block taken
 * away, and the audit names both and nothing else. OPENLEDGER_AUDIT_DIR names a finished run to use
 * instead of telling a story first.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cidOf, decodeReceiptFile, RECEIPT_FILE_MAGIC } from '#protocol';
import { type Place, place } from './harness.ts';
import { storyFile } from './story-file.ts';

const STORY_WITHIN_MS = 240_000;
const AUDIT_WITHIN_MS = 60_000;
const TS = ['-C', 'source', '--import', './bin/polyfill.mjs', '--import', 'tsx'];

type Audited = {
  readonly ok: boolean;
  readonly figures: readonly {
    readonly name: string;
    readonly stated: unknown;
    readonly recomputed: unknown;
    readonly agrees: boolean;
    readonly faults: readonly string[];
  }[];
  readonly seen: { readonly startedChain: boolean; readonly receipts: number };
};

async function auditOf(here: Place, dataDir: string): Promise<Audited & { code: number | null }> {
  const { code, out, err } = await here.run(['scripts/audit.ts', dataDir, '--json'], {
    program: [process.execPath, ...TS],
    withinMs: AUDIT_WITHIN_MS,
  });
  const line = out.at(-1);
  assert.ok(line !== undefined, err.join('\n'));
  return { ...(JSON.parse(line) as Audited), code };
}

/** The data directory of a finished run. */
async function finishedRun(here: Place, t: TestContext): Promise<string> {
  const given = process.env['OPENLEDGER_AUDIT_DIR'];
  if (given !== undefined) return given;
  const data = join(here.folder, 'swarm');
  const args = ['--data-dir', data, '--json', 'testnet', '--once', '--reduced'];
  const told = await here.run([...args, '--gateway-port', '0'], { withinMs: STORY_WITHIN_MS });
  assert.equal(told.code, 0, told.err.join('\n'));
  t.diagnostic(told.out.at(-1) ?? '');
  return `${data}-reduced`;
}

/** Every block of every node. */
function* blockFiles(dataDir: string): Generator<{ file: string; bytes: Buffer }> {
  for (const node of readdirSync(dataDir).filter((name) => /^node-\d+$/.test(name))) {
    const blocks = join(dataDir, node, 'network', 'blocks');
    for (const name of readdirSync(blocks, { recursive: true, encoding: 'utf8' }))
      if (name.endsWith('.data')) {
        const file = join(blocks, name);
        yield { file, bytes: readFileSync(file) };
      }
  }
}

/** Takes an answer's receipt out of all stores; returns its content id. */
function loseReceipt(dataDir: string, answer: string): string {
  let lost: string | null = null;
  for (const { file, bytes } of blockFiles(dataDir)) {
    if (!bytes.includes(RECEIPT_FILE_MAGIC)) continue;
    const decoded = decodeReceiptFile(bytes);
    if (!decoded.ok || decoded.value.receipt.requestId !== answer) continue;
    rmSync(file);
    lost = cidOf(bytes).toString();
  }
  assert.ok(lost !== null, 'some node had the receipt');
  return lost;
}

function forge(dataDir: string, change: Readonly<Record<string, unknown>>): { answer: string } {
  const body = readFileSync(storyFile(dataDir), 'utf8').split('\n')[1] ?? '';
  const story = JSON.parse(body) as { result: object; answers: { receiptId: string }[] };
  const forged = JSON.stringify({ ...story, result: { ...story.result, ...change } });
  const digest = createHash('sha256').update(forged).digest('hex');
  writeFileSync(storyFile(dataDir), `openledger-state/1 ${digest}\n${forged}`);
  return { answer: story.answers[0]?.receiptId ?? '' };
}

test('every figure of a run comes out again; a forged one and a lost block are named', async (t) => {
  const here = place(t);
  const dataDir = await finishedRun(here, t);
  const audited = await auditOf(here, dataDir);
  assert.deepEqual(
    audited.figures.filter(({ agrees }) => !agrees),
    [],
  );
  assert.deepEqual([audited.code, audited.ok], [0, true]);
  assert.ok(audited.figures.length >= 16, 'all figures are there');
  assert.ok(audited.seen.receipts > 0, 'receipts were verified');

  const copy = join(here.folder, 'copy');
  cpSync(dataDir, copy, { recursive: true });
  const { answer } = forge(copy, { records: 999_999, conservationErrorWei: '1' });
  const lost = loseReceipt(copy, answer);
  const again = await auditOf(here, copy);
  assert.deepEqual([again.code, again.ok, again.seen.startedChain], [1, false, true]);
  const resting = ['top1ContributorHitRate', 'chance', 'gradientOnly', 'spanOnly', 'bm25'];
  assert.deepEqual(
    again.figures.filter(({ agrees }) => !agrees).map(({ name }) => name),
    ['records', 'answers', ...resting, 'paidNobody', 'conservationErrorWei'],
  );
  const byName = new Map(again.figures.map((figure) => [figure.name, figure]));
  assert.equal(byName.get('conservationErrorWei')?.recomputed, '0');
  assert.match(
    byName.get('answers')?.faults.join() ?? '',
    new RegExp(`block missing: cid ${lost}`),
  );
});
