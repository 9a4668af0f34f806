/** A contribution's deposit, from its commit to its reveal or its end; and contributors that change their key. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { id, type Wallet } from 'ethers';
import { parseAddress, parseBytes32, toHex } from '#crypto';
import { rotationDigest } from '#protocol';
import { DatanetRegistryContributionState } from '../bindings/structs.ts';
import { startChain, TEST_CHAIN_ID } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import { type Committed, commitRecords, KEY_TYPES, SALT } from './contributing.ts';
import { assertConserved, bonds, domainOf, isolate, refuses, timing } from './fixtures.ts';

const chain = await startChain();
const { DatanetRegistry } = chain.contracts;
const [curator, ada, relayer, stranger, fresh, third] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
];
await chain.send(curator, 'DatanetRegistry', 'createDatanet', [id('MIT'), id('policy'), 'docs']);
const [datanetId = ''] = await DatanetRegistry.datanetIds(0, 1);
isolate(chain);

const DEPOSIT_WEI = bonds.contributionDepositWei;
const ROOT = id('records');

const commit = (changes: Partial<Committed> = {}) =>
  commitRecords(chain, { datanetId, who: ada, root: ROOT, count: 7, sender: relayer, ...changes });
const reveal = (from: Wallet, contributionId: bigint, manifest = 'manifest') =>
  chain.send(from, 'DatanetRegistry', 'reveal', [contributionId, ROOT, SALT, id(manifest)]);
const send = (from: Wallet, fn: 'accept' | 'lapse', contributionId: bigint) =>
  chain.send(from, 'DatanetRegistry', fn, [contributionId]);
const entryOf = (contributionId: bigint) => DatanetRegistry.getContribution(contributionId);

/** Deposits held, burned, and what of them the relayer may take. */
const buckets = async () => {
  await assertConserved(chain);
  return [
    await DatanetRegistry.depositsWei(),
    await DatanetRegistry.burnedWei(),
    await DatanetRegistry.credits(relayer.address),
  ];
};

