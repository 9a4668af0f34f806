/**
 * What this client owes and has promised, per provider. A promise is a cumulative voucher; it is on
 * disk before it leaves, together with the question it pays, so that neither a crash nor a failover
 * can make one answer be paid twice.
 */
import { oneAtATime } from '../provider/one-at-a-time.ts';
import type { Table } from '../provider/ports.ts';

/** Money promised to one provider so far; both only grow. */
export type Totals = { readonly computeWei: bigint; readonly feeWei: bigint };

export type Bill = {
  readonly questionId: string;
  readonly requestId: string;
  readonly provider: string;
  readonly computeWei: bigint;
  readonly feeWei: bigint;
};

/** A signed voucher as it goes to the provider. */
export type Promised = {
  readonly provider: string;
  readonly totals: Totals;
  readonly voucher: Uint8Array;
};

export type Escrow = {
  /** What the provider can collect from this client in all: deposit left plus already collected. */
  readonly coverWei: (provider: string) => Promise<bigint>;
  /** Adds to the deposit and resolves once it is on chain. The same `key` never pays in twice. */
  readonly topUp: (key: string, provider: string, amountWei: bigint) => Promise<void>;
};

export type LedgerParts = {
  readonly table: Table;
  readonly escrow: Escrow;
  readonly sign: (provider: string, totals: Totals) => Uint8Array;
  /** The least that is paid in at once. */
  readonly topUpWei: bigint;
};

export type Ledger = {
  /**
   * Sets aside `priceMaxWei` of the deposit with `provider`, paying in first when it is short.
   * The function returned gives it back; a paid bill must be booked before that.
   */
  readonly reserve: (provider: string, priceMaxWei: bigint) => Promise<() => void>;
  /**
   * Books a bill and returns the voucher to hand over. Booking the same bill again returns the
   * newest voucher of that provider without adding anything.
   * @throws LedgerError QUESTION_PAID when another answer to this question was paid before.
   */
  readonly pay: (bill: Bill) => Promise<Promised>;
  readonly delivered: (promised: Promised) => Promise<void>;
  /** The newest voucher of each provider that has not been handed over. */
  readonly undelivered: () => Promise<readonly Promised[]>;
  readonly totals: (provider: string) => Promise<Totals>;
  /**
   * Pays in one top-up more, for a provider that counts answers whose vouchers never reached it; no
   * more than `WIDENINGS_MAX` top-ups beyond what we think is needed.
   */
  readonly widen: (provider: string) => Promise<void>;
  /** Reservations held now: answers that are being given. */
  readonly underWay: (provider: string) => number;
};

export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  readonly code = 'QUESTION_PAID';
  readonly details: { readonly questionId: string; readonly requestId: string };

  constructor(details: LedgerError['details']) {
    super(`question ${details.questionId} was paid with request ${details.requestId}`);
    this.details = details;
  }
}

type Account = {
  readonly computeWei: string;
  readonly feeWei: string;
  readonly voucher: string | null;
  readonly delivered: boolean;
  readonly topUps: number;
  /** A top-up submitted but not known to be on chain: repeated with its key until it is. */
  readonly pendingTopUpWei: string | null;
};
type Paid = { readonly provider: string; readonly requestId: string };

const WIDENINGS_MAX = 3n;

const NOTHING: Account = {
  computeWei: '0',
  feeWei: '0',
  voucher: null,
  delivered: true,
  topUps: 0,
  pendingTopUpWei: null,
};
const accountKey = (provider: string): string => `ledger/account/${provider}`;
const questionKey = (questionId: string): string => `ledger/question/${questionId}`;

