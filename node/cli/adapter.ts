/**
 * `openledger adapter`: PEFT directories in and out of a running swarm. An import is judged here and by
 * every node before the first of them keeps it, so that it is served by all of them or by none.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { Command } from 'commander';
import { toHex } from '#crypto';
import { BATCH_SIZES, loadModelDirectory, readAdapterDirectory } from '#runtime';
import { type AdapterFiles, joinAdapterFiles, splitAdapterFiles } from '../adapter-files.ts';
import { NodeError } from '../errors.ts';
import { baseFolder, shippedBase } from '../paths.ts';
import type { AdapterView } from '../services/adapters.ts';
import { createNarrator } from '../story/narrator.ts';
import type { SwarmFile } from '../swarm-file.ts';
import { callApi, callApiBytes, type GlobalOptions, globals, print, readSwarm } from './session.ts';

const HELP = `
An imported adapter has no training task on chain: the nodes of this data directory serve it, clients
ask for base:NAME, and its answers name and pay no contributor (/v1/models says "registered": false).
Taken: LoRA of the base's linears in safetensors, rank up to ${BATCH_SIZES.rankMax}. Refused with what was expected and
found: pickled weights, DoRA, biases, modules_to_save, a higher rank, another base.`;

export function adapterCommand(): Command {
  const adapter = new Command('adapter').description('adapters as PEFT directories, in and out');
  adapter.addCommand(
    new Command('import')
      .description('serve a PEFT directory as base:NAME')
      .argument('<dir>', 'adapter_config.json and adapter_model.safetensors')
      .option('--name <name>', 'what clients ask for after the colon (the folder’s name)')
      .option('--base <dir>', 'the base it belongs to: a folder or an added model', shippedBase())
      .addHelpText('after', HELP)
      .action(importAdapter),
  );
  adapter.addCommand(
    new Command('export')
      .description('write an adapter as a PEFT directory')
      .argument('<name>', 'name or id, as `openledger adapter list` prints it')
      .argument('<dir>', 'new or empty folder')
      .action(exportAdapter),
  );
  adapter.addCommand(
    new Command('list').description('adapters that clients can ask for').action(list),
  );
  adapter.addCommand(
    new Command('remove')
      .description('forget an imported adapter')
      .argument('<name>', 'name or id')
      .action(removeAdapter),
  );
  for (const [verb, isPinned, what] of [
    ['pin', true, 'keep an adapter in memory, on every node of this data directory'],
    ['unpin', false, 'let an adapter make room for others again'],
  ] as const)
    adapter.addCommand(
      new Command(verb)
        .description(what)
        .argument('<name>', 'name or id')
        .action((which: string, _own: object, command: Command) => pin(which, isPinned, command)),
    );
  return adapter;
}

const at = (which: string): string => `/swarm/v1/adapters/${encodeURIComponent(which)}`;

async function importAdapter(
  dir: string,
  own: { name?: string; base: string },
  command: Command,
): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const folder = resolve(dir);
  const name = own.name ?? basename(folder);
  const { nodes } = swarm;
  const bar = createNarrator(process.stderr, Date.now()).progress(
    `importing ${name}`,
    1 + 2 * nodes.length,
  );
  const files = await readAdapter(folder, baseFolder(options.dataDir, own.base), swarm);
  bar.update(1, 'read');
  const bytes = joinAdapterFiles(files);
  const send = (api: string, trial: 0 | 1) =>
    callApi<AdapterView>(
      api,
      swarm.token,
      `/swarm/v1/adapters?name=${encodeURIComponent(name)}&trial=${trial}`,
      { bytes, timeoutMs: 300_000 },
    );
  for (const [index, node] of nodes.entries()) {
    await send(node.api, 1);
    bar.update(2 + index, `${node.name} can serve it`);
  }
  const done: string[] = [];
  let view: AdapterView | undefined;
  try {
    for (const node of nodes) {
      view = await send(node.api, 0);
      done.push(node.api);
      bar.update(1 + nodes.length + done.length, `${node.name} serves it`);
    }
  } catch (error) {
    for (const api of done) await callApi(api, swarm.token, at(name), { method: 'DELETE' });
    throw error;
  }
  bar.end();
  print(
    options,
    { ok: true, ...view, model: `base:${name}`, nodes: done.length },
    `base:${name} imported as ${view?.adapterId}, served by ${done.length} nodes; its answers name no contributor`,
  );
}

/** Judged before anything is sent. @throws ModelError naming file, key, what was expected and found */
async function readAdapter(
  folder: string,
  baseDir: string,
  swarm: SwarmFile,
): Promise<AdapterFiles> {
  const base = await loadModelDirectory(baseDir);
  const served = await callApi<{ baseHash: string }>(swarm.gateway, swarm.token, '/swarm/v1/base');
  const { config, hash } = base;
  if (toHex(hash) !== served.baseHash)
    throw new NodeError(
      'USAGE',
      { expected: `the base that the swarm serves, ${served.baseHash}`, came: toHex(hash) },
      'name its folder with --base',
    );
  await readAdapterDirectory(folder, { config, hash, name: baseDir }, BATCH_SIZES.rankMax);
  return {
    config: readFileSync(join(folder, 'adapter_config.json'), 'utf8'),
    weights: readFileSync(join(folder, 'adapter_model.safetensors')),
  };
}

