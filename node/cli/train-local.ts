/**
 * `openledger train --local`: training on this machine, without a swarm. Writes a PEFT directory;
 * stopped by Ctrl-C it leaves a checkpoint, and the same command goes on from there.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  backendSource,
  createPool,
  type Dataset,
  DEFAULT_OPTIONS,
  datasetExamples,
  type Examples,
  loadModelDirectory,
  type ModelDirectory,
  openWebgpu,
  planFor,
  previewExample,
  readDataset,
  runTraining,
  splitRecords,
  type TrainingEvent,
  type TrainingOptions,
  type TrainingRun,
  type TrainingSource,
  writeAdapterDirectory,
} from '#runtime';
import { NodeError } from '../errors.ts';
import { baseFolder, shippedBase, workerFile } from '../paths.ts';
import { onEnd } from '../signals.ts';
import { createNarrator, type Narrator } from '../story/narrator.ts';
import { type GlobalOptions, print } from './session.ts';
import { stepNote, trainingOptionsOf } from './train-options.ts';

export type LocalFlags = {
  readonly local?: string;
  readonly base?: string;
  readonly out?: string;
  readonly threads?: string;
  readonly device?: string;
  readonly [flag: string]: unknown;
};

const PREVIEWS = 3;
const PREVIEW_LENGTH = 400;

export async function trainLocal(flags: LocalFlags, globals: GlobalOptions): Promise<void> {
  const { options, notes } = trainingOptionsOf(flags, DEFAULT_OPTIONS);
  const narrator = createNarrator(process.stderr, Date.now());
  for (const note of notes) narrator.warn(note);
  const places = placesOf(flags, options, globals.dataDir);
  const base = await loadModelDirectory(places.base);
  const { contextLength } = base.config;
  const tokensMax = Math.min(options.sequenceLength ?? contextLength, contextLength);
  const dataset = await readDataset(places.data, options);
  const { trainOnInputs, template } = options;
  const shape = { tokensMax, trainOnInputs, template };
  const examples = datasetExamples(dataset, base.tokenizer, shape);
  tellData(narrator, dataset, examples, base);
  if (examples.records.length === 0) {
    const reason = `no example has an answer within ${tokensMax} tokens`;
    const fix = 'shorten the prompts, raise --sequence-len or take a model with a longer context';
    throw new NodeError('FILE_UNREADABLE', { file: places.data, reason }, fix);
  }
  const split = splitRecords(examples.records, options.validation, options.seed);
  const { plan, evalEvery, saveEvery } = planFor(options, split.train, tokensMax);
  const format = options.isInt8 ? 'int8' : 'f32';
  const { source, device, close } = await openSource(flags, base, format);
  if (device !== undefined) narrator.fact(`computed by ${device}`);
  const stop = new AbortController();
  onEnd(() => stop.abort());
  try {
    const bar = narrator.progress('training', plan.steps);
    const run: TrainingRun = {
      ...{ source, plan, records: split.train, validation: split.validation },
      ...{ evalEvery, saveEvery, patience: options.patience, microBatch: options.microBatch },
      folder: join(places.out, 'checkpoints'),
      ...{ base: base.hash, format },
      ...(device === undefined ? {} : { device }),
      signal: stop.signal,
      onEvent: teller(globals, narrator, bar.update),
    };
    const result = await runTraining(run);
    if (result.isInterrupted) {
      const reason = `stopped at step ${result.step} of ${plan.steps}, a checkpoint is kept`;
      const fix = 'run the same command again to go on';
      throw new NodeError('STEP_FAILED', { step: 'training', reason }, fix);
    }
    bar.end();
    const { config, hash } = base;
    await writeAdapterDirectory(places.out, result.adapter, { config, name: places.base, hash });
    const figures = {
      ...{ step: result.state.step, steps: plan.steps, bestValidationLoss: result.bestLoss },
      ...{ records: split.train.length, validation: split.validation.length },
      adapterSha256: sha256Of(result.adapter.parameters),
    };
    const account = {
      plan,
      device: device ?? 'cpu',
      weights: format,
      data: places.data,
      mapping: dataset.mapping,
      ...shape,
      ...figures,
    };
    writeFileSync(join(places.out, 'training.json'), `${JSON.stringify(account, null, 2)}\n`);
    print(globals, { ok: true, out: places.out, ...figures }, `adapter written to ${places.out}`);
  } finally {
    await close();
  }
}

type OpenSource = {
  readonly source: TrainingSource;
  /** The GPU's name; absent: processors, whose bits are the same everywhere. */
  readonly device?: string;
  close(): Promise<void>;
};

