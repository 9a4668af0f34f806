// Gradients of an adapter, one per record: the backward pass of forward.ts by hand, over all records
// at once for what they share, and record by record where the factors' gradients are summed.
import {
  LORA_MODULES,
  type LoraModule,
  layoutSize,
  loraLayout,
  type ModelConfig,
} from '../engine/config.ts';
import { dropInputs } from '../engine/dropout.ts';
import { countTargets, type RecordGradient, type TrainingRecord } from '../engine/engine.ts';
import { type Adapter, ModelInputError } from '../engine/graph.ts';
import * as calls from './calls.ts';
import { type Block, gridOf } from './device.ts';
import { type Forward, factorOffsets, type LayerRecord, linearName, type Step } from './forward.ts';
import { attentionBackwardKeys, attentionBackwardQueries } from './layer-kernels.ts';
import { products } from './matrix-kernels.ts';
import { type ModelParts, passCaches, textRows, withAdapter } from './pass.ts';
import { checkTokens, none, type Row, rowsOf, rowWords } from './rows.ts';

/** Rows of one pass: more records than fit go into the next. */
const rowsMax = 4096;

type Span = { readonly first: number; readonly count: number };

function checkRecord(config: ModelConfig, { tokens, mask }: TrainingRecord): void {
  if (tokens.length < 2) {
    throw new ModelInputError('CONTEXT_LENGTH', 'at least 2 tokens', tokens.length);
  }
  if (mask.length !== tokens.length) {
    throw new ModelInputError('TARGET_MASK', `${tokens.length} entries`, mask.length);
  }
  checkTokens(config, tokens.subarray(0, -1), 0);
  checkTokens(config, tokens.subarray(-1), 0);
}

/** Groups of records whose passes run together; one with dropout is alone, its adapter is its own. */
function groupsOf(records: readonly TrainingRecord[]): TrainingRecord[][] {
  const groups: TrainingRecord[][] = [];
  let rows = rowsMax;
  let alone = true;
  for (const record of records) {
    const count = record.tokens.length - 1;
    if (alone || record.dropout !== undefined || rows + count > rowsMax) {
      groups.push([]);
      rows = 0;
    }
    groups.at(-1)!.push(record);
    rows += count;
    alone = record.dropout !== undefined;
  }
  return groups;
}

/** As Engine.recordGradients, on the GPU. */
export async function recordGradients(
  parts: ModelParts,
  adapter: Adapter,
  records: readonly TrainingRecord[],
): Promise<RecordGradient[]> {
  for (const record of records) checkRecord(parts.config, record);
  const layout = loraLayout(parts.config, adapter.rank);
  const found: RecordGradient[] = [];
  for (const group of groupsOf(records)) {
    const dropout = group[0]?.dropout;
    if (dropout === undefined) {
      found.push(...(await groupGradients(parts, adapter, group)));
      continue;
    }
    const parameters = adapter.parameters.slice();
    dropInputs(layout, dropout, parameters);
    const [only] = await groupGradients(parts, { ...adapter, parameters }, group);
    dropInputs(layout, dropout, only!.gradient);
    found.push(only!);
  }
  return found;
}

async function groupGradients(
  parts: ModelParts,
  adapter: Adapter,
  records: readonly TrainingRecord[],
): Promise<RecordGradient[]> {
  const { device, config, work, forward } = parts;
  const spans: Span[] = [];
  const each: Row[] = [];
  for (const { tokens, mask } of records) {
    const count = tokens.length - 1;
    const weight = Math.fround(1 / Math.max(1, countTargets(mask)));
    spans.push({ first: each.length, count });
    for (const [t, row] of textRows(tokens, count, each.length).entries()) {
      each.push(mask[t + 1] === 0 ? { ...row, answer: none } : { ...row, weight });
    }
  }
  const { length: count } = each;
  return withAdapter(parts, adapter, async (adapters) => {
    const rows = await work.take('rows', count * rowWords);
    device.write(rows, rowsOf(each));
    const caches = await passCaches(parts, count, true);
    const step: Step = { count, rows, adapters, caches, keeps: true };
    const pass = await forward.run(step);
    const logits = await forward.logits(pass.states, count);
    const pairs = await work.take('found', count * 2);
    calls.crossEntropy(device, [rows, logits, pairs], count, config.vocabSize, true);
    const floats = layoutSize(loraLayout(config, adapter.rank));
    const gradients = await work.take('gradients', records.length * floats);
    await new BackwardPass(parts, step, spans, gradients, floats).run(pass, logits);
    const nll = await device.readFloats(pairs, count * 2);
    const all = await device.readFloats(gradients, records.length * floats);
    return records.map(({ mask }, i) => {
      const targets = countTargets(mask);
      const { first, count: length } = spans[i]!;
      let sum = 0;
      // Rows without an answer have log-probability 0.
      for (let t = first; t < first + length; t++) sum -= nll[2 * t]!;
      const gradient = all.slice(i * floats, (i + 1) * floats);
      return { loss: targets === 0 ? 0 : sum / targets, targets, gradient };
    });
  });
}

