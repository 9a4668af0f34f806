/**
 * Trains the base model that ships in runtime/base from the text of the installed packages:
 * `npm run pretrain -- [--steps N] [--out DIR] [--threads N] [--resume]`. Seeded: equal packages and
 * steps give equal weights, whatever the number of threads. State for --resume: .cache/pretrain.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  bitsPerByte,
  type CorpusSplits,
  createFullTrainer,
  type FullState,
  Graph,
  listPackages,
  makeTokenizer,
  modelBitsPerByte,
  openArena,
  readCorpus,
  sampleOf,
  splitOf,
  type Tokenizer,
  type TokenizerFiles,
  toBfloat16,
  tokenizerFiles,
  trainKneserNey,
  trainMerges,
} from '#runtime';
import { type Cursors, makeTrainingData, type TrainingData } from './pretrain/data.ts';
import {
  BASE_CONFIG,
  batchShape,
  initialWeights,
  rateAt,
  type Schedule,
  scheduleOf,
} from './pretrain/plan.ts';
import { type RunFigures, readmeOf } from './pretrain/readme.ts';
import { writeBaseModel } from './pretrain/write.ts';

const SEED = 20_261_121n;
const STATE_DIRECTORY = '.cache/pretrain';
/** Documentation is what the model is for, so its words weigh more in the vocabulary. */
const WORD_WEIGHTS = { documentation: 4, comments: 2, code: 1 } as const;
const STEPS_PER_LOG = 25;
const STEPS_PER_SAVE = 250;
/** Accumulators of a step; fixed, because the order of additions decides the last bit. */
const LANES = 2;

type Prepared = {
  corpus: CorpusSplits;
  corpusHash: string;
  files: TokenizerFiles;
  tokenizer: Tokenizer;
  heldOut: string[];
};

function prepare(): Prepared {
  const corpus = readCorpus('node_modules');
  const hash = createHash('sha256');
  for (const { text } of corpus.pretraining) hash.update(text);
  const merges = trainMerges(
    corpus.pretraining.map(({ text, kind }) => ({ text, weight: WORD_WEIGHTS[kind] })),
    BASE_CONFIG.vocabSize,
  );
  const files = tokenizerFiles(merges, BASE_CONFIG.contextLength);
  return {
    corpus,
    corpusHash: hash.digest('hex'),
    files,
    tokenizer: makeTokenizer(files.tokenizer, files.config, BASE_CONFIG.vocabSize),
    heldOut: corpus['held-out'].map(({ text }) => text),
  };
}

/** The figures of the README that do not depend on training. */
function staticFigures({ corpus, corpusHash, tokenizer, heldOut }: Prepared) {
  const size = (texts: readonly string[]) =>
    texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const ofKind = (wanted: string) =>
    corpus.pretraining.filter(({ kind }) => kind === wanted).map(({ text }) => text);
  const encoded = (texts: readonly string[]) => texts.map((text) => Buffer.from(text));
  const packages: Record<string, number> = {};
  for (const { name } of listPackages('node_modules')) {
    packages[splitOf(name)] = (packages[splitOf(name)] ?? 0) + 1;
  }
  const yardstick = (texts: readonly string[]) =>
    bitsPerByte(trainKneserNey(encoded(texts), 5), encoded(heldOut));
  const heldOutTokens = heldOut.reduce((sum, text) => sum + tokenizer.encode(text).length, 0);
  return {
    corpusHash,
    packages,
    bytes: {
      documentation: size(ofKind('documentation')),
      comments: size(ofKind('comments')),
      code: size(ofKind('code')),
      datanet: size(corpus.datanet.map(({ text }) => text)),
      'held-out': size(heldOut),
    },
    bytesPerToken: size(heldOut) / heldOutTokens,
    kneserNeyBitsPerByte: yardstick(corpus.pretraining.map(({ text }) => text)),
    kneserNeyDocumentationBitsPerByte: yardstick(ofKind('documentation')),
  };
}

/** Scores held-out text with given weights. */
function makeEvaluator(tokenizer: Tokenizer) {
  const graph = new Graph(openArena(), BASE_CONFIG, false);
  return (weights: Float32Array, texts: readonly string[]): Promise<number> => {
    graph.parameters().set(weights);
    graph.pack();
    const score = (tokens: Int32Array) => graph.score(null, tokens).logprobs;
    return modelBitsPerByte(score, tokenizer, texts, BASE_CONFIG.contextLength);
  };
}

type SavedRun = { cursors: Cursors; corpusHash: string; seconds: number; state: FullState };

