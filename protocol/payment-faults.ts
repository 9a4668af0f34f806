/**
 * What is provably wrong with an anchored epoch's payments, and the evidence from which the contract
 * of payment disputes decides (docs/protocol.md, section 6). The judgement here is the contract's.
 */
import { type Address, type Bytes32, buildTree, type MerkleTree, proveLeaf, toHex } from '#crypto';
import { type EpochLeaves, type Stake, stakersPayouts } from './epoch.ts';
import { type PlacedPayout, placedPayouts } from './epoch-faults.ts';
import {
  accountKey,
  type Channel,
  channelKeyOf,
  comparePayments,
  compareWords,
  type KeyedPayout,
  type PaymentLeaf,
  POOL_KEY,
  POOL_SOURCE,
  paymentLeavesOf,
  receiptLeavesOf,
} from './epoch-trees.ts';
import type { Intent } from './intent.ts';
import { type FeeRules, potOf } from './payouts.ts';
import { type Receipt, receiptHash } from './receipt.ts';
import { dividedBy, divisionOf, type ReceiptContent } from './receipt-content.ts';

/** A receipt that was put on chain. */
export type Presentation = {
  readonly content: ReceiptContent;
  readonly presenter: Address;
  readonly collectedWei: bigint;
  readonly blockNumber: number;
  /** Epochs that were final then. */
  readonly finalisedCount: number;
};

/** An adapter's owner on chain, and the second of its registration. */
export type AdapterOwner = { readonly owner: Address; readonly since: number };

/** What is judged, and what the chain says of it. */
export type AnchoredPayments = {
  readonly epoch: number;
  readonly openedBlock: number;
  readonly totalWei: bigint;
  /** All that had come into pots when it was anchored. */
  readonly potWei: bigint;
  readonly leaves: EpochLeaves;
  /** Payout leaves of the last final epoch; none of the first. */
  readonly before: readonly KeyedPayout[];
  /** Receipts of earlier epochs, from the first on. */
  readonly earlier: readonly (readonly Bytes32[])[];
  /** By receipt hash, as far as they are to be had. */
  readonly contents: ReadonlyMap<Bytes32, ReceiptContent>;
  readonly presented: readonly Presentation[];
  readonly treasury: Address;
  /** Stakes at the end of the block in which the epoch opened. */
  readonly stakers: readonly Stake[];
  readonly ownerOf: (adapterId: Bytes32) => AdapterOwner | null;
  /** Fee rules that are right for a receipt of that second. */
  readonly rulesAt: (issuedAt: number) => readonly FeeRules[];
  /** Fees of a channel that are collected by now. */
  readonly collectedWei: (channel: Channel) => bigint;
};

export type PaymentFaultCode =
  | 'EPOCH_LIST_UNORDERED'
  | 'EPOCH_PAYMENT_SUM_WRONG'
  | 'EPOCH_MOVEMENT_WRONG'
  | 'EPOCH_PAYMENT_WRONG'
  | 'EPOCH_PAYMENT_UNBACKED'
  | 'EPOCH_STAKER_SHARE_WRONG'
  | 'EPOCH_FEES_UNCOLLECTED'
  | 'EPOCH_RECEIPT_REPEATED'
  | 'EPOCH_RECEIPT_OMITTED';

/** A fault with the function that judges it and its argument. */
export type PaymentFault = {
  [Fn in keyof PaymentEvidence]: {
    readonly code: PaymentFaultCode;
    readonly fn: Fn;
    readonly evidence: { readonly epoch: number } & PaymentEvidence[Fn];
  };
}[keyof PaymentEvidence];

type PlacedPayment = {
  readonly index: number;
  readonly key: Bytes32;
  readonly source: Bytes32;
  readonly amountWei: bigint;
  readonly runningWei: bigint;
  readonly proof: readonly Bytes32[];
};
type PlacedReceipt = {
  readonly index: number;
  readonly receiptHash: Bytes32;
  readonly proof: readonly Bytes32[];
};
type Run = {
  readonly before: readonly PlacedPayment[];
  readonly last: readonly PlacedPayment[];
  readonly behind: readonly PlacedPayment[];
};
type Division = ReturnType<typeof divisionOf>;

