/**
 * The epochs that are anchored, as a node follows them: each with its manifest, from the first to the
 * one in its window. What was rejected is forgotten, and what is anchored in its place is read anew.
 */
import type { Address, Bytes32 } from '#crypto';
import {
  checkEpochManifest,
  cidOfDigest,
  decodeEpochManifest,
  type EpochManifest,
  epochRoots,
} from '#protocol';
import type { Log } from '../log.ts';
import type { BlockPort } from './datanets.ts';

/** Without a final epoch's manifest nothing goes on; one in its window may be withheld by a liar. */
const FINAL_PATIENCE_MS = 20_000;
const PENDING_PATIENCE_MS = 3_000;
const NO_DIGEST = `0x${'00'.repeat(32)}`;

export type ContractEpoch = {
  readonly payoutRoot: Bytes32;
  readonly receiptsRoot: Bytes32;
  readonly manifest: Bytes32;
  readonly totalWei: bigint;
  readonly leafCount: number;
  readonly finalised: boolean;
  readonly anchorer: Address;
  readonly round: number;
  readonly windowEndsAt: number;
  readonly finalisableAt: number;
  readonly receiptCount: number;
  readonly paymentCount: number;
  readonly paymentsRoot: Bytes32;
  /** Block in which it opened. */
  readonly openedBlock: number;
};

type Known = {
  readonly digest: Bytes32;
  readonly manifest: EpochManifest;
  /** Whether it has the roots that are anchored. */
  readonly hasRoots: boolean;
};

export type EpochHistory = {
  /** By epoch, from the first; short of one whose manifest is not to be had. */
  readonly known: readonly Known[];
  /** Receipts that stand in a known epoch. */
  readonly paid: ReadonlySet<Bytes32>;
  readonly catchUp: () => Promise<void>;
  /** Since when the newest epoch is known, ms. */
  readonly openedAtMs: () => number;
};

export type EpochHistoryOptions = {
  readonly blocks: BlockPort;
  /** Digest of an older epoch's manifest, of which the contract no longer knows it. */
  readonly manifestOf: (epoch: number) => Promise<Bytes32>;
  readonly nowMs: () => number;
  readonly log: Log;
};

type Fresh = { readonly epoch: number; readonly entry: ContractEpoch; readonly digest: Bytes32 };

export function openEpochHistory(
  options: EpochHistoryOptions,
  count: () => Promise<number>,
  epochAt: (epoch: number) => Promise<ContractEpoch>,
): EpochHistory {
  const known: Known[] = [];
  const paid = new Set<Bytes32>();
  let openedAtMs = options.nowMs();

  const note = ({ manifest }: Known): void => {
    for (const { receiptHash } of manifest.receipts) paid.add(receiptHash);
  };
  const keep = (epochs: number): void => {
    if (known.length <= epochs) return;
    known.splice(epochs);
    // A false epoch may name receipts that an earlier one paid.
    paid.clear();
    known.forEach(note);
  };
  const freshOnes = async (): Promise<readonly Fresh[]> => {
    const fresh: Fresh[] = [];
    for (let epoch = await count(); epoch > 0; epoch -= 1) {
      const entry = await epochAt(epoch);
      const isRecent = entry.manifest !== NO_DIGEST;
      const digest = isRecent ? entry.manifest : await options.manifestOf(epoch);
      if (known[epoch - 1]?.digest === digest) {
        keep(epoch);
        break;
      }
      keep(epoch - 1);
      fresh.unshift({ epoch, entry, digest });
    }
    return fresh;
  };
  const readNew = async (): Promise<void> => {
    if ((await count()) === 0) keep(0);
    for (const { epoch, entry, digest } of await freshOnes()) {
      const manifest = await readManifest(options, epoch, digest, entry.finalised);
      if (manifest === null) return;
      const hasRoots = hasAnchoredRoots(manifest, entry);
      const check = checkEpochManifest(manifest, known.at(-1) ?? null, (hash) => paid.has(hash));
      if (!check.ok || !hasRoots)
        options.log.error('an epoch is anchored that does not follow from its own manifest', {
          epoch,
          code: check.ok ? 'EPOCH_ROOT_WRONG' : check.code,
        });
      const read = { digest, manifest, hasRoots };
      note(read);
      known.push(read);
      openedAtMs = options.nowMs();
    }
  };

  // One at a time: two readers would take the same epoch twice.
  let reading: Promise<void> = Promise.resolve();
  const catchUp = (): Promise<void> => {
    reading = reading.catch(() => undefined).then(readNew);
    return reading;
  };
  return { known, paid, catchUp, openedAtMs: () => openedAtMs };
}

/** Of earlier epochs the contract keeps no payout root: no claim is judged by it any more. */
function hasAnchoredRoots(manifest: EpochManifest, entry: ContractEpoch): boolean {
  const roots = epochRoots(manifest);
  const isRecent = entry.manifest !== NO_DIGEST;
  if (isRecent && roots.payoutRoot !== entry.payoutRoot) return false;
  if (isRecent && roots.paymentsRoot !== entry.paymentsRoot) return false;
  return roots.receiptsRoot === entry.receiptsRoot;
}

/** The manifest of that digest; null where it is not to be had of an epoch that can still be rejected. */
async function readManifest(
  { blocks, log }: EpochHistoryOptions,
  epoch: number,
  digest: Bytes32,
  isFinal: boolean,
): Promise<EpochManifest | null> {
  try {
    const timeoutMs = isFinal ? FINAL_PATIENCE_MS : PENDING_PATIENCE_MS;
    const bytes = await blocks.get(cidOfDigest(digest).toString(), { timeoutMs });
    const decoded = decodeEpochManifest(bytes);
    if (!decoded.ok) throw new Error(`epoch ${epoch}: ${decoded.message}`);
    return decoded.value;
  } catch (error) {
    if (isFinal) throw error;
    log.warn("an anchored epoch's manifest is not to be had", { epoch, error });
    return null;
  }
}
