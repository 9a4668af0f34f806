// `openledger train --local` and `merge` as a person runs them, and what they say when they cannot.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Command } from 'commander';
import { DEFAULT_OPTIONS, loadModelDirectory, readAdapterDirectory } from '#runtime';
import { EXIT } from '../errors.ts';
import { main } from '../main.ts';
import { shippedBase } from '../paths.ts';
import { stepNote, trainingOptionsOf, withTrainingOptions } from './train-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'openledger-train-'));
after(() => rmSync(folder, { recursive: true }));
const place = (name: string) => join(folder, name);
const write = (name: string, text: string) => {
  writeFileSync(place(name), text);
  return place(name);
};
const rows = write(
  'rows.jsonl',
  Array.from({ length: 6 }, (_, i) =>
    JSON.stringify({ question: `What follows ${i}?\n\n`, answer: `${i + 1} follows ${i}.` }),
  ).join('\n'),
);

test('a local run writes a PEFT directory that loads and merges', async () => {
  const config = write(
    'small.yml',
    `# as axolotl has it\nlora_r: 4\nlora_alpha: 8\nmax_steps: 2\nmicro_batch_size: 2\n` +
      `gradient_accumulation_steps: 1\nval_set_size: 0.2\ndatasets:\n  - path: ${rows}\n`,
  );
  const args = ['train', '--config', config, '--local', '--out', place('out'), '--threads', '1'];
  assert.equal(await main(args), EXIT.ok);
  const { config: shape, hash } = await loadModelDirectory(shippedBase());
  const base = { config: shape, name: 'base', hash };
  const adapter = await readAdapterDirectory(place('out'), base);
  assert.deepEqual([adapter.rank, adapter.alpha], [4, 8]);
  const account = JSON.parse(readFileSync(join(place('out'), 'training.json'), 'utf8')) as {
    readonly steps: number;
    readonly records: number;
    readonly validation: number;
  };
  assert.deepEqual([account.steps, account.records, account.validation], [2, 5, 1]);
  const merge = ['merge', '--adapter', place('out'), '--out', place('merged')];
  assert.equal(await main(merge), EXIT.ok);
  await loadModelDirectory(place('merged'));
  assert.equal(await main(merge), EXIT.usage);
  assert.equal(await main([...args, '--learning-rate', '1e-3']), EXIT.failed, 'another run');
});

test('what cannot be trained ends with an exit code and leaves nothing', async () => {
  const out = place('none');
  const wrong: [string[], number][] = [
    [['--local', place('absent.jsonl'), '--out', out], EXIT.failed],
    [['--local', rows], EXIT.usage],
    [['--local', '--out', out], EXIT.usage],
    [['--local', rows, '--out', out, '--r', '0'], EXIT.usage],
    [['--local', rows, '--out', out, '--threads', 'many'], EXIT.usage],
    [['--local', rows, '--out', out, '--config', place('absent.yml')], EXIT.failed],
    [['--local', rows, '--out', out, '--config', write('list.yml', '- a\n')], EXIT.failed],
    [['--local', rows, '--out', out, '--sequence-len', '8'], EXIT.failed],
    [['--datanet', 'a', '--name', 'b', '--val-set-size', '0.1'], EXIT.usage],
    [['--datanet', 'a', '--name', 'b', '--config', write('l.yml', 'block_size: 64')], EXIT.usage],
    [[], EXIT.usage],
  ];
  mkdirSync(place('data'));
  for (const [args, code] of wrong) {
    assert.equal(await main(['--data-dir', place('data'), 'train', ...args]), code, args.join(' '));
  }
  assert.equal(existsSync(out), false);
});

test('a flag counts over the file, the file over the default', () => {
  const config = write('both.json', '{"lora_r": 4, "lora_dropout": 0.1, "warmup_ratio": 0.5}');
  const command = withTrainingOptions(new Command());
  command.parse(['--config', config, '--r', '2', '--use-rslora', '--sample-packing'], {
    from: 'user',
  });
  const defaults = { ...DEFAULT_OPTIONS, warmupSteps: 7 };
  const { options, localOnly } = trainingOptionsOf(command.opts(), defaults);
  assert.deepEqual(
    [options.rank, options.dropout, options.rankStabilised, options.packing, options.seed],
    [2, 0.1, true, true, DEFAULT_OPTIONS.seed],
  );
  assert.deepEqual([options.warmupSteps, options.warmupRatio], [undefined, 0.5]);
  assert.deepEqual(localOnly, []);
});

test('a step reads in one line', () => {
  const step = { loss: 3.2109, learningRate: 2e-4, tokensPerSecond: 812.4, etaSeconds: 75 };
  assert.equal(stepNote(step), 'loss 3.211, lr 2.0e-4, 812 tokens/s, 1 min 15 s left');
  const bare = { ...step, loss: null, tokensPerSecond: 0, etaSeconds: null };
  assert.equal(stepNote(bare), 'lr 2.0e-4');
});
