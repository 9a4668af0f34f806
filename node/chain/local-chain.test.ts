import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { BlockHeader } from './chain-core.ts';
import { systemChainClock } from './clock.ts';
import { ChainError, isChainError } from './errors.ts';
import { openJournal } from './journal.ts';
import { type LocalChain, openLocalChain } from './local-chain.ts';
import { openRecordLog } from './record-log.ts';
import {
  CHAIN_ID,
  FAUCET,
  type ManualClock,
  manualClock,
  STRANGER,
  signedTransfer,
} from './testing.ts';

const START_MS = 1_700_000_000_250;
const SECOND_MS = 1_000;

describe('local chain', () => {
  let dataDir = '';
  let clock: ManualClock = manualClock(START_MS);
  let chains: LocalChain[] = [];
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'local-chain-'));
    clock = manualClock(START_MS);
  });
  afterEach(async () => {
    await Promise.all(chains.map((chain) => chain.close()));
    chains = [];
    await rm(dataDir, { recursive: true });
  });

  async function open(changes: Partial<Parameters<typeof openLocalChain>[0]> = {}) {
    const chain = await openLocalChain({
      dataDir,
      chainId: CHAIN_ID,
      blockMs: SECOND_MS,
      alloc: [{ address: FAUCET.address, balanceWei: 10n ** 27n }],
      sealOnTransaction: false,
      clock,
      ...changes,
    });
    chains.push(chain);
    return chain;
  }

  async function close(chain: LocalChain) {
    chains = chains.filter((other) => other !== chain);
    await chain.close();
  }

  /** Lets time pass second by second, as a running process sees it. */
  async function pass(chain: LocalChain, seconds: number, stepSeconds = 1) {
    for (let left = seconds; left > 0; left -= stepSeconds) {
      clock.set(clock.nowMs() + Math.min(left, stepSeconds) * SECOND_MS);
      while (!clock.isArmed) await chain.request('eth_blockNumber', []);
    }
  }

  async function ask<T>(chain: LocalChain, method: string, ...params: unknown[]): Promise<T> {
    const reply = await chain.request(method, params);
    assert.ok(reply.ok, JSON.stringify(reply));
    return reply.result as T;
  }

  async function blocks(chain: LocalChain): Promise<BlockHeader[]> {
    const head = Number(await ask(chain, 'eth_blockNumber'));
    const numbers = Array.from({ length: head + 1 }, (_, n) => `0x${n.toString(16)}`);
    return Promise.all(
      numbers.map((n) => ask<BlockHeader>(chain, 'eth_getBlockByNumber', n, false)),
    );
  }

  async function send(chain: LocalChain, raw: string): Promise<string> {
    const reply = await chain.sendRaw(raw);
    assert.ok(reply.ok, JSON.stringify(reply));
    return reply.result as string;
  }

  it('seals a block a second, with its own time and randomness, and a fee that never moves', async () => {
    const chain = await open();
    await pass(chain, 5);
    await send(chain, await signedTransfer(FAUCET, 0));
    await pass(chain, 1);
    const all = await blocks(chain);
    assert.equal(all.length, 7);
    assert.deepEqual(
      all.map((block) => Number(block.timestamp)),
      [0, 1, 2, 3, 4, 5, 6].map((n) => 1_700_000_000 + n),
    );
    assert.equal(new Set(all.map((block) => block['mixHash'])).size, 7);
    assert.ok(all.every((block) => block['baseFeePerGas'] === '0xf4240'));
    assert.equal(all[6]?.transactions.length, 1);
  });

  it('replays to the identical blocks after a clean end', async () => {
    const chain = await open();
    await pass(chain, 20);
    for (let nonce = 0; nonce < 6; nonce += 1) {
      await send(chain, await signedTransfer(FAUCET, nonce));
      await pass(chain, nonce);
    }
    const before = await blocks(chain);
    await close(chain);
    const again = await open();
    assert.deepEqual(await blocks(again), before);
    assert.equal(again.opened.transactions, 6);
    assert.equal(await ask(again, 'eth_getBalance', STRANGER.address, 'latest'), '0x6');
  });

  it('replays whatever was seen to the identical blocks after a kill, idle blocks too', async () => {
    const chain = await open();
    const seen: BlockHeader[][] = [];
    for (let nonce = 0; nonce < 5; nonce += 1) {
      await send(chain, await signedTransfer(FAUCET, nonce));
      // Reading the pending state while blocks are sealed must not change what is sealed.
      const reading = Promise.all(
        Array.from({ length: 20 }, () => chain.request('eth_getBlockByNumber', ['pending', true])),
      );
      await pass(chain, 1 + nonce * 7);
      await reading;
      seen.push(await blocks(chain));
      await cp(dataDir, join(dataDir, '..', `killed-${nonce}`), { recursive: true });
    }
    for (const [nonce, blocksSeen] of seen.entries()) {
      const killed = join(dataDir, '..', `killed-${nonce}`);
      await rm(join(killed, 'lock'));
      const again = await open({ dataDir: killed });
      assert.deepEqual((await blocks(again)).slice(0, blocksSeen.length), blocksSeen);
      await close(again);
      await rm(killed, { recursive: true });
    }
  });

  it('goes on after several kills in a row from the one history', async () => {
    let seen: BlockHeader[] = [];
    for (let life = 0; life < 4; life += 1) {
      const chain = await open();
      const now = await blocks(chain);
      assert.deepEqual(now.slice(0, seen.length), seen);
      await send(chain, await signedTransfer(FAUCET, life));
      await pass(chain, 3);
      seen = await blocks(chain);
      const copy = await mkdtemp(join(tmpdir(), 'local-chain-'));
      await cp(dataDir, copy, { recursive: true });
      await close(chain);
      await rm(dataDir, { recursive: true });
      dataDir = copy;
      await rm(join(dataDir, 'lock'));
      clock.set(clock.nowMs() + 5 * SECOND_MS);
    }
  });

  it('opens within 10 s after 24 hours of idle blocks, having written next to nothing', async (t) => {
    const chain = await open();
    await send(chain, await signedTransfer(FAUCET, 0));
    const day = 86_400;
    await pass(chain, day, 50);
    const head = await ask<BlockHeader>(chain, 'eth_getBlockByNumber', 'latest', false);
    assert.equal(Number(head.number), day);
    await close(chain);
    const journalBytes = (await readFile(join(dataDir, 'journal'))).length;
    assert.ok(journalBytes < 32 * 1024, `${journalBytes} bytes`);
    const again = await open();
    assert.deepEqual(await ask(again, 'eth_getBlockByNumber', 'latest', false), head);
    t.diagnostic(
      `restart after ${day} idle blocks: ${again.opened.replayMs} ms, ${journalBytes} B`,
    );
  });

  it('jumps to the present after having been down, and skips what a sleeping machine missed', async () => {
    const chain = await open();
    await pass(chain, 3);
    await close(chain);
    clock.set(clock.nowMs() + 3_600 * SECOND_MS);
    const again = await open();
    await pass(again, 1);
    let head = await ask<BlockHeader>(again, 'eth_getBlockByNumber', 'latest', false);
    assert.equal(Number(head.timestamp), Math.floor(clock.nowMs() / 1000));
    assert.ok(Number(head.number) <= 6, `${Number(head.number)} blocks`);
    await pass(again, 7_200, 7_200);
    head = await ask<BlockHeader>(again, 'eth_getBlockByNumber', 'latest', false);
    assert.equal(Number(head.timestamp), Math.floor(clock.nowMs() / 1000));
    assert.ok(Number(head.number) <= 8, `${Number(head.number)} blocks`);
    const before = await blocks(again);
    await close(again);
    assert.deepEqual((await blocks(await open())).slice(0, before.length), before);
  });

  it('never lets its time go backwards, whatever the wall clock does', async () => {
    const chain = await open();
    await pass(chain, 10);
    const before = await blocks(chain);
    await close(chain);
    clock = manualClock(START_MS - 3_600 * SECOND_MS);
    const again = await open({ sealOnTransaction: true });
    await send(again, await signedTransfer(FAUCET, 0));
    const head = (await blocks(again)).at(-1);
    assert.ok(Number(head?.timestamp) >= Number(before.at(-1)?.timestamp));
    const floorMs = Date.now() + 60_000;
    assert.ok(systemChainClock(floorMs).nowMs() >= floorMs, 'it starts no earlier than its floor');
  });

  it('seals at once when asked to, sharing a block among what arrives together', async () => {
    const chain = await open({ sealOnTransaction: true });
    const hash = await send(chain, await signedTransfer(FAUCET, 0));
    assert.notEqual(await ask(chain, 'eth_getTransactionReceipt', hash), null);
    const raws = await Promise.all([1, 2, 3].map((nonce) => signedTransfer(FAUCET, nonce)));
    await Promise.all(raws.map((raw) => send(chain, raw)));
    assert.equal(Number(await ask(chain, 'eth_blockNumber')), 2);
    const before = await blocks(chain);
    await close(chain);
    assert.deepEqual(await blocks(await open({ sealOnTransaction: true })), before);
  });

  it('gives a transaction that it knows already, pending or mined, its hash again', async () => {
    const chain = await open();
    const raw = await signedTransfer(FAUCET, 0);
    const hash = await send(chain, raw);
    assert.equal(await send(chain, raw), hash);
    await pass(chain, 1);
    assert.equal(await send(chain, raw), hash);
    await pass(chain, 1);
    assert.equal(await ask(chain, 'eth_getBalance', STRANGER.address, 'latest'), '0x1');
  });

  it('seals what it admitted before it closes', async () => {
    const chain = await open();
    const hash = await send(chain, await signedTransfer(FAUCET, 0));
    await close(chain);
    assert.notEqual(await ask(await open(), 'eth_getTransactionReceipt', hash), null);
  });

  it('admits no transaction above the gas cap of EIP-7825, of another chain, or unfunded', async () => {
    const chain = await open();
    const refused = async (raw: string, pattern: RegExp) => {
      const reply = await chain.sendRaw(raw);
      assert.ok(!reply.ok);
      assert.match(reply.error.message, pattern);
    };
    await refused(
      await signedTransfer(FAUCET, 0, { gasLimit: 16_777_217n }),
      /gas cap of 16777216/,
    );
    await refused(await signedTransfer(FAUCET, 0, { chainId: 5 }), /expected chainId is 901313/);
    await refused(await signedTransfer(STRANGER, 0), /enough funds/);
    await refused('0x1234', /Invalid transaction/);
    await send(chain, await signedTransfer(FAUCET, 0, { gasLimit: 16_777_216n }));
  });

  it('keeps every wei: balances, fee vaults and coinbase add up to what genesis gave', async () => {
    const chain = await open({ sealOnTransaction: true });
    for (let nonce = 0; nonce < 3; nonce += 1)
      await send(chain, await signedTransfer(FAUCET, nonce));
    const holders = [
      FAUCET.address,
      STRANGER.address,
      '0x4200000000000000000000000000000000000019',
      '0x420000000000000000000000000000000000001a',
      '0x0000000000000000000000000000000000000000',
    ];
    const balances = holders.map((a) => ask<string>(chain, 'eth_getBalance', a, 'latest'));
    const sum = (await Promise.all(balances)).reduce((total, wei) => total + BigInt(wei), 0n);
    assert.equal(sum, 10n ** 27n);
  });

  it('CHAIN_LOCKED: a directory serves one process; a dead holder is replaced', async () => {
    const chain = await open();
    await assert.rejects(open(), (error) => {
      assert.ok(isChainError(error, 'CHAIN_LOCKED'));
      assert.equal(error.details.pid, process.pid);
      return true;
    });
    await close(chain);
    for (const stale of ['{"pid":2147483646}', `{"pid":${process.pid},"born":"before"}`, 'torn']) {
      await writeFile(join(dataDir, 'lock'), stale);
      await close(await open());
    }
  });

  it('CHAIN_ID_MISMATCH: names the id that the directory holds', async () => {
    await close(await open());
    await assert.rejects(open({ chainId: 5 }), (error) => {
      assert.ok(isChainError(error, 'CHAIN_ID_MISMATCH'));
      assert.deepEqual(error.details, { expected: '5', found: '901313', where: dataDir });
      return true;
    });
    await close(await open());
  });

  it('CHAIN_JOURNAL_CORRUPT: damage is restored from the mirror, or named when both have it', async () => {
    const chain = await open({ sealOnTransaction: true });
    for (let nonce = 0; nonce < 3; nonce += 1)
      await send(chain, await signedTransfer(FAUCET, nonce));
    const before = await blocks(chain);
    await close(chain);
    const journal = join(dataDir, 'journal');
    const bytes = await readFile(journal);
    bytes[bytes.indexOf('"number":2') + 9]! ^= 1;
    await writeFile(journal, bytes);
    const again = await open();
    assert.deepEqual(again.opened.restoredEntries, [3]);
    assert.deepEqual((await blocks(again)).slice(0, before.length), before);
    await close(again);
    for (const file of [journal, `${journal}.bak`]) await writeFile(file, bytes);
    await assert.rejects(open(), (error) => {
      assert.ok(isChainError(error, 'CHAIN_JOURNAL_CORRUPT'));
      assert.equal(error.details.entry, 3);
      return true;
    });
  });

  it('CHAIN_JOURNAL_CORRUPT: whole entries that do not belong there are named too', async () => {
    const log = await openRecordLog(join(dataDir, 'journal'), 'openledger-chain-journal/1');
    await log.append({ type: 'mark' });
    await log.close();
    await assert.rejects(openJournal(join(dataDir, 'journal')), (error) =>
      isChainError(error, 'CHAIN_JOURNAL_CORRUPT'),
    );
  });

  it('CHAIN_REPLAY_DIVERGED: a journal whose replay gives other hashes is not served', async () => {
    await close(await open());
    const { log, genesis, entries } = await openJournal(join(dataDir, 'journal'));
    await log.close();
    await rm(dataDir, { recursive: true });
    const forged = await openLocalChain({
      dataDir,
      chainId: CHAIN_ID,
      blockMs: SECOND_MS,
      alloc: [],
      sealOnTransaction: false,
      clock,
    });
    await forged.close();
    for (const name of ['journal', 'journal.bak']) await rm(join(dataDir, name));
    const rewritten = await openRecordLog(join(dataDir, 'journal'), 'openledger-chain-journal/1');
    await rewritten.append({ ...genesis, alloc: [] });
    for (const entry of entries) await rewritten.append(entry);
    await rewritten.close();
    await assert.rejects(open(), (error) => {
      assert.ok(isChainError(error, 'CHAIN_REPLAY_DIVERGED'));
      assert.equal(error.details.blockNumber, 0);
      return true;
    });
  });

  it('CHAIN_CLOSED: takes nothing more once closed', async () => {
    const chain = await open();
    await close(chain);
    const reply = await chain.sendRaw(await signedTransfer(FAUCET, 0));
    assert.ok(!reply.ok);
    assert.match(reply.error.message, /The chain was closed/);
    assert.ok(new ChainError('CHAIN_CLOSED', '', { what: 'chain' }) instanceof Error);
  });
});
