// The TensorFlow.js adapter on its pure JavaScript build, which has the same calls as the CUDA one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '@tensorflow/tfjs-backend-cpu';
import * as tensorflow from '@tensorflow/tfjs-core';
import { conformance } from '../backend/conformance.ts';
import { openTfjs, type TensorFlow, TfjsError } from './tfjs.ts';

const load = async () => tensorflow as unknown as TensorFlow;

test('tfjs passes what the conformance suite asks of products', async () => {
  const backend = await openTfjs(load);
  assert.equal(backend.device, 'TensorFlow.js cpu');
  const names: string[] = [];
  for await (const { name, error, isWithin } of conformance(backend)) {
    assert.ok(isWithin, `${name}: ${error}`);
    names.push(name);
  }
  assert.equal(names.length, 10);
});

test('tfjs: integers are exact beyond the sums that f32 can hold, and no tensor stays', async () => {
  const backend = await openTfjs(load);
  const depth = 3000;
  const [a, b] = [new Int8Array(depth).fill(-128), new Int8Array(2 * depth).fill(-128)];
  // Odd, and far above 2^24.
  a[2999] = 1;
  b[2999] = 1;
  b[5999] = 3;
  const tensors = tensorflow.memory().numTensors;
  const found = await backend.integerProduct!(a, b, { rows: 1, columns: 2, depth });
  assert.deepEqual([...found], [2999 * 16384 + 1, 2999 * 16384 + 3]);
  assert.equal(tensorflow.memory().numTensors, tensors);
});

test('TFJS_PACKAGE_ABSENT: the package does not load', async () => {
  const absent = () => Promise.reject(new Error('not installed'));
  await assert.rejects(
    openTfjs(absent),
    (error) => error instanceof TfjsError && error.code === 'TFJS_PACKAGE_ABSENT',
  );
});
