/**
 * Who offers what, as heard: the newest capacity announcement of each provider of our base that the
 * chain knows as a serving staker.
 */
import { type Address, type Bytes32, parseAddress } from '#crypto';
import { type CapacityAnnouncement, FEE_STEP_WEI } from '#protocol';
import type { Sender } from '../provider/ports.ts';
import type { Offer } from './routing.ts';

export type Directory = {
  /** Takes an announcement; false when it is not worth believing. */
  readonly announced: (announcement: CapacityAnnouncement, from: Sender) => Promise<boolean>;
  readonly offers: () => readonly Offer[];
};

export type DirectoryParts = {
  readonly baseHash: Bytes32;
  /** The network's fee a token; offers with another one are not listed. */
  readonly feeWeiPerToken: bigint;
  /** Whether the account has its serving lock in place. */
  readonly isServing: (provider: Address) => Promise<boolean>;
  readonly nowMs: () => number;
};

/** Providers remembered; addresses are free to make, registrations are not. */
const OFFERS_MAX = 10_000;

export function openDirectory(parts: DirectoryParts): Directory {
  const offers = new Map<Address, Offer & { readonly sentAtMs: number }>();
  return {
    announced: async (announcement, from) => {
      const provider = announcement.account;
      const { price, sentAtMs } = announcement;
      const isFit =
        provider === parseAddress(from.address) &&
        announcement.bases.includes(parts.baseHash) &&
        price.feeWeiPerToken === parts.feeWeiPerToken &&
        price.feeWeiPerToken % FEE_STEP_WEI === 0n;
      if (!isFit || (offers.get(provider)?.sentAtMs ?? 0) > sentAtMs) return false;
      if (!(await parts.isServing(provider))) {
        offers.delete(provider);
        return false;
      }
      offers.delete(provider);
      offers.set(provider, {
        provider,
        peer: from.peerId,
        price,
        residentAdapters: announcement.adapters,
        slotsFree: announcement.slotsFree,
        announcedAtMs: parts.nowMs(),
        sentAtMs,
      });
      for (const oldest of offers.keys()) {
        if (offers.size <= OFFERS_MAX) break;
        offers.delete(oldest);
      }
      return true;
    },
    offers: () => [...offers.values()],
  };
}
