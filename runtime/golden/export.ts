// Writes, for each golden model, its adapter as our PEFT writer writes it and the logits that we
// compute with it: `export.ts DIR`, then `make.py --compare DIR` holds them against PEFT's own.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createEngine } from '../engine/engine.ts';
import { readAdapterDirectory, writeAdapterDirectory } from '../model/peft.ts';
import { readSafetensors, writeSafetensors } from '../model/safetensors.ts';
import { openWeights } from '../model/weights.ts';
import { logitsOf } from './logits.ts';

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2];
if (target === undefined) throw new Error('expected the folder to write to');

for (const entry of await readdir(here, { withFileTypes: true })) {
  if (!entry.isDirectory() || entry.name === 'chat') continue;
  const folder = join(here, entry.name);
  const weights = await openWeights(folder);
  const base = { config: weights.config, name: entry.name, hash: new Uint8Array(32) };
  const adapter = await readAdapterDirectory(join(folder, 'adapter'), base);
  const golden = readSafetensors(await readFile(join(folder, 'expected.safetensors')), entry.name);
  const tokens = Int32Array.from(golden.tensor('tokens'));
  const values = logitsOf(createEngine(weights), adapter, tokens);
  const shape = [tokens.length, weights.config.vocabSize];
  await mkdir(join(target, entry.name), { recursive: true });
  await writeAdapterDirectory(join(target, entry.name), adapter, base);
  const file = writeSafetensors([{ name: 'logits', shape, values }], 'F32');
  await writeFile(join(target, entry.name, 'logits.safetensors'), file);
}