async function openSource(
  flags: LocalFlags,
  base: ModelDirectory,
  format: 'f32' | 'int8',
): Promise<OpenSource> {
  const { device = 'cpu' } = flags;
  if (device === 'gpu') return openGpu(flags, base, format);
  if (device !== 'cpu') {
    throw new NodeError('USAGE', { expected: 'cpu or gpu', came: device }, 'correct --device');
  }
  const threads = threadsOf(flags.threads);
  const worker = workerFile();
  const pool = createPool({
    ...{ weights: base, format },
    ...(threads === undefined ? {} : { threads }),
    ...(worker === undefined ? {} : { workerFile: worker }),
  });
  return { source: pool, close: () => pool.close() };
}

async function openGpu(
  flags: LocalFlags,
  base: ModelDirectory,
  format: 'f32' | 'int8',
): Promise<OpenSource> {
  if (format === 'int8') {
    const details = { expected: 'no --load-in-8bit beside --device gpu', came: 'both' };
    throw new NodeError('USAGE', details, 'leave one of them out');
  }
  if (flags.threads !== undefined) {
    const details = { expected: 'no --threads beside --device gpu', came: flags.threads };
    throw new NodeError('USAGE', details, 'leave --threads out');
  }
  const gpu = await openWebgpu();
  try {
    // As they are stored: 16-bit weights are widened exactly, so that they cost half the memory.
    const model = await gpu.loadModel!(base, base.stored('model.embed_tokens.weight').format);
    return { source: backendSource(model), device: gpu.device, close: () => gpu.close() };
  } catch (error) {
    await gpu.close();
    throw error;
  }
}

function placesOf(flags: LocalFlags, options: TrainingOptions, dataDir: string) {
  const data = typeof flags.local === 'string' ? flags.local : options.data;
  const out = flags.out ?? options.out;
  if (data === undefined || out === undefined) {
    const expected = data === undefined ? 'a dataset' : 'an output folder';
    const fix = 'openledger train --local DATA --out DIR';
    throw new NodeError('USAGE', { expected, came: 'none' }, fix);
  }
  const base = flags.base ?? options.base ?? shippedBase();
  return { data: resolve(data), base: baseFolder(dataDir, base), out: resolve(out) };
}

function threadsOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const threads = Number(given);
  if (Number.isInteger(threads) && threads >= 1 && threads <= 1024) return threads;
  const details = { expected: 'a whole number of 1 to 1024', came: given };
  throw new NodeError('USAGE', details, 'correct --threads');
}

/** How the data was understood, with the first examples as they will be learned. */
function tellData(
  narrator: Narrator,
  dataset: Dataset,
  { records, cut, dropped, tokens, targets }: Examples,
  { tokenizer }: ModelDirectory,
): void {
  const columns = Object.entries(dataset.mapping).map(([part, name]) =>
    part === name ? part : `${part} = ${name}`,
  );
  narrator.fact(
    `${dataset.rows.length} rows of ${dataset.format} (${columns.join(', ')}) in ${dataset.container}`,
  );
  narrator.fact(`${records.length} examples, ${tokens} tokens, ${targets} of them learned`);
  for (const note of dataset.notes) narrator.warn(note);
  if (cut > 0) narrator.warn(`${cut} rows lost their end: raise --sequence-len to keep it`);
  if (dropped > 0) narrator.warn(`${dropped} of them are left out: nothing to learn remained`);
  for (const record of records.slice(0, PREVIEWS)) {
    const text = previewExample(record, tokenizer).replaceAll('\n', '⏎');
    narrator.fact(`· ${text.length > PREVIEW_LENGTH ? `${text.slice(0, PREVIEW_LENGTH)}…` : text}`);
  }
  narrator.fact('what stands between ⟦ and ⟧ is learned');
}

/** Events as JSON lines on standard output, or as a bar and lines for people. */
function teller(
  globals: GlobalOptions,
  narrator: Narrator,
  update: (done: number, note: string) => void,
): (event: TrainingEvent) => void {
  return (event) => {
    if (globals.json) process.stdout.write(`${JSON.stringify(event)}\n`);
    switch (event.event) {
      case 'step':
        update(event.step, stepNote(event));
        break;
      case 'resumed':
        narrator.fact(`going on at step ${event.step} of ${event.steps}`);
        break;
      case 'validation':
        narrator.fact(
          `validation loss ${event.loss.toFixed(4)} at step ${event.step}${event.isBest ? ', the best' : ''}`,
        );
        break;
      case 'early-stop':
        narrator.fact(
          `no better at step ${event.step}: the adapter of step ${event.bestStep} counts`,
        );
        break;
      case 'checkpoint':
        break;
    }
  };
}

const sha256Of = (values: Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex');
