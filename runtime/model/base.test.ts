/** The shipped base model: whole, within its size, able to chat, and better than Kneser-Ney. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openArena } from '../engine/backend.ts';
import { flattenWeights } from '../engine/config.ts';
import { Graph } from '../engine/graph.ts';
import { readCorpus } from '../text/corpus.ts';
import { loadModelDirectory } from './directory.ts';
import { modelBitsPerByte, sampleOf } from './evaluate.ts';
import { bitsPerByte, trainKneserNey } from './kneser-ney.ts';

const DIRECTORY = fileURLToPath(new URL('../base', import.meta.url));
const model = await loadModelDirectory(DIRECTORY);

test('it has two to five million parameters in at most 12 MB', () => {
  const parameters = flattenWeights(model).length;
  assert.ok(parameters >= 2_000_000 && parameters <= 5_000_000, `${parameters} parameters`);
  const sizes = readdirSync(DIRECTORY).map((name) => statSync(join(DIRECTORY, name)).size);
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 12_000_000);
});

test('its tokenizer knows the chat format and gives every text back', () => {
  const { tokenizer } = model;
  const ids = tokenizer.encodeChat([{ role: 'user', content: 'How do I install it?' }]);
  assert.equal(ids[0], tokenizer.specialId('<|user|>'));
  assert.equal(ids.at(-1), tokenizer.specialId('<|assistant|>'));
  const text = readFileSync(join(DIRECTORY, 'README.md'), 'utf8');
  assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
});

test('it beats Kneser-Ney of order 5 on held-out packages', async () => {
  const corpus = readCorpus('node_modules');
  const sample = sampleOf(
    corpus['held-out'].map(({ text }) => text),
    12,
    2_000,
  );
  const graph = new Graph(openArena(), model.config, false);
  flattenWeights(model, graph.parameters());
  graph.pack();
  const score = (tokens: Int32Array) => graph.score(null, tokens).logprobs;
  const ours = await modelBitsPerByte(score, model.tokenizer, sample, model.config.contextLength);
  const training = corpus.pretraining.map(({ text }) => new Uint8Array(Buffer.from(text)));
  const heldOut = sample.map((text) => new Uint8Array(Buffer.from(text)));
  const theirs = bitsPerByte(trainKneserNey(training, 5), heldOut);
  assert.ok(ours < theirs, `${ours} bits per byte, Kneser-Ney ${theirs}`);
});

test('its README states the figures', () => {
  const readme = readFileSync(join(DIRECTORY, 'README.md'), 'utf8');
  const [ours, theirs] = [...readme.matchAll(/\| \**(\d\.\d{4})\** \|/g)].map(([, value]) =>
    Number(value),
  );
  assert.ok(ours! < theirs!, readme);
  assert.ok(
    !readme.includes('early checkpoint'),
    'the base model is not final: run npm run pretrain',
  );
});
