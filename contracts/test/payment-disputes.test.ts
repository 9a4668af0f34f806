/** PaymentDisputes: each lie about an epoch's payments is found, rejected and slashed; honest epochs stand; every refusal by name. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes, id, type TransactionReceipt, type Wallet, ZeroAddress, ZeroHash } from 'ethers';
import { type Address, type Bytes32, buildTree, parseAddress, toHex } from '#crypto';
import {
  type AnchoredPayments,
  ASK_TREES,
  accountKey,
  adapterIdOf,
  channelKeyOf,
  divisionOf,
  type EpochLeaves,
  type EpochManifest,
  epochLeaves,
  type FeeRules,
  findEpochFault,
  findPaymentFault,
  type KeyedPayout,
  type PaymentFault,
  type PaymentFaultCode,
  type Presentation,
  paymentLeavesOf,
  payoutLeavesOf,
  presentIntent,
  type ReceiptContent,
  receiptHash,
  receiptLeavesOf,
  refuteIntent,
  showLeavesIntent,
} from '#protocol';
import {
  contentOfSpec,
  epochOver,
  LIES,
  leavesOver,
  type ReceiptSpec,
} from '../../protocol/fixture-epochs.ts';
import { PaymentDisputesFault } from '../bindings/structs.ts';
import { decodeEvent } from '../connect.ts';
import {
  type EpochJudgingFunction,
  encodeDivision,
  encodeEpochEvidence,
  evidenceCommitment,
} from '../evidence.ts';
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
} from './fixtures.ts';

const chain = await startChain();
const {
  Epochs,
  EpochDisputes,
  Parameters,
  PaymentDisputes,
  Staking,
  InferenceEscrow,
  ModelRegistry,
} = chain.contracts;
const [client, provider, liar, watcher, ...others] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
const people = others.slice(0, 4).map(({ address }) => parseAddress(address));
const treasury = parseAddress(chain.treasury.address);
const owner = people[3] as Address;
const domain = {
  chainId: chain.deployment.chainId,
  verifyingContract: parseAddress(chain.deployment.contracts.Referee),
};
const adapterHash = id('weights') as Bytes32;
const adapterId = adapterIdOf(7n, adapterHash);
const FEE_WEI = 10_000_000n;

for (const wallet of [liar, watcher]) await stake(chain, wallet, 0);
const adapter = { version: 1, sketchCount: 1, registeredAt: 0, owner, provider: ZeroAddress };
const hashes = { baseHash: id('base'), datanetId: ZeroHash, adapterHash, sketchRoot: ZeroHash };
const rest = { adapterId: ZeroHash, traceRoot: ZeroHash, manifest: ZeroHash, name: 'a' };
await chain.sendAs(chain.deployment.contracts.TaskEscrow, 'ModelRegistry', 'registerAdapter', [
  { ...adapter, ...hashes, ...rest, taskId: 7n },
]);
const issuedAt = Number((await ModelRegistry.ownerOf(adapterId)).since) + 1;
const rules = await rulesAt(issuedAt);
await pay(chain, client, provider, 0n, 10n * FEE_WEI);
isolate(chain);

async function rulesAt(second: number): Promise<FeeRules> {
  const [fees] = await Parameters.feesAround(second);
  assert.ok(fees !== undefined);
  return {
    platformPpm: Number(fees.platformPpm),
    modelOwnerPpm: Number(fees.modelOwnerPpm),
    stakersPpm: Number(fees.stakersPpm),
    dataPpm: Number(fees.dataPpm),
    learnedPpm: Number(fees.learnedPpm),
  };
}

/** A signed receipt of ten million wei of fee. */
function contentOf(name: string, changes: Partial<ReceiptSpec> = {}): ReceiptContent {
  const base = {
    name,
    client: parseAddress(client.address),
    provider: getBytes(provider.privateKey),
    adapterId,
    feeWei: FEE_WEI,
    issuedAt,
    scored: people.slice(0, 2),
    matched: people.slice(1, 3),
  };
  return contentOfSpec({ ...base, ...changes }, domain, rules);
}