async function saveRun(run: SavedRun): Promise<void> {
  await mkdir(STATE_DIRECTORY, { recursive: true });
  const { state, ...rest } = run;
  const partial = join(STATE_DIRECTORY, 'state.partial');
  const header = Buffer.from(JSON.stringify({ ...rest, step: state.step }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const vectors = [state.parameters, state.first, state.second].map((part) =>
    Buffer.from(part.buffer),
  );
  await writeFile(partial, Buffer.concat([length, header, ...vectors]));
  await rename(partial, join(STATE_DIRECTORY, 'state.bin'));
}

async function loadRun(corpusHash: string): Promise<SavedRun> {
  const bytes = await readFile(join(STATE_DIRECTORY, 'state.bin'));
  const end = 4 + bytes.readUInt32LE(0);
  const header = JSON.parse(bytes.subarray(4, end).toString()) as Omit<SavedRun, 'state'> & {
    step: number;
  };
  if (header.corpusHash !== corpusHash) throw new Error('the installed packages have changed');
  const all = new Float32Array(new Uint8Array(bytes.subarray(end)).buffer);
  const count = all.length / 3;
  const [parameters, first, second] = [0, 1, 2].map((i) => all.slice(i * count, (i + 1) * count));
  const state = { step: header.step, parameters: parameters!, first: first!, second: second! };
  return { ...header, state };
}

const log = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      steps: { type: 'string', default: '4500' },
      out: { type: 'string', default: 'runtime/base' },
      threads: { type: 'string', default: '2' },
      resume: { type: 'boolean', default: false },
    },
  });
  const schedule = scheduleOf(Number(values.steps));
  const prepared = prepare();
  const figures = staticFigures(prepared);
  log(`packages ${JSON.stringify(figures.packages)} bytes ${JSON.stringify(figures.bytes)}`);
  log(
    `tokenizer ${figures.bytesPerToken.toFixed(3)} bytes/token; KN-5 ${figures.kneserNeyBitsPerByte.toFixed(4)} bits/byte (documentation alone ${figures.kneserNeyDocumentationBitsPerByte.toFixed(4)})`,
  );
  const saved = values.resume ? await loadRun(prepared.corpusHash) : undefined;
  const data = makeTrainingData(
    prepared.corpus.pretraining,
    prepared.tokenizer,
    SEED,
    saved?.cursors,
  );
  log(`tokens ${JSON.stringify(data.tokens)}`);
  await train({
    schedule,
    prepared,
    figures,
    data,
    saved,
    out: values.out,
    threads: Number(values.threads),
  });
}

type Run = {
  schedule: Schedule;
  prepared: Prepared;
  figures: ReturnType<typeof staticFigures>;
  data: TrainingData;
  saved: SavedRun | undefined;
  out: string;
  threads: number;
};

async function train({
  schedule,
  prepared,
  figures,
  data,
  saved,
  out,
  threads,
}: Run): Promise<void> {
  const { beta1, beta2, weightDecay, clipNorm } = schedule;
  const adam = { beta1, beta2, weightDecay, clipNorm };
  const trainer = createFullTrainer({ config: BASE_CONFIG, seed: 0, lanes: LANES, threads, adam });
  const parameters = initialWeights(BASE_CONFIG, SEED);
  const zeros = () => new Float32Array(parameters.length);
  await trainer.restore(saved?.state ?? { step: 0, parameters, first: zeros(), second: zeros() });
  const evaluate = makeEvaluator(prepared.tokenizer);
  const sample = sampleOf(prepared.heldOut, 25, 3_000);
  const startedAt = performance.now() - (saved?.seconds ?? 0) * 1000;
  const seconds = () => (performance.now() - startedAt) / 1000;
  const firstStep = saved?.state.step ?? 0;
  let tokens = 0;
  let loss = 0;

  const publish = async (state: FullState, heldOutBitsPerByte: number) => {
    const run: RunFigures = {
      ...figures,
      config: BASE_CONFIG,
      parameters: parameters.length,
      seed: SEED,
      schedule,
      stepsDone: state.step,
      seconds: seconds(),
      tokensPerSecond: (state.step * schedule.sequences * schedule.length) / seconds(),
      heldOutBitsPerByte,
    };
    await writeBaseModel(out, {
      config: BASE_CONFIG,
      weights: state.parameters,
      tokenizer: prepared.tokenizer,
      tokenizerFiles: prepared.files,
      readme: readmeOf(run),
    });
  };

  for (let step = firstStep; step < schedule.steps; step++) {
    const { sequences, length } = batchShape(schedule, step);
    const result = await trainer.step(
      data.nextBatch(step, sequences, length),
      rateAt(schedule, step),
    );
    tokens += sequences * length;
    loss += result.loss / STEPS_PER_LOG;
    const done = step + 1;
    if (done % STEPS_PER_LOG === 0) {
      const speed = tokens / (seconds() - (saved?.seconds ?? 0));
      const left = ((schedule.steps - done) * schedule.sequences * schedule.length) / speed;
      log(
        `step ${done}/${schedule.steps} loss ${loss.toFixed(4)} norm ${result.gradientNorm.toFixed(2)} rate ${rateAt(schedule, step).toExponential(2)} ${speed.toFixed(0)} tokens/s, ${(left / 60).toFixed(1)} min left`,
      );
      loss = 0;
    }
    if (done % STEPS_PER_SAVE === 0 && done < schedule.steps) {
      const state = await trainer.save();
      await saveRun({
        cursors: data.cursors,
        corpusHash: prepared.corpusHash,
        seconds: seconds(),
        state,
      });
      const bits = await evaluate(state.parameters, sample);
      log(`step ${done} held-out sample ${bits.toFixed(4)} bits/byte`);
      await publish(state, bits);
    }
  }
  const state = await trainer.save();
  await trainer.close();
  await saveRun({
    cursors: data.cursors,
    corpusHash: prepared.corpusHash,
    seconds: seconds(),
    state,
  });
  const bits = await evaluate(roundedToBfloat16(state.parameters), prepared.heldOut);
  await publish(state, bits);
  log(
    `done: held-out ${bits.toFixed(4)} bits/byte, KN-5 ${figures.kneserNeyBitsPerByte.toFixed(4)}`,
  );
  if (bits >= figures.kneserNeyBitsPerByte) throw new Error('the model does not beat Kneser-Ney');
}

/** The weights as they will be read back from the file. */
function roundedToBfloat16(weights: Float32Array): Float32Array {
  const words = Uint32Array.from(toBfloat16(weights), (half) => half << 16);
  return new Float32Array(words.buffer);
}

await main();
