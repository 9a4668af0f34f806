/** Choices of tokens: deterministic by seed, distributed as the softmax, within top-k and top-p. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ModelError } from './errors.ts';
import { chooseToken, GREEDY, gumbelNoise, likeliestTokens, samplingSettings } from './sampling.ts';

const LOGITS = Float32Array.of(1, 3, 2, 3, -4);

test('greedy takes the largest logit, the lower id on a tie, and never NaN', () => {
  assert.equal(chooseToken(LOGITS, GREEDY, 0), 1);
  assert.equal(chooseToken(Float32Array.of(Number.NaN, -1, Number.NaN), GREEDY, 0), 1);
});

test('equal seed and position give equal choices; other positions and seeds do not', () => {
  const draw = (seed: bigint) =>
    Array.from({ length: 64 }, (_, at) => chooseToken(LOGITS, samplingSettings({ seed }), at));
  assert.deepEqual(draw(1n), draw(1n));
  assert.notDeepEqual(draw(1n), draw(2n));
  assert.ok(new Set(draw(1n)).size > 1);
});

test('draws follow the softmax', () => {
  const settings = samplingSettings({ temperature: 2, seed: 42n });
  const draws = 20_000;
  const seen = new Float64Array(LOGITS.length);
  for (let at = 0; at < draws; at++) seen[chooseToken(LOGITS, settings, at)]! += 1;
  const weights = Array.from(LOGITS, (logit) => Math.exp(logit / 2));
  const sum = weights.reduce((a, b) => a + b);
  for (const [id, weight] of weights.entries()) {
    const p = weight / sum;
    const deviations = Math.abs(seen[id]! - draws * p) / Math.sqrt(draws * p * (1 - p));
    assert.ok(deviations < 4, `token ${id}: ${seen[id]} draws, expected ${draws * p}`);
  }
});

test('top-k and top-p leave only the most likely tokens', () => {
  const among = (given: object) => {
    const settings = samplingSettings({ temperature: 1.5, seed: 3n, ...given });
    const ids = Array.from({ length: 500 }, (_, at) => chooseToken(LOGITS, settings, at));
    return [...new Set(ids)].sort();
  };
  assert.deepEqual(among({ topK: 2 }), [1, 3]);
  assert.deepEqual(among({ topK: 1 }), [1]);
  assert.deepEqual(among({ topP: 0.01 }), [1]);
  assert.deepEqual(among({ topP: 0.6 }), [1, 3]);
  assert.deepEqual(among({ topK: 3, topP: 0.999 }), [1, 2, 3]);
});

test('the choice is the largest of logit plus noise, recomputed one token at a time', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ min: -9, max: 9, noNaN: true }), { minLength: 2, maxLength: 40 }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.nat(100_000),
      (values, seed, position) => {
        const logits = Float32Array.from(values);
        const chosen = chooseToken(logits, samplingSettings({ seed }), position);
        const score = (id: number) => logits[id]! + gumbelNoise(seed, position)(id);
        for (let id = 0; id < logits.length; id++) assert.ok(score(id) <= score(chosen));
      },
    ),
    { numRuns: 200, seed: 11 },
  );
});

test('SAMPLING_INVALID names the setting', () => {
  const bad = [{ temperature: -1 }, { temperature: Number.NaN }, { topK: 1.5 }, { topP: 0 }];
  for (const given of [
    ...bad,
    { topP: 1.1 },
    { seed: -1n },
    { minP: 2 },
    { repetitionPenalty: 0 },
  ]) {
    assert.throws(
      () => samplingSettings(given),
      (error) =>
        error instanceof ModelError &&
        error.code === 'SAMPLING_INVALID' &&
        error.details.key === Object.keys(given)[0],
    );
  }
});

test('min-p leaves tokens by their share of the likeliest, after the temperature', () => {
  const among = (given: object) => {
    const settings = samplingSettings({ seed: 5n, ...given });
    const ids = Array.from({ length: 500 }, (_, at) => chooseToken(LOGITS, settings, at));
    return [...new Set(ids)].sort();
  };
  // Shares of the likeliest at temperature 1: e^-2, 1, e^-1, 1, e^-7.
  assert.deepEqual(among({ minP: 0.5 }), [1, 3]);
  assert.deepEqual(among({ minP: 0.3 }), [1, 2, 3]);
  assert.deepEqual(among({ minP: 0.5, temperature: 4 }), [0, 1, 2, 3]);
  assert.deepEqual(among({ minP: 1 }), [1, 3]);
  assert.deepEqual(among({ minP: 0.3, topK: 1 }), [1]);
  assert.deepEqual(among({ minP: 0.1, topP: 0.6 }), [1, 3]);
});

test('the penalty divides what is above 0 and multiplies the rest, once for each token', () => {
  const settings = { ...GREEDY, repetitionPenalty: 2 };
  assert.equal(chooseToken(LOGITS, settings, 2, [1, 1]), 3);
  assert.equal(chooseToken(LOGITS, settings, 2, [1, 3]), 2);
  assert.equal(chooseToken(LOGITS, settings, 2, []), 1);
  const negative = Float32Array.of(-1, -1.5, -3);
  assert.equal(chooseToken(negative, settings, 1, [0]), 1);
  assert.equal(chooseToken(negative, { ...settings, repetitionPenalty: 0.5 }, 1, [2]), 0);
  // 3 / 3 is exactly the 1 of the last one: of equals the lower id wins.
  const third = Float32Array.of(3, 2, 1);
  assert.equal(chooseToken(third, { ...GREEDY, repetitionPenalty: 3 }, 1, [0, 1]), 0);
  assert.throws(() => chooseToken(LOGITS, settings, 0), /tokens before/);
  assert.deepEqual(LOGITS, Float32Array.of(1, 3, 2, 3, -4));
});

test('the likeliest tokens are those of a sorted list, lower ids first, without NaN', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: -4, max: 4 }), fc.constant(Number.NaN)), {
        maxLength: 30,
      }),
      fc.nat(20),
      (values, count) => {
        const logits = Float32Array.from(values);
        const sorted = [...logits.keys()]
          .filter((id) => !Number.isNaN(logits[id]))
          .sort((a, b) => logits[b]! - logits[a]! || a - b);
        assert.deepEqual(likeliestTokens(logits, count), sorted.slice(0, count));
      },
    ),
    { numRuns: 200, seed: 12 },
  );
});
