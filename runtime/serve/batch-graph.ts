// The model placed for serving: weights, the page pool, tables of pages, and one call that takes many
// sequences a step further. Everything above this file deals in requests, everything below in offsets.
import type { Arena } from '../engine/arena.ts';
import type { ModelConfig, ModelWeights } from '../engine/config.ts';
import { type Adapter, Graph } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { type AdapterLayout, adapterLayout, headerOf, widestPanel } from './adapter-layout.ts';
import { PagePool } from './page-pool.ts';

export type BatchSizes = {
  /** Sequences that may run at once. */
  readonly sequences: number;
  /** Rows (new tokens) of one step, all sequences together. */
  readonly rows: number;
  /** Tokens that a page of keys and values holds; a multiple of eight. */
  readonly pagePositions: number;
  readonly poolBytes: number;
  readonly rankMax: number;
};

/** New tokens of one sequence in a step. */
export type BatchSequence = {
  /** From `takeTable`. */
  readonly table: number;
  readonly tokens: Int32Array | readonly number[];
  readonly start: number;
  /** Offset of a placed adapter, 0 for the base alone. */
  readonly adapter: number;
  /** Whether the logits after its last token are wanted. */
  readonly wanted: boolean;
};

const sequenceWords = 5;

export class BatchGraph {
  readonly config: ModelConfig;
  readonly sizes: BatchSizes;
  readonly pool: PagePool;
  readonly arena: Arena;
  readonly #graph: Graph;
  readonly #sequences: number;
  readonly #tokens: number;
  readonly #work: number;
  readonly #logits: number;
  readonly #scratch: number;
  readonly #staging: number;
  readonly #tables: number[];
  readonly #layouts = new Map<number, AdapterLayout>();

  constructor(
    arena: Arena,
    weights: ModelWeights,
    sizes: BatchSizes,
    format: WeightFormat = 'f32',
  ) {
    const { config } = weights;
    if (sizes.rows < sizes.sequences || sizes.pagePositions % 8 !== 0) {
      throw new RangeError(
        `expected at least a row per sequence and pages of a multiple of eight, found ${sizes.rows} ` +
          `rows, ${sizes.sequences} sequences and pages of ${sizes.pagePositions}`,
      );
    }
    this.arena = arena;
    this.config = config;
    this.sizes = sizes;
    this.#graph = new Graph(arena, config, false, format);
    this.#graph.load(weights);
    const { modelAt } = this.#graph;
    const longest = config.contextLength;
    const room = arena.call('batch_bytes', modelAt, sizes.rows, longest, sizes.rankMax);
    this.#work = arena.allocate(room);
    this.#sequences = arena.allocate(sizes.sequences * sequenceWords * 4);
    this.#tokens = arena.allocate(sizes.rows * 4);
    this.#logits = arena.allocate(sizes.sequences * config.vocabSize * 4);
    this.#scratch = arena.allocate(config.vocabSize * 4);
    const tableBytes = Math.ceil(longest / sizes.pagePositions) * 4;
    this.#tables = Array.from({ length: sizes.sequences }, () => arena.allocate(tableBytes));
    this.#staging = arena.allocate(adapterLayout(config, sizes.rankMax, 2 ** 30).layerFloats * 4);
    const keyValue = config.layers * 2 * config.kvHeads * config.headDim * sizes.pagePositions * 4;
    const page = Math.ceil(Math.max(keyValue, widestPanel(config, sizes.rankMax)) / 64) * 64;
    this.pool = new PagePool(arena, page, Math.max(1, Math.floor(sizes.poolBytes / page)));
  }

  /** Pages that a text of so many positions needs. */
  pagesFor(positions: number): number {
    return Math.ceil(positions / this.sizes.pagePositions);
  }

  layoutOf(rank: number): AdapterLayout {
    const layout = this.#layouts.get(rank) ?? adapterLayout(this.config, rank, this.pool.pageBytes);
    this.#layouts.set(rank, layout);
    return layout;
  }

  /** Writes the header of an adapter into its pages and returns its offset; factors come by `pack`. */
  placeHeader(adapter: Adapter, pages: readonly number[]): number {
    const layout = this.layoutOf(adapter.rank);
    const words = headerOf(layout, adapter.alpha / adapter.rank, pages);
    this.arena.u32(pages[0]!, words.length).set(words);
    return pages[0]!;
  }

  /** Packs one layer of an adapter. */
  pack(at: number, { rank, parameters }: Adapter, layer: number): void {
    const { layerFloats } = this.layoutOf(rank);
    const from = layer * layerFloats;
    this.arena.f32(this.#staging, layerFloats).set(parameters.subarray(from, from + layerFloats));
    this.arena.call('batch_pack', this.#graph.modelAt, at, this.#staging, layer);
  }

  takeTable(): number | undefined {
    return this.#tables.pop();
  }

  giveTable(table: number): void {
    this.#tables.push(table);
  }

  /** Makes `page` the page number `index` of a sequence's text. */
  setPage(table: number, index: number, page: number): void {
    this.arena.u32(table + index * 4, 1)[0] = page;
  }

  /**
   * Runs the step. Row i of the result belongs to the i-th sequence that wants logits; it is a view
   * that the next step overwrites.
   */
  step(sequences: readonly BatchSequence[]): Float32Array {
    let rows = 0;
    let wanted = 0;
    const words = this.arena.u32(this.#sequences, sequences.length * sequenceWords);
    const tokens = this.arena.i32(this.#tokens, this.sizes.rows);
    for (const [i, one] of sequences.entries()) {
      const { length } = one.tokens;
      words.set([length, one.start, one.adapter, one.table, one.wanted ? 1 : 0], i * sequenceWords);
      tokens.set(one.tokens, rows);
      rows += length;
      wanted += one.wanted ? 1 : 0;
    }
    const { pagePositions, rankMax } = this.sizes;
    this.arena.call(
      'batch_extend',
      ...[this.#graph.modelAt, this.#sequences, sequences.length, this.#tokens, rows],
      ...[pagePositions, this.config.contextLength, rankMax, this.#work, this.#logits],
    );
    return this.arena.f32(this.#logits, wanted * this.config.vocabSize);
  }

  /** Log-probability of a token under one row of logits: the bits that a score of the text gives. */
  logprob(row: Float32Array, token: number): number {
    this.arena.f32(this.#scratch, row.length).set(row);
    return Math.fround(this.arena.call('op_cross_entropy', this.#scratch, row.length, token, 0));
  }
}
