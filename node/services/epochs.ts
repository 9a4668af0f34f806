/**
 * Epochs on a node: anchors what its receipts and the collected vouchers come to, checks what others
 * anchored, finalises after the challenge window, and prepares claims. A rejected epoch is computed
 * and anchored again.
 */
import type { Address, Bytes32, SigningDomain } from '#crypto';
import {
  aggregateEpoch,
  anchorIntent,
  cidOf,
  claimIntent,
  decodeReceiptFile,
  digestOfCid,
  type EpochManifest,
  type EpochProof,
  type EpochReceipt,
  encodeEpochManifest,
  epochProofOf,
  epochReceiptOf,
  epochRoots,
  finaliseIntent,
  isAnchorDue,
  isFinaliseDue,
  isListable,
  type KeyedPayout,
  keyedPayouts,
  type PayoutClaim,
  type PreviousEpoch,
  parseCid,
  payoutClaim,
  type ReceiptContent,
  receiptHash,
  scoreLeafOf,
  spanLeavesOf,
} from '#protocol';
import type { ChainPort } from './chain-port.ts';
import { registeredAdapter } from './chain-view.ts';
import { type ContractEpoch, type EpochHistoryOptions, openEpochHistory } from './epoch-history.ts';
import { createPresenter, presentedLine } from './presented.ts';
import { contentOfFile } from './receipt-contents.ts';
import { readStakes } from './staking.ts';

type Contracts =
  | 'EpochDisputes'
  | 'Epochs'
  | 'InferenceEscrow'
  | 'ModelRegistry'
  | 'Parameters'
  | 'PaymentDisputes'
  | 'Staking';

/** An epoch that is anchored and not final: what its watchers judge. */
export type PendingEpoch = {
  readonly epoch: number;
  readonly chain: Pick<
    ContractEpoch,
    | 'anchorer'
    | 'round'
    | 'totalWei'
    | 'leafCount'
    | 'receiptCount'
    | 'paymentCount'
    | 'openedBlock'
    | 'windowEndsAt'
  >;
  /** Null while no bytes are to be had that have the anchored roots. */
  readonly manifest: EpochManifest | null;
  /** Payout leaves of the epoch before it. */
  readonly before: readonly KeyedPayout[];
  /** Receipts of all epochs before it, by epoch. */
  readonly earlier: readonly (readonly Bytes32[])[];
};

/** Receipts of all anchored epochs, by epoch, and how many of these are final. */
export type ReceiptLists = {
  readonly finalisedCount: number;
  readonly byEpoch: readonly (readonly Bytes32[])[];
};

export type EpochOptions = EpochHistoryOptions & {
  readonly chain: ChainPort<Contracts>;
  readonly chainSeconds: () => Promise<number>;
  /** Receipt files that this node vouches for as valid, oldest first. */
  readonly receipts: () => AsyncIterable<Uint8Array>;
  /** Receipts that somebody put on chain. */
  readonly presented: () => Promise<readonly { readonly content: ReceiptContent }[]>;
  /** The domain in which receipts are signed. */
  readonly domain: SigningDomain;
  readonly treasury: Address;
  /** Whether this node anchors. */
  readonly anchors: boolean;
  /** An epoch is anchored at least this often while there are receipts, ms. */
  readonly epochAgeMs: number;
};

export type Epochs = {
  readonly tick: (signal: AbortSignal) => Promise<void>;
  /** Anchors as soon as every receipt is covered by collected vouchers, or `patienceMs` has passed. */
  readonly close: (patienceMs: number) => void;
  readonly claimOf: (account: Address) => Promise<AccountClaim | null>;
  readonly relayClaim: (claim: AccountClaim) => Promise<{ hash: string | null }>;
  /** The proof that a receipt stands in an anchored epoch; null while it does not. */
  readonly proofOf: (receiptHash: Bytes32) => Promise<EpochProof | null>;
  readonly pending: () => Promise<PendingEpoch | null>;
  readonly lists: () => Promise<ReceiptLists>;
  readonly anchored: () => Promise<
    readonly { epoch: number; receiptsRoot: Bytes32; receiptCount: number }[]
  >;
};

type AccountClaim = PayoutClaim & {
  readonly epoch: number;
  /** Claimed so far, and what a claim would pay now. */
  readonly paidWei: bigint;
  readonly claimableWei: bigint;
};