/** Arguments of the contract's functions, without the epoch. */
type PaymentEvidence = {
  readonly challengeList: { readonly left: PlacedReceipt; readonly right: PlacedReceipt };
  readonly challengePaymentSums: { readonly payments: readonly PlacedPayment[] };
  readonly challengeMovement: {
    readonly key: Bytes32;
    readonly before: readonly PlacedPayout[];
    readonly present: readonly PlacedPayout[];
    readonly run: Run;
  };
  readonly challengePayment: {
    readonly index: number;
    readonly proof: readonly Bytes32[];
    readonly division: Division;
    readonly key: Bytes32;
    readonly place: readonly PlacedPayment[];
  };
  readonly challengeUnbacked: {
    readonly payment: PlacedPayment;
    readonly place: readonly PlacedReceipt[];
  };
  readonly challengeStakerShare: {
    readonly key: Bytes32;
    readonly pool: Run;
    readonly place: readonly PlacedPayment[];
  };
  readonly challengeUncollected: Channel & { readonly channel: PlacedPayout };
  readonly challengeRepeated: {
    readonly earlierEpoch: number;
    readonly present: PlacedReceipt;
    readonly earlier: PlacedReceipt;
  };
  readonly challengeOmitted: {
    readonly presenter: Address;
    readonly receipt: Receipt;
    readonly places: readonly (readonly PlacedReceipt[])[];
    readonly channel: readonly PlacedPayout[];
  };
};

/**
 * The first fault of an epoch's payments, or null. Receipts whose contents are not known are not
 * judged: who judges has to get them first.
 */
export function findPaymentFault(anchored: AnchoredPayments): PaymentFault | null {
  return (
    listFault(anchored) ??
    sumFault(anchored) ??
    unbackedFault(anchored) ??
    repeatedFault(anchored) ??
    paymentFault(anchored) ??
    shareFault(anchored) ??
    movementFault(anchored) ??
    uncollectedFault(anchored) ??
    omittedFault(anchored)
  );
}

// ------------------------------------------------------------------ places

const siblingsOf = (tree: MerkleTree, index: number): readonly Bytes32[] =>
  proveLeaf(tree, index).siblings.map(toHex);

function placedPayment(
  leaves: readonly PaymentLeaf[],
  index: number,
  tree = buildTree(paymentLeavesOf(leaves)),
): PlacedPayment {
  const { key, source, amountWei, runningWei } = leaves[index] as PaymentLeaf;
  return { index, key, source, amountWei, runningWei, proof: siblingsOf(tree, index) };
}

function placedReceipt(hashes: readonly Bytes32[], index: number): PlacedReceipt {
  const proof = siblingsOf(buildTree(receiptLeavesOf(hashes)), index);
  return { index, receiptHash: hashes[index] as Bytes32, proof };
}

/**
 * In a sorted list: the place of what compares as 0, or the places between which it is missing.
 * @param compare a leaf against what is looked for
 */
function placeOf<Leaf>(leaves: readonly Leaf[], compare: (leaf: Leaf) => number): number[] {
  const next = leaves.findIndex((leaf) => compare(leaf) >= 0);
  const behind = next < 0 ? leaves.length : next;
  const found = leaves[behind];
  if (found !== undefined && compare(found) === 0) return [behind];
  return [behind - 1, behind].filter((index) => index >= 0 && index < leaves.length);
}

const paymentPlace = (leaves: readonly PaymentLeaf[], key: Bytes32, source: Bytes32) =>
  placeOf(leaves, (leaf) => comparePayments(leaf, { key, source, amountWei: 0n })).map((index) =>
    placedPayment(leaves, index),
  );
const payoutPlace = (leaves: readonly KeyedPayout[], key: Bytes32) =>
  placedPayouts(
    leaves,
    placeOf(leaves, (leaf) => compareWords(leaf.key, key)),
  );
