// Pages of texts that were computed before, found again by what they hold: one page's keys and values
// depend on the adapter and on every token up to its end, so a chain of pages is a path in a tree per
// adapter. Equal tokens give equal bits, so a page found is as good as a page computed.
import type { PagePool } from './page-pool.ts';

type Node = {
  readonly key: string;
  readonly parent: Node | undefined;
  readonly page: number;
  children: number;
};

/** What a text has in common with earlier ones. */
export type PrefixHit = { readonly pages: readonly number[]; readonly last: number };

export class PrefixCache {
  readonly #pool: PagePool;
  readonly #positions: number;
  /** Least recently used first. */
  readonly #nodes = new Map<string, Node>();
  readonly #numbers = new Map<Node, number>();
  readonly #byNumber = new Map<number, Node>();
  #next = 1;

  constructor(pool: PagePool, positions: number) {
    this.#pool = pool;
    this.#positions = positions;
  }

  get pages(): number {
    return this.#nodes.size;
  }

  /** Takes a share of the longest known chain of whole pages that ends before the last token. */
  take(adapter: string, tokens: Int32Array): PrefixHit {
    const pages: number[] = [];
    const path: Node[] = [];
    let last = 0;
    for (let from = 0; from + this.#positions < tokens.length; from += this.#positions) {
      const node = this.#nodes.get(this.#key(adapter, last, tokens, from));
      if (node === undefined) break;
      this.#pool.share(node.page);
      pages.push(node.page);
      path.push(node);
      last = this.#numbers.get(node)!;
    }
    for (const node of path.reverse()) this.#touch(node);
    return { pages, last };
  }

  /**
   * Keeps a page that now holds tokens[from..from + positions) after the chain that ends in `last`;
   * returns the end of the chain with it. Known already: the page stays its sequence's own.
   */
  keep(adapter: string, last: number, tokens: Int32Array, from: number, page: number): number {
    const key = this.#key(adapter, last, tokens, from);
    const known = this.#nodes.get(key);
    if (known !== undefined) return this.#numbers.get(known)!;
    const parent = this.#byNumber.get(last);
    if (last !== 0 && parent === undefined) return -1;
    if (parent !== undefined) parent.children += 1;
    const node: Node = { key, parent, page, children: 0 };
    const number = this.#next++;
    this.#pool.share(page);
    this.#nodes.set(key, node);
    this.#numbers.set(node, number);
    this.#byNumber.set(number, node);
    return number;
  }

  /** Lets go of the least recently used page that no text uses; false when there is none. */
  evict(): boolean {
    for (const node of this.#nodes.values()) {
      if (node.children > 0 || this.#pool.owners(node.page) > 1) continue;
      if (node.parent !== undefined) node.parent.children -= 1;
      this.#nodes.delete(node.key);
      this.#byNumber.delete(this.#numbers.get(node)!);
      this.#numbers.delete(node);
      this.#pool.release(node.page);
      return true;
    }
    return false;
  }

  #touch(node: Node): void {
    this.#nodes.delete(node.key);
    this.#nodes.set(node.key, node);
  }

  #key(adapter: string, last: number, tokens: Int32Array, from: number): string {
    return `${adapter}/${last}/${tokens.subarray(from, from + this.#positions).join(',')}`;
  }
}
