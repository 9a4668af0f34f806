/** Deployment: the plan's addresses, the check of what stands on a chain, presets, and the committed bindings. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { id, Wallet } from 'ethers';
import { contractNames, contractRuntimes } from '../bindings/contracts.ts';
import {
  callRequest,
  contractAbi,
  contractInterfaces,
  decodeError,
  decodeEvent,
  decodeResult,
  encodeCall,
} from '../connect.ts';
import { DeploymentError, deploymentPlan, verifyDeployment } from '../deploy.ts';
import { startChain } from '../harness.ts';
import { OPEN_WEI, type PresetName, presets } from '../presets.ts';

const chain = await startChain();
const { deployment } = chain;

const rejectedWith = (code: DeploymentError['code'], contract: string | null) => (error: unknown) =>
  error instanceof DeploymentError && error.code === code && error.contract === contract;

describe('deploymentPlan and verifyDeployment', () => {
  test('what was deployed by the plan passes, in every preset', async () => {
    await verifyDeployment(chain.provider, deployment);
    for (const preset of ['testnet', 'mainnet'] as const) {
      const other = await startChain(preset, 1);
      await verifyDeployment(other.provider, other.deployment);
      const all = await other.contracts.Parameters.all();
      assert.equal(all.timing.thawSeconds, presets[preset].timing.thawSeconds);
    }
  });

  test('OWNER_MISMATCH: on a public network nobody but the timelock owns Parameters', async () => {
    // Deployed by the rules of the local preset: the operator stays owner, the beacon is insecure.
    assert.equal(await chain.contracts.Parameters.owner(), chain.deployer.address);
    await assert.rejects(
      verifyDeployment(chain.provider, { ...deployment, preset: 'testnet' }),
      rejectedWith('WIRING_MISMATCH', 'TaskEscrow'),
    );
    const net = await startChain('testnet', 1);
    const [stranger] = net.wallets as [Wallet];
    const { Timelock, OpenLedgerGovernor } = net.deployment.contracts;
    const role = await net.contracts.Timelock.PROPOSER_ROLE();
    await net.sendAs(Timelock, 'Timelock', 'revokeRole', [role, OpenLedgerGovernor]);
    await assert.rejects(
      verifyDeployment(net.provider, net.deployment),
      rejectedWith('OWNER_MISMATCH', 'Timelock'),
    );
    await net.sendAs(Timelock, 'Parameters', 'transferOwnership', [stranger.address]);
    await net.send(stranger, 'Parameters', 'acceptOwnership', []);
    await assert.rejects(
      verifyDeployment(net.provider, net.deployment),
      rejectedWith('OWNER_MISMATCH', 'Parameters'),
    );
  });

  test('the plan starts at any nonce, names its transactions, and is a function of its input', () => {
    const input = {
      deployer: id('x').slice(0, 42),
      nonce: 7,
      treasury: id('y').slice(0, 42),
      chainId: 1,
    };
    const plan = deploymentPlan('testnet', input);
    assert.deepEqual(plan, deploymentPlan('testnet', input));
    assert.equal(plan.transactions[0]?.key, 'deploy/Parameters');
    assert.deepEqual(
      plan.transactions.map(({ nonce }) => nonce),
      contractNames.map((_, i) => 7 + i),
    );
    assert.equal(new Set(Object.values(plan.deployment.contracts)).size, contractNames.length);
  });

  test('CHAIN_MISMATCH, NO_CODE, CODE_MISMATCH and WIRING_MISMATCH name the contract', async () => {
    const changed = (changes: Partial<typeof deployment.contracts>) => ({
      ...deployment,
      contracts: { ...deployment.contracts, ...changes },
    });
    await assert.rejects(
      verifyDeployment(chain.provider, { ...deployment, chainId: 5 }),
      rejectedWith('CHAIN_MISMATCH', null),
    );
    await assert.rejects(
      verifyDeployment(chain.provider, changed({ Epochs: Wallet.createRandom().address })),
      rejectedWith('NO_CODE', 'Epochs'),
    );
    await assert.rejects(
      verifyDeployment(chain.provider, changed({ Epochs: deployment.contracts.Staking })),
      rejectedWith('CODE_MISMATCH', 'Epochs'),
    );
  });

  test('a second deployment does not pass for the first', async () => {
    const plan = deploymentPlan('local', {
      deployer: chain.deployer.address,
      nonce: contractNames.length,
      treasury: chain.treasury.address,
      chainId: deployment.chainId,
    });
    for (const { data } of plan.transactions) await chain.sendData(chain.deployer, null, data);
    const second = { ...plan.deployment, deployedAtBlock: 1 };
    await verifyDeployment(chain.provider, second);
    const mixed = { ...deployment.contracts, ModelRegistry: second.contracts.ModelRegistry };
    await assert.rejects(
      verifyDeployment(chain.provider, { ...deployment, contracts: mixed }),
      rejectedWith('WIRING_MISMATCH', 'ModelRegistry'),
    );
  });

  test('runtime code is within the limit of 24,576 bytes', () => {
    for (const name of contractNames) assert.ok(contractRuntimes[name].length <= 24_576, name);
  });
});

describe('presets', () => {
  test('ratios sum to one and thawing outlasts the longest road twice, everywhere', () => {
    for (const name of ['local', 'testnet', 'mainnet'] as PresetName[]) {
      const { fees, slashing, tasks, timing } = presets[name];
      assert.equal(
        fees.platformPpm + fees.modelOwnerPpm + fees.stakersPpm + fees.dataPpm,
        1_000_000n,
      );
      const { challengerPpm, juryPpm, requesterPpm, burnPpm } = slashing;
      assert.equal(challengerPpm + juryPpm + requesterPpm + burnPpm, 1_000_000n);
      const { leaseSeconds, revealSeconds, voteCommitSeconds, voteRevealSeconds } = tasks;
      const road =
        leaseSeconds +
        revealSeconds +
        voteCommitSeconds +
        voteRevealSeconds +
        timing.challengeWindowSeconds;
      assert.ok(timing.thawSeconds >= 2n * road, name);
    }
    assert.equal(presets.mainnet.timing.slashingFloorSeconds, 43_200n);
  });
});

describe('calls, results, errors and events', () => {
  test('encodeCall, callRequest and decodeResult are one round trip', async () => {
    const [wallet] = chain.wallets;
    const request = callRequest(deployment, 'Staking', 'getAccount', [wallet!.address]);
    assert.equal(request.to, deployment.contracts.Staking);
    assert.equal(request.data, encodeCall('Staking', 'getAccount', [wallet!.address]));
    const data = await chain.provider.call(request);
    assert.equal(decodeResult('Staking', 'getAccount', data).freeWei, 0n);
    assert.equal(contractAbi('Staking').length, contractInterfaces.Staking.fragments.length);
  });

  test('decodeEvent reads logs of the deployment and leaves others alone', async () => {
    const receipt = await chain.send(chain.wallets[0]!, 'Staking', 'deposit', [], OPEN_WEI);
    const events = receipt.logs.map((log) => decodeEvent(deployment, log));
    assert.deepEqual(
      events.map((event) => event?.event),
      ['Deposited', 'StakeChanged'],
    );
    assert.equal(events[0]?.contract, 'Staking');
    assert.equal(events[0]?.args['amountWei'], OPEN_WEI);
    const elsewhere = { ...receipt.logs[0]!, address: chain.deployer.address };
    assert.equal(
      decodeEvent(deployment, { ...elsewhere, topics: receipt.logs[0]!.topics, data: '0x' }),
      null,
    );
  });

  test('decodeError reads custom errors and leaves panics and texts alone', () => {
    const data = contractInterfaces.Staking.encodeErrorResult('StakingListFull', [3]);
    const decoded = decodeError(data);
    assert.equal(decoded?.contract, 'Staking');
    assert.equal(decoded?.error, 'StakingListFull');
    assert.equal(decoded?.args['maxStakers'], 3n);
    assert.equal(decodeError('0x'), null);
    assert.equal(decodeError('0x12345678'), null);
    assert.equal(decodeError(`0x4e487b71${'11'.padStart(64, '0')}`), null);
  });

  test('every custom error of our contracts has a test that names it', () => {
    const folder = new URL('.', import.meta.url);
    const tests = readdirSync(folder)
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => readFileSync(new URL(name, folder), 'utf8'))
      .join('\n');
    const missing = new Set<string>();
    for (const name of contractNames) {
      contractInterfaces[name].forEachError(({ name: error }) => {
        if (!foreign.test(error) && !tests.includes(`'${error}'`)) missing.add(error);
      });
    }
    assert.deepEqual([...missing], []);
  });
});

/** What money can be sent to; OpenZeppelin's governor and timelock carry out decisions, which may pay. */
const PAYABLE: Readonly<Record<string, readonly string[]>> = {
  DatanetRegistry: ['commit'],
  Staking: ['deposit'],
  TaskEscrow: ['announce'],
  InferenceEscrow: ['deposit'],
  Epochs: ['fund'],
  EpochDisputes: ['ask'],
  GOpen: ['receive', 'wrap', 'wrapFor'],
  Timelock: ['execute', 'executeBatch', 'receive'],
  OpenLedgerGovernor: ['execute', 'receive', 'relay'],
};

