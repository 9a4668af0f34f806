// Options under the names of axolotl, PEFT and the Hugging Face trainer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LORA_MODULES } from '../engine/config.ts';
import { sampleConfig, sampleRecord } from '../reference/sample.ts';
import { DEFAULT_OPTIONS, planFor, readOptions, TrainOptionError } from './options.ts';

const read = (given: Record<string, unknown>) => readOptions(given).options;

test('an axolotl configuration is read', () => {
  const { options, notes } = readOptions({
    base_model: './models/small',
    adapter: 'lora',
    datasets: [{ path: 'rows.jsonl', type: 'alpaca', field_output: 'reply' }],
    output_dir: './out',
    ...{ sequence_len: 128, sample_packing: true, val_set_size: 0.1, evals_per_epoch: 2 },
    ...{ lora_r: 16, lora_alpha: 32, lora_dropout: 0.05, lora_target_linear: true },
    ...{ gradient_accumulation_steps: 2, micro_batch_size: 3, num_epochs: 1, warmup_ratio: 0.2 },
    ...{ optimizer: 'adamw_8bit', lr_scheduler: 'cosine', learning_rate: '2e-4', weight_decay: 0 },
    ...{ bf16: 'auto', tf32: false, load_in_8bit: true, loss_watchdog_threshold: 5 },
    ...{ early_stopping_patience: 3, special_tokens: null, cosine_min_lr_ratio: 0.1 },
  });
  assert.equal(options.base, './models/small');
  assert.equal(options.isInt8, true);
  assert.deepEqual(
    [options.data, options.columns, options.template],
    ['rows.jsonl', { output: 'reply' }, 'alpaca'],
  );
  assert.deepEqual([options.rank, options.alpha, options.dropout], [16, 32, 0.05]);
  assert.deepEqual([options.learningRate, options.floor, options.patience], [2e-4, 0.1, 3]);
  assert.deepEqual(notes, [
    'optimizer: adamw_8bit runs as AdamW in f32',
    'names that change nothing here: bf16, tf32, loss_watchdog_threshold',
  ]);
});

test('PEFT and Hugging Face names are read', () => {
  const options = read({
    ...{ r: 4, lora_alpha: 8, use_rslora: true, target_modules: ['v_proj', 'q_proj'] },
    ...{ bias: 'none', modules_to_save: null, rank_pattern: {}, peft_type: 'LORA' },
    ...{ per_device_train_batch_size: 2, num_train_epochs: 5, lr_scheduler_type: 'linear' },
    ...{ optim: 'adamw_torch', adam_beta2: 0.95, max_grad_norm: 0, max_steps: 7, block_size: 64 },
  });
  assert.deepEqual(options.targets, ['q_proj', 'v_proj']);
  assert.deepEqual(
    [options.rankStabilised, options.microBatch, options.epochs, options.schedule],
    [true, 2, 5, 'linear'],
  );
  assert.deepEqual([options.beta2, options.clipNorm, options.maxSteps], [0.95, 0, 7]);
  assert.deepEqual(read({ target_modules: 'all-linear' }).targets, LORA_MODULES);
  assert.deepEqual(read({ columns: 'prompt=ask, completion=reply' }).columns, {
    prompt: 'ask',
    completion: 'reply',
  });
  assert.deepEqual(read({}), DEFAULT_OPTIONS);
});

test('TRAIN_OPTION: what cannot be honoured is refused by name', () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ lora_r: 0 }, 'lora_r'],
    [{ lora_r: '8x' }, 'lora_r'],
    [{ lora_dropout: 1 }, 'lora_dropout'],
    [{ learning_rate: -1 }, 'learning_rate'],
    [{ target_modules: ['lm_head'] }, 'target_modules'],
    [{ target_modules: [] }, 'target_modules'],
    [{ lr_scheduler: 'polynomial' }, 'lr_scheduler'],
    [{ optimizer: 'lion' }, 'optimizer'],
    [{ bias: 'all' }, 'bias'],
    [{ use_dora: true }, 'use_dora'],
    [{ modules_to_save: ['lm_head'] }, 'modules_to_save'],
    [{ adapter: 'qlora' }, 'adapter'],
    [{ load_in_4bit: true }, 'load_in_4bit'],
    [{ rl: 'dpo' }, 'rl'],
    [{ r: 8, lora_r: 16 }, 'lora_r'],
    [{ datasets: [{ path: 'a' }, { path: 'b' }] }, 'datasets'],
    [{ datasets: [{}] }, 'datasets.path'],
    [{ sample_packing: 'maybe' }, 'sample_packing'],
    [{ columns: 'prompt' }, 'columns'],
  ];
  for (const [given, key] of wrong) {
    assert.throws(
      () => readOptions(given),
      (error) => {
        assert.ok(error instanceof TrainOptionError && error.code === 'TRAIN_OPTION');
        assert.equal(error.details.key, key);
        return error.fix.length > 0;
      },
    );
  }
});

test('a plan follows from options and records', () => {
  const records = Array.from({ length: 10 }, (_, i) => sampleRecord(sampleConfig(), 10, i));
  const given = read({ micro_batch_size: 2, gradient_accumulation_steps: 2, num_epochs: 2 });
  const { plan, evalEvery, saveEvery } = planFor(given, records, 20);
  assert.deepEqual([plan.batchSize, plan.steps, plan.warmupSteps], [4, 5, 1]);
  assert.deepEqual([evalEvery, saveEvery, plan.packTokens], [1, 3, 0]);
  const packed = planFor({ ...given, packing: true, maxSteps: 9 }, records, 20);
  assert.deepEqual([packed.plan.steps, packed.plan.packTokens], [9, 20]);
  assert.equal(planFor({ ...given, warmupSteps: 0 }, records, 20).plan.warmupSteps, 0);
});
