/** Trains the story's adapter, answers the questions and keeps all gradients, projected, on disk. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cosineQ16, createProjection, dotProduct, squaredNorm } from '#crypto';
import { type Example, exchangeExample, recordExample } from '../../runtime/attribute/examples.ts';
import {
  calibrateAdapter,
  sketchExchange,
  sketchRecords,
} from '../../runtime/attribute/records.ts';
import { SKETCH_SETTINGS } from '../../runtime/attribute/sketch.ts';
import { loraLayout } from '../../runtime/engine/config.ts';
import { createEngine, type Engine } from '../../runtime/engine/engine.ts';
import type { Adapter } from '../../runtime/engine/graph.ts';
import type { ModelDirectory } from '../../runtime/model/directory.ts';
import {
  engineSource,
  initialState,
  runSteps,
  stepsForEpochs,
  trainingPlan,
} from '../../runtime/train/lora.ts';
import type { Pool } from './text.ts';

export type Recipe = {
  readonly rank: number;
  readonly alpha: number;
  readonly learningRate: number;
  readonly batch: number;
  readonly epochs: number;
  /** Numbers per sketch. */
  readonly size: number;
  readonly nonZeros: number;
};

/** Projected gradients: per example, per matrix, `size` float32 without any scale. */
export type Projected = { readonly values: Float32Array; readonly squares: Float32Array };

export type Lab = {
  readonly size: number;
  readonly matrices: readonly string[];
  readonly lengths: readonly number[];
  readonly records: Projected;
  /** Keyed by how an exchange is read. */
  readonly exchanges: ReadonlyMap<string, Projected>;
  readonly answers: readonly string[];
  /** Cosines (Q16) of the sketches that the product makes, keyed by how an exchange is read. */
  readonly product: ReadonlyMap<string, Int32Array[]>;
};

const FOLDER = '.cache/attribution';
const TOKENS_MAX = 256;
const ANSWER_TOKENS = 40;
const SEED = 20_261_121;

export async function openLab(model: ModelDirectory, pool: Pool, recipe: Recipe): Promise<Lab> {
  mkdirSync(FOLDER, { recursive: true });
  const { size, nonZeros, ...training } = recipe;
  const digest = createHash('sha256')
    .update(model.hash)
    .update(JSON.stringify([training, pool.records]));
  const key = digest.update(JSON.stringify(pool.questions)).digest('hex').slice(0, 16);
  const engine = createEngine(model);
  const records = pool.records.map((text) => recordExample(model.tokenizer, text, TOKENS_MAX));
  const slots = loraLayout(model.config, recipe.rank);
  const parameters = await kept(`${key}-adapter`, () => train(engine, records, recipe));
  const adapter = { rank: recipe.rank, alpha: recipe.alpha, parameters };
  const answerFile = join(FOLDER, `${key}-answers.json`);
  if (!existsSync(answerFile)) {
    const made = pool.questions.map(({ prompt }) => answer(engine, adapter, model, prompt));
    writeFileSync(answerFile, JSON.stringify(made));
  }
  const answers = JSON.parse(readFileSync(answerFile, 'utf8')) as string[];
  const lengths = slots.map(({ rows, columns }) => rows * columns);
  const project = async (name: string, examples: readonly Example[]): Promise<Projected> => {
    const values = await kept(`${key}-${size}-${nonZeros}-${name}`, () =>
      projectAll(engine, adapter, examples, lengths, recipe),
    );
    const split = examples.length * lengths.length * size;
    return { values: values.subarray(0, split), squares: values.subarray(split) };
  };
  const exchanges = new Map<string, Projected>();
  const product = new Map<string, Int32Array[]>();
  for (const [name, examples] of readings(model, pool, answers)) {
    exchanges.set(name, await project(name, examples));
    if (name === 'whole' || name === 'prompt') {
      product.set(name, await productCosines(engine, adapter, records, examples));
    }
  }
  return {
    size,
    matrices: slots.map(({ name }) => name),
    lengths,
    records: await project('records', records),
    exchanges,
    answers,
    product,
  };
}

/** What the product computes: landmarks, sketches of 256 bytes, integer cosines. */
async function productCosines(
  engine: Engine,
  adapter: Adapter,
  records: readonly Example[],
  exchanges: readonly Example[],
): Promise<Int32Array[]> {
  const settings = { ...SKETCH_SETTINGS, seed: SEED };
  const from = { source: engineSource(engine), adapter, records, settings };
  const started = performance.now();
  const calibration = await calibrateAdapter(from);
  const calibrated = performance.now();
  const all = records.map((_, i) => i);
  const sketches = await sketchRecords(from, calibration, all);
  const sketched = performance.now();
  const norms = sketches.map(squaredNorm);
  const cosines: Int32Array[] = [];
  for (const exchange of exchanges) {
    const query = await sketchExchange(from, calibration, exchange);
    const norm = squaredNorm(query);
    cosines.push(
      Int32Array.from(sketches, (other, i) => cosineQ16(dotProduct(query, other), norm, norms[i]!)),
    );
  }
  const seconds = (from: number, to: number): string => ((to - from) / 1000).toFixed(1);
  console.log(
    `calibrated in ${seconds(started, calibrated)} s, sketched in ${seconds(calibrated, sketched)} s, asked in ${seconds(sketched, performance.now())} s`,
  );
  return cosines;
}

