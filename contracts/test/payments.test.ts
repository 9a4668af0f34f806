/** InferenceEscrow and Epochs: deposits, vouchers, pots, anchors, claims, and every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexlify, id, recoverAddress, type Wallet, ZeroAddress, ZeroHash } from 'ethers';
import { buildTree } from '#crypto';
import { startChain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  anchor,
  assertConserved,
  bonds,
  claimArgs,
  domainOf,
  finalise,
  isolate,
  type Payout,
  pay,
  payoutTree,
  refuses,
  rootsOf,
  signVoucher,
  stake,
  timing,
  toReverted,
  type Voucher,
} from './fixtures.ts';

const chain = await startChain();
const { InferenceEscrow, Epochs } = chain.contracts;
const [client, provider, staker, alice, bob, carol] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
];
await stake(chain, staker, 0);
isolate(chain);

const voucherOf = (computeWei: bigint, feeWei: bigint): Voucher => ({
  client: client.address,
  provider: provider.address,
  cumulativeComputeWei: computeWei,
  cumulativeFeeWei: feeWei,
});
const collect = (vouchers: Voucher[], signatures: string[], from = provider) =>
  chain.send(from, 'InferenceEscrow', 'collect', [vouchers, signatures]);
const deposit = (wei: bigint, from = client) =>
  chain.send(from, 'InferenceEscrow', 'deposit', [provider.address], wei);

describe('InferenceEscrow', () => {
  test('a voucher pays the provider, the treasury and the pot its increase', async () => {
    await deposit(OPEN_WEI);
    const first = voucherOf(1_000n, 10_000_000n);
    await collect([first], [await signVoucher(chain, client, first)]);
    assert.equal(await InferenceEscrow.credits(provider.address), 1_000n);
    assert.equal(await InferenceEscrow.credits(chain.treasury.address), 1_000_000n);
    assert.equal(await Epochs.potTotalWei(), 9_000_000n);
    assert.equal(await Epochs.potOf(1), 9_000_000n);
    const second = voucherOf(1_500n, 30_000_000n);
    // Anybody may bring it in: the money has its places.
    await collect([second], [await signVoucher(chain, client, second)], carol);
    assert.equal(await InferenceEscrow.credits(provider.address), 1_500n);
    assert.equal(await InferenceEscrow.credits(carol.address), 0n);
    assert.equal(await Epochs.potTotalWei(), 27_000_000n);
    const channel = await InferenceEscrow.getChannel(client.address, provider.address);
    assert.equal(channel.balanceWei, OPEN_WEI - 30_001_500n);
    assert.equal(channel.computeWei, 1_500n);
    assert.equal(channel.feeWei, 30_000_000n);
    assert.equal(
      recoverAddress(
        await InferenceEscrow.voucherDigest(second),
        await signVoucher(chain, client, second),
      ),
      client.address,
    );
    await assertConserved(chain);
  });

  test('a batch of several clients is collected at once, or not at all', async () => {
    await deposit(OPEN_WEI);
    await deposit(OPEN_WEI, alice);
    const mine = voucherOf(5n, 1_000_000n);
    const hers = { ...mine, client: alice.address };
    const signatures = [
      await signVoucher(chain, client, mine),
      await signVoucher(chain, alice, hers),
    ];
    await refuses(
      collect([mine, { ...hers, client: bob.address }], signatures),
      'InferenceEscrowSignerMismatch',
    );
    assert.equal(await InferenceEscrow.credits(provider.address), 0n);
    await collect([mine, hers], signatures);
    assert.equal(await InferenceEscrow.credits(provider.address), 10n);
    await assertConserved(chain);
  });

  test('InferenceEscrowVoucherStale: a replay, or an older one, pays nothing', async () => {
    await deposit(OPEN_WEI);
    const old = voucherOf(10n, 1_000_000n);
    const recent = voucherOf(20n, 1_000_000n);
    const signatures = [
      await signVoucher(chain, client, old),
      await signVoucher(chain, client, recent),
    ];
    await collect([recent], [signatures[1]!]);
    const refused = ['InferenceEscrowVoucherStale', [client.address, provider.address]] as const;
    await refuses(collect([recent], [signatures[1]!]), ...refused);
    await refuses(collect([old], [signatures[0]!]), ...refused);
    await refuses(collect([recent, recent], [signatures[1]!, signatures[1]!]), ...refused);
    const lowerFee = voucherOf(30n, 0n);
    await refuses(collect([lowerFee], [await signVoucher(chain, client, lowerFee)]), ...refused);
  });

  test('a voucher for another chain, contract or provider is refused', async () => {
    await deposit(OPEN_WEI);
    const voucher = voucherOf(10n, 1_000_000n);
    for (const domain of [
      domainOf(chain, 'InferenceEscrow', 1),
      domainOf(chain, 'Referee'),
      { ...domainOf(chain, 'InferenceEscrow'), version: '2' },
      { ...domainOf(chain, 'InferenceEscrow'), name: 'Other' },
    ]) {
      await refuses(
        collect([voucher], [await signVoucher(chain, client, voucher, domain)]),
        'InferenceEscrowSignerMismatch',
      );
    }
    const signature = await signVoucher(chain, client, voucher);
    await refuses(
      collect([{ ...voucher, provider: carol.address }], [signature]),
      'InferenceEscrowSignerMismatch',
    );
    await refuses(
      collect([{ ...voucher, cumulativeComputeWei: 11n }], [signature]),
      'InferenceEscrowSignerMismatch',
    );
    await refuses(collect([voucher], ['0x']), 'InferenceEscrowSignerMismatch');
    // The zero address signs nothing, however bad the signature.
    await refuses(
      collect([{ ...voucher, client: ZeroAddress }], [`0x${'00'.repeat(65)}`]),
      'InferenceEscrowSignerMismatch',
    );
  });

  test('BalanceShort, FeeUneven, LengthMismatch, BatchEmpty, AmountZero', async () => {
    const voucher = voucherOf(10n, 1_000_000n);
    const signature = await signVoucher(chain, client, voucher);
    await refuses(collect([voucher], [signature]), 'InferenceEscrowBalanceShort', [
      client.address,
      provider.address,
      1_000_010n,
      0n,
    ]);
    const uneven = voucherOf(10n, 1_000_001n);
    await refuses(
      collect([uneven], [await signVoucher(chain, client, uneven)]),
      'InferenceEscrowFeeUneven',
      [1_000_001n],
    );
    await refuses(collect([voucher], []), 'InferenceEscrowLengthMismatch', [1n, 0n]);
    await refuses(collect([], []), 'InferenceEscrowBatchEmpty');
    await refuses(deposit(0n), 'InferenceEscrowAmountZero');
    await refuses(
      chain.send(client, 'InferenceEscrow', 'requestThaw', [provider.address, 0]),
      'InferenceEscrowAmountZero',
    );
    await refuses(
      chain.send(client, 'InferenceEscrow', 'requestThaw', [provider.address, 1]),
      'InferenceEscrowBalanceShort',
    );
  });

  test('InferenceEscrowAmountTooLarge: a channel holds less than 2^88 wei', async () => {
    const rich = '0x00000000000000000000000000000000000051c4';
    await chain.request('hardhat_setBalance', [rich, `0x${(2n ** 90n).toString(16)}`]);
    const put = (wei: bigint) =>
      chain.sendAs(rich, 'InferenceEscrow', 'deposit', [provider.address], wei);
    await put(2n ** 88n - 1n);
    await refuses(put(1n), 'InferenceEscrowAmountTooLarge', [2n ** 88n]);
    await assertConserved(chain);
  });

  test('vouchers of several providers in one batch credit each its own', async () => {
    const wallets = [client, alice, bob] as const;
    const to = [provider.address, provider.address, carol.address];
    const vouchers = wallets.map(({ address }, i) => ({
      client: address,
      provider: to[i]!,
      cumulativeComputeWei: 10n ** BigInt(i),
      cumulativeFeeWei: 1_000_000n,
    }));
    for (const [i, wallet] of wallets.entries())
      await chain.send(wallet, 'InferenceEscrow', 'deposit', [to[i]!], OPEN_WEI);
    const signatures = await Promise.all(
      vouchers.map((voucher, i) => signVoucher(chain, wallets[i]!, voucher)),
    );
    await collect(vouchers, signatures);
    assert.equal(await InferenceEscrow.credits(provider.address), 11n);
    assert.equal(await InferenceEscrow.credits(carol.address), 100n);
    assert.equal(await InferenceEscrow.credits(chain.treasury.address), 300_000n);
    assert.equal(await InferenceEscrow.depositedTotalWei(), 3n * OPEN_WEI - 3_000_111n);
    await assertConserved(chain);
  });

  test('thawing money can be drawn on until it is withdrawn', async () => {
    await deposit(10_000_000n);
    await chain.send(client, 'InferenceEscrow', 'requestThaw', [provider.address, 9_000_000n]);
    await refuses(
      chain.send(client, 'InferenceEscrow', 'withdraw', [provider.address]),
      'InferenceEscrowStillThawing',
    );
    const voucher = voucherOf(0n, 3_000_000n);
    await collect([voucher], [await signVoucher(chain, client, voucher)]);
    await chain.pass(timing.thawSeconds);
    const before = await chain.provider.getBalance(client.address);
    await chain.send(client, 'InferenceEscrow', 'withdraw', [provider.address]);
    assert.equal((await chain.provider.getBalance(client.address)) - before, 7_000_000n);
    await refuses(
      chain.send(client, 'InferenceEscrow', 'withdraw', [provider.address]),
      'InferenceEscrowNothingThawing',
    );
    await assertConserved(chain);
  });
});

describe('Epochs', () => {
  const payouts: Payout[] = [
    { account: alice.address, cumulativeWei: 2_000_000n },
    { account: bob.address, cumulativeWei: 3_000_000n },
    { account: carol.address, cumulativeWei: 4_000_000n },
  ];
  const claim = (...args: Parameters<typeof claimArgs>) =>
    chain.send(client, 'Epochs', 'claim', [...claimArgs(...args)]);

  test('claims of a final root pay each account once, and its increase in the next epoch', async () => {
    await pay(chain, client, provider, 7n, 10_000_000n);
    const epoch = await anchor(chain, staker, payouts);
    await finalise(chain, epoch);
    const before = await chain.provider.getBalance(alice.address);
    await claim(payouts, 0);
    assert.equal((await chain.provider.getBalance(alice.address)) - before, 2_000_000n);
    await refuses(claim(payouts, 0), 'EpochsNothingDue', [alice.address]);
    await pay(chain, client, provider, 0n, 10_000_000n);
    assert.equal(await Epochs.potOf(2), 9_000_000n);
    const next = payouts.map((payout) => ({ ...payout, cumulativeWei: payout.cumulativeWei * 2n }));
    await finalise(chain, await anchor(chain, staker, next));
    await claim(next, 0);
    assert.equal(await Epochs.claimedWei(alice.address), 4_000_000n);
    assert.equal((await chain.provider.getBalance(alice.address)) - before, 4_000_000n);
    await claim(next, 1);
    await claim(next, 2);
    assert.equal(await Epochs.claimedTotalWei(), 18_000_000n);
    await assertConserved(chain);
  });

  test('getEpoch gives the anchor, and the opening block of the open epoch', async () => {
    // The first one opens with what comes in first.
    assert.equal((await Epochs.getEpoch(1)).openedBlock, 0n);
    await pay(chain, client, provider, 0n, 10_000_000n);
    const fundedBlock = BigInt(await chain.provider.getBlockNumber());
    assert.equal((await Epochs.getEpoch(1)).openedBlock, fundedBlock);
    await pay(chain, client, provider, 0n, 10_000_000n);
    assert.equal((await Epochs.getEpoch(1)).openedBlock, fundedBlock);
    const receipts = buildTree([Uint8Array.of(1), Uint8Array.of(2)]);
    await anchor(chain, staker, payouts, receipts);
    const epoch = await Epochs.getEpoch(1);
    assert.equal(epoch.payoutRoot, hexlify(payoutTree(payouts).root));
    assert.equal(epoch.totalWei, 9_000_000n);
    assert.equal(epoch.leafCount, 3n);
    assert.equal(epoch.receiptCount, 2n);
    assert.equal(epoch.manifest, id('epoch manifest'));
    assert.equal(epoch.finalised, false);
    assert.equal(epoch.finalisableAt, BigInt(await chain.now()) + timing.challengeWindowSeconds);
    assert.equal((await Epochs.getEpoch(2)).openedBlock, epoch.anchoredBlock);
    assert.deepEqual([...(await Epochs.receiptsOf(1))], [hexlify(receipts.root), 2n]);
    await refuses(Epochs.getEpoch(3).catch(toReverted), 'EpochsUnknownEpoch', [3n]);
    await refuses(Epochs.receiptsOf(2).catch(toReverted), 'EpochsUnknownEpoch', [2n]);
  });

  test('only payout roots that claims are judged by stay readable', async () => {
    await pay(chain, client, provider, 0n, 10_000_000n);
    const root = hexlify(payoutTree(payouts).root);
    const rootOf = async (epoch: number) => (await Epochs.getEpoch(epoch)).payoutRoot;
    await finalise(chain, await anchor(chain, staker, payouts));
    await anchor(chain, staker, payouts);
    assert.deepEqual([await rootOf(1), await rootOf(2)], [root, root]);
    await chain.pass(timing.challengeWindowSeconds);
    await chain.send(staker, 'Epochs', 'finalise', [2]);
    assert.deepEqual(
      [await rootOf(1), await rootOf(2), await rootOf(3)],
      [ZeroHash, root, ZeroHash],
    );
  });

  test('anchor: OutOfOrder, PreviousOpen, StakingFreeShort, TotalAbovePot, TotalFell', async () => {
    await pay(chain, client, provider, 0n, 10_000_000n);
    const send = (epoch: bigint, totalWei: bigint, from = staker, leafCount = 1) =>
      chain.send(from, 'Epochs', 'anchor', [epoch, rootsOf({ totalWei, leafCount }), '0x']);
    await refuses(send(2n, 1n), 'EpochsOutOfOrder', [2n, 1n]);
    const short = [carol.address, bonds.minStakeWei, 0n];
    await refuses(send(1n, 1n, carol), 'StakingFreeShort', short);
    await refuses(send(1n, 9_000_001n), 'EpochsTotalAbovePot', [9_000_001n, 9_000_000n]);
    // Without a leaf nobody is owed anything.
    await refuses(send(1n, 1n, staker, 0), 'EpochsTotalAbovePot', [1n, 0n]);
    await send(1n, 9_000_000n);
    await refuses(send(2n, 9_000_000n), 'EpochsPreviousOpen', [1n]);
    await finalise(chain, 1n);
    await refuses(send(2n, 8_999_999n), 'EpochsTotalFell', [8_999_999n, 9_000_000n]);
  });

  test('finalise: UnknownEpoch, WindowOpen, AlreadyFinalised', async () => {
    await refuses(chain.send(bob, 'Epochs', 'finalise', [1]), 'EpochsUnknownEpoch', [1n]);
    await refuses(chain.send(bob, 'Epochs', 'finalise', [0]), 'EpochsUnknownEpoch', [0n]);
    const epoch = await anchor(chain, staker, []);
    await refuses(chain.send(bob, 'Epochs', 'finalise', [epoch]), 'EpochsWindowOpen');
    await finalise(chain, epoch);
    await refuses(chain.send(bob, 'Epochs', 'finalise', [epoch]), 'EpochsAlreadyFinalised', [
      epoch,
    ]);
  });

  test('claim: NothingFinalised, ProofInvalid', async () => {
    await pay(chain, client, provider, 0n, 10_000_000n);
    const epoch = await anchor(chain, staker, payouts);
    // Anchored is not final.
    await refuses(claim(payouts, 0), 'EpochsNothingFinalised');
    await finalise(chain, epoch);
    await refuses(claim(payouts, 0, { cumulativeWei: 2_000_001n }), 'EpochsProofInvalid', [
      alice.address,
      2_000_001n,
      0n,
    ]);
    await refuses(claim(payouts, 0, { account: client.address }), 'EpochsProofInvalid');
    await refuses(claim(payouts, 0, { runningWei: 1n }), 'EpochsProofInvalid');
  });

  test('EpochsClaimsAboveTotal: leaves that sum above the total pay no more than it', async () => {
    await pay(chain, client, provider, 0n, 10_000_000n);
    const greedy = payouts.map((payout) => ({ ...payout, cumulativeWei: 5_000_000n }));
    const payoutRoot = hexlify(payoutTree(greedy).root);
    const roots = rootsOf({ payoutRoot, leafCount: 3, totalWei: 9_000_000n });
    await chain.send(staker, 'Epochs', 'anchor', [1, roots, '0x']);
    await finalise(chain, 1n);
    await claim(greedy, 0);
    await refuses(claim(greedy, 1), 'EpochsClaimsAboveTotal', [10_000_000n, 9_000_000n]);
    await assertConserved(chain);
  });

  test('EpochsUnauthorised: fund and withhold', async () => {
    await refuses(chain.send(bob, 'Epochs', 'fund', [], 5n), 'EpochsUnauthorised', [bob.address]);
    await refuses(
      chain.send(bob, 'Epochs', 'withhold', [alice.address, 1, bob.address]),
      'EpochsUnauthorised',
      [bob.address],
    );
  });

  test('what was withheld goes to the clients first, over as many epochs as it takes', async () => {
    const referee = chain.deployment.contracts.Referee;
    await pay(chain, client, provider, 0n, 10_000_000n);
    await chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, 1_500_000n, client.address]);
    await chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, 1_000_000n, bob.address]);
    await chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, 0n, bob.address]);
    assert.equal((await Epochs.getWithholdings(alice.address)).length, 2);
    await finalise(chain, await anchor(chain, staker, payouts));
    const before = await chain.provider.getBalance(alice.address);
    await claim(payouts, 0);
    assert.equal(await chain.provider.getBalance(alice.address), before);
    assert.equal(await Epochs.credits(client.address), 1_500_000n);
    assert.equal(await Epochs.credits(bob.address), 500_000n);
    assert.equal(await Epochs.withheldWei(alice.address), 500_000n);
    await assertConserved(chain);
    await pay(chain, client, provider, 0n, 10_000_000n);
    const next = payouts.map((payout) => ({ ...payout, cumulativeWei: payout.cumulativeWei * 2n }));
    await finalise(chain, await anchor(chain, staker, next));
    await claim(next, 0);
    assert.equal((await chain.provider.getBalance(alice.address)) - before, 1_500_000n);
    assert.equal(await Epochs.credits(bob.address), 1_000_000n);
    assert.equal(await Epochs.withheldWei(alice.address), 0n);
    assert.equal((await Epochs.getWithholdings(alice.address)).length, 0);
    await assertConserved(chain);
  });

  test('withholdings for one client that follow each other are one, as long as it is open', async () => {
    const referee = chain.deployment.contracts.Referee;
    const withhold = (amountWei: bigint, to: string) =>
      chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, amountWei, to]);
    const open = async () =>
      (await Epochs.getWithholdings(alice.address)).map((each) => [each.client, each.amountWei]);
    await pay(chain, client, provider, 0n, 10_000_000n);
    await withhold(1n, client.address);
    await withhold(2n, client.address);
    assert.deepEqual(await open(), [[client.address, 3n]]);
    await withhold(4n, bob.address);
    await withhold(8n, client.address);
    assert.deepEqual(await open(), [
      [client.address, 3n],
      [bob.address, 4n],
      [client.address, 8n],
    ]);
    await finalise(chain, await anchor(chain, staker, payouts));
    await claim(payouts, 0);
    assert.deepEqual(await open(), []);
    assert.equal(await Epochs.credits(client.address), 11n);
    await withhold(16n, client.address);
    assert.deepEqual(await open(), [[client.address, 16n]]);
    await assertConserved(chain);
  });

  test('withholdings that sum to more than there can ever be take all that is claimed', async () => {
    const referee = chain.deployment.contracts.Referee;
    const most = 2n ** 96n - 1n;
    await pay(chain, client, provider, 0n, 10_000_000n);
    for (const amountWei of [most, 5n])
      await chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, amountWei, client.address]);
    assert.equal(await Epochs.withheldWei(alice.address), most);
    await finalise(chain, await anchor(chain, staker, payouts));
    const before = await chain.provider.getBalance(alice.address);
    await claim(payouts, 0);
    assert.equal(await chain.provider.getBalance(alice.address), before);
    assert.equal(await Epochs.credits(client.address), 2_000_000n);
    assert.equal(await Epochs.withheldWei(alice.address), most - 2_000_000n);
    assert.equal((await Epochs.getWithholdings(alice.address)).length, 2);
    await assertConserved(chain);
  });

  test('a long queue of withholdings takes several claims and cannot lock an account out', async () => {
    const referee = chain.deployment.contracts.Referee;
    await pay(chain, client, provider, 0n, 10_000_000n);
    for (let i = 0; i < 70; i += 1) {
      const to = i % 2 === 0 ? client.address : bob.address;
      await chain.sendAs(referee, 'Epochs', 'withhold', [alice.address, 10n, to]);
    }
    await finalise(chain, await anchor(chain, staker, payouts));
    const before = await chain.provider.getBalance(alice.address);
    await claim(payouts, 0);
    assert.equal(await chain.provider.getBalance(alice.address), before);
    assert.equal(await Epochs.credits(client.address), 320n);
    await claim(payouts, 0);
    assert.equal(await Epochs.credits(client.address), 350n);
    assert.equal(await Epochs.credits(bob.address), 350n);
    assert.equal((await chain.provider.getBalance(alice.address)) - before, 2_000_000n - 700n);
    await refuses(claim(payouts, 0), 'EpochsNothingDue');
    await assertConserved(chain);
  });
});
