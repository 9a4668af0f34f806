/** What the watcher has before it and behind it, on disk, so that a restart forgets nothing. */
import type { Bytes32 } from '#crypto';
import type { JudgedLeaf } from '#protocol';
import type { Table } from '../provider/ports.ts';

/** A judged leaf as it is kept: its amount as decimal text. */
export type KeptLeaf = Omit<JudgedLeaf, 'amountWei'> & { readonly amountWei: string };

/**
 * heard: to be fetched and checked. wrong: found false, to be challenged from `dueMs` on.
 * judged: to be withheld once the receipt is anchored.
 */
export type OpenCase = {
  readonly stage: 'heard' | 'wrong' | 'judged';
  readonly receiptHash: Bytes32;
  readonly peer: string;
  readonly file: string;
  readonly attempts: number;
  readonly dueMs: number;
  /** Leaves that are wrong. */
  readonly leaves: readonly number[];
  /** Once challenged, what is still to be withheld. */
  readonly judged: readonly KeptLeaf[];
};

/** How a case ended. */
export type Outcome = 'right' | 'skipped' | 'unavailable' | 'invalid' | 'judged';

export type Book = {
  /** False when the receipt is known already. */
  readonly open: (fresh: OpenCase) => Promise<boolean>;
  readonly update: (changed: OpenCase) => Promise<void>;
  readonly close: (receiptHash: Bytes32, outcome: Outcome) => Promise<void>;
  readonly cases: () => Promise<readonly OpenCase[]>;
  readonly outcome: (receiptHash: Bytes32) => Promise<Outcome | undefined>;
};

const openKey = (hash: Bytes32): string => `watch/open/${hash}`;
const doneKey = (hash: Bytes32): string => `watch/done/${hash}`;

export function openBook(table: Table): Book {
  const write = (each: OpenCase) =>
    table.write([{ key: openKey(each.receiptHash), value: Buffer.from(JSON.stringify(each)) }]);
  const outcome = async (hash: Bytes32): Promise<Outcome | undefined> => {
    const stored = await table.get(doneKey(hash));
    return stored === undefined ? undefined : (Buffer.from(stored).toString() as Outcome);
  };
  return {
    open: async (fresh) => {
      const isKnown =
        (await table.get(openKey(fresh.receiptHash))) !== undefined ||
        (await outcome(fresh.receiptHash)) !== undefined;
      if (!isKnown) await write(fresh);
      return !isKnown;
    },
    update: write,
    close: (hash, how) =>
      table.write([
        { key: openKey(hash), value: null },
        { key: doneKey(hash), value: Buffer.from(how) },
      ]),
    cases: async () => {
      const found: OpenCase[] = [];
      for await (const [, value] of table.entries(openKey('0x')))
        found.push(JSON.parse(Buffer.from(value).toString()) as OpenCase);
      return found;
    },
    outcome,
  };
}
