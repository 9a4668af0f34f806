/** Sketches: bit-exact, blind to length, faithful to cosines, with landmarks and without. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { cosineQ16, createRandom, dotProduct, quantise, squaredNorm, uint256 } from '#crypto';
import {
  type Calibration,
  calibrationBytes,
  calibrationFromBytes,
  calibrationSample,
  createProjector,
  createSketcher,
  layerScales,
  PROJECTED_SIZE,
  SCALE_SAMPLE,
  SKETCH_SETTINGS,
} from './sketch.ts';

const LAYOUT = [600, 40, 1360];
const SETTINGS = { ...SKETCH_SETTINGS, seed: 0xc0ffee, size: 32 };

/** A gradient of seeded numbers in [-1, 1); the matrices differ in size by powers of ten. */
function gradientOf(seed: number): Float32Array {
  const random = createRandom(uint256(seed), 'gradient');
  const factors = LAYOUT.flatMap((length, matrix) => Array<number>(length).fill(10 ** -matrix));
  return Float32Array.from(factors, (factor) => (random.uint32() / 2 ** 31 - 1) * factor);
}

function mixed(a: Float32Array, b: Float32Array, share: number): Float32Array {
  return a.map((value, i) => value * share + b[i]! * (1 - share));
}

function calibrationOf(gradients: readonly Float32Array[], landmarks: number): Calibration {
  const scales = layerScales(gradients.slice(0, SCALE_SAMPLE), LAYOUT);
  const direction = createProjector(LAYOUT, scales, SETTINGS, PROJECTED_SIZE);
  const bytes = new Int8Array(landmarks * PROJECTED_SIZE);
  for (let i = 0; i < landmarks; i++) {
    bytes.set(quantise(direction(gradients[i]!)), i * PROJECTED_SIZE);
  }
  return { scales, landmarks: bytes };
}

function sketcherOf(calibration: Calibration, size = SETTINGS.size) {
  const { directionOf, sketch } = createSketcher(LAYOUT, calibration, { ...SETTINGS, size });
  return (gradient: Float32Array): Int8Array => sketch(directionOf(gradient));
}

function cosine(a: Int8Array, b: Int8Array): number {
  return cosineQ16(dotProduct(a, b), squaredNorm(a), squaredNorm(b)) / 65_536;
}

const pool = Array.from({ length: 40 }, (_, i) => gradientOf(i));
const plain = calibrationOf(pool, 0);
const marked = calibrationOf(pool, SETTINGS.size);

test('the bytes of calibration and sketches are these on every machine', () => {
  for (const [calibration, expected] of [
    [plain, '02c6a27ef6923a33dbc1615d40dcd929ccb4dc9dba3172ac4eec6584a5745a3b'],
    [marked, '1f6a404fd5d5429019ee6ee8f70e7f1a40ed87c372f3e6df3d788578d9dd5bcf'],
  ] as const) {
    const digest = createHash('sha256').update(calibrationBytes(calibration));
    for (const gradient of pool) digest.update(sketcherOf(calibration)(gradient));
    assert.equal(digest.digest('hex'), expected);
  }
});

test('the sample is distinct, moves with the seed, and is small in a small version', () => {
  const sample = calibrationSample(100, SETTINGS);
  assert.equal(new Set(sample).size, 32);
  assert.ok(sample.every((index) => index >= 0 && index < 100));
  assert.deepEqual(sample, calibrationSample(100, SETTINGS));
  assert.notDeepEqual(sample, calibrationSample(100, { ...SETTINGS, seed: 1 }));
  assert.equal(calibrationSample(31, SETTINGS).length, SCALE_SAMPLE);
  assert.equal(calibrationSample(3, SETTINGS).length, 3);
});

test('scales bring every matrix to the same mean square', () => {
  const [a, b, c] = layerScales(pool, LAYOUT);
  assert.ok(Math.abs(b! / a! / 10 - 1) < 0.2 && Math.abs(c! / b! / 10 - 1) < 0.2);
  assert.deepEqual([...layerScales([new Float32Array(2000)], LAYOUT)], [0, 0, 0]);
});

test('the length of a gradient does not matter; half of it does not move a byte', () => {
  const gradient = gradientOf(99);
  for (const calibration of [plain, marked]) {
    const sketch = sketcherOf(calibration);
    assert.deepEqual(sketch(gradient.map((value) => value / 2)), sketch(gradient));
    assert.deepEqual(sketch(new Float32Array(2000)), new Int8Array(SETTINGS.size));
  }
});

test('without landmarks, cosines of sketches follow those of gradients', () => {
  const sketch = sketcherOf(plain, 256);
  const [a, b] = [gradientOf(500), gradientOf(501)];
  assert.ok(Math.abs(cosine(sketch(a), sketch(b))) < 0.3);
  assert.ok(cosine(sketch(a), sketch(mixed(a, b, 0.8))) > 0.85);
  assert.ok(cosine(sketch(a), sketch(a.map((value) => -value))) < -0.85);
});

test('with landmarks, a faint common cause tells groups apart that projections confuse', () => {
  const causes = Array.from({ length: 4 }, (_, i) => gradientOf(900 + i));
  const member = (i: number): Float32Array => mixed(causes[i % 4]!, gradientOf(1000 + i), 0.3);
  const members = Array.from({ length: 160 }, (_, i) => member(i));
  const margin = (calibration: Calibration): number => {
    const sketches = members.map(sketcherOf(calibration));
    let hits = 0;
    for (let i = 60; i < 160; i++) {
      const totals = [0, 0, 0, 0];
      for (let j = 0; j < 60; j++) totals[j % 4]! += cosine(sketches[i]!, sketches[j]!);
      if (totals.indexOf(Math.max(...totals)) === i % 4) hits++;
    }
    return hits;
  };
  const [without, withLandmarks] = [plain, calibrationOf(members, SETTINGS.size)].map(margin);
  assert.ok(withLandmarks! >= 85 && withLandmarks! > without!, `${withLandmarks} and ${without}`);
});

test('a landmark without a gradient, or twice the same, does no harm', () => {
  const twice = [pool[0]!, pool[0]!, new Float32Array(2000), ...pool.slice(3)];
  const sketch = sketcherOf(calibrationOf(twice, SETTINGS.size))(gradientOf(77));
  assert.ok(sketch.some((value) => value !== 0));
  assert.equal(sketch[2], 0);
  assert.equal(sketch[0], sketch[1]);
});

test('a calibration survives its bytes; damaged ones are refused', () => {
  for (const calibration of [plain, marked]) {
    assert.deepEqual(calibrationFromBytes(calibrationBytes(calibration), 3, 32), calibration);
  }
  const bytes = calibrationBytes(plain);
  assert.throws(() => calibrationFromBytes(bytes.slice(1), 3, 32), /expected 12 or 65548 bytes/);
  const infinite = bytes.slice();
  infinite.set([0x7f, 0x80, 0, 0], 4);
  assert.throws(() => calibrationFromBytes(infinite, 3, 32), /finite/);
  const negative = bytes.slice();
  negative[0]! |= 0x80;
  assert.throws(() => calibrationFromBytes(negative, 3, 32), /negative/);
});

test('gradients and calibrations of another adapter are refused', () => {
  assert.throws(() => sketcherOf(plain)(new Float32Array(1999)), /expected 2000 numbers, got 1999/);
  assert.throws(() => createSketcher([2000], plain, SETTINGS), /expected 1 scales/);
  assert.throws(() => sketcherOf(marked, 64), /expected 64 landmarks/);
});