const receiptPlace = (hashes: readonly Bytes32[], hash: Bytes32) =>
  placeOf(hashes, (each) => compareWords(each, hash)).map((index) => placedReceipt(hashes, index));

/** All payments of a key, by the leaves around them. */
function runOf(leaves: readonly PaymentLeaf[], key: Bytes32): Run {
  const first = leaves.findIndex((leaf) => compareWords(leaf.key, key) >= 0);
  const from = first < 0 ? leaves.length : first;
  const after = leaves.findIndex((leaf) => compareWords(leaf.key, key) > 0);
  const behind = after < 0 ? leaves.length : after;
  const at = (index: number, isThere: boolean) => (isThere ? [placedPayment(leaves, index)] : []);
  return {
    before: at(from - 1, from > 0),
    last: at(behind - 1, behind > from),
    behind: at(behind, behind < leaves.length),
  };
}

// ------------------------------------------------------------------ the trees by themselves

function listFault({ epoch, leaves: { receipts } }: AnchoredPayments): PaymentFault | null {
  const index = receipts.findIndex((hash, i) => {
    const next = receipts[i + 1];
    return next !== undefined && compareWords(hash, next) >= 0;
  });
  if (index < 0) return null;
  const [left, right] = [placedReceipt(receipts, index), placedReceipt(receipts, index + 1)];
  const evidence = { epoch, left, right };
  return { code: 'EPOCH_LIST_UNORDERED', fn: 'challengeList', evidence };
}

function sumFault({ epoch, leaves: { payments } }: AnchoredPayments): PaymentFault | null {
  const index = payments.findIndex((leaf, i) => {
    const left = payments[i - 1];
    if (left === undefined) return leaf.runningWei !== leaf.amountWei;
    if (comparePayments(left, leaf) >= 0) return true;
    return left.runningWei + leaf.amountWei !== leaf.runningWei;
  });
  if (index < 0) return null;
  const indexes = index === 0 ? [0] : [index - 1, index];
  const evidence = { epoch, payments: indexes.map((i) => placedPayment(payments, i)) };
  return { code: 'EPOCH_PAYMENT_SUM_WRONG', fn: 'challengePaymentSums', evidence };
}

function unbackedFault({ epoch, leaves }: AnchoredPayments): PaymentFault | null {
  const listed = new Set<Bytes32>(leaves.receipts).add(POOL_SOURCE);
  const index = leaves.payments.findIndex(({ source }) => !listed.has(source));
  if (index < 0) return null;
  const payment = placedPayment(leaves.payments, index);
  const evidence = { epoch, payment, place: receiptPlace(leaves.receipts, payment.source) };
  return { code: 'EPOCH_PAYMENT_UNBACKED', fn: 'challengeUnbacked', evidence };
}

function repeatedFault({ epoch, leaves, earlier }: AnchoredPayments): PaymentFault | null {
  const own = new Map(leaves.receipts.map((hash, i) => [hash, i]));
  for (const [i, hashes] of earlier.entries()) {
    const index = hashes.findIndex((hash) => own.has(hash));
    if (index < 0) continue;
    const at = own.get(hashes[index] as Bytes32) as number;
    const present = placedReceipt(leaves.receipts, at);
    const evidence = {
      epoch,
      earlierEpoch: i + 1,
      present,
      earlier: placedReceipt(hashes, index),
    };
    return { code: 'EPOCH_RECEIPT_REPEATED', fn: 'challengeRepeated', evidence };
  }
  return null;
}

// ------------------------------------------------------------------ payments against receipts and stakes

