/**
 * The watch over anchored epochs: payouts that contradict each other or the epoch before are taken to
 * the contract of epoch disputes, leaves that nobody publishes are asked for, and leaves that others
 * ask for are shown. Level-triggered: every tick goes on from what the chain says.
 */
import { encodeEpochEvidence } from '#contracts';
import { type Address, fromHex, type Hex, toHex, toUint } from '#crypto';
import {
  askLeavesIntent,
  type EpochFault,
  type EpochManifest,
  evidenceCommitment,
  findEpochFault,
  isTurn,
  type PayoutLeaf,
  payoutLeavesOf,
  showLeavesIntent,
} from '#protocol';
import type { LogPort } from '../provider/ports.ts';
import type { ChainPort } from '../services/chain-port.ts';
import type { PendingEpoch } from '../services/epochs.ts';

export type EpochWatchParts = {
  readonly self: Address;
  readonly chain: Pick<
    ChainPort<'Epochs' | 'EpochDisputes' | 'Referee' | 'Parameters' | 'Staking'>,
    'read' | 'submit'
  >;
  readonly pending: () => Promise<PendingEpoch | null>;
  readonly shownFor: (askId: bigint) => Promise<readonly Hex[] | null>;
  readonly watchers: () => Promise<readonly Address[]>;
  readonly waitForBlock: (number: number, signal: AbortSignal) => Promise<void>;
  readonly chainSeconds: () => Promise<number>;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type EpochWatchOptions = {
  /** Each next watcher in the order waits so much longer. */
  readonly staggerMs: number;
  /** A manifest that is not to be had for so long is asked for on chain. */
  readonly patienceMs: number;
  readonly challenges: boolean;
};

/** Leaves per ask; what an epoch has more of is asked for in further ones. */
const ASKED_MAX = 32;
/** The base fee may rise before an ask is included. */
const BOND_MARGIN = 2n;

type Ask = {
  readonly epoch: number;
  readonly round: number;
  readonly deadline: number;
  /** 0 payouts, 1 receipts. */
  readonly tree: number;
  readonly settled: boolean;
  readonly asker: Address;
  readonly indexes: readonly number[];
};

type Seen = { readonly round: number; readonly sinceMs: number };

export function watchEpochs(
  parts: EpochWatchParts,
  options: EpochWatchOptions,
): (signal: AbortSignal) => Promise<void> {
  const { chain, self } = parts;
  let seen: Seen | null = null;
  let judged: number | null = null;
  const open = new Set<bigint>();
  let asksRead = 0n;

  const isMine = async (subject: string, { sinceMs }: Seen): Promise<boolean> =>
    isTurn(subject, await parts.watchers(), self, sinceMs, parts.nowMs(), options.staggerMs);

  const judge = async (pending: PendingEpoch, since: Seen, signal: AbortSignal) => {
    const { round, totalWei } = pending.chain;
    if (judged === round) return;
    const payouts = pending.manifest?.payouts ?? (await shownPayouts(parts, pending));
    if (payouts === null) return;
    const { epoch, before } = pending;
    const fault = findEpochFault({ epoch, totalWei, payouts }, before);
    if (fault !== null) {
      if (!options.challenges) return;
      if (!(await isMine(`dispute/${round}`, since))) return;
      await dispute(parts, pending, fault, signal);
    }
    judged = round;
  };

  return async (signal) => {
    const pending = await parts.pending();
    const count = await chain.read<bigint>('EpochDisputes', 'askCount');
    while (asksRead < count) open.add(++asksRead);
    for (const askId of open) if (await tend(parts, pending, askId)) open.delete(askId);
    if (pending === null) return;
    const { round } = pending.chain;
    if (seen?.round !== round) seen = { round, sinceMs: parts.nowMs() };
    await judge(pending, seen, signal);
    const isMissing = pending.manifest === null && judged !== round && options.challenges;
    if (!isMissing || parts.nowMs() < seen.sinceMs + options.patienceMs) return;
    if ((await parts.chainSeconds()) >= pending.chain.windowEndsAt) return;
    if (await isMine(`ask/${round}`, { round, sinceMs: seen.sinceMs + options.patienceMs }))
      await ask(parts, pending);
  };
}

/** Takes a fault to the contract: committed first, shown in a later block, so that nobody can copy it. */
async function dispute(
  { chain, self, waitForBlock, log }: EpochWatchParts,
  { epoch, chain: { round, anchorer } }: PendingEpoch,
  fault: EpochFault,
  signal: AbortSignal,
): Promise<void> {
  const key = `dispute/${round}/${fault.code}`;
  const encoded = fromHex(encodeEpochEvidence(fault) as Hex);
  const committed = await chain.submit({
    key: `${key}/commit`,
    contract: 'Referee',
    fn: 'commitEvidence',
    args: [evidenceCommitment(self, encoded)],
  });
  const timing = await chain.read<{ evidenceDelayBlocks: number }>('Parameters', 'timing');
  await waitForBlock(committed.blockNumber + timing.evidenceDelayBlocks, signal);
  try {
    const args = [fault.evidence];
    await chain.submit({ key: `${key}/show`, contract: 'EpochDisputes', fn: fault.fn, args });
  } catch (error) {
    // Another watcher was faster: what matters is that the epoch no longer stands.
    if (await stands(chain, epoch, round)) throw error;
    return;
  }
  // What was slashed leaves the list and the draws by a transaction of its own.
  const settle = { key: `${key}/settle`, fn: 'settle', args: [anchorer] };
  await chain.submit({ ...settle, contract: 'Staking' });
  log.warn('a false epoch was rejected', { epoch, code: fault.code });
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

/** Asks for all payout leaves of an epoch whose manifest is not to be had. */
async function ask({ chain, log }: EpochWatchParts, pending: PendingEpoch): Promise<void> {
  const { epoch } = pending;
  const { round, leafCount } = pending.chain;
  for (let from = 0; from < leafCount; from += ASKED_MAX) {
    const count = Math.min(ASKED_MAX, leafCount - from);
    const indexes = Array.from({ length: count }, (_, i) => from + i);
    const bondWei = await chain.read<bigint>('EpochDisputes', 'bondOf', count);
    await chain.submit(askLeavesIntent(epoch, round, indexes, bondWei * BOND_MARGIN));
  }
  log.warn('the payouts of an epoch are asked for on chain', { epoch, leafCount });
}

/** Does what is to be done about an ask; true when nothing ever will be. */
async function tend(
  { chain, self, chainSeconds, log }: EpochWatchParts,
  pending: PendingEpoch | null,
  askId: bigint,
): Promise<boolean> {
  const asked = await chain.read<Ask>('EpochDisputes', 'getAsk', askId);
  if (asked.settled) return true;
  const isPresent = pending?.chain.round === asked.round;
  const isLate = (await chainSeconds()) > asked.deadline;
  if (isPresent && !isLate) {
    if (pending.manifest === null) return false;
    const leaves = leavesOf(pending.manifest, asked.tree);
    try {
      await chain.submit(showLeavesIntent(askId, leaves, asked.indexes));
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

const leavesOf = (manifest: EpochManifest, tree: number): readonly Uint8Array[] =>
  tree === 0
    ? payoutLeavesOf(manifest.payouts)
    : manifest.receipts.map(({ receiptHash }) => fromHex(receiptHash));

/** The payout leaves of an epoch as they were shown on request; null while not all of them were. */
async function shownPayouts(
  { chain, shownFor }: EpochWatchParts,
  { chain: { round, leafCount } }: PendingEpoch,
): Promise<readonly PayoutLeaf[] | null> {
  const leaves: (PayoutLeaf | undefined)[] = Array.from({ length: leafCount });
  const count = await chain.read<bigint>('EpochDisputes', 'askCount');
  for (let askId = count; askId > 0n; askId -= 1n) {
    const asked = await chain.read<Ask>('EpochDisputes', 'getAsk', askId);
    if (asked.round !== round) break;
    const shown = asked.tree === 0 && asked.settled ? await shownFor(askId) : null;
    for (const [i, leaf] of (shown ?? []).entries())
      leaves[asked.indexes[i] as number] = readLeaf(fromHex(leaf));
  }
  return leaves.every((leaf) => leaf !== undefined) ? (leaves as PayoutLeaf[]) : null;
}

/** The contract took the bytes for a leaf, so that they are four words. */
function readLeaf(bytes: Uint8Array): PayoutLeaf {
  return {
    account: toHex(bytes.slice(44, 64)) as Address,
    amountWei: toUint(bytes.slice(64, 96)),
    runningWei: toUint(bytes.slice(96, 128)),
  };
}
