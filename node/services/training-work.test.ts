// The plan of a spec: everything that changes a training's bytes comes from the task.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TARGET_MODULES, type TaskSpec } from '#protocol';
import { LORA_MODULES } from '#runtime';
import { REDUCED, specFor } from '../story/scenario.ts';
import { planOf } from './training-work.ts';

const hash = `0x${'11'.repeat(32)}` as const;
const plain = specFor(REDUCED.training, { base: hash, datanetId: hash, version: 1, seed: 3 });

test('a spec without options has the plan that it always had', () => {
  const plan = planOf(plain);
  assert.deepEqual(
    [plan.dropout, plan.packTokens, plan.rankStabilised, plan.floor, plan.targets],
    [0, 0, false, 0, LORA_MODULES],
  );
});

test('options and the floor of a spec reach the plan', () => {
  const spec: TaskSpec = {
    ...plain,
    options: { dropout: 0.1, packTokens: 96, rankStabilised: true, targets: ['v_proj'] },
    schedule: { ...plain.schedule, floor: 0.2 },
  };
  const plan = planOf(spec);
  assert.deepEqual(
    [plan.dropout, plan.packTokens, plan.rankStabilised, plan.floor, plan.targets],
    [0.1, 96, true, 0.2, ['v_proj']],
  );
});

test('protocol and runtime name the same modules in the same order', () => {
  assert.deepEqual(TARGET_MODULES, LORA_MODULES);
});
