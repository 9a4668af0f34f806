/**
 * What clients owe this provider and have promised it: receipts add to the debt, vouchers pay it,
 * and the newest voucher of each client is collected on chain. Everything that counts is on disk
 * before it is acknowledged.
 */
import { keccak256, toHex, utf8 } from '#crypto';
import { FEE_STEP_WEI } from '#protocol';
import { oneAtATime } from './one-at-a-time.ts';
import type { LogPort, Table } from './ports.ts';
import { Refusal } from './refusal.ts';

/** A client's promise whose signature and parties have been checked. */
export type OpenedVoucher = {
  readonly client: string;
  readonly cumulativeComputeWei: bigint;
  readonly cumulativeFeeWei: bigint;
  /** The signed voucher as it came. */
  readonly bytes: Uint8Array;
};

/** A client's deposit with one provider: what is left (thawing apart), and what was collected. */
export type Channel = {
  readonly balanceWei: bigint;
  readonly computeWei: bigint;
  readonly feeWei: bigint;
};

/** The most that can ever be collected from a channel, what was collected included. */
export const coverOf = ({ balanceWei, computeWei, feeWei }: Channel): bigint =>
  balanceWei + computeWei + feeWei;

export type CashierParts = {
  readonly table: Table;
  /** Decodes a voucher and checks that its client signed it, for this provider and this escrow. */
  readonly open: (bytes: Uint8Array) => OpenedVoucher | null;
  /** The client's channel with us as the chain has it. */
  readonly channel: (client: string) => Promise<Channel>;
  /** Submits one collection and resolves once it is on chain. The same key is never sent twice. */
  readonly collect: (key: string, vouchers: readonly Uint8Array[]) => Promise<void>;
  readonly log: LogPort;
};

export type CashierLimits = {
  /** Answers without a voucher that one client may have before it is refused. */
  readonly debtMaxWei: bigint;
  /** Vouchers in one collection. */
  readonly batchMax: number;
};

export type Cashier = {
  /**
   * Sets aside what an answer may cost.
   * @throws Refusal PAYMENT_DUE or DEPOSIT_TOO_LOW, saying how much is missing, REQUEST_REPEATED
   * for a request that was charged before.
   */
  readonly admit: (client: string, requestId: string, priceMaxWei: bigint) => Promise<() => void>;
  /** Books the price of an answer whose receipt is about to go out. */
  readonly charge: (
    client: string,
    requestId: string,
    computeWei: bigint,
    feeWei: bigint,
  ) => Promise<void>;
  /** @throws Refusal VOUCHER_INVALID or VOUCHER_NOT_HIGHER. The newest one again is no error. */
  readonly accept: (bytes: Uint8Array) => Promise<OpenedVoucher>;
  /** Collects what is promised and not collected; returns the number of vouchers sent. */
  readonly collect: () => Promise<number>;
  readonly statement: (client: string) => Promise<Statement>;
};

export type Statement = {
  readonly chargedWei: bigint;
  readonly promisedWei: bigint;
  readonly collectedWei: bigint;
};

type Account = {
  readonly chargedWei: string;
  readonly computeWei: string;
  readonly feeWei: string;
  readonly voucher: string | null;
  readonly collectedWei: string;
};
const NOTHING: Account = {
  chargedWei: '0',
  computeWei: '0',
  feeWei: '0',
  voucher: null,
  collectedWei: '0',
};
const PREFIX = 'cashier/account/';
const chargeKey = (requestId: string): string => `cashier/charge/${requestId}`;

