import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Address, addressOfPrivateKey } from '#crypto';
import { type EpochLeaves, epochLeaves } from './epoch.ts';
import { accountKey, channelKeyOf, POOL_SOURCE } from './epoch-trees.ts';
import { hashOf, keyOf, RULES } from './fixture.ts';
import { contentOfSpec, epochOver, LIES, leavesOver } from './fixture-epochs.ts';
import { type AnchoredPayments, findPaymentFault } from './payment-faults.ts';
import { receiptHash } from './receipt.ts';
import { isListable, type ReceiptContent } from './receipt-content.ts';

const who = (name: string): Address => addressOfPrivateKey(keyOf(name));
const people = ['ada', 'bob', 'cid', 'dee'].map(who);
const treasury = who('treasury');
const adapterId = hashOf('adapter');
const domain = { chainId: 901, verifyingContract: who('referee') };
const stakers = people.map((account, i) => ({ account, stakeWei: BigInt(i) * 10n ** 18n + 7n }));
const owner = who('owner');
const inputs = { epoch: 2, treasury, stakers, modelOwners: [{ adapterId, owner }] };

const drawn = fc.array(
  fc.record({
    feeWei: fc.bigInt({ min: 1n, max: 10n ** 9n }).map((n) => n * 1_000_000n),
    scored: fc.array(fc.nat(3), { maxLength: 4 }),
    matched: fc.array(fc.nat(3), { maxLength: 3 }),
    trained: fc.boolean(),
    client: fc.nat(1),
  }),
  { minLength: 2, maxLength: 5 },
);
type Drawn = typeof drawn extends fc.Arbitrary<infer Value> ? Value : never;

const contentsOf = (specs: Drawn, from = 0): readonly ReceiptContent[] =>
  specs.map(({ feeWei, scored, matched, trained, client }, i) =>
    contentOfSpec(
      {
        name: `receipt ${from + i}`,
        client: people[client] as Address,
        provider: keyOf('provider'),
        adapterId: trained ? adapterId : hashOf('imported'),
        feeWei,
        issuedAt: 100 + i,
        scored: scored.map((person) => people[person] as Address),
        matched: matched.map((person) => people[person] as Address),
      },
      domain,
    ),
  );

/** What a watcher knows of an honest second epoch. */
function anchoredOf(first: Drawn, second: Drawn) {
  const contents = contentsOf(second, first.length);
  const one = epochOver(contentsOf(first), { ...inputs, epoch: 1 });
  const two = epochOver(contents, inputs, one);
  const leaves = epochLeaves(two);
  const before = epochLeaves(one).payouts;
  const anchored: AnchoredPayments = {
    epoch: 2,
    openedBlock: 50,
    totalWei: two.payouts.at(-1)?.runningWei ?? 0n,
    potWei: 10n ** 30n,
    leaves,
    before,
    earlier: [epochLeaves(one).receipts],
    contents: new Map(contents.map((content) => [receiptHash(content.receipt), content])),
    presented: [],
    treasury,
    stakers,
    ownerOf: (id) => (id === adapterId ? { owner, since: 50 } : null),
    rulesAt: () => [RULES],
    collectedWei: () => 10n ** 30n,
  };
  return { anchored, contents };
}
const codeOf = (anchored: AnchoredPayments) => findPaymentFault(anchored)?.code ?? null;

test('an honest epoch has no fault; each lie has one, by its name', () => {
  fc.assert(
    fc.property(drawn, drawn, (first, second) => {
      const { anchored } = anchoredOf(first, second);
      assert.equal(codeOf(anchored), null);
      for (const [code, lie] of Object.entries(LIES)) {
        const leaves: EpochLeaves = lie(anchored.leaves, anchored.before);
        assert.equal(codeOf({ ...anchored, leaves }), code);
      }
    }),
    { numRuns: 20 },
  );
});

const SPECS: Drawn = [
  { feeWei: 3_000_000n, scored: [0, 1], matched: [2], trained: true, client: 0 },
  { feeWei: 5_000_000n, scored: [], matched: [], trained: false, client: 1 },
];

test('EPOCH_FEES_UNCOLLECTED: more of a channel than its vouchers were collected for', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const covered = anchored.leaves.payouts.at(-1)?.amountWei ?? 0n;
  assert.equal(codeOf({ ...anchored, collectedWei: () => covered - 1n }), 'EPOCH_FEES_UNCOLLECTED');
});

