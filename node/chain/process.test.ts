import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type ChainClient, connectChain } from './client.ts';
import { CHAIN_EXIT_CODES, ChainError, chainExitCode } from './errors.ts';
import { openOutbox } from './outbox.ts';
import type { ChainProcessOptions } from './process.ts';
import { CHAIN_ID, counterContract, FAUCET, openLine, STRANGER } from './testing.ts';

const ENTRY = fileURLToPath(new URL('./process.ts', import.meta.url));
const POLYFILL = fileURLToPath(new URL('../../bin/polyfill.mjs', import.meta.url));
const GENESIS_WEI = 10n ** 27n;
const FEE_VAULTS = ['19', '1a', '1b', '11'].map((end) => `0x42${end.padStart(38, '0')}`);
const COINBASE = `0x${'00'.repeat(20)}`;

type Ready = { rpc: string; ws: string; chainId: number; blocks: number; replayMs: number };

describe('chain process', () => {
  let dataDir = '';
  const children = new Set<ChildProcess>();
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'chain-process-'));
  });
  const cleanups: { close(): unknown }[] = [];
  afterEach(async () => {
    for (const thing of cleanups.splice(0)) await thing.close();
    for (const child of children) await stop(child, 'SIGKILL');
  });
  after(() => rm(dataDir, { recursive: true }));

  /** Starts the process; `shell` is what bash does before it. */
  function launch(options: Partial<ChainProcessOptions>, shell = 'true'): ChildProcess {
    const full = { dataDir, port: 0, blockMs: 100, faucetKey: FAUCET.privateKey, ...options };
    const run = `import { runChainProcess } from ${JSON.stringify(ENTRY)};
      await runChainProcess(${JSON.stringify(full)});`;
    const node = ['-C', 'source', '--import', POLYFILL, '--import', 'tsx', '--input-type=module'];
    const args = ['-c', `${shell}; exec "$@"`, 'bash', process.execPath, ...node, '-e', run];
    const env = { ...process.env, TSX_DISABLE_CACHE: '1' };
    const child = spawn('bash', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  }

  async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    return (await exited)[0];
  }

  async function ready(child: ChildProcess): Promise<Ready> {
    for await (const chunk of child.stdout!) return JSON.parse(String(chunk));
    throw new Error('The chain process ended before it was ready');
  }

  /** Exit code and the error line of a process that ends by itself. */
  async function ended(child: ChildProcess) {
    let text = '';
    child.stderr!.on('data', (chunk) => {
      text += String(chunk);
    });
    const [code] = await once(child, 'close');
    const line = text.split('\n').find((candidate) => candidate.startsWith('error[')) ?? '';
    const [, error, message = ''] = /^error\[([A-Z_]+)\]: (.*)$/.exec(line) ?? [];
    return { code, error, message };
  }

  it('says when it is ready, ends cleanly on a signal and starts again where it was', async () => {
    let head = { number: 0, hash: '' };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const child = launch({});
      const { rpc, chainId } = await ready(child);
      assert.equal(chainId, CHAIN_ID);
      const client = await connect(rpc);
      if (head.hash !== '') assert.equal((await client.block(head.number)).hash, head.hash);
      await client.waitForBlock((await client.blockNumber()) + 2);
      head = await client.block('latest');
      client.close();
      assert.equal(await stop(child, signal), 0);
    }
  });

  it('CHAIN_LOCKED, CHAIN_PORT_IN_USE, CHAIN_ID_MISMATCH: one line and an exit code each', async () => {
    const { rpc } = await ready(launch({}));
    const [locked, taken] = await Promise.all([
      ended(launch({})),
      ended(launch({ dataDir: join(dataDir, 'b'), port: Number(new URL(rpc).port) })),
    ]);
    assert.deepEqual([locked.code, locked.error], [21, 'CHAIN_LOCKED']);
    assert.match(locked.message, /is held by process \d+: stop that process/);
    assert.deepEqual([taken.code, taken.error], [20, 'CHAIN_PORT_IN_USE']);
    for (const child of children) await stop(child, 'SIGTERM');
    const other = await ended(launch({ chainId: 5 }));
    assert.deepEqual([other.code, other.error], [22, 'CHAIN_ID_MISMATCH']);
  });

  it('CHAIN_JOURNAL_CORRUPT: exits with its code and leaves the files alone', async () => {
    const own = join(dataDir, 'corrupt');
    await stop((await launchReady({ dataDir: own })).child, 'SIGTERM');
    const journal = join(own, 'chain', 'journal');
    const bytes = await readFile(journal);
    bytes[60]! ^= 1;
    for (const file of [journal, `${journal}.bak`]) await writeFile(file, bytes);
    const result = await ended(launch({ dataDir: own }));
    assert.deepEqual([result.code, result.error], [24, 'CHAIN_JOURNAL_CORRUPT']);
    assert.match(result.message, /Entry 0 of .*journal/);
    assert.deepEqual(await readFile(journal), bytes);
  });

  it('CHAIN_DISK_FULL: stops sealing, exits with its code, and loses nothing that was seen', async () => {
    const own = join(dataDir, 'full');
    const limited = launch({ dataDir: own, sealOnTransaction: true }, 'ulimit -f 64');
    const end = ended(limited);
    const { rpc } = await ready(limited);
    let target = rpc;
    const line = await openLine(
      () => target,
      () => 'none',
    );
    const client = await connect(line.rpcUrl, FAUCET.privateKey);
    const outbox = await openOutbox(client, join(dataDir, 'full-outbox'));
    cleanups.push(outbox, client, line);
    const big = (n: number) => ({
      key: `big/${n}`,
      to: STRANGER.address,
      data: `0x${'00'.repeat(12_000)}`,
      valueWei: 1n,
      gasLimit: 300_000n,
    });
    const receipts = [];
    const attempts = [0, 1, 2, 3, 4, 5].map((n) => outbox.submit(big(n)));
    const settled = Promise.allSettled(attempts);
    const { code, error, message } = await end;
    assert.deepEqual([code, error], [23, 'CHAIN_DISK_FULL']);
    assert.match(message, /No space to write .*journal.*: free some, then start again/);
    const restarted = await launchReady({ dataDir: own, sealOnTransaction: true });
    assert.ok(restarted.ready.blocks >= 2);
    target = restarted.ready.rpc;
    for (const result of await settled) {
      assert.equal(
        result.status,
        'fulfilled',
        'the outbox brings all of them in after the restart',
      );
      receipts.push(result.value);
    }
    assert.equal(await client.balance(STRANGER.address), 6n);
    assert.equal(new Set(receipts.map(({ hash }) => hash)).size, 6);
  });

  it('killed over and over under load, it loses and repeats nothing', async (t) => {
    const own = join(dataDir, 'killed');
    const { abi, bytecode } = counterContract();
    const options = { dataDir: own, blockMs: 50 };
    let { child, ready: first } = await launchReady(options);
    let target = first.rpc;
    const line = await openLine(
      () => target,
      () => 'none',
    );
    const client = await connect(line.rpcUrl, FAUCET.privateKey);
    const outbox = await openOutbox(client, join(dataDir, 'killed-outbox'));
    cleanups.push(outbox, client, line);
    const deploy = { key: 'deploy', to: null, data: bytecode, valueWei: 0n };
    const address = (await outbox.submit(deploy)).contractAddress!;
    const keyOf = (n: number) => `0x${n.toString(16).padStart(64, '0')}`;
    const act = (n: number) => ({
      key: `act/${n}`,
      to: address,
      data: abi.encodeFunctionData('act', [keyOf(n), 1n]),
      valueWei: 3n,
      gasLimit: 100_000n,
    });

    const total = 160;
    let next = 0;
    const receipts = new Map<number, { hash: string; blockHash: string; blockNumber: number }>();
    const worker = async () => {
      for (let n = next++; n < total; n = next++) receipts.set(n, await outbox.submit(act(n)));
    };
    const load = Promise.all(Array.from({ length: 8 }, worker));
    const restartsMs: number[] = [];
    for (const seenAtKill of [5, 25, 50, 80, 115]) {
      // Should the load fail, it says why here.
      const blocks = async () => {
        while (receipts.size < seenAtKill) {
          await client.waitForBlock((await client.blockNumber()) + 1);
        }
      };
      await Promise.race([blocks(), load]);
      await stop(child, 'SIGKILL');
      const restarted = await launchReady(options);
      target = restarted.ready.rpc;
      child = restarted.child;
      restartsMs.push(restarted.ready.replayMs);
    }
    await load;

    const numbers = Array.from({ length: total }, (_, n) => n);
    for (const n of numbers) {
      const { hash, blockNumber, blockHash } = receipts.get(n)!;
      assert.equal((await client.block(blockNumber)).hash, blockHash);
      const again = await outbox.submit(act(n));
      assert.equal(again.hash, hash);
    }
    const times = await client.calls(
      numbers.map((n) => ({ to: address, data: abi.encodeFunctionData('times', [keyOf(n)]) })),
    );
    assert.deepEqual(
      times.map(Number),
      numbers.map(() => 1),
    );
    const count = await client.request('eth_getTransactionCount', [FAUCET.address, 'latest']);
    assert.equal(Number(count), total + 1);
    const holders = [FAUCET.address, address, COINBASE, ...FEE_VAULTS];
    const balances = await Promise.all(holders.map((holder) => client.balance(holder)));
    assert.equal(
      balances.reduce((sum, wei) => sum + wei, 0n),
      GENESIS_WEI,
    );
    assert.equal(balances[1], 3n * BigInt(total));
    t.diagnostic(`replay after each kill, ms: ${restartsMs.join(', ')}`);
  });

  it('has one exit code per failure that an operator can act on', () => {
    const codes = Object.values(CHAIN_EXIT_CODES);
    assert.equal(new Set(codes).size, codes.length);
    const details = { blockNumber: 1, expected: '', found: '' };
    assert.equal(chainExitCode(new ChainError('CHAIN_REPLAY_DIVERGED', '', details)), 25);
    assert.equal(chainExitCode(new ChainError('CHAIN_CLOSED', '', { what: '' })), 1);
    assert.equal(chainExitCode(new Error('unforeseen')), 1);
  });

  async function launchReady(options: Partial<ChainProcessOptions>) {
    const child = launch(options);
    return { child, ready: await ready(child) };
  }

  function connect(rpcUrl: string, privateKey: string | null = null): Promise<ChainClient> {
    return connectChain({ rpcUrl, expectedChainId: CHAIN_ID, privateKey, pollMs: 20 });
  }
});
