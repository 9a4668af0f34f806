/** `openledger adapter` and `model` against the control API of two nodes that share a data directory. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Command } from 'commander';
import fastify from 'fastify';
import { toHex } from '#crypto';
import { adapterHashOf } from '#protocol';
import {
  type Adapter,
  layoutSize,
  loadModelDirectory,
  loraLayout,
  ModelError,
  modelGguf,
  readAdapterDirectory,
  writeAdapterDirectory,
} from '#runtime';
import { addControl, type ControlParts } from '../api/control.ts';
import { NodeError } from '../errors.ts';
import { shippedBase } from '../paths.ts';
import { type Adapters, openAdapters } from '../services/adapters.ts';
import { writeSwarmFile } from '../swarm-file.ts';
import { adapterCommand } from './adapter.ts';
import { modelCommand } from './model.ts';

const root = mkdtempSync(join(tmpdir(), 'adapter-cli-'));
const { config, hash } = await loadModelDirectory(shippedBase());
const base = { config, hash, name: 'base' };
const ID = `0x${'ab'.repeat(32)}` as const;

const adapterOf = (rank: number, scale: number): Adapter => {
  const length = layoutSize(loraLayout(config, rank));
  return { rank, alpha: 16, parameters: Float32Array.from({ length }, (_, i) => scale * (i % 7)) };
};
const onChain = adapterOf(2, 0.5);
const bytesOf = ({ parameters }: Adapter) => new Uint8Array(parameters.buffer);

/** A node as the commands see it; `pins` is what its engine was told. */
async function node(name: string) {
  const pins: [string, boolean][] = [];
  const adapters = openAdapters({
    dataDir: join(root, name),
    base,
    baseHash: toHex(hash),
    registered: async () => [
      {
        ...{ adapterId: ID, adapterHash: adapterHashOf(bytesOf(onChain)), name: 'weir' },
        ...{ owner: `0x${'01'.repeat(20)}`, registeredAt: 1, isRegistered: true },
      },
    ],
    pin: (id, isPinned) => pins.push([id, isPinned]),
    load: async () => onChain,
    nowMs: () => 1_000,
  });
  const server = fastify();
  const parts = { token: 'secret', baseHash: toHex(hash), adapters };
  addControl(server, parts as unknown as ControlParts);
  const api = await server.listen({ host: '127.0.0.1', port: 0 });
  after(() => server.close());
  return { name, api, adapters, pins };
}

const nodes = [await node('one'), await node('two')] as const;
after(() => rmSync(root, { recursive: true }));
writeSwarmFile(join(root, 'swarm.json'), {
  ...{ version: 1, preset: 'local', chainId: 901, rpc: '', gateway: nodes[0].api, token: 'secret' },
  nodes: nodes.map(({ name, api }) => ({ name, api, peerId: name, address: '0x' })),
  deployment: {},
});

async function run(...args: string[]): Promise<void> {
  const program = new Command().option('--data-dir <dir>', '', root).option('--json', '', true);
  program.addCommand(adapterCommand()).addCommand(modelCommand());
  await program.parseAsync(args, { from: 'user' });
}
const names = async ({ adapters }: { adapters: Adapters }) =>
  (await adapters.list()).map(({ name }) => name);
async function peftDirectory(name: string, adapter: Adapter): Promise<string> {
  const folder = join(root, name);
  await writeAdapterDirectory(folder, adapter, base);
  return folder;
}

test('an imported directory is served by every node, exported the same, pinned and removed', async () => {
  const folder = await peftDirectory('mine', adapterOf(3, 0.25));
  await run('adapter', 'import', folder);
  for (const each of nodes) assert.deepEqual(await names(each), ['weir', 'mine']);

  const out = join(root, 'exported');
  await run('adapter', 'export', 'mine', out);
  assert.deepEqual(readdirSync(out), ['adapter_config.json', 'adapter_model.safetensors']);
  for (const file of readdirSync(out))
    assert.ok(readFileSync(join(out, file)).equals(readFileSync(join(folder, file))), file);
  await assert.rejects(run('adapter', 'export', 'mine', out), { code: 'USAGE' });

  await run('adapter', 'pin', 'mine');
  const [view] = (await nodes[1].adapters.list()).filter(({ name }) => name === 'mine');
  assert.equal(view?.pinned, true);
  assert.ok(nodes[1].adapters.own.isPinned(view.adapterId));
  await run('adapter', 'unpin', 'mine');
  const told: [string, boolean][] = [
    [view.adapterId, true],
    [view.adapterId, false],
  ];
  assert.deepEqual(
    nodes.map(({ pins }) => pins),
    [told, told],
  );

  await run('adapter', 'remove', 'mine');
  for (const each of nodes) assert.deepEqual(await names(each), ['weir']);
});