class BackwardPass {
  readonly #parts: ModelParts;
  readonly #step: Step;
  readonly #spans: readonly Span[];
  readonly #gradients: Block;
  readonly #floats: number;
  readonly #offsets: readonly { readonly a: number; readonly b: number }[];

  constructor(
    parts: ModelParts,
    step: Step,
    spans: readonly Span[],
    gradients: Block,
    floats: number,
  ) {
    this.#parts = parts;
    this.#step = step;
    this.#spans = spans;
    this.#gradients = gradients;
    this.#floats = floats;
    this.#offsets = factorOffsets(parts.config);
  }

  /** From the gradient of the logits to those of every factor. */
  async run({ layers, last, states }: Forward, dlogits: Block): Promise<void> {
    const { device, config, work, weights } = this.#parts;
    const { count } = this.#step;
    const { hiddenSize, rmsEps } = config;
    const head = weights.matrix(
      config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight',
    );
    // The states are read no more: their block takes their gradient.
    this.#timesMatrix(dlogits, head, states, false);
    const dx = await work.take('dx', count * hiddenSize);
    const weight = weights.matrix('model.norm.weight').block;
    const blocks = { x: last, weight, dy: states, dx };
    calls.rmsnormBackward(device, blocks, count, hiddenSize, rmsEps, false);
    for (let layer = layers.length - 1; layer >= 0; layer--) {
      await this.#layer(layer, layers[layer]!, dx);
    }
  }

