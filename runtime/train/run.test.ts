// A local run: interrupted and resumed it ends with the same bytes; it stops early; it can be merged.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { loadModelDirectory } from '../model/directory.ts';
import { sampleConfig, sampleParameters, sampleRecord } from '../reference/sample.ts';
import { CheckpointError, loadCheckpoint, saveCheckpoint } from './checkpoints.ts';
import { adapterOf, initialState, trainingPlan } from './lora.ts';
import { writeMergedModel } from './merge.ts';
import { createPool } from './pool.ts';
import { runTraining, splitRecords, type TrainingEvent, type TrainingRun } from './run.ts';
import { encodeState } from './state.ts';

const config = sampleConfig();
const weights = weightsOf(config, sampleParameters(config));
const pool = createPool({ weights, threads: 1, backend: 'wasm' });
const folder = await mkdtemp(join(tmpdir(), 'openledger-run-'));
after(async () => {
  await pool.close();
  await rm(folder, { recursive: true });
});

const records = Array.from({ length: 12 }, (_, i) => sampleRecord(config, 12 + 3 * i, i % 4));
const split = splitRecords(records, 3, 1);
const run: TrainingRun = {
  source: pool,
  plan: trainingPlan({ steps: 11, batchSize: 4, learningRate: 5e-3, dropout: 0.1, packTokens: 60 }),
  records: split.train,
  validation: split.validation,
  evalEvery: 3,
  patience: 0,
  microBatch: 2,
  saveEvery: 4,
  folder: join(folder, 'whole'),
  base: new Uint8Array(32),
};

const timeless = (events: readonly TrainingEvent[]) =>
  events
    .filter(({ event }) => event !== 'resumed' && event !== 'checkpoint')
    .map((each) => ({ ...each, etaSeconds: 0, tokensPerSecond: 0 }));

test('a run that is interrupted at any step ends with the same bytes and the same figures', async () => {
  const expected: TrainingEvent[] = [];
  const whole = await runTraining({ ...run, onEvent: (event) => void expected.push(event) });
  assert.equal(whole.isInterrupted, false);
  for (const stops of [[1], [4, 5], [3, 10], [6]]) {
    const seen: TrainingEvent[] = [];
    const left = [...stops];
    for (;;) {
      const stop = new AbortController();
      const part = await runTraining({
        ...run,
        folder: join(folder, stops.join('-')),
        signal: stop.signal,
        onEvent: (event) => {
          seen.push(event);
          if (event.event === 'step' && event.step === left[0]) stop.abort();
        },
      });
      if (!part.isInterrupted) {
        assert.deepEqual(encodeState(part.state), encodeState(whole.state));
        assert.equal(part.bestLoss, whole.bestLoss);
        break;
      }
      assert.equal(part.step, left.shift());
    }
    assert.deepEqual(timeless(seen), timeless(expected));
    assert.equal(seen.filter(({ event }) => event === 'resumed').length, stops.length);
  }
});

test('events tell loss, rate, tokens a second and what is left', async () => {
  const events: TrainingEvent[] = [];
  await runTraining({
    ...run,
    folder: join(folder, 'told'),
    onEvent: (one) => void events.push(one),
  });
  const steps = events.flatMap((one) => (one.event === 'step' ? [one] : []));
  assert.deepEqual(
    steps.map(({ step }) => step),
    Array.from({ length: 11 }, (_, i) => i + 1),
  );
  assert.ok(steps.every((one) => one.loss > 0 && one.learningRate > 0 && one.tokensPerSecond > 0));
  assert.equal(steps.at(-1)?.etaSeconds, 0);
  const validated = events.flatMap((one) => (one.event === 'validation' ? [one.step] : []));
  assert.deepEqual(validated, [0, 3, 6, 9, 11]);
  const saved = events.flatMap((one) => (one.event === 'checkpoint' ? [one.step] : []));
  assert.deepEqual(saved, [4, 8, 11]);
});

