/**
 * The watch over anchored epochs: payouts that contradict each other or the epoch before are taken to
 * the contract of epoch disputes, leaves that nobody publishes are asked for, and leaves that others
 * ask for are shown. Level-triggered: every tick goes on from what the chain says.
 */
import {
  type EpochJudge,
  type EpochJudgingFunction,
  encodeDivision,
  encodeEpochEvidence,
} from '#contracts';
import { type Address, type Bytes32, fromHex, type Hex } from '#crypto';
import {
  ASK_TREES,
  divisionOf,
  type EpochFault,
  type EpochLeaves,
  epochLeaves,
  findEpochFault,
  findPaymentFault,
  isTurn,
  type PaymentFault,
  paymentLeavesOf,
  payoutLeavesOf,
  type ReceiptContent,
  receiptHash,
  receiptLeavesOf,
  refuteIntent,
  showLeavesIntent,
} from '#protocol';
import type { LogPort } from '../provider/ports.ts';
import type { ChainPort } from '../services/chain-port.ts';
import type { PendingEpoch, ReceiptLists } from '../services/epochs.ts';
import {
  type Ask,
  type Asked,
  allOf,
  askFor,
  countsOf,
  type LeafParts,
  readAsked,
  shownLeaves,
} from './leaves.ts';
import { findContents, type PaymentParts, readPayments, readPresented } from './payments.ts';
import { accuse, type VerdictParts } from './verdict.ts';

export type EpochWatchParts = LeafParts &
  PaymentParts &
  VerdictParts & {
    readonly chain: Pick<
      ChainPort<
        | 'Epochs'
        | 'EpochDisputes'
        | 'InferenceEscrow'
        | 'ModelRegistry'
        | 'Parameters'
        | 'PaymentDisputes'
        | 'Referee'
        | 'Staking'
      >,
      'read' | 'submit'
    >;
    readonly pending: () => Promise<PendingEpoch | null>;
    readonly lists: () => Promise<ReceiptLists>;
    readonly watchers: () => Promise<readonly Address[]>;
    readonly chainSeconds: () => Promise<number>;
    readonly nowMs: () => number;
    readonly log: LogPort;
  };

export type EpochWatchOptions = {
  /** Each next watcher in the order waits so much longer. */
  readonly staggerMs: number;
  /** Data that is not to be had for so long is asked for on chain. */
  readonly patienceMs: number;
  readonly challenges: boolean;
};

/** What a watcher knows of an anchoring. */
type Seen = {
  readonly round: number;
  readonly sinceMs: number;
  /** What its receipts say, as far as that was found. */
  readonly contents: Map<Bytes32, ReceiptContent>;
  /** Receipts whose contents were known when it was judged last; all, and nothing is left to do. */
  judged: number;
};

export function watchEpochs(
  parts: EpochWatchParts,
  options: EpochWatchOptions,
): (signal: AbortSignal) => Promise<void> {
  const { chain, self } = parts;
  let seen: Seen | null = null;
  const open = new Set<bigint>();
  let asksRead = 0n;

  const isMine = async (subject: string, sinceMs: number): Promise<boolean> =>
    isTurn(subject, await parts.watchers(), self, sinceMs, parts.nowMs(), options.staggerMs);

  /** Asks for data on chain when it is this watcher's turn and patience is over. */
  const request = async (
    pending: PendingEpoch,
    { round, sinceMs }: Seen,
    wanted: Partial<Record<(typeof ASK_TREES)[number], readonly number[]>>,
    asked: Asked,
  ): Promise<void> => {
    const fromMs = sinceMs + options.patienceMs;
    if (parts.nowMs() < fromMs || !(await isMine(`ask/${round}`, fromMs))) return;
    if ((await parts.chainSeconds()) >= pending.chain.windowEndsAt) return;
    for (const tree of ASK_TREES) await askFor(parts, pending, tree, wanted[tree] ?? [], asked);
  };

  const judge = async (pending: PendingEpoch, state: Seen, signal: AbortSignal): Promise<void> => {
    const { epoch, before, manifest } = pending;
    const { round, totalWei, receiptCount } = pending.chain;
    if (state.judged === receiptCount) return;
    const asked = await readAsked(parts, round);
    const leaves = manifest === null ? shownLeaves(pending, asked) : epochLeaves(manifest);
    if (leaves === null) {
      const counts = countsOf(pending);
      const { payouts, receipts, payments } = counts;
      const wanted = {
        payouts: allOf(payouts),
        receipts: allOf(receipts),
        payments: allOf(payments),
      };
      return request(pending, state, wanted, asked);
    }
    await findContents(parts, pending, leaves, asked, state.contents);
    if (state.contents.size > state.judged) {
      const anchored = await readPayments(parts, pending, leaves, state.contents);
      const { payouts } = leaves;
      const fault =
        findEpochFault({ epoch, totalWei, payouts }, before) ?? findPaymentFault(anchored);
      if (fault !== null) {
        if (!(await isMine(`dispute/${round}`, state.sinceMs))) return;
        await dispute(parts, pending, fault, signal);
        state.judged = receiptCount;
        return;
      }
      state.judged = state.contents.size;
    }
    const missing = allOf(receiptCount).filter(
      (i) => !state.contents.has(leaves.receipts[i] as Bytes32),
    );
    if (missing.length > 0) await request(pending, state, { contents: missing }, asked);
  };

  return async (signal) => {
    const pending = await parts.pending();
    const count = await chain.read<bigint>('EpochDisputes', 'askCount');
    while (asksRead < count) open.add(++asksRead);
    for (const askId of open) if (await tend(parts, pending, askId)) open.delete(askId);
    if (!options.challenges) return;
    await refutePaid(parts, (subject) => isMine(subject, 0));
    if (pending === null) return;
    const { round } = pending.chain;
    if (seen?.round !== round)
      seen = { round, sinceMs: parts.nowMs(), contents: new Map(), judged: -1 };
    await judge(pending, seen, signal);
  };
}