async function exportAdapter(
  which: string,
  dir: string,
  _own: object,
  command: Command,
): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const out = resolve(dir);
  const bar = createNarrator(process.stderr, Date.now()).progress(`exporting ${which}`, 2);
  const body = await callApiBytes(swarm.gateway, swarm.token, `${at(which)}/files`);
  bar.update(1, `${body.length} bytes`);
  const { config, weights } = splitAdapterFiles(body);
  writeWhole(out, { 'adapter_config.json': config, 'adapter_model.safetensors': weights });
  bar.end();
  print(options, { ok: true, adapter: which, out, bytes: weights.length }, `written to ${out}`);
}

/** A new folder with these files, or none. */
function writeWhole(out: string, files: Readonly<Record<string, string | Uint8Array>>): void {
  const partial = `${out}.partial`;
  try {
    if (entriesOf(out) > 0) {
      const details = { expected: 'a new or empty folder', came: out };
      throw new NodeError('USAGE', details, 'name another folder');
    }
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(partial, name), content);
    renameSync(partial, out);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (error instanceof NodeError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new NodeError('FILE_UNREADABLE', { file: out, reason }, 'name another folder', error);
  }
}

/** How many entries a folder has; 0 where there is none. */
export function entriesOf(folder: string): number {
  try {
    return readdirSync(folder).length;
  } catch {
    return 0;
  }
}

async function list(_own: object, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const { adapters } = await callApi<{ adapters: AdapterView[] }>(
    swarm.gateway,
    swarm.token,
    '/swarm/v1/adapters',
  );
  const lines = adapters.map(({ adapterId, name, registered, pinned }) =>
    [name.padEnd(24), adapterId, registered ? 'registered' : 'imported  ', pinned ? 'pinned' : '']
      .join('  ')
      .trimEnd(),
  );
  print(options, { ok: true, adapters }, lines.join('\n') || 'none');
}

async function removeAdapter(which: string, _own: object, command: Command): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const views: AdapterView[] = [];
  for (const { api } of swarm.nodes)
    views.push(await callApi<AdapterView>(api, swarm.token, at(which), { method: 'DELETE' }));
  print(options, { ok: true, ...views[0] }, `${views[0]?.name} is no longer served`);
}

async function pin(which: string, isPinned: boolean, command: Command): Promise<void> {
  const options: GlobalOptions = globals(command);
  const swarm = readSwarm(options.dataDir);
  const views: AdapterView[] = [];
  for (const { api } of swarm.nodes)
    views.push(
      await callApi<AdapterView>(api, swarm.token, `${at(which)}/pin`, {
        body: { pinned: isPinned },
      }),
    );
  const said = isPinned ? 'stays in memory once it is there' : 'makes room for others';
  print(options, { ok: true, ...views[0] }, `${views[0]?.name} ${said}`);
}
