/**
 * One arm of the bits suite, bundled and run in a process of its own: `digest.js BACKEND THREADS WORKER`
 * prints SHA-256 of logits, gradients and updated parameters of two fixed models as JSON.
 */
import { createHash } from 'node:crypto';
import {
  createEngine,
  createFullTrainer,
  createPool,
  layoutSize,
  loraLayout,
  type ModelConfig,
  type TrainingRecord,
} from '#runtime';

const plain: ModelConfig = {
  hiddenSize: 96,
  layers: 2,
  heads: 6,
  kvHeads: 2,
  headDim: 16,
  ffnSize: 168,
  vocabSize: 328,
  contextLength: 64,
  rmsEps: 1e-5,
  ropeTheta: 10000,
  tiedEmbeddings: true,
};
const featured: ModelConfig = {
  ...plain,
  tiedEmbeddings: false,
  attentionBias: 'qkvo',
  mlpBias: true,
  headNorms: true,
  windows: [13, 0],
  ropeScaling: { type: 'llama3', factor: 8, lowFactor: 1, highFactor: 4, originalContext: 32 },
};
const SEQUENCES = 5;

const [choice, threadCount, workerFile] = process.argv.slice(2);
const backend = choice === 'native' ? 'native' : 'wasm';
const threads = Number(threadCount);

/** Texts of 41 to 45 tokens without a pattern that a model of this size could hold. */
function records({ vocabSize }: ModelConfig): TrainingRecord[] {
  return Array.from({ length: SEQUENCES }, (_, which) => {
    const tokens = Int32Array.from(
      { length: 41 + which },
      (_, i) => (((i + 3) * (i + 7) * (which + 2) * 2654435761) >>> 7) % vocabSize,
    );
    return { tokens, mask: Uint8Array.from(tokens, (_, i) => (i % 5 === 0 ? 0 : 1)) };
  });
}

const hashes = {
  logits: createHash('sha256'),
  gradients: createHash('sha256'),
  parameters: createHash('sha256'),
};
const pool = { threads, backend, workerFile: workerFile as string } as const;

for (const config of [plain, featured]) {
  const texts = records(config);
  const trainer = createFullTrainer({ config, seed: 5, ...pool });
  try {
    for (let step = 0; step < 3; step++) {
      const { loss, gradientNorm } = await trainer.step(texts, 1e-2);
      hashes.gradients.update(Float64Array.of(loss, gradientNorm));
    }
    const { parameters, first, second } = await trainer.save();
    for (const part of [parameters, first, second]) hashes.parameters.update(part);
    const named = trainer.weights();
    const weights = { config, tensor: (name: string) => named.get(name)! };
    const flat = new Float32Array(layoutSize(loraLayout(config, 4)));
    for (let i = 0; i < flat.length; i++) flat[i] = ((i * 2654435761) >>> 8) / 2 ** 26 - 0.125;
    const adapter = { rank: 4, alpha: 8, parameters: flat };
    const crew = createPool({ weights, ...pool });
    try {
      for (const { loss, gradient } of await crew.recordGradients(adapter, texts)) {
        hashes.gradients.update(Float64Array.of(loss)).update(gradient);
      }
      for (const { tokens } of texts) {
        hashes.logits.update((await crew.score(adapter, tokens)).logprobs);
      }
    } finally {
      await crew.close();
    }
    const session = createEngine(weights, { backend, training: false }).session(adapter);
    hashes.logits.update(session.prefill(texts[0]!.tokens)).update(session.decode(7));
  } finally {
    await trainer.close();
  }
}
const digests = Object.entries(hashes).map(([name, hash]) => [name, hash.digest('hex')]);
console.log(JSON.stringify(Object.fromEntries(digests)));
