// Training repeats bit for bit: twice, on one or two threads, from a checkpoint, on both builds.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import { sampleConfig, sampleParameters, sampleRecord } from '../reference/sample.ts';
import { createFullTrainer } from './full.ts';
import {
  adapterOf,
  dataOrder,
  engineSource,
  type GradientSource,
  initialState,
  runSteps,
  type StepReport,
  stepsForEpochs,
  trainingPlan,
} from './lora.ts';
import { biasCorrection, clipScale, learningRateAt, TrainingDivergedError } from './optimizer.ts';
import { createPool } from './pool.ts';
import { decodeState, encodeState, TrainingStateError } from './state.ts';
import { Thread, WorkAbortedError, WorkerCrashedError } from './threads.ts';

const config = sampleConfig();
const weights = weightsOf(config, sampleParameters(config));
const records = Array.from({ length: 10 }, (_, i) => sampleRecord(config, 12 + 3 * i, i % 4));
const plan = trainingPlan({ steps: 8, batchSize: 4, learningRate: 5e-3, weightDecay: 0.01 });
const start = initialState(config, plan);
const local = engineSource(createEngine(weights, { backend: 'wasm' }));
const pools = [1, 2].map((threads) => createPool({ weights, threads, backend: 'wasm' }));
after(() => Promise.all(pools.map((pool) => pool.close())));

const train = async (source: GradientSource, from = start, until = plan.steps) =>
  encodeState(await runSteps(source, plan, records, from, until));
const equal = (a: Uint8Array, b: Uint8Array) => assert.equal(Buffer.compare(a, b), 0);

