import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  cosineQ16,
  dotProduct,
  integerSqrt,
  passesThreshold,
  SKETCH_SIZE,
  sketchBytes,
  sketchFromBytes,
  squaredNorm,
} from './sketch.ts';

const sketch = fc
  .int8Array({ minLength: SKETCH_SIZE, maxLength: SKETCH_SIZE })
  .map((numbers) => Int8Array.from(numbers));

test('the dot product is the exact sum', () => {
  fc.assert(
    fc.property(sketch, sketch, (a, b) => {
      const exact = [...a].reduce((sum, x, i) => sum + BigInt(x) * BigInt(b[i] as number), 0n);
      assert.equal(BigInt(dotProduct(a, b)), exact);
      assert.equal(squaredNorm(a), dotProduct(a, a));
    }),
  );
  const lowest = new Int8Array(SKETCH_SIZE).fill(-128);
  assert.equal(dotProduct(lowest, lowest), 256 * 128 * 128);
  assert.throws(() => dotProduct(lowest, new Int8Array(255)), RangeError);
});

test('the root is the largest integer whose square does not exceed the number', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 256n }), (value) => {
      const root = integerSqrt(value);
      assert.ok(root * root <= value && (root + 1n) * (root + 1n) > value);
      assert.equal(integerSqrt(root * root), root);
      if (root > 0n) assert.equal(integerSqrt(root * root - 1n), root - 1n);
    }),
  );
  for (let value = 0n; value < 2000n; value += 1n) {
    assert.equal(integerSqrt(value), BigInt(Math.floor(Math.sqrt(Number(value)))));
  }
  assert.throws(() => integerSqrt(-1n), RangeError);
});

test('the cosine is 2^16 for the same direction and 0 for no direction', () => {
  fc.assert(
    fc.property(sketch, (a) => {
      const norm = squaredNorm(a);
      assert.equal(cosineQ16(norm, norm, norm), norm === 0 ? 0 : 65_536);
      assert.equal(cosineQ16(-norm, norm, norm), norm === 0 ? 0 : -65_536);
    }),
  );
  assert.equal(cosineQ16(0, 5, 0), 0);
  // Rounded towards zero: 1 · 65536 / isqrt(3 · 3) = 21845.33….
  assert.equal(cosineQ16(1, 3, 3), 21_845);
  assert.equal(cosineQ16(-1, 3, 3), -21_845);
});

test('the threshold is reached exactly at its fraction', () => {
  // cos = 3/5 with dot 3, norms 5 and 5.
  assert.equal(passesThreshold(3, 5, 5, 3, 5), true);
  assert.equal(passesThreshold(3, 5, 5, 30_000_001, 50_000_000), false);
  assert.equal(passesThreshold(0, 5, 5, 0, 1), false);
  assert.equal(passesThreshold(-5, 5, 5, 1, 5), false);
  fc.assert(
    fc.property(sketch, sketch, fc.nat(99), (a, b, percent) => {
      const [dot, normA, normB] = [dotProduct(a, b), squaredNorm(a), squaredNorm(b)];
      const passes = passesThreshold(dot, normA, normB, percent, 100);
      const cosine = dot / Math.sqrt(normA * normB);
      if (Math.abs(cosine - percent / 100) > 1e-9) {
        assert.equal(passes, dot > 0 && cosine > percent / 100);
      }
    }),
  );
});

test('a sketch survives as bytes, and is copied', () => {
  fc.assert(
    fc.property(sketch, (a) => {
      const bytes = sketchBytes(a);
      assert.deepEqual(sketchFromBytes(bytes), a);
      bytes[0] = (bytes[0] as number) ^ 0xff;
      assert.notDeepEqual(sketchFromBytes(bytes), a);
    }),
  );
  const buffer = Buffer.from(new Array(256).fill(200));
  assert.deepEqual([...sketchFromBytes(buffer)], new Array(256).fill(-56));
  assert.throws(() => sketchFromBytes(new Uint8Array(255)), RangeError);
  const part = new Int8Array([9, ...new Array(256).fill(-1)]).subarray(1);
  assert.deepEqual([...sketchBytes(part)], new Array(256).fill(255));
});
