// Rounds of drand are brought to the real contract: once, when a task waits, in turn, whatever servers say.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { type ContractName, contractInterfaces, quicknet } from '#contracts';
import type { Address } from '#crypto';
import { type Chain, startChain } from '../../contracts/harness.ts';
import { silentLog } from '../gateway/testing.ts';
import { createBeacon, openBeacon } from './beacon.ts';
import { createChainPort } from './chain-port.ts';
import type { DrandAnswer } from './drand-http.ts';

const ROUND = 1_000;
const RANDOMNESS = '0xfe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd';
const MADE_AT_MS =
  1_000 * Number(quicknet.genesisSeconds + BigInt(ROUND - 1) * quicknet.periodSeconds);
const body = JSON.stringify({
  round: ROUND,
  signature:
    'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
});
const never = new AbortController().signal;

/** A node's port to the harness' chain, with a count of what it sent. */
function portOf(chain: Chain) {
  const [wallet] = chain.wallets;
  assert.ok(wallet !== undefined);
  const sent: string[] = [];
  const port = createChainPort<ContractName>(
    wallet.address.toLowerCase() as Address,
    chain.deployment.contracts,
    contractInterfaces,
    {
      call: (request) => chain.provider.call(request),
      submit: async ({ key, to, data }) => {
        sent.push(key);
        const receipt = await chain.sendData(wallet, to, data);
        return { ...receipt, logs: [] };
      },
    },
  );
  return { port, sent };
}

test('a round is brought from a server to the contract, once, and again asked for after a lie', async (t) => {
  const chain = await startChain('testnet', 1);
  const { port, sent } = portOf(chain);
  let says = body.replace('b4', 'a4');
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    response.end(says);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  let waited: number[] = [];
  const tick = await openBeacon({
    chain: port,
    servers: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`],
    rounds: () => waited,
    nowMs: () => MADE_AT_MS,
    staggerMs: 0,
    log: silentLog,
  });
  assert.ok(tick !== null);
  await tick(never);
  assert.deepEqual([asked, sent], [0, []], 'nothing is asked for while no task waits');
  waited = [ROUND, ROUND];
  await tick(never);
  assert.deepEqual([asked, sent], [1, []], 'a lie costs no transaction');
  says = body;
  await tick(never);
  assert.deepEqual(sent, [`beacon/${ROUND}`]);
  assert.equal(await chain.contracts.DrandBeacon.randomnessOf(ROUND), RANDOMNESS);
  await tick(never);
  assert.deepEqual([asked, sent.length], [2, 1], 'what is there is neither asked for nor sent');
});

test('a round is not asked for before drand has made it, and each staker has its turn', async () => {
  const chain = await startChain('testnet', 2);
  const [self, other] = chain.wallets;
  assert.ok(self !== undefined && other !== undefined);
  for (const wallet of [self, other])
    await chain.send(wallet, 'Staking', 'deposit', [], 100n * 10n ** 18n);
  const { port } = portOf(chain);
  const asked = new Map<string, number[]>();
  let nowMs = MADE_AT_MS - 1;
  const none: DrandAnswer = { ok: false, faults: [] };
  const ticks = [self, other].map(({ address }) =>
    createBeacon({
      chain: { ...port, self: address.toLowerCase() as Address },
      rounds: () => [ROUND],
      fetchRound: async (round) => {
        asked.set(address, [...(asked.get(address) ?? []), round]);
        return none;
      },
      nowMs: () => nowMs,
      staggerMs: 6_000,
      log: silentLog,
    }),
  );
  const run = async () => {
    for (const tick of ticks) await tick(never);
    return asked.size;
  };
  assert.equal(await run(), 0);
  nowMs += 1;
  assert.equal(await run(), 1, 'one at once');
  nowMs += 5_999;
  assert.equal(await run(), 1);
  nowMs += 1;
  assert.equal(await run(), 2, 'the other stands in later');
});

test('nothing is brought where committees are drawn by the local beacon', async () => {
  const { port } = portOf(await startChain('local', 1));
  const options = { servers: [], rounds: () => [ROUND], nowMs: Date.now, staggerMs: 0 };
  assert.equal(await openBeacon({ chain: port, ...options, log: silentLog }), null);
});
