// Where the factors of an adapter lie in the pages it gets: the header that the kernels read first,
// then panel after panel, a run ending where its page does. Nothing is padded to another's rank.
import type { ModelConfig } from '../engine/config.ts';
import { loraLayout } from '../engine/config.ts';
import { ServeError } from './errors.ts';

/** Panels that lie together: page is an index into the adapter's pages. */
type Run = { readonly page: number; readonly byte: number; readonly panels: number };

export type AdapterLayout = {
  readonly rank: number;
  readonly pages: number;
  readonly headerWords: number;
  /** Per layer and linear. */
  readonly factors: readonly { readonly a: readonly Run[]; readonly b: readonly Run[] }[];
  /** Floats of one layer in the flat vector. */
  readonly layerFloats: number;
};

/** Bytes of the widest panel of any factor: a page must hold one. */
export function widestPanel(config: ModelConfig, rankMax: number): number {
  const columns = loraLayout(config, 1)
    .filter(({ name }) => name.endsWith('.lora_A'))
    .map((slot) => slot.columns);
  return Math.max(rankMax, ...columns) * 32;
}

/** Deals panels out over pages in order. */
class Dealer {
  page = 0;
  byte: number;
  readonly #pageBytes: number;

  constructor(pageBytes: number, start: number) {
    this.#pageBytes = pageBytes;
    this.byte = start;
  }

  runs(panels: number, panelBytes: number): Run[] {
    const runs: Run[] = [];
    for (let left = panels; left > 0; ) {
      const fit = Math.min(left, Math.floor((this.#pageBytes - this.byte) / panelBytes));
      if (fit > 0) runs.push({ page: this.page, byte: this.byte, panels: fit });
      left -= fit;
      this.byte += fit * panelBytes;
      if (left === 0) break;
      this.page += 1;
      this.byte = 0;
    }
    return runs;
  }
}

const tooLarge = (rank: number, pageBytes: number, what: string) =>
  new ServeError(
    'RANK_TOO_LARGE',
    `an adapter with ${what} in one page of ${pageBytes} bytes`,
    `rank ${rank}`,
    'serve a lower rank, or with larger pages',
  );

/** The layout of every adapter of this rank. */
export function adapterLayout(config: ModelConfig, rank: number, pageBytes: number): AdapterLayout {
  const slots = loraLayout(config, rank);
  if (widestPanel(config, rank) > pageBytes) throw tooLarge(rank, pageBytes, 'its widest panel');
  let headerWords = 2 + (slots.length / 2) * 7;
  for (;;) {
    const dealer = new Dealer(pageBytes, headerWords * 4);
    const factors: AdapterLayout['factors'][number][] = [];
    let words = 2 + slots.length / 2;
    for (let i = 0; i < slots.length; i += 2) {
      const a = dealer.runs(Math.ceil(rank / 8), slots[i]!.columns * 32);
      const b = dealer.runs(slots[i + 1]!.rows / 8, rank * 32);
      factors.push({ a, b });
      words += 2 + 2 * (a.length + b.length);
    }
    const last = slots.at(-1)!;
    const layerFloats = (last.offset + last.rows * last.columns) / config.layers;
    if (words <= headerWords) {
      return { rank, pages: dealer.page + 1, headerWords, factors, layerFloats };
    }
    headerWords = words;
    if (headerWords * 4 > pageBytes) throw tooLarge(rank, pageBytes, 'its header');
  }
}

/** The header as the kernels read it; `pages` are the byte offsets of the adapter's pages. */
export function headerOf(
  layout: AdapterLayout,
  scale: number,
  pages: readonly number[],
): Uint32Array {
  const words = new Uint32Array(layout.headerWords);
  words[0] = layout.rank;
  new Float32Array(words.buffer)[1] = scale;
  let at = 2 + layout.factors.length;
  for (const [index, { a, b }] of layout.factors.entries()) {
    words[2 + index] = at;
    words.set([a.length, b.length], at);
    at += 2;
    for (const { page, byte, panels } of [...a, ...b]) {
      words.set([pages[page]! + byte, panels], at);
      at += 2;
    }
  }
  return words;
}