test('early stop: the best state counts, and going on changes nothing', async () => {
  // A rate far too high: validation gets worse at once.
  const plan = { ...run.plan, learningRate: 0.5, warmupSteps: 0, clipNorm: 0, steps: 40 };
  const early = { ...run, plan, patience: 2, evalEvery: 2, folder: join(folder, 'early') };
  const events: TrainingEvent[] = [];
  const result = await runTraining({ ...early, onEvent: (one) => void events.push(one) });
  assert.ok(result.step < 40 && !result.isInterrupted);
  const losses = events.flatMap((one) => (one.event === 'validation' ? [one.loss] : []));
  assert.equal(result.bestLoss, Math.min(...losses));
  assert.equal(events.at(-2)?.event, 'early-stop');
  const again = await runTraining(early);
  assert.deepEqual(encodeState(again.state), encodeState(result.state));
});

test('a split is drawn by the seed and leaves something to train on', () => {
  assert.deepEqual([split.train.length, split.validation.length], [9, 3]);
  assert.deepEqual(splitRecords(records, 3, 1), split);
  assert.notDeepEqual(splitRecords(records, 3, 2), split);
  assert.equal(splitRecords(records, 0.25, 1).validation.length, 3);
  assert.equal(splitRecords(records.slice(0, 2), 100, 1).train.length, 1);
  assert.equal(splitRecords(records, 0, 1).validation.length, 0);
});

test('CHECKPOINT_OTHER_RUN: other options or data do not go on from here', async () => {
  for (const change of [
    { plan: { ...run.plan, learningRate: 1e-3 } },
    { records: records.slice(1) },
    { base: new Uint8Array(32).fill(1) },
  ]) {
    await assert.rejects(runTraining({ ...run, ...change }), (error) => {
      assert.ok(error instanceof CheckpointError && error.fix.length > 0);
      return error.code === 'CHECKPOINT_OTHER_RUN';
    });
  }
});

test('CHECKPOINT_DAMAGED: another state than was written, or no run file', async () => {
  const place = join(folder, 'damaged');
  const state = initialState(config, run.plan);
  await saveCheckpoint(place, 'a', { state, best: null, withoutBetter: 0, isStopped: false });
  const name = (
    JSON.parse(await readFile(join(place, 'run.json'), 'utf8')) as { state: { file: string } }
  ).state.file;
  const bytes = await readFile(join(place, name));
  bytes[40]! ^= 1;
  await writeFile(join(place, name), bytes);
  const damaged = (error: unknown) =>
    error instanceof CheckpointError && error.code === 'CHECKPOINT_DAMAGED';
  await assert.rejects(loadCheckpoint(place, 'a'), damaged);
  await writeFile(join(place, 'run.json'), '{"format":');
  await assert.rejects(loadCheckpoint(place, 'a'), damaged);
  assert.equal(await loadCheckpoint(join(folder, 'none'), 'a'), null);
});

test('a merged model answers as base and adapter do, and loads as a model directory', async () => {
  const from = fileURLToPath(new URL('../base', import.meta.url));
  const base = await loadModelDirectory(from);
  const plan = trainingPlan({ steps: 1, rank: 4, alpha: 8 });
  const state = initialState(base.config, plan);
  for (const [i, value] of state.parameters.entries()) {
    if (value === 0) state.parameters[i] = ((i % 17) - 8) / 400;
  }
  const adapter = adapterOf(plan, state);
  const place = join(folder, 'merged');
  await writeMergedModel(place, base, from, adapter);
  const merged = await loadModelDirectory(place);
  const tokens = base.tokenizer.encode('A word about adapters and the base below them.');
  const [apart, together, plain] = [
    createEngine(base, { backend: 'wasm' }).logprobs(adapter, tokens),
    createEngine(merged, { backend: 'wasm' }).logprobs(null, tokens),
    createEngine(base, { backend: 'wasm' }).logprobs(null, tokens),
  ];
  const distance = (a: Float32Array, b: Float32Array) =>
    Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
  assert.ok(distance(apart, together) < 1e-4, `${distance(apart, together)}`);
  assert.ok(distance(plain, together) > 0.01);
  await assert.rejects(writeMergedModel(place, base, from, adapter), { code: 'EEXIST' });
});
