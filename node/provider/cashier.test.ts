import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inferVoucher, signVoucher } from '#protocol';
import { type Cashier, type Channel, openCashier } from './cashier.ts';
import { openLevelTable } from './level-table.ts';
import { Refusal } from './refusal.ts';
import { openVoucher } from './serve.ts';
import { addressOf, keyOf } from './testing.ts';

const directory = await mkdtemp(join(tmpdir(), 'cashier-'));
after(() => rm(directory, { recursive: true }));
const ESCROW = { chainId: 901, verifyingContract: addressOf('escrow') };
const STEP = 1_000_000n;
const client = addressOf('client');
const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const refusal = (code: string) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

function voucher(computeWei: bigint, feeWei: bigint, changes: object = {}): Uint8Array {
  const promise = {
    client,
    provider: addressOf('provider'),
    cumulativeComputeWei: computeWei,
    cumulativeFeeWei: feeWei,
    ...changes,
  };
  const signature = signVoucher(ESCROW, promise, keyOf('client'));
  return inferVoucher.encode({ ...promise, signature });
}

type Setup = {
  readonly cashier: Cashier;
  readonly collected: [key: string, count: number][];
  channel: Channel;
  failing: boolean;
};
let tables = 0;

async function setup(
  path = join(directory, `${tables++}`),
): Promise<Setup & { close: () => Promise<void> }> {
  const table = await openLevelTable(path);
  const self: Setup = {
    collected: [],
    channel: { balanceWei: 1_000n * STEP, computeWei: 0n, feeWei: 0n },
    failing: false,
    cashier: openCashier(
      {
        table,
        open: openVoucher(addressOf('provider'), ESCROW),
        channel: async () => self.channel,
        collect: async (key, vouchers) => {
          self.collected.push([key, vouchers.length]);
          if (self.failing) throw new Error('killed after the transaction left');
        },
        log,
      },
      { debtMaxWei: 10n * STEP, batchMax: 2 },
    ),
  };
  return Object.assign(self, { close: table.close });
}

test('vouchers only grow: the newest is kept, the same again is no error', async () => {
  const { cashier, close } = await setup();
  await cashier.accept(voucher(5n, STEP));
  await cashier.accept(voucher(5n, STEP));
  await cashier.accept(voucher(9n, 2n * STEP));
  assert.equal((await cashier.statement(client)).promisedWei, 9n + 2n * STEP);
  await close();
});

test('VOUCHER_NOT_HIGHER: neither part may fall, even when the sum grows', async () => {
  const { cashier, close } = await setup();
  await cashier.accept(voucher(5n, 2n * STEP));
  for (const lower of [voucher(4n, 2n * STEP), voucher(99n, STEP), voucher(0n, 0n)])
    await assert.rejects(cashier.accept(lower), refusal('VOUCHER_NOT_HIGHER'));
  assert.equal((await cashier.statement(client)).promisedWei, 5n + 2n * STEP);
  await close();
});

test('VOUCHER_INVALID: another signer, another provider, an uneven fee, no voucher at all', async () => {
  const { cashier, close } = await setup();
  const forged = inferVoucher.decode(voucher(5n, STEP));
  assert.ok(forged.ok);
  const altered = inferVoucher.encode({ ...forged.value, cumulativeComputeWei: 500n });
  const elsewhere = voucher(5n, STEP, { provider: addressOf('other') });
  for (const bad of [altered, elsewhere, voucher(5n, 1n), Uint8Array.of(1)])
    await assert.rejects(cashier.accept(bad), refusal('VOUCHER_INVALID'));
  await close();
});

test('PAYMENT_DUE: answers without a voucher are given up to a limit', async () => {
  const { cashier, close } = await setup();
  await cashier.charge(client, 'a', 9n * STEP, 2n * STEP);
  await assert.rejects(cashier.admit(client, 'new', 1n), refusal('PAYMENT_DUE'));
  await cashier.accept(voucher(9n * STEP, 2n * STEP));
  (await cashier.admit(client, 'new', 1n))();
  await close();
});

test('DEPOSIT_TOO_LOW: what is promised, under way and asked for must be covered', async () => {
  const self = await setup();
  self.channel = { balanceWei: 10n, computeWei: 0n, feeWei: 0n };
  const release = await self.cashier.admit(client, 'new', 6n);
  await assert.rejects(self.cashier.admit(client, 'new', 5n), refusal('DEPOSIT_TOO_LOW'));
  release();
  (await self.cashier.admit(client, 'new', 10n))();
  await self.close();
});

test('REQUEST_REPEATED: a request is charged once', async () => {
  const { cashier, close } = await setup();
  await cashier.charge(client, 'a', 1n, STEP);
  await assert.rejects(cashier.charge(client, 'a', 1n, STEP), refusal('REQUEST_REPEATED'));
  await assert.rejects(cashier.admit(client, 'a', 1n), refusal('REQUEST_REPEATED'));
  assert.equal((await cashier.statement(client)).chargedWei, 1n + STEP);
  await close();
});

test('a collection cut off by a crash is repeated under the same key, then not any more', async () => {
  const path = join(directory, 'crash');
  const dying = await setup(path);
  await dying.cashier.accept(voucher(5n, STEP));
  dying.failing = true;
  await assert.rejects(dying.cashier.collect());
  await dying.close();
  const again = await setup(path);
  assert.equal(await again.cashier.collect(), 1);
  assert.equal(await again.cashier.collect(), 0);
  assert.deepEqual(again.collected, dying.collected);
  await again.close();
});

test('what the chain has collected already, or cannot cover, is not sent', async () => {
  const self = await setup();
  await self.cashier.accept(voucher(5n, STEP));
  self.channel = { balanceWei: 0n, computeWei: 1n, feeWei: 0n };
  assert.equal(await self.cashier.collect(), 0);
  self.channel = { balanceWei: 0n, computeWei: 5n, feeWei: STEP };
  assert.equal(await self.cashier.collect(), 0);
  assert.deepEqual(self.collected, []);
  assert.equal((await self.cashier.statement(client)).collectedWei, 5n + STEP);
  await self.close();
});