/** Two receipts in the first epoch, which is final, and two for the second. */
const first = [contentOf('a'), contentOf('b', { scored: [], matched: [] })];
const second = [contentOf('c', { adapterId: id('imported') as Bytes32 }), contentOf('d')];

type Anchoring = {
  readonly epoch: number;
  readonly leaves: EpochLeaves;
  readonly before: readonly KeyedPayout[];
  readonly earlier: readonly (readonly Bytes32[])[];
};

async function stakersOf(epoch: number) {
  const { openedBlock } = await Epochs.getEpoch(epoch);
  const stakes = await Staking.getStakes(openedBlock, 0, 100);
  return stakes.map((each) => ({ account: parseAddress(each.owner), stakeWei: each.stakeWei }));
}

async function manifestOf(
  epoch: number,
  contents: readonly ReceiptContent[],
  previous: EpochManifest | null = null,
): Promise<EpochManifest> {
  const modelOwners = [{ adapterId, owner }];
  const inputs = { epoch, treasury, stakers: await stakersOf(epoch), modelOwners };
  return epochOver(contents, inputs, previous, rules);
}

async function anchor({ epoch, leaves }: Pick<Anchoring, 'epoch' | 'leaves'>, from = liar) {
  const payouts = buildTree(payoutLeavesOf(leaves.payouts));
  const payments = buildTree(paymentLeavesOf(leaves.payments));
  const receipts = buildTree(receiptLeavesOf(leaves.receipts));
  const roots = rootsOf({
    payoutRoot: toHex(payouts.root),
    leafCount: payouts.count,
    paymentsRoot: toHex(payments.root),
    paymentCount: payments.count,
    receiptsRoot: toHex(receipts.root),
    receiptCount: receipts.count,
    totalWei: leaves.payouts.at(-1)?.runningWei ?? 0n,
  });
  await chain.send(from, 'Epochs', 'anchor', [epoch, roots, '0x']);
}

/** The first epoch anchored and final, the second computed and not anchored. */
async function secondEpoch(contents = second): Promise<Anchoring> {
  const one = await manifestOf(1, first);
  const anchored = epochLeaves(one);
  await anchor({ epoch: 1, leaves: anchored });
  await finalise(chain, 1n);
  const two = await manifestOf(2, contents, one);
  const { payouts: before, receipts } = anchored;
  return { epoch: 2, leaves: epochLeaves(two), before, earlier: [receipts] };
}

/** What the chain says of an anchored epoch, as a watcher reads it. */
async function judged(
  { epoch, leaves, before, earlier }: Anchoring,
  contents: readonly ReceiptContent[],
  presented: readonly Presentation[] = [],
): Promise<AnchoredPayments> {
  const { openedBlock, totalWei } = await Epochs.getEpoch(epoch);
  const channel = await InferenceEscrow.getChannel(client.address, provider.address);
  const potWei = (await Epochs.potTotalWei()) - (await Epochs.potOf(epoch + 1));
  const { since } = await ModelRegistry.ownerOf(adapterId);
  return {
    epoch,
    openedBlock: Number(openedBlock),
    totalWei,
    potWei,
    leaves,
    before,
    earlier,
    contents: new Map(contents.map((content) => [receiptHash(content.receipt), content])),
    presented,
    treasury,
    stakers: await stakersOf(epoch),
    ownerOf: (each) => (each === adapterId ? { owner, since: Number(since) } : null),
    rulesAt: () => [rules],
    collectedWei: () => channel.feeWei,
  };
}

const encodedOf = ({ fn, evidence }: PaymentFault): string =>
  encodeEpochEvidence('PaymentDisputes', fn as EpochJudgingFunction['PaymentDisputes'], evidence);

const show = ({ fn, evidence }: PaymentFault, from = watcher): Promise<TransactionReceipt> =>
  chain.send(from, 'PaymentDisputes', fn as 'challengeList', [evidence] as never);

