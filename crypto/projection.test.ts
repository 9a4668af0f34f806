import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createProjection, mix32, quantise } from './projection.ts';

const M = 2n ** 32n;
/** mix32 again with bigints, where no product can be rounded. */
function mixByDefinition(value: bigint): bigint {
  let x = value % M;
  x = ((x ^ (x >> 16n)) * 0x7feb352dn) % M;
  x = ((x ^ (x >> 15n)) * 0x846ca68bn) % M;
  return x ^ (x >> 16n);
}

test('mix32 is exact 32-bit arithmetic', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 32 - 1), (value) => {
      assert.equal(BigInt(mix32(value)), mixByDefinition(BigInt(value)));
    }),
  );
});

test('values land in the buckets and with the signs of the definition', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 32 - 1),
      fc.nat(2 ** 31),
      fc.integer({ min: 1, max: 12 }),
      (seed, t, log) => {
        const size = 2 ** log;
        const expected = new Float64Array(size);
        let h = mixByDefinition(BigInt(t) ^ BigInt(seed));
        for (let draw = 0; draw < 4; draw += 1) {
          const bucket = Number(h % BigInt(size));
          expected[bucket] = (expected[bucket] as number) + (h >> 31n === 1n ? -1.5 : 1.5);
          h = mixByDefinition(h + 0x9e3779b9n);
        }
        const buckets = new Float64Array(size);
        createProjection(seed, size, 4).add(buckets, t, [3], 0.5);
        assert.deepEqual(buckets, expected);
      },
    ),
  );
});

test('the sum does not depend on how the values are cut into calls', () => {
  const values = Float32Array.from({ length: 999 }, (_, i) => Math.sin(i) * 10 ** (i % 7));
  const projection = createProjection(42);
  const once = new Float64Array(256);
  projection.add(once, 5, values, 0.37);
  const twice = new Float64Array(256);
  projection.add(twice, 5, values.subarray(0, 400), 0.37);
  projection.add(twice, 405, values.subarray(400), 0.37);
  assert.deepEqual(once, twice);
  const single = new Float32Array(256);
  projection.add(single, 5, values, 0.37);
  assert.ok(single.every((bucket, i) => Math.abs(bucket - (once[i] as number)) < 1));
});

test('lengths and angles are kept on average', () => {
  const projection = createProjection(7, 4096);
  const a = Float64Array.from({ length: 20_000 }, (_, i) => Math.sin(i * i));
  const b = Float64Array.from({ length: 20_000 }, (_, i) => Math.sin(i * i) + Math.cos(i * 3));
  const [pa, pb] = [new Float64Array(4096), new Float64Array(4096)];
  projection.add(pa, 0, a, 1);
  projection.add(pb, 0, b, 1);
  const dot = (x: Float64Array, y: Float64Array) =>
    x.reduce((sum, v, i) => sum + v * (y[i] as number), 0);
  const cosine = (x: Float64Array, y: Float64Array) => dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
  assert.ok(Math.abs(cosine(pa, pb) - cosine(a, b)) < 0.05);
});

test('the quantiser reaches 127 at the largest and rounds halves away from zero', () => {
  assert.deepEqual(
    [...quantise([127, -127, 0.5, -0.5, 0.49, 2.5, 0])],
    [127, -127, 1, -1, 0, 3, 0],
  );
  assert.deepEqual([...quantise([0, -0, 0])], [0, 0, 0]);
  assert.deepEqual([...quantise([Number.MAX_VALUE, -Number.MIN_VALUE])], [127, 0]);
  assert.deepEqual([...quantise([Number.MIN_VALUE])], [127]);
  for (const broken of [Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => quantise([1, broken]), RangeError);
  }
  fc.assert(
    fc.property(
      fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }),
      (xs) => {
        const sketch = quantise(xs);
        const negated = quantise(xs.map((x) => -x));
        assert.ok(sketch.every((q, i) => q + (negated[i] as number) === 0 && q >= -127));
      },
    ),
  );
});

test('shapes that make no sense are refused', () => {
  assert.throws(() => createProjection(-1), RangeError);
  assert.throws(() => createProjection(2 ** 32), RangeError);
  assert.throws(() => createProjection(0, 100), RangeError);
  assert.throws(() => createProjection(0, 256, 0), RangeError);
  assert.throws(() => createProjection(0).add(new Float64Array(255), 0, [1], 1), RangeError);
});
