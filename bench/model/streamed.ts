/**
 * `npm run bench -- streamed`: the canonical f32 pass of a model of 1.1 billion parameters (4.4 GB,
 * more than the kernels' memory) over 16 tokens, a layer at a time. Its weights are made up as they
 * are read.
 */
import { type ModelConfig, type ModelWeights, streamedScore } from '#runtime';
import type { Row, SuiteOptions } from '../stats.ts';

const CONFIG: ModelConfig = {
  ...{ hiddenSize: 2048, layers: 22, heads: 32, kvHeads: 4, headDim: 64, ffnSize: 5632 },
  ...{ vocabSize: 32_000, contextLength: 2048, rmsEps: 1e-5, ropeTheta: 10_000 },
  tiedEmbeddings: false,
};
const PARAMETERS = 1_100_048_384;

/** Small numbers from a linear congruence; every tensor begins anew. */
const WEIGHTS: ModelWeights = {
  config: CONFIG,
  tensor: (name) => {
    throw new Error(`expected ${name} to be read in pieces`);
  },
  stored: () => ({
    format: 'f32',
    read(into, row) {
      const values = new Float32Array(into.buffer, into.byteOffset, into.length / 4);
      let state = (row * 2654435761 + 1) >>> 0;
      for (let i = 0; i < values.length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        values[i] = (state / 2 ** 32 - 0.5) / 8;
      }
    },
  }),
};

export async function streamedSuite({ say }: SuiteOptions): Promise<Row[]> {
  const tokens = Int32Array.from({ length: 17 }, (_, i) => (i * 1999) % CONFIG.vocabSize);
  const startedAtMs = performance.now();
  const { logprobs, peakBytes } = streamedScore(WEIGHTS, null, tokens);
  const seconds = (performance.now() - startedAtMs) / 1000;
  say(`${PARAMETERS} parameters in ${peakBytes} bytes of kernel memory, ${seconds.toFixed(1)} s`);
  const share = peakBytes / (PARAMETERS * 4);
  const isMet = share < 1 && logprobs.every((one) => Number.isFinite(one) && one <= 0);
  return [
    {
      ...{ id: 'L1', what: 'kernel memory of a streamed pass / its weights', model: '1.1 B f32' },
      ...{ target: '< 1', isMet, isExact: true, median: share, interval: [share, share] },
      ...{ pairs: [share], arms: { seconds, peakBytes } },
    },
  ];
}
