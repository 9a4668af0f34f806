/**
 * Hands vouchers to providers, one at a time each, again later when one could not be reached. A
 * voucher is a cumulative promise, so only the newest of a provider ever matters.
 */
import type { LogPort } from '../provider/ports.ts';
import type { Ledger } from './ledger.ts';

export type Settler = {
  /** Hands over what the provider has coming, now; never throws. */
  readonly settle: (provider: string) => void;
  /** Tries everything that is not delivered; resolves when each was tried once. */
  readonly retry: () => Promise<void>;
  /** Resolves when no hand-over is under way. */
  readonly idle: () => Promise<void>;
};

export function openSettler(parts: {
  readonly ledger: Ledger;
  /** Where the provider is reached now; undefined while it is not heard of. */
  readonly peerOf: (provider: string) => string | undefined;
  /** Resolves with the provider's refusal code, or null if it took the voucher. */
  readonly handOver: (peer: string, voucher: Uint8Array) => Promise<string | null>;
  readonly log: LogPort;
}): Settler {
  const { ledger, log } = parts;
  const underWay = new Map<string, Promise<void>>();

  const tryOne = async (provider: string): Promise<void> => {
    const promised = (await ledger.undelivered()).find((each) => each.provider === provider);
    const peer = parts.peerOf(provider);
    if (promised === undefined || peer === undefined) return;
    try {
      const refusal = await parts.handOver(peer, promised.voucher);
      if (refusal === null) await ledger.delivered(promised);
      else log.warn('voucher refused', { provider, code: refusal });
    } catch (error) {
      log.warn('voucher not delivered, will be tried again', { provider, error });
    }
  };

  const settle = (provider: string): void => {
    const before = underWay.get(provider) ?? Promise.resolve();
    const mine = before
      .then(() => tryOne(provider))
      .catch((error: unknown) => log.error('voucher hand-over failed', { provider, error }))
      .finally(() => {
        if (underWay.get(provider) === mine) underWay.delete(provider);
      });
    underWay.set(provider, mine);
  };

  const idle = async (): Promise<void> => {
    while (underWay.size > 0) await Promise.all(underWay.values());
  };

  return {
    settle,
    retry: async () => {
      for (const { provider } of await ledger.undelivered()) settle(provider);
      await idle();
    },
    idle,
  };
}