describe('what the sources may not do', () => {
  test('no payable function carries out several calls: one payment counts once', () => {
    for (const name of contractNames) {
      const { fragments } = contractInterfaces[name];
      const taking = fragments
        .filter((each) => 'payable' in each && each.payable === true)
        .map((each) => ('name' in each ? String(each.name) : 'receive'));
      assert.deepEqual(taking.sort(), PAYABLE[name] ?? [], name);
    }
  });

  test('accounting reads no balance, and no contract runs foreign code in its own name', () => {
    const folder = new URL('../src/', import.meta.url);
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    const sources = files.filter((file) => file.endsWith('.sol'));
    assert.ok(sources.length > 20);
    for (const file of sources) {
      const text = readFileSync(new URL(file, folder), 'utf8').replace(/\/\/.*/g, '');
      assert.doesNotMatch(text, /\.balance\b|selfbalance|delegatecall|multicall/i, file);
    }
  });
});

/** Errors of the libraries we build on, which their own tests cover. */
const foreign =
  /^(AccessControl|Checkpoint|ECDSA|ERC\d|AddressEmptyCode|FailedCall|Governor|InsufficientBalance|InvalidAccountNonce|InvalidShortString|Ownable|SafeCast|StringTooLong|Timelock|Votes|DoubleEndedQueue|QueueEmpty|QueueFull|Panic|SafeERC20|Strings|Nonces)/;
