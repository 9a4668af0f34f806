import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder } from 'ethers';
import fc from 'fast-check';
import { type Address, addressOfPrivateKey, fromHex, toHex, utf8, verifyLeaf } from '#crypto';
import { cidOf, encodeCanonical } from './cbor.ts';
import {
  aggregateEpoch,
  type EpochInputs,
  type EpochManifest,
  type EpochReceipt,
  epochProofOf,
  epochReceiptOf,
  epochRoots,
  payoutClaim,
  potPartOf,
  stakersPayouts,
} from './epoch.ts';
import {
  checkEpochManifest,
  decodeEpochManifest,
  encodeEpochManifest,
  epochManifestDigest,
} from './epoch-manifest.ts';
import { accountKey, payoutLeafBytes } from './epoch-trees.ts';
import { hashOf, keyOf, RULES, sampleAnswer } from './fixture.ts';
import { FEE_STEP_WEI, type PayoutLeaf, potOf, splitFee } from './payouts.ts';

const who = (name: string): Address => addressOfPrivateKey(keyOf(name));
const people = ['ada', 'bob', 'cid', 'dee'].map(who);
const [client, otherClient, provider, treasury] = [
  'client',
  'other client',
  'provider',
  'treasury',
].map(who) as [Address, Address, Address, Address];
const adapterId = hashOf('adapter');

/** A receipt of a fee, paid to the people whose numbers are given. */
function receiptOf(
  name: string,
  feeWei: bigint,
  paid: readonly number[],
  from = client,
): EpochReceipt {
  const split = splitFee(feeWei, RULES, BigInt(paid.length), 0n);
  const share = paid.length === 0 ? 0n : split.learnedWei / BigInt(paid.length);
  const payouts = paid.map((person, i) => ({
    account: people[person] as Address,
    amountWei: i === 0 ? split.learnedWei - share * BigInt(paid.length - 1) : share,
  }));
  const { modelOwnerWei, stakersWei, fallbackWei } = split;
  return {
    file: cidOf(utf8(name)),
    receiptHash: hashOf(name),
    client: from,
    provider,
    adapterId,
    issuedAt: 100,
    feeWei,
    modelOwnerWei,
    stakersWei,
    fallbackWei,
    payouts,
  };
}

const inputs: EpochInputs = {
  epoch: 1,
  previous: null,
  treasury,
  potTotalWei: 10n ** 30n,
  stakers: people.map((account, i) => ({ account, stakeWei: BigInt(i) * 10n ** 18n })),
  modelOwners: [{ adapterId, owner: who('owner') }],
  collected: [
    { client, provider, feeWei: 10n ** 30n },
    { client: otherClient, provider, feeWei: 10n ** 30n },
  ],
  receipts: [],
  isPaid: () => false,
};
const total = ({ payouts }: Pick<EpochManifest, 'payouts'>) =>
  payouts.reduce((sum, { amountWei }) => sum + amountWei, 0n);
const previousOf = (manifest: EpochManifest) => ({
  digest: epochManifestDigest(manifest),
  manifest,
});

const fees = fc.bigInt({ min: 0n, max: 10n ** 12n }).map((n) => n * FEE_STEP_WEI);
const drawn = fc.array(
  fc.record({ feeWei: fees, paid: fc.uniqueArray(fc.nat(3)), other: fc.boolean() }),
  { maxLength: 12 },
);

test('what receipts put into the pot is what accounts are owed, but for roundings, over epochs', () => {
  fc.assert(
    fc.property(drawn, drawn, (first, second) => {
      const receipts = [...first, ...second].map(({ feeWei, paid, other }, i) =>
        receiptOf(`receipt ${i}`, feeWei, paid, other ? otherClient : client),
      );
      const one = aggregateEpoch({ ...inputs, receipts: receipts.slice(0, first.length) });
      const paid = new Set(one.receipts.map(({ receiptHash }) => receiptHash));
      const isPaid = (hash: string) => paid.has(hash as `0x${string}`);
      const next = { epoch: 2, previous: previousOf(one), receipts, isPaid };
      const two = aggregateEpoch({ ...inputs, ...next });
      const feeWei = receipts.reduce((sum, each) => sum + each.feeWei, 0n);
      const partsWei = receipts.reduce((sum, each) => sum + potPartOf(each), 0n);
      assert.equal(partsWei, potOf(feeWei, RULES));
      // Less than a wei per staker and epoch stays in the pots.
      assert.ok(total(two) <= partsWei && total(two) > partsWei - 2n * BigInt(people.length));
      assert.ok(two.receipts.every(({ receiptHash }) => !isPaid(receiptHash)));
      assert.deepEqual(checkEpochManifest(two, previousOf(one), isPaid), { ok: true });
      // In whatever order receipts arrive, the epoch is the same.
      const shuffled = aggregateEpoch({ ...inputs, ...next, receipts: [...receipts].reverse() });
      assert.equal(epochManifestDigest(shuffled), epochManifestDigest(two));
    }),
    { numRuns: 25 },
  );
});

