// Packing: short records share one item of a batch, so that items are of like length. The members of
// a pack are still computed one by one, so that no token ever sees another record; what they share
// is the item's loss, the mean over all its targets.
import { countTargets, type TrainingRecord } from '../engine/engine.ts';

/** Packs with room that are kept open while records are dealt out. */
const openPacksMax = 64;

/**
 * The items of a training run as lists of record indices: each record alone when `tokensMax` is 0,
 * else first fit in the order of the records, none above `tokensMax` tokens unless one record is.
 */
export function packsOf(
  records: readonly TrainingRecord[],
  tokensMax: number,
): readonly (readonly number[])[] {
  if (tokensMax === 0) return records.map((_, index) => [index]);
  const packs: { members: number[]; tokens: number }[] = [];
  let open: (typeof packs)[number][] = [];
  for (const [index, { tokens }] of records.entries()) {
    const found = open.find((pack) => pack.tokens + tokens.length <= tokensMax);
    if (found !== undefined) {
      found.members.push(index);
      found.tokens += tokens.length;
      continue;
    }
    const fresh = { members: [index], tokens: tokens.length };
    packs.push(fresh);
    open = [...open, fresh].slice(-openPacksMax);
  }
  return packs.map(({ members }) => members);
}

/** The share of each member in its pack's loss, by targets, as f32; a record alone has 1. */
export function sharesOf(records: readonly TrainingRecord[], pack: readonly number[]): number[] {
  if (pack.length === 1) return [1];
  const targets = pack.map((index) => countTargets(records[index]!.mask));
  const all = targets.reduce((sum, one) => sum + one, 0);
  return targets.map((one) => (all === 0 ? 0 : Math.fround(one / all)));
}
