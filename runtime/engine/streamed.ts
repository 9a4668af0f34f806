// The canonical pass of a model that is larger than the kernels' memory: one layer at a time comes in,
// all positions of the text go through it, and the next takes its place. Every operation is that of
// the whole model, in its order, so the bits are the same.
import { type BackendChoice, openArena } from './backend.ts';
import { layoutSize, loraLayout, type ModelConfig, type ModelWeights } from './config.ts';
import { type Adapter, Graph, ModelInputError } from './graph.ts';
import type { WeightFormat } from './resident.ts';

export type StreamedOptions = {
  readonly backend?: BackendChoice;
  /** How a part lies in memory while it is used; default f32. */
  readonly weights?: WeightFormat;
  /** Most bytes of kernel memory for the layers, and for the vocabulary; default 4 GiB. */
  readonly memoryBytes?: number;
};

export type StreamedScore = {
  readonly logprobs: Float32Array;
  readonly best: Int32Array;
  /** Most bytes of kernel memory that a part used. */
  readonly peakBytes: number;
};

/** A model of one layer and next to no vocabulary. */
function layerConfig({ windows, ...config }: ModelConfig): ModelConfig {
  const own = windows === undefined ? {} : { windows: [0] };
  return { ...config, ...own, layers: 1, vocabSize: 1, tiedEmbeddings: true };
}

/** A model of next to no layer; one matrix is its embedding and its output head. */
function vocabularyConfig(config: ModelConfig): ModelConfig {
  const { hiddenSize, vocabSize, contextLength, rmsEps, ropeTheta } = config;
  const least = { layers: 1, heads: 1, kvHeads: 1, headDim: 8, ffnSize: 8, tiedEmbeddings: true };
  return { hiddenSize, vocabSize, contextLength, rmsEps, ropeTheta, ...least };
}

/** The graph of the embedding or of the output head. */
function vocabularyGraph(model: ModelWeights, matrix: string, options: StreamedOptions): Graph {
  const arena = openArena(options.backend, options.memoryBytes);
  const format = options.weights ?? 'f32';
  const graph = new Graph(arena, vocabularyConfig(model.config), false, format);
  graph.load(model, (name) => {
    if (name === 'model.embed_tokens.weight') return matrix;
    return name === 'model.norm.weight' ? name : undefined;
  });
  return graph;
}

/** The parameters of one layer, where a flat adapter has them. */
function layerOf(config: ModelConfig, adapter: Adapter, layer: number): Adapter {
  const count = layoutSize(loraLayout(config, adapter.rank));
  if (adapter.parameters.length !== count) {
    const expected = `${count} parameters at rank ${adapter.rank}`;
    throw new ModelInputError('ADAPTER_SIZE', expected, adapter.parameters.length);
  }
  const size = count / config.layers;
  return { ...adapter, parameters: adapter.parameters.subarray(layer * size, (layer + 1) * size) };
}

/**
 * What Engine.score gives, with one layer in memory at a time; each is read once per call.
 *
 * @throws ModelInputError, ModelConfigError; ArenaFullError ARENA_FULL when the vocabulary or a single
 *   layer with its workspace is larger than the memory
 */
export function streamedScore(
  model: ModelWeights,
  adapter: Adapter | null,
  tokens: Int32Array,
  options: StreamedOptions = {},
): StreamedScore {
  const { config } = model;
  const vocabulary = vocabularyGraph(model, 'model.embed_tokens.weight', options);
  const rows = vocabulary.embedRows(tokens);
  const arena = openArena(options.backend, options.memoryBytes);
  const graph = new Graph(arena, layerConfig(config), false, options.weights ?? 'f32');
  let peakBytes = vocabulary.arena.usedBytes;
  for (let layer = 0; layer < config.layers; layer++) {
    graph.load(model, (name) =>
      name.startsWith('model.layers.0.') ? name.replace('.0.', `.${layer}.`) : undefined,
    );
    if (config.windows !== undefined) graph.setWindows([config.windows[layer]!]);
    const own = adapter === null ? null : graph.placeAdapter(layerOf(config, adapter, layer));
    graph.layerRows(own, rows);
    peakBytes = Math.max(peakBytes, arena.usedBytes);
    if (own !== null) graph.releaseAdapter(own);
  }
  const head = config.tiedEmbeddings
    ? vocabulary
    : vocabularyGraph(model, 'lm_head.weight', options);
  const score = head.headRows(tokens, rows);
  return { ...score, peakBytes: Math.max(peakBytes, head.arena.usedBytes) };
}