/** Takes back presentations of receipts that final epochs have paid. */
async function refutePaid(
  { chain, lists, presented, log }: EpochWatchParts,
  isMine: (subject: string) => Promise<boolean>,
): Promise<void> {
  const all = await presented();
  if (all.length === 0) return;
  const { finalisedCount, byEpoch } = await lists();
  for (const { content, presenter } of await readPresented(chain, all)) {
    const hash = receiptHash(content.receipt);
    const at = byEpoch.slice(0, finalisedCount).findIndex((hashes) => hashes.includes(hash));
    if (at < 0 || !(await isMine(`refute/${hash}`))) continue;
    await chain.submit(refuteIntent(hash, presenter, at + 1, byEpoch[at] ?? []));
    log.info('a presented receipt was paid before', { receiptHash: hash, epoch: at + 1 });
  }
}

/** Takes a fault to the contract. */
async function dispute(
  parts: EpochWatchParts,
  { epoch, chain: { round, anchorer } }: PendingEpoch,
  fault: EpochFault | PaymentFault,
  signal: AbortSignal,
): Promise<void> {
  const contract: EpochJudge = isOfSums(fault) ? 'EpochDisputes' : 'PaymentDisputes';
  const fn = fault.fn as EpochJudgingFunction[EpochJudge];
  const { evidence } = fault;
  const isDone = await accuse(
    parts,
    {
      key: `dispute/${round}/${fault.code}`,
      contract,
      fn,
      evidence,
      encoded: encodeEpochEvidence(contract, fn, evidence),
      accused: anchorer,
      stands: () => stands(parts.chain, epoch, round),
    },
    signal,
  );
  if (isDone) parts.log.warn('a false epoch was rejected', { epoch, code: fault.code });
}

async function stands(
  chain: EpochWatchParts['chain'],
  epoch: number,
  round: number,
): Promise<boolean> {
  const count = Number(await chain.read<bigint | number>('Epochs', 'epochCount'));
  if (count < epoch) return false;
  const present = await chain.read<{ round: number }>('Epochs', 'getEpoch', epoch);
  return present.round === round;
}

const isOfSums = (fault: EpochFault | PaymentFault): fault is EpochFault =>
  fault.fn === 'challengeDecrease' || fault.fn === 'challengeSums';

/** Does what is to be done about an ask; true when nothing ever will be. */
async function tend(
  parts: EpochWatchParts,
  pending: PendingEpoch | null,
  askId: bigint,
): Promise<boolean> {
  const { chain, self, chainSeconds, log } = parts;
  const asked = await chain.read<Ask>('EpochDisputes', 'getAsk', askId);
  if (asked.settled) return true;
  const isPresent = pending?.chain.round === asked.round;
  const isLate = (await chainSeconds()) > asked.deadline;
  if (isPresent && !isLate) {
    const answer = await answerOf(parts, pending, asked);
    if (answer === null) return false;
    try {
      await chain.submit(showLeavesIntent(askId, answer.leaves, asked.indexes, answer.shown));
    } catch (error) {
      // All who have the leaves show them at once, for the deadline is near: the first is paid.
      log.debug('others showed the leaves', { askId: askId.toString(), error });
      return false;
    }
    return true;
  }
  // Whoever asked gets its bond back; the epoch, if it still stands, is rejected.
  if (asked.asker !== self) return !isPresent;
  await chain.submit({
    key: `ask/${askId}/close`,
    contract: 'EpochDisputes',
    fn: 'closeAsk',
    args: [askId],
  });
  log.warn('an ask was closed without an answer', { askId: askId.toString(), isPresent });
  return true;
}

/** What this node can show for an ask; null if it does not have all of it. */
async function answerOf(
  parts: EpochWatchParts,
  pending: PendingEpoch,
  { tree, indexes }: Ask,
): Promise<{ leaves: readonly Uint8Array[]; shown: readonly Uint8Array[] } | null> {
  if (pending.manifest === null) return null;
  const stated = epochLeaves(pending.manifest);
  const name = ASK_TREES[tree];
  if (name !== 'contents') {
    const leaves = leavesOf(stated, name ?? 'payouts');
    return { leaves, shown: indexes.map((i) => leaves[i] as Uint8Array) };
  }
  const contents = new Map<Bytes32, ReceiptContent>();
  const wanted = indexes.map((i) => stated.receipts[i] as Bytes32);
  const nothing = {
    payouts: new Map(),
    receipts: new Map(),
    payments: new Map(),
    contents: new Map(),
  };
  await findContents(parts, pending, { ...stated, receipts: wanted }, nothing, contents);
  const found = wanted.map((hash) => contents.get(hash));
  if (!found.every((content) => content !== undefined)) return null;
  const shown = found.map((content) => fromHex(encodeDivision(divisionOf(content)) as Hex));
  return { leaves: leavesOf(stated, 'receipts'), shown };
}

const leavesOf = (
  { payouts, payments, receipts }: EpochLeaves,
  tree: keyof EpochLeaves,
): readonly Uint8Array[] =>
  ({
    payouts: () => payoutLeavesOf(payouts),
    payments: () => paymentLeavesOf(payments),
    receipts: () => receiptLeavesOf(receipts),
  })[tree]();
