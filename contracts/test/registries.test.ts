/** Parameters, DatanetRegistry and ModelRegistry: happy paths, bounds, and every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { id, type Wallet } from 'ethers';
import { DatanetRegistryContributionState } from '../bindings/structs.ts';
import { startChain } from '../harness.ts';
import { forceInclusionSeconds, presets } from '../presets.ts';
import { CONTRIBUTION_TYPES } from './contributing.ts';
import { domainOf, isolate, refuses, tagged, toReverted } from './fixtures.ts';

const chain = await startChain();
const { DatanetRegistry, ModelRegistry, Parameters } = chain.contracts;
const [curator, contributor, relayer, stranger] = chain.wallets as [Wallet, Wallet, Wallet, Wallet];
await chain.send(curator, 'DatanetRegistry', 'createDatanet', [id('MIT'), id('policy'), 'docs']);
const [datanetId = ''] = await DatanetRegistry.datanetIds(0, 1);
isolate(chain);

const COUNT = 7;
const root = id('records');
const salt = id('salt');
const commitmentFor = (who: Wallet) =>
  tagged(
    'openledger/contribution/1',
    ['bytes32', 'address', 'bytes32', 'uint32', 'bytes32'],
    [datanetId, who.address, root, COUNT, salt],
  );

async function commit(
  who = contributor,
  changes: { signer?: Wallet; chainId?: number; count?: number; datanet?: string } = {},
) {
  const commitment = commitmentFor(who);
  const message = { datanetId, contributor: who.address, commitment, recordCount: COUNT };
  const domain = domainOf(chain, 'DatanetRegistry', changes.chainId);
  const signature = await (changes.signer ?? who).signTypedData(
    domain,
    CONTRIBUTION_TYPES,
    message,
  );
  await chain.send(
    relayer,
    'DatanetRegistry',
    'commit',
    [changes.datanet ?? datanetId, who.address, commitment, changes.count ?? COUNT, signature],
    presets.local.bonds.contributionDepositWei,
  );
  return DatanetRegistry.contributionTotal();
}
const reveal = (from: Wallet, contributionId: bigint, manifest = id('manifest'), secret = salt) =>
  chain.send(from, 'DatanetRegistry', 'reveal', [contributionId, root, secret, manifest]);

describe('DatanetRegistry', () => {
  test('createDatanet: ids are unique, the sender is curator', async () => {
    await chain.send(curator, 'DatanetRegistry', 'createDatanet', [
      id('MIT'),
      id('policy'),
      'docs',
    ]);
    assert.equal(await DatanetRegistry.datanetCount(), 2n);
    const ids = await DatanetRegistry.datanetIds(0, 10);
    assert.equal(new Set(ids).size, 2);
    assert.equal((await DatanetRegistry.datanetIds(5, 10)).length, 0);
    const datanet = await DatanetRegistry.getDatanet(ids[1]!);
    assert.equal(datanet.curator, curator.address);
    assert.equal(datanet.licence, id('MIT'));
    assert.equal(datanet.policyHash, id('policy'));
    assert.equal(datanet.name, 'docs');
    assert.equal(datanet.versionCount, 0n);
  });

  test('commit, reveal, accept, publish: the road of a contribution', async () => {
    const contributionId = await commit();
    const committed = await DatanetRegistry.getContribution(contributionId);
    assert.equal(committed.state, DatanetRegistryContributionState.Committed);
    assert.equal(committed.committedAt, BigInt(await chain.now()));
    assert.equal(committed.relayer, relayer.address);
    await reveal(relayer, contributionId);
    // The contributor may still correct what its relayer named.
    await reveal(contributor, contributionId, id('better manifest'));
    await chain.send(curator, 'DatanetRegistry', 'accept', [contributionId]);
    const accepted = await DatanetRegistry.getContribution(contributionId);
    assert.equal(accepted.state, DatanetRegistryContributionState.Accepted);
    assert.equal(accepted.recordsRoot, root);
    assert.equal(accepted.manifest, id('better manifest'));
    assert.equal(accepted.recordCount, BigInt(COUNT));
    await chain.send(curator, 'DatanetRegistry', 'publishVersion', [
      datanetId,
      id('root'),
      COUNT,
      id('version manifest'),
    ]);
    const version = await DatanetRegistry.getVersion(datanetId, 1);
    assert.equal(version.root, id('root'));
    assert.equal(version.recordCount, BigInt(COUNT));
    assert.equal(version.manifest, id('version manifest'));
    assert.equal((await DatanetRegistry.getDatanet(datanetId)).versionCount, 1n);
  });

  test('a refusal names its evidence and the earlier record', async () => {
    await commit(stranger);
    const contributionId = await commit();
    await reveal(contributor, contributionId);
    await chain.send(curator, 'DatanetRegistry', 'refuse', [
      contributionId,
      id('evidence'),
      id('earlier record'),
    ]);
    const refused = await DatanetRegistry.getContribution(contributionId);
    assert.equal(refused.state, DatanetRegistryContributionState.Refused);
    assert.equal(refused.evidence, id('evidence'));
    assert.equal(refused.earlierRecordHash, id('earlier record'));
    assert.equal(await DatanetRegistry.contributionCount(datanetId), 2n);
    const { ids, page } = await DatanetRegistry.getContributions(datanetId, 1, 10);
    assert.deepEqual([...ids], [contributionId]);
    assert.equal(page[0]?.contributor, contributor.address);
    await refuses(
      chain.send(curator, 'DatanetRegistry', 'accept', [contributionId]),
      'DatanetRegistryWrongState',
      [contributionId, DatanetRegistryContributionState.Refused],
    );
    await refuses(reveal(contributor, contributionId), 'DatanetRegistryWrongState');
  });

  test('what was accepted is revoked once, by its contributor or the curator, and stays in what was published', async () => {
    const contributionId = await commit();
    const revoke = (from: Wallet) =>
      chain.send(from, 'DatanetRegistry', 'revoke', [contributionId, id('reason')]);
    await reveal(contributor, contributionId);
    await refuses(revoke(contributor), 'DatanetRegistryWrongState');
    await chain.send(curator, 'DatanetRegistry', 'accept', [contributionId]);
    await refuses(revoke(stranger), 'DatanetRegistryNotConcerned', [
      stranger.address,
      contributor.address,
      curator.address,
    ]);
    const before = await chain.snapshot();
    await revoke(curator);
    await chain.revert(before);
    await revoke(contributor);
    const revoked = await DatanetRegistry.getContribution(contributionId);
    assert.equal(revoked.state, DatanetRegistryContributionState.Accepted);
    assert.equal(revoked.revokedAt, BigInt(await chain.now()));
    await refuses(revoke(curator), 'DatanetRegistryAlreadyRevoked', [contributionId]);
  });

  test('SignerMismatch: another signer, another chain', async () => {
    await refuses(commit(contributor, { signer: stranger }), 'DatanetRegistrySignerMismatch', [
      contributor.address,
      stranger.address,
    ]);
    await refuses(commit(contributor, { chainId: 1 }), 'DatanetRegistrySignerMismatch');
    await refuses(commit(contributor, { count: COUNT + 1 }), 'DatanetRegistrySignerMismatch');
  });

  test('CommitmentKnown for its contributor only; UnknownDatanet; CountZero', async () => {
    await commit();
    await refuses(commit(), 'DatanetRegistryCommitmentKnown', [
      contributor.address,
      commitmentFor(contributor),
    ]);
    // Who repeats another's commitment under its own name neither blocks nor opens it.
    const commitment = commitmentFor(contributor);
    const message = { datanetId, contributor: stranger.address, commitment, recordCount: COUNT };
    const signature = await stranger.signTypedData(
      domainOf(chain, 'DatanetRegistry'),
      CONTRIBUTION_TYPES,
      message,
    );
    await chain.send(
      stranger,
      'DatanetRegistry',
      'commit',
      [datanetId, stranger.address, commitment, COUNT, signature],
      presets.local.bonds.contributionDepositWei,
    );
    await refuses(reveal(stranger, 2n), 'DatanetRegistryCommitmentMismatch');
    await refuses(commit(stranger, { datanet: id('none') }), 'DatanetRegistryUnknownDatanet', [
      id('none'),
    ]);
    await refuses(commit(stranger, { count: 0 }), 'DatanetRegistryCountZero');
  });

  test('NotContributor, CommitmentMismatch, WrongState, UnknownContribution', async () => {
    const contributionId = await commit();
    await refuses(
      chain.send(curator, 'DatanetRegistry', 'accept', [contributionId]),
      'DatanetRegistryWrongState',
    );
    await refuses(reveal(stranger, contributionId), 'DatanetRegistryNotContributor', [
      stranger.address,
      contributor.address,
    ]);
    await refuses(
      reveal(contributor, contributionId, id('manifest'), id('wrong salt')),
      'DatanetRegistryCommitmentMismatch',
    );
    await reveal(relayer, contributionId);
    // The relayer has no second word.
    await refuses(reveal(relayer, contributionId), 'DatanetRegistryWrongState');
    await refuses(reveal(contributor, 9n), 'DatanetRegistryUnknownContribution', [9n]);
    await refuses(
      DatanetRegistry.getContribution(9).catch(toReverted),
      'DatanetRegistryUnknownContribution',
    );
  });

  test('NotCurator: accept, refuse, publishVersion; UnknownVersion', async () => {
    const contributionId = await commit();
    await reveal(contributor, contributionId);
    const refused = ['DatanetRegistryNotCurator', [stranger.address, curator.address]] as const;
    await refuses(chain.send(stranger, 'DatanetRegistry', 'accept', [contributionId]), ...refused);
    await refuses(
      chain.send(stranger, 'DatanetRegistry', 'refuse', [contributionId, id('e'), id('r')]),
      ...refused,
    );
    const version = [datanetId, id('root'), 1, id('m')] as const;
    await refuses(
      chain.send(stranger, 'DatanetRegistry', 'publishVersion', [...version]),
      ...refused,
    );
    await refuses(
      chain.send(curator, 'DatanetRegistry', 'publishVersion', [datanetId, id('root'), 0, id('m')]),
      'DatanetRegistryCountZero',
    );
    await refuses(
      DatanetRegistry.getVersion(datanetId, 1).catch(toReverted),
      'DatanetRegistryUnknownVersion',
      [datanetId, 1n],
    );
  });
});

describe('ModelRegistry', () => {
  test('registerBase keeps the first registration; BaseKnown, BaseUnknown', async () => {
    await chain.send(curator, 'ModelRegistry', 'registerBase', [id('b'), 'tiny', curator.address]);
    await refuses(
      chain.send(stranger, 'ModelRegistry', 'registerBase', [id('b'), 'mine', stranger.address]),
      'ModelRegistryBaseKnown',
      [id('b')],
    );
    const base = await ModelRegistry.getBase(id('b'));
    assert.equal(base.name, 'tiny');
    assert.equal(base.owner, curator.address);
    assert.equal(await ModelRegistry.baseCount(), 1n);
    assert.equal((await ModelRegistry.getBases(0, 10))[0]?.baseHash, id('b'));
    assert.equal((await ModelRegistry.getBases(1, 10)).length, 0);
    await refuses(ModelRegistry.getBase(id('x')).catch(toReverted), 'ModelRegistryBaseUnknown', [
      id('x'),
    ]);
  });

  test('ModelRegistryAdapterKnown: an adapter is registered once', async () => {
    const escrow = chain.deployment.contracts.TaskEscrow;
    const adapter = {
      adapterId: id('x'),
      baseHash: id('x'),
      datanetId: id('x'),
      version: 1,
      sketchCount: 1,
      registeredAt: 0,
      owner: curator.address,
      provider: curator.address,
      taskId: 1,
      adapterHash: id('x'),
      sketchRoot: id('x'),
      traceRoot: id('x'),
      manifest: id('x'),
      name: 'a',
    };
    await chain.sendAs(escrow, 'ModelRegistry', 'registerAdapter', [adapter]);
    const adapterId = await ModelRegistry.adapterIdOf(1, id('x'));
    assert.equal((await ModelRegistry.getAdapter(adapterId)).adapterId, adapterId);
    assert.deepEqual([...(await ModelRegistry.sketchesOf(adapterId))], [id('x'), 1n]);
    await refuses(
      chain.sendAs(escrow, 'ModelRegistry', 'registerAdapter', [adapter]),
      'ModelRegistryAdapterKnown',
      [adapterId],
    );
  });
});

describe('Parameters', () => {
  const local = presets.local;
  const change = (settings: typeof local, from = chain.deployer) =>
    chain.send(from, 'Parameters', 'change', [settings]);

  test('all() is what the preset says, by group and together', async () => {
    const all = await Parameters.all();
    assert.equal(all.fees.dataPpm, local.fees.dataPpm);
    assert.equal((await Parameters.threshold()).denominator, local.threshold.denominator);
    assert.equal((await Parameters.fees()).platformPpm, local.fees.platformPpm);
    assert.equal((await Parameters.slashing()).burnPpm, local.slashing.burnPpm);
    assert.equal((await Parameters.tasks()).leaseSeconds, local.tasks.leaseSeconds);
    assert.equal((await Parameters.bonds()).minStakeWei, local.bonds.minStakeWei);
    assert.equal((await Parameters.timing()).thawSeconds, local.timing.thawSeconds);
    assert.equal((await Parameters.audits()).canaryPpm, local.audits.canaryPpm);
    assert.deepEqual(
      [...(await Parameters.listing())],
      [local.bonds.minStakeWei, local.bonds.maxStakers],
    );
  });

  test('rules stay readable with the time from which they held, and around a change both are right', async () => {
    const before = local.threshold;
    const grace = await Parameters.RULES_GRACE_SECONDS();
    const at = async (second: bigint) =>
      (await Parameters.thresholdsAround(second)).map(({ denominator }) => denominator);
    assert.deepEqual(await at(0n), [before.denominator]);
    await change({ ...local, threshold: { numerator: 1n, denominator: 4n } });
    const first = BigInt(await chain.now());
    // A change of other numbers changes no rules.
    await change({
      ...local,
      threshold: { numerator: 1n, denominator: 4n },
      tasks: { ...local.tasks, claimSeconds: 60n },
    });
    await chain.pass(10n * grace);
    await change({
      ...local,
      threshold: { numerator: 1n, denominator: 5n },
      fees: { ...local.fees, platformPpm: 0n, dataPpm: 600_000n },
    });
    const second = BigInt(await chain.now());
    assert.deepEqual(await at(first - grace - 1n), [before.denominator]);
    assert.deepEqual(await at(first - grace), [4n, before.denominator]);
    assert.deepEqual(await at(first + grace - 1n), [4n, before.denominator]);
    assert.deepEqual(await at(first + grace), [4n]);
    assert.deepEqual(await at(second - grace - 1n), [4n]);
    assert.deepEqual(await at(second), [5n, 4n]);
    assert.deepEqual(await at(second + grace), [5n]);
    assert.deepEqual(await at(2n ** 64n - 1n), [5n]);
    assert.deepEqual(
      (await Parameters.feesAround(second)).map(({ platformPpm }) => platformPpm),
      [0n, local.fees.platformPpm],
    );
    // A third one within the grace: all three were right at some time around.
    await change(local);
    assert.deepEqual(await at(second), [before.denominator, 5n, 4n]);
  });

  test('only the owner changes them, and ownership moves in two steps', async () => {
    const changed = { ...local, threshold: { numerator: 1n, denominator: 4n } };
    await refuses(change(changed, stranger), 'OwnableUnauthorizedAccount', [stranger.address]);
    await change(changed);
    assert.equal((await Parameters.threshold()).denominator, 4n);
    await chain.send(chain.deployer, 'Parameters', 'transferOwnership', [stranger.address]);
    assert.equal(await Parameters.owner(), chain.deployer.address);
    await chain.send(stranger, 'Parameters', 'acceptOwnership', []);
    assert.equal(await Parameters.owner(), stranger.address);
  });

  const { tasks, bonds, timing, fees, slashing, audits } = local;
  const wrong: [string, typeof local][] = [
    ['ParametersThresholdInvalid', { ...local, threshold: { numerator: 2n, denominator: 1n } }],
    ['ParametersThresholdInvalid', { ...local, threshold: { numerator: 0n, denominator: 1n } }],
    ['ParametersFeeSum', { ...local, fees: { ...fees, dataPpm: fees.dataPpm - 1n } }],
    ['ParametersSlashSum', { ...local, slashing: { ...slashing, burnPpm: 0n } }],
    ['ParametersRatioAboveOne', { ...local, fees: { ...fees, learnedPpm: 1_000_001n } }],
    ['ParametersRatioAboveOne', { ...local, tasks: { ...tasks, verifierRewardPpm: 1_000_001n } }],
    [
      'ParametersSelfChallengePays',
      { ...local, slashing: { ...slashing, challengerPpm: 400_001n, burnPpm: 399_999n } },
    ],
    [
      'ParametersCorrelationInvalid',
      { ...local, slashing: { ...slashing, correlationBasePpm: 0n } },
    ],
    [
      'ParametersCorrelationInvalid',
      { ...local, slashing: { ...slashing, correlationPpm: 10_000_001n } },
    ],
    [
      'ParametersSlashWindowTooShort',
      { ...local, slashing: { ...slashing, windowSeconds: timing.thawSeconds - 1n } },
    ],
    ['ParametersCommitteeSize', { ...local, tasks: { ...tasks, committeeSize: 0n } }],
    ['ParametersCommitteeSize', { ...local, tasks: { ...tasks, committeeSize: 22n } }],
    ['ParametersTaskRuleZero', { ...local, tasks: { ...tasks, leaseSeconds: 0n } }],
    [
      'ParametersBondNotBelowLock',
      { ...local, bonds: { ...bonds, abandonBondWei: bonds.trainingLockWei } },
    ],
    ['ParametersBondZero', { ...local, bonds: { ...bonds, minStakeWei: 0n } }],
    [
      'ParametersVersionLockTooHigh',
      { ...local, bonds: { ...bonds, versionLockWei: bonds.trainingLockWei + 1n } },
    ],
    [
      'ParametersDepositTooHigh',
      { ...local, bonds: { ...bonds, contributionDepositWei: bonds.minStakeWei + 1n } },
    ],
    ['ParametersStakersOutOfBounds', { ...local, bonds: { ...bonds, maxStakers: 65_537n } }],
    // Twice 30 + 30 + 120 + 30 + 12 + 3 + 5.
    ['ParametersThawTooShort', { ...local, timing: { ...timing, thawSeconds: 459n } }],
    // Three to answer, five to run again, four messages.
    ['ParametersWindowTooShort', { ...local, timing: { ...timing, challengeWindowSeconds: 11n } }],
    ['ParametersWindowTooShort', { ...local, timing: { ...timing, daAnswerSeconds: 4n } }],
    ['ParametersDurationZero', { ...local, timing: { ...timing, deltaSeconds: 0n } }],
    ['ParametersDurationZero', { ...local, timing: { ...timing, rerunSeconds: 0n } }],
    ['ParametersDurationZero', { ...local, timing: { ...timing, contributionRevealSeconds: 0n } }],
    ['ParametersAuditsUnordered', { ...local, audits: { ...audits, provenKeyAuditPpm: 0n } }],
    ['ParametersAuditsUnordered', { ...local, audits: { ...audits, auditPpm: 100_001n } }],
    ['ParametersAuditsUnordered', { ...local, audits: { ...audits, newKeyAuditPpm: 1_000_001n } }],
    ['ParametersCanariesInvalid', { ...local, audits: { ...audits, canaryPpm: 0n } }],
    ['ParametersEvidenceDelayZero', { ...local, timing: { ...timing, evidenceDelayBlocks: 0n } }],
    ['ParametersFloorIsFixed', { ...local, timing: { ...timing, slashingFloorSeconds: 1n } }],
  ];
  for (const [error, settings] of wrong) {
    test(`${error} refuses the change`, async () => {
      await refuses(change(settings), error);
    });
  }

  test('the limits themselves are accepted', async () => {
    await change({ ...local, timing: { ...timing, thawSeconds: 460n } });
    await change({
      ...local,
      timing: { ...timing, rerunSeconds: 5n, challengeWindowSeconds: 12n },
    });
  });

  for (const preset of ['testnet', 'mainnet'] as const) {
    test(`ParametersBelowSlashingFloor: on ${preset} nobody is slashed for what could be kept out of the blocks`, async () => {
      const values = presets[preset];
      const floor = forceInclusionSeconds[preset];
      assert.equal(values.timing.slashingFloorSeconds, floor);
      const net = await startChain(preset, 1);
      const owner = net.deployment.contracts.Timelock;
      const short = floor - 1n;
      for (const wrong of [
        { ...values, tasks: { ...values.tasks, leaseSeconds: short } },
        { ...values, tasks: { ...values.tasks, revealSeconds: short } },
        { ...values, tasks: { ...values.tasks, voteCommitSeconds: short } },
        { ...values, tasks: { ...values.tasks, voteRevealSeconds: short } },
        { ...values, timing: { ...values.timing, daAnswerSeconds: short } },
        { ...values, timing: { ...values.timing, contributionRevealSeconds: short } },
        {
          ...values,
          timing: {
            ...values.timing,
            challengeWindowSeconds: short,
            daAnswerSeconds: 1n,
            rerunSeconds: 1n,
          },
        },
      ]) {
        await refuses(
          net.sendAs(owner, 'Parameters', 'change', [wrong]),
          'ParametersBelowSlashingFloor',
          [short, floor],
        );
      }
      // Not even a decision of the governor lowers the floor itself.
      const lowered = { ...values, timing: { ...values.timing, slashingFloorSeconds: 0n } };
      await refuses(
        net.sendAs(owner, 'Parameters', 'change', [lowered]),
        'ParametersFloorIsFixed',
        [floor],
      );
      await net.sendAs(owner, 'Parameters', 'change', [values]);
    });
  }
});
