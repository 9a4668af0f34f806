/** `openledger model`: base models of this machine, checked whole before they are kept. */
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import { toHex } from '#crypto';
import { loadModelDirectory, modelFiles } from '#runtime';
import { NodeError } from '../errors.ts';
import { modelsFolder } from '../paths.ts';
import { createNarrator } from '../story/narrator.ts';
import { globals, print } from './session.ts';

const HELP = `
Taken: the Llama family as Hugging Face stores it (config.json, tokenizer.json, safetensors, one file or
shards), or as one GGUF file (llama, qwen2, qwen3 in f32, f16, bf16 or q8_0); a tokenizer.json beside it wins
over its metadata. From then on --base NAME means it, in \`openledger up\`, \`train --local\`, \`merge\` and \`adapter\`.`;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const MEGABYTE = 1_000_000;

export function modelCommand(): Command {
  const model = new Command('model').description('base models of this machine');
  model.addCommand(
    new Command('add')
      .description('check a model and keep a copy of it under a name')
      .argument('<path>', 'directory in Hugging Face layout, or GGUF file')
      .option('--name <name>', 'what --base calls it (the folder’s or file’s name)')
      .addHelpText('after', HELP)
      .action(add),
  );
  model.addCommand(new Command('list').description('models that were added').action(list));
  return model;
}

async function add(path: string, own: { name?: string }, command: Command): Promise<void> {
  const options = globals(command);
  const from = resolve(path);
  const name = own.name ?? basename(from, '.gguf');
  if (!NAME.test(name)) {
    const expected = 'a name of 1 to 64 letters, digits, dots, dashes and underscores';
    throw new NodeError('USAGE', { expected, came: name }, 'choose another --name');
  }
  const to = join(modelsFolder(options.dataDir), name);
  if (statOf(to) !== undefined) {
    const details = { expected: 'a name that is free', came: name };
    throw new NodeError(
      'USAGE',
      details,
      'choose another --name, `openledger model list` names all',
    );
  }
  const { hash, bytes, config } = await loadModelDirectory(from);
  const { folder, names } = await modelFiles(from);
  const files = names.filter((file) => statOf(join(folder, file))?.isFile() === true);
  const sizes = files.map((file) => statOf(join(folder, file))?.size ?? 0);
  const total = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / MEGABYTE);
  const bar = createNarrator(process.stderr, Date.now()).progress(`adding ${name}, MB`, total);
  const partial = `${to}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  try {
    let copied = 0;
    for (const file of files) {
      const source = createReadStream(join(folder, file), { highWaterMark: 1 << 20 });
      source.on('data', (chunk) => {
        copied += chunk.length;
        bar.update(Math.floor(copied / MEGABYTE), file);
      });
      await pipeline(source, createWriteStream(join(partial, file)));
    }
    // What is kept is what was checked.
    const kept = await loadModelDirectory(partial);
    if (toHex(kept.hash) !== toHex(hash)) {
      const reason = 'it changed while it was read';
      throw new NodeError('FILE_UNREADABLE', { file: from, reason }, 'add it again');
    }
    renameSync(partial, to);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw (error as NodeJS.ErrnoException).code === 'ENOSPC'
      ? new NodeError('DISK_FULL', { path: to }, 'make room and add it again', error)
      : error;
  }
  bar.end();
  const facts = {
    name,
    hash: toHex(hash),
    bytes,
    layers: config.layers,
    context: config.contextLength,
  };
  print(options, { ok: true, ...facts, dir: to }, `${name} added: --base ${name} (${toHex(hash)})`);
}

async function list(_own: object, command: Command): Promise<void> {
  const options = globals(command);
  const folder = modelsFolder(options.dataDir);
  const names = statOf(folder) === undefined ? [] : readdirSync(folder).sort();
  const models = [];
  for (const name of names.filter((each) => NAME.test(each) && !each.endsWith('.partial'))) {
    const { hash, bytes } = await loadModelDirectory(join(folder, name));
    models.push({ name, hash: toHex(hash), bytes });
  }
  const lines = models.map(
    ({ name, hash, bytes }) => `${name.padEnd(24)}  ${hash}  ${Math.ceil(bytes / MEGABYTE)} MB`,
  );
  print(options, { ok: true, models }, lines.join('\n') || 'none');
}

const statOf = (path: string) => statSync(path, { throwIfNoEntry: false });
