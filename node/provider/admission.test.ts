import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openAdmission } from './admission.ts';
import { Refusal } from './refusal.ts';

const never = new AbortController().signal;
const refusal = (code: string) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

test('QUEUE_FULL: what fits neither among the running nor the waiting is refused at once', async () => {
  const admission = openAdmission({ runningMax: 1, waitingMax: 1 });
  const leave = await admission.enter(never);
  const second = admission.enter(never);
  await assert.rejects(admission.enter(never), refusal('QUEUE_FULL'));
  assert.deepEqual(admission.load(), { running: 1, waiting: 1 });
  leave();
  leave();
  (await second)();
  assert.deepEqual(admission.load(), { running: 0, waiting: 0 });
});

test('CANCELLED: who leaves while waiting makes room, and the order of the others stays', async () => {
  const admission = openAdmission({ runningMax: 1, waitingMax: 3 });
  const leave = await admission.enter(never);
  const impatient = new AbortController();
  const order: string[] = [];
  const first = admission.enter(impatient.signal);
  const second = admission.enter(never).then((done) => {
    order.push('second');
    return done;
  });
  const third = admission.enter(never).then(() => order.push('third'));
  impatient.abort();
  await assert.rejects(first, refusal('CANCELLED'));
  await assert.rejects(admission.enter(impatient.signal), refusal('CANCELLED'));
  leave();
  (await second)();
  await third;
  assert.deepEqual(order, ['second', 'third']);
});
