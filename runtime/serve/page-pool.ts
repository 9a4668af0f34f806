// One pool of equal pages for everything that comes and goes while serving: keys and values of texts,
// and the factors of adapters. A page may have several owners; the last one to let go frees it.
import type { Arena } from '../engine/arena.ts';

export class PagePool {
  readonly pageBytes: number;
  readonly total: number;
  readonly #start: number;
  readonly #owners: Uint32Array;
  readonly #free: number[];

  constructor(arena: Arena, pageBytes: number, total: number) {
    this.pageBytes = pageBytes;
    this.total = total;
    this.#start = arena.allocate(pageBytes * total);
    this.#owners = new Uint32Array(total);
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i);
  }

  get free(): number {
    return this.#free.length;
  }

  /** Byte offset of a page with one owner; its content is whatever was there. */
  take(): number | undefined {
    const index = this.#free.pop();
    if (index === undefined) return undefined;
    this.#owners[index] = 1;
    return this.#start + index * this.pageBytes;
  }

  share(at: number): void {
    this.#owners[this.#index(at)]! += 1;
  }

  owners(at: number): number {
    return this.#owners[this.#index(at)]!;
  }

  release(at: number): void {
    const index = this.#index(at);
    this.#owners[index]! -= 1;
    if (this.#owners[index] === 0) this.#free.push(index);
  }

  #index(at: number): number {
    const index = (at - this.#start) / this.pageBytes;
    if (!((this.#owners[index] ?? 0) > 0)) throw new Error(`expected an owned page, found ${at}`);
    return index;
  }
}
