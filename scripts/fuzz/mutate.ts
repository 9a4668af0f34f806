/** Mutations of parsed JSON that keep it JSON: a few random places get another plausible value. */
import type { PhiloxStream } from '#runtime';

const NUMBERS = [-1, 0, 1, 2, 3, 7, 8, 255, 256, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, -(2 ** 31)];
const TEXTS = [
  '',
  'F32',
  'BF16',
  'F64',
  'BPE',
  'ByteLevel',
  '__proto__',
  'constructor',
  '\0',
  '日',
];

type Place = { readonly holder: Record<string, unknown>; readonly key: string };

/** Changes one to three places in the value; returns it, or what replaces it whole. */
export function mutateJson(value: unknown, dice: PhiloxStream): unknown {
  let root = { '': value } as Record<string, unknown>;
  const rounds = 1 + dice.below(3);
  for (let i = 0; i < rounds; i++) {
    const places = placesOf(root);
    const { holder, key } = places[dice.below(places.length)]!;
    mutatePlace(holder, key, places, dice);
    if (!Object.hasOwn(root, '')) root = { '': null };
  }
  return root[''];
}

function placesOf(root: Record<string, unknown>): Place[] {
  const places: Place[] = [];
  const visit = (holder: Record<string, unknown>) => {
    for (const key of Object.keys(holder)) {
      places.push({ holder, key });
      const inner = holder[key];
      if (typeof inner === 'object' && inner !== null) visit(inner as Record<string, unknown>);
    }
  };
  visit(root);
  return places;
}

function mutatePlace(
  holder: Record<string, unknown>,
  key: string,
  places: readonly Place[],
  dice: PhiloxStream,
): void {
  const found = holder[key];
  const other = places[dice.below(places.length)]!;
  switch (dice.below(8)) {
    case 0:
      holder[key] = NUMBERS[dice.below(NUMBERS.length)];
      return;
    case 1:
      holder[key] = TEXTS[dice.below(TEXTS.length)];
      return;
    case 2:
      holder[key] = [null, true, [], {}][dice.below(4)];
      return;
    case 3:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return;
    case 4:
      // A copy, because a value that holds itself is no JSON.
      holder[key] = structuredClone(other.holder[other.key]);
      return;
    case 5:
      if (Array.isArray(holder)) holder.push(structuredClone(found));
      else holder[`${key}${dice.below(3)}`] = structuredClone(found);
      return;
    default:
      holder[key] = nudged(found, dice);
  }
}

/** A number off by a little, a text with one character changed; anything else as it is. */
function nudged(value: unknown, dice: PhiloxStream): unknown {
  if (typeof value === 'number') return value + [-1, 1, -8, 8, 4][dice.below(5)]!;
  if (typeof value !== 'string' || value === '') return value;
  const at = dice.below(value.length);
  const character = String.fromCharCode(32 + dice.below(96));
  return value.slice(0, at) + character + value.slice(at + dice.below(2));
}
