// Small fixed models, adapters and texts that the tests of kernels, engine and training share.
import { layoutSize, loraLayout, type ModelConfig, parameterLayout } from '../engine/config.ts';
import type { TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { randomBits, uniform } from '../engine/random.ts';

/** A two-layer grouped-query model with odd-sized everything (all widths but the vocabulary are multiples of eight). */
export function sampleConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  return {
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
    tiedEmbeddings: true,
    ...changes,
  };
}

/** Everything a model of the family may have besides, at once. */
export function fullFeaturedConfig(): ModelConfig {
  return sampleConfig({
    vocabSize: 103,
    tiedEmbeddings: false,
    attentionBias: 'qkvo',
    mlpBias: true,
    headNorms: true,
    windows: [11, 0],
    ropeScaling: {
      type: 'yarn',
      factor: 4,
      betaFast: 8,
      betaSlow: 1,
      originalContext: 32,
      attentionFactor: 1.1,
      truncate: true,
    },
  });
}

/** Flat parameters large enough that every part of the graph matters. */
export function sampleParameters(config: ModelConfig, seed = 1): Float32Array {
  const layout = parameterLayout(config);
  const flat = new Float32Array(layoutSize(layout));
  for (const slot of layout) {
    for (let i = slot.offset; i < slot.offset + slot.rows * slot.columns; i++) {
      const isNorm = slot.name.endsWith('norm.weight');
      flat[i] = isNorm ? 0.9 + 0.2 * uniform(seed, i) : (uniform(seed, i) - 0.5) * 0.6;
    }
  }
  return flat;
}

/** An adapter whose A and B are both away from zero. */
export function sampleAdapter(config: ModelConfig, rank: number, seed = 2): Adapter {
  const count = layoutSize(loraLayout(config, rank));
  const parameters = Float32Array.from({ length: count }, (_, i) => (uniform(seed, i) - 0.5) * 0.3);
  return { rank, alpha: 2 * rank, parameters };
}

/** A random text; every fourth token is no target. */
export function sampleRecord(config: ModelConfig, length: number, seed = 3): TrainingRecord {
  const tokens = Int32Array.from({ length }, (_, i) => randomBits(seed, i) % config.vocabSize);
  return { tokens, mask: Uint8Array.from(tokens, (_, i) => (i % 4 === 0 ? 0 : 1)) };
}
