/** Versions of a datanet: the lock behind their clusters, and records that their author separated. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { dataSlice, id, type Wallet, ZeroAddress } from 'ethers';
import { type Bytes32, buildTree, fromHex, parseAddress, proveLeaf, toHex } from '#crypto';
import { buildVersion, hashRecord, proveRecord, recordsRoot } from '#protocol';
import type {
  DatanetRegistryPlacedRecordInput,
  DatanetRegistrySeparationEvidenceInput,
} from '../bindings/structs.ts';
import { decodeEvent, encodeCall } from '../connect.ts';
import { evidenceCommitment } from '../evidence.ts';
import { startChain } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import { commitRecords, SALT } from './contributing.ts';
import { assertConserved, bonds, isolate, refuses, stake, timing } from './fixtures.ts';

const LOCK_WEI = 20n * OPEN_WEI;
const chain = await startChain();
const { DatanetRegistry, Staking } = chain.contracts;
const [curator, ada, bob, watcher, thief] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
];
await chain.send(chain.deployer, 'Parameters', 'change', [
  { ...presets.local, bonds: { ...bonds, versionLockWei: LOCK_WEI } },
]);
await stake(chain, curator, 0, 50n);
await chain.send(curator, 'DatanetRegistry', 'createDatanet', [id('MIT'), id('policy'), 'docs']);
const [datanetId = ''] = await DatanetRegistry.datanetIds(0, 1);

const hashOf = (text: string): Bytes32 => hashRecord(new TextEncoder().encode(text));
const shared = hashOf('Both contribute this record.');
const adasRecords = [hashOf('Of Ada alone.'), shared];
const bobsRecords = [shared, hashOf('Of Bob alone.'), hashOf('Of Bob as well.')];

async function contribute(who: Wallet, records: readonly Bytes32[]): Promise<bigint> {
  const root = recordsRoot(records);
  const contributionId = await commitRecords(chain, {
    datanetId,
    who,
    root,
    count: records.length,
  });
  await chain.send(who, 'DatanetRegistry', 'reveal', [contributionId, root, SALT, id('manifest')]);
  return contributionId;
}

const adasId = await contribute(ada, adasRecords);
const bobsId = await contribute(bob, bobsRecords);
isolate(chain);

/** Publishes both contributions with these clusters; the evidence names the shared record in both. */
async function publishWith(
  clusters: readonly number[],
): Promise<DatanetRegistrySeparationEvidenceInput> {
  const records = [...adasRecords, ...bobsRecords];
  const version = buildVersion(
    records.map((recordHash, index) => ({
      recordHash,
      contributor: parseAddress(index < adasRecords.length ? ada.address : bob.address),
      cluster: clusters[index]!,
      registeredAt: 1_000 + index,
    })),
  );
  await chain.pass(1);
  await chain.send(curator, 'DatanetRegistry', 'publishVersion', [
    datanetId,
    version.root,
    version.recordCount,
    id('manifest'),
  ]);
  const place = (
    index: number,
    contributionId: bigint,
    own: readonly Bytes32[],
    position: number,
  ): DatanetRegistryPlacedRecordInput => ({
    ...version.leaves[index]!,
    index,
    proof: proveRecord(version, index).siblings.map(toHex),
    contributionId,
    position,
    recordProof: proveLeaf(buildTree(own.map((hash) => fromHex(hash))), position).siblings.map(
      toHex,
    ),
  });
  return {
    datanetId,
    version: (await DatanetRegistry.getDatanet(datanetId)).versionCount,
    recordHash: shared,
    first: place(1, adasId, adasRecords, 1),
    second: place(2, bobsId, bobsRecords, 0),
  };
}

const SEPARATED = [0, 1, 2, 3, 4];
const TOGETHER = [0, 1, 1, 3, 4];

async function commit(evidence: DatanetRegistrySeparationEvidenceInput): Promise<void> {
  const encoded = dataSlice(encodeCall('DatanetRegistry', 'mergeClusters', [evidence]), 4);
  await chain.send(watcher, 'Referee', 'commitEvidence', [
    evidenceCommitment(watcher.address, encoded),
  ]);
}
const merge = (evidence: DatanetRegistrySeparationEvidenceInput, from = watcher) =>
  chain.send(from, 'DatanetRegistry', 'mergeClusters', [evidence]);

