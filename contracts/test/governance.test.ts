/** gOPEN, the governor and the timelock: one for one, a decision's whole road, and what an attacker cannot decide. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes, id, TypedDataEncoder, type Wallet } from 'ethers';
import { contractBytecodes } from '../bindings/contracts.ts';
import { contractInterfaces, encodeCall } from '../connect.ts';
import { startChain, TEST_CHAIN_ID } from '../harness.ts';
import { governance, OPEN_WEI, presets } from '../presets.ts';
import { isolate, refuses } from './fixtures.ts';

const chain = await startChain('testnet', 6);
const { GOpen, OpenLedgerGovernor, Parameters, Timelock } = chain.contracts;
const [alice, bob, mallory] = chain.wallets as [Wallet, Wallet, Wallet];
const rules = governance.testnet;
isolate(chain);

const FOR = 1;
const state = { Active: 1n, Defeated: 3n, Succeeded: 4n, Queued: 5n, Executed: 7n };

/** Wraps and delegates to oneself: without the second nobody votes. */
async function wrap(wallet: Wallet, open: bigint): Promise<void> {
  await chain.send(wallet, 'GOpen', 'wrap', [], open * OPEN_WEI);
  await chain.send(wallet, 'GOpen', 'delegate', [wallet.address]);
}

const changed = {
  ...presets.testnet,
  fees: { ...presets.testnet.fees, platformPpm: 50_000n, dataPpm: 550_000n },
};

/** A proposal to change the fees. */
function proposalOf() {
  const targets = [chain.deployment.contracts.Parameters];
  const values = [0n];
  const calls = [encodeCall('Parameters', 'change', [changed])];
  const text = 'cut the platform by half';
  return {
    propose: [targets, values, calls, text] satisfies [string[], bigint[], string[], string],
    decide: [targets, values, calls, id(text)] satisfies [string[], bigint[], string[], string],
  };
}

async function propose(wallet: Wallet, proposal = proposalOf()): Promise<bigint> {
  await chain.send(wallet, 'OpenLedgerGovernor', 'propose', proposal.propose);
  return OpenLedgerGovernor.hashProposal(...proposal.decide);
}

const toTheVote = () => chain.pass(rules.votingDelaySeconds + 1n);
const pastTheVote = () => chain.pass(rules.votingPeriodSeconds + 1n);

