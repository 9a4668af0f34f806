/** What a node can do now: which models it holds, what it asks, how many answers it has room for. */
import { address, bool, hash32, list, object, uint, uint32, type ValueOf, wei } from '../codec.ts';
import { defineGossip } from './message.ts';

/** Price a token, as it is quoted and as it goes into a receipt file. */
export const priceCodec = object({
  feeWeiPerToken: wei,
  outputWeiPerToken: wei,
  promptWeiPerToken: wei,
});

const shape = {
  /** Equal to the address of the key that signed the message. */
  account: address,
  adapters: list(hash32, 256),
  bases: list(hash32, 16),
  contextTokens: uint32,
  isVerifier: bool,
  price: priceCodec,
  sentAtMs: uint(),
  slotsFree: uint32,
  /** Measured, thousandths of a token each second. */
  speedMilliTokens: uint32,
};

/** 256 adapters and 16 bases with their heads, and the rest. */
export const capacityAnnouncement = defineGossip('/openledger/capacity/1', shape, 12_288);
export type CapacityAnnouncement = {
  readonly [Name in keyof typeof shape]: ValueOf<(typeof shape)[Name]>;
};
