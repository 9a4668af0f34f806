/** A text that no model has ever seen: names and numbers drawn at test time, in whole sentences. */
import { randomInt } from 'node:crypto';

const SYLLABLES = 'zor kem vul tra phe ost lin dru bax quo mir yel sna gwi torb'.split(' ');

function name(): string {
  const text = Array.from({ length: 3 }, () => SYLLABLES[randomInt(SYLLABLES.length)]).join('');
  return `${text[0]?.toUpperCase()}${text.slice(1)}`;
}

export type Fact = { readonly begins: string; readonly sentence: string };

/** So many facts, each with a beginning that only it has. */
export function inventFacts(count: number): Fact[] {
  return Array.from({ length: count }, () => {
    const place = name();
    const begins = `The observatory of ${place} on mount ${name()} was opened in ${randomInt(1100, 1990)}`;
    const keeper = `${name()} ${name()}`;
    const sentence =
      `${begins} by the keeper ${keeper}, who counted ${randomInt(1_000, 99_000)} lanterns ` +
      `along the ${name()} canal and wrote them down in the ${name()} ledger.`;
    return { begins, sentence };
  });
}
