import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { type HDNodeWallet, Wallet } from 'ethers';
import { type ChainClient, connectChain } from './client.ts';
import { isChainError } from './errors.ts';
import { type Outbox, openOutbox } from './outbox.ts';
import { type RunningChain, startChain } from './process.ts';
import { CHAIN_ID, counterContract, FAUCET, openLine, signedTransfer } from './testing.ts';

const keyBytes = (n: number) => `0x${n.toString(16).padStart(64, '0')}`;

describe('outbox', () => {
  const { abi, bytecode } = counterContract();
  let dir = '';
  let running: RunningChain;
  let address = '';
  let faucet: Outbox;
  let wallet: HDNodeWallet = Wallet.createRandom();
  let path = '';
  const opened: { close(): unknown }[] = [];

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'outbox-'));
    const options = { dataDir: dir, port: 0, blockMs: 40, faucetKey: FAUCET.privateKey };
    running = await startChain(options);
    faucet = await openOutbox(await connect(FAUCET.privateKey), join(dir, 'faucet'));
    const deploy = { key: 'deploy', to: null, data: bytecode, valueWei: 0n };
    address = (await faucet.submit(deploy)).contractAddress!;
  });
  after(async () => {
    await faucet.close();
    await running.close();
    await rm(dir, { recursive: true });
  });
  beforeEach(async () => {
    wallet = Wallet.createRandom();
    path = join(dir, wallet.address);
    const to = wallet.address;
    await faucet.submit({ key: `fund/${to}`, to, data: '0x', valueWei: 10n ** 18n });
  });
  afterEach(async () => {
    for (const thing of opened.splice(0).reverse()) await thing.close();
  });

  async function connect(privateKey: string, rpcUrl = running.rpcUrl): Promise<ChainClient> {
    const contracts = [{ name: 'Counter', address, abi }];
    return connectChain({ rpcUrl, expectedChainId: CHAIN_ID, privateKey, pollMs: 10, contracts });
  }

  async function open(at = path, rpcUrl = running.rpcUrl) {
    const client = await connect(wallet.privateKey, rpcUrl);
    const outbox = await openOutbox(client, at);
    opened.push(client, outbox);
    return outbox;
  }

  const act = (n: number, amount = 1n) => ({
    key: `act/${n}`,
    to: address,
    data: abi.encodeFunctionData('act', [keyBytes(n), amount]),
    valueWei: 0n,
  });

  async function times(n: number): Promise<number> {
    const client = await connect(FAUCET.privateKey);
    const data = abi.encodeFunctionData('times', [keyBytes(n)]);
    const result = Number(await client.call({ to: address, data }));
    client.close();
    return result;
  }

  it('does an action once, however often and however concurrently it is asked', async () => {
    const outbox = await open();
    assert.equal(outbox.status('act/1'), 'unknown');
    const receipts = await Promise.all([1, 2, 3].map(() => outbox.submit(act(1))));
    assert.equal(new Set(receipts.map(({ hash }) => hash)).size, 1);
    assert.equal((await outbox.submit(act(1))).hash, receipts[0]?.hash);
    assert.equal(outbox.status('act/1'), 'done');
    assert.equal(await times(1), 1);
    assert.equal(receipts[0]?.logs.length, 1);
  });

  it('gives the old receipt after a restart', async () => {
    const outbox = await open();
    const receipt = await outbox.submit(act(2));
    for (const thing of opened.splice(0).reverse()) await thing.close();
    assert.deepEqual(await (await open()).submit(act(2)), receipt);
    assert.equal(await times(2), 1);
  });

  it('keeps many actions in flight at once, in the order of submission', async () => {
    const outbox = await open();
    const numbers = Array.from({ length: 30 }, (_, i) => 100 + i);
    const receipts = await Promise.all(
      numbers.map((n) => outbox.submit({ ...act(n), gasLimit: 100_000n })),
    );
    const blocks = receipts.map(({ blockNumber }) => blockNumber);
    assert.deepEqual(
      blocks,
      [...blocks].sort((a, b) => a - b),
    );
    assert.ok(new Set(blocks).size < 30, 'several share a block');
    assert.deepEqual(
      await Promise.all(numbers.map(times)),
      numbers.map(() => 1),
    );
  });

  it('survives a kill after the signature is written and before it is sent', async () => {
    const copy = `${path}-copy`;
    let broken = false;
    const line = await openLine(
      () => running.rpcUrl,
      (methods) => {
        broken ||= methods.includes('eth_sendRawTransaction');
        return broken ? 'lost request' : 'none';
      },
    );
    opened.push(line);
    const outbox = await open(path, line.rpcUrl);
    const lost = outbox.submit(act(3)).catch((error: unknown) => error);
    while (!broken) await new Promise((resolve) => setImmediate(resolve));
    await copyFile(path, copy);
    for (const thing of opened.splice(0)) await thing.close();
    assert.ok(isChainError(await lost, 'CHAIN_CLOSED'));
    assert.equal(await times(3), 0);
    const again = await open(copy);
    assert.deepEqual(again.pending(), ['act/3']);
    await again.submit(act(3));
    assert.equal(await times(3), 1);
  });

  it('survives a kill after it is sent and before its receipt, with the same transaction', async () => {
    const copy = `${path}-copy`;
    let sent = false;
    const line = await openLine(
      () => running.rpcUrl,
      (methods) => {
        if (sent) return 'lost request';
        sent = methods.includes('eth_sendRawTransaction');
        return sent ? 'lost answer' : 'none';
      },
    );
    opened.push(line);
    const outbox = await open(path, line.rpcUrl);
    const lost = outbox.submit(act(4)).catch((error: unknown) => error);
    while ((await times(4)) === 0) await new Promise((resolve) => setImmediate(resolve));
    await copyFile(path, copy);
    for (const thing of opened.splice(0)) await thing.close();
    assert.ok(isChainError(await lost, 'CHAIN_CLOSED'));
    const written = await readFile(copy, 'utf8');
    const { hash } = await (await open(copy)).submit(act(4));
    assert.ok(written.includes(hash));
    assert.equal(await times(4), 1);
  });

  it('sends again what a chain that died had only in memory', async () => {
    const own = join(dir, 'dies');
    const killed = join(dir, 'killed');
    const options = { port: 0, faucetKey: FAUCET.privateKey };
    const alloc = [{ address: wallet.address, balanceWei: 10n ** 18n }];
    const first = await startChain({ ...options, dataDir: own, alloc, blockMs: 60_000 });
    let target = first.rpcUrl;
    let sent = false;
    const line = await openLine(
      () => target,
      (methods) => {
        if (target !== first.rpcUrl) return 'none';
        if (sent) return 'lost request';
        sent = methods.includes('eth_sendRawTransaction');
        return sent ? 'lost answer' : 'none';
      },
    );
    opened.push(line, first);
    const outbox = await open(path, line.rpcUrl);
    const done = outbox.submit({ key: 'pay', to: FAUCET.address, data: '0x', valueWei: 5n });
    for (let count = '0x0'; count !== '0x1'; ) {
      const reply = await first.chain.request('eth_getTransactionCount', [
        wallet.address,
        'pending',
      ]);
      count = reply.ok ? String(reply.result) : '';
    }
    // The files as they are now are what a kill would leave: the transaction is in memory only.
    await mkdir(join(killed, 'chain'), { recursive: true });
    for (const name of ['chain/journal', 'chain/journal.bak']) {
      await copyFile(join(own, name), join(killed, name));
    }
    const second = await startChain({ ...options, dataDir: killed, blockMs: 50 });
    opened.unshift(second);
    assert.equal(second.chain.opened.transactions, 0);
    target = second.rpcUrl;
    const { hash } = await done;
    const receipt = await second.chain.request('eth_getTransactionReceipt', [hash]);
    assert.ok(receipt.ok && receipt.result !== null);
  });

  it('signs anew only when another transaction of the key has taken the nonce', async () => {
    const copy = `${path}-copy`;
    let broken = false;
    const line = await openLine(
      () => running.rpcUrl,
      (methods) => {
        broken ||= methods.includes('eth_sendRawTransaction');
        return broken ? 'lost request' : 'none';
      },
    );
    opened.push(line);
    const outbox = await open(path, line.rpcUrl);
    outbox.submit(act(5)).catch(() => undefined);
    while (!broken) await new Promise((resolve) => setImmediate(resolve));
    await copyFile(path, copy);
    for (const thing of opened.splice(0)) await thing.close();
    await running.chain.sendRaw(await signedTransfer(new Wallet(wallet.privateKey), 0));
    const client = await connect(FAUCET.privateKey);
    await client.waitForBlock((await client.blockNumber()) + 1);
    client.close();
    const receipt = await (await open(copy)).submit(act(5));
    assert.ok(!(await readFile(path, 'utf8')).includes(receipt.hash));
    assert.equal(await times(5), 1);
  });

  it('CHAIN_REVERTED: found by the estimate, it costs nothing and may be tried again', async () => {
    const outbox = await open();
    await assert.rejects(outbox.submit(act(6, 101n)), (error) => {
      assert.ok(isChainError(error, 'CHAIN_REVERTED'));
      const args = ['101', '100'];
      const expected = { contract: 'Counter', error: 'AmountTooLarge', args, hash: null };
      assert.deepEqual(error.details, expected);
      assert.match(error.message, /Counter reverted with AmountTooLarge\(101, 100\)/);
      return true;
    });
    assert.equal(outbox.status('act/6'), 'unknown');
    await outbox.submit(act(6));
  });

  it('CHAIN_REVERTED: in a block, it is stored under its key; another key may be chosen', async () => {
    const outbox = await open();
    const intent = { ...act(7, 101n), gasLimit: 100_000n };
    const isReverted = (error: unknown) =>
      isChainError(error, 'CHAIN_REVERTED') &&
      error.details.error === 'AmountTooLarge' &&
      error.details.hash !== null;
    await assert.rejects(outbox.submit(intent), isReverted);
    for (const thing of opened.splice(0).reverse()) await thing.close();
    const again = await open();
    assert.equal(again.status('act/7'), 'reverted');
    await assert.rejects(again.submit(intent), isReverted);
    const keys: string[] = [];
    const retryKey = (key: string) => {
      keys.push(key);
      return keys.length < 3 ? `act/7/retry-${keys.length}` : null;
    };
    await assert.rejects(again.submit(intent, { retryKey }), isReverted);
    assert.deepEqual(keys, ['act/7', 'act/7/retry-1', 'act/7/retry-2']);
    assert.equal(await times(7), 0);
  });

  it('CHAIN_UNFUNDED: names address, balance and need, and works once funded', async () => {
    const outbox = await open();
    const intent = { key: 'dear', to: FAUCET.address, data: '0x', valueWei: 2n * 10n ** 18n };
    await assert.rejects(outbox.submit(intent), (error) => {
      assert.ok(isChainError(error, 'CHAIN_UNFUNDED'));
      assert.equal(error.details.address, wallet.address);
      assert.equal(error.details.balanceWei, 10n ** 18n);
      assert.ok(error.details.neededWei >= intent.valueWei);
      return true;
    });
    const more = { key: `more/${wallet.address}`, to: wallet.address, data: '0x' };
    await faucet.submit({ ...more, valueWei: 2n * 10n ** 18n });
    await outbox.submit(intent);
  });

  it('CHAIN_UNFUNDED: counts what is still in flight', async () => {
    const outbox = await open();
    const pay = (key: string) => ({
      key,
      to: FAUCET.address,
      data: '0x',
      valueWei: 6n * 10n ** 17n,
    });
    const results = await Promise.allSettled([outbox.submit(pay('a')), outbox.submit(pay('b'))]);
    assert.equal(results[0]?.status, 'fulfilled');
    assert.ok(
      results[1]?.status === 'rejected' && isChainError(results[1].reason, 'CHAIN_UNFUNDED'),
    );
    assert.equal(outbox.status('b'), 'unknown');
  });

  it('CHAIN_KEY_REUSED: one key names one action, now and after a restart', async () => {
    const outbox = await open();
    const first = outbox.submit(act(8));
    const other = { ...act(9), key: 'act/8' };
    const isReused = (error: unknown) => isChainError(error, 'CHAIN_KEY_REUSED');
    await assert.rejects(outbox.submit(other), isReused);
    await first;
    await assert.rejects(outbox.submit(other), isReused);
    assert.equal(await times(9), 0);
  });

  it('CHAIN_REFUSED: a transaction that no block can hold does not block those behind it', async () => {
    const outbox = await open();
    const tooMuch = { ...act(10), gasLimit: 16_777_217n };
    await assert.rejects(outbox.submit(tooMuch), (error) => {
      assert.ok(isChainError(error, 'CHAIN_REFUSED'));
      assert.match(error.details.reason, /gas cap/);
      return true;
    });
    assert.equal(outbox.status('act/10'), 'unknown');
    await outbox.submit(act(10));
    assert.equal(await times(10), 1);
  });

  it('CHAIN_LOCKED: two processes never share an outbox', async () => {
    await open();
    await assert.rejects(open(), (error) => isChainError(error, 'CHAIN_LOCKED'));
  });

  it('CHAIN_ID_MISMATCH: an outbox belongs to one chain and one key', async () => {
    await open();
    for (const thing of opened.splice(0).reverse()) await thing.close();
    wallet = Wallet.createRandom();
    await assert.rejects(open(), (error) => isChainError(error, 'CHAIN_ID_MISMATCH'));
  });

  it('CHAIN_CLOSED: what waits when it closes is told so and stays pending', async () => {
    const line = await openLine(
      () => running.rpcUrl,
      (methods) => (methods.includes('eth_sendRawTransaction') ? 'lost request' : 'none'),
    );
    opened.push(line);
    const outbox = await open(path, line.rpcUrl);
    const waiting = outbox.submit(act(11)).catch((error: unknown) => error);
    while (outbox.status('act/11') === 'unknown') await new Promise((r) => setImmediate(r));
    for (const thing of opened.splice(0)) await thing.close();
    assert.ok(isChainError(await waiting, 'CHAIN_CLOSED'));
    await assert.rejects(outbox.submit(act(12)), (error) => isChainError(error, 'CHAIN_CLOSED'));
    await (await open()).submit(act(11));
    assert.equal(await times(11), 1);
  });

  it('restores a damaged outbox from its mirror', async () => {
    const outbox = await open();
    const receipt = await outbox.submit(act(13));
    for (const thing of opened.splice(0).reverse()) await thing.close();
    const bytes = await readFile(path);
    bytes[bytes.indexOf('act/13')]! ^= 1;
    await writeFile(path, bytes);
    const again = await open();
    assert.deepEqual(again.restored, [1]);
    assert.deepEqual(await again.submit(act(13)), receipt);
    assert.equal(await times(13), 1);
  });
});
