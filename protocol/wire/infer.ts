/**
 * The frames of one answer (`/openledger/infer/2`): the client's order, then the provider's tokens
 * and its receipt, or why there is none, then the client's voucher and the provider's word that it
 * took it.
 */
import {
  address,
  bool,
  bytes,
  type Codec,
  fraction,
  hash32,
  list,
  literal,
  nullable,
  object,
  ShapeError,
  signature,
  text,
  uint,
  uint32,
  type ValueOf,
  wei,
} from '../codec.ts';
import { EXCHANGE_BYTES_MAX, RECEIPT_FILE_BYTES_MAX } from '../receipt-file.ts';
import { priceCodec } from './capacity.ts';
import { defineMessage, type Message, oneOf } from './message.ts';

export const INFER_PROTOCOL = '/openledger/infer/2';

/** Likeliest tokens at one place, as OpenAI's interface has it. */
export const LOGPROBS_MAX = 20;
/** What log-probabilities may add to a frame; a provider that has more sends more frames. */
const MEASURED_BYTES_MAX = 1024 * 1024;

type Values<Shape> = { readonly [Name in keyof Shape]: ValueOf<Shape[Name]> };

const order = {
  /** null: the base alone, which nobody but the provider is paid for. */
  adapterId: nullable(hash32),
  baseHash: hash32,
  client: address,
  /** null: no log-probabilities; else how many of the likeliest tokens beside the chosen one. */
  logprobs: nullable(uint(LOGPROBS_MAX)),
  minP: fraction,
  outputTokensMax: uint32,
  /** The price that was announced; the provider refuses if it asks more now. */
  price: priceCodec,
  /** What the model reads, template included. */
  prompt: text(EXCHANGE_BYTES_MAX),
  requestId: hash32,
  /** Tokens of the answer that earlier providers have given; the answer goes on from here. */
  saidTokens: list(uint32, 65_536),
  /** Divides or multiplies the logits of tokens that came before; 1: none. */
  repetitionPenalty: fraction,
  seed: uint32,
  stops: list(text(256), 16),
  temperature: fraction,
  topK: uint32,
  topP: fraction,
};
export type InferOrder = Values<typeof order>;
/** The first frame, from the client. */
export const inferOrder: Message<InferOrder> = defineMessage(
  order,
  EXCHANGE_BYTES_MAX + 5 * 65_536 + 8_192,
);

/** Natural logarithm of a probability: 0 or less, as float64; -2^53 stands for none at all. */
const logprob: Codec<number> = {
  read: (value, path) => {
    if (typeof value !== 'number' || !(value <= 0) || value < -(2 ** 53) || Object.is(value, -0)) {
      throw new ShapeError(path, 'a finite number up to 0');
    }
    return value;
  },
  write: (value) => value,
};
/** One token of an answer with the likeliest ones at its place, most likely first. */
const measured = object({
  logprob,
  token: uint32,
  top: list(object({ logprob, token: uint32 }), LOGPROBS_MAX),
});
export type MeasuredToken = ValueOf<typeof measured>;

const tokens = {
  /** As many as tokens where they were asked for, else none. Not covered by the receipt. */
  logprobs: list(measured, 4_096),
  text: text(65_536),
  tokens: list(uint32, 4_096),
  type: literal('tokens'),
};
const end = {
  finish: literal('stop', 'length'),
  /** Of tokens that were held back to the end. */
  logprobs: list(measured, 4_096),
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
  tokens: defineMessage(tokens, 90_112 + MEASURED_BYTES_MAX),
  end: defineMessage(end, RECEIPT_FILE_BYTES_MAX + 66_560 + MEASURED_BYTES_MAX),
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