describe('a contribution and its deposit', () => {
  test('whoever sent the commit gets its deposit back with the first reveal, and takes it itself', async () => {
    const contributionId = await commit();
    assert.deepEqual(await buckets(), [DEPOSIT_WEI, 0n, 0n]);
    const { depositWei, revealBy, committedAt } = await entryOf(contributionId);
    assert.equal(depositWei, DEPOSIT_WEI);
    assert.equal(revealBy, committedAt + timing.contributionRevealSeconds);
    await reveal(ada, contributionId);
    assert.deepEqual(await buckets(), [0n, 0n, DEPOSIT_WEI]);
    // A corrected manifest returns nothing a second time.
    await reveal(ada, contributionId, 'better manifest');
    assert.deepEqual(await buckets(), [0n, 0n, DEPOSIT_WEI]);
    const before = await chain.provider.getBalance(relayer.address);
    await chain.send(relayer, 'DatanetRegistry', 'withdrawCredits', []);
    assert.equal((await chain.provider.getBalance(relayer.address)) - before, DEPOSIT_WEI);
    assert.deepEqual(await buckets(), [0n, 0n, 0n]);
  });

  test('what the curator decides costs nobody a deposit: neither a refusal nor a revocation', async () => {
    const refused = await commit();
    await reveal(relayer, refused);
    const args = [refused, id('evidence'), id('earlier')] as const;
    await chain.send(curator, 'DatanetRegistry', 'refuse', [...args]);
    const accepted = await commit({ count: 8 });
    await reveal(relayer, accepted);
    await send(curator, 'accept', accepted);
    await chain.send(ada, 'DatanetRegistry', 'revoke', [accepted, id('reason')]);
    assert.deepEqual(await buckets(), [0n, 0n, 2n * DEPOSIT_WEI]);
  });

  test("'DatanetRegistryDepositMismatch': neither less than the deposit nor more", async () => {
    for (const sentWei of [0n, DEPOSIT_WEI - 1n, DEPOSIT_WEI + 1n])
      await refuses(commit({ valueWei: sentWei }), 'DatanetRegistryDepositMismatch', [
        DEPOSIT_WEI,
        sentWei,
      ]);
    assert.deepEqual(await buckets(), [0n, 0n, 0n]);
    assert.equal(await DatanetRegistry.contributionTotal(), 0n);
  });

  test('a change of parameters changes nothing of what was committed before', async () => {
    const before = await commit();
    const { revealBy } = await entryOf(before);
    const dearer = 3n * OPEN_WEI;
    await chain.send(chain.deployer, 'Parameters', 'change', [
      {
        ...presets.local,
        bonds: { ...bonds, contributionDepositWei: dearer },
        timing: { ...timing, contributionRevealSeconds: 5n },
      },
    ]);
    await refuses(commit({ count: 8 }), 'DatanetRegistryDepositMismatch', [dearer, DEPOSIT_WEI]);
    const after = await commit({ count: 8, valueWei: dearer });
    assert.equal((await entryOf(before)).revealBy, revealBy);
    assert.deepEqual(await buckets(), [DEPOSIT_WEI + dearer, 0n, 0n]);
    await chain.pass(6n);
    await send(stranger, 'lapse', after);
    await reveal(relayer, before);
    assert.deepEqual(await buckets(), [0n, dearer, DEPOSIT_WEI]);
  });

  test("'DatanetRegistryRevealLate' and 'DatanetRegistryRevealOpen': the last second is the contributor's, then all is burned", async () => {
    const contributionId = await commit();
    const { revealBy } = await entryOf(contributionId);
    const until = async (second: bigint) => chain.pass(second - BigInt(await chain.now()) - 1n);
    await until(revealBy);
    const inTime = await chain.snapshot();
    await refuses(send(stranger, 'lapse', contributionId), 'DatanetRegistryRevealOpen', [
      contributionId,
      revealBy,
    ]);
    await chain.revert(inTime);
    const again = await chain.snapshot();
    await reveal(ada, contributionId);
    assert.equal(await DatanetRegistry.revealedAt(contributionId), revealBy);
    await chain.revert(again);
    await until(revealBy + 1n);
    await refuses(reveal(ada, contributionId), 'DatanetRegistryRevealLate', [
      contributionId,
      revealBy,
    ]);
    await send(stranger, 'lapse', contributionId);
    assert.deepEqual(await buckets(), [0n, DEPOSIT_WEI, 0n]);
    const { state, depositWei } = await entryOf(contributionId);
    assert.equal(state, DatanetRegistryContributionState.Lapsed);
    assert.equal(depositWei, 0n);
    const over = [contributionId, DatanetRegistryContributionState.Lapsed];
    await refuses(send(stranger, 'lapse', contributionId), 'DatanetRegistryWrongState', over);
    await refuses(reveal(ada, contributionId), 'DatanetRegistryWrongState', over);
    await refuses(send(curator, 'accept', contributionId), 'DatanetRegistryWrongState', over);
    await refuses(send(stranger, 'lapse', 9n), 'DatanetRegistryUnknownContribution', [9n]);
  });

  test('what was revealed does not lapse, however long nobody decides', async () => {
    const contributionId = await commit();
    await reveal(relayer, contributionId);
    await chain.pass(10n * timing.contributionRevealSeconds);
    await refuses(send(stranger, 'lapse', contributionId), 'DatanetRegistryWrongState');
    await reveal(ada, contributionId, 'corrected late');
    await send(curator, 'accept', contributionId);
  });

  test('a commitment is found under its contributor', async () => {
    const contributionId = await commit();
    const { commitment } = await entryOf(contributionId);
    const found = (who: Wallet) => DatanetRegistry.contributionIdOf(who.address, commitment);
    assert.deepEqual([await found(ada), await found(stranger)], [contributionId, 0n]);
  });
});

const DEADLINE = 4_000_000_000n;

type Rotation = {
  from?: Wallet;
  to?: Wallet;
  fromSigner?: Wallet;
  toSigner?: Wallet;
  nonce?: bigint;
  deadline?: bigint;
  domain?: ReturnType<typeof domainOf>;
};

async function rotate({ from = ada, to = fresh, fromSigner, toSigner, ...rest }: Rotation = {}) {
  const nonce = rest.nonce ?? (await DatanetRegistry.rotationNonce(from.address));
  const deadline = rest.deadline ?? DEADLINE;
  const domain = rest.domain ?? domainOf(chain, 'DatanetRegistry');
  const message = { from: from.address, to: to.address, nonce, deadline };
  const args = [
    from.address,
    to.address,
    deadline,
    await (fromSigner ?? from).signTypedData(domain, KEY_TYPES, message),
    await (toSigner ?? to).signTypedData(domain, KEY_TYPES, message),
  ] as const;
  return chain.send(stranger, 'DatanetRegistry', 'rotateContributor', [...args]);
}

