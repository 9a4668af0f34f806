/** PaymentDisputes: receipts that are left out are put on chain and have to be paid; what is asked for is shown. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes } from 'ethers';
import { type Address, type Bytes32, parseAddress } from '#crypto';
import {
  ASK_TREES,
  divisionOf,
  epochLeaves,
  findEpochFault,
  findPaymentFault,
  type PaymentFault,
  type Presentation,
  paymentLeavesOf,
  presentIntent,
  type ReceiptContent,
  receiptHash,
  receiptLeavesOf,
  refuteIntent,
  showLeavesIntent,
} from '#protocol';
import type { ReceiptSpec } from '../../protocol/fixture-epochs.ts';
import { LIES } from '../../protocol/fixture-epochs.ts';
import { encodeDivision } from '../evidence.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  anchor,
  chain,
  challenge,
  client,
  contentOf,
  EpochDisputes,
  FEE_WEI,
  first,
  issuedAt,
  judged,
  liar,
  manifestOf,
  owner,
  PaymentDisputes,
  people,
  provider,
  rejects,
  second,
  secondEpoch,
  watcher,
} from './books.ts';
import { finalise, pay, refuses } from './fixtures.ts';

describe('PaymentDisputes: receipts that are left out', () => {
  const left = contentOf('left out');
  const hash = receiptHash(left.receipt);
  const present = (content = left, from = watcher) =>
    chain.send(from, 'PaymentDisputes', 'present', [...presentIntent(content).args] as never);
  const presentation = async (): Promise<Presentation> => {
    const stated = await PaymentDisputes.getPresented(hash, watcher.address);
    return {
      content: left,
      presenter: parseAddress(watcher.address),
      collectedWei: stated.collectedWei,
      blockNumber: Number(stated.blockNumber),
      finalisedCount: Number(stated.finalisedCount),
    };
  };

  test('EPOCH_RECEIPT_OMITTED: an epoch that opened later has to pay it', async () => {
    await present();
    const lying = await secondEpoch();
    // The first epoch collected before it was presented, and need not.
    await anchor(lying);
    const shown = await presentation();
    assert.equal(shown.collectedWei, 10n * FEE_WEI);
    await rejects(findPaymentFault(await judged(lying, second, [shown])), 'EPOCH_RECEIPT_OMITTED');
    const one = await manifestOf(1, first);
    const two = await manifestOf(2, [...second, left], one);
    const honest = { ...lying, leaves: epochLeaves(two) };
    await anchor(honest, watcher);
    assert.equal(findPaymentFault(await judged(honest, [...second, left], [shown])), null);
  });

  test('PaymentDisputesNoFault: not before the epoch opens, not without room, not what is paid', async () => {
    const lying = await secondEpoch();
    await present();
    await anchor(lying);
    const omitted = async (changes: Partial<Presentation> = {}) => {
      const shown = { ...(await presentation()), ...changes };
      const facts = await judged(lying, second, [shown]);
      const fault = findPaymentFault({ ...facts, openedBlock: 10 ** 9, potWei: 10n ** 30n });
      assert.equal(fault?.code, 'EPOCH_RECEIPT_OMITTED');
      return fault as PaymentFault;
    };
    const fault = await omitted();
    await refuses(challenge(fault), 'PaymentDisputesNoFault', [2n]);
    if (fault.fn !== 'challengeOmitted') throw new Error('another fault was found');
    const wrongPresenter = { ...fault.evidence, presenter: parseAddress(client.address) };
    await refuses(
      challenge({ ...fault, evidence: wrongPresenter }),
      'PaymentDisputesNotPresented',
      [hash, client.address],
    );
    await finalise(chain, 2n);
    // A third epoch opened after it, and pays it: its absence cannot be shown.
    const two = await manifestOf(2, second, await manifestOf(1, first));
    const three = await manifestOf(3, [left], two);
    const paid = { ...lying, epoch: 3, leaves: epochLeaves(three), before: lying.leaves.payouts };
    await anchor(paid);
    const facts = await judged(paid, [left], [await presentation()]);
    assert.equal(findPaymentFault(facts), null);
    const without = { ...facts, leaves: { ...facts.leaves, receipts: [] } };
    const missing = findPaymentFault({ ...without, leaves: { ...without.leaves, payments: [] } });
    assert.ok(missing !== null);
  });

  test('no room: a channel that was collected for less when it was presented', async () => {
    const large = contentOf('large', { feeWei: 11n * FEE_WEI });
    await present(large);
    await pay(chain, client, provider, 0n, 20n * FEE_WEI);
    const honest = await secondEpoch();
    await anchor(honest);
    const stated = await PaymentDisputes.getPresented(receiptHash(large.receipt), watcher.address);
    const shown = {
      content: large,
      presenter: parseAddress(watcher.address),
      collectedWei: 10n ** 30n,
      blockNumber: Number(stated.blockNumber),
      finalisedCount: Number(stated.finalisedCount),
    };
    const fault = findPaymentFault(await judged(honest, second, [shown]));
    assert.equal(fault?.code, 'EPOCH_RECEIPT_OMITTED');
    await refuses(challenge(fault as PaymentFault), 'PaymentDisputesNoFault', [2n]);
  });

  test('a presentation of what was paid is refuted, and is nothing then', async () => {
    const [paid] = first as [ReceiptContent];
    const paidHash = receiptHash(paid.receipt);
    const refute = (epoch: number, hashes: readonly Bytes32[]) => {
      const { args } = refuteIntent(paidHash, parseAddress(watcher.address), epoch, hashes);
      return chain.send(client, 'PaymentDisputes', 'refute', [...args] as never);
    };
    const one = epochLeaves(await manifestOf(1, first));
    await refuses(refute(1, one.receipts), 'PaymentDisputesNotPresented', [
      paidHash,
      watcher.address,
    ]);
    await present(paid);
    await refuses(refute(1, one.receipts), 'PaymentDisputesNotFinal', [1n]);
    const honest = await secondEpoch();
    await refuses(refute(1, [paidHash]), 'PaymentDisputesProofInvalid');
    const stated = await PaymentDisputes.getPresented(paidHash, watcher.address);
    await refute(1, one.receipts);
    assert.equal((await PaymentDisputes.getPresented(paidHash, watcher.address)).blockNumber, 0n);
    assert.ok(stated.blockNumber > 0n);
    await anchor(honest);
  });

  test('PaymentDisputesReceiptUnsigned, ReceiptUndivided, LeavesMismatch: what may be presented and shown', async () => {
    const forged = { ...left, signature: second[0]?.signature ?? left.signature };
    await refuses(present(forged), 'PaymentDisputesReceiptUnsigned', [hash, provider.address]);
    await refuses(present({ ...left, scores: [] }), 'PaymentDisputesLeavesMismatch', [hash]);
    const free = contentOf('free', { feeWei: 0n });
    await refuses(present(free), 'PaymentDisputesReceiptUndivided', [receiptHash(free.receipt)]);
  });
});

describe('PaymentDisputes: receipts that nobody could hold or show', () => {
  const unfit: readonly (readonly [string, Partial<ReceiptSpec>])[] = [
    ['of the future', { issuedAt: issuedAt + 1_000_000 }],
    ['of 65 scores', { scored: Array.from({ length: 65 }, () => owner) }],
    ['of 1,025 spans', { matched: Array.from({ length: 1_025 }, () => owner) }],
  ];
  for (const [what, changes] of unfit)
    test(`PaymentDisputesReceiptUnfit: one ${what}`, async () => {
      const content = contentOf(what, changes);
      const { args } = presentIntent(content);
      await refuses(
        chain.send(watcher, 'PaymentDisputes', 'present', [...args] as never),
        'PaymentDisputesReceiptUnfit',
        [receiptHash(content.receipt)],
      );
    });
});

describe('PaymentDisputes: the largest receipt', () => {
  // 64 clusters, and 128 spans that stand in eight clusters each.
  const many = Array.from({ length: 1_024 }, (_, i) => people[i % 4] as Address);
  const large = contentOf('large', { scored: many.slice(0, 64), matched: many });

  test('presenting, showing and judging it stays below the gas of one transaction', async () => {
    const { args } = presentIntent(large);
    const presented = await chain.send(watcher, 'PaymentDisputes', 'present', [...args] as never);
    const honest = await secondEpoch([large]);
    const leaves = LIES.EPOCH_PAYMENT_WRONG(honest.leaves, honest.before);
    const lying = { ...honest, leaves };
    await anchor(lying);
    await chain.send(watcher, 'EpochDisputes', 'ask', [2, 3, [0]], 10n * OPEN_WEI);
    const bytes = getBytes(encodeDivision(divisionOf(large)));
    const intent = showLeavesIntent(1n, receiptLeavesOf(leaves.receipts), [0], [bytes]);
    const shown = await chain.send(liar, 'EpochDisputes', 'show', [...intent.args] as never);
    const fault = findPaymentFault(await judged(lying, [large]));
    assert.equal(fault?.code, 'EPOCH_PAYMENT_WRONG');
    const judgement = await challenge(fault as PaymentFault);
    const used = [presented, shown, judgement].map(({ gasUsed }) => gasUsed);
    // What showing is paid for.
    for (const gas of used) assert.ok(gas < 11_000_000n, `${used.join(', ')} gas`);
  });
});

describe('EpochDisputes: payments and contents', () => {
  const ask = (tree: (typeof ASK_TREES)[number], indexes: readonly number[]) => {
    const args = [2, ASK_TREES.indexOf(tree), [...indexes]] as const;
    return chain.send(watcher, 'EpochDisputes', 'ask', [...args], 10n * OPEN_WEI);
  };
  const answer = (askId: bigint, { args }: ReturnType<typeof showLeavesIntent>) =>
    chain.send(liar, 'EpochDisputes', 'show', [askId, ...args.slice(1)] as never);

  test('payments are shown as leaves, receipts whole', async () => {
    const honest = await secondEpoch();
    await anchor(honest);
    await ask('payments', [1, 3]);
    await answer(1n, showLeavesIntent(1n, paymentLeavesOf(honest.leaves.payments), [1, 3]));
    await ask('contents', [0]);
    const listed = honest.leaves.receipts.map((each) => {
      const content = second.find(({ receipt }) => receiptHash(receipt) === each);
      assert.ok(content !== undefined);
      return content;
    });
    const [right, other] = listed.map((content) => getBytes(encodeDivision(divisionOf(content))));
    const receipts = receiptLeavesOf(honest.leaves.receipts);
    const shows = (bytes: Uint8Array) => answer(2n, showLeavesIntent(2n, receipts, [0], [bytes]));
    await refuses(shows(other!), 'EpochDisputesProofInvalid');
    const unsigned = encodeDivision({ ...divisionOf(listed[0]!), signature: '0x' });
    await refuses(shows(getBytes(unsigned)), 'PaymentDisputesReceiptUnsigned');
    await shows(right!);
    assert.equal((await EpochDisputes.getAsk(2)).settled, true);
    await refuses(ask('contents', [0]), 'EpochDisputesAskedBefore', [3n, 0n]);
    await refuses(ask('contents', [0, 1]), 'EpochDisputesAskSize', [2n, 1n]);
    await refuses(ask('payments', [999]), 'EpochDisputesNoSuchLeaf');
    const { args } = showLeavesIntent(3n, paymentLeavesOf(honest.leaves.payments), [0]);
    await ask('payments', [0]);
    const [, , proofs] = args as [bigint, string[], string[][]];
    await refuses(
      chain.send(liar, 'EpochDisputes', 'show', [3n, ['0x00'], proofs] as never),
      'EpochDisputesAnswerShape',
    );
    assert.equal(findEpochFault({ ...honest, totalWei: 0n, payouts: [] }, []), null);
  });
});
