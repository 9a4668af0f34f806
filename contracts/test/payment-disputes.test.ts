/** PaymentDisputes: each lie about an epoch's payments is found, rejected and slashed; honest epochs stand; every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes } from 'ethers';
import { parseAddress } from '#crypto';
import {
  accountKey,
  channelKeyOf,
  findPaymentFault,
  type PaymentFault,
  type ReceiptContent,
} from '#protocol';
import { contentOfSpec, LIES, leavesOver } from '../../protocol/fixture-epochs.ts';
import { evidenceCommitment } from '../evidence.ts';
import { Reverted } from '../harness.ts';
import {
  adapterId,
  anchor,
  chain,
  challenge,
  client,
  contentOf,
  domain,
  Epochs,
  encodedOf,
  FEE_WEI,
  first,
  issuedAt,
  judged,
  owner,
  PaymentDisputes,
  people,
  provider,
  rejects,
  rules,
  second,
  secondEpoch,
  show,
  treasury,
  watcher,
} from './books.ts';
import { finalise, pay, refuses } from './fixtures.ts';

describe('PaymentDisputes: lies of one leaf', () => {
  for (const code of Object.keys(LIES) as (keyof typeof LIES)[])
    test(`${code}: the epoch is rejected and its anchorer slashed`, async () => {
      const honest = await secondEpoch();
      const lying = { ...honest, leaves: LIES[code](honest.leaves, honest.before) };
      await anchor(lying);
      await rejects(findPaymentFault(await judged(lying, second)), code);
      // The truth stands in its place.
      await anchor(honest, watcher);
      assert.equal(findPaymentFault(await judged(honest, second)), null);
      await finalise(chain, 2n);
    });

  test('EPOCH_FEES_UNCOLLECTED: more fees of a channel than were collected', async () => {
    const lying = await secondEpoch([...second, contentOf('e', { feeWei: 60n * FEE_WEI })]);
    // So that the pots hold it: another channel paid for something else.
    await pay(chain, client, watcher, 0n, 100n * FEE_WEI);
    await anchor(lying);
    const contents = [...second, contentOf('e', { feeWei: 60n * FEE_WEI })];
    await rejects(findPaymentFault(await judged(lying, contents)), 'EPOCH_FEES_UNCOLLECTED');
  });

  test('EPOCH_RECEIPT_REPEATED: a receipt that an earlier epoch has paid', async () => {
    const lying = await secondEpoch([...second, first[0] as ReceiptContent]);
    await anchor(lying);
    const contents = [...second, ...first];
    await rejects(findPaymentFault(await judged(lying, contents)), 'EPOCH_RECEIPT_REPEATED');
  });

  test('EPOCH_PAYMENT_WRONG: the owner of the model is left out, the treasury takes it', async () => {
    const honest = await secondEpoch();
    const stolen = honest.leaves.payments.map((leaf) =>
      leaf.key === accountKey(owner) ? { ...leaf, key: accountKey(treasury) } : leaf,
    );
    const leaves = leavesOver(stolen, honest.leaves.receipts, honest.before);
    await anchor({ ...honest, leaves });
    await rejects(
      findPaymentFault(await judged({ ...honest, leaves }, second)),
      'EPOCH_PAYMENT_WRONG',
    );
  });

  test('EPOCH_PAYMENT_WRONG: a listed receipt that no rules divide so', async () => {
    const other = { ...rules, learnedPpm: rules.learnedPpm + 1 };
    const spec = { client: parseAddress(client.address), provider: getBytes(provider.privateKey) };
    const wrong = contentOfSpec(
      {
        ...spec,
        name: 'w',
        adapterId,
        feeWei: FEE_WEI,
        issuedAt,
        scored: people.slice(0, 2),
        matched: people.slice(1, 3),
      },
      domain,
      other,
    );
    const lying = await secondEpoch([...second, wrong]);
    await anchor(lying);
    const fault = findPaymentFault(await judged(lying, [...second, wrong]));
    await rejects(fault, 'EPOCH_PAYMENT_WRONG');
  });

  test('a missing payment counts as one of nothing', async () => {
    const honest = await secondEpoch();
    for (const at of [0, honest.leaves.payments.length - 1]) {
      const before = await chain.snapshot();
      const fewer = honest.leaves.payments.filter((_, i) => i !== at);
      const leaves = leavesOver(fewer, honest.leaves.receipts, honest.before);
      await anchor({ ...honest, leaves });
      const fault = findPaymentFault(await judged({ ...honest, leaves }, second));
      await rejects(fault, fault?.code ?? 'EPOCH_PAYMENT_WRONG');
      await chain.revert(before);
    }
  });
});

describe('PaymentDisputes: refusals', () => {
  test('PaymentDisputesNoFault: an honest epoch, with the evidence of every lie', async () => {
    const honest = await secondEpoch();
    for (const code of Object.keys(LIES) as (keyof typeof LIES)[]) {
      const before = await chain.snapshot();
      const lying = { ...honest, leaves: LIES[code](honest.leaves, honest.before) };
      await anchor(honest);
      const fault = findPaymentFault(await judged(lying, second));
      assert.equal(fault?.code, code);
      // The liar's leaves do not stand under the honest roots.
      await refuses(challenge(fault as PaymentFault), 'PaymentDisputesProofInvalid');
      await chain.revert(before);
    }
    await anchor(honest);
    const facts = await judged(honest, second);
    const poorer = { ...facts, stakers: facts.stakers.slice(1) };
    const share = findPaymentFault(poorer) as PaymentFault;
    assert.equal(share.code, 'EPOCH_STAKER_SHARE_WRONG');
    await refuses(challenge(share), 'PaymentDisputesNoFault', [2n]);
    const uncollected = findPaymentFault({ ...facts, collectedWei: () => 0n }) as PaymentFault;
    assert.equal(uncollected.code, 'EPOCH_FEES_UNCOLLECTED');
    await refuses(challenge(uncollected), 'PaymentDisputesNoFault', [2n]);
    const stolen = findPaymentFault({ ...facts, ownerOf: () => null }) as PaymentFault;
    assert.equal(stolen.code, 'EPOCH_PAYMENT_WRONG');
    await refuses(challenge(stolen), 'PaymentDisputesNoFault', [2n]);
    assert.equal(await Epochs.epochCount(), 2n);
  });

  test('PaymentDisputesNotInWindow, PaymentDisputesEvidenceNotCommitted, PaymentDisputesEvidenceTooEarly', async () => {
    const honest = await secondEpoch();
    const lying = { ...honest, leaves: LIES.EPOCH_PAYMENT_SUM_WRONG(honest.leaves) };
    const fault = findPaymentFault({
      ...(await judged({ ...honest, epoch: 1 }, second)),
      ...lying,
    }) as PaymentFault;
    await refuses(challenge(fault), 'PaymentDisputesNotInWindow', [2n]);
    await anchor(lying);
    await refuses(show(fault, client), 'PaymentDisputesEvidenceNotCommitted');
    const commitment = evidenceCommitment(client.address, encodedOf(fault));
    const [, early] = await chain.together(client, [
      ['Referee', 'commitEvidence', [commitment]],
      ['PaymentDisputes', fault.fn as 'challengeList', [fault.evidence] as never],
    ]);
    assert.ok(early instanceof Reverted);
    assert.equal(early.error, 'PaymentDisputesEvidenceTooEarly');
    await show(fault, client);
    assert.equal(await Epochs.epochCount(), 1n);
  });

  test('keys of channels are the same on both sides', async () => {
    const pair = {
      client: parseAddress(client.address),
      provider: parseAddress(provider.address),
    };
    const key = await PaymentDisputes.channelKey(pair.client, pair.provider);
    assert.equal(key, BigInt(channelKeyOf(pair)));
  });
});
