// What a plan may ask for besides rank and rate: dropout, modules, rank-stabilised scale, packs.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { layoutSize, loraLayout, weightsOf } from '../engine/config.ts';
import { dropInputs } from '../engine/dropout.ts';
import { createEngine } from '../engine/engine.ts';
import {
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import {
  adapterOf,
  appliedAlpha,
  engineSource,
  type GradientSource,
  initialState,
  runSteps,
  type TrainingPlan,
  trainingPlan,
} from './lora.ts';
import { packsOf, sharesOf } from './packing.ts';
import { createPool } from './pool.ts';
import { decodeState, encodeState } from './state.ts';

const config = sampleConfig();
const weights = weightsOf(config, sampleParameters(config));
const records = Array.from({ length: 10 }, (_, i) => sampleRecord(config, 12 + 3 * i, i % 4));
const engine = createEngine(weights, { backend: 'wasm' });
const local = engineSource(engine);
const pool = createPool({ weights, threads: 2, backend: 'wasm' });
after(() => pool.close());

const usual = { steps: 6, batchSize: 4, learningRate: 5e-3, weightDecay: 0.01 };
const train = async (plan: TrainingPlan, source: GradientSource = local, from = 0, until = 6) => {
  const middle = await runSteps(source, plan, records, initialState(config, plan), from);
  return encodeState(
    await runSteps(source, plan, records, decodeState(encodeState(middle)), until),
  );
};
const equal = (a: Uint8Array, b: Uint8Array) => assert.equal(Buffer.compare(a, b), 0);

test('dropout repeats on other threads and after a resume, and differs by seed and step', async () => {
  const plan = trainingPlan({ ...usual, dropout: 0.25 });
  const expected = await train(plan);
  equal(await train(plan, pool), expected);
  equal(await train(plan, local, 4), expected);
  assert.notEqual(Buffer.compare(await train({ ...plan, dropout: 0 }), expected), 0);
  const seeds: number[] = [];
  const spy: GradientSource = {
    config,
    recordGradients: async (adapter, batch) => {
      seeds.push(...batch.map(({ dropout }) => dropout?.seed ?? -1));
      return engine.recordGradients(adapter, batch);
    },
  };
  await train(plan, spy);
  assert.equal(new Set(seeds).size, plan.steps * plan.batchSize);
});

test('dropout drops its share of inputs and keeps their mean', () => {
  const layout = loraLayout(config, 8);
  const flat = new Float32Array(layoutSize(layout)).fill(1);
  dropInputs(layout, { rate: 0.3, seed: 5 }, flat);
  let columns = 0;
  let dropped = 0;
  for (const { name, rows, columns: width, offset } of layout) {
    const values = flat.subarray(offset, offset + rows * width);
    if (name.endsWith('lora_B')) assert.ok(values.every((value) => value === 1));
    else {
      for (let column = 0; column < width; column++) {
        const first = values[column]!;
        assert.ok(first === 0 || first === Math.fround(1 / 0.7));
        for (let row = 1; row < rows; row++) assert.equal(values[row * width + column], first);
        columns++;
        dropped += first === 0 ? 1 : 0;
      }
    }
  }
  assert.ok(Math.abs(dropped / columns - 0.3) < 0.06, `${dropped} of ${columns}`);
});

test('a gradient under dropout is the derivative of the loss under the same dropout', () => {
  const adapter = sampleAdapter(config, 8);
  const record = { ...records[4]!, dropout: { rate: 0.4, seed: 11 } };
  const [found] = engine.recordGradients(adapter, [record]);
  const [after] = engine.recordGradients(adapter, [records[4]!]);
  const [both] = engine.recordGradients(adapter, [record, records[4]!]).slice(1);
  assert.deepEqual(both, after, 'the next record has the whole adapter');
  const lossAt = (at: number, by: number) => {
    const parameters = adapter.parameters.slice();
    parameters[at] = parameters[at]! + by;
    return engine.recordGradients({ ...adapter, parameters }, [record])[0]!.loss;
  };
  const order = Array.from(found!.gradient.keys()).sort(
    (a, b) => Math.abs(found!.gradient[b]!) - Math.abs(found!.gradient[a]!),
  );
  for (const at of order.slice(0, 6)) {
    const slope = (lossAt(at, 2e-3) - lossAt(at, -2e-3)) / 4e-3;
    const exact = found!.gradient[at]!;
    assert.ok(Math.abs(slope - exact) < 0.02 * Math.abs(exact) + 1e-4, `${slope} ${exact}`);
  }
});

test('modules that are no target stay zero and change nothing', async () => {
  const plan = trainingPlan({ ...usual, targets: ['q_proj', 'v_proj'] });
  const { parameters } = decodeState(await train(plan));
  for (const { name, rows, columns, offset } of loraLayout(config, plan.rank)) {
    const isTarget = /\.[qv]_proj\./.test(name);
    const values = parameters.subarray(offset, offset + rows * columns);
    assert.equal(
      values.some((value) => value !== 0),
      isTarget,
      name,
    );
  }
});

test('a rank-stabilised scale is alpha / sqrt(rank)', () => {
  const plan = trainingPlan({ ...usual, rank: 16, alpha: 8, rankStabilised: true });
  assert.equal(appliedAlpha(plan) / plan.rank, 2);
  assert.equal(adapterOf(plan, initialState(config, plan)).alpha, 32);
  assert.equal(appliedAlpha({ ...plan, rankStabilised: false }), 8);
});

test('gradient accumulation changes no bit', async () => {
  const plan = trainingPlan({ ...usual, packTokens: 40, dropout: 0.1 });
  const whole = await runSteps(local, plan, records, initialState(config, plan), 3);
  for (const microBatch of [1, 3]) {
    const parts = await runSteps(local, plan, records, initialState(config, plan), 3, {
      microBatch,
    });
    equal(encodeState(parts), encodeState(whole));
  }
});

test('packs hold every record once, within their tokens, and weigh members by targets', async () => {
  const packs = packsOf(records, 50);
  assert.deepEqual(
    packs.flat().sort((a, b) => a - b),
    records.map((_, i) => i),
  );
  for (const pack of packs) {
    const tokens = pack.reduce((sum, index) => sum + records[index]!.tokens.length, 0);
    assert.ok(pack.length === 1 || tokens <= 50);
    const sum = sharesOf(records, pack).reduce((total, one) => total + one, 0);
    assert.ok(Math.abs(sum - 1) < 1e-6);
  }
  assert.ok(packs.length < records.length);
  assert.deepEqual(
    packsOf(records, 0),
    records.map((_, i) => [i]),
  );
});

test('a pack has the gradient of its members apart: no record sees another', async () => {
  const plan = trainingPlan({ ...usual, packTokens: 1000, batchSize: 1, clipNorm: 0, steps: 1 });
  const pair = records.slice(0, 2);
  let loss = 0;
  await runSteps(local, plan, pair, initialState(config, plan), 1, {
    onStep: (report) => {
      loss = report.loss;
      assert.deepEqual([...report.records], [0, 1]);
    },
  });
  const alone = engine.recordGradients(adapterOf(plan, initialState(config, plan)), pair);
  const targets = alone.map((one) => one.targets);
  const mean =
    alone.reduce((sum, one, i) => sum + one.loss * targets[i]!, 0) / (targets[0]! + targets[1]!);
  assert.ok(Math.abs(loss - mean) < 1e-6);
});
