/**
 * What an operator can get wrong, and what a machine can do to a node: each is one line with what to
 * do and a documented exit code, and what was there before is there afterwards.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Wallet } from 'ethers';
import {
  assertFailed,
  control,
  groupMembers,
  memberWith,
  type Place,
  place,
  type Running,
  swarmOf,
  until,
  within,
} from './harness.ts';
import { writeBareKey } from './keys.ts';
import { blockFile } from './money.ts';

/** As `openledger --help` documents them. */
const EXIT = {
  failed: 1,
  usage: 2,
  notRunning: 3,
  notFunded: 4,
  portInUse: 20,
  locked: 21,
  wrongChain: 22,
  diskFull: 23,
};
const UP_WITHIN_MS = 120_000;

/** A loopback port that another program listens on. */
async function heldPort(close: (release: () => void) => void): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close(() => server.close());
  const at = server.address();
  assert.ok(at !== null && typeof at === 'object');
  return at.port;
}

test('mistakes and damages, each told in one line, nothing lost', async (t) => {
  const here = place(t);
  const data = join(here.folder, 'swarm');
  const dataDir = `${data}-reduced`;
  const testnet = ['--data-dir', data, 'testnet', '--reduced', '--gateway-port', '0'];

  await t.test('NOT_RUNNING and USAGE need no swarm', async () => {
    const nowhere = await here.run(['--data-dir', join(here.folder, 'none'), 'info']);
    assertFailed(nowhere, { code: /^NOT_RUNNING$/, exit: EXIT.notRunning, says: /fix: / });
    const usage = await here.run(['--data-dir', data, 'chat']);
    assertFailed(usage, { code: /^USAGE$/, exit: EXIT.usage, says: /fix: .*--help/ });
  });

  await t.test('STEP_FAILED: a node that cannot start ends the whole swarm', async () => {
    const folder = join(here.folder, 'broken');
    // No file can be written where a folder is.
    mkdirSync(join(`${folder}-reduced`, 'node-3', 'node.log'), { recursive: true });
    const args = ['--data-dir', folder, 'testnet', '--reduced', '--gateway-port', '0', '--once'];
    const broken = here.start(args);
    const ended = await within(broken.ended, UP_WITHIN_MS, () => 'the broken swarm to end');
    const says = /start of node-3.*read \S*node-3.log/;
    assertFailed(
      { ...ended, out: broken.out, err: broken.err },
      { code: /^STEP_FAILED$/, exit: EXIT.failed, says },
    );
    assert.deepEqual(groupMembers(broken.pid), [], 'no process is left behind');
  });

  const swarm = here.start(testnet);
  await swarm.says(/decided by the curator 1\/1/, UP_WITHIN_MS);
  const joinFile = join(dataDir, 'join.json');
  const up = (folder: string, ...more: readonly string[]) =>
    here.run(['--data-dir', join(here.folder, folder), 'up', '--swarm', joinFile, ...more], {
      withinMs: 90_000,
    });

  await t.test('CHAIN_UNFUNDED: a key without OPEN', async () => {
    assertFailed(await up('poor'), {
      code: /^CHAIN_UNFUNDED$/,
      exit: EXIT.notFunded,
      says: /send it/,
    });
  });

  await t.test('CHAIN_ID_MISMATCH: another chain than the file names', async () => {
    const joined = JSON.parse(readFileSync(joinFile, 'utf8')) as Record<string, unknown>;
    const wrong = join(here.folder, 'wrong.json');
    writeFileSync(wrong, JSON.stringify({ ...joined, chainId: 1 }));
    const args = ['--data-dir', join(here.folder, 'lost'), 'up', '--swarm', wrong];
    const refused = await here.run(args, { withinMs: 90_000 });
    assertFailed(refused, {
      code: /^CHAIN_ID_MISMATCH$/,
      exit: EXIT.wrongChain,
      says: /correct the address/,
    });
  });

  await t.test('a truncated model.safetensors', async () => {
    const base = join(here.folder, 'base');
    cpSync(join(process.cwd(), 'runtime', 'base'), base, { recursive: true });
    const weights = join(base, 'model.safetensors');
    truncateSync(weights, statSync(weights).size - 1_000);
    assertFailed(await up('cut', '--base', base), {
      code: /^(MODEL|SAFETENSORS)_/,
      exit: EXIT.failed,
    });
  });

  await t.test('API_PORT_IN_USE and NETWORK_PORT_IN_USE', async () => {
    const port = String(await heldPort((release) => t.after(release)));
    const folder = join(here.folder, 'second');
    const key = new Uint8Array(randomBytes(32));
    writeBareKey(join(folder, 'key.json'), key);
    const { address } = JSON.parse(readFileSync(join(folder, 'key.json'), 'utf8')) as {
      address: string;
    };
    const { gateway, token } = swarmOf(dataDir);
    const amountWei = `${3n * 10n ** 20n}`;
    await control(gateway, token, '/swarm/v1/faucet', { account: address, amountWei });
    const says = /choose another/;
    const peers = await up('second', '--port', port);
    assertFailed(peers, { code: /^NETWORK_PORT_IN_USE$/, exit: EXIT.portInUse, says });
    const api = await up('second', '--api-port', port);
    assertFailed(api, { code: /^API_PORT_IN_USE$/, exit: EXIT.portInUse, says });
  });

  await t.test('DATA_DIR_LOCKED: a second swarm on the same folder', async () => {
    const second = await here.run(testnet, { withinMs: 30_000 });
    assertFailed(second, {
      code: /^DATA_DIR_LOCKED$/,
      exit: EXIT.locked,
      says: /stop process \d+/,
    });
  });

  await t.test('a corrupt block is noticed, fetched again, and whole', async () => {
    const victim = join(dataDir, 'node-2');
    const block = await firstContributionBlock(dataDir, victim);
    const before = readFileSync(block);
    const pid = memberWith(swarm.pid, 'up', 'node-2');
    const damaged = Buffer.from(before);
    damaged[0] = (damaged[0] ?? 0) ^ 0xff;
    process.kill(pid, 'SIGKILL');
    writeFileSync(block, damaged);
    await until(() => sha(readFileIfThere(block)) === sha(before), 90_000, 'the block to be whole');
    assert.match(readFileSync(join(victim, 'node.log'), 'utf8'), /blockCorrupt/);
  });

  await t.test('CHAIN_DISK_FULL: a chain without room loses no block', async () => {
    swarm.signal('SIGINT');
    await within(swarm.ended, 60_000, () => 'the swarm to end');
    await fillDisk(here, dataDir);
  });
});

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const readFileIfThere = (file: string): Uint8Array => {
  try {
    return readFileSync(file);
  } catch {
    return new Uint8Array();
  }
};

