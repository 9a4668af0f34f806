/**
 * Training options under the names that people know: axolotl's, PEFT's and the Hugging Face
 * trainer's, from a configuration file or the command line. The table is in docs/training.md.
 */

import { TEMPLATES, type Template } from '../data/examples.ts';
import { FORMATS, type Format, type Mapping } from '../data/formats.ts';
import { LORA_MODULES, type LoraModule } from '../engine/config.ts';
import type { TrainingRecord } from '../engine/engine.ts';
import { type TrainingPlan, trainingPlan } from './lora.ts';
import { packsOf } from './packing.ts';

/** What a person may set; what is absent takes the default of whoever trains. */
export type TrainingOptions = {
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly rankStabilised: boolean;
  readonly targets: readonly LoraModule[];
  readonly learningRate: number;
  readonly schedule: TrainingPlan['schedule'];
  /** Steps, or with `warmupRatio` a share of all. */
  readonly warmupSteps: number | undefined;
  readonly warmupRatio: number;
  readonly floor: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
  readonly microBatch: number;
  readonly accumulation: number;
  readonly epochs: number;
  /** Instead of epochs. */
  readonly maxSteps: number | undefined;
  readonly seed: number;
  readonly sequenceLength: number | undefined;
  readonly packing: boolean;
  readonly trainOnInputs: boolean;
  readonly template: Template;
  /** A share below 1, or a number of examples. */
  readonly validation: number;
  readonly evalSteps: number | undefined;
  readonly evalsPerEpoch: number;
  readonly saveSteps: number | undefined;
  readonly savesPerEpoch: number;
  /** Evaluations without a better loss after which training stops; 0: never. */
  readonly patience: number;
  readonly data: string | undefined;
  readonly base: string | undefined;
  readonly out: string | undefined;
  readonly columns: Mapping;
  readonly format: Format | undefined;
  /** The frozen base stays in memory as int8. */
  readonly isInt8: boolean;
};

export const DEFAULT_OPTIONS: TrainingOptions = {
  rank: 8,
  alpha: 16,
  dropout: 0,
  rankStabilised: false,
  targets: LORA_MODULES,
  learningRate: 2e-4,
  schedule: 'cosine',
  warmupSteps: undefined,
  warmupRatio: 0.1,
  floor: 0,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  clipNorm: 1,
  microBatch: 4,
  accumulation: 4,
  epochs: 3,
  maxSteps: undefined,
  seed: 42,
  sequenceLength: undefined,
  packing: false,
  trainOnInputs: false,
  template: 'plain',
  validation: 0,
  evalSteps: undefined,
  evalsPerEpoch: 4,
  saveSteps: undefined,
  savesPerEpoch: 1,
  patience: 0,
  data: undefined,
  base: undefined,
  out: undefined,
  columns: {},
  format: undefined,
  isInt8: false,
};

/** An option that cannot be used. */
export class TrainOptionError extends Error {
  override readonly name = 'TrainOptionError';
  readonly code = 'TRAIN_OPTION';
  readonly details: { readonly key: string; readonly expected: string; readonly found: string };
  readonly fix: string;
  constructor(key: string, expected: string, value: unknown, fix = `correct ${key}`) {
    const found = (JSON.stringify(value) ?? 'nothing').slice(0, 80);
    super(`${key}: expected ${expected}, found ${found}`);
    this.details = { key, expected, found };
    this.fix = fix;
  }
}

type Reader<Value> = (key: string, value: unknown) => Value;
type Entry = {
  readonly [Name in keyof TrainingOptions]: {
    readonly option: Name;
    readonly names: readonly string[];
    readonly read: Reader<TrainingOptions[Name]>;
  };
}[keyof TrainingOptions];

const entry = <Name extends keyof TrainingOptions>(
  option: Name,
  names: string,
  read: Reader<TrainingOptions[Name]>,
): Entry => ({ option, names: names.split(' '), read }) as unknown as Entry;

function number(expected: string, holds: (value: number) => boolean): Reader<number> {
  return (key, value) => {
    const given = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
    if (typeof given === 'number' && Number.isFinite(given) && holds(given)) return given;
    throw new TrainOptionError(key, expected, value);
  };
}
const whole = (least: number, most = 0xffff_ffff) =>
  number(`a whole number of ${least} to ${most}`, (value) => {
    return Number.isInteger(value) && value >= least && value <= most;
  });
const share = number('a number from 0 to below 1', (value) => value >= 0 && value < 1);
const positive = number('a number above 0', (value) => value > 0);
const notNegative = number('a number from 0 on', (value) => value >= 0);

const flag: Reader<boolean> = (key, value) => {
  if (value === true || value === 'true') return true;
  if (value === false || value === 'false') return false;
  throw new TrainOptionError(key, 'true or false', value);
};
const text: Reader<string> = (key, value) => {
  if (typeof value === 'string' && value !== '') return value;
  throw new TrainOptionError(key, 'text', value);
};
const oneOf =
  <Value extends string>(allowed: readonly Value[]): Reader<Value> =>
  (key, value) => {
    const found = allowed.find((each) => each === value);
    if (found !== undefined) return found;
    throw new TrainOptionError(key, allowed.join(', '), value);
  };

