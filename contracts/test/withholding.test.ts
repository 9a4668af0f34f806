/** Referee: what a wrong leaf would have paid is withheld from its contributor, for the client. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes, id, recoverAddress, ZeroHash } from 'ethers';
import { buildTree, type Hex, type MerkleTree } from '#crypto';
import type { JudgedLeaf, ScoreEvidence } from '#protocol';
import { RefereeLeafState } from '../bindings/structs.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  alice,
  answer,
  bob,
  chain,
  challenger,
  client,
  Epochs,
  FEE,
  inflate,
  lastVerdict,
  leafOf,
  proveAgainst,
  provider,
  Referee,
  Staking,
  thief,
} from './accused.ts';
import { challenge, challengeAnchored, receiptHash, signReceipt } from './answers.ts';
import {
  anchor,
  assertConserved,
  bonds,
  claimArgs,
  finalise,
  pay,
  refuses,
  siblings,
} from './fixtures.ts';

describe('Referee: the wrong leaf is never paid', () => {
  async function judged(): Promise<{
    hash: string;
    leaf: JudgedLeaf;
    evidence: ScoreEvidence;
    receipts: MerkleTree;
  }> {
    const served = answer(inflate);
    await pay(chain, client, provider, OPEN_WEI, FEE);
    const evidence = await proveAgainst(served, 1);
    const hash = receiptHash(served.receipt);
    const hashes = [hash, id('other receipt')].sort();
    const receipts = buildTree(hashes.map((each) => getBytes(each)));
    return { hash, leaf: leafOf(evidence), evidence, receipts };
  }
  const payouts = [
    { account: alice.address, cumulativeWei: 2n * (FEE / 10n) },
    { account: bob.address, cumulativeWei: 2n * (FEE / 10n) },
  ];
  /** Bob is paid but half of what he is owed, and the client the other half. */
  async function assertWithheld(): Promise<void> {
    await finalise(chain, 1n);
    const before = await chain.provider.getBalance(bob.address);
    await chain.send(bob, 'Epochs', 'claim', [...claimArgs(payouts, 1)]);
    assert.equal((await chain.provider.getBalance(bob.address)) - before, FEE / 10n);
    assert.equal(await Epochs.credits(client.address), FEE / 10n);
    await assertConserved(chain);
  }

  test('RefereeReceiptNotAnchored, RefereeAlreadyWithheld: its amount comes off the contributor, for the client', async () => {
    const { hash, leaf, evidence, receipts } = await judged();
    await challenge(chain, challenger, evidence);
    await anchor(chain, challenger, payouts, receipts);
    const place = hash < id('other receipt') ? 0 : 1;
    const withhold = (of: JudgedLeaf, at = place) =>
      chain.send(thief, 'Referee', 'withholdLeaf', [of, 1, at, siblings(receipts, at)]);
    await refuses(withhold(leaf, 1 - place), 'RefereeReceiptNotAnchored', [
      hash,
      1n,
      BigInt(1 - place),
    ]);
    for (const other of [
      { ...leaf, amountWei: leaf.amountWei + 1n },
      { ...leaf, client: thief.address as Hex },
      { ...leaf, contributor: alice.address as Hex },
    ])
      await refuses(withhold(other), 'RefereeUnknownJudgement', [hash, 1n]);
    await withhold(leaf);
    await refuses(withhold(leaf), 'RefereeAlreadyWithheld', [hash, 1n]);
    assert.equal(await Referee.stateOf(hash, 1), RefereeLeafState.Withheld);
    await assertWithheld();
  });

  test('RefereeReceiptOutside: in an epoch that is anchored, one transaction slashes, credits and withholds', async () => {
    const { hash, leaf, evidence, receipts } = await judged();
    await anchor(chain, challenger, payouts, receipts);
    const place = hash < id('other receipt') ? 0 : 1;
    const show = (index: number, count = 2, path = siblings(receipts, index % 2)) =>
      challengeAnchored(chain, challenger, evidence, { epoch: 1, index, count, siblings: path });
    await refuses(show(2), 'RefereeReceiptOutside', [2n, 2n]);
    // The root binds the number of receipts: no other number leads to it.
    for (const count of [3, 4]) {
      const longer = [...siblings(receipts, place), ZeroHash];
      await refuses(show(place, count, longer), 'RefereeReceiptNotAnchored');
    }
    await refuses(show(1 - place), 'RefereeReceiptNotAnchored', [hash, 1n, BigInt(1 - place)]);
    assert.equal(await Referee.stateOf(hash, 1), RefereeLeafState.Unjudged);
    await show(place);
    assert.equal((await lastVerdict())['epoch'], 1n);
    assert.equal(await Staking.credits(challenger.address), (bonds.servingLockWei * 4n) / 10n);
    assert.equal(await Referee.stateOf(hash, 1), RefereeLeafState.Withheld);
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [leaf, 1, place, siblings(receipts, place)]),
      'RefereeAlreadyWithheld',
    );
    await refuses(challenge(chain, thief, evidence), 'RefereeAlreadyJudged', [hash, 1n]);
    await assertWithheld();
  });

  test('a leaf of a receipt that no epoch anchored withholds nothing', async () => {
    const { hash, leaf, evidence } = await judged();
    await challenge(chain, challenger, evidence);
    const withhold = () => chain.send(thief, 'Referee', 'withholdLeaf', [leaf, 1, 0, []]);
    await refuses(withhold(), 'EpochsUnknownEpoch', [1n]);
    await anchor(chain, challenger, payouts);
    await refuses(withhold(), 'RefereeReceiptNotAnchored', [hash, 1n, 0n]);
  });

  test('an amount above the fee withholds the fee at most', async () => {
    const served = answer((leaves) => {
      leaves[1]!.score += 1;
      leaves[1]!.amountWei = 1_000n * OPEN_WEI;
    });
    await challenge(chain, challenger, await proveAgainst(served, 1));
    assert.equal((await lastVerdict())['amountWei'], FEE);
  });

  test('RefereeUnknownJudgement: what was not judged is not withheld', async () => {
    const { hash, leaf } = await judged();
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [leaf, 1, 0, []]),
      'RefereeUnknownJudgement',
      [hash, 1n],
    );
  });

  test('receiptHashOf and receiptDigest are those of EIP-712', async () => {
    const { receipt } = answer();
    assert.equal(await Referee.receiptHashOf(receipt), receiptHash(receipt));
    const signature = await signReceipt(chain, provider, receipt);
    assert.equal(recoverAddress(await Referee.receiptDigest(receipt), signature), provider.address);
  });
});
