/** The README of the base model: how it was made and how good it is, from the run's own figures. */
import type { ModelConfig } from '#runtime';
import { SHARES } from './data.ts';
import type { Schedule } from './plan.ts';

/** The figures that the README states. */
export type RunFigures = {
  config: ModelConfig;
  parameters: number;
  seed: bigint;
  schedule: Schedule;
  stepsDone: number;
  seconds: number;
  tokensPerSecond: number;
  corpusHash: string;
  packages: Record<string, number>;
  bytes: Record<string, number>;
  bytesPerToken: number;
  heldOutBitsPerByte: number;
  kneserNeyBitsPerByte: number;
  kneserNeyDocumentationBitsPerByte: number;
};

export function readmeOf(figures: RunFigures): string {
  const { config, schedule, bytes, packages } = figures;
  const whole = (value: number) => Math.round(value).toLocaleString('en-US');
  const isDone = figures.stepsDone >= schedule.steps;
  const state = isDone
    ? ''
    : `\n**An early checkpoint: ${figures.stepsDone} steps of ${schedule.steps}.**\n`;
  return `# The base model of OpenLedger Swarm
${state}
A small language model of software documentation, the base on which adapters are trained. It is
made to be trained and served on any machine in seconds, and to be attributed exactly, not to be clever.

| | |
| --- | --- |
| architecture | Llama (LlamaForCausalLM): RMSNorm, RoPE (theta ${config.ropeTheta}), SwiGLU, grouped-query attention, tied embeddings |
| dimensions | hidden ${config.hiddenSize}, layers ${config.layers}, heads ${config.heads}, kv heads ${config.kvHeads}, head ${config.headDim}, feed-forward ${config.ffnSize}, context ${config.contextLength} |
| parameters | ${whole(figures.parameters)}, stored as bf16 |
| tokenizer | byte-level BPE, ${config.vocabSize} tokens, ${figures.bytesPerToken.toFixed(2)} bytes per token on held-out text |
| chat format | \`<\\|user\\|>question\\n<\\|assistant\\|>answer<\\|endoftext\\|>\` |

## Held-out quality

Bits per byte on the documentation of the held-out packages (${whole(bytes['held-out']!)} bytes), lower is better:

| model | bits per byte |
| --- | --- |
| this model | **${figures.heldOutBitsPerByte.toFixed(4)}** |
| modified interpolated Kneser-Ney, order 5, bytes, trained on the same bytes | ${figures.kneserNeyBitsPerByte.toFixed(4)} |
| the same, trained on the documentation alone | ${figures.kneserNeyDocumentationBitsPerByte.toFixed(4)} |

Each document is scored whole, after an end-of-text token, in windows of ${config.contextLength} tokens that overlap by half.

## Data

The text of the packages that \`npm ci\` installs for this project, split by SHA-256 of the package
name: 60 % pretraining, 30 % datanet, 10 % held-out. Only pretraining packages are trained on;
paragraphs that also occur in a package of another split are dropped. Licence texts are excluded.

| split | packages | bytes |
| --- | --- | --- |
| pretraining: documentation | ${packages['pretraining']} | ${whole(bytes['documentation']!)} |
| pretraining: doc comments of their sources | | ${whole(bytes['comments']!)} |
| pretraining: their sources, at most 32 KB a package | | ${whole(bytes['code']!)} |
| datanet: documentation | ${packages['datanet']} | ${whole(bytes['datanet']!)} |
| held-out: documentation | ${packages['held-out']} | ${whole(bytes['held-out']!)} |

Of every 1,000 sequences, ${SHARES.documentation} come from documentation, ${SHARES.comments} from comments, ${SHARES.code} from code, and ${SHARES.chat} are
chat samples made from the text itself (a heading asks for what stands below it; the first half of a
paragraph for the second). SHA-256 of the pretraining text: \`${figures.corpusHash}\`.

## Training

\`npm run pretrain -- --steps ${schedule.steps}\` with seed ${figures.seed}: AdamW (betas ${schedule.beta1}, ${schedule.beta2}; weight decay ${schedule.weightDecay}),
learning rate ${schedule.ratePeak} after ${schedule.warmupSteps} steps of warm-up, along a cosine to step ${schedule.decayFrom}, then straight down to ${schedule.rateEnd};
gradient norm clipped to ${schedule.clipNorm},
${schedule.sequences} sequences of ${schedule.length} tokens a step (from step ${schedule.longFrom} on half as many, twice as long).
It took ${whole(figures.seconds)} s on 2 shared cores, ${whole(figures.tokensPerSecond)} tokens/s.
`;
}