test('EPOCH_RECEIPT_REPEATED: one that an earlier epoch lists', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const earlier = [[], [...anchored.leaves.receipts].slice(1)];
  const fault = findPaymentFault({ ...anchored, earlier });
  assert.equal(fault?.code, 'EPOCH_RECEIPT_REPEATED');
  assert.equal(fault?.fn === 'challengeRepeated' && fault.evidence.earlierEpoch, 2);
});

test('EPOCH_RECEIPT_OMITTED: presented before the epoch opened, collected, and with room', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const [content] = contentsOf([SPECS[0] as (typeof SPECS)[number]], 9) as [ReceiptContent];
  const presentation = {
    content,
    presenter: who('ada'),
    collectedWei: 10n ** 30n,
    blockNumber: 49,
    finalisedCount: 0,
  };
  const after = (changes: Partial<typeof presentation>, others: Partial<AnchoredPayments> = {}) =>
    codeOf({ ...anchored, ...others, presented: [{ ...presentation, ...changes }] });
  assert.equal(after({}), 'EPOCH_RECEIPT_OMITTED');
  assert.equal(after({ blockNumber: 50 }), null);
  const covered = anchored.leaves.payouts.find(({ key }) => key === channelKeyOf(content.receipt));
  const needed = (covered?.amountWei ?? 0n) + content.receipt.feeWei;
  assert.equal(after({ collectedWei: needed }), 'EPOCH_RECEIPT_OMITTED');
  assert.equal(after({ collectedWei: needed - 1n }), null);
  assert.equal(after({}, { potWei: anchored.totalWei }), null);
  assert.equal(after({}, { earlier: [[receiptHash(content.receipt)]] }), null);
});

test('EPOCH_PAYMENT_WRONG: a receipt that divides by no rules of its time is not to be listed', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const other = { ...RULES, learnedPpm: 1 };
  assert.equal(codeOf({ ...anchored, rulesAt: () => [other] }), 'EPOCH_PAYMENT_WRONG');
  assert.equal(codeOf({ ...anchored, rulesAt: () => [other, RULES] }), null);
});

test('an owner that was registered after the receipt may be paid or not', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const late = { ...anchored, ownerOf: () => ({ owner, since: 10_000 }) };
  assert.equal(codeOf(late), null);
  const { payments, receipts } = anchored.leaves;
  // Half of it is nobody's interpretation.
  const half = payments.map((leaf) => {
    const isOwners = leaf.source !== POOL_SOURCE && leaf.key === accountKey(owner);
    return isOwners ? { ...leaf, amountWei: leaf.amountWei / 2n } : leaf;
  });
  const leaves = leavesOver(half, receipts, anchored.before);
  assert.equal(codeOf({ ...late, leaves }), 'EPOCH_PAYMENT_WRONG');
});

test('what is not known is not judged', () => {
  const { anchored } = anchoredOf(SPECS, SPECS);
  const leaves = LIES.EPOCH_PAYMENT_WRONG(anchored.leaves, anchored.before);
  assert.equal(codeOf({ ...anchored, leaves, contents: new Map() }), null);
});

test('isListable: what every node can hold and one transaction can show, and not of the future', () => {
  const [content] = contentsOf(SPECS) as [ReceiptContent];
  const { receipt, scores, spans } = content;
  const at = receipt.issuedAt;
  assert.equal(isListable(content, at), true);
  assert.equal(isListable(content, at - 1), false);
  const [score] = scores as [ReceiptContent['scores'][number]];
  const [span] = spans as [ReceiptContent['spans'][number]];
  const more = <Leaf>(leaf: Leaf, count: number): Leaf[] =>
    Array.from({ length: count }, () => leaf);
  const hostile: readonly Pick<ReceiptContent, 'receipt' | 'scores' | 'spans'>[] = [
    { ...content, receipt: { ...receipt, queryNorm: 2 ** 32 } },
    { ...content, receipt: { ...receipt, scoreCount: 9 } },
    { ...content, receipt: { ...receipt, spanCount: 9 } },
    { ...content, scores: [{ ...score, score: 2 ** 60 }, ...scores.slice(1)] },
    { ...content, scores: [{ ...score, dot: 2 ** 31 }, ...scores.slice(1)] },
    { ...content, scores: [{ ...score, sketchIndex: 2 ** 40 }, ...scores.slice(1)] },
    { ...content, spans: [{ ...span, weight: 2 ** 32 }, ...spans.slice(1)] },
    { receipt: { ...receipt, scoreCount: 65 }, scores: more(score, 65), spans },
    { receipt: { ...receipt, spanCount: 1_025 }, scores, spans: more(span, 1_025) },
  ];
  for (const each of hostile) assert.equal(isListable(each, at), false);
});