describe('GOpen', () => {
  test('wraps and unwraps one for one, and owes exactly what it holds', async () => {
    await chain.send(alice, 'GOpen', 'wrap', [], 7n);
    await chain.send(alice, 'GOpen', 'wrapFor', [bob.address], 5n);
    await chain.sendData(bob, chain.deployment.contracts.GOpen, '0x', 3n);
    assert.equal(await GOpen.balanceOf(bob.address), 8n);
    const before = await chain.provider.getBalance(mallory.address);
    await chain.send(bob, 'GOpen', 'unwrap', [6n, mallory.address]);
    assert.equal((await chain.provider.getBalance(mallory.address)) - before, 6n);
    assert.equal(await GOpen.totalSupply(), 9n);
    assert.equal(await GOpen.accountedWei(), 9n);
    assert.equal(await chain.provider.getBalance(chain.deployment.contracts.GOpen), 9n);
  });

  test('OPEN sent by force is nobody’s: it mints nothing and unwraps to nobody', async () => {
    await chain.send(alice, 'GOpen', 'wrap', [], 7n);
    await chain.request('hardhat_setBalance', [chain.deployment.contracts.GOpen, '0xff']);
    assert.equal(await GOpen.accountedWei(), 7n);
    await refuses(
      chain.send(alice, 'GOpen', 'unwrap', [8n, alice.address]),
      'ERC20InsufficientBalance',
    );
  });

  test('GOpenAmountZero and GOpenTransferFailed', async () => {
    await refuses(chain.send(alice, 'GOpen', 'wrap', []), 'GOpenAmountZero');
    await refuses(chain.send(alice, 'GOpen', 'unwrap', [0n, alice.address]), 'GOpenAmountZero');
    await chain.send(alice, 'GOpen', 'wrap', [], 7n);
    // The referee takes no money.
    const recipient = chain.deployment.contracts.Referee;
    await refuses(chain.send(alice, 'GOpen', 'unwrap', [7n, recipient]), 'GOpenTransferFailed', [
      recipient,
      7n,
    ]);
    assert.equal(await GOpen.balanceOf(alice.address), 7n);
  });

  test('a permit moves gOPEN once, on this chain and contract only', async () => {
    await chain.send(alice, 'GOpen', 'wrap', [], 7n);
    const types = {
      Permit: [
        { name: 'owner', type: 'address' },
        { name: 'spender', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
      ],
    };
    const deadline = 10_000_000_000n;
    const message = {
      owner: alice.address,
      spender: bob.address,
      value: 7n,
      nonce: await GOpen.nonces(alice.address),
      deadline,
    };
    const domain = (chainId: number, verifyingContract: string) => ({
      name: 'Governance OPEN',
      version: '1',
      chainId,
      verifyingContract,
    });
    const permit = async (chainId: number, contract: string) => {
      const digest = TypedDataEncoder.hash(domain(chainId, contract), types, message);
      const { v, r, s } = alice.signingKey.sign(getBytes(digest));
      return chain.send(bob, 'GOpen', 'permit', [
        alice.address,
        bob.address,
        7n,
        deadline,
        v,
        r,
        s,
      ]);
    };
    const here = chain.deployment.contracts.GOpen;
    await refuses(permit(TEST_CHAIN_ID + 1, here), 'ERC2612InvalidSigner');
    await refuses(
      permit(TEST_CHAIN_ID, chain.deployment.contracts.Timelock),
      'ERC2612InvalidSigner',
    );
    await permit(TEST_CHAIN_ID, here);
    await chain.send(bob, 'GOpen', 'transferFrom', [alice.address, bob.address, 7n]);
    assert.equal(await GOpen.balanceOf(bob.address), 7n);
    await refuses(permit(TEST_CHAIN_ID, here), 'ERC2612InvalidSigner');
  });
});

describe('governance', () => {
  test('a decision goes proposal, vote, timelock, effect; nobody else changes a number', async () => {
    await refuses(
      chain.send(chain.deployer, 'Parameters', 'change', [changed]),
      'OwnableUnauthorizedAccount',
    );
    await wrap(alice, 150_000n);
    const proposal = proposalOf();
    const proposalId = await propose(alice, proposal);
    await toTheVote();
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Active);
    await chain.send(alice, 'OpenLedgerGovernor', 'castVote', [proposalId, FOR]);
    await pastTheVote();
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Succeeded);
    assert.equal(await OpenLedgerGovernor.proposalNeedsQueuing(proposalId), true);
    await chain.send(bob, 'OpenLedgerGovernor', 'queue', proposal.decide);
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Queued);
    const early = chain.send(bob, 'OpenLedgerGovernor', 'execute', proposal.decide);
    await refuses(early, 'TimelockUnexpectedOperationState');
    await chain.pass(rules.timelockSeconds);
    await chain.send(bob, 'OpenLedgerGovernor', 'execute', proposal.decide);
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Executed);
    assert.equal((await Parameters.fees()).platformPpm, 50_000n);
  });

  test('attack: governance with a tiny wrapped supply decides nothing', async () => {
    // Mallory holds every vote there is, many times the quorum's share of the supply.
    await wrap(mallory, rules.proposalThresholdWei / OPEN_WEI);
    const proposalId = await propose(mallory);
    await toTheVote();
    const snapshot = await OpenLedgerGovernor.proposalSnapshot(proposalId);
    const supplyWei = await GOpen.getPastTotalSupply(snapshot);
    assert.equal(await GOpen.getPastVotes(mallory.address, snapshot), supplyWei);
    assert.ok((supplyWei * rules.quorumPpm) / 1_000_000n < supplyWei);
    assert.equal(await OpenLedgerGovernor.quorum(snapshot), rules.quorumFloorWei);
    await chain.send(mallory, 'OpenLedgerGovernor', 'castVote', [proposalId, FOR]);
    await pastTheVote();
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Defeated);
    await refuses(
      chain.send(mallory, 'OpenLedgerGovernor', 'queue', proposalOf().decide),
      'GovernorUnexpectedProposalState',
    );
    assert.equal((await Parameters.fees()).platformPpm, presets.testnet.fees.platformPpm);
  });

  test('attack: votes wrapped after the proposal do not count for it', async () => {
    await wrap(mallory, rules.proposalThresholdWei / OPEN_WEI);
    const proposalId = await propose(mallory);
    await toTheVote();
    await wrap(bob, 900_000n);
    await chain.send(bob, 'OpenLedgerGovernor', 'castVote', [proposalId, FOR]);
    await chain.send(mallory, 'OpenLedgerGovernor', 'castVote', [proposalId, FOR]);
    await pastTheVote();
    assert.equal(await OpenLedgerGovernor.state(proposalId), state.Defeated);
  });

  test('attack: below the threshold nobody proposes, and nobody goes around the governor', async () => {
    await wrap(mallory, rules.proposalThresholdWei / OPEN_WEI - 1n);
    await refuses(propose(mallory), 'GovernorInsufficientProposerVotes');
    const data = encodeCall('Parameters', 'change', [changed]);
    const target = chain.deployment.contracts.Parameters;
    const schedule = [target, 0n, data, id('none'), id('salt'), rules.timelockSeconds] as [
      string,
      bigint,
      string,
      string,
      string,
      bigint,
    ];
    for (const wallet of [mallory, chain.deployer]) {
      await refuses(
        chain.send(wallet, 'Timelock', 'schedule', schedule),
        'AccessControlUnauthorizedAccount',
      );
      await refuses(
        chain.send(wallet, 'Timelock', 'updateDelay', [0n]),
        'TimelockUnauthorizedCaller',
      );
      await refuses(
        chain.send(wallet, 'Timelock', 'grantRole', [id('PROPOSER_ROLE'), wallet.address]),
        'AccessControlUnauthorizedAccount',
      );
    }
  });

  test('a share of the supply above the floor is the quorum', async () => {
    for (const wallet of chain.wallets) await wrap(wallet, 900_000n);
    await chain.pass(2);
    const at = (await chain.now()) - 1;
    const shareWei = (6n * 900_000n * OPEN_WEI * rules.quorumPpm) / 1_000_000n;
    assert.ok(shareWei > rules.quorumFloorWei);
    assert.equal(await OpenLedgerGovernor.quorum(at), shareWei);
  });

  test('what was decided may be cancelled by its proposer before the vote, and by nobody after', async () => {
    await wrap(alice, 150_000n);
    const proposal = proposalOf();
    await propose(alice, proposal);
    await refuses(
      chain.send(bob, 'OpenLedgerGovernor', 'cancel', proposal.decide),
      'GovernorUnableToCancel',
    );
    await chain.send(alice, 'OpenLedgerGovernor', 'cancel', proposal.decide);
  });

  test('the timelock outlasts thawing where strangers’ money is', () => {
    for (const name of ['testnet', 'mainnet'] as const) {
      assert.ok(governance[name].timelockSeconds > presets[name].timing.thawSeconds, name);
    }
  });

  test('OpenLedgerGovernorQuorumInvalid: no governor without a floor', async () => {
    const { GOpen: token, Timelock: timelock } = chain.deployment.contracts;
    for (const wrong of [{ quorumFloorWei: 0n }, { quorumPpm: 0n }, { quorumPpm: 1_000_001n }]) {
      const args = contractInterfaces.OpenLedgerGovernor.encodeDeploy([
        token,
        timelock,
        { ...rules, ...wrong },
      ]);
      const data = contractBytecodes.OpenLedgerGovernor + args.slice(2);
      await refuses(chain.sendData(alice, null, data), 'OpenLedgerGovernorQuorumInvalid');
    }
    assert.equal(await Timelock.getMinDelay(), rules.timelockSeconds);
  });
});
