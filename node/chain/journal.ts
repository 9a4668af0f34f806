// What the chain remembers on disk: genesis, every block that was sealed with new transactions, and now
// and then a mark in an idle stretch. Blocks in between follow from the block time alone, so a day of
// idle blocks costs some ninety short entries.
import { z } from 'zod';
import { ChainError } from './errors.ts';
import { openRecordLog, type RecordLog } from './record-log.ts';

/** First entry: everything that decides the genesis block and the beacon. */
export type GenesisEntry = {
  readonly type: 'genesis';
  readonly engine: string;
  readonly chainId: number;
  /** The genesis block's time; its timestamp is this in whole seconds. */
  readonly genesisMs: number;
  readonly blockMs: number;
  readonly blockGasLimit: number;
  readonly baseFeeWei: string;
  readonly alloc: readonly { readonly address: string; readonly balanceWei: string }[];
  /** Seed of the local beacon; who reads it knows every prevRandao to come. */
  readonly beaconSecret: string;
};

/** A block sealed with the transactions that were admitted since the block before it. */
export type BlockEntry = {
  readonly type: 'block';
  readonly number: number;
  readonly parentHash: string;
  readonly timestamp: number;
  readonly prevRandao: string;
  /** When the next idle block falls due. */
  readonly nextTickMs: number;
  readonly txs: readonly string[];
};

/** A mark: the head, the time of the next block and the pace from here on. */
export type MarkEntry = {
  readonly type: 'mark';
  readonly number: number;
  readonly hash: string;
  readonly nextTickMs: number;
  readonly blockMs: number;
  /** Written at a clean end: no block after `number` was ever shown to anybody. */
  readonly closed: boolean;
};

export type JournalEntry = GenesisEntry | BlockEntry | MarkEntry;

export type Journal = {
  readonly path: string;
  readonly genesis: GenesisEntry | null;
  /** Blocks and marks in order, without the genesis entry. */
  readonly entries: readonly (BlockEntry | MarkEntry)[];
  readonly log: RecordLog;
};

const hex32 = z.string().regex(/^0x[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
const entrySchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('genesis'),
    engine: z.string(),
    chainId: count,
    genesisMs: count,
    blockMs: count,
    blockGasLimit: count,
    baseFeeWei: z.string(),
    alloc: z.array(z.object({ address: z.string(), balanceWei: z.string() })),
    beaconSecret: hex32,
  }),
  z.object({
    type: z.literal('block'),
    number: count,
    parentHash: hex32,
    timestamp: count,
    prevRandao: hex32,
    nextTickMs: count,
    txs: z.array(z.string()),
  }),
  z.object({
    type: z.literal('mark'),
    number: count,
    hash: hex32,
    nextTickMs: count,
    blockMs: count,
    closed: z.boolean(),
  }),
]);

/**
 * Opens the journal at `path`, restoring damaged entries from its mirror.
 * @throws ChainError CHAIN_JOURNAL_CORRUPT naming the entry that neither file holds whole.
 */
export async function openJournal(path: string): Promise<Journal> {
  const log = await openRecordLog(path, 'openledger-chain-journal/1');
  const parsed = log.records.map((record, index) => parseEntry(path, record, index));
  const [genesis = null, ...entries] = parsed;
  if (genesis !== null && genesis.type !== 'genesis') throw misplaced(path, 0);
  const rest = entries.map((entry, index) => {
    if (entry.type === 'genesis') throw misplaced(path, index + 1);
    return entry;
  });
  return { path, genesis, entries: rest, log };
}

function parseEntry(path: string, record: unknown, index: number): JournalEntry {
  const parsed = entrySchema.safeParse(record);
  if (!parsed.success) throw misplaced(path, index);
  return parsed.data;
}

function misplaced(path: string, entry: number): ChainError<'CHAIN_JOURNAL_CORRUPT'> {
  return new ChainError(
    'CHAIN_JOURNAL_CORRUPT',
    `Entry ${entry} of ${path} is whole but not what belongs there: the file was written by ` +
      'another version; use that version, or move the file away to start from nothing.',
    { path, entry },
  );
}
