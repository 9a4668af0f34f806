import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { isChainError } from './errors.ts';
import { type RunningChain, startChain } from './process.ts';
import { MAX_BATCH_CALLS } from './rpc.ts';
import { MAX_REQUEST_BYTES, startChainServer } from './server.ts';
import { FAUCET, signedTransfer } from './testing.ts';

describe('chain server', () => {
  let dataDir = '';
  let running: RunningChain;
  let nonce = 0;
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'chain-server-'));
    running = await startChain({
      dataDir,
      port: 0,
      sealOnTransaction: true,
      faucetKey: FAUCET.privateKey,
    });
  });
  after(async () => {
    await running.close();
    await rm(dataDir, { recursive: true });
  });

  async function post(body: string) {
    const headers = { 'content-type': 'application/json' };
    return fetch(running.rpcUrl, { method: 'POST', headers, body });
  }
  const call = (id: number, method: string, ...params: unknown[]) => ({
    jsonrpc: '2.0',
    id,
    method,
    params,
  });
  async function ask(method: string, ...params: unknown[]) {
    return (await post(JSON.stringify(call(1, method, ...params)))).json();
  }
  const transfer = () => {
    nonce += 1;
    return signedTransfer(FAUCET, nonce - 1);
  };

  it('answers single calls and batches, each with its id', async () => {
    assert.deepEqual(await ask('eth_chainId'), { jsonrpc: '2.0', id: 1, result: '0xdc0c1' });
    const batch = [call(7, 'eth_chainId'), call(8, 'net_version'), { method: 'eth_chainId' }];
    const answers = await (await post(JSON.stringify(batch))).json();
    assert.deepEqual(answers, [
      { jsonrpc: '2.0', id: 7, result: '0xdc0c1' },
      { jsonrpc: '2.0', id: 8, result: '901313' },
    ]);
    assert.equal((await post(JSON.stringify({ method: 'eth_chainId' }))).status, 204);
  });

  it('lets strangers neither mine, nor mint, nor sign', async () => {
    for (const method of [
      'hardhat_mine',
      'hardhat_setBalance',
      'evm_mine',
      'evm_setNextBlockTimestamp',
      'debug_traceTransaction',
      'eth_sendTransaction',
      'eth_sign',
      'constructor',
      '',
    ]) {
      assert.equal((await ask(method)).error.code, -32601, method);
    }
  });

  it('refuses what is not JSON-RPC with the code that says so', async () => {
    const codeOf = async (body: unknown) => {
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      return (await (await post(text)).json()).error.code;
    };
    assert.equal(await codeOf('{'), -32700);
    assert.equal(await codeOf([]), -32600);
    assert.equal(await codeOf(Array(MAX_BATCH_CALLS + 1).fill(call(1, 'eth_chainId'))), -32600);
    assert.equal(await codeOf({ id: {}, method: 'eth_chainId' }), -32600);
    assert.equal(await codeOf({ id: 1, method: 'eth_chainId', params: {} }), -32600);
    assert.equal(await codeOf('5'), -32600);
    assert.equal(await codeOf(call(1, 'eth_sendRawTransaction', 5)), -32602);
    assert.equal(await codeOf(call(1, 'eth_getBalance', 'nonsense')), -32602);
    assert.equal((await fetch(running.rpcUrl)).status, 405);
    const huge = await post(`"${'x'.repeat(MAX_REQUEST_BYTES)}"`);
    assert.equal(huge.status, 413);
  });

  it('does not answer a page that reached it under another name', async () => {
    const status = await new Promise((resolve, reject) => {
      const headers = { host: 'attacker.example' };
      httpRequest(running.rpcUrl, { method: 'POST', headers }, (r) => resolve(r.statusCode))
        .on('error', reject)
        .end('{}');
    });
    assert.equal(status, 403);
  });

  it('shows reverts as Ethereum clients expect them', async () => {
    const reverting = { data: '0x63deadbeef6000526004601cfd' };
    const expected = { code: 3, message: 'execution reverted', data: '0xdeadbeef' };
    assert.deepEqual((await ask('eth_call', reverting, 'latest')).error, expected);
    assert.deepEqual((await ask('eth_estimateGas', reverting)).error, expected);
  });

  it('quotes the fixed fee, and gives the receipts of a block', async () => {
    assert.equal((await ask('eth_gasPrice')).result, '0xf4240');
    assert.equal((await ask('eth_maxPriorityFeePerGas')).result, '0x0');
    const { result: hash } = await ask('eth_sendRawTransaction', await transfer());
    const { result: receipts } = await ask('eth_getBlockReceipts', 'latest');
    assert.equal(receipts[0].transactionHash, hash);
    assert.equal((await ask('eth_getBlockReceipts', '0xffffff')).result, null);
  });

  it('tells WebSocket subscribers of heads and logs, until they unsubscribe', async () => {
    const socket = new WebSocket(running.wsUrl);
    await once(socket, 'open');
    const messages: { id?: number; result?: string; params?: { subscription: string } }[] = [];
    const until = (isDone: () => boolean) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (isDone()) resolve();
        };
        socket.on('message', check);
        check();
      });
    const arrived = (count: number) => until(() => messages.length >= count);
    socket.on('message', (data) => messages.push(JSON.parse(String(data))));
    socket.send(JSON.stringify(call(1, 'eth_subscribe', 'newHeads')));
    await arrived(1);
    socket.send(
      JSON.stringify(call(2, 'eth_subscribe', 'logs', { topics: [`0x${'00'.repeat(31)}2a`] })),
    );
    socket.send(JSON.stringify(call(3, 'eth_subscribe', 'everything')));
    await arrived(3);
    const refusal = messages.find(({ id }) => id === 3);
    assert.ok(refusal !== undefined && 'error' in refusal);
    const [heads, logs] = [1, 2].map((id) => messages.find((m) => m.id === id)?.result);
    // Deployment code that emits one log with topic 42 and no data, then returns empty code.
    nonce += 1;
    const deploy = await FAUCET.signTransaction({
      type: 2,
      chainId: running.chainId,
      nonce: nonce - 1,
      data: '0x602a60006000a160006000f3',
      gasLimit: 100_000n,
      maxFeePerGas: 2_000_000n,
      maxPriorityFeePerGas: 0n,
    });
    await ask('eth_sendRawTransaction', deploy);
    await arrived(5);
    const noticed = messages.flatMap((m) => (m.params === undefined ? [] : [m.params]));
    const log = noticed.find(({ subscription }) => subscription === logs);
    assert.ok(noticed.some(({ subscription }) => subscription === heads));
    assert.ok(log !== undefined && JSON.stringify(log).includes('2a"'));
    socket.send(JSON.stringify(call(9, 'eth_unsubscribe', heads)));
    await until(() => messages.some(({ id }) => id === 9));
    socket.terminate();
  });

  it('lets a request that comes before the chain is open wait for it', async () => {
    const server = await startChainServer(0);
    const url = `http://127.0.0.1:${server.port}`;
    const body = JSON.stringify(call(1, 'eth_chainId'));
    const early = fetch(url, { method: 'POST', body });
    server.serve(running.chain);
    assert.equal((await (await early).json()).result, '0xdc0c1');
    await server.close();
  });

  it('CHAIN_PORT_IN_USE: names the port', async () => {
    const port = Number(new URL(running.rpcUrl).port);
    await assert.rejects(startChain({ dataDir: join(dataDir, 'other'), port }), (error) => {
      assert.ok(isChainError(error, 'CHAIN_PORT_IN_USE'));
      assert.deepEqual(error.details, { port });
      return true;
    });
  });
});
