/**
 * Which provider is asked, and who is asked next when one fails: adapter residency, faults seen,
 * load, then price. Nodes that are not registered on chain, or too dear, are not in the list at all.
 */

import type { Address, Bytes32 } from '#crypto';
import { type Price, priceOf } from '#protocol';

/** A provider as its last capacity announcement and the chain describe it. */
export type Offer = {
  readonly provider: Address;
  /** How the network reaches it. */
  readonly peer: string;
  readonly price: Price;
  /** Adapter ids it holds in memory; others it can fetch on demand. */
  readonly residentAdapters: readonly Bytes32[];
  /** Room for further answers when it announced itself. */
  readonly slotsFree: number;
  readonly announcedAtMs: number;
};

export type Wanted = {
  readonly adapterId: Bytes32 | null;
  /** Estimated, for comparing prices. */
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly priceMaxWei: bigint | null;
  readonly nowMs: number;
  /** An announcement older than this is not believed any more. */
  readonly staleMs: number;
  /** Decides between equals: the same for one adapter, so that equals keep it resident. */
  readonly tie: (provider: string) => bigint;
};

/** Providers worth asking, best first. */
export function rank(
  offers: readonly Offer[],
  wanted: Wanted,
  known: {
    readonly faults: (provider: string) => number;
    /** Answers that we have under way with it. */
    readonly underWay: (provider: string) => number;
  },
): readonly Offer[] {
  return offers
    .filter((offer) => wanted.nowMs - offer.announcedAtMs <= wanted.staleMs)
    .filter((offer) => wanted.priceMaxWei === null || price(offer, wanted) <= wanted.priceMaxWei)
    .map((offer) => ({ offer, key: sortKey(offer, wanted, known) }))
    .sort((left, right) => compare(left.key, right.key))
    .map(({ offer }) => offer);
}

const price = (offer: Offer, wanted: Wanted): bigint =>
  totalOf(priceOf(offer.price, wanted.promptTokens, wanted.outputTokens));

const totalOf = (priced: ReturnType<typeof priceOf>): bigint => priced.computeWei + priced.feeWei;

// Faults come before residency: an adapter is loaded in milliseconds, a dead stream costs seconds.
function sortKey(
  offer: Offer,
  wanted: Wanted,
  known: Parameters<typeof rank>[2],
): readonly bigint[] {
  const resident =
    wanted.adapterId === null || offer.residentAdapters.includes(wanted.adapterId) ? 0n : 1n;
  const underWay = known.underWay(offer.provider);
  return [
    BigInt(known.faults(offer.provider)),
    offer.slotsFree > underWay ? 0n : 1n,
    resident,
    BigInt(underWay),
    price(offer, wanted),
    wanted.tie(offer.provider),
  ];
}

function compare(left: readonly bigint[], right: readonly bigint[]): number {
  for (const [index, value] of left.entries()) {
    const other = right[index]!;
    if (value !== other) return value < other ? -1 : 1;
  }
  return 0;
}

/** What a provider did wrong lately, as a number that fades: halved every `halfLifeMs`. */
export type Faults = {
  readonly add: (provider: string, weight: number) => void;
  readonly of: (provider: string) => number;
};

export function openFaults(nowMs: () => number, halfLifeMs: number): Faults {
  const seen = new Map<string, { weight: number; atMs: number }>();
  const faded = (provider: string): number => {
    const entry = seen.get(provider);
    if (entry === undefined) return 0;
    return entry.weight * 2 ** (-(nowMs() - entry.atMs) / halfLifeMs);
  };
  return {
    add: (provider, weight) => {
      seen.set(provider, { weight: faded(provider) + weight, atMs: nowMs() });
    },
    of: (provider) => Math.round(faded(provider)),
  };
}