test('training lowers the loss and reports each step', async () => {
  const reports: StepReport[] = [];
  await runSteps(local, { ...plan, steps: 40 }, records, start, 40, {
    onStep: (r) => void reports.push(r),
  });
  assert.deepEqual(
    reports.map(({ step }) => step),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
  assert.ok(reports.at(-1)!.loss < 0.8 * reports[0]!.loss);
  assert.ok(reports.every((report) => report.tokensPerSecond > 0 && report.gradientNorm > 0));
});

test('training twice, and on pools of 1 and 2 threads, gives the same bytes', async () => {
  const expected = await train(local);
  equal(await train(local), expected);
  for (const pool of pools) equal(await train(pool), expected);
});

test('the native build trains to the same bytes', async (t) => {
  const engine = createEngine(weights, { backend: 'auto' });
  if (engine.backend !== 'native') return t.skip('no native build on this machine');
  equal(await train(engineSource(engine)), await train(local));
});

test('over a frozen int8 base the loss falls too, with the same bytes on 1 and 2 threads and builds', async () => {
  const make = (threads: number, backend: 'wasm' | 'auto') =>
    createPool({ weights, threads, backend, format: 'int8' });
  const frozen = [make(1, 'wasm'), make(2, 'wasm'), make(1, 'auto')];
  try {
    const losses: number[] = [];
    const longer = { ...plan, steps: 40 };
    const state = await runSteps(frozen[0]!, longer, records, start, 40, {
      onStep: ({ loss }) => void losses.push(loss),
    });
    assert.ok(losses.at(-1)! < 0.8 * losses[0]!, `${losses[0]} to ${losses.at(-1)}`);
    assert.notEqual(Buffer.compare(encodeState(state), await train(local, start, 8)), 0);
    const expected = await train(frozen[0]!);
    for (const pool of frozen.slice(1)) equal(await train(pool), expected);
  } finally {
    await Promise.all(frozen.map((pool) => pool.close()));
  }
});

test('resuming from a decoded checkpoint gives the same bytes', async () => {
  const middle = decodeState(await train(local, start, 3));
  equal(await train(local, middle), await train(local));
});

test('another seed, record or rate gives other bytes', async () => {
  const expected = await train(local, start, 2);
  for (const change of [{ seed: 2 }, { learningRate: 4e-3 }, { alpha: 15 }]) {
    const other = { ...plan, ...change };
    const state = await runSteps(local, other, records, initialState(config, other), 2);
    assert.notEqual(Buffer.compare(encodeState(state), expected), 0);
  }
});

test('every epoch visits every record once', () => {
  const seen = Array.from({ length: 5 }, (_, step) => [...dataOrder(7, 10, 4, step)]).flat();
  assert.deepEqual(seen.slice(0, 10).sort(), seen.slice(10).sort());
  assert.deepEqual(
    seen.slice(0, 10).sort(),
    Array.from({ length: 10 }, (_, i) => i),
  );
  assert.notDeepEqual(seen.slice(0, 10), seen.slice(10));
  assert.equal(stepsForEpochs(2, 10, 4), 5);
});

test('TRAINING_STATE: bytes that are no state are refused', () => {
  const good = encodeState(start);
  equal(encodeState(decodeState(good)), good);
  const wrong = [good.subarray(0, 10), good.subarray(1), good.slice(0, -4), new Uint8Array(20)];
  for (const bytes of wrong) assert.throws(() => decodeState(bytes), TrainingStateError);
  const nan = good.slice();
  nan.set([1, 0, 0xc0, 0x7f], 20);
  assert.throws(() => decodeState(nan), { code: 'TRAINING_STATE' });
});

test('TRAINING_DIVERGED: a gradient that is not finite updates nothing', async () => {
  const broken: GradientSource = {
    config,
    recordGradients: async (adapter, batch) =>
      batch.map(() => ({
        loss: 1,
        targets: 1,
        gradient: new Float32Array(adapter.parameters.length).fill(Number.NaN),
      })),
  };
  await assert.rejects(train(broken), (error) => {
    assert.ok(error instanceof TrainingDivergedError);
    return error.code === 'TRAINING_DIVERGED';
  });
});

test('WORK_ABORTED: training stops at its signal', async () => {
  const stop = new AbortController();
  const run = runSteps(pools[0]!, plan, records, start, 8, {
    signal: stop.signal,
    onStep: ({ step }) => void (step === 2 && stop.abort()),
  });
  await assert.rejects(
    run,
    (error) => error instanceof WorkAbortedError && error.code === 'WORK_ABORTED',
  );
});

test('a pool scores as its engine does, also after it forgot the adapter', async () => {
  const adapter = adapterOf(plan, start);
  const tokens = records[3]!.tokens;
  const expected = createEngine(weights, { backend: 'wasm' }).score(adapter, tokens);
  assert.deepEqual(await pools[1]!.score(adapter, tokens), expected);
  pools[1]!.forget(adapter);
  assert.deepEqual(await pools[1]!.score(adapter, tokens), expected);
});

test('errors keep their code across the thread boundary', async () => {
  const tokens = Int32Array.of(1, 2, 5000);
  await assert.rejects(pools[0]!.score(null, tokens), {
    code: 'TOKEN_RANGE',
    name: 'ModelInputError',
  });
});

test('WORKER_CRASHED: a dead worker rejects its jobs', async () => {
  const thread = new Thread({ role: 'pool', backend: 'wasm', weights: null });
  await assert.rejects(thread.request({ kind: 'describe' }), (error) => {
    assert.ok(error instanceof WorkerCrashedError);
    return error.code === 'WORKER_CRASHED';
  });
  assert.equal(thread.alive, false);
});

test('schedule: warm-up, then cosine or linear to the floor', () => {
  const schedule = {
    kind: 'cosine',
    learningRate: 1,
    warmupSteps: 4,
    totalSteps: 14,
    floor: 0.1,
  } as const;
  const rates = Array.from({ length: 15 }, (_, step) => learningRateAt(schedule, step));
  assert.deepEqual(rates.slice(0, 5), [0.25, 0.5, 0.75, 1, 1]);
  assert.ok(Math.abs(rates[9]! - 0.55) < 1e-6);
  assert.equal(rates[14], Math.fround(0.1));
  assert.equal(learningRateAt({ ...schedule, kind: 'linear' }, 9), Math.fround(0.55));
  assert.equal(learningRateAt({ ...schedule, kind: 'constant' }, 12), 1);
  assert.equal(biasCorrection(0.5, 3), 0.875);
  assert.equal(clipScale(4, 1), 0.25);
  assert.equal(clipScale(4, 0), 1);
});

test('full-parameter training: same bytes on 1 and 2 threads, and after a restore', async () => {
  const batch = records.slice(0, 6).map(({ tokens }) => tokens);
  const make = (threads: number) =>
    createFullTrainer({ config, seed: 5, threads, lanes: 4, backend: 'wasm' });
  const [one, two, resumed] = [make(1), make(2), make(2)];
  const losses: number[] = [];
  for (let step = 0; step < 4; step++) {
    const { loss } = await one.step(batch, 1e-2);
    losses.push(loss);
    assert.equal((await two.step(batch, 1e-2)).loss, loss);
    if (step === 1) await resumed.restore(await two.save());
    if (step > 1) await resumed.step(batch, 1e-2);
  }
  assert.ok(losses[3]! < losses[0]!);
  const expected = await one.save();
  for (const trainer of [two, resumed]) {
    const found = await trainer.save();
    for (const key of ['parameters', 'first', 'second'] as const) {
      equal(new Uint8Array(found[key].buffer), new Uint8Array(expected[key].buffer));
    }
  }
  assert.equal(one.weights().get('model.norm.weight')?.length, config.hiddenSize);
  await Promise.all([one, two, resumed].map((trainer) => trainer.close()));
});
