/** Asks a provider over the network, and turns what can go wrong into one of four failures. */
import type { Address, Bytes32 } from '#crypto';
import {
  INFER_PROTOCOL,
  type InferRefusal,
  inferOrder,
  inferReply,
  inferVoucherReply,
} from '#protocol';
import type { Ask, Heard } from '../provider/exchange.ts';
import type { AskPort } from '../provider/ports.ts';
import { VOUCHER_PROTOCOL } from '../provider/serve.ts';
import { AskFailure, type AskProvider } from './asking.ts';
import type { Offer } from './routing.ts';

/** Refusals that no other provider would turn into an answer. */
const ASKERS_FAULT: readonly string[] = ['REQUEST_INVALID', 'CONTEXT_TOO_LONG'];

export function askOver(
  rpc: AskPort,
  parts: { readonly client: Address; readonly baseHash: Bytes32; readonly silenceMs: number },
): AskProvider {
  const { client, baseHash, silenceMs } = parts;
  return async function* (offer: Offer, ask: Ask, signal: AbortSignal): AsyncGenerator<Heard> {
    const order = inferOrder.encode({ ...ask, client, baseHash, price: offer.price });
    const options = { idleTimeoutMs: silenceMs, maxFrameBytes: inferReply.bytesMax, signal };
    try {
      for await (const frame of rpc.stream(offer.peer, INFER_PROTOCOL, order, options)) {
        const reply = inferReply.decode(frame);
        if (!reply.ok)
          throw new AskFailure('lied', reply.code, `a frame that is none: ${reply.code}`);
        if (reply.value.type === 'refusal') throw refused(reply.value);
        yield reply.value;
        if (reply.value.type === 'end') return;
      }
    } catch (error) {
      throw error instanceof AskFailure ? error : lost(error);
    }
  };
}

function refused({ code, message, isTransient }: InferRefusal): AskFailure {
  if (ASKERS_FAULT.includes(code)) return new AskFailure('asker', code, message);
  return new AskFailure(isTransient ? 'busy' : 'dead', code, message);
}

function lost(error: unknown): AskFailure {
  const { code } = error as { readonly code?: unknown };
  const name = typeof code === 'string' ? code : 'ASK_FAILED';
  return new AskFailure('dead', name, `the provider was lost: ${String(error)}`, error);
}

const VOUCHER_TIMEOUT_MS = 10_000;

/** Hands a voucher over; resolves with the provider's refusal code, or null if it took it. */
export async function handOver(
  rpc: AskPort,
  peer: string,
  voucher: Uint8Array,
): Promise<string | null> {
  const options = { timeoutMs: VOUCHER_TIMEOUT_MS };
  const reply = inferVoucherReply.decode(await rpc.call(peer, VOUCHER_PROTOCOL, voucher, options));
  return reply.ok ? reply.value.code : reply.code;
}
