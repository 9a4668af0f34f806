/**
 * Receipt files as a node keeps them: found by hash and by request, listed in the order in which
 * they came. Providers keep those they signed, gateways and watchers those they were given.
 */
import type { Bytes32 } from '#crypto';
import { decodeReceiptFile, type ReceiptFile, receiptHash } from '#protocol';
import { oneAtATime } from './one-at-a-time.ts';
import type { Table } from './ports.ts';

/** A receipt and its place: 1 for the first that was kept, one more for each next. */
export type KeptReceipt = { readonly place: number; readonly hash: Bytes32 };

export type Receipts = {
  /** Keeps a file; resolves once it is on disk, with the hash of the request's first file. */
  readonly put: (file: ReceiptFile, bytes: Uint8Array) => Promise<Bytes32>;
  readonly byHash: (hash: Bytes32) => Promise<Uint8Array | undefined>;
  readonly byRequest: (requestId: Bytes32) => Promise<Uint8Array | undefined>;
  /** Those after a place, in order; whatever comes later has a greater place. */
  readonly after: (place: number) => AsyncIterable<KeptReceipt>;
  /** The newest place; 0 while there is none. */
  readonly newest: () => Promise<number>;
};

/** @param prefix keys of this table that belong to these receipts alone, for instance `signed/` */
export function openReceipts(table: Table, prefix: string): Receipts {
  const fileKey = (hash: Bytes32): string => `${prefix}file/${hash}`;
  const requestKey = (requestId: Bytes32): string => `${prefix}request/${requestId}`;
  const newestKey = `${prefix}newest`;
  const orderPrefix = `${prefix}order/`;
  const orderKey = (place: number): string => `${orderPrefix}${place.toString().padStart(16, '0')}`;
  const exclusively = oneAtATime();
  const newest = async (): Promise<number> => {
    const stored = await table.get(newestKey);
    return stored === undefined ? 0 : Number(Buffer.from(stored).toString());
  };
  return {
    newest,
    // One at a time: a place must not be readable before all places below it are.
    put: ({ receipt }, bytes) =>
      exclusively('put', async () => {
        const known = await table.get(requestKey(receipt.requestId));
        if (known !== undefined) return Buffer.from(known).toString() as Bytes32;
        const hash = receiptHash(receipt);
        const place = (await newest()) + 1;
        await table.write([
          { key: fileKey(hash), value: bytes },
          { key: requestKey(receipt.requestId), value: Buffer.from(hash) },
          { key: orderKey(place), value: Buffer.from(hash) },
          { key: newestKey, value: Buffer.from(String(place)) },
        ]);
        return hash;
      }),
    byHash: (hash) => table.get(fileKey(hash)),
    byRequest: async (requestId) => {
      const hash = await table.get(requestKey(requestId));
      if (hash === undefined) return undefined;
      return table.get(fileKey(Buffer.from(hash).toString() as Bytes32));
    },
    after: async function* (place) {
      for await (const [key, hash] of table.entries(orderPrefix, orderKey(place + 1)))
        yield {
          place: Number(key.slice(orderPrefix.length)),
          hash: Buffer.from(hash).toString() as Bytes32,
        };
    },
  };
}

/** The file in bytes that this node wrote itself; a stranger's go through verification. */
export function ownReceiptFile(bytes: Uint8Array): ReceiptFile {
  const decoded = decodeReceiptFile(bytes);
  if (!decoded.ok)
    throw new Error(`a stored receipt is damaged at ${decoded.field}: ${decoded.message}`);
  return decoded.value;
}
