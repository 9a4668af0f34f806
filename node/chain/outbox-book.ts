// The outbox on disk: which action was signed as which transaction, and how it ended. Append-only and
// checksummed; bound to one chain and one address.
import { getBytes, Transaction } from 'ethers';
import type { ChainLog } from './client.ts';
import { ChainError } from './errors.ts';
import { openRecordLog, type RecordLog } from './record-log.ts';
import type { DecodedRevert } from './reverts.ts';

/** An action on chain. The key names it for ever: one key, one effect. */
export type Intent = {
  /** For instance `task/7/claim`. */
  readonly key: string;
  /** Null deploys `data`. */
  readonly to: string | null;
  readonly data: string;
  readonly valueWei: bigint;
  /** Estimated when absent; a given limit skips the estimate, so a revert costs gas. */
  readonly gasLimit?: bigint;
};

/** How a transaction ended in its block. */
export type ChainReceipt = {
  readonly key: string;
  readonly hash: string;
  readonly blockNumber: number;
  readonly blockHash: string;
  readonly gasUsed: bigint;
  readonly feeWei: bigint;
  readonly contractAddress: string | null;
  readonly logs: readonly ChainLog[];
};

export type SignedIntent = {
  readonly key: string;
  readonly nonce: number;
  readonly hash: string;
  /** The most that it can cost, in wei. */
  readonly costWei: string;
  readonly raw: string;
};

export type Outcome = { readonly receipt: ChainReceipt; readonly revert: DecodedRevert | null };

export type OutboxEntry = SignedIntent & { readonly outcome: Outcome | null };

export type OutboxBook = {
  readonly restored: readonly number[];
  get(key: string): OutboxEntry | null;
  /** Whether a transaction of this book has the nonce, mined or not. */
  hasNonce(nonce: number): boolean;
  /** Entries without an outcome, lowest nonce first. */
  unfinished(): readonly SignedIntent[];
  /** Resolves when the signed transaction is durable: only then may it be sent. */
  sign(signed: SignedIntent): Promise<void>;
  finish(key: string, outcome: Outcome): Promise<void>;
  /** Forgets a transaction that can never be mined; its key may be signed anew. */
  release(key: string): Promise<void>;
  close(): Promise<void>;
};

type BookRecord =
  | { readonly type: 'outbox'; readonly chain: string; readonly address: string }
  | ({ readonly type: 'signed' } & SignedIntent)
  | { readonly type: 'finished'; readonly key: string; readonly outcome: StoredOutcome }
  | { readonly type: 'released'; readonly key: string };

type StoredOutcome = {
  readonly receipt: Omit<ChainReceipt, 'gasUsed' | 'feeWei'> & {
    readonly gasUsed: string;
    readonly feeWei: string;
  };
  readonly revert: DecodedRevert | null;
};

/**
 * Opens the book at `path`. `chain` identifies the chain (id and genesis hash).
 * @throws ChainError CHAIN_ID_MISMATCH for a book of another chain or address, CHAIN_JOURNAL_CORRUPT.
 */
export async function openOutboxBook(
  path: string,
  chain: string,
  address: string,
): Promise<OutboxBook> {
  const log = await openRecordLog(path, 'openledger-outbox/1');
  try {
    return await openBook(log, path, chain, address);
  } catch (error) {
    await log.close();
    throw error;
  }
}

async function openBook(log: RecordLog, path: string, chain: string, address: string) {
  const entries = new Map<string, OutboxEntry>();
  const [header, ...records] = log.records as BookRecord[];
  if (header === undefined) await log.append({ type: 'outbox', chain, address });
  else if (header.type !== 'outbox' || header.chain !== chain || header.address !== address) {
    const found = header.type === 'outbox' ? `${header.chain} ${header.address}` : 'no header';
    throw foreign(path, `${chain} ${address}`, found);
  }
  for (const record of records) apply(entries, record);
  const book: OutboxBook = {
    restored: log.restored,
    get: (key) => entries.get(key) ?? null,
    hasNonce: (nonce) => [...entries.values()].some((entry) => entry.nonce === nonce),
    unfinished: () =>
      [...entries.values()].filter((e) => e.outcome === null).sort((a, b) => a.nonce - b.nonce),
    async sign(signed) {
      await log.append({ type: 'signed', ...signed });
      entries.set(signed.key, { ...signed, outcome: null });
    },
    async finish(key, outcome) {
      await log.append({ type: 'finished', key, outcome: stored(outcome) });
      entries.set(key, { ...entries.get(key)!, outcome });
    },
    async release(key) {
      await log.append({ type: 'released', key });
      entries.delete(key);
    },
    close: () => log.close(),
  };
  return book;
}

function apply(entries: Map<string, OutboxEntry>, record: BookRecord): void {
  if (record.type === 'signed') {
    const { type: _, ...signed } = record;
    entries.set(record.key, { ...signed, outcome: null });
  } else if (record.type === 'released') {
    entries.delete(record.key);
  } else if (record.type === 'finished') {
    const { receipt, revert } = record.outcome;
    const [gasUsed, feeWei] = [BigInt(receipt.gasUsed), BigInt(receipt.feeWei)];
    const outcome = { receipt: { ...receipt, gasUsed, feeWei }, revert };
    entries.set(record.key, { ...entries.get(record.key)!, outcome });
  }
}

function stored({ receipt, revert }: Outcome): StoredOutcome {
  const [gasUsed, feeWei] = [String(receipt.gasUsed), String(receipt.feeWei)];
  return { receipt: { ...receipt, gasUsed, feeWei }, revert };
}

function foreign(path: string, expected: string, found: string) {
  const message =
    `${path} belongs to another chain or key (expected ${expected}, found ${found}): ` +
    'connect to that chain, or use a fresh data directory.';
  return new ChainError('CHAIN_ID_MISMATCH', message, { expected, found, where: path });
}

/** Whether the signed transaction does what the intent asks. */
export function isSameAction(raw: string, intent: Intent): boolean {
  const signed = Transaction.from(raw);
  const to = intent.to?.toLowerCase() ?? null;
  if ((signed.to?.toLowerCase() ?? null) !== to || signed.value !== intent.valueWei) return false;
  return Buffer.from(getBytes(signed.data)).equals(getBytes(intent.data));
}
