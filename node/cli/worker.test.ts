/** `openledger worker` and `stake` on a chain of their own: two machines, an owner's off line and a node's. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ContractName, type Deployment, deploymentPlan } from '#contracts';
import { type Address, fromHex, parseAddress } from '#crypto';
import { decodeWorkerKey } from '#protocol';
import { connectChain } from '../chain/client.ts';
import { openLocalChain } from '../chain/local-chain.ts';
import { openOutbox } from '../chain/outbox.ts';
import { startChainServer } from '../chain/server.ts';
import {
  CHAIN_ID,
  FAUCET,
  type LineFault,
  manualClock,
  openLine,
  STRANGER,
} from '../chain/testing.ts';
import { EXIT } from '../errors.ts';
import { main } from '../main.ts';
import { openAccount } from '../services/account.ts';
import { readStake } from '../services/staking.ts';
import { readStanding } from '../services/worker.ts';

const ONE = 10n ** 18n;
const BLOCK_MS = 60_000;
const root = mkdtempSync(join(tmpdir(), 'worker-cli-'));
const clock = manualClock(Date.now());
const server = await startChainServer(0);
const local = await openLocalChain({
  dataDir: join(root, 'chain'),
  chainId: CHAIN_ID,
  blockMs: BLOCK_MS,
  sealOnTransaction: true,
  alloc: [{ address: FAUCET.address, balanceWei: 10n ** 27n }],
  clock,
});
server.serve(local);
const rpc = `http://127.0.0.1:${server.port}`;
after(async () => {
  await local.close();
  await server.close();
  rmSync(root, { recursive: true });
});

const plan = deploymentPlan('local', {
  deployer: FAUCET.address,
  nonce: 0,
  treasury: STRANGER.address,
  chainId: CHAIN_ID,
});
const deployment: Deployment = { ...plan.deployment, deployedAtBlock: 1 };
const staking = deployment.contracts.Staking;
const faucetKey = fromHex(FAUCET.privateKey);
const bank = await openBank();
after(() => bank.close());
const { chain } = bank;
const swarm = join(root, 'join.json');
writeFileSync(swarm, JSON.stringify({ rpc, chainId: CHAIN_ID, token: 'secret', deployment }));

/** Deploys the contracts; the account that has all the money. */
async function openBank() {
  const connected = { rpcUrl: rpc, expectedChainId: CHAIN_ID, privateKey: FAUCET.privateKey };
  const client = await connectChain(connected);
  const outboxFile = join(root, 'bank.outbox');
  const outbox = await openOutbox(client, outboxFile);
  for (const { key, data } of plan.transactions)
    await outbox.submit({ key, to: null, data, valueWei: 0n });
  await outbox.close();
  client.close();
  return openAccount({ rpc, chainId: CHAIN_ID, deployment, privateKey: faucetKey, outboxFile });
}

const fund = (to: string, amountWei: bigint) =>
  bank.outbox.submit({ key: `fund/${to}`, to, data: '0x', valueWei: amountWei });

/** Lets time pass until a block is of that second or later. */
async function passUntil(second: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = local.onBlock(({ timestamp }) => {
      if (Number(timestamp) < second) return;
      stop();
      resolve();
    });
    // The block that is due after that second comes at most one interval later.
    clock.set(second * 1000 + BLOCK_MS);
  });
}

/** Runs a command on a machine, a data directory; its one JSON object and all that it printed. */
async function run(machine: string, ...args: string[]) {
  let said = '';
  const write = process.stdout.write;
  const listen = (text: unknown, ...rest: unknown[]) => {
    if (typeof text === 'string') said += text;
    return write.call(process.stdout, text as string, ...(rest as []));
  };
  process.stdout.write = listen as typeof write;
  try {
    const code = await main(['--data-dir', join(root, machine), '--json', ...args]);
    const line = said.split('\n').find((each) => each.startsWith('{"ok"')) ?? '{}';
    return { code, said, value: JSON.parse(line) as Record<string, string> };
  } finally {
    process.stdout.write = write;
  }
}

/** As `run`, for a command that does what it should. */
async function done(machine: string, ...args: string[]): Promise<Record<string, string>> {
  const { code, value, said } = await run(machine, ...args);
  assert.equal(code, EXIT.ok, said);
  return value;
}

const addressIn = (value: Record<string, string>): Address => parseAddress(value['address'] ?? '');
const keyIn = (file: string): string =>
  (JSON.parse(readFileSync(file, 'utf8')) as { privateKey: string }).privateKey;

/** An owner with a wallet and funds on one machine, a node with a key and gas on another. */
async function pair(name: string) {
  const owner = addressIn(await done(`${name}-owner`, 'wallet', 'new'));
  const worker = addressIn(await done(`${name}-node`, 'worker', 'address'));
  await fund(owner, 300n * ONE);
  await fund(worker, ONE);
  return { owner, worker };
}
const OFF_LINE = ['--chain-id', String(CHAIN_ID), '--staking', staking];
const stakeOf = (account: Address) => readStake(chain, account);

