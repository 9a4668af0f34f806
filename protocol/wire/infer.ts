/**
 * The frames of one answer (`/openledger/infer/1`): the client's order, then the provider's tokens
 * and its receipt, or why there is none, then the client's voucher and the provider's word that it
 * took it.
 */
import {
  address,
  bool,
  bytes,
  fraction,
  hash32,
  list,
  literal,
  nullable,
  signature,
  text,
  uint32,
  type ValueOf,
  wei,
} from '../codec.ts';
import { EXCHANGE_BYTES_MAX, RECEIPT_FILE_BYTES_MAX } from '../receipt-file.ts';
import { priceCodec } from './capacity.ts';
import { defineMessage, type Message, oneOf } from './message.ts';

export const INFER_PROTOCOL = '/openledger/infer/1';

type Values<Shape> = { readonly [Name in keyof Shape]: ValueOf<Shape[Name]> };

const order = {
  /** null: the base alone, which nobody but the provider is paid for. */
  adapterId: nullable(hash32),
  baseHash: hash32,
  client: address,
  outputTokensMax: uint32,
  /** The price that was announced; the provider refuses if it asks more now. */
  price: priceCodec,
  /** What the model reads, template included. */
  prompt: text(EXCHANGE_BYTES_MAX),
  requestId: hash32,
  /** Tokens of the answer that earlier providers have given; the answer goes on from here. */
  saidTokens: list(uint32, 65_536),
  seed: uint32,
  stops: list(text(256), 16),
  temperature: fraction,
  topP: fraction,
};
export type InferOrder = Values<typeof order>;
/** The first frame, from the client. */
export const inferOrder: Message<InferOrder> = defineMessage(
  order,
  EXCHANGE_BYTES_MAX + 5 * 65_536 + 8_192,
);

const tokens = {
  text: text(65_536),
  tokens: list(uint32, 4_096),
  type: literal('tokens'),
};
const end = {
  finish: literal('stop', 'length'),
  /** Canonical bytes of the receipt file; empty where the base alone answered. */
  receiptFile: bytes({ max: RECEIPT_FILE_BYTES_MAX }),
  text: text(65_536),
  type: literal('end'),
};
const refusal = {
  code: text(64),
  isTransient: bool,
  message: text(1_024),
  type: literal('refusal'),
};
/** Tokens with exactly their text; together they end on a whole character. */
export type InferTokens = Values<typeof tokens>;
/** The last text and the receipt for the whole answer. */
export type InferEnd = Values<typeof end>;
/** Why there is no answer, or no more of it; transient: another time it may be given. */
export type InferRefusal = Values<typeof refusal>;
export type InferReply = InferTokens | InferEnd | InferRefusal;
/** The frames of the provider: any number of `tokens`, then one `end` or `refusal`. */
export const inferReply: Message<InferReply> = oneOf<InferReply>({
  tokens: defineMessage(tokens, 90_112),
  end: defineMessage(end, RECEIPT_FILE_BYTES_MAX + 66_560),
  refusal: defineMessage(refusal, 2_048),
});

const voucher = {
  client: address,
  cumulativeComputeWei: wei,
  cumulativeFeeWei: wei,
  provider: address,
  signature,
};
export type SignedVoucher = Values<typeof voucher>;
/** The client's payment, once it has checked the receipt. */
export const inferVoucher: Message<SignedVoucher> = defineMessage(voucher, 512);

const voucherReply = { code: nullable(text(64)) };
export type VoucherReply = Values<typeof voucherReply>;
/** `code` null: taken; else why not. */
export const inferVoucherReply: Message<VoucherReply> = defineMessage(voucherReply, 128);