export function createEpochs(options: EpochOptions): Epochs {
  const { chain } = options;
  const lines = new Map<string, EpochReceipt>();
  let closeByMs: number | null = null;

  const count = async () => Number(await chain.read<bigint | number>('Epochs', 'epochCount'));
  const epochAt = (epoch: number) => chain.read<ContractEpoch>('Epochs', 'getEpoch', epoch);
  const history = openEpochHistory(options, count, epochAt);
  const { known, paid, catchUp } = history;
  const presenter = createPresenter(chain, options.log);
  let presentedAt = 0;

  /** After an epoch has become final: what it should have paid and did not. */
  const presentOmitted = async (): Promise<void> => {
    const finalised = Number(await chain.read<bigint | number>('Epochs', 'finalisedCount'));
    if (finalised === presentedAt || known.length < finalised) return;
    presentedAt = finalised;
    const waiting = await collectLines(options, lines, paid);
    const manifests = known.slice(0, finalised).map(({ manifest }) => manifest);
    await presenter.present(manifests, waiting, (line) => contentOfLine(options, line));
  };

  const tick = async (): Promise<void> => {
    await catchUp();
    await finaliseDue(options, await count(), epochAt);
    await presentOmitted();
    if (!options.anchors) return;
    const anchored = await count();
    const isOpen = anchored === 0 || (await epochAt(anchored)).finalised;
    if (!isOpen || known.length < anchored) return;
    const waiting = [
      ...(await collectLines(options, lines, paid)),
      ...(await presentedLines(options, paid)),
    ];
    if (waiting.length === 0) {
      closeByMs = null;
      return;
    }
    const manifest = await computeEpoch(options, known.at(-1) ?? null, waiting, paid);
    const covered = manifest.receipts.length;
    const openedAtMs = history.openedAtMs();
    const state = { receipts: waiting.length, covered, openedAtMs, closeByMs };
    if (!isAnchorDue(state, options.nowMs(), options.epochAgeMs)) return;
    await anchorEpoch(options, manifest);
    closeByMs = null;
  };

  return {
    tick,
    close: (patienceMs) => {
      closeByMs = options.nowMs() + patienceMs;
    },
    claimOf: async (account) => {
      await catchUp();
      const finalised = Number(await chain.read<bigint | number>('Epochs', 'finalisedCount'));
      const newest = known[finalised - 1];
      const claim = newest === undefined ? null : payoutClaim(newest.manifest, account);
      if (claim === null) return null;
      const [paidWei, withheldWei] = await Promise.all([
        chain.read<bigint>('Epochs', 'claimedWei', account),
        chain.read<bigint>('Epochs', 'withheldWei', account),
      ]);
      const dueWei = claim.cumulativeWei - paidWei - withheldWei;
      return { ...claim, epoch: finalised, paidWei, claimableWei: dueWei > 0n ? dueWei : 0n };
    },
    relayClaim: async (claim) => {
      if (claim.claimableWei === 0n) return { hash: null };
      const { hash } = await chain.submit(claimIntent(claim, claim.paidWei));
      return { hash };
    },
    proofOf: async (receiptHash) => {
      await catchUp();
      for (const { manifest } of known) {
        const proof = epochProofOf(manifest, receiptHash);
        if (proof !== null) return proof;
      }
      return null;
    },
    pending: async () => {
      await catchUp();
      const epoch = await count();
      if (epoch === 0) return null;
      const entry = await epochAt(epoch);
      if (entry.finalised) return null;
      const own = known[epoch - 1];
      const manifest = own?.hasRoots === true ? own.manifest : null;
      const last = known[epoch - 2]?.manifest;
      const before = last === undefined ? [] : keyedPayouts(last.payouts, last.covered);
      const earlier = known
        .slice(0, epoch - 1)
        .map((each) => each.manifest.receipts.map(({ receiptHash }) => receiptHash));
      return { epoch, chain: entry, manifest, before, earlier };
    },
    lists: async () => {
      await catchUp();
      const finalisedCount = Number(await chain.read<bigint | number>('Epochs', 'finalisedCount'));
      const byEpoch = known.map(({ manifest }) =>
        manifest.receipts.map(({ receiptHash }) => receiptHash),
      );
      return { finalisedCount, byEpoch };
    },
    anchored: async () => {
      await catchUp();
      return known.map(({ manifest }) => {
        const { epoch, receiptsRoot, receiptCount } = epochRoots(manifest);
        return { epoch, receiptsRoot, receiptCount };
      });
    },
  };
}

