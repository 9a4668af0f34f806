// A digest of what a kernel build computes: a forward pass, LoRA and full gradients, AdamW and
// decoding on a small fixed model. Two builds may stand in for each other when their digests agree.
import { createHash, type Hash } from 'node:crypto';
import { BatchGraph } from '../serve/batch-graph.ts';
import { Arena, type KernelMemory } from './arena.ts';
import {
  initialLora,
  layoutSize,
  loraLayout,
  type ModelConfig,
  parameterLayout,
  weightsOf,
} from './config.ts';
import { type Adapter, Graph, type PlacedAdapter } from './graph.ts';
import { randomBits, uniform } from './random.ts';
import { WEIGHT_FORMATS, type WeightFormat } from './resident.ts';

const plain: ModelConfig = {
  hiddenSize: 40,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffnSize: 72,
  vocabSize: 104,
  contextLength: 64,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  tiedEmbeddings: false,
};

/** Everything that a model of the family may have besides. */
const featured: ModelConfig = {
  ...plain,
  vocabSize: 101,
  tiedEmbeddings: true,
  attentionBias: 'qkvo',
  mlpBias: true,
  headNorms: true,
  windows: [13, 0],
  ropeScaling: { type: 'llama3', factor: 8, lowFactor: 1, highFactor: 4, originalContext: 32 },
};

/** Hex SHA-256 over the bits of every result of the fixed computation. */
export function kernelDigest(memory: KernelMemory): string {
  const arena = new Arena(memory);
  const digest = createHash('sha256');
  for (const config of [plain, featured]) {
    digestModel(arena, config, digest);
    for (const format of WEIGHT_FORMATS.slice(1)) digestFormat(arena, config, format, digest);
  }
  const points = Float64Array.from({ length: 33 }, (_, i) => i * 0.7 - 11);
  for (const entry of ['scalar_exp', 'scalar_log', 'scalar_sin', 'scalar_cos'] as const) {
    digest.update(points.map((x) => arena.call(entry, entry === 'scalar_log' ? x * x : x)));
  }
  return digest.digest('hex');
}

function fixedParameters(config: ModelConfig): Float32Array {
  const layout = parameterLayout(config);
  const parameters = new Float32Array(layoutSize(layout));
  for (const slot of layout) {
    for (let i = slot.offset; i < slot.offset + slot.rows * slot.columns; i++) {
      parameters[i] = slot.name.endsWith('norm.weight') ? 1 : uniform(7, i) * 0.4 - 0.2;
    }
  }
  return parameters;
}

function fixedTokens(config: ModelConfig): Int32Array {
  return Int32Array.from({ length: 53 }, (_, i) => randomBits(11, i) % config.vocabSize);
}

function fixedAdapter(config: ModelConfig): Adapter {
  const parameters = initialLora(loraLayout(config, 4), 3);
  for (let i = 0; i < parameters.length; i++) parameters[i]! += uniform(5, i) * 0.1;
  return { rank: 4, alpha: 8, parameters };
}

function fixedMask(tokens: Int32Array): Uint8Array {
  return Uint8Array.from(tokens, (_, i) => (i % 5 === 0 ? 0 : 1));
}

function digestGradient(graph: Graph, tokens: Int32Array, digest: Hash): PlacedAdapter {
  const adapter = graph.placeAdapter(fixedAdapter(graph.config));
  const gradient = new Float32Array(adapter.count);
  const loss = graph.recordGradient(adapter, tokens, fixedMask(tokens), 1 / 40, gradient);
  digest.update(new Float64Array([loss])).update(gradient);
  return adapter;
}

/** Scores and logits out of weights in another format, with products of few rows and of many. */
function digestFormat(arena: Arena, config: ModelConfig, format: WeightFormat, digest: Hash): void {
  const graph = new Graph(arena, config, format === 'int8', format);
  graph.load(weightsOf(config, fixedParameters(config)));
  const tokens = fixedTokens(config);
  if (format === 'int8') digestGradient(graph, tokens, digest);
  digest.update(graph.score(null, tokens).logprobs);
  const cache = graph.placeCache(config.contextLength);
  for (const [from, to] of [
    [0, 3],
    [3, 4],
    [4, 9],
  ] as const) {
    digest.update(graph.extend(null, cache, tokens.subarray(from, to), from));
  }
}

function digestModel(arena: Arena, config: ModelConfig, digest: Hash): void {
  const graph = new Graph(arena, config, true);
  graph.parameters().set(fixedParameters(config));
  graph.pack();
  const tokens = fixedTokens(config);
  const adapter = digestGradient(graph, tokens, digest);
  const cache = graph.placeCache(config.contextLength);
  digest.update(graph.extend(adapter, cache, tokens.subarray(0, 20), 0));
  digest.update(graph.extend(adapter, cache, tokens.subarray(20, 21), 20));
  digest.update(graph.extend(null, cache, tokens.subarray(21, 29), 21));
  digest.update(graph.score(adapter, tokens).logprobs);
  digest.update(batchBits(graph, fixedAdapter(config), tokens));
  const n = graph.parameterCount;
  const [sum, m, v] = [0, 1, 2].map(() => {
    const at = arena.allocate(n * 4);
    arena.f32(at, n).fill(0);
    return at;
  }) as [number, number, number];
  digest.update(new Float64Array([graph.fullGradient(tokens, fixedMask(tokens), 1 / 40, sum)]));
  digest.update(new Float64Array([arena.call('sum_squares', sum, n)]));
  digest.update(arena.f32(sum, n));
  const rates = [0.5, 1e-3, 0.9, 0.95, 1 - 0.9, 1 - 0.95, 1e-8, 0.1];
  arena.call('adamw', graph.parametersAt, sum, m, v, n, ...rates);
  digest.update(arena.f32(graph.parametersAt, n)).update(arena.f32(v, n));
}

/** Logits of two sequences in one step: the adapter and the base, with pages of eight positions. */
function batchBits(graph: Graph, adapter: Adapter, tokens: Int32Array): Float32Array {
  const { arena, config } = graph;
  const sizes = { sequences: 2, rows: 32, pagePositions: 8, poolBytes: 2 ** 18, rankMax: 4 };
  const weights = weightsOf(config, graph.parameters().slice());
  const batch = new BatchGraph(arena, weights, sizes);
  const { pages } = batch.layoutOf(adapter.rank);
  const take = () => batch.pool.take()!;
  const at = batch.placeHeader(adapter, Array.from({ length: pages }, take));
  for (let layer = 0; layer < config.layers; layer++) batch.pack(at, adapter, layer);
  const tables = [batch.takeTable()!, batch.takeTable()!];
  for (const table of tables) {
    for (let i = 0; i < batch.pagesFor(24); i++) batch.setPage(table, i, take());
  }
  const step = (start: number, end: number) =>
    batch.step(
      tables.map((table, i) => ({
        table,
        tokens: tokens.subarray(start, end - i),
        start,
        adapter: i === 0 ? at : 0,
        wanted: true,
      })),
    );
  step(0, 15);
  return step(14, 16).slice();
}