export function openCashier(parts: CashierParts, limits: CashierLimits): Cashier {
  const { table } = parts;
  const reserved = new Map<string, bigint>();
  const exclusively = oneAtATime();
  const read = async (client: string): Promise<Account> => decode(await table.get(PREFIX + client));
  const change = (client: string, account: Account) => ({
    key: PREFIX + client,
    value: Buffer.from(JSON.stringify(account)),
  });

  /** Notes that all a client promised up to `promisedWei` has been collected. */
  const book = (client: string, promisedWei: bigint): Promise<void> =>
    exclusively(client, async () => {
      const account = await read(client);
      await table.write([change(client, { ...account, collectedWei: `${promisedWei}` })]);
    });

  const refuseRepeated = async (requestId: string): Promise<void> => {
    if ((await table.get(chargeKey(requestId))) !== undefined)
      throw new Refusal('REQUEST_REPEATED', `request ${requestId} was answered before`);
  };

  return {
    admit: async (client, requestId, priceMaxWei) => {
      await refuseRepeated(requestId);
      const account = await read(client);
      const chargedWei = BigInt(account.chargedWei);
      const dueWei = chargedWei - promisedOf(account);
      if (dueWei > limits.debtMaxWei)
        throw new Refusal('PAYMENT_DUE', `answers worth ${dueWei} wei have no voucher; send one`);
      const heldWei = reserved.get(client) ?? 0n;
      const neededWei = larger(chargedWei, promisedOf(account)) + heldWei + priceMaxWei;
      const coverWei = coverOf(await parts.channel(client));
      if (coverWei < neededWei)
        throw new Refusal(
          'DEPOSIT_TOO_LOW',
          `the deposit covers ${coverWei} wei in all, this answer needs ${neededWei}; add ${neededWei - coverWei} wei`,
        );
      reserved.set(client, (reserved.get(client) ?? 0n) + priceMaxWei);
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        const restWei = (reserved.get(client) ?? 0n) - priceMaxWei;
        if (restWei === 0n) reserved.delete(client);
        else reserved.set(client, restWei);
      };
    },

    charge: (client, requestId, computeWei, feeWei) =>
      exclusively(client, async () => {
        await refuseRepeated(requestId);
        const account = await read(client);
        const chargedWei = `${BigInt(account.chargedWei) + computeWei + feeWei}`;
        await table.write([
          change(client, { ...account, chargedWei }),
          { key: chargeKey(requestId), value: Buffer.from(client) },
        ]);
      }),

    accept: async (bytes) => {
      const opened = parts.open(bytes);
      if (opened === null || opened.cumulativeFeeWei % FEE_STEP_WEI !== 0n)
        throw new Refusal('VOUCHER_INVALID', 'the voucher is not signed by its client for us');
      return exclusively(opened.client, async () => {
        const account = await read(opened.client);
        const computeWei = BigInt(account.computeWei);
        const feeWei = BigInt(account.feeWei);
        const { cumulativeComputeWei, cumulativeFeeWei } = opened;
        if (cumulativeComputeWei === computeWei && cumulativeFeeWei === feeWei) return opened;
        if (cumulativeComputeWei < computeWei || cumulativeFeeWei < feeWei)
          throw new Refusal(
            'VOUCHER_NOT_HIGHER',
            `${computeWei} + ${feeWei} wei are promised already, this voucher says ${cumulativeComputeWei} + ${cumulativeFeeWei}`,
          );
        const fresh: Account = {
          ...account,
          computeWei: `${cumulativeComputeWei}`,
          feeWei: `${cumulativeFeeWei}`,
          voucher: Buffer.from(bytes).toString('base64'),
        };
        await table.write([change(opened.client, fresh)]);
        return opened;
      });
    },

    collect: () => exclusively('collect', () => collectAll(parts, limits, book)),

    statement: async (client) => {
      const account = await read(client);
      return {
        chargedWei: BigInt(account.chargedWei),
        promisedWei: promisedOf(account),
        collectedWei: BigInt(account.collectedWei),
      };
    },
  };
}

type Due = { readonly client: string; readonly promisedWei: bigint; readonly voucher: Uint8Array };

async function collectAll(
  parts: CashierParts,
  { batchMax }: CashierLimits,
  book: (client: string, promisedWei: bigint) => Promise<void>,
): Promise<number> {
  const due: Due[] = [];
  for await (const [key, value] of parts.table.entries(PREFIX)) {
    const account = decode(value);
    const promisedWei = promisedOf(account);
    if (account.voucher === null || promisedWei <= BigInt(account.collectedWei)) continue;
    const client = key.slice(PREFIX.length);
    const channel = await parts.channel(client);
    // One stale or uncovered voucher would make the whole batch revert.
    if (channel.computeWei + channel.feeWei >= promisedWei) await book(client, promisedWei);
    else if (coverOf(channel) < promisedWei)
      parts.log.warn('a voucher is not covered', { client, promisedWei: `${promisedWei}` });
    else due.push({ client, promisedWei, voucher: Buffer.from(account.voucher, 'base64') });
  }
  for (let start = 0; start < due.length; start += batchMax) {
    const batch = due.slice(start, start + batchMax);
    // The key names the content: after a crash the same batch is the same transaction, and a later
    // voucher makes another one, which on chain pays only the increase.
    const name = batch.map(({ client, promisedWei }) => `${client}=${promisedWei}`).join(',');
    await parts.collect(
      `collect/${toHex(keccak256(utf8(name)))}`,
      batch.map(({ voucher }) => voucher),
    );
    for (const { client, promisedWei } of batch) await book(client, promisedWei);
  }
  return due.length;
}

const promisedOf = (account: Account): bigint =>
  BigInt(account.computeWei) + BigInt(account.feeWei);
const larger = (left: bigint, right: bigint): bigint => (left < right ? right : left);
const decode = (bytes: Uint8Array | undefined): Account =>
  bytes === undefined ? NOTHING : (JSON.parse(Buffer.from(bytes).toString()) as Account);