async function finaliseDue(
  { chain, chainSeconds, anchors, log }: EpochOptions,
  anchored: number,
  epochAt: (epoch: number) => Promise<ContractEpoch>,
): Promise<void> {
  const finalised = Number(await chain.read<bigint | number>('Epochs', 'finalisedCount'));
  if (finalised >= anchored) return;
  const next = await epochAt(finalised + 1);
  if (!isFinaliseDue(next.finalisableAt, await chainSeconds(), anchors)) return;
  await chain.submit(finaliseIntent(finalised + 1, next.round));
  log.info('epoch finalised', { epoch: finalised + 1 });
}

/** The lines of all receipts that no epoch has paid yet; each file becomes a block that others can fetch. */
async function collectLines(
  { receipts, blocks, chainSeconds }: EpochOptions,
  lines: Map<string, EpochReceipt>,
  paid: ReadonlySet<Bytes32>,
): Promise<EpochReceipt[]> {
  const waiting: EpochReceipt[] = [];
  for await (const file of receipts()) {
    const cid = cidOf(file);
    let line = lines.get(cid.toString());
    if (line === undefined) {
      const decoded = decodeReceiptFile(file);
      if (!decoded.ok) continue;
      await blocks.put(file, { codec: 'dag-cbor' });
      const { receipt, scores } = decoded.value;
      const leaves = {
        receipt,
        scores: scores.map(scoreLeafOf),
        spans: spanLeavesOf(decoded.value),
      };
      if (!isListable(leaves, await chainSeconds())) continue;
      line = epochReceiptOf(decoded.value, cid);
      lines.set(cid.toString(), line);
    }
    if (line.feeWei > 0n && !paid.has(line.receiptHash)) waiting.push(line);
  }
  return waiting;
}

/** Lines of receipts that somebody put on chain; one whose file is here as well is the same line twice, and paid once. */
async function presentedLines(
  { chain, presented }: EpochOptions,
  paid: ReadonlySet<Bytes32>,
): Promise<EpochReceipt[]> {
  const lines: EpochReceipt[] = [];
  for (const { content } of await presented()) {
    if (paid.has(receiptHash(content.receipt))) continue;
    const line = await presentedLine(chain, content);
    if (line !== null) lines.push(line);
  }
  return lines;
}

/** What a line's receipt says, from its file. */
async function contentOfLine(
  { blocks, domain }: EpochOptions,
  { file, receiptHash: hash }: EpochReceipt,
): Promise<ReceiptContent | null> {
  if (file === null) return null;
  return contentOfFile(await blocks.get(file.toString()), hash, domain);
}

type Channel = { readonly feeWei: bigint };

async function computeEpoch(
  { chain, treasury }: EpochOptions,
  previous: PreviousEpoch,
  receipts: readonly EpochReceipt[],
  paid: ReadonlySet<Bytes32>,
): Promise<EpochManifest> {
  const pairs = new Map(
    [...receipts, ...(previous?.manifest.collected ?? [])].map(({ client, provider }) => [
      `${client}/${provider}`,
      { client, provider },
    ]),
  );
  const collected = await Promise.all(
    [...pairs.values()].map(async ({ client, provider }) => {
      const channel = await chain.read<Channel>('InferenceEscrow', 'getChannel', client, provider);
      return { client, provider, feeWei: channel.feeWei };
    }),
  );
  const epoch = (previous?.manifest.epoch ?? 0) + 1;
  const { openedBlock } = await chain.read<ContractEpoch>('Epochs', 'getEpoch', epoch);
  const adapters = new Set(receipts.map(({ adapterId }) => adapterId));
  const modelOwners = [];
  for (const adapterId of adapters) {
    const adapter = await registeredAdapter(chain, adapterId);
    if (adapter !== null) modelOwners.push({ adapterId, owner: adapter.owner });
  }
  return aggregateEpoch({
    epoch,
    previous,
    treasury,
    potTotalWei: await chain.read<bigint>('Epochs', 'potTotalWei'),
    stakers: await readStakes(chain, openedBlock),
    modelOwners,
    collected,
    receipts,
    isPaid: (hash) => paid.has(hash),
  });
}

async function anchorEpoch(
  { chain, blocks, log }: EpochOptions,
  manifest: EpochManifest,
): Promise<void> {
  const cid = await blocks.put(encodeEpochManifest(manifest), { codec: 'dag-cbor' });
  void blocks.provide(cid);
  const roots = epochRoots(manifest);
  const rounds = await chain.read<number>('Epochs', 'anchoringCount');
  await chain.submit(anchorIntent(roots, digestOfCid(parseCid(cid)), rounds + 1));
  log.info('epoch anchored', {
    epoch: roots.epoch,
    receipts: roots.receiptCount,
    totalWei: roots.totalWei.toString(),
  });
}
