/** Training data: the same seed gives the same batches, and a continued run the ones that follow. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CorpusDocument, makeTokenizer, tokenizerFiles, trainMerges } from '#runtime';
import { type Cursors, chatPairs, makeTrainingData, SHARES } from './data.ts';
import { batchShape, initialWeights, rateAt, scheduleOf } from './plan.ts';

const PARAGRAPH =
  'A peer that joins the network announces what it can compute, and for how long it can do so. ' +
  'Other peers then send it tasks, which it may claim under a lease that has to be renewed in time.';
const documents = (['documentation', 'comments', 'code'] as const).flatMap((kind) =>
  Array.from({ length: 8 }, (_, i): CorpusDocument => {
    const text = `# Part ${i} of ${kind}\n\n${PARAGRAPH}\n\n## More\n\n${PARAGRAPH.toUpperCase()}\n`;
    return { package: `p${i}`, path: 'README.md', kind, text };
  }),
);
const files = tokenizerFiles(trainMerges([{ text: PARAGRAPH, weight: 1 }], 400), 64);
const tokenizer = makeTokenizer(files.tokenizer, files.config, 400);

const batches = (seed: bigint, from: number, to: number, start?: Cursors) => {
  const data = makeTrainingData(documents, tokenizer, seed, start);
  const list = [];
  for (let step = from; step < to; step++) list.push(data.nextBatch(step, 4, 32));
  return { list, cursors: data.cursors };
};

test('batches depend on the seed alone, and a continued run goes on where it stopped', () => {
  const whole = batches(1n, 0, 60);
  assert.deepEqual(batches(1n, 0, 60).list, whole.list);
  assert.notDeepEqual(batches(2n, 0, 60).list, whole.list);
  const first = batches(1n, 0, 25);
  const saved = JSON.parse(JSON.stringify(first.cursors)) as Cursors;
  assert.deepEqual([...first.list, ...batches(1n, 25, 60, saved).list], whole.list);
  assert.ok(whole.list.flat().every((sequence) => sequence.length === 33));
});

test('the shares of the streams add up', () => {
  assert.equal(
    Object.values(SHARES).reduce((sum, share) => sum + share, 0),
    1000,
  );
});

test('chat samples: a heading asks for its text, half a paragraph for the other half', () => {
  const pairs = chatPairs(`## Claims\n\n${PARAGRAPH}\n\n## Empty\n`);
  assert.deepEqual(pairs[0], ['Claims', PARAGRAPH]);
  assert.equal(`${pairs[1]![0]} ${pairs[1]![1]}`, PARAGRAPH);
  assert.equal(pairs.length, 2);
});

test('the schedule warms up, decays without a jump, and keeps the tokens of a step', () => {
  const schedule = scheduleOf(1000);
  assert.equal(rateAt(schedule, 0), schedule.ratePeak / 100);
  assert.equal(rateAt(schedule, 99), schedule.ratePeak);
  assert.equal(rateAt(schedule, 999), schedule.rateEnd);
  for (let step = 100; step < 999; step++) {
    const fall = rateAt(schedule, step) - rateAt(schedule, step + 1);
    assert.ok(fall > 0 && fall < schedule.ratePeak / 200);
  }
  for (const step of [0, 999]) {
    const { sequences, length } = batchShape(schedule, step);
    assert.equal(sequences * length, 2048);
  }
});

test('first weights: norms one, matrices spread as asked, equal for equal seeds', () => {
  const config = {
    ...{ hiddenSize: 16, layers: 1, heads: 2, kvHeads: 1, headDim: 8, ffnSize: 24 },
    ...{ vocabSize: 400, contextLength: 64, rmsEps: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true },
  };
  const weights = initialWeights(config, 1n);
  assert.deepEqual(initialWeights(config, 1n), weights);
  assert.deepEqual(weights.slice(-16), new Float32Array(16).fill(1));
  const embedding = weights.subarray(0, 400 * 16);
  const deviation = Math.hypot(...embedding) / Math.sqrt(embedding.length);
  assert.ok(Math.abs(deviation - 0.04) < 0.002);
});