/** What a receipt gives by rules that it divides by, key by key; null by others. */
function dueBy(
  content: ReceiptContent,
  rules: FeeRules,
  owner: Address,
  treasury: Address,
): ReadonlyMap<Bytes32, bigint> | null {
  const { receipt } = content;
  const right = dividedBy(content, rules);
  if (right === null) return null;
  const due = new Map<Bytes32, bigint>();
  const add = (key: Bytes32, amountWei: bigint) => due.set(key, (due.get(key) ?? 0n) + amountWei);
  for (const { account, amountWei } of right.payouts) add(accountKey(account), amountWei);
  add(accountKey(owner), right.split.modelOwnerWei);
  add(accountKey(treasury), right.split.fallbackWei);
  add(POOL_KEY, right.split.stakersWei);
  add(channelKeyOf(receipt), receipt.feeWei);
  return due;
}

/** Payments of each receipt, by key. */
function bySource(payments: readonly PaymentLeaf[]): ReadonlyMap<Bytes32, Map<Bytes32, bigint>> {
  const sources = new Map<Bytes32, Map<Bytes32, bigint>>();
  for (const { key, source, amountWei } of payments) {
    const keys = sources.get(source) ?? new Map<Bytes32, bigint>();
    sources.set(source, keys.set(key, amountWei));
  }
  return sources;
}

function paymentFault(anchored: AnchoredPayments): PaymentFault | null {
  const { epoch, leaves, contents, treasury } = anchored;
  const given = bySource(leaves.payments);
  for (const [index, hash] of leaves.receipts.entries()) {
    const content = contents.get(hash);
    if (content === undefined) continue;
    const paid = given.get(hash) ?? new Map<Bytes32, bigint>();
    const key = wrongKey(anchored, content, paid, treasury);
    if (key === null) continue;
    const { proof } = placedReceipt(leaves.receipts, index);
    const place = paymentPlace(leaves.payments, key, hash);
    const evidence = { epoch, index, proof, division: divisionOf(content), key, place };
    return { code: 'EPOCH_PAYMENT_WRONG', fn: 'challengePayment', evidence };
  }
  return null;
}

/** A key that gets what no rules of the receipt's time give it; null if there is none. */
function wrongKey(
  { ownerOf, rulesAt }: AnchoredPayments,
  content: ReceiptContent,
  paid: ReadonlyMap<Bytes32, bigint>,
  treasury: Address,
): Bytes32 | null {
  const { adapterId, issuedAt } = content.receipt;
  const adapter = ownerOf(adapterId);
  // Of an adapter that was registered later nobody can say whether the anchorer knew it.
  const owners =
    adapter === null || adapter.since <= issuedAt
      ? [adapter?.owner ?? treasury]
      : [adapter.owner, treasury];
  const right = rulesAt(issuedAt).flatMap((rules) =>
    owners.flatMap((owner) => dueBy(content, rules, owner, treasury) ?? []),
  );
  const keys = new Set([...paid.keys(), ...right.flatMap((due) => [...due.keys()])]);
  if (right.length === 0) return POOL_KEY;
  for (const key of keys) {
    const amountWei = paid.get(key) ?? 0n;
    if (right.every((due) => (due.get(key) ?? 0n) !== amountWei)) return key;
  }
  return null;
}

function shareFault({ epoch, leaves, stakers, treasury }: AnchoredPayments): PaymentFault | null {
  const given = bySource(leaves.payments);
  const poolWei = leaves.payments
    .filter(({ key }) => key === POOL_KEY)
    .reduce((sum, { amountWei }) => sum + amountWei, 0n);
  const due = new Map<Bytes32, bigint>();
  for (const { account, amountWei } of stakersPayouts(poolWei, stakers, treasury))
    due.set(accountKey(account), amountWei);
  const paid = given.get(POOL_SOURCE) ?? new Map<Bytes32, bigint>();
  for (const key of new Set([...due.keys(), ...paid.keys()])) {
    if ((due.get(key) ?? 0n) === (paid.get(key) ?? 0n)) continue;
    const pool = runOf(leaves.payments, POOL_KEY);
    const place = paymentPlace(leaves.payments, key, POOL_SOURCE);
    const evidence = { epoch, key, pool, place };
    return { code: 'EPOCH_STAKER_SHARE_WRONG', fn: 'challengeStakerShare', evidence };
  }
  return null;
}