/** Opens the ledger kept in `table`, which no other ledger may use. */
export function openLedger(parts: LedgerParts): Ledger {
  const { table, escrow, sign } = parts;
  const reserved = new Map<string, bigint>();
  const answers = new Map<string, number>();
  const hold = (provider: string, priceWei: bigint, answersMore: number): void => {
    reserved.set(provider, (reserved.get(provider) ?? 0n) + priceWei);
    answers.set(provider, (answers.get(provider) ?? 0) + answersMore);
  };
  const exclusively = oneAtATime();

  const read = async (provider: string): Promise<Account> =>
    decode<Account>(await table.get(accountKey(provider))) ?? NOTHING;
  const spent = async (provider: string): Promise<bigint> => {
    const account = await read(provider);
    return BigInt(account.computeWei) + BigInt(account.feeWei) + (reserved.get(provider) ?? 0n);
  };

  /** Finishes a top-up that a crash cut off, then pays in what is missing. */
  const cover = async (provider: string, neededWei: bigint): Promise<void> => {
    let account = await read(provider);
    if (account.pendingTopUpWei === null) {
      const missingWei = neededWei - (await escrow.coverWei(provider));
      if (missingWei <= 0n) return;
      const amountWei = larger(missingWei, parts.topUpWei);
      account = { ...account, topUps: account.topUps + 1, pendingTopUpWei: `${amountWei}` };
      await table.write([{ key: accountKey(provider), value: encode(account) }]);
    }
    const key = `deposit/${provider}/${account.topUps}`;
    await escrow.topUp(key, provider, BigInt(account.pendingTopUpWei!));
    account = { ...(await read(provider)), pendingTopUpWei: null };
    await table.write([{ key: accountKey(provider), value: encode(account) }]);
    await cover(provider, neededWei);
  };

  return {
    reserve: (provider, priceMaxWei) =>
      exclusively(provider, async () => {
        await cover(provider, (await spent(provider)) + priceMaxWei);
        hold(provider, priceMaxWei, 1);
        let held = true;
        return () => {
          if (!held) return;
          held = false;
          hold(provider, -priceMaxWei, -1);
        };
      }),

    pay: (bill) =>
      // One question may be answered by two providers at once only by our own fault; the question's
      // lock is taken outside the provider's so that even then one of the two is refused.
      exclusively(bill.questionId, () =>
        exclusively(bill.provider, async () => {
          const before = await read(bill.provider);
          const paid = decode<Paid>(await table.get(questionKey(bill.questionId)));
          if (paid !== undefined) {
            if (paid.requestId !== bill.requestId || paid.provider !== bill.provider)
              throw new LedgerError({ questionId: bill.questionId, requestId: paid.requestId });
            return promised(bill.provider, before);
          }
          const totals: Totals = {
            computeWei: BigInt(before.computeWei) + bill.computeWei,
            feeWei: BigInt(before.feeWei) + bill.feeWei,
          };
          const account: Account = {
            ...before,
            computeWei: `${totals.computeWei}`,
            feeWei: `${totals.feeWei}`,
            voucher: Buffer.from(sign(bill.provider, totals)).toString('base64'),
            delivered: false,
          };
          const paidNow: Paid = { provider: bill.provider, requestId: bill.requestId };
          await table.write([
            { key: accountKey(bill.provider), value: encode(account) },
            { key: questionKey(bill.questionId), value: encode(paidNow) },
          ]);
          return promised(bill.provider, account);
        }),
      ),

    delivered: ({ provider, totals }) =>
      exclusively(provider, async () => {
        const account = await read(provider);
        const newest =
          BigInt(account.computeWei) === totals.computeWei &&
          BigInt(account.feeWei) === totals.feeWei;
        if (!newest || account.delivered) return;
        const value = encode({ ...account, delivered: true });
        await table.write([{ key: accountKey(provider), value }]);
      }),

    undelivered: async () => {
      const found: Promised[] = [];
      const prefix = accountKey('');
      for await (const [key, value] of table.entries(prefix)) {
        const account = decode<Account>(value)!;
        if (!account.delivered) found.push(promised(key.slice(prefix.length), account));
      }
      return found;
    },

    totals: async (provider) => {
      const account = await read(provider);
      return { computeWei: BigInt(account.computeWei), feeWei: BigInt(account.feeWei) };
    },

    widen: (provider) =>
      exclusively(provider, async () => {
        const limitWei = (await spent(provider)) + WIDENINGS_MAX * parts.topUpWei;
        const coverWei = await escrow.coverWei(provider);
        if (coverWei + parts.topUpWei <= limitWei) await cover(provider, coverWei + 1n);
      }),

    underWay: (provider) => answers.get(provider) ?? 0,
  };
}

const promised = (provider: string, account: Account): Promised => ({
  provider,
  totals: { computeWei: BigInt(account.computeWei), feeWei: BigInt(account.feeWei) },
  voucher: new Uint8Array(Buffer.from(account.voucher ?? '', 'base64')),
});

const larger = (left: bigint, right: bigint): bigint => (left < right ? right : left);
const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const decode = <Value>(bytes: Uint8Array | undefined): Value | undefined =>
  bytes === undefined ? undefined : (JSON.parse(Buffer.from(bytes).toString()) as Value);
