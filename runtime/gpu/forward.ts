// The forward pass of a Llama-family model over the rows of one step: texts that are scored or
// trained on, or new tokens of many sequences with their caches, each row with its own adapter.
import type { LoraModule, ModelConfig } from '../engine/config.ts';
import { LORA_MODULES, loraLayout } from '../engine/config.ts';
import * as calls from './calls.ts';
import { type Block, type Device, gridOf } from './device.ts';
import { attention } from './layer-kernels.ts';
import { gatherDown, gatherUp } from './matrix-kernels.ts';
import type { AdapterPool, PlacedAdapter, PlacedWeights } from './weights.ts';
import type { Workspace } from './workspace.ts';

/** Keys and values of one layer, [places, kvHeads, headDim]. */
export type LayerCache = { readonly keys: Block; readonly values: Block };

/** Whose adapters the rows use: none's, one for all of them, or each its own. */
export type StepAdapters =
  | { readonly type: 'none' }
  | { readonly type: 'one'; readonly pool: AdapterPool; readonly adapter: PlacedAdapter }
  | { readonly type: 'own'; readonly pool: AdapterPool; readonly rankMax: number };

export type Step = {
  readonly count: number;
  readonly rows: Block;
  readonly adapters: StepAdapters;
  readonly caches: readonly LayerCache[];
  /** Whether what the backward pass needs is kept, layer by layer. */
  readonly keeps: boolean;
};

/** What a layer leaves behind, inputs of the backward pass. */
export type LayerRecord = {
  readonly input: Block;
  readonly normed: Block;
  readonly rawQueries: Block;
  readonly rawKeys: Block;
  readonly queries: Block;
  readonly attended: Block;
  readonly logs: Block;
  readonly middle: Block;
  readonly secondNormed: Block;
  readonly gate: Block;
  readonly up: Block;
  readonly product: Block;
  /** x A^T of each of the seven linears. */
  readonly low: readonly Block[];
};

export type Forward = {
  readonly layers: readonly LayerRecord[];
  /** Before and after the last norm, [rows, hiddenSize]. */
  readonly last: Block;
  readonly states: Block;
};

/** HF name of a layer's linear. */
export const linearName = (layer: number, module: LoraModule): string =>
  `model.layers.${layer}.${module === 'gate_proj' || module === 'up_proj' || module === 'down_proj' ? 'mlp' : 'self_attn'}.${module}`;

/** Where the factors of layer's linears begin, per unit of rank. */
export function factorOffsets(config: ModelConfig): { readonly a: number; readonly b: number }[] {
  const slots = loraLayout(config, 1);
  return Array.from({ length: slots.length / 2 }, (_, i) => ({
    a: slots[2 * i]!.offset,
    b: slots[2 * i + 1]!.offset,
  }));
}

export class ForwardPass {
  readonly #device: Device;
  readonly #weights: PlacedWeights;
  readonly #work: Workspace;
  readonly #offsets: readonly { readonly a: number; readonly b: number }[];

  constructor(device: Device, weights: PlacedWeights, work: Workspace) {
    this.#device = device;
    this.#weights = weights;
    this.#work = work;
    this.#offsets = factorOffsets(weights.config);
  }

