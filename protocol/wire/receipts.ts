/** That a receipt exists and where its file is, for cross-checkers and for who anchors the epoch. */
import { address, hash32, link, uint, type ValueOf } from '../codec.ts';
import { defineGossip } from './message.ts';

const shape = {
  adapterId: hash32,
  file: link(),
  provider: address,
  receiptHash: hash32,
  requestId: hash32,
  sentAtMs: uint(),
};

export const receiptAnnouncement = defineGossip('/openledger/receipts/1', shape, 512);
export type ReceiptAnnouncement = {
  readonly [Name in keyof typeof shape]: ValueOf<(typeof shape)[Name]>;
};