async function challenge(fault: PaymentFault, from = watcher): Promise<TransactionReceipt> {
  const commitment = evidenceCommitment(from.address, encodedOf(fault));
  await chain.send(from, 'Referee', 'commitEvidence', [commitment]);
  return show(fault, from);
}

const FAULTS: Readonly<Record<PaymentFaultCode, bigint>> = {
  EPOCH_LIST_UNORDERED: PaymentDisputesFault.ListUnordered,
  EPOCH_PAYMENT_SUM_WRONG: PaymentDisputesFault.PaymentSums,
  EPOCH_MOVEMENT_WRONG: PaymentDisputesFault.Movement,
  EPOCH_PAYMENT_WRONG: PaymentDisputesFault.Payment,
  EPOCH_PAYMENT_UNBACKED: PaymentDisputesFault.Unbacked,
  EPOCH_STAKER_SHARE_WRONG: PaymentDisputesFault.StakerShare,
  EPOCH_FEES_UNCOLLECTED: PaymentDisputesFault.Uncollected,
  EPOCH_RECEIPT_REPEATED: PaymentDisputesFault.Repeated,
  EPOCH_RECEIPT_OMITTED: PaymentDisputesFault.Omitted,
};

/** Found, judged as the same fault, and rejected with the anchorer's bond. */
async function rejects(fault: PaymentFault | null, code: PaymentFaultCode): Promise<void> {
  assert.ok(fault !== null, `${code} is not found`);
  assert.equal(fault.code, code);
  const { logs } = await challenge(fault);
  const events = logs.map((log) => decodeEvent(chain.deployment, log));
  const found = events.find((each) => each?.event === 'PaymentDisputed')?.args['fault'];
  assert.equal(found, FAULTS[code]);
  assert.equal(await Epochs.epochCount(), BigInt(fault.evidence.epoch - 1));
  // The watcher is a staker too: of a share it is the one who was wronged.
  const parts = code === 'EPOCH_STAKER_SHARE_WRONG' ? 5n : 4n;
  const gainWei = await Staking.credits(watcher.address);
  assert.equal(gainWei, (BigInt(bonds.minStakeWei) * parts) / 10n);
  await assertConserved(chain);
}

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

describe('PaymentDisputes: the largest receipt', () => {
  // 64 clusters, and the spans of 2,048 tokens.
  const people103 = Array.from({ length: 103 }, (_, i) => people[i % 4] as Address);
  const large = contentOf('large', { scored: people103.slice(0, 64), matched: people103 });

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
    // What showing is paid for, and eight of which fit into a transaction.
    for (const gas of used) assert.ok(gas < 1_500_000n, `${used.join(', ')} gas`);
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
    await ask('contents', [0, 1]);
    const listed = honest.leaves.receipts.map((each) => {
      const content = second.find(({ receipt }) => receiptHash(receipt) === each);
      assert.ok(content !== undefined);
      return content;
    });
    const bytes = listed.map((content) => getBytes(encodeDivision(divisionOf(content))));
    const receipts = receiptLeavesOf(honest.leaves.receipts);
    const swapped = showLeavesIntent(2n, receipts, [0, 1], [...bytes].reverse());
    await refuses(answer(2n, swapped), 'EpochDisputesProofInvalid');
    const unsigned = listed.map((content) =>
      getBytes(encodeDivision({ ...divisionOf(content), signature: '0x' })),
    );
    await refuses(
      answer(2n, showLeavesIntent(2n, receipts, [0, 1], unsigned)),
      'PaymentDisputesReceiptUnsigned',
    );
    await answer(2n, showLeavesIntent(2n, receipts, [0, 1], bytes));
    assert.equal((await EpochDisputes.getAsk(2)).settled, true);
    await refuses(ask('contents', [0]), 'EpochDisputesAskedBefore', [3n, 0n]);
    await refuses(ask('contents', [0, 1, 2, 3, 4, 5, 6, 7, 8]), 'EpochDisputesAskSize', [9n, 8n]);
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
