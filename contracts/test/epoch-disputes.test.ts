/** EpochDisputes: false epochs are rejected and anchored again, data is asked for and shown, every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AbiCoder, hexlify, type TransactionReceipt, type Wallet, ZeroHash } from 'ethers';
import { buildTree, fromHex, type Hex, parseAddress, utf8 } from '#crypto';
import {
  accountOfKey,
  askLeavesIntent,
  type EpochFault,
  findEpochFault,
  type KeyedPayout,
  keyedPayouts,
  type Payout,
  payoutLeavesOf,
  showLeavesIntent,
  withRunningSums,
} from '#protocol';
import { EpochDisputesFault, EpochDisputesTree } from '../bindings/structs.ts';
import { decodeEvent } from '../connect.ts';
import { encodeEpochEvidence, evidenceCommitment } from '../evidence.ts';
import { Reverted, startChain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  assertConserved,
  bonds,
  finalise,
  isolate,
  pay,
  refuses,
  rootsOf,
  stake,
  timing,
  toReverted,
} from './fixtures.ts';

const chain = await startChain();
const { Epochs, EpochDisputes, Staking } = chain.contracts;
const [client, provider, liar, watcher, ...others] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
const accounts = others
  .slice(0, 3)
  .map(({ address }) => parseAddress(address))
  .sort();
await stake(chain, liar, 0);
await stake(chain, watcher, 0);
await pay(chain, client, provider, 0n, 10_000_000n);
isolate(chain);

const [ada, bob, cid] = accounts as [
  (typeof accounts)[0],
  (typeof accounts)[0],
  (typeof accounts)[0],
];
/** Leaves of accounts alone. */
const leavesOf = (payouts: readonly Payout[]): readonly KeyedPayout[] =>
  keyedPayouts(withRunningSums(payouts), []);
const amounts = [
  { account: ada, amountWei: 2_000_000n },
  { account: bob, amountWei: 3_000_000n },
  { account: cid, amountWei: 1_000_000n },
] as const;
const honest = leavesOf(amounts);
const total = 6_000_000n;
/** Honest leaves with one of them changed. */
const changed = (index: number, change: Partial<KeyedPayout>): KeyedPayout[] =>
  honest.map((leaf, i) => (i === index ? { ...leaf, ...change } : leaf));
const treeOf = (leaves: readonly KeyedPayout[]) => buildTree(payoutLeavesOf(leaves));
const receipts = buildTree([utf8('a'.repeat(32)), utf8('b'.repeat(32))]);

async function anchorLeaves(leaves: readonly KeyedPayout[], totalWei = total, from = liar) {
  const epoch = Number(await Epochs.epochCount()) + 1;
  const roots = rootsOf({
    payoutRoot: hexlify(treeOf(leaves).root),
    leafCount: leaves.length,
    totalWei,
    receiptsRoot: hexlify(receipts.root),
    receiptCount: receipts.count,
  });
  await chain.send(from, 'Epochs', 'anchor', [epoch, roots, '0x']);
  return epoch;
}

async function commit(encoded: string, from = watcher): Promise<void> {
  await chain.send(from, 'Referee', 'commitEvidence', [evidenceCommitment(from.address, encoded)]);
}

const FAULTS = {
  EPOCH_PAYOUT_DECREASED: EpochDisputesFault.Decreased,
  EPOCH_PAYOUTS_UNORDERED: EpochDisputesFault.Unordered,
  EPOCH_RUNNING_SUM_WRONG: EpochDisputesFault.RunningSum,
  EPOCH_TOTAL_WRONG: EpochDisputesFault.Total,
};

/** The fault that a transaction found. */
function faultIn({ logs }: TransactionReceipt): bigint | undefined {
  const events = logs.map((log) => decodeEvent(chain.deployment, log));
  return events.find((each) => each?.event === 'EpochDisputed')?.args['fault'] as bigint;
}

async function challenge(fault: EpochFault, from = watcher): Promise<void> {
  await commit(encodeEpochEvidence('EpochDisputes', fault.fn, fault.evidence), from);
  const receipt =
    fault.fn === 'challengeSums'
      ? await chain.send(from, 'EpochDisputes', 'challengeSums', [fault.evidence])
      : await chain.send(from, 'EpochDisputes', 'challengeDecrease', [fault.evidence]);
  assert.equal(faultIn(receipt), FAULTS[fault.code]);
}

