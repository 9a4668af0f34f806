import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Contract, ContractFactory } from 'ethers';
import { type ChainClient, type ChainLog, connectChain } from './client.ts';
import { isChainError } from './errors.ts';
import { type RunningChain, startChain } from './process.ts';
import { CHAIN_ID, counterContract, FAUCET, openLine } from './testing.ts';

const KEY = `0x${'ab'.repeat(32)}`;

describe('chain client', () => {
  const { abi, bytecode } = counterContract();
  let dataDir = '';
  let running: RunningChain;
  let line: Awaited<ReturnType<typeof openLine>>;
  let client: ChainClient;
  let counter: Contract;
  let address = '';
  const start = () =>
    startChain({ dataDir, port: 0, sealOnTransaction: true, faucetKey: FAUCET.privateKey });
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'chain-client-'));
    running = await start();
    line = await openLine(
      () => running.rpcUrl,
      () => 'none',
    );
    const { rpcUrl } = line;
    const privateKey = FAUCET.privateKey;
    client = await connectChain({ rpcUrl, expectedChainId: CHAIN_ID, privateKey, pollMs: 20 });
    const deployed = await new ContractFactory(abi, bytecode, client.signer).deploy();
    address = await deployed.getAddress();
    counter = new Contract(address, abi, client.signer);
    client.knowContracts([{ name: 'Counter', address, abi }]);
  });
  after(async () => {
    client.close();
    await line.close();
    await running.close();
    await rm(dataDir, { recursive: true });
  });
  const act = async (amount: bigint) => {
    await (await counter.getFunction('act').send(KEY, amount)).wait();
  };
  const encode = (name: string, ...args: unknown[]) => abi.encodeFunctionData(name, args);

  it('carries ethers contracts', async () => {
    await act(1n);
    assert.equal(await counter.getFunction('times').staticCall(KEY), 1n);
  });

  it('reads many things in one request', async () => {
    const call = { to: address, data: encode('times', KEY) };
    const [first, second] = await client.calls([call, call]);
    assert.equal(BigInt(first!), 1n);
    assert.equal(first, second);
    assert.ok((await client.balance(FAUCET.address)) > 0n);
    const block = await client.block('latest');
    assert.equal(block.number, await client.blockNumber());
    assert.match(block.prevRandao, /^0x[0-9a-f]{64}$/);
  });

  it('CHAIN_REVERTED: names contract, error and arguments, also of Solidity’s own errors', async () => {
    const reverts = async (data: string, error: string, args: string[]) => {
      await assert.rejects(client.call({ to: address, data }), (thrown) => {
        assert.ok(isChainError(thrown, 'CHAIN_REVERTED'));
        assert.deepEqual(thrown.details, { contract: 'Counter', error, args, hash: null });
        return true;
      });
    };
    await reverts(encode('act', KEY, 101n), 'AmountTooLarge', ['101', '100']);
    await reverts(encode('enter'), 'Error', ['closed']);
    await reverts(encode('boom'), 'Panic', ['1']);
    await reverts('0xffffffff', '', []);
  });

  it('hands over logs once, in order, and resumes where it is told to', async () => {
    await act(2n);
    const whole = await client.logs({ address }, 0);
    assert.equal(whole.logs.length, 2);
    const [first, second] = whole.logs.map((log) => log.blockNumber);
    const rest = await client.logs({ address }, first! + 1);
    assert.deepEqual(
      rest.logs.map((log) => log.blockNumber),
      [second],
    );
    assert.deepEqual(await client.logs({ address }, rest.nextBlock), {
      logs: [],
      nextBlock: rest.nextBlock,
    });
    const ended = new AbortController();
    const followed: ChainLog[] = [];
    const following = client.followLogs(
      { address },
      second!,
      (logs) => {
        followed.push(...logs);
        if (followed.length === 2) ended.abort();
      },
      ended.signal,
    );
    await act(3n);
    await following;
    assert.deepEqual(new Set(followed.map((log) => log.blockNumber)).size, 2);
  });

  it('waits for a chain process that is away, and goes on when it is back', async () => {
    const before = await client.block('latest');
    await running.close();
    const asked = client.block(before.number);
    const waiting = client.waitForBlock(before.number + 1);
    running = await start();
    assert.deepEqual(await asked, before);
    await waiting;
  });

  it('CHAIN_UNREACHABLE: after the patience it was given', async () => {
    const rpcUrl = 'http://127.0.0.1:9';
    const options = { rpcUrl, expectedChainId: CHAIN_ID, privateKey: null, patienceMs: 60 };
    await assert.rejects(connectChain(options), (error) => {
      assert.ok(isChainError(error, 'CHAIN_UNREACHABLE'));
      assert.deepEqual(error.details, { rpcUrl, patienceMs: 60 });
      return true;
    });
  });

  it('CHAIN_ID_MISMATCH: names the expected and the found id', async () => {
    const { rpcUrl } = running;
    const options = { rpcUrl, expectedChainId: 10, privateKey: null };
    await assert.rejects(connectChain(options), (error) => {
      assert.ok(isChainError(error, 'CHAIN_ID_MISMATCH'));
      assert.deepEqual(error.details, { expected: '10', found: '901313', where: rpcUrl });
      return true;
    });
  });

  it('CHAIN_REFUSED: gives the node’s own words; CHAIN_CLOSED: after the end', async () => {
    await assert.rejects(client.request('evm_mine', []), (error) => {
      assert.ok(isChainError(error, 'CHAIN_REFUSED'));
      assert.equal(error.details.rpcCode, -32601);
      return true;
    });
    const { rpcUrl } = running;
    const other = await connectChain({ rpcUrl, expectedChainId: CHAIN_ID, privateKey: null });
    other.close();
    await assert.rejects(other.blockNumber(), (error) => isChainError(error, 'CHAIN_CLOSED'));
  });
});
