/** Receipt files for the asking (`/openledger/receipts/1`): by hash, or all after a place. */
import { bool, bytes, hash32, list, literal, uint, uint32, type ValueOf } from '../codec.ts';
import { RECEIPT_FILE_BYTES_MAX } from '../receipt-file.ts';
import { defineMessage, type Message, oneOf } from './message.ts';

export const RECEIPTS_PROTOCOL = '/openledger/receipts/1';

type Values<Shape> = { readonly [Name in keyof Shape]: ValueOf<Shape[Name]> };

const byHash = { hashes: list(hash32, 256), type: literal('byHash') };
const since = {
  /** The place a `done` named before; 0 for all. */
  after: uint(),
  filesMax: uint32,
  type: literal('since'),
};
export type ReceiptsRequest = Values<typeof byHash> | Values<typeof since>;
/**
 * `since` asks for files in the order in which the node came to keep them. No date could say what is
 * new: two answers under way at once are dated in one order and kept in another.
 */
export const receiptsRequest: Message<ReceiptsRequest> = oneOf<ReceiptsRequest>({
  byHash: defineMessage(byHash, 9_216),
  since: defineMessage(since, 256),
});

const file = {
  file: bytes({ max: RECEIPT_FILE_BYTES_MAX }),
  receiptHash: hash32,
  type: literal('file'),
};
const done = {
  isMore: bool,
  /** Where to go on from; less than was asked after when the node has lost its files. */
  place: uint(),
  type: literal('done'),
};
export type ReceiptsReply = Values<typeof file> | Values<typeof done>;
/** Any number of `file`, then one `done`; what a node does not have it leaves out. */
export const receiptsReply: Message<ReceiptsReply> = oneOf<ReceiptsReply>({
  file: defineMessage(file, RECEIPT_FILE_BYTES_MAX + 256),
  done: defineMessage(done, 64),
});
