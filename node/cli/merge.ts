/** `openledger merge`: an adapter into its base, as a model directory for other tools. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { loadModelDirectory, readAdapterDirectory, writeMergedModel } from '#runtime';
import { NodeError } from '../errors.ts';
import { baseFolder, shippedBase } from '../paths.ts';
import { entriesOf } from './adapter.ts';
import { globals, print } from './session.ts';

type MergeOptions = { readonly adapter: string; readonly base: string; readonly out: string };

export function mergeCommand(): Command {
  return new Command('merge')
    .description('write a base model with an adapter merged into its weights (f32 safetensors)')
    .requiredOption('--adapter <dir>', 'PEFT directory')
    .option('--base <dir>', 'base model in Hugging Face layout', shippedBase())
    .requiredOption('--out <dir>', 'new or empty folder for the merged model')
    .action(async (own: MergeOptions, command: Command) => {
      const from = baseFolder(globals(command).dataDir, own.base);
      const out = resolve(own.out);
      if (entriesOf(out) > 0) {
        const details = { expected: 'a new or empty folder', came: out };
        throw new NodeError('USAGE', details, 'name another folder with --out');
      }
      const base = await loadModelDirectory(from);
      const { config, hash } = base;
      const read = await readAdapterDirectory(resolve(own.adapter), { config, name: from, hash });
      await writeMergedModel(out, base, from, read);
      print(globals(command), { ok: true, out }, `merged model written to ${out}`);
    });
}