describe('DatanetRegistry: versions and their clusters', () => {
  test('an author that separates one record shown by two loses its lock; the clusters are one', async () => {
    const evidence = await publishWith(SEPARATED);
    assert.equal(await Staking.freeOf(curator.address), 50n * OPEN_WEI - LOCK_WEI);
    await commit(evidence);
    const receipt = await merge(evidence);
    const said = receipt.logs
      .map((log) => decodeEvent(chain.deployment, log))
      .find((event) => event?.event === 'ClustersMerged');
    assert.equal(said?.args['slashedWei'], LOCK_WEI);
    assert.equal(said?.args['challenger'], watcher.address);
    assert.equal(await DatanetRegistry.areMerged(datanetId, 1, 2, 1), true);
    assert.equal(await Staking.credits(watcher.address), (LOCK_WEI * 4n) / 10n);
    assert.equal(await Staking.burnedWei(), (LOCK_WEI * 6n) / 10n);
    assert.equal(await Staking.credits(ZeroAddress), 0n);
    assert.equal(await Staking.credits(ada.address), 0n);
    await assertConserved(chain);
  });

  test("'DatanetRegistryNotSeparated': who put it in one cluster loses nothing", async () => {
    const evidence = await publishWith(TOGETHER);
    await commit(evidence);
    await refuses(merge(evidence), 'DatanetRegistryNotSeparated', [shared, 1n, 1n]);
    assert.equal(await Staking.freeOf(curator.address), 50n * OPEN_WEI - LOCK_WEI);
    assert.equal(await Staking.burnedWei(), 0n);
  });

  test("'DatanetRegistryProofInvalid': a cluster that the version does not say", async () => {
    const honest = await publishWith(TOGETHER);
    const evidence = { ...honest, second: { ...honest.second, cluster: 2 } };
    await commit(evidence);
    await refuses(merge(evidence), 'DatanetRegistryProofInvalid');
  });

  test("'DatanetRegistryNotRevealedBefore': a record that came later", async () => {
    const evidence = await publishWith(SEPARATED);
    const late = { ...evidence, second: { ...evidence.second } };
    late.second.contributionId = await contribute(thief, bobsRecords);
    await commit(late);
    await refuses(merge(late), 'DatanetRegistryNotRevealedBefore');
  });

  test("'DatanetRegistryEvidenceNotCommitted' and 'DatanetRegistryEvidenceTooEarly': evidence is its finder's", async () => {
    const evidence = await publishWith(SEPARATED);
    await refuses(merge(evidence), 'DatanetRegistryEvidenceNotCommitted');
    await chain.send(chain.deployer, 'Parameters', 'change', [
      {
        ...presets.local,
        bonds: { ...bonds, versionLockWei: LOCK_WEI },
        timing: { ...timing, evidenceDelayBlocks: 9n },
      },
    ]);
    await commit(evidence);
    await refuses(merge(evidence), 'DatanetRegistryEvidenceTooEarly');
    await refuses(merge(evidence, thief), 'DatanetRegistryEvidenceNotCommitted');
  });

  test("'DatanetRegistryAlreadyMerged': a pair is merged once, whichever comes first", async () => {
    const evidence = await publishWith(SEPARATED);
    await commit(evidence);
    await merge(evidence);
    const turned = { ...evidence, first: evidence.second, second: evidence.first };
    await commit(turned);
    await refuses(merge(turned), 'DatanetRegistryAlreadyMerged', [2n, 1n]);
  });

  test("'DatanetRegistryVersionHeld': the lock comes back after the window, to its author, once", async () => {
    const release = () => chain.send(watcher, 'DatanetRegistry', 'releaseVersion', [datanetId, 1]);
    await publishWith(TOGETHER);
    const until = await DatanetRegistry.heldUntil(datanetId, 1);
    await refuses(release(), 'DatanetRegistryVersionHeld', [datanetId, 1n, until]);
    await chain.pass(timing.challengeWindowSeconds);
    await release();
    assert.equal(await Staking.freeOf(curator.address), 50n * OPEN_WEI);
    await refuses(release(), 'DatanetRegistryVersionHeld', [datanetId, 1n, 0n]);
    await assertConserved(chain);
  });

  test('a version needs its author to have stake that is free', async () => {
    await publishWith(TOGETHER);
    await publishWith(TOGETHER);
    await refuses(
      chain.send(curator, 'DatanetRegistry', 'publishVersion', [datanetId, id('r'), 1, id('m')]),
      'StakingFreeShort',
    );
  });
});