  /** Records the whole pass up to the last norm. */
  async run(step: Step): Promise<Forward> {
    const { config } = this.#weights;
    const { count } = step;
    const width = count * config.hiddenSize;
    let x = await this.#work.take('x', width);
    const table = this.#weights.matrix('model.embed_tokens.weight');
    const { hiddenSize, rmsEps } = config;
    calls.embed(this.#device, step.rows, table, x, count);
    const layers: LayerRecord[] = [];
    for (let layer = 0; layer < config.layers; layer++) {
      const record = await this.#layer(step, layer, x);
      if (step.keeps) layers.push(record);
      x = await this.#output(step, layer, record);
    }
    const states = await this.#work.take('states', width);
    const norm = this.#weights.matrix('model.norm.weight').block;
    calls.rmsnorm(this.#device, x, norm, states, count, hiddenSize, rmsEps);
    return { layers, last: x, states };
  }

  /** Logits [count, vocabSize] of states. */
  async logits(states: Block, count: number): Promise<Block> {
    const { config } = this.#weights;
    const name = config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight';
    const logits = await this.#work.take('logits', count * config.vocabSize);
    const quantized = await this.#quantized(count);
    calls.linear(this.#device, states, count, this.#weights.matrix(name), logits, quantized);
    return logits;
  }

  async #blocks(step: Step, layer: number): Promise<Omit<LayerRecord, 'input' | 'low'>> {
    const { heads, kvHeads, headDim, hiddenSize, ffnSize } = this.#weights.config;
    const { count, keeps } = step;
    const [wide, query, key] = [
      count * hiddenSize,
      count * heads * headDim,
      count * kvHeads * headDim,
    ];
    return this.#work.takeAll(
      {
        ...{ normed: wide, middle: wide, secondNormed: wide },
        ...{ rawQueries: query, queries: query, attended: query, rawKeys: key },
        ...{ logs: count * heads * 2, gate: count * ffnSize },
        ...{ up: count * ffnSize, product: count * ffnSize },
      },
      keeps ? `${layer}.` : '',
    );
  }

  async #layer(step: Step, layer: number, input: Block): Promise<LayerRecord> {
    const { config } = this.#weights;
    const { heads, kvHeads, headDim, hiddenSize, ffnSize, rmsEps } = config;
    const { count, caches } = step;
    const device = this.#device;
    const blocks = await this.#blocks(step, layer);
    const low: Block[] = [];
    const record: LayerRecord = { ...blocks, input, low };
    const linear = async (module: LoraModule, x: Block, y: Block) => {
      low.push(await this.#linear(step, layer, module, x, y, false));
    };
    const at = `model.layers.${layer}`;
    const firstNorm = this.#weights.matrix(`${at}.input_layernorm.weight`).block;
    calls.rmsnorm(device, input, firstNorm, blocks.normed, count, hiddenSize, rmsEps);
    await linear('q_proj', blocks.normed, blocks.rawQueries);
    await linear('k_proj', blocks.normed, blocks.rawKeys);
    const rawValues = await this.#work.take('rawValues', count * kvHeads * headDim);
    await linear('v_proj', blocks.normed, rawValues);
    const { keys, values } = caches[layer]!;
    await this.#turned(
      step,
      `${at}.self_attn.q_norm`,
      blocks.rawQueries,
      blocks.queries,
      heads,
      false,
    );
    await this.#turned(step, `${at}.self_attn.k_norm`, blocks.rawKeys, keys, kvHeads, true);
    const copied = [step.rows, this.#weights.rope, rawValues, values] as const;
    calls.rope(device, copied, count, kvHeads, headDim, { turn: 0, scatters: true });
    device.run(
      attention,
      calls.attentionValues(count, config, config.windows?.[layer] ?? 0),
      [step.rows, blocks.queries, keys, values, blocks.attended, blocks.logs],
      gridOf(count * heads),
    );
    const delta = await this.#work.take('delta', count * hiddenSize);
    await linear('o_proj', blocks.attended, delta);
    calls.sum(device, input, delta, blocks.middle, count * hiddenSize);
    const second = this.#weights.matrix(`${at}.post_attention_layernorm.weight`).block;
    calls.rmsnorm(device, blocks.middle, second, blocks.secondNormed, count, hiddenSize, rmsEps);
    await linear('gate_proj', blocks.secondNormed, blocks.gate);
    await linear('up_proj', blocks.secondNormed, blocks.up);
    calls.swiglu(device, blocks.gate, blocks.up, blocks.product, count * ffnSize);
    await linear('down_proj', blocks.product, delta);
    return record;
  }

  /** The layer's output: its middle and what its last linear left in `delta`. */
  async #output(step: Step, layer: number, { middle }: LayerRecord): Promise<Block> {
    const width = step.count * this.#weights.config.hiddenSize;
    const delta = await this.#work.take('delta', width);
    const x = await this.#work.take(step.keeps ? `${layer}.output` : 'x', width);
    calls.sum(this.#device, middle, delta, x, width);
    return x;
  }

  /** Head norms where the model has them, then the rotation. */
  async #turned(
    step: Step,
    norm: string,
    raw: Block,
    into: Block,
    heads: number,
    scatters: boolean,
  ): Promise<void> {
    const { headDim, rmsEps } = this.#weights.config;
    const { count, rows } = step;
    const weight = this.#weights.vector(`${norm}.weight`);
    let x = raw;
    if (weight !== undefined) {
      x = await this.#work.take('headNormed', count * heads * headDim);
      calls.rmsnorm(this.#device, raw, weight, x, count * heads, headDim, rmsEps);
    }
    const blocks = [rows, this.#weights.rope, x, into] as const;
    calls.rope(this.#device, blocks, count, heads, headDim, { turn: 1, scatters });
  }

  /** y = x W^T with bias and adapter; returns x A^T. */
  async #linear(
    step: Step,
    layer: number,
    module: LoraModule,
    x: Block,
    y: Block,
    adds: boolean,
  ): Promise<Block> {
    const device = this.#device;
    const { count, rows, adapters } = step;
    const name = linearName(layer, module);
    const matrix = this.#weights.matrix(`${name}.weight`);
    calls.linear(device, x, count, matrix, y, await this.#quantized(count), adds);
    const bias = this.#weights.vector(`${name}.bias`);
    if (bias !== undefined) calls.addBias(device, bias, y, count, matrix.rows);
    if (adapters.type === 'none') return x;
    const index = layer * LORA_MODULES.length + LORA_MODULES.indexOf(module);
    const offsets = this.#offsets[index]!;
    const { columns: depth, rows: columns } = matrix;
    if (adapters.type === 'own') {
      const { pool, rankMax } = adapters;
      const low = await this.#work.take('low', count * rankMax);
      const table = [rows, pool.entries, pool.factors];
      const down = { rows: count, rankMax, depth, before: offsets.a };
      device.run(gatherDown, down, [...table, x, low], gridOf(count * rankMax));
      const up = { rows: count, rankMax, columns, before: offsets.b };
      device.run(gatherUp, up, [...table, low, y], gridOf(Math.ceil((count * columns) / 64)));
      return low;
    }
    const { at, rank, scale } = adapters.adapter;
    const { factors } = adapters.pool;
    const low = await this.#work.take(step.keeps ? `${name}.low` : 'low', count * rank);
    calls.product(device, x, factors, low, {
      ...{ rows: count, columns: rank, depth, a: { row: depth, depth: 1 } },
      b: { at: at + rank * offsets.a, row: depth, depth: 1 },
    });
    calls.product(device, low, factors, y, {
      ...{ rows: count, columns, depth: rank, a: { row: rank, depth: 1 }, scale, adds: true },
      b: { at: at + rank * offsets.b, row: rank, depth: 1 },
    });
    return low;
  }

  async #quantized(count: number): Promise<calls.Quantized> {
    const { hiddenSize, ffnSize, heads, headDim } = this.#weights.config;
    const widest = Math.max(hiddenSize, ffnSize, heads * headDim);
    const packed = await this.#work.take('packed', (count * widest) / 4);
    return { packed, scales: await this.#work.take('scales', count) };
  }
}