test('an owner authorises off line, the node sets it, and another key replaces it', async () => {
  const { owner, worker } = await pair('first');
  assert.equal(statSync(join(root, 'first-node', 'key.json')).mode & 0o777, 0o600);
  assert.equal(addressIn(await done('first-node', 'worker', 'address')), worker, 'made once');
  const file = join(root, 'usb', 'authorisation.json');
  const signed = await run(
    'first-owner',
    ...['worker', 'authorise', '--worker', worker, ...OFF_LINE, '--nonce', '0', '--out', file],
  );
  assert.equal(signed.code, EXIT.ok, signed.said);
  const secret = keyIn(join(root, 'first-owner', 'wallets', 'default.json'));
  assert.ok(!readFileSync(file, 'utf8').includes(secret.slice(2)) && !signed.said.includes(secret));
  const read = decodeWorkerKey(readFileSync(file, 'utf8'));
  assert.ok(read.ok && read.value.owner === owner && read.value.worker === worker);

  const set = await done('first-node', 'worker', 'set', file, '--swarm', swarm);
  assert.ok((set['hash'] ?? '').startsWith('0x'));
  assert.deepEqual(await readStanding(chain, worker), { owner, worker });
  assert.equal((await done('first-node', 'worker', 'set', file, '--swarm', swarm))['hash'], null);
  const shown = await done('first-node', 'worker', 'show', '--swarm', swarm);
  assert.deepEqual([shown['owner'], shown['worker'], shown['nonce']], [owner, worker, 1]);

  // A new machine takes the place of the first one; the nonce is read from the chain.
  const next = addressIn(await done('first-next', 'worker', 'address'));
  await fund(next, ONE);
  const again = join(root, 'usb', 'again.json');
  await done(
    'first-owner',
    ...['worker', 'authorise', '--worker', next, '--swarm', swarm, '--out', again],
  );
  await done('first-next', 'worker', 'set', again, '--swarm', swarm);
  assert.deepEqual(await readStanding(chain, worker), { owner, worker: next });
  const refused = await run('first-node', 'worker', 'set', file, '--swarm', swarm);
  assert.deepEqual([refused.code, refused.value['code']], [EXIT.replaced, 'WORKER_KEY_RETIRED']);
  const old = await done('first-node', 'worker', 'show', '--swarm', swarm);
  assert.deepEqual([old['isRetired'], old['worker']], [true, next]);
});

test('the worker signs what it was given only: other keys, chains and times are refused', async () => {
  const { worker } = await pair('second');
  await done('second-other', 'worker', 'address');
  const authorise = async (...changes: string[]) => {
    const file = join(root, `second-${changes.join('')}.json`);
    await done(
      'second-owner',
      ...['worker', 'authorise', '--worker', worker, ...OFF_LINE, '--nonce', '0'],
      ...[...changes, '--out', file],
    );
    return file;
  };
  const refusals: [string, string, string][] = [
    ['WORKER_KEY_WRONG_CHAIN', 'second-node', await authorise('--chain-id', '1')],
    ['WORKER_KEY_WRONG_NONCE', 'second-node', await authorise('--nonce', '7')],
    ['WORKER_KEY_EXPIRED', 'second-node', await authorise('--deadline', '7')],
    ['WORKER_KEY_WRONG_WORKER', 'second-other', await authorise()],
    ['WORKER_KEY_TAKEN', 'first-node', await authorise()],
    ['FILE_UNREADABLE', 'second-node', swarm],
    ['FILE_UNREADABLE', 'second-node', join(root, 'nowhere.json')],
  ];
  for (const [code, machine, file] of refusals) {
    const { value } = await run(machine, 'worker', 'set', file, '--swarm', swarm);
    assert.equal(value['code'], code, file);
  }
  assert.equal((await readStanding(chain, worker)).owner, worker);
  const { code } = await run('second-owner', 'worker', 'authorise', '--worker', '0x12');
  assert.equal(code, EXIT.usage);
});