// ------------------------------------------------------------------ payouts against payments and collections

function movementFault({ epoch, leaves, before }: AnchoredPayments): PaymentFault | null {
  const moved = new Map<Bytes32, bigint>();
  const move = (key: Bytes32, amountWei: bigint) =>
    moved.set(key, (moved.get(key) ?? 0n) + amountWei);
  for (const { key, amountWei } of leaves.payouts) move(key, amountWei);
  for (const { key, amountWei } of before) move(key, -amountWei);
  for (const { key, amountWei } of leaves.payments) if (key !== POOL_KEY) move(key, -amountWei);
  for (const [key, amountWei] of moved) {
    if (amountWei === 0n) continue;
    const evidence = {
      epoch,
      key,
      before: payoutPlace(before, key),
      present: payoutPlace(leaves.payouts, key),
      run: runOf(leaves.payments, key),
    };
    return { code: 'EPOCH_MOVEMENT_WRONG', fn: 'challengeMovement', evidence };
  }
  return null;
}

function uncollectedFault(anchored: AnchoredPayments): PaymentFault | null {
  const { epoch, leaves, contents, collectedWei } = anchored;
  for (const { receipt } of contents.values()) {
    const { client, provider } = receipt;
    const key = channelKeyOf(receipt);
    const index = leaves.payouts.findIndex((leaf) => leaf.key === key);
    const leaf = leaves.payouts[index];
    if (leaf === undefined || leaf.amountWei <= collectedWei({ client, provider })) continue;
    const [channel] = placedPayouts(leaves.payouts, [index]) as readonly [PlacedPayout];
    const evidence = { epoch, client, provider, channel };
    return { code: 'EPOCH_FEES_UNCOLLECTED', fn: 'challengeUncollected', evidence };
  }
  return null;
}

function omittedFault(anchored: AnchoredPayments): PaymentFault | null {
  const { epoch, leaves, presented, earlier, openedBlock, totalWei, potWei, rulesAt } = anchored;
  for (const { content, presenter, collectedWei, blockNumber, finalisedCount } of presented) {
    if (blockNumber >= openedBlock) continue;
    const { receipt } = content;
    const hash = receiptHash(receipt);
    if (leaves.receipts.includes(hash) || earlier.some((hashes) => hashes.includes(hash))) continue;
    const key = channelKeyOf(receipt);
    const coveredWei = leaves.payouts.find((leaf) => leaf.key === key)?.amountWei ?? 0n;
    const fits = rulesAt(receipt.issuedAt).every(
      (rules) => totalWei + potOf(receipt.feeWei, rules) <= potWei,
    );
    if (coveredWei + receipt.feeWei > collectedWei || !fits) continue;
    const lists = [...earlier.slice(finalisedCount), leaves.receipts];
    const places = lists.map((hashes) => receiptPlace(hashes, hash));
    const channel = payoutPlace(leaves.payouts, key);
    const evidence = { epoch, presenter, receipt, places, channel };
    return { code: 'EPOCH_RECEIPT_OMITTED', fn: 'challengeOmitted', evidence };
  }
  return null;
}

// ------------------------------------------------------------------ presenting

/** Puts a receipt on chain for later epochs to pay. */
export function presentIntent(content: ReceiptContent): Intent<'PaymentDisputes'> {
  return {
    key: `present/${receiptHash(content.receipt)}`,
    contract: 'PaymentDisputes',
    fn: 'present',
    args: [divisionOf(content)],
  };
}

/** Takes back what somebody presented, though a final epoch has paid it. @param hashes its receipts */
export function refuteIntent(
  hash: Bytes32,
  presenter: Address,
  epoch: number,
  hashes: readonly Bytes32[],
): Intent<'PaymentDisputes'> {
  const { index, proof } = placedReceipt(hashes, hashes.indexOf(hash));
  return {
    key: `refute/${hash}/${presenter}/${epoch}`,
    contract: 'PaymentDisputes',
    fn: 'refute',
    args: [hash, presenter, epoch, index, proof],
  };
}