  async #layer(layer: number, record: LayerRecord, dx: Block): Promise<void> {
    const { device, config, work, weights } = this.#parts;
    const { count } = this.#step;
    const { hiddenSize, heads, kvHeads, headDim, ffnSize, rmsEps } = config;
    const [wide, query, key] = [
      count * hiddenSize,
      count * heads * headDim,
      count * kvHeads * headDim,
    ];
    const d = await work.takeAll(
      {
        ...{ normed: wide, product: count * ffnSize, gate: count * ffnSize, up: count * ffnSize },
        ...{ attended: query, queries: query, keys: key, values: key },
        ...{ rawQueries: query, rawKeys: key },
      },
      'd.',
    );
    const at = `model.layers.${layer}`;
    const linear = (module: LoraModule, dy: Block, x: Block, into: Block, adds: boolean) =>
      this.#linear(layer, module, record, { dy, x, into }, adds);
    const norm = (name: string, x: Block) => {
      const weight = weights.matrix(`${at}.${name}.weight`).block;
      const blocks = { x, weight, dy: d.normed, dx };
      calls.rmsnormBackward(device, blocks, count, hiddenSize, rmsEps, true);
    };
    await linear('down_proj', dx, record.product, d.product, false);
    calls.swigluBackward(
      device,
      [record.gate, record.up, d.product, d.gate, d.up],
      count * ffnSize,
    );
    await linear('gate_proj', d.gate, record.secondNormed, d.normed, false);
    await linear('up_proj', d.up, record.secondNormed, d.normed, true);
    norm('post_attention_layernorm', record.middle);
    await linear('o_proj', dx, record.attended, d.attended, false);
    this.#attention(layer, record, d);
    await this.#turned(`${at}.self_attn.q_norm`, d.queries, record.rawQueries, d.rawQueries, heads);
    await this.#turned(`${at}.self_attn.k_norm`, d.keys, record.rawKeys, d.rawKeys, kvHeads);
    await linear('q_proj', d.rawQueries, record.normed, d.normed, false);
    await linear('k_proj', d.rawKeys, record.normed, d.normed, true);
    await linear('v_proj', d.values, record.normed, d.normed, true);
    norm('input_layernorm', record.input);
  }

  #attention(
    layer: number,
    { queries, attended, logs }: LayerRecord,
    d: Readonly<Record<'attended' | 'queries' | 'keys' | 'values', Block>>,
  ): void {
    const { device, config } = this.#parts;
    const { count, rows, caches } = this.#step;
    const { keys, values } = caches[layer]!;
    const sizes = calls.attentionValues(count, config, config.windows?.[layer] ?? 0);
    const read = [rows, queries, keys, values];
    const first = [...read, attended, d.attended, logs, d.queries];
    device.run(attentionBackwardQueries, sizes, first, gridOf(count * config.heads));
    const second = [...read, d.attended, logs, d.keys, d.values];
    device.run(attentionBackwardKeys, sizes, second, gridOf(count * config.kvHeads));
  }

  /** Back through the rotation, then through the head norms where the model has them. */
  async #turned(name: string, dy: Block, raw: Block, into: Block, heads: number): Promise<void> {
    const { device, config, work, weights } = this.#parts;
    const { count, rows } = this.#step;
    const { headDim, rmsEps } = config;
    const weight = weights.vector(`${name}.weight`);
    const turned =
      weight === undefined ? into : await work.take('d.turned', count * heads * headDim);
    const blocks = [rows, weights.rope, dy, turned] as const;
    calls.rope(device, blocks, count, heads, headDim, { turn: -1, scatters: false });
    if (weight === undefined) return;
    const normed = { x: raw, weight, dy: turned, dx: into };
    calls.rmsnormBackward(device, normed, count * heads, headDim, rmsEps, false);
  }

  /** into (+)= dy W. */
  #timesMatrix(dy: Block, matrix: calls.Matrix, into: Block, adds: boolean): void {
    const { rows: depth, columns, storage, block } = matrix;
    if (storage === 'int8') throw new Error('expected weights that a gradient passes through');
    const call = {
      ...{ rows: this.#step.count, columns, depth, adds },
      ...{ a: { row: depth, depth: 1 }, b: { row: 1, depth: columns } },
    };
    calls.product(this.#parts.device, dy, block, into, call, products[storage]);
  }

  /** into (+)= the gradient of a linear's input; its factors' gradients, record by record. */
  async #linear(
    layer: number,
    module: LoraModule,
    record: LayerRecord,
    { dy, x, into }: { readonly dy: Block; readonly x: Block; readonly into: Block },
    adds: boolean,
  ): Promise<void> {
    const { device, weights, work } = this.#parts;
    const { count, adapters } = this.#step;
    if (adapters.type !== 'one') throw new Error('expected one adapter to train');
    const matrix = weights.matrix(`${linearName(layer, module)}.weight`);
    this.#timesMatrix(dy, matrix, into, adds);
    const { rank, scale, at } = adapters.adapter;
    const { factors } = adapters.pool;
    const position = LORA_MODULES.indexOf(module);
    const offsets = this.#offsets[layer * LORA_MODULES.length + position]!;
    const { rows: width, columns: depth } = matrix;
    const low = record.low[position]!;
    const dlow = await work.take('d.low', count * rank);
    calls.product(device, dy, factors, dlow, {
      ...{ rows: count, columns: rank, depth: width, a: { row: width, depth: 1 }, scale },
      b: { at: at + rank * offsets.b, row: 1, depth: rank },
    });
    calls.product(device, dlow, factors, into, {
      ...{ rows: count, columns: depth, depth: rank, a: { row: rank, depth: 1 }, adds: true },
      b: { at: at + rank * offsets.a, row: 1, depth },
    });
    for (const [i, { first, count: length }] of this.#spans.entries()) {
      const to = i * this.#floats;
      calls.product(device, dlow, x, this.#gradients, {
        ...{ rows: rank, columns: depth, depth: length },
        ...{ a: { at: first * rank, row: 1, depth: rank } },
        ...{ b: { at: first * depth, row: 1, depth } },
        c: { at: to + rank * offsets.a, row: depth },
      });
      calls.product(device, dy, low, this.#gradients, {
        ...{ rows: width, columns: rank, depth: length, scale },
        ...{ a: { at: first * width, row: 1, depth: width } },
        ...{ b: { at: first * rank, row: 1, depth: rank } },
        c: { at: to + rank * offsets.b, row: rank },
      });
    }
  }
}