test('nobody is owed less in a later epoch', () => {
  const one = aggregateEpoch({ ...inputs, receipts: [receiptOf('a', 10n ** 12n, [0, 1])] });
  const two = aggregateEpoch({
    ...inputs,
    epoch: 2,
    previous: previousOf(one),
    receipts: [receiptOf('b', 10n ** 12n, [2])],
  });
  for (const { account, amountWei } of one.payouts) {
    const later = two.payouts.find((payout) => payout.account === account);
    assert.ok(later !== undefined && later.amountWei >= amountWei);
  }
});

test('a receipt is paid only as far as its client paid its provider', () => {
  const receipts = ['a', 'b', 'c'].map((name, i) => ({
    ...receiptOf(name, 4_000_000n, [0]),
    issuedAt: 100 + i,
  }));
  const collected = [{ client, provider, feeWei: 8_000_000n }];
  const epoch = aggregateEpoch({ ...inputs, collected, receipts });
  assert.deepEqual(
    epoch.receipts.map(({ receiptHash }) => receiptHash).sort(),
    [hashOf('a'), hashOf('b')].sort(),
  );
  assert.deepEqual(epoch.covered, collected);
  const isPaid = (hash: string) => hash !== hashOf('c');
  const more = [{ client, provider, feeWei: 12_000_000n }];
  const next = { ...inputs, epoch: 2, previous: previousOf(epoch), receipts, isPaid };
  assert.equal(aggregateEpoch({ ...next, collected }).receipts.length, 0);
  assert.equal(aggregateEpoch({ ...next, collected: more }).receipts.length, 1);
});

test('the total never exceeds the pots, and a receipt is paid once', () => {
  const receipt = receiptOf('a', 10_000_000n, [0]);
  const partWei = potPartOf(receipt);
  assert.equal(
    aggregateEpoch({ ...inputs, receipts: [receipt], potTotalWei: partWei - 1n }).receipts.length,
    0,
  );
  const epoch = aggregateEpoch({ ...inputs, receipts: [receipt, receipt], potTotalWei: partWei });
  // The rounding of the stakers' part.
  assert.equal(total(epoch), partWei - 1n);
  assert.equal(
    aggregateEpoch({ ...inputs, receipts: [receipt], isPaid: () => true }).receipts.length,
    0,
  );
  assert.equal(
    aggregateEpoch({ ...inputs, receipts: [receiptOf('free', 0n, [])] }).receipts.length,
    0,
  );
});

test('where nobody else is to be paid, the treasury is', () => {
  const receipt = receiptOf('a', 10_000_000n, []);
  const epoch = aggregateEpoch({ ...inputs, receipts: [receipt], stakers: [], modelOwners: [] });
  const amountWei = 9_000_000n;
  assert.deepEqual(epoch.payouts, [{ account: treasury, amountWei, runningWei: amountWei }]);
});

test('the stakers part is divided by stake', () => {
  const stakers = people.map((account, i) => ({ account, stakeWei: BigInt(i) }));
  const payouts = stakersPayouts(100n, stakers, treasury);
  assert.deepEqual(
    payouts.map(({ amountWei }) => amountWei),
    [0n, 16n, 33n, 50n],
  );
  assert.deepEqual(stakersPayouts(9n, [], treasury), [{ account: treasury, amountWei: 9n }]);
});

