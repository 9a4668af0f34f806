/** The yardstick is a proper distribution, and agrees with a calculation by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bitsPerByte, trainKneserNey } from './kneser-ney.ts';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const text = 'the cat sat on the mat; the dog sat on the log; a hat is not a cat. '.repeat(4);

test('probabilities sum to 1 after any history, seen or not', () => {
  const model = trainKneserNey([bytes(text), bytes('another document')], 5);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 8 }), fc.nat(text.length - 5), (random, at) => {
      for (const history of [random, bytes(text.slice(at, at + 4))]) {
        let sum = 0;
        for (let byte = 0; byte < 256; byte++) sum += model.probability(history, byte);
        assert.ok(Math.abs(sum - 1) < 1e-9, `sum ${sum}`);
      }
    }),
    { numRuns: 100, seed: 5 },
  );
});

test('every byte has a chance, even one that was never seen', () => {
  const model = trainKneserNey([bytes(text)], 5);
  assert.ok(model.probability(bytes('the '), 0xff) > 0);
});

test('order 2 agrees with Kneser-Ney worked out by hand', () => {
  // "abab": bigrams (0,a) once, (a,b) twice, (b,a) once. Too little text: every discount is 0.5.
  const model = trainKneserNey([bytes('abab')], 2);
  const [a, b] = [0x61, 0x62];
  // Continuations: a is preceded by 0 and b, b only by a; three in all.
  const lowerB = (1 - 0.5) / 3 + ((0.5 + 0.5) / 3) * (1 / 256);
  assert.ok(Math.abs(model.probability([a], b) - ((2 - 0.5) / 2 + (0.5 / 2) * lowerB)) < 1e-12);
  assert.ok(Math.abs(model.probability([0x7a], b) - lowerB) < 1e-12);
});

test('only the last order - 1 bytes of the history count', () => {
  const model = trainKneserNey([bytes(text)], 3);
  assert.equal(model.probability(bytes('xxat'), 0x20), model.probability(bytes('at'), 0x20));
});

test('a longer memory predicts its own text better, and random bytes not at all', () => {
  const documents = [bytes(text)];
  const bits = [1, 2, 3, 5].map((order) =>
    bitsPerByte(trainKneserNey(documents, order), documents),
  );
  assert.deepEqual(
    bits,
    [...bits].sort((x, y) => y - x),
  );
  const noise = Uint8Array.from({ length: 512 }, (_, i) => (i * 7919 + (i >> 3) * 104729) & 255);
  assert.ok(bitsPerByte(trainKneserNey(documents, 5), [noise]) > 8);
});

test('an order that float64 cannot hold is refused', () => {
  assert.throws(() => trainKneserNey([], 7), RangeError);
  assert.throws(() => trainKneserNey([], 0), RangeError);
});
