/** The evaluation: equal questions, no names, no sentence that a record holds, seeded. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { isRecord } from './chunk.ts';
import { splitOf } from './corpus.ts';
import { createNearCopyIndex, shinglesOf } from './near-copies.ts';
import {
  namePattern,
  nearCopiesFor,
  readEvaluation,
  STORY_EVALUATION,
  withoutNames,
} from './questions.ts';

const evaluation = readEvaluation(join(import.meta.dirname, '../../node_modules'));
const records = evaluation.contributions.flatMap((contribution) => contribution.records);

test('24 packages of the datanet split contribute 1,000 to 1,150 valid records', () => {
  assert.equal(evaluation.contributions.length, 24);
  assert.ok(evaluation.contributions.every(({ package: name }) => splitOf(name) === 'datanet'));
  assert.ok(records.length >= 1_000 && records.length <= 1_150, `${records.length} records`);
  assert.ok(records.every((record) => isRecord(Buffer.from(record))));
});

test('every package has two questions, and none of them names it', () => {
  assert.equal(evaluation.questions.length, 48);
  for (const { package: name } of evaluation.contributions) {
    const own = evaluation.questions.filter((question) => question.package === name);
    assert.equal(own.length, 2);
    const bare = name.replace(/^@[^/]*\//, '').toLowerCase();
    for (const { prompt } of own) {
      const letters = prompt.toLowerCase().replace(/[-_. ]/g, '');
      assert.ok(!letters.includes(bare.replace(/[-_. ]/g, '')), prompt);
      assert.doesNotMatch(prompt, /https?:/);
    }
  }
});

test('no record holds a held-out sentence, nor most of its shingles', () => {
  const sets = records.map((record) => new Set(shinglesOf(Buffer.from(record))));
  for (const { sentence } of evaluation.questions) {
    const plain = sentence.replace(/\s+/g, ' ');
    assert.ok(!records.some((record) => record.replace(/\s+/g, ' ').includes(plain)));
    const shingles = [...shinglesOf(Buffer.from(sentence))];
    for (const set of sets) {
      const shared = shingles.filter((shingle) => set.has(shingle)).length;
      assert.ok(shared * 10 < shingles.length * 6, sentence);
    }
  }
});

test('another seed asks other questions', () => {
  const folder = join(import.meta.dirname, '../../node_modules');
  const other = readEvaluation(folder, { ...STORY_EVALUATION, seed: 'another' });
  const known = new Set(evaluation.questions.map(({ sentence }) => sentence));
  assert.ok(other.questions.filter(({ sentence }) => !known.has(sentence)).length >= 24);
});

test('names go in every spelling', () => {
  for (const spelling of [
    'cli-progress',
    'cliProgress',
    'CLI_PROGRESS',
    'cli progress',
    'CliProgressBar',
  ]) {
    assert.equal(withoutNames(`Use ${spelling} here.`, 'cli-progress'), 'Use it here.');
  }
  assert.equal(
    withoutNames('See @noble/ciphers, see noble.', '@noble/ciphers'),
    'See it/it, see it.',
  );
  assert.equal(withoutNames('Read https://x.org/level now.', 'level'), 'Read now.');
  assert.match('fastGlob', namePattern('fast-glob'));
});

test('edited records of another contributor are near-copies, each of its own original', () => {
  const victim = evaluation.contributions[0]!.records;
  const index = createNearCopyIndex();
  for (const record of victim) index.add(Buffer.from(record));
  const copies = nearCopiesFor(victim, 24);
  assert.ok(copies.length >= 20);
  const found = copies.filter((copy) => index.find(Buffer.from(copy)).length > 0);
  assert.ok(copies.every((copy) => !victim.includes(copy)));
  assert.equal(found.length, copies.length);
});
