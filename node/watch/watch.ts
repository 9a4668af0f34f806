/**
 * The cross-check of other providers' answers: each sampled receipt is fetched and recomputed, and a
 * false score is taken to the Referee. Level-triggered: every tick goes on from what the book and
 * the chain say.
 */
import { RefereeLeafState } from '#contracts';
import {
  type Address,
  addressWord,
  type Bytes32,
  concat,
  fromHex,
  type Hex,
  parseAddress,
  taggedHash,
  toHex,
  toUint,
} from '#crypto';
import {
  auditScores,
  decodeReceiptFile,
  type EpochProof,
  evidenceCommitment,
  isReceiptSigned,
  isUnregistered,
  judgedLeaf,
  packReceiptPlace,
  packScoreEvidence,
  RECEIPTS_PROTOCOL,
  type ReceiptAnnouncement,
  type ReceiptCheck,
  type ReceiptFile,
  receiptHash,
  receiptsReply,
  receiptsRequest,
  scoreEvidence,
  scoreLeafOf,
  type TrustedAnchors,
  verifyReceiptFile,
} from '#protocol';
import type { AdapterBundle, Bundles } from '../provider/bundle.ts';
import type { Engine } from '../provider/engine.ts';
import type { AskPort, LogPort, Sender, Table } from '../provider/ports.ts';
import type { ChainPort } from '../services/chain-port.ts';
import { type Book, type KeptLeaf, type OpenCase, openBook } from './book.ts';

export type WatchCount =
  | 'checked'
  | 'right'
  | 'sketchDiffers'
  | 'omitted'
  | 'wrong'
  | 'otherFault'
  | 'invalid'
  | 'unavailable'
  | 'challenged'
  | 'withheld';