describe('EpochDisputes: payouts', () => {
  const cases: readonly (readonly [string, readonly KeyedPayout[], bigint])[] = [
    ['EPOCH_RUNNING_SUM_WRONG', changed(0, { runningWei: 1_999_999n }), total],
    ['EPOCH_RUNNING_SUM_WRONG', changed(1, { runningWei: 5_000_001n }), total],
    ['EPOCH_RUNNING_SUM_WRONG', changed(1, { amountWei: 2n ** 256n - 1n }), total],
    ['EPOCH_PAYOUTS_UNORDERED', leavesOf([amounts[1], amounts[0], amounts[2]]), total],
    ['EPOCH_PAYOUTS_UNORDERED', leavesOf([amounts[0], amounts[0], amounts[2]]), 5_000_000n],
    ['EPOCH_TOTAL_WRONG', honest, total - 1n],
  ];
  for (const [code, leaves, totalWei] of cases) {
    test(`${code}: the epoch is rejected, its anchorer slashed, and another anchors it`, async () => {
      const epoch = await anchorLeaves(leaves, totalWei);
      const fault = findEpochFault({ epoch, totalWei, payouts: leaves }, []);
      assert.equal(fault?.code, code);
      const before = await Staking.credits(watcher.address);
      await challenge(fault!);
      assert.equal(await Epochs.epochCount(), 0n);
      const gainWei = (await Staking.credits(watcher.address)) - before;
      assert.equal(gainWei, (BigInt(bonds.minStakeWei) * 4n) / 10n);
      assert.equal((await Staking.getAccount(liar.address)).lockedWei, 0n);
      // Nobody in particular was wronged: the requester's part is burned with the rest.
      assert.equal(await Staking.burnedWei(), (BigInt(bonds.minStakeWei) * 6n) / 10n);
      assert.equal(await anchorLeaves(honest, total, watcher), 1);
      assert.equal((await Epochs.getEpoch(1)).round, 2n);
      assert.equal((await Epochs.getEpoch(1)).anchorer, watcher.address);
      await finalise(chain, 1n);
      await assertConserved(chain);
    });
  }

  const decreased: readonly (readonly [string, readonly Payout[]])[] = [
    ['its leaf says less', [amounts[0], { ...amounts[1], amountWei: 2_999_999n }, amounts[2]]],
    ['its leaf is gone between two', [amounts[0], amounts[2]]],
    ['its leaf is gone at the front', [amounts[1], amounts[2]]],
    ['its leaf is gone at the end', [amounts[0], amounts[1]]],
  ];
  for (const [what, leaves] of decreased) {
    test(`EPOCH_PAYOUT_DECREASED: ${what}`, async () => {
      await finalise(chain, BigInt(await anchorLeaves(honest)));
      await pay(chain, client, provider, 0n, 10_000_000n);
      // The others get what the one lost, so that the total does not fall.
      const more = leaves.map((leaf, i) => {
        const isLast = i === leaves.length - 1;
        return isLast ? { ...leaf, amountWei: leaf.amountWei + 4_000_000n } : leaf;
      });
      const payouts = leavesOf(more);
      const totalWei = payouts.at(-1)!.runningWei;
      const epoch = await anchorLeaves(payouts, totalWei);
      const fault = findEpochFault({ epoch, totalWei, payouts }, honest);
      assert.equal(fault?.code, 'EPOCH_PAYOUT_DECREASED');
      await challenge(fault!);
      assert.equal(await Epochs.epochCount(), 1n);
      const wronged =
        fault!.fn === 'challengeDecrease' ? accountOfKey(fault!.evidence.before.key) : null;
      assert.equal(await Staking.credits(wronged!), BigInt(bonds.minStakeWei) / 10n);
      // What came in meanwhile belongs to the epoch that is open again.
      assert.equal(await Epochs.potOf(2), 9_000_000n);
      await assertConserved(chain);
    });
  }

  test('EPOCH_PAYOUT_DECREASED: no leaf is left at all', async () => {
    const none = leavesOf([]);
    // One channel, whose fees were all the platform's.
    const pair = { client: ada, provider: bob };
    const before = keyedPayouts([], [{ ...pair, feeWei: 5n }]);
    await finalise(chain, BigInt(await anchorLeaves(before, 0n)));
    const epoch = await anchorLeaves(none, 0n);
    const fault = findEpochFault({ epoch, totalWei: 0n, payouts: none }, before);
    assert.equal(fault?.code, 'EPOCH_PAYOUT_DECREASED');
    await challenge(fault!);
    assert.equal(await Epochs.epochCount(), 1n);
  });

  test('EpochDisputesNoFault: an honest epoch has none, and no evidence makes one', async () => {
    await finalise(chain, BigInt(await anchorLeaves(honest)));
    const epoch = await anchorLeaves(honest);
    assert.equal(findEpochFault({ epoch, totalWei: total, payouts: honest }, honest), null);
    const other = leavesOf([amounts[0], { ...amounts[1], amountWei: 1n }, amounts[2]]);
    const totalWei = other.at(-1)!.runningWei;
    const shape = findEpochFault({ epoch, totalWei, payouts: other }, honest);
    if (shape?.fn !== 'challengeDecrease') throw new Error('the smaller payout is not found');
    const place = (index: number) => ({
      index,
      key: honest[index]!.key,
      cumulativeWei: honest[index]!.amountWei,
      runningWei: honest[index]!.runningWei,
      proof: showLeavesIntent(1n, payoutLeavesOf(honest), [index]).args[2] as Hex[][],
    });
    const at = (index: number) => ({ ...place(index), proof: place(index).proof[0]! });
    const sums = [
      [at(0)],
      [at(2)],
      [at(1)],
      [at(0), at(1)],
      [at(0), at(2)],
      [],
      [at(0), at(1), at(2)],
    ];
    for (const leaves of sums)
      await refuses(
        challenge({ code: 'EPOCH_TOTAL_WRONG', fn: 'challengeSums', evidence: { epoch, leaves } }),
        'EpochDisputesNoFault',
        [BigInt(epoch)],
      );
    const { before } = shape.evidence;
    for (const present of [
      [at(1)],
      [at(0), at(2)],
      [at(0)],
      [at(2)],
      [],
      [at(1), at(2)],
      [at(0), at(1)],
    ])
      await refuses(
        challenge({ ...shape, evidence: { epoch, before, present } }),
        'EpochDisputesNoFault',
        [BigInt(epoch)],
      );
    await refuses(
      challenge({
        ...shape,
        evidence: { epoch, before: { ...before, cumulativeWei: 9n }, present: [at(1)] },
      }),
      'EpochDisputesProofInvalid',
    );
  });

  test('EpochDisputesNotInWindow: neither an open epoch nor a final one is disputed', async () => {
    const wrong = changed(1, { runningWei: 1n });
    const fault = findEpochFault({ epoch: 1, totalWei: total, payouts: wrong }, [])!;
    await refuses(challenge(fault), 'EpochDisputesNotInWindow', [1n]);
    await finalise(chain, BigInt(await anchorLeaves(wrong)));
    await refuses(challenge(fault, provider), 'EpochDisputesNotInWindow', [1n]);
  });

  test('EpochDisputesEvidenceNotCommitted, EvidenceTooEarly: evidence is bound to its sender', async () => {
    const wrong = changed(1, { runningWei: 1n });
    const epoch = await anchorLeaves(wrong);
    const fault = findEpochFault({ epoch, totalWei: total, payouts: wrong }, [])!;
    if (fault.fn !== 'challengeSums') throw new Error('another fault was found');
    const show = (from: Wallet) =>
      chain.send(from, 'EpochDisputes', 'challengeSums', [fault.evidence]);
    await refuses(show(watcher), 'EpochDisputesEvidenceNotCommitted');
    await commit(encodeEpochEvidence('EpochDisputes', fault.fn, fault.evidence));
    await refuses(show(provider), 'EpochDisputesEvidenceNotCommitted');
    const encoded = encodeEpochEvidence('EpochDisputes', fault.fn, fault.evidence);
    const [, early] = await chain.together(provider, [
      ['Referee', 'commitEvidence', [evidenceCommitment(provider.address, encoded)]],
      ['EpochDisputes', 'challengeSums', [fault.evidence]],
    ]);
    assert.ok(early instanceof Reverted);
    assert.equal(early.error, 'EpochDisputesEvidenceTooEarly');
    await show(watcher);
  });

  test('EpochsUnauthorised, EpochsNotInWindow, EpochsBondBound: who may do what to an epoch', async () => {
    const disputes = chain.deployment.contracts.EpochDisputes;
    await refuses(
      chain.send(client, 'Epochs', 'reject', [1, client.address, client.address]),
      'EpochsUnauthorised',
    );
    await refuses(chain.send(client, 'Epochs', 'extend', [1, 1]), 'EpochsUnauthorised');
    await refuses(
      chain.sendAs(disputes, 'Epochs', 'reject', [1, client.address, client.address]),
      'EpochsNotInWindow',
      [1n],
    );
    await refuses(
      chain.send(client, 'Staking', 'raise', [liar.address, ZeroHash, 1n]),
      'StakingUnauthorised',
    );
    await anchorLeaves(honest);
    const freeWei = (await Staking.getAccount(liar.address)).freeWei;
    await refuses(chain.send(client, 'Epochs', 'releaseBond', [liar.address]), 'EpochsBondBound', [
      liar.address,
      1n,
    ]);
    await finalise(chain, 1n);
    // The bond stands for the next epoch until it is asked back.
    await chain.send(client, 'Epochs', 'releaseBond', [liar.address]);
    const after = await Staking.getAccount(liar.address);
    assert.equal(after.freeWei - freeWei, BigInt(bonds.minStakeWei));
    assert.equal(after.lockedWei, 0n);
  });
});