/** The file of a block that every node keeps: the manifest of the first contribution. */
async function firstContributionBlock(dataDir: string, nodeDir: string): Promise<string> {
  const { gateway, token } = swarmOf(dataDir);
  const path = '/swarm/v1/contributions/1';
  const { manifest } = await control<{ manifest: `0x${string}` }>(gateway, token, path);
  const file = blockFile(nodeDir, manifest);
  await until(() => existsSync(file), 60_000, 'the node to hold the contribution');
  return file;
}

/** Runs the chain where files cannot grow by more than a few KiB, then again where they can. */
async function fillDisk(here: Place, dataDir: string): Promise<void> {
  const limitKb = Math.ceil(statSync(join(dataDir, 'chain', 'journal')).size / 1024) + 8;
  const chain = ['--data-dir', dataDir, 'chain', '--port', '0', '--block-ms', '100'];
  const full = here.start([process.execPath, 'bin/openledger.mjs', ...chain], {
    program: ['bash', '-c', `ulimit -f ${limitKb}; exec "$0" "$@"`],
  });
  const mined = await sendUntilFull(await rpcOf(full), dataDir);
  const { code } = await within(full.ended, 60_000, () => 'the chain to end');
  assert.equal(code, EXIT.diskFull, full.err.join('\n'));
  assert.match(full.err.join('\n'), /^error\[CHAIN_DISK_FULL\]: .*free some/m);
  const again = here.start(chain);
  const rpc = await rpcOf(again);
  assert.ok(mined.length > 0, 'some transactions found room');
  for (const hash of mined)
    assert.ok((await ask(rpc, 'eth_getTransactionReceipt', [hash])) !== null, `${hash} is there`);
  again.signal('SIGTERM');
  assert.equal((await again.ended).code, 0);
}

const rpcOf = async (chain: Running): Promise<string> =>
  (JSON.parse(await chain.says(/^\{/, 60_000)) as { rpc: string }).rpc;

/** One call over plain HTTP; ethers would go on asking a chain that is gone. */
async function ask<Result>(rpc: string, method: string, params: readonly unknown[]) {
  const response = await fetch(rpc, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    signal: AbortSignal.timeout(10_000),
  });
  const { result, error } = (await response.json()) as { result: Result; error?: unknown };
  if (error !== undefined) throw new Error(JSON.stringify(error));
  return result;
}

const PAYLOAD = `0x${'5a'.repeat(1_500)}`;
const SENDS_MAX = 64;

/** Sends transactions one after the other; returns those that were mined before the chain gave up. */
async function sendUntilFull(rpc: string, dataDir: string): Promise<string[]> {
  const wallet = new Wallet(readFileSync(join(dataDir, 'chain', 'faucet.key'), 'utf8').trim());
  const first = Number(
    await ask<string>(rpc, 'eth_getTransactionCount', [wallet.address, 'latest']),
  );
  const mined: string[] = [];
  try {
    for (let sent = 0; sent < SENDS_MAX; sent += 1) {
      const raw = await wallet.signTransaction({
        type: 2,
        chainId: 901_313,
        nonce: first + sent,
        to: wallet.address,
        data: PAYLOAD,
        gasLimit: 200_000,
        maxFeePerGas: 10n ** 11n,
        maxPriorityFeePerGas: 1n,
      });
      const hash = await ask<string>(rpc, 'eth_sendRawTransaction', [raw]);
      await until(() => ask(rpc, 'eth_getTransactionReceipt', [hash]), 10_000, 'a block');
      mined.push(hash);
    }
  } catch {
    return mined;
  }
  throw new Error('the disk was never full');
}