test('claims and receipts are proven under the anchored roots', () => {
  const receipts = ['a', 'b', 'c'].map((name, i) => receiptOf(name, 10_000_000n, [i]));
  const manifest = aggregateEpoch({ ...inputs, receipts });
  const roots = epochRoots(manifest);
  assert.equal(roots.totalWei, total(manifest));
  assert.equal(manifest.payouts.at(-1)?.runningWei, roots.totalWei);
  for (const { account, amountWei, runningWei } of manifest.payouts) {
    const claim = payoutClaim(manifest, account);
    assert.ok(claim !== null && claim.cumulativeWei === amountWei);
    assert.equal(claim.runningWei, runningWei);
    const leaf = payoutLeafBytes(claim.index, { key: accountKey(account), amountWei, runningWei });
    const encoded = AbiCoder.defaultAbiCoder().encode(
      ['uint256', 'address', 'uint256', 'uint256'],
      [claim.index, account, amountWei, runningWei],
    );
    assert.equal(toHex(leaf), encoded);
    const siblings = claim.proof.map((word) => fromHex(word));
    const proof = { index: claim.index, count: roots.leafCount, siblings };
    assert.ok(verifyLeaf(fromHex(roots.payoutRoot), leaf, proof));
  }
  assert.equal(payoutClaim(manifest, who('nobody')), null);
  for (const { receiptHash } of manifest.receipts) {
    const proof = epochProofOf(manifest, receiptHash);
    assert.ok(proof !== null);
    const { index, receiptCount: count, siblings } = proof;
    const isProven = verifyLeaf(fromHex(roots.receiptsRoot), fromHex(receiptHash), {
      index,
      count,
      siblings,
    });
    assert.ok(isProven);
  }
  assert.equal(epochProofOf(manifest, hashOf('unknown')), null);
});

test('the line of a receipt file carries what the file divides', () => {
  const { file, built } = sampleAnswer();
  const line = epochReceiptOf(file, cidOf(utf8('file')));
  assert.equal(potPartOf(line), potOf(built.receipt.feeWei, RULES));
});

test('a manifest reads back as it was published', () => {
  const manifest = aggregateEpoch({ ...inputs, receipts: [receiptOf('a', 10_000_000n, [0, 2])] });
  const decoded = decodeEpochManifest(encodeEpochManifest(manifest));
  assert.ok(decoded.ok);
  assert.equal(epochManifestDigest(decoded.value), epochManifestDigest(manifest));
  assert.equal(epochRoots(decoded.value).payoutRoot, epochRoots(manifest).payoutRoot);
  const broken = decodeEpochManifest(encodeCanonical({ v: 1 }));
  assert.ok(!broken.ok && broken.code === 'WRONG_SHAPE');
});

test('EPOCH_PREVIOUS_WRONG', () => {
  const one = aggregateEpoch({ ...inputs, receipts: [receiptOf('a', 10_000_000n, [0])] });
  const wrong = { ok: false, code: 'EPOCH_PREVIOUS_WRONG' };
  assert.deepEqual(
    checkEpochManifest({ ...one, epoch: 2 }, null, () => false),
    wrong,
  );
  assert.deepEqual(
    checkEpochManifest({ ...one, previous: hashOf('x') }, null, () => false),
    wrong,
  );
  assert.deepEqual(
    checkEpochManifest(one, previousOf(one), () => false),
    wrong,
  );
});

test('EPOCH_DIVISION_WRONG', () => {
  const one = aggregateEpoch({ ...inputs, receipts: [receiptOf('a', 10_000_000n, [0])] });
  const wrong = { ok: false, code: 'EPOCH_DIVISION_WRONG' };
  const [first, ...rest] = one.payouts as readonly [PayoutLeaf];
  const more = { ...one, payouts: [{ ...first, amountWei: first.amountWei + 1n }, ...rest] };
  const sums = { ...one, payouts: [{ ...first, runningWei: first.runningWei + 1n }, ...rest] };
  const without = { ...one, receipts: [] };
  const uncovered = { ...one, collected: [] };
  for (const manifest of [more, sums, without, uncovered]) {
    assert.deepEqual(
      checkEpochManifest(manifest, null, () => false),
      wrong,
    );
  }
  assert.deepEqual(
    checkEpochManifest(one, null, () => true),
    wrong,
  );
});
