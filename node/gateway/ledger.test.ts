import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { type OpenTable, openLevelTable } from '../provider/level-table.ts';
import { type Escrow, LedgerError, openLedger, type Totals } from './ledger.ts';

const PROVIDER = `0x${'11'.repeat(20)}`;
const OTHER = `0x${'22'.repeat(20)}`;
const directory = await mkdtemp(join(tmpdir(), 'ledger-'));
after(() => rm(directory, { recursive: true }));
let tables = 0;
const newTable = (): Promise<OpenTable> => openLevelTable(join(directory, `${tables++}`));

/** A bank that keeps what was paid in, by key, as the chain does behind the outbox. */
function bank(): Escrow & { readonly payments: Map<string, bigint>; submissions: number } {
  const payments = new Map<string, bigint>();
  const self = {
    payments,
    submissions: 0,
    coverWei: async (provider: string) =>
      [...payments].reduce((sum, [key, wei]) => (key.includes(provider) ? sum + wei : sum), 0n),
    topUp: async (key: string, _provider: string, amountWei: bigint) => {
      self.submissions += 1;
      payments.set(key, amountWei);
    },
  };
  return self;
}

const sign = (provider: string, totals: Totals): Uint8Array =>
  Buffer.from(`${provider}:${totals.computeWei}:${totals.feeWei}`);
const bill = (question: number, provider = PROVIDER, attempt = 0) => ({
  questionId: `question-${question}`,
  requestId: `request-${question}-${attempt}`,
  provider,
  computeWei: 7n,
  feeWei: 3n,
});

test('vouchers are cumulative and each bill is booked once', async () => {
  const table = await newTable();
  const ledger = openLedger({ table, escrow: bank(), sign, topUpWei: 100n });
  const first = await ledger.pay(bill(1));
  const again = await ledger.pay(bill(1));
  const second = await ledger.pay(bill(2));
  assert.deepEqual(again, first);
  assert.deepEqual(second.totals, { computeWei: 14n, feeWei: 6n });
  await table.close();
});

test('QUESTION_PAID: a second answer to a paid question is not paid, whoever gave it', async () => {
  const table = await newTable();
  const ledger = openLedger({ table, escrow: bank(), sign, topUpWei: 100n });
  const [first, second] = await Promise.allSettled([
    ledger.pay(bill(1, PROVIDER, 0)),
    ledger.pay(bill(1, OTHER, 1)),
  ]);
  assert.equal(first.status, 'fulfilled');
  assert.ok(second.status === 'rejected' && second.reason instanceof LedgerError);
  assert.equal(second.reason.code, 'QUESTION_PAID');
  assert.deepEqual(await ledger.totals(OTHER), { computeWei: 0n, feeWei: 0n });
  await table.close();
});

test('a voucher is on disk before it leaves, and is offered again until it is delivered', async () => {
  const path = join(directory, 'restart');
  let table = await openLevelTable(path);
  let ledger = openLedger({ table, escrow: bank(), sign, topUpWei: 100n });
  await ledger.pay(bill(1));
  const newest = await ledger.pay(bill(2));
  await table.close();
  table = await openLevelTable(path);
  ledger = openLedger({ table, escrow: bank(), sign, topUpWei: 100n });
  assert.deepEqual(await ledger.undelivered(), [newest]);
  await ledger.delivered({ ...newest, totals: { computeWei: 7n, feeWei: 3n } });
  assert.deepEqual(await ledger.undelivered(), [newest], 'an older voucher does not count');
  await ledger.delivered(newest);
  assert.deepEqual(await ledger.undelivered(), []);
  await table.close();
});

test('reservations never exceed the deposit, and the deposit grows by need', async () => {
  const table = await newTable();
  const escrow = bank();
  const ledger = openLedger({ table, escrow, sign, topUpWei: 100n });
  const releases = await Promise.all([1, 2, 3].map(() => ledger.reserve(PROVIDER, 60n)));
  assert.equal(await escrow.coverWei(PROVIDER), 200n);
  for (const release of releases) release();
  for (const release of releases) release();
  await ledger.reserve(PROVIDER, 200n);
  assert.equal(await escrow.coverWei(PROVIDER), 200n);
  await ledger.reserve(OTHER, 500n);
  assert.equal(await escrow.coverWei(OTHER), 500n);
  await table.close();
});

test('a top-up cut off by a crash is finished under its own key, never paid in twice', async () => {
  const table = await newTable();
  const escrow = bank();
  const dying: Escrow = {
    coverWei: escrow.coverWei,
    topUp: async (key, provider, amountWei) => {
      await escrow.topUp(key, provider, amountWei);
      throw new Error('killed after the transaction left');
    },
  };
  const before = openLedger({ table, escrow: dying, sign, topUpWei: 100n });
  await assert.rejects(before.reserve(PROVIDER, 60n));
  const ledger = openLedger({ table, escrow, sign, topUpWei: 100n });
  await ledger.reserve(PROVIDER, 60n);
  assert.equal(escrow.submissions, 2);
  assert.deepEqual([...escrow.payments.values()], [100n]);
  await table.close();
});

test('for any order of bills, with repeats, totals are the sum of distinct questions', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 12 }),
      async (questions) => {
        const table = await newTable();
        const ledger = openLedger({ table, escrow: bank(), sign, topUpWei: 100n });
        await Promise.all(questions.map((question) => ledger.pay(bill(question))));
        const distinct = BigInt(new Set(questions).size);
        const totals = await ledger.totals(PROVIDER);
        await table.close();
        assert.deepEqual(totals, { computeWei: 7n * distinct, feeWei: 3n * distinct });
      },
    ),
    { numRuns: 20 },
  );
});

test('a deposit is widened by one top-up at a time, and not without end', async () => {
  const table = await newTable();
  const escrow = bank();
  const ledger = openLedger({ table, escrow, sign, topUpWei: 100n });
  await ledger.reserve(PROVIDER, 60n);
  const covers: bigint[] = [];
  for (let i = 0; i < 5; i++) {
    await ledger.widen(PROVIDER);
    covers.push(await escrow.coverWei(PROVIDER));
  }
  assert.deepEqual(covers, [200n, 300n, 300n, 300n, 300n]);
  await table.close();
});