test('an adapter of the chain comes out as a PEFT directory and cannot come in as another', async () => {
  const out = join(root, 'weir');
  await run('adapter', 'export', ID, out);
  assert.deepEqual(await readAdapterDirectory(out, base), onChain);
  await assert.rejects(run('adapter', 'import', out, '--name', 'copy'), /ADAPTER_KNOWN.*base:weir/);
  await assert.rejects(run('adapter', 'remove', 'weir'), /NOT_FOUND/);
  await assert.rejects(run('adapter', 'export', 'nope', join(root, 'nope')), /NOT_FOUND/);
});

test('what one node refuses is kept by none', async () => {
  const folder = await peftDirectory('half', adapterOf(1, 0.125));
  const { weights, config: text } = {
    weights: readFileSync(join(folder, 'adapter_model.safetensors')),
    config: readFileSync(join(folder, 'adapter_config.json'), 'utf8'),
  };
  await nodes[1].adapters.add('half', { config: text, weights }, false);
  await assert.rejects(run('adapter', 'import', folder), /ADAPTER_KNOWN/);
  assert.deepEqual(await names(nodes[0]), ['weir']);
});

test('refusals come before anything is sent, with code, expected and found', async () => {
  const cases = [
    ['ADAPTER_RANK_TOO_LARGE', adapterOf(65, 1), {}],
    ['ADAPTER_DORA_UNSUPPORTED', onChain, { use_dora: true }],
    ['ADAPTER_BIAS_UNSUPPORTED', onChain, { bias: 'lora_only' }],
    ['ADAPTER_MODULES_TO_SAVE_UNSUPPORTED', onChain, { modules_to_save: ['embed_tokens'] }],
    ['ADAPTER_OTHER_BASE', onChain, { openledger_base_sha256: '00'.repeat(32) }],
  ] as const;
  for (const [code, adapter, change] of cases) {
    const folder = await peftDirectory(code, adapter);
    const file = join(folder, 'adapter_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
    await assert.rejects(run('adapter', 'import', folder), (error) => {
      assert.ok(error instanceof ModelError);
      assert.equal(error.code, code);
      assert.ok(error.details.expected !== undefined && error.details.found !== undefined);
      return true;
    });
  }
  const pickled = await peftDirectory('pickled', onChain);
  rmSync(join(pickled, 'adapter_model.safetensors'));
  writeFileSync(join(pickled, 'adapter_model.bin'), 'pickle');
  await assert.rejects(run('adapter', 'import', pickled), { code: 'ADAPTER_FORMAT_UNSUPPORTED' });
  assert.deepEqual(await names(nodes[0]), ['weir']);
});

test('a model is added whole under a name, or not at all', async () => {
  await run('model', 'add', shippedBase(), '--name', 'small');
  const added = await loadModelDirectory(join(root, 'models', 'small'));
  assert.deepEqual(added.hash, hash);
  await assert.rejects(
    run('model', 'add', shippedBase(), '--name', 'small'),
    (error) => error instanceof NodeError && error.code === 'USAGE',
  );
  const cut = join(root, 'cut');
  cpSync(shippedBase(), cut, { recursive: true });
  const weights = join(cut, 'model.safetensors');
  writeFileSync(weights, readFileSync(weights).subarray(0, 100_000));
  await assert.rejects(run('model', 'add', cut), { code: 'SAFETENSORS_TRUNCATED' });
  assert.deepEqual(readdirSync(join(root, 'models')), ['small']);
  await run('model', 'list');
});

test('a GGUF file is added under its own name, with the tokenizer that lies beside it', async () => {
  const folder = join(root, 'downloads');
  mkdirSync(folder);
  const bytes = modelGguf(await loadModelDirectory(shippedBase()), 'BF16');
  writeFileSync(join(folder, 'tiny-bf16.gguf'), bytes);
  writeFileSync(join(folder, 'other.gguf'), bytes.subarray(0, 900));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    copyFileSync(join(shippedBase(), name), join(folder, name));
  }
  await run('model', 'add', join(folder, 'tiny-bf16.gguf'));
  const added = join(root, 'models', 'tiny-bf16');
  const kept = ['tiny-bf16.gguf', 'tokenizer.json', 'tokenizer_config.json'];
  assert.deepEqual(readdirSync(added).sort(), kept);
  assert.deepEqual((await loadModelDirectory(added)).config, config);
  await assert.rejects(run('model', 'add', join(folder, 'other.gguf')), { code: 'GGUF_TRUNCATED' });
  assert.deepEqual(readdirSync(join(root, 'models')).sort(), ['small', 'tiny-bf16']);
});