const targets: Reader<readonly LoraModule[]> = (key, value) => {
  const given = typeof value === 'string' ? value.split(',').map((each) => each.trim()) : value;
  if (Array.isArray(given) && given.length > 0) {
    if (given.length === 1 && /^all[-_]linear$/.test(String(given[0]))) return LORA_MODULES;
    if (given.every((each) => LORA_MODULES.includes(each as LoraModule))) {
      return LORA_MODULES.filter((module) => given.includes(module));
    }
  }
  throw new TrainOptionError(key, `all-linear, or some of ${LORA_MODULES.join(', ')}`, value);
};

const columns: Reader<Mapping> = (key, value) => {
  const parts = text(key, value)
    .split(',')
    .map((part) => part.split('='));
  if (parts.every((part) => part.length === 2 && part.every((side) => side.trim() !== ''))) {
    return Object.fromEntries(parts.map(([part = '', name = '']) => [part.trim(), name.trim()]));
  }
  throw new TrainOptionError(key, 'part=column,part=column', value);
};

const SCHEDULES = ['cosine', 'linear', 'constant'] as const;
const schedule: Reader<TrainingPlan['schedule']> = (key, value) =>
  oneOf(SCHEDULES)(key, value === 'constant_with_warmup' ? 'constant' : value);

/** The first name is the command line's, with - for _. */
const TABLE: readonly Entry[] = [
  entry('rank', 'lora_r r', whole(1, 256)),
  entry('alpha', 'lora_alpha', positive),
  entry('dropout', 'lora_dropout', share),
  entry('rankStabilised', 'use_rslora peft_use_rslora', flag),
  entry('targets', 'target_modules lora_target_modules', targets),
  entry('learningRate', 'learning_rate lr', positive),
  entry('schedule', 'lr_scheduler lr_scheduler_type', schedule),
  entry('warmupSteps', 'warmup_steps', whole(0)),
  entry('warmupRatio', 'warmup_ratio', share),
  entry('floor', 'cosine_min_lr_ratio min_lr_ratio', share),
  entry('beta1', 'adam_beta1', share),
  entry('beta2', 'adam_beta2', share),
  entry('epsilon', 'adam_epsilon', positive),
  entry('weightDecay', 'weight_decay', notNegative),
  entry('clipNorm', 'max_grad_norm gradient_clipping', notNegative),
  entry('microBatch', 'micro_batch_size per_device_train_batch_size', whole(1, 65_536)),
  entry('accumulation', 'gradient_accumulation_steps', whole(1, 65_536)),
  entry('epochs', 'num_epochs num_train_epochs', positive),
  entry('maxSteps', 'max_steps steps', whole(1)),
  entry('seed', 'seed', whole(0)),
  entry('sequenceLength', 'sequence_len max_seq_length max_length block_size', whole(8)),
  entry('packing', 'sample_packing packing', flag),
  entry('trainOnInputs', 'train_on_inputs', flag),
  entry('template', 'chat_template', oneOf(TEMPLATES)),
  entry('validation', 'val_set_size', notNegative),
  entry('evalSteps', 'eval_steps', whole(1)),
  entry('evalsPerEpoch', 'evals_per_epoch', positive),
  entry('saveSteps', 'save_steps', whole(1)),
  entry('savesPerEpoch', 'saves_per_epoch', positive),
  entry('patience', 'early_stopping_patience', whole(0)),
  entry('base', 'base_model base_model_name_or_path', text),
  entry('out', 'output_dir', text),
  entry('columns', 'columns', columns),
  entry('format', 'dataset_format', oneOf(FORMATS)),
  entry('isInt8', 'load_in_8bit', flag),
];
const ENTRIES = new Map(TABLE.flatMap((each) => each.names.map((name) => [name, each] as const)));

/** Values that mean another computation than ours; `null` and what stands here are taken. */
const ONLY: Readonly<Record<string, readonly unknown[]>> = {
  adapter: ['lora'],
  peft_type: ['LORA'],
  bias: ['none'],
  use_dora: [false],
  peft_use_dora: [false],
  modules_to_save: [],
  lora_modules_to_save: [],
  rank_pattern: [],
  alpha_pattern: [],
  layers_to_transform: [],
  peft_layers_to_transform: [],
  rl: [],
  load_in_4bit: [false],
};
const ADAMW = /^(paged_)?adamw/;

const INSTEAD = [
  ['warmupRatio', 'warmupSteps'],
  ['epochs', 'maxSteps'],
  ['evalsPerEpoch', 'evalSteps'],
  ['savesPerEpoch', 'saveSteps'],
] as const;

export type ReadOptions = {
  readonly options: TrainingOptions;
  /** Which of them were given, by whatever name. */
  readonly given: readonly (keyof TrainingOptions)[];
  /** What differs from what the names promise elsewhere, and names that nothing reads. */
  readonly notes: readonly string[];
};