export type WatchParts = {
  readonly self: Address;
  readonly rpc: AskPort;
  /** Where a file is found when its provider does not answer. */
  readonly getBlock: (cid: string) => Promise<Uint8Array>;
  readonly table: Table;
  readonly bundles: Bundles;
  readonly sketch: Engine['sketch'];
  readonly countTokens: ReceiptCheck['countTokens'];
  readonly anchors: (adapterId: Bytes32 | null) => Promise<TrustedAnchors>;
  readonly chain: Pick<
    ChainPort<'Referee' | 'Parameters' | 'Staking' | 'ModelRegistry' | 'Epochs'>,
    'read' | 'submit'
  >;
  readonly waitForBlock: (number: number, signal: AbortSignal) => Promise<void>;
  /** Everybody who watches, this node included: who is first to challenge is drawn among them. */
  readonly watchers: () => Promise<readonly Address[]>;
  /** Where a receipt stands under an anchored epoch's root; null while it does not. */
  readonly proofOf: (receiptHash: Bytes32) => Promise<EpochProof | null>;
  readonly count: (name: WatchCount, by: number) => void;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type WatchOptions = {
  /** How many of a million receipts are checked, drawn by their hash and this node. */
  readonly samplePpm: number;
  /** Each next watcher in the order waits so much longer before it challenges. */
  readonly staggerMs: number;
  /** Fetching a file is tried so often, with `retryMs` between. */
  readonly attemptsMax: number;
  readonly retryMs: number;
  /** False only in the story without a challenger: what is found is counted and left alone. */
  readonly challenges: boolean;
};

export const WATCH_DEFAULTS: Omit<WatchOptions, 'samplePpm' | 'staggerMs'> = {
  attemptsMax: 5,
  retryMs: 2_000,
  challenges: true,
};

export type Watch = {
  /** Takes an announcement from gossip. */
  readonly heard: (announcement: ReceiptAnnouncement, from: Sender) => Promise<void>;
  /** Works off what is due; to be called every second or so. */
  readonly tick: (signal: AbortSignal) => Promise<void>;
  readonly book: Book;
};

const PPM = 1_000_000n;
const FETCH_SILENCE_MS = 10_000;
const ADAPTERS_AT_ONCE = 100;
const UNJUDGED = Number(RefereeLeafState.Unjudged);
const WITHHELD = Number(RefereeLeafState.Withheld);

export function openWatch(parts: WatchParts, options: WatchOptions): Watch {
  const book = openBook(parts.table);
  return {
    book,
    heard: async ({ receiptHash: hash, provider, file }, from) => {
      // A provider announces its own receipts and nobody else's; we do not check ourselves.
      if (provider !== parseAddress(from.address) || provider === parts.self) return;
      if (!isSampled(hash, parts.self, options.samplePpm)) return;
      await book.open({
        stage: 'heard',
        receiptHash: hash,
        peer: from.peerId,
        file: file.toString(),
        attempts: 0,
        dueMs: 0,
        leaves: [],
        judged: [],
      });
    },
    tick: async (signal) => {
      for (const each of await book.cases()) {
        if (signal.aborted) return;
        if (each.dueMs > parts.nowMs()) continue;
        try {
          if (each.stage === 'heard') await check(parts, options, book, each);
          else if (each.stage === 'wrong') await challenge(parts, options, book, each, signal);
          else await withhold(parts, book, each);
        } catch (error) {
          if (signal.aborted) return;
          // One case that fails must not hold up the others; it is tried again.
          const { receiptHash: hash, stage } = each;
          parts.log.warn('a receipt case failed, will be tried again', { hash, stage, error });
          await book.update({ ...each, dueMs: parts.nowMs() + options.retryMs });
        }
      }
    },
  };
}

/** Whether this node checks that receipt: a draw that nobody but the hash decides. */
function isSampled(hash: Bytes32, self: Address, samplePpm: number): boolean {
  return toUint(draw(hash, self)) % PPM < BigInt(samplePpm);
}

const draw = (hash: Bytes32, watcher: Address): Uint8Array =>
  taggedHash('openledger/watch/1', fromHex(hash), addressWord(watcher));

async function check(
  parts: WatchParts,
  options: WatchOptions,
  book: Book,
  each: OpenCase,
): Promise<void> {
  const bytes = await fetchFile(parts, each);
  if (bytes === null) {
    const attempts = each.attempts + 1;
    if (attempts < options.attemptsMax)
      return book.update({ ...each, attempts, dueMs: parts.nowMs() + options.retryMs });
    parts.count('unavailable', 1);
    parts.log.warn('a receipt is not to be had', { receiptHash: each.receiptHash });
    return book.close(each.receiptHash, 'unavailable');
  }
  const decoded = decodeReceiptFile(bytes);
  if (!decoded.ok || !isGenuine(decoded.value, each.receiptHash)) {
    parts.count('invalid', 1);
    parts.log.warn('what was announced is no signed receipt', { receiptHash: each.receiptHash });
    return book.close(each.receiptHash, 'invalid');
  }
  const file = decoded.value;
  const { adapterId } = file.receipt;
  if (file.adapter.adapterId === adapterId && isUnregistered(file.adapter))
    return book.close(each.receiptHash, 'skipped');
  const bundle = await parts.bundles.get(file.receipt.adapterId);
  const leaves = await recompute(parts, file, bytes, bundle);
  parts.count('checked', 1);
  if (leaves.length === 0) {
    parts.count('right', 1);
    return book.close(each.receiptHash, 'right');
  }
  parts.count('wrong', leaves.length);
  const turn = await myTurn(parts, each.receiptHash);
  await book.update({
    ...each,
    stage: 'wrong',
    leaves,
    attempts: 0,
    dueMs: parts.nowMs() + turn * options.staggerMs,
  });
}

/** The file by hash from its provider, else by content from whoever has it; null: nobody now. */
async function fetchFile(parts: WatchParts, each: OpenCase): Promise<Uint8Array | null> {
  const request = receiptsRequest.encode({ type: 'byHash', hashes: [each.receiptHash] });
  const options = { idleTimeoutMs: FETCH_SILENCE_MS, maxFrameBytes: receiptsReply.bytesMax };
  try {
    for await (const frame of parts.rpc.stream(each.peer, RECEIPTS_PROTOCOL, request, options)) {
      const reply = receiptsReply.decode(frame);
      if (!reply.ok || reply.value.type !== 'file') break;
      return reply.value.file;
    }
  } catch (error) {
    parts.log.debug('a provider does not give its receipt', { peer: each.peer, error });
  }
  try {
    return await parts.getBlock(each.file);
  } catch (error) {
    parts.log.debug('a receipt is not found by content', { file: each.file, error });
    return null;
  }
}

/** Whether the file holds the receipt of that hash with its provider's signature. */
function isGenuine({ receipt, signature, domain }: ReceiptFile, hash: Bytes32): boolean {
  const { chainId, referee } = domain;
  const signing = { chainId, verifyingContract: referee };
  return receiptHash(receipt) === hash && isReceiptSigned(signing, receipt, signature);
}

/** Computes the answer's sketch and scores anew; returns the leaves that a contract will find wrong. */
async function recompute(
  parts: WatchParts,
  file: ReceiptFile,
  bytes: Uint8Array,
  bundle: AdapterBundle,
): Promise<readonly number[]> {
  const { receipt, querySketch } = file;
  const where = { receiptHash: receiptHash(receipt), provider: receipt.provider };
  const text = (part: Uint8Array): string =>
    new TextDecoder('utf-8', { ignoreBOM: true }).decode(part);
  const own = await parts.sketch(bundle, text(file.prompt), text(file.output));
  const differences = own.reduce((sum, value, i) => sum + (value === querySketch[i] ? 0 : 1), 0);
  if (differences > 0) {
    // A float matter: counted, and left to the dispute protocol; it never slashes by itself.
    parts.count('sketchDiffers', 1);
    parts.log.warn('a query sketch differs from ours', { ...where, differences });
  }
  const anchors = await parts.anchors(receipt.adapterId);
  const audit = auditScores(
    receipt,
    querySketch,
    file.scores.map(scoreLeafOf),
    bundle.sketches,
    anchors.parameters,
  );
  if (audit.omitted.length > 0 || audit.surplus.length > 0) {
    parts.count('omitted', audit.omitted.length);
    const { omitted, surplus } = audit;
    parts.log.warn('scores were left out or added', {
      ...where,
      omitted: omitted.length,
      surplus: surplus.length,
    });
  }
  if (audit.wrong.length > 0) parts.log.warn('false scores', { ...where, wrong: audit.wrong });
  else reportOther(parts, bytes, anchors, where);
  return audit.wrong.map(({ leafIndex }) => leafIndex);
}

function reportOther(
  parts: WatchParts,
  bytes: Uint8Array,
  anchors: TrustedAnchors,
  where: Record<string, unknown>,
): void {
  const verdict = verifyReceiptFile(bytes, { anchors, countTokens: parts.countTokens });
  if (verdict.valid) return;
  parts.count('otherFault', 1);
  const { code, field, message } = verdict;
  parts.log.warn('a receipt is invalid', { ...where, code, field, message });
}

/** How many watchers come before this one for that receipt. */
async function myTurn(parts: WatchParts, hash: Bytes32): Promise<number> {
  const mine = toUint(draw(hash, parts.self));
  const watchers = await parts.watchers();
  return watchers.filter((each) => each !== parts.self && toUint(draw(hash, each)) < mine).length;
}

async function challenge(
  parts: WatchParts,
  options: WatchOptions,
  book: Book,
  each: OpenCase,
  signal: AbortSignal,
): Promise<void> {
  if (!options.challenges) return;
  const bytes = await fetchFile(parts, each);
  if (bytes === null) return;
  const decoded = decodeReceiptFile(bytes);
  if (!decoded.ok) return;
  const file = decoded.value;
  const bundle = await parts.bundles.get(file.receipt.adapterId);
  const disputed = {
    receipt: file.receipt,
    signature: file.signature,
    querySketch: file.querySketch,
    scores: file.scores.map(scoreLeafOf),
    sketches: { leaves: bundle.sketches, tree: bundle.sketchTree },
  };
  const adapterIndex = await adapterIndexOf(parts.chain, file.receipt.adapterId);
  const place = await parts.proofOf(each.receiptHash);
  const judged: KeptLeaf[] = [];
  for (const leafIndex of each.leaves) {
    const evidence = scoreEvidence(disputed, leafIndex, adapterIndex);
    const leaf = judgedLeaf(file.receipt, evidence.leaf, leafIndex);
    judged.push({ ...leaf, amountWei: `${leaf.amountWei}` });
    if ((await stateOf(parts, each.receiptHash, leafIndex)) !== UNJUDGED) continue;
    await challengeLeaf(parts, each.receiptHash, evidence, place, signal);
    parts.count('challenged', 1);
    if (place !== null) parts.count('withheld', 1);
  }
  await book.update({ ...each, stage: 'judged', judged, dueMs: 0 });
}

/** Where the contract stands with a leaf: a Referee.LeafState. */
const stateOf = (parts: WatchParts, hash: Bytes32, leafIndex: number): Promise<number> =>
  parts.chain.read<number>('Referee', 'stateOf', hash, leafIndex);

/** The adapter's place in the order of registration. */
async function adapterIndexOf(chain: WatchParts['chain'], adapterId: Bytes32): Promise<number> {
  for (let from = 0; ; from += ADAPTERS_AT_ONCE) {
    const page = await chain.read<{ adapterId: Bytes32 }[]>(
      'ModelRegistry',
      'getAdapters',
      from,
      ADAPTERS_AT_ONCE,
    );
    const found = page.findIndex((each) => each.adapterId === adapterId);
    if (found >= 0) return from + found;
    if (page.length === 0) throw new Error(`no adapter ${adapterId} is registered`);
  }
}

async function challengeLeaf(
  { chain, self, waitForBlock, log }: WatchParts,
  hash: Bytes32,
  evidence: ReturnType<typeof scoreEvidence>,
  place: EpochProof | null,
  signal: AbortSignal,
): Promise<void> {
  const packed = packScoreEvidence(evidence);
  // Once its receipt is anchored, the leaf is withheld by the transaction that judges it.
  const [fn, shown] =
    place === null
      ? ['challengeScore', packed]
      : ['challengeAnchoredScore', concat(await packedPlace(chain, place), packed)];
  const key = `${fn}/${hash}/${evidence.leafIndex}`;
  const commitment = evidenceCommitment(self, shown);
  // Committed first and shown in a later block, so that nobody can copy it from the mempool.
  const committed = await chain.submit({
    key: `${key}/commit`,
    contract: 'Referee',
    fn: 'commitEvidence',
    args: [commitment],
  });
  const delayBlocks = await chain.read<bigint>('Parameters', 'evidenceDelayBlocks');
  await waitForBlock(committed.blockNumber + Number(delayBlocks), signal);
  const tail = toHex(shown);
  try {
    await chain.submit({ key: `${key}/reveal`, contract: 'Referee', fn, args: [], tail });
    // What was slashed leaves the list and the draws by a transaction of its own.
    const provider = [evidence.receipt.provider];
    await chain.submit({
      key: `${key}/settle`,
      contract: 'Staking',
      fn: 'settle',
      args: provider,
    });
    log.info('false score challenged', { receiptHash: hash, leafIndex: evidence.leafIndex });
  } catch (error) {
    // Another watcher was faster: what matters is that it is judged.
    const state = await chain.read<number>('Referee', 'stateOf', hash, evidence.leafIndex);
    if (state === UNJUDGED) throw error;
  }
}

async function packedPlace(chain: WatchParts['chain'], place: EpochProof): Promise<Uint8Array> {
  const [, count] = await chain.read<[Hex, number]>('Epochs', 'receiptsOf', place.epoch);
  return packReceiptPlace({ ...place, count });
}

/** Once the receipt is part of what can be claimed, the wrong leaf's amount is taken off again. */
async function withhold(parts: WatchParts, book: Book, each: OpenCase): Promise<void> {
  const proof = await parts.proofOf(each.receiptHash);
  if (proof === null) return;
  const left: KeptLeaf[] = [];
  for (const leaf of each.judged) {
    const { receiptHash: hash, leafIndex } = leaf;
    if ((await stateOf(parts, hash, leafIndex)) === WITHHELD) continue;
    try {
      await parts.chain.submit({
        key: `withhold/${hash}/${leafIndex}`,
        contract: 'Referee',
        fn: 'withholdLeaf',
        args: [leaf, proof.epoch, proof.index, proof.siblings],
      });
      parts.count('withheld', 1);
    } catch (error) {
      parts.log.warn('a leaf was not withheld yet', { receiptHash: hash, error });
      left.push(leaf);
    }
  }
  if (left.length > 0) return book.update({ ...each, judged: left });
  await book.close(each.receiptHash, 'judged');
}