async function kept(
  name: string,
  make: () => Float32Array | Promise<Float32Array>,
): Promise<Float32Array> {
  const file = join(FOLDER, `${name}.f32`);
  if (!existsSync(file)) {
    const values = await make();
    writeFileSync(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** The ways to read an exchange that are compared. */
function readings(
  model: ModelDirectory,
  pool: Pool,
  answers: readonly string[],
): Map<string, Example[]> {
  const { tokenizer } = model;
  const whole = pool.questions.map(({ prompt }, i) =>
    exchangeExample(tokenizer, prompt, answers[i]!, TOKENS_MAX),
  );
  const promptOnly = pool.questions.map(({ prompt }) =>
    exchangeExample(tokenizer, prompt, '', TOKENS_MAX),
  );
  const outputOnly = whole.map(({ tokens }, i) => {
    const mask = new Uint8Array(tokens.length).fill(1);
    mask.fill(0, 0, Math.min(promptOnly[i]!.tokens.length, tokens.length - 1));
    return { tokens, mask };
  });
  const chat = pool.questions.map(({ prompt }, i) => {
    const opened = tokenizer.encodeChat([{ role: 'user', content: prompt }], true);
    const tokens = Int32Array.from([...opened, ...tokenizer.encode(answers[i]!)]);
    const mask = Uint8Array.from(tokens, (token, at) =>
      at === 0 || tokenizer.specialIds.includes(token) ? 0 : 1,
    );
    return { tokens, mask };
  });
  return new Map([
    ['whole', whole],
    ['prompt', promptOnly],
    ['output', outputOnly],
    ['chat', chat],
  ]);
}

function answer(engine: Engine, adapter: Adapter, model: ModelDirectory, prompt: string): string {
  const { tokenizer } = model;
  const session = engine.session(adapter);
  const made: number[] = [];
  let logits = session.prefill(tokenizer.encodeChat([{ role: 'user', content: prompt }], true));
  while (made.length < ANSWER_TOKENS) {
    let top = 4; // Ids 0 to 3 are special.
    for (let id = 5; id < logits.length; id++) if (logits[id]! > logits[top]!) top = id;
    if (logits[tokenizer.endOfText]! > logits[top]!) break;
    made.push(top);
    logits = session.decode(top);
  }
  session.close();
  return tokenizer.decode(made);
}

async function train(
  engine: Engine,
  records: readonly Example[],
  recipe: Recipe,
): Promise<Float32Array> {
  const { rank, alpha, batch: batchSize, epochs, learningRate } = recipe;
  const steps = stepsForEpochs(epochs, records.length, batchSize);
  const plan = trainingPlan({ steps, rank, alpha, batchSize, learningRate, seed: SEED });
  const started = performance.now();
  let [loss, tokens] = [0, 0];
  const state = await runSteps(
    engineSource(engine),
    plan,
    records,
    initialState(engine.config, plan),
    steps,
    {
      onStep(report) {
        loss += report.loss / 10;
        tokens += report.tokens;
        if (report.step % 10 !== 0) return;
        const speed = tokens / ((performance.now() - started) / 1000);
        console.log(
          `step ${report.step}/${steps} loss ${loss.toFixed(4)} |g| ${report.gradientNorm.toFixed(3)} ${speed.toFixed(0)} tok/s`,
        );
        loss = 0;
      },
    },
  );
  return state.parameters;
}

/** Every example's gradient, projected matrix by matrix; then the square of each matrix's gradient. */
function projectAll(
  engine: Engine,
  adapter: Adapter,
  examples: readonly Example[],
  lengths: readonly number[],
  { size, nonZeros }: Recipe,
): Float32Array {
  const projection = createProjection(SEED, size, nonZeros);
  const matrices = lengths.length;
  const values = new Float32Array(examples.length * matrices * (size + 1));
  const squares = values.subarray(examples.length * matrices * size);
  const buckets = new Float64Array(size);
  for (let i = 0; i < examples.length; i++) {
    const { tokens, mask } = examples[i]!;
    const { gradient } = engine.recordGradient(adapter, tokens, mask);
    let at = 0;
    for (let matrix = 0; matrix < matrices; matrix++) {
      const part = gradient.subarray(at, at + lengths[matrix]!);
      buckets.fill(0);
      projection.add(buckets, at, part, 1);
      values.set(buckets, (i * matrices + matrix) * size);
      squares[i * matrices + matrix] = part.reduce((total, value) => total + value * value, 0);
      at += lengths[matrix]!;
    }
  }
  return values;
}
