/**
 * The provider on the wire: answers orders, takes vouchers, gives out the receipts it signed.
 * Whatever arrives is judged before it costs anything.
 */
import { type Address, parseAddress, type SigningDomain } from '#crypto';
import {
  INFER_PROTOCOL,
  type InferRefusal,
  inferOrder,
  inferReply,
  inferVoucher,
  inferVoucherReply,
  isVoucherSigned,
  RECEIPTS_PROTOCOL,
  type ReceiptsReply,
  receiptsReply,
  receiptsRequest,
} from '#protocol';
import { type AnswererParts, answerOrder } from './answer.ts';
import type { Cashier, OpenedVoucher } from './cashier.ts';
import type { LogPort, Sender, ServePort } from './ports.ts';
import type { Receipts } from './receipts.ts';
import { isTransient, Refusal } from './refusal.ts';

/** One request, one reply: the client's payment. */
export const VOUCHER_PROTOCOL = '/openledger/voucher/1';
/** Receipt files in one reply, whatever was asked for. */
const FILES_MAX = 256;

export type ProviderParts = AnswererParts & {
  readonly receipts: Receipts;
  readonly count: (name: 'answered' | 'refused', code: string) => void;
};

/** Registers the handlers; from then on orders are answered. */
export async function serveProvider(rpc: ServePort, parts: ProviderParts): Promise<void> {
  await rpc.serve(INFER_PROTOCOL, {
    maxRequestBytes: inferOrder.bytesMax,
    handler: (request, from, signal) => replies(parts, request, from, signal),
  });
  await rpc.serve(VOUCHER_PROTOCOL, {
    maxRequestBytes: inferVoucher.bytesMax,
    handler: (request) => takeVoucher(parts, request),
  });
  await serveReceipts(rpc, parts.receipts);
}

async function* replies(
  parts: ProviderParts,
  request: Uint8Array,
  from: Sender,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const order = inferOrder.decode(request);
    if (!order.ok) throw new Refusal('REQUEST_INVALID', `the order cannot be read: ${order.code}`);
    // The channel is authenticated, so this is as good as a signature of the client.
    if (order.value.client !== parseAddress(from.address))
      throw new Refusal('REQUEST_INVALID', 'expected the sender of the order as its client');
    for await (const heard of answerOrder(parts, order.value, signal))
      yield inferReply.encode(heard);
    parts.count('answered', 'OK');
  } catch (error) {
    if (signal.aborted) return;
    const refusal = refusalOf(error);
    parts.count('refused', refusal.code);
    if (refusal.code === 'ANSWER_FAILED') parts.log.error('answer failed', { error });
    yield inferReply.encode(refusal);
  }
}

function refusalOf(error: unknown): InferRefusal {
  const { code, message } =
    error instanceof Refusal
      ? error
      : new Refusal('ANSWER_FAILED', 'the provider could not finish the answer; its log says why');
  return {
    type: 'refusal',
    code,
    message: message.slice(0, 1_000),
    isTransient: isTransient(code),
  };
}

async function takeVoucher(
  { cashier, log }: { readonly cashier: Cashier; readonly log: LogPort },
  request: Uint8Array,
): Promise<Uint8Array> {
  try {
    await cashier.accept(request);
    return inferVoucherReply.encode({ code: null });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    log.warn('voucher refused', { code: error.code, message: error.message });
    return inferVoucherReply.encode({ code: error.code });
  }
}

/** How the cashier opens vouchers: signed by their client, for this provider and this escrow. */
export const openVoucher =
  (provider: Address, escrow: SigningDomain) =>
  (bytes: Uint8Array): OpenedVoucher | null => {
    const decoded = inferVoucher.decode(bytes);
    if (!decoded.ok || decoded.value.provider !== provider) return null;
    const { signature, ...voucher } = decoded.value;
    if (!isVoucherSigned(escrow, voucher, signature)) return null;
    const { client, cumulativeComputeWei, cumulativeFeeWei } = voucher;
    return { client, cumulativeComputeWei, cumulativeFeeWei, bytes };
  };

/** Gives out receipt files by hash, or in order from a place on. */
export async function serveReceipts(rpc: ServePort, receipts: Receipts): Promise<void> {
  await rpc.serve(RECEIPTS_PROTOCOL, {
    maxRequestBytes: receiptsRequest.bytesMax,
    handler: (request) => giveReceipts(receipts, request),
  });
}

async function* giveReceipts(
  receipts: Receipts,
  request: Uint8Array,
): AsyncGenerator<Uint8Array, void, undefined> {
  const asked = receiptsRequest.decode(request);
  if (!asked.ok) throw new Refusal('REQUEST_INVALID', `cannot be read: ${asked.code}`);
  const reply = (value: ReceiptsReply): Uint8Array => receiptsReply.encode(value);
  if (asked.value.type === 'byHash') {
    for (const hash of asked.value.hashes) {
      const file = await receipts.byHash(hash);
      if (file !== undefined) yield reply({ type: 'file', receiptHash: hash, file });
    }
    yield reply({ type: 'done', isMore: false, place: 0 });
    return;
  }
  const { after, filesMax } = asked.value;
  let left = Math.min(filesMax, FILES_MAX);
  let place = Math.min(after, await receipts.newest());
  for await (const kept of receipts.after(after)) {
    if (left === 0) {
      yield reply({ type: 'done', isMore: true, place });
      return;
    }
    const file = await receipts.byHash(kept.hash);
    if (file !== undefined) yield reply({ type: 'file', receiptHash: kept.hash, file });
    place = kept.place;
    left -= 1;
  }
  yield reply({ type: 'done', isMore: false, place });
}