test('OWNER_KEY_NEEDED: a worker adds to its owner’s stake, and cannot take it out', async () => {
  const { owner, worker } = await pair('third');
  const on = ['--swarm', swarm];
  await done('third-owner', 'stake', 'deposit', '--amount', '50', ...on);
  const file = join(root, 'third.json');
  await done('third-owner', ...['worker', 'authorise', '--worker', worker, ...on, '--out', file]);
  await done('third-node', 'worker', 'set', file, ...on);
  const hot = ['--key', join(root, 'third-node', 'key.json'), ...on];
  await done('third-node', 'stake', 'deposit', '--amount', '0.5', ...hot);
  assert.equal((await stakeOf(owner)).freeWei, 50n * ONE + ONE / 2n);
  for (const step of ['thaw', 'withdraw', 'exit'] as const) {
    const worked = step === 'exit' ? ['--worker', owner] : [];
    const { value } = await run('third-node', 'stake', step, ...worked, ...hot);
    assert.equal(value['code'], 'OWNER_KEY_NEEDED', step);
  }
  await done('third-owner', 'stake', 'thaw', '--amount', '20', ...on);
  const early = await run('third-owner', 'stake', 'withdraw', ...on);
  assert.match(early.value['error'] ?? '', /StakingStillThawing/);
  const { thawReadyAt } = await stakeOf(owner);
  await passUntil(thawReadyAt);
  const had = await bank.client.balance(owner);
  const paid = await done('third-owner', 'stake', 'withdraw', ...on);
  assert.equal(paid['amountWei'], String(20n * ONE));
  assert.ok((await bank.client.balance(owner)) > had + 19n * ONE);
  const shown = await done('third-owner', 'stake', 'show', ...on);
  assert.deepEqual([shown['worker'], shown['freeWei']], [worker, String(30n * ONE + ONE / 2n)]);
});

test('an owner ends the serving of a key that it replaced, without that key', async () => {
  const { owner, worker } = await pair('fourth');
  const on = ['--swarm', swarm];
  await done('fourth-owner', 'stake', 'deposit', '--amount', '100', ...on);
  const file = join(root, 'fourth.json');
  await done('fourth-owner', 'worker', 'authorise', '--worker', worker, ...on, '--out', file);
  await done('fourth-node', 'worker', 'set', file, ...on);
  const node = await openAccount({
    ...{
      rpc,
      chainId: CHAIN_ID,
      deployment,
      privateKey: fromHex(keyIn(join(root, 'fourth-node', 'key.json'))),
    },
    outboxFile: join(root, 'fourth-node', 'outbox'),
  });
  await node.chain.submit({ key: 'roles', contract: 'Staking', fn: 'setRoles', args: [1] });
  await node.chain.submit({ key: 'serve', contract: 'Staking', fn: 'registerServing', args: [] });
  await node.close();
  const next = addressIn(await done('fourth-next', 'worker', 'address'));
  await fund(next, ONE);
  await done('fourth-owner', 'worker', 'authorise', '--worker', next, ...on, '--out', file);
  await done('fourth-next', 'worker', 'set', file, ...on);
  await done('fourth-owner', 'stake', 'exit', '--worker', worker, ...on);
  const { servingExitAt, servingLockWei } = await stakeOf(worker);
  assert.ok(servingLockWei > 0n && servingExitAt > 0);
  await passUntil(servingExitAt);
  await done('fourth-owner', 'stake', 'release', '--worker', worker, ...on);
  assert.equal((await stakeOf(owner)).freeWei, 100n * ONE);
});

for (const fault of ['lost request', 'lost answer'] as const) {
  test(`a deposit whose command was killed is finished, not done twice (${fault})`, async () => {
    const name = fault.replace(' ', '-');
    const { owner } = await pair(name);
    const wallets = join(root, `${name}-owner`, 'wallets');
    // Killed when the chain has mined it, or when it was about to leave; the sender hears of neither.
    let leaves: () => void = () => undefined;
    const isMined = new Promise<void>((resolve) => {
      const stop = local.onBlock(() => {
        stop();
        resolve();
      });
    });
    const isLeaving = new Promise<void>((resolve) => {
      leaves = resolve;
    });
    const line = await openLine(
      () => rpc,
      (methods): LineFault => {
        if (!methods.includes('eth_sendRawTransaction')) return 'none';
        leaves();
        return fault;
      },
    );
    const killed = await openAccount({
      ...{ rpc: line.rpcUrl, chainId: CHAIN_ID, deployment },
      privateKey: fromHex(keyIn(join(wallets, 'default.json'))),
      outboxFile: join(wallets, 'default.outbox'),
    });
    const step = killed.chain.submit({
      key: `stake-by-hand/deposit/${50n * ONE}/0`,
      ...{ contract: 'Staking' as ContractName, fn: 'deposit', args: [], valueWei: 50n * ONE },
    });
    const ended = step.catch(() => undefined);
    await (fault === 'lost answer' ? isMined : isLeaving);
    await killed.close();
    await ended;
    await line.close();
    await done(`${name}-owner`, 'stake', 'deposit', '--amount', '50', '--swarm', swarm);
    assert.equal((await stakeOf(owner)).freeWei, 50n * ONE);
    await done(`${name}-owner`, 'stake', 'deposit', '--amount', '50', '--swarm', swarm);
    assert.equal((await stakeOf(owner)).freeWei, 100n * ONE, 'asked for again, it is another one');
  });
}
