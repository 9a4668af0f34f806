/**
 * Measures attribution on the story's questions: `attribution-lab.ts [--model DIR] [--seed S]
 * [--questions N] [--epochs E] [--rank R] [--lr X] [--batch B] [--size K] [--draws N] [--text]`. Prints, for each setting, how
 * often the package whose file holds the sentence is paid most. Gradients are kept in .cache/attribution.
 */
import { parseArgs } from 'node:util';
import { loadModelDirectory } from '../runtime/model/directory.ts';
import { readEvaluation, STORY_EVALUATION } from '../runtime/text/questions.ts';
import { openLab } from './attribution/lab.ts';
import { compareText, openPool } from './attribution/text.ts';
import { compareVoices } from './attribution/variants.ts';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'runtime/base' },
    seed: { type: 'string', default: STORY_EVALUATION.seed },
    questions: { type: 'string', default: '2' },
    epochs: { type: 'string', default: '1' },
    rank: { type: 'string', default: '8' },
    alpha: { type: 'string', default: '16' },
    lr: { type: 'string', default: '0.005' },
    batch: { type: 'string', default: '8' },
    size: { type: 'string', default: '256' },
    draws: { type: 'string', default: '1' },
    text: { type: 'boolean', default: false },
  },
});

const evaluation = readEvaluation('node_modules', {
  ...STORY_EVALUATION,
  seed: values.seed,
  questionsPerContributor: Number(values.questions),
});
const pool = openPool(evaluation);
console.log(
  `${pool.records.length} records of ${pool.names.length} packages, ${pool.questions.length} questions, chance ${(1 / pool.names.length).toFixed(4)}`,
);
compareText(pool);
if (!values.text) {
  const lab = await openLab(await loadModelDirectory(values.model), pool, {
    rank: Number(values.rank),
    alpha: Number(values.alpha),
    learningRate: Number(values.lr),
    batch: Number(values.batch),
    epochs: Number(values.epochs),
    size: Number(values.size),
    nonZeros: Number(values.draws),
  });
  compareVoices(pool, lab);
}