describe('EpochDisputes: data', () => {
  const ask = (epoch: number, indexes: readonly number[], from = watcher, valueWei = OPEN_WEI) =>
    chain.send(from, 'EpochDisputes', 'ask', [epoch, 0, [...indexes]], valueWei);
  const show = (
    askId: bigint,
    leaves: readonly KeyedPayout[],
    indexes: readonly number[],
    from = liar,
  ) => {
    const { args } = showLeavesIntent(askId, payoutLeavesOf(leaves), indexes);
    return chain.send(from, 'EpochDisputes', 'show', [...args] as [bigint, Hex[], Hex[][]]);
  };

  test('leaves that are shown pay who shows them, and keep the window open for what follows', async () => {
    const epoch = await anchorLeaves(honest);
    const { windowEndsAt } = await Epochs.getEpoch(epoch);
    const intent = askLeavesIntent(epoch, 1, 'payouts', [0, 2], OPEN_WEI);
    assert.deepEqual(intent.args, [epoch, 0, [0, 2]]);
    await chain.pass(BigInt(timing.challengeWindowSeconds) / 2n);
    await ask(epoch, [0, 2]);
    const asked = await EpochDisputes.getAsk(1);
    assert.equal(asked.deadline, BigInt(await chain.now()) + timing.daAnswerSeconds);
    const { finalisableAt } = await Epochs.getEpoch(epoch);
    const longest =
      windowEndsAt + timing.daAnswerSeconds + timing.rerunSeconds + 4n * timing.deltaSeconds;
    assert.ok(finalisableAt > windowEndsAt && finalisableAt <= longest);
    await show(1n, honest, [0, 2], provider);
    assert.equal(await EpochDisputes.credits(provider.address), OPEN_WEI);
    await refuses(show(1n, honest, [0, 2]), 'EpochDisputesAskClosed', [1n]);
    await refuses(ask(epoch, [1, 2]), 'EpochDisputesAskedBefore', [0n, 2n]);
    await assertConserved(chain);
    await chain.pass(longest);
    await chain.send(client, 'Epochs', 'finalise', [epoch]);
  });

  test('receipts are shown likewise', async () => {
    const epoch = await anchorLeaves(honest);
    await chain.send(
      watcher,
      'EpochDisputes',
      'ask',
      [epoch, EpochDisputesTree.Receipts, [1]],
      OPEN_WEI,
    );
    const leaves = ['a', 'b'].map((letter) => utf8(letter.repeat(32)));
    const { args } = showLeavesIntent(1n, leaves, [1]);
    await chain.send(provider, 'EpochDisputes', 'show', [...args] as [bigint, Hex[], Hex[][]]);
    assert.equal((await EpochDisputes.getAsk(1)).settled, true);
  });

  test('leaves that nobody shows count as wrong: the epoch is rejected and the bond goes back', async () => {
    const epoch = await anchorLeaves(honest);
    await ask(epoch, [1]);
    await refuses(chain.send(watcher, 'EpochDisputes', 'closeAsk', [1]), 'EpochDisputesStillOpen');
    await chain.pass(timing.daAnswerSeconds + 1n);
    await refuses(show(1n, honest, [1]), 'EpochDisputesAskClosed', [1n]);
    const closed = await chain.send(client, 'EpochDisputes', 'closeAsk', [1]);
    assert.equal(faultIn(closed), EpochDisputesFault.Unavailable);
    assert.equal(await Epochs.epochCount(), 0n);
    assert.equal(await EpochDisputes.credits(watcher.address), OPEN_WEI);
    assert.equal(await Staking.credits(watcher.address), (BigInt(bonds.minStakeWei) * 4n) / 10n);
    // The same root anchored again can be asked again.
    assert.equal(await anchorLeaves(honest, total, liar), 1);
    await ask(1, [1]);
    await assertConserved(chain);
  });

  test('an ask about an epoch that something else rejected gives its bond back at once', async () => {
    const wrong = changed(1, { runningWei: 1n });
    const epoch = await anchorLeaves(wrong);
    await ask(epoch, [0]);
    await challenge(findEpochFault({ epoch, totalWei: total, payouts: wrong }, [])!);
    await anchorLeaves(honest, total, watcher);
    await refuses(show(1n, honest, [0]), 'EpochDisputesAskClosed', [1n]);
    await chain.send(client, 'EpochDisputes', 'closeAsk', [1]);
    assert.equal(await EpochDisputes.credits(watcher.address), OPEN_WEI);
    assert.equal(await Epochs.epochCount(), 1n);
    await assertConserved(chain);
  });

  test('AskSize, NoSuchLeaf, BondShort, WindowEnded, UnknownAsk, AnswerShape, ProofInvalid', async () => {
    const epoch = await anchorLeaves(honest);
    await refuses(ask(epoch, []), 'EpochDisputesAskSize', [0n, 32n]);
    await refuses(
      ask(
        epoch,
        Array.from({ length: 33 }, () => 0),
      ),
      'EpochDisputesAskSize',
      [33n, 32n],
    );
    await refuses(ask(epoch, [3]), 'EpochDisputesNoSuchLeaf', [3n, 3n]);
    await refuses(ask(epoch, [0, 0]), 'EpochDisputesAskedBefore', [0n, 0n]);
    const rich = `0x${(2n ** 100n).toString(16)}`;
    await chain.request('hardhat_setBalance', [client.address, rich]);
    await refuses(ask(epoch, [0], client, 2n ** 96n), 'EpochDisputesBondShort', [2n ** 96n, 0n]);
    await refuses(ask(2, [0]), 'EpochDisputesNotInWindow', [2n]);
    await refuses(EpochDisputes.getAsk(1).catch(toReverted), 'EpochDisputesUnknownAsk', [1n]);
    await refuses(show(1n, honest, [0]), 'EpochDisputesUnknownAsk', [1n]);
    await ask(epoch, [0]);
    await refuses(show(1n, honest, [0, 1]), 'EpochDisputesAnswerShape', [1n]);
    await refuses(show(1n, honest, [1]), 'EpochDisputesAnswerShape', [1n]);
    await refuses(show(1n, changed(0, { amountWei: 1n }), [0]), 'EpochDisputesProofInvalid');
    await chain.pass(timing.challengeWindowSeconds);
    await refuses(ask(epoch, [1]), 'EpochDisputesWindowEnded');
  });

  test('bytes that are no leaf are no answer, even under the anchored root', async () => {
    const words = AbiCoder.defaultAbiCoder().encode(
      ['uint256', 'uint256', 'uint256', 'uint256'],
      // Another place than its own.
      [1, 7n, 1, 1],
    );
    const tree = buildTree([fromHex(words as Hex)]);
    const roots = rootsOf({ payoutRoot: hexlify(tree.root), leafCount: 1, totalWei: 1n });
    await chain.send(liar, 'Epochs', 'anchor', [1, roots, '0x']);
    await ask(1, [0]);
    await refuses(
      chain.send(liar, 'EpochDisputes', 'show', [1n, [words], [[]]]),
      'EpochDisputesAnswerShape',
    );
  });
});