/**
 * The options in a parsed configuration, over `defaults`. Names that are not known are named in
 * `notes` and change nothing; values that are known and cannot be honoured are refused.
 *
 * @throws TrainOptionError
 */
export function readOptions(
  given: Readonly<Record<string, unknown>>,
  defaults: TrainingOptions = DEFAULT_OPTIONS,
): ReadOptions {
  const options: Record<string, unknown> = { ...defaults };
  const notes: string[] = [];
  const unknown: string[] = [];
  const seen = new Map<keyof TrainingOptions, string>();
  for (const [key, value] of Object.entries(given)) {
    const found = ENTRIES.get(key);
    if (value === null || value === undefined) continue;
    if (found !== undefined) {
      const other = seen.get(found.option);
      if (other !== undefined) throw new TrainOptionError(key, `one of ${other} and ${key}`, value);
      seen.set(found.option, key);
      options[found.option] = found.read(key, value);
    } else if (!readSpecial(key, value, options, notes)) unknown.push(key);
    if (key === 'datasets') seen.set('data', key);
  }
  // Of two ways to say one thing, the one given counts over a default of the other.
  for (const [said, instead] of INSTEAD) {
    if (seen.has(said) && !seen.has(instead)) options[instead] = undefined;
  }
  if (unknown.length > 0) notes.push(`names that change nothing here: ${unknown.join(', ')}`);
  return { options: options as TrainingOptions, given: [...seen.keys()], notes };
}

/** Names that are no plain option. Returns false for those that are not known. */
function readSpecial(
  key: string,
  value: unknown,
  options: Record<string, unknown>,
  notes: string[],
): boolean {
  const allowed = ONLY[key];
  if (allowed !== undefined) {
    const isEmpty = Object.keys(Object(value)).length === 0 && typeof value === 'object';
    if (allowed.includes(value) || isEmpty) return true;
    const expected = allowed.length === 0 ? 'nothing' : String(allowed[0]);
    throw new TrainOptionError(key, expected, value, `leave ${key} out: it is not supported`);
  }
  if (key === 'optimizer' || key === 'optim') {
    if (!ADAMW.test(String(value))) throw new TrainOptionError(key, 'adamw', value);
    if (/8bit|paged|fused/.test(String(value))) notes.push(`${key}: ${value} runs as AdamW in f32`);
    return true;
  }
  if (key === 'lora_target_linear') {
    if (flag(key, value)) options['targets'] = LORA_MODULES;
    return true;
  }
  if (key !== 'datasets') return false;
  readDatasets(value, options);
  return true;
}

/** axolotl's list of datasets: one local file, its columns under axolotl's names. */
function readDatasets(value: unknown, options: Record<string, unknown>): void {
  if (!Array.isArray(value) || value.length !== 1) {
    throw new TrainOptionError('datasets', 'a list of one local file', value);
  }
  const [first] = value as unknown[];
  const fields = Object(first) as Record<string, unknown>;
  options['data'] = text('datasets.path', fields['path']);
  const mapping: Record<string, string> = {};
  for (const [key, column] of Object.entries(fields)) {
    const part = /^field_(messages|instruction|input|output|prompt|completion)$/.exec(key)?.[1];
    if (part !== undefined) mapping[part] = text(`datasets.${key}`, column);
    if (key === 'field') mapping['text'] = text('datasets.field', column);
  }
  if (Object.keys(mapping).length > 0) options['columns'] = mapping;
  if (fields['type'] === 'alpaca') options['template'] = 'alpaca';
}

/** The plan of a whole run over these records, and how often it is evaluated and saved. */
export function planFor(
  options: TrainingOptions,
  records: readonly TrainingRecord[],
  tokensMax: number,
): { readonly plan: TrainingPlan; readonly evalEvery: number; readonly saveEvery: number } {
  const packTokens = options.packing ? tokensMax : 0;
  const items = packsOf(records, packTokens).length;
  const batchSize = options.microBatch * options.accumulation;
  const perEpoch = Math.max(1, Math.ceil(items / batchSize));
  const steps = options.maxSteps ?? Math.max(1, Math.ceil((options.epochs * items) / batchSize));
  const { evalSteps, evalsPerEpoch, saveSteps, savesPerEpoch } = options;
  const plan = trainingPlan({
    rank: options.rank,
    alpha: options.alpha,
    rankStabilised: options.rankStabilised,
    dropout: options.dropout,
    targets: options.targets,
    learningRate: options.learningRate,
    schedule: options.schedule,
    warmupSteps: options.warmupSteps ?? Math.ceil(options.warmupRatio * steps),
    floor: options.floor,
    steps,
    batchSize,
    packTokens,
    seed: options.seed,
    weightDecay: options.weightDecay,
    clipNorm: options.clipNorm,
    beta1: options.beta1,
    beta2: options.beta2,
    epsilon: options.epsilon,
  });
  return {
    plan,
    evalEvery: evalSteps ?? Math.max(1, Math.round(perEpoch / evalsPerEpoch)),
    saveEvery: saveSteps ?? Math.max(1, Math.round(perEpoch / savesPerEpoch)),
  };
}
