/**
 * A stream of random numbers that is a function of a seed and a label, and of nothing else. Block i
 * is `hash('openledger/random/1', seed, keccak256(utf8(label)), i)`: anyone can compute any part.
 * Not for keys or salts that must be secret, unless the seed is.
 */
import { uint256, utf8 } from './bytes.ts';
import { keccak256, taggedHash } from './hash.ts';

/** Draws in a fixed order; a value that is drawn is spent. */
export type Random = {
  /** 32 uniform bits. */
  readonly uint32: () => number;
  /** Uniform in 0 … bound − 1, without modulo bias. `bound` is 1 … 2^32. */
  readonly below: (bound: number) => number;
  /** True in `numerator` of `denominator` cases. */
  readonly chance: (numerator: number, denominator: number) => boolean;
  /** That many uniform bytes. */
  readonly bytes: (length: number) => Uint8Array;
  /** A new array with the items in a uniform order (Fisher-Yates). */
  readonly shuffle: <Item>(items: readonly Item[]) => Item[];
  /** One of the items. @throws RangeError if there is none. */
  readonly pick: <Item>(items: readonly Item[]) => Item;
};

const RANDOM_TAG = 'openledger/random/1';
const UINT32_LIMIT = 2 ** 32;

/**
 * @param seed 32 bytes
 * @param label what the numbers are for; two labels give two unrelated streams
 */
export function createRandom(seed: Uint8Array, label: string): Random {
  if (seed.length !== 32) throw new RangeError(`random: expected 32 bytes, got ${seed.length}`);
  const origin = Uint8Array.from(seed);
  const labelHash = keccak256(utf8(label));
  let block: Uint8Array = new Uint8Array(0);
  let blocks = 0;
  let used = 0;

  const byte = (): number => {
    if (used === block.length) {
      block = taggedHash(RANDOM_TAG, origin, labelHash, uint256(blocks));
      blocks += 1;
      used = 0;
    }
    const drawn = block[used] as number;
    used += 1;
    return drawn;
  };
  const uint32 = (): number => ((byte() << 24) | (byte() << 16) | (byte() << 8) | byte()) >>> 0;
  const below = (bound: number): number => {
    if (!Number.isInteger(bound) || bound < 1 || bound > UINT32_LIMIT) {
      throw new RangeError(`random: expected a bound of 1 to 2^32, got ${bound}`);
    }
    // The largest multiple of the bound; what lies beyond it would favour small numbers.
    const fair = UINT32_LIMIT - (UINT32_LIMIT % bound);
    for (;;) {
      const drawn = uint32();
      if (drawn < fair) return drawn % bound;
    }
  };
  return {
    uint32,
    below,
    chance: (numerator, denominator) => below(denominator) < numerator,
    bytes: (length) => Uint8Array.from({ length }, byte),
    shuffle: (items) => {
      const shuffled = [...items];
      for (let last = shuffled.length - 1; last > 0; last -= 1) {
        const other = below(last + 1);
        const held = shuffled[last] as (typeof items)[number];
        shuffled[last] = shuffled[other] as (typeof items)[number];
        shuffled[other] = held;
      }
      return shuffled;
    },
    pick: (items) => {
      if (items.length === 0) throw new RangeError('random: expected an item to pick, got none');
      return items[below(items.length)] as (typeof items)[number];
    },
  };
}
