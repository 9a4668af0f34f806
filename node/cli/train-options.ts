/**
 * The training options of the command line: flags under the field's names, a configuration file in
 * axolotl's (YAML or JSON), and the order between them: flag, file, default.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { readOptions, type TrainingOptions } from '#runtime';
import { NodeError } from '../errors.ts';

/** Flag, the name that `readOptions` knows it by, help. */
const FLAGS: readonly (readonly [flag: string, key: string, help: string])[] = [
  ['--r <n>', 'r', 'rank of the adapter (8)'],
  ['--lora-alpha <n>', 'lora_alpha', 'scale is alpha / r (16)'],
  ['--lora-dropout <share>', 'lora_dropout', 'share of the adapter’s inputs left out (0)'],
  ['--use-rslora', 'use_rslora', 'scale is alpha / √r instead'],
  ['--target-modules <names>', 'target_modules', 'q_proj,v_proj,… or all-linear (all-linear)'],
  ['--learning-rate <rate>', 'learning_rate', 'peak learning rate (local 2e-4, swarm 5e-3)'],
  ['--lr-scheduler <kind>', 'lr_scheduler', 'cosine, linear or constant (cosine)'],
  ['--warmup-steps <n>', 'warmup_steps', 'steps of warm-up (swarm 2)'],
  ['--warmup-ratio <share>', 'warmup_ratio', 'the same as a share of all steps (local 0.1)'],
  ['--cosine-min-lr-ratio <share>', 'cosine_min_lr_ratio', 'share of the rate it ends at (0)'],
  ['--weight-decay <n>', 'weight_decay', 'AdamW’s weight decay (0)'],
  ['--adam-beta1 <n>', 'adam_beta1', '(0.9)'],
  ['--adam-beta2 <n>', 'adam_beta2', '(0.999)'],
  ['--adam-epsilon <n>', 'adam_epsilon', '(1e-8)'],
  ['--max-grad-norm <n>', 'max_grad_norm', 'longer gradients are scaled down; 0: never (1)'],
  ['--micro-batch-size <n>', 'micro_batch_size', 'examples held at once (local 4, swarm 8)'],
  [
    '--gradient-accumulation-steps <n>',
    'gradient_accumulation_steps',
    'micro batches of one step (local 4, swarm 1)',
  ],
  ['--num-epochs <n>', 'num_epochs', 'passes over the data (local 3)'],
  ['--steps <n>', 'steps', 'steps instead of epochs (swarm: about one pass, 4 at least)'],
  ['--seed <n>', 'seed', 'draws first adapter, order, dropout, split (local 42, swarm 1)'],
  ['--sample-packing', 'sample_packing', 'short examples share an item of the batch'],
];
/** Those that only training on this machine has. */
const LOCAL_FLAGS: typeof FLAGS = [
  ['--sequence-len <n>', 'sequence_len', 'tokens of an example (the model’s context)'],
  ['--train-on-inputs', 'train_on_inputs', 'prompts count too, not only answers'],
  [
    '--chat-template <name>',
    'chat_template',
    'plain, alpaca or chat (plain, as answers are served)',
  ],
  ['--columns <part=column,…>', 'columns', 'columns of the data, where names are unusual'],
  ['--dataset-format <name>', 'dataset_format', 'instead of what the columns tell'],
  ['--val-set-size <n>', 'val_set_size', 'share or number of examples kept for validation (0)'],
  ['--eval-steps <n>', 'eval_steps', 'steps between two validations (4 an epoch)'],
  ['--early-stopping-patience <n>', 'early_stopping_patience', 'validations without a better loss'],
  ['--load-in-8bit', 'load_in_8bit', 'the base stays in memory as int8, frozen'],
  ['--save-steps <n>', 'save_steps', 'steps between two checkpoints (1 an epoch)'],
];

/** What a task in the swarm has no place for, or has settled elsewhere. */
const LOCAL_OPTIONS: ReadonlySet<keyof TrainingOptions> = new Set([
  ...(['data', 'base', 'out', 'columns', 'format', 'template', 'trainOnInputs'] as const),
  ...(['sequenceLength', 'epochs', 'validation', 'evalSteps', 'evalsPerEpoch'] as const),
  ...(['patience', 'saveSteps', 'savesPerEpoch', 'isInt8'] as const),
]);

/** Adds the flags and `--config` to a command. */
export function withTrainingOptions(command: Command): Command {
  command.option('--config <file>', 'options in axolotl’s or PEFT’s names, YAML or JSON');
  for (const [flag, , help] of FLAGS) command.option(flag, help);
  for (const [flag, , help] of LOCAL_FLAGS) command.option(flag, `with --local: ${help}`);
  return command;
}

export type GivenOptions = {
  readonly options: TrainingOptions;
  readonly notes: readonly string[];
  /** Options given that only local training has. */
  readonly localOnly: readonly string[];
};

/** What flags and configuration file say. @throws TrainOptionError, NodeError */
export function trainingOptionsOf(
  flags: Readonly<Record<string, unknown>>,
  defaults: TrainingOptions,
): GivenOptions {
  const file = flags['config'];
  const config = typeof file === 'string' ? readConfig(file) : {};
  const named = Object.fromEntries(
    [...FLAGS, ...LOCAL_FLAGS].flatMap(([flag, key]) => {
      const value = flags[attributeOf(flag)];
      return value === undefined ? [] : [[key, value]];
    }),
  );
  const fromFile = readOptions(config, defaults);
  const fromFlags = readOptions(named, fromFile.options);
  const given = [...fromFile.given, ...fromFlags.given];
  return {
    options: fromFlags.options,
    notes: [...fromFile.notes, ...fromFlags.notes],
    // A switch that is off asks for nothing.
    localOnly: [...new Set(given)].filter(
      (option) => LOCAL_OPTIONS.has(option) && fromFlags.options[option] !== false,
    ),
  };
}

/** commander's name of a flag: `--val-set-size <n>` is `valSetSize`. */
function attributeOf(flag: string): string {
  const name = flag.split(' ')[0]?.slice(2) ?? '';
  return name.replace(/-([a-z0-9])/g, (_all, letter: string) => letter.toUpperCase());
}

function readConfig(file: string): Readonly<Record<string, unknown>> {
  const unreadable = (reason: string, fix: string, cause?: unknown) =>
    new NodeError('FILE_UNREADABLE', { file, reason }, fix, cause);
  let value: unknown;
  try {
    const text = readFileSync(file, 'utf8');
    value = file.endsWith('.json') ? JSON.parse(text) : parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw unreadable(reason, 'give a readable YAML or JSON file to --config', cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw unreadable('expected names with values', 'write one `name: value` a line');
}

/** How a step of training reads in one line. */
export function stepNote(step: {
  readonly loss: number | null;
  readonly learningRate: number;
  readonly tokensPerSecond: number;
  readonly etaSeconds: number | null;
}): string {
  const parts = [
    ...(step.loss === null ? [] : [`loss ${step.loss.toFixed(3)}`]),
    `lr ${step.learningRate.toExponential(1)}`,
    ...(step.tokensPerSecond > 0 ? [`${Math.round(step.tokensPerSecond)} tokens/s`] : []),
    ...(step.etaSeconds === null ? [] : [`${duration(step.etaSeconds)} left`]),
  ];
  return parts.join(', ');
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