const current = async (...wallets: Wallet[]) =>
  [...(await DatanetRegistry.contributorsOf(wallets.map(({ address }) => address)))].map(
    (address) => chain.wallets.find((wallet) => wallet.address === address),
  );

describe('a contributor that changes its key', () => {
  test('every key of a contributor leads to the one in force', async () => {
    await rotate();
    await rotate({ from: fresh, to: third });
    assert.deepEqual(await current(ada, fresh, third, stranger), [third, third, third, stranger]);
    assert.equal(await DatanetRegistry.contributorOf(ada.address), third.address);
    assert.equal(await DatanetRegistry.rotationNonce(third.address), 2n);
  });

  test('the new key reveals, corrects and revokes what came under the old one, which no longer may', async () => {
    const contributionId = await commit();
    await rotate();
    const refused = ['DatanetRegistryNotContributor', [ada.address, fresh.address]] as const;
    await refuses(reveal(ada, contributionId), ...refused);
    await reveal(fresh, contributionId);
    await reveal(fresh, contributionId, 'corrected');
    await refuses(reveal(ada, contributionId), 'DatanetRegistryWrongState');
    await send(curator, 'accept', contributionId);
    const revoke = (from: Wallet) =>
      chain.send(from, 'DatanetRegistry', 'revoke', [contributionId, id('reason')]);
    await refuses(revoke(ada), 'DatanetRegistryNotConcerned', [
      ada.address,
      fresh.address,
      curator.address,
    ]);
    await revoke(fresh);
    const entry = await entryOf(contributionId);
    assert.equal(entry.contributor, ada.address);
    assert.equal(entry.manifest, id('corrected'));
    assert.equal(entry.revokedAt, BigInt(await chain.now()));
  });

  test("'DatanetRegistryKeyRetired': a key that was replaced contributes nothing more and passes on nothing", async () => {
    await rotate();
    await refuses(commit(), 'DatanetRegistryKeyRetired', [ada.address]);
    await refuses(rotate({ to: third }), 'DatanetRegistryKeyRetired', [ada.address]);
    await commit({ who: fresh });
  });

  test("'DatanetRegistryKeyTaken': a key stands for one contributor, once", async () => {
    await rotate();
    await refuses(rotate({ from: stranger }), 'DatanetRegistryKeyTaken', [fresh.address]);
    // Back to a key that was given up, the first one or a later one; to itself; to who was replaced.
    await refuses(rotate({ from: fresh, to: ada }), 'DatanetRegistryKeyTaken', [ada.address]);
    await refuses(rotate({ from: fresh, to: fresh }), 'DatanetRegistryKeyTaken', [fresh.address]);
    await rotate({ from: fresh, to: third });
    await refuses(rotate({ from: third, to: fresh }), 'DatanetRegistryKeyTaken', [fresh.address]);
    await refuses(rotate({ from: relayer, to: ada }), 'DatanetRegistryKeyTaken', [ada.address]);
  });

  test("'DatanetRegistryKeyExpired': not after its deadline", async () => {
    const deadline = BigInt(await chain.now()) + 5n;
    await chain.pass(5n);
    await refuses(rotate({ deadline }), 'DatanetRegistryKeyExpired', [deadline]);
    await rotate({ deadline: BigInt(await chain.now()) + 1n });
  });

  test('both sign, for this chain, this contract and this change', async () => {
    for (const wrong of [
      { fromSigner: stranger },
      { toSigner: stranger },
      { domain: domainOf(chain, 'DatanetRegistry', TEST_CHAIN_ID + 1) },
      { domain: domainOf(chain, 'Staking') },
      { nonce: 1n },
    ])
      await refuses(rotate(wrong), 'DatanetRegistrySignerMismatch');
    await rotate();
    // What was signed for the first change does not serve for the second.
    await refuses(rotate({ from: fresh, to: third, nonce: 0n }), 'DatanetRegistrySignerMismatch');
  });

  test('the digest is the one of the protocol', async () => {
    const change = {
      from: parseAddress(ada.address),
      to: parseAddress(fresh.address),
      nonce: 3n,
      deadline: DEADLINE,
    };
    const { from, to, nonce, deadline } = change;
    const verifyingContract = parseAddress(chain.deployment.contracts.DatanetRegistry);
    assert.equal(
      parseBytes32(await DatanetRegistry.rotationDigest(from, to, nonce, deadline)),
      toHex(rotationDigest({ chainId: TEST_CHAIN_ID, verifyingContract }, change)),
    );
  });
});
