/** Sketches through a real engine: a verifier's few equal the trainer's many, byte for byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  initialLora,
  layoutSize,
  loraLayout,
  type ModelConfig,
  parameterLayout,
  weightsOf,
} from '../engine/config.ts';
import { createEngine, type TrainingRecord } from '../engine/engine.ts';
import { uniform } from '../engine/random.ts';
import { engineSource } from '../train/lora.ts';
import { calibrateAdapter, isCalibrationOf, sketchExchange, sketchRecords } from './records.ts';
import { SKETCH_SETTINGS } from './sketch.ts';

const CONFIG: ModelConfig = {
  hiddenSize: 16,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ffnSize: 24,
  vocabSize: 64,
  contextLength: 32,
  rmsEps: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
};

const noise = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => (uniform(seed, i) - 0.5) * 0.4);
const weights = weightsOf(CONFIG, noise(layoutSize(parameterLayout(CONFIG)), 1));
const slots = loraLayout(CONFIG, 4);
const parameters = initialLora(slots, 2).map((value, i) => value + noise(1, i)[0]!);
const adapter = { rank: 4, alpha: 8, parameters };

function recordOf(seed: number): TrainingRecord {
  const tokens = Int32Array.from({ length: 12 }, (_, i) => Math.floor(uniform(seed, i) * 64));
  return { tokens, mask: Uint8Array.from(tokens, (_, i) => (i === 0 ? 0 : 1)) };
}

const records = Array.from({ length: 40 }, (_, i) => recordOf(100 + i));
const settings = { ...SKETCH_SETTINGS, seed: 5, size: 32 };
const all = records.map((_, i) => i);
const from = { source: engineSource(createEngine(weights)), adapter, records, settings };
const others = { ...from, source: engineSource(createEngine(weights, { backend: 'wasm' })) };

test('any selection of records has the sketches that it has among all', async () => {
  for (const size of [32, 64]) {
    const mine = { ...from, settings: { ...settings, size } };
    const theirs = { ...others, settings: { ...settings, size } };
    const calibration = await calibrateAdapter(mine);
    let done = 0;
    const sketches = await sketchRecords(mine, calibration, all, (count) => {
      done = count;
    });
    assert.equal(done, 40);
    assert.ok(sketches.every(({ length }) => length === size));
    assert.ok(sketches.every((sketch) => sketch.some((value) => value !== 0)));
    const found = await calibrateAdapter(theirs);
    assert.deepEqual(found, calibration);
    const read = { scales: found.scales, landmarks: found.landmarks };
    const few = [31, 3, 17];
    assert.deepEqual(
      await sketchRecords(theirs, read, few),
      few.map((index) => sketches[index]),
    );
    assert.deepEqual(await sketchExchange(theirs, read, records[8]!), sketches[8]);
    assert.deepEqual(await sketchRecords(theirs, read, []), []);
  }
});

test('a verifier finds a wrong scale, and a wrong landmark where it looks', async () => {
  const { scales, landmarks } = await calibrateAdapter(from);
  assert.ok(await isCalibrationOf(others, { scales, landmarks }, [0, 31, 9, 99]));
  const otherScales = scales.slice();
  otherScales[3]! *= 1.001;
  assert.ok(!(await isCalibrationOf(others, { scales: otherScales, landmarks }, [0])));
  const otherLandmarks = landmarks.slice();
  otherLandmarks[9 * 2_048 + 5]! ^= 1;
  const forged = { scales, landmarks: otherLandmarks };
  assert.ok(!(await isCalibrationOf(others, forged, [4, 9])));
  assert.ok(await isCalibrationOf(others, forged, [4, 8]));
  const shorter = { scales, landmarks: new Int8Array(0) };
  assert.ok(!(await isCalibrationOf(others, shorter, [])));
});

test('an aborted signal ends the work', async () => {
  const aborted = AbortSignal.abort();
  const source = {
    config: CONFIG,
    recordGradients: async (_: unknown, __: unknown, signal?: AbortSignal) => {
      signal?.throwIfAborted();
      return [];
    },
  };
  await assert.rejects(calibrateAdapter({ source, adapter, records, settings, signal: aborted }));
});
