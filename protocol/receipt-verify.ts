/**
 * Recomputes every number of a receipt file from the bytes that it encloses and, where they are
 * given, from the anchors that the verifier trusts. Nothing in the file is believed.
 */
import { cosineQ16, dotProduct, fromHex, keccak256, squaredNorm, toHex, verifyLeaf } from '#crypto';
import type { TrustedAnchors } from './anchors.ts';
import { FEE_STEP_WEI } from './payouts.ts';
import {
  divideFee,
  hashSketch,
  isReceiptSigned,
  priceOf,
  type Receipt,
  receiptHash,
} from './receipt.ts';
import { type ReceiptInvalid, receiptFault } from './receipt-fault.ts';
import { decodeReceiptFile, type ReceiptFile } from './receipt-file.ts';
import { decodeUtf8, hashRecord } from './record.ts';
import {
  compareScores,
  passes,
  type Score,
  type ScoreLeaf,
  scoreRoot,
  verifySketch,
} from './scores.ts';
import { checkSpans } from './span-rules.ts';
import { type Span, type SpanLeaf, spanRoot } from './spans.ts';
import { isPlainlyUnregistered } from './unregistered.ts';
import { verifyRecord } from './version.ts';

export type ReceiptVerdict =
  | {
      readonly valid: true;
      readonly receipt: Receipt;
      /** Whether the receipt stands under the root of an epoch that the verifier trusts. */
      readonly anchored: boolean;
      readonly file: ReceiptFile;
    }
  | ReceiptInvalid;

export type ReceiptCheck = {
  /** null: the file is checked against itself only. */
  readonly anchors: TrustedAnchors | null;
  /** The base model's tokenizer. */
  readonly countTokens: (
    prompt: string,
    output: string,
  ) => { readonly promptTokens: number; readonly outputTokens: number };
};

type Step = ReceiptInvalid | null;

/** Verifies the bytes of a receipt file. Never throws at what is in them. */
export function verifyReceiptFile(encoded: Uint8Array, check: ReceiptCheck): ReceiptVerdict {
  const decoded = decodeReceiptFile(encoded);
  if (!decoded.ok) return receiptFault(decoded.field, decoded.code, decoded.message);
  const file = decoded.value;
  const invalid =
    checkTrust(file, check.anchors) ??
    checkSignature(file) ??
    checkExchange(file, check.countTokens) ??
    checkPrice(file) ??
    checkQuery(file) ??
    checkScores(file) ??
    checkRecords(file) ??
    checkSpans(file) ??
    checkDivision(file) ??
    checkRoots(file) ??
    checkEpoch(file, check.anchors);
  if (invalid !== null) return invalid;
  const anchored = check.anchors !== null && file.epoch !== null;
  return { valid: true, receipt: file.receipt, anchored, file };
}

/** Whether two flat objects have the same values under the same names. */
function isSame(a: object, b: object): boolean {
  const [left, right] = [a as { [name: string]: unknown }, b as { [name: string]: unknown }];
  return Object.keys(left).every((name) => left[name] === right[name]);
}

function checkTrust(file: ReceiptFile, anchors: TrustedAnchors | null): Step {
  const { adapter, datanet, rules, domain, receipt } = file;
  if (adapter.adapterId !== receipt.adapterId) {
    return receiptFault('adapter.adapterId', 'LINEAGE_BROKEN', 'not the adapter of the receipt');
  }
  const isLineage =
    adapter.datanetId === datanet.datanetId &&
    adapter.version === datanet.version &&
    adapter.sketchCount === datanet.recordCount;
  if (!isLineage) {
    return receiptFault(
      'datanet',
      'LINEAGE_BROKEN',
      'not the version that the adapter learned from',
    );
  }
  const sumPpm = rules.platformPpm + rules.modelOwnerPpm + rules.stakersPpm + rules.dataPpm;
  if (sumPpm !== 1_000_000 || rules.numerator === 0 || rules.denominator < rules.numerator) {
    const message = 'expected parts of one million and a threshold above 0 and up to 1';
    return receiptFault('rules', 'RULES_WRONG', message);
  }
  if (anchors === null) return null;
  if (domain.chainId !== anchors.chainId || domain.referee !== anchors.referee) {
    const message = `expected chain ${anchors.chainId} and referee ${anchors.referee}`;
    return receiptFault('domain', 'DOMAIN_UNTRUSTED', message);
  }
  const trusted = anchors.adapters.find(({ adapterId }) => adapterId === adapter.adapterId);
  // An imported adapter is not on chain: its id says what it is, and that it names nobody.
  const isOwnWitness =
    isPlainlyUnregistered(adapter) &&
    anchors.adapters.some(({ baseHash }) => baseHash === adapter.baseHash);
  if (trusted === undefined ? !isOwnWitness : !isSame(adapter, trusted)) {
    return receiptFault('adapter', 'ADAPTER_UNTRUSTED', 'not as the chain has this adapter');
  }
  const version = anchors.versions.find(
    (each) => each.datanetId === datanet.datanetId && each.version === datanet.version,
  );
  if (version === undefined || !isSame(datanet, version)) {
    return receiptFault('datanet', 'VERSION_UNTRUSTED', 'not as the chain has this version');
  }
  if (!isSame(rules, anchors.parameters)) {
    return receiptFault('rules', 'RULES_UNTRUSTED', 'not as Parameters has them on chain');
  }
  return null;
}

function checkSignature({ domain, receipt, signature }: ReceiptFile): Step {
  const signing = { chainId: domain.chainId, verifyingContract: domain.referee };
  if (isReceiptSigned(signing, receipt, signature)) return null;
  return receiptFault('signature', 'SIGNATURE_WRONG', `expected that of ${receipt.provider}`);
}

function checkExchange(file: ReceiptFile, countTokens: ReceiptCheck['countTokens']): Step {
  const { receipt } = file;
  const texts: string[] = [];
  for (const name of ['prompt', 'output'] as const) {
    if (toHex(keccak256(file[name])) !== receipt[`${name}Hash`]) {
      return receiptFault(`receipt.${name}Hash`, 'HASH_WRONG', `not the hash of the ${name}`);
    }
    const text = decodeUtf8(file[name]);
    if (text === null) return receiptFault(name, 'NOT_UTF8', 'expected UTF-8');
    texts.push(text);
  }
  const counted = countTokens(texts[0] as string, texts[1] as string);
  for (const name of ['promptTokens', 'outputTokens'] as const) {
    if (counted[name] !== receipt[name]) {
      const message = `expected ${counted[name]}, got ${receipt[name]}`;
      return receiptFault(`receipt.${name}`, 'TOKENS_WRONG', message);
    }
  }
  return null;
}

function checkPrice({ price, receipt }: ReceiptFile): Step {
  if (price.feeWeiPerToken % FEE_STEP_WEI !== 0n) {
    const message = `expected a multiple of ${FEE_STEP_WEI}, got ${price.feeWeiPerToken}`;
    return receiptFault('price.feeWeiPerToken', 'FEE_UNEVEN', message);
  }
  const priced = priceOf(price, receipt.promptTokens, receipt.outputTokens);
  for (const name of ['computeWei', 'feeWei'] as const) {
    if (priced[name] !== receipt[name]) {
      const message = `expected ${priced[name]} for these tokens, got ${receipt[name]}`;
      return receiptFault(`receipt.${name}`, 'PRICE_WRONG', message);
    }
  }
  return null;
}

function checkQuery({ querySketch, receipt }: ReceiptFile): Step {
  if (hashSketch(querySketch) !== receipt.querySketchHash) {
    return receiptFault('receipt.querySketchHash', 'HASH_WRONG', 'not the hash of the sketch');
  }
  const norm = squaredNorm(querySketch);
  if (norm !== receipt.queryNorm) {
    const message = `expected ${norm}, got ${receipt.queryNorm}`;
    return receiptFault('receipt.queryNorm', 'NORM_WRONG', message);
  }
  return null;
}

/** The score in a file as the leaf that is hashed. */
export function scoreLeafOf(score: ReceiptFile['scores'][number]): ScoreLeaf {
  const { sketchIndex, recordHash, contributor, dot, amountWei } = score;
  return { sketchIndex, recordHash, contributor, dot, score: score.score, amountWei };
}

function checkScores(file: ReceiptFile): Step {
  const { receipt, scores } = file;
  if (scores.length !== receipt.scoreCount) {
    const message = `expected ${scores.length}, got ${receipt.scoreCount}`;
    return receiptFault('receipt.scoreCount', 'COUNT_WRONG', message);
  }
  const clusters = new Set<number>();
  let before: Score | null = null;
  for (const [i, score] of scores.entries()) {
    const at = `scores[${i}]`;
    const invalid = checkScore(file, score, at);
    if (invalid !== null) return invalid;
    if (clusters.has(score.cluster)) {
      return receiptFault(`${at}.cluster`, 'CLUSTER_TWICE', `cluster ${score.cluster} came before`);
    }
    clusters.add(score.cluster);
    const leaf = scoreLeafOf(score);
    if (before !== null && compareScores(before, leaf) >= 0) {
      return receiptFault(at, 'ORDER_WRONG', 'expected score descending, then sketchIndex');
    }
    before = leaf;
  }
  return null;
}

function checkScore(file: ReceiptFile, score: ReceiptFile['scores'][number], at: string): Step {
  const { adapter, querySketch, receipt, rules } = file;
  const norm = squaredNorm(score.sketch);
  if (norm !== score.norm) {
    return receiptFault(`${at}.norm`, 'NORM_WRONG', `expected ${norm}, got ${score.norm}`);
  }
  const { sketchIndex: index, siblings } = score;
  if (!verifySketch(adapter.sketchRoot, score, { index, count: adapter.sketchCount, siblings })) {
    return receiptFault(at, 'PROOF_WRONG', `no such sketch at ${index} under the adapter's root`);
  }
  const dot = dotProduct(querySketch, score.sketch);
  if (dot !== score.dot) {
    return receiptFault(`${at}.dot`, 'DOT_WRONG', `expected ${dot}, got ${score.dot}`);
  }
  const cosine = cosineQ16(dot, norm, receipt.queryNorm);
  if (cosine !== score.score) {
    return receiptFault(`${at}.score`, 'SCORE_WRONG', `expected ${cosine}, got ${score.score}`);
  }
  if (!passes(dot, norm, receipt.queryNorm, rules)) {
    const message = `expected a cosine of ${rules.numerator}/${rules.denominator}, got ${cosine}/65536`;
    return receiptFault(`${at}.score`, 'BELOW_THRESHOLD', message);
  }
  return null;
}

/** The enclosed records are in the version, and are exactly those that spans cite, in order. */
function checkRecords({ datanet, records, spans }: ReceiptFile): Step {
  const cited = new Set(spans.map(({ recordIndex }) => recordIndex));
  const expected = [...cited].sort((a, b) => a - b);
  const isExact =
    expected.length === records.length && records.every(({ index }, i) => index === expected[i]);
  if (!isExact) {
    return receiptFault('records', 'RECORDS_WRONG', 'expected exactly those that spans cite');
  }
  for (const [i, record] of records.entries()) {
    const leaf = { ...record, recordHash: hashRecord(record.bytes) };
    const proof = { index: record.index, count: datanet.recordCount, siblings: record.siblings };
    if (!verifyRecord(datanet.root, leaf, proof)) {
      const message = `no such record at ${record.index} under the version's root`;
      return receiptFault(`records[${i}]`, 'PROOF_WRONG', message);
    }
  }
  return null;
}

/** The spans in a file as the leaves that are hashed. */
export function spanLeavesOf({ records, spans }: ReceiptFile): readonly SpanLeaf[] {
  const owners = new Map(records.map(({ index, contributor }) => [index, contributor]));
  return spans.map((span) => {
    const contributor = owners.get(span.recordIndex);
    if (contributor === undefined) throw new RangeError(`expected record ${span.recordIndex}`);
    return { ...span, contributor };
  });
}

function checkDivision(file: ReceiptFile): Step {
  const { receipt, rules, scores, spans, split, payouts } = file;
  const divided = divideFee(
    receipt.feeWei,
    rules,
    scores.map(scoreLeafOf) as readonly Score[],
    spanLeavesOf(file) as readonly Span[],
  );
  for (const name of Object.keys(split) as (keyof typeof split)[]) {
    if (split[name] !== divided.split[name]) {
      const message = `expected ${divided.split[name]}, got ${split[name]}`;
      return receiptFault(`split.${name}`, 'DIVISION_WRONG', message);
    }
  }
  for (const [kind, given, due] of [
    ['scores', scores, divided.scores],
    ['spans', spans, divided.spans],
  ] as const) {
    const i = given.findIndex(({ amountWei }, at) => amountWei !== due[at]?.amountWei);
    if (i >= 0) {
      const message = `expected ${due[i]?.amountWei}, got ${given[i]?.amountWei}`;
      return receiptFault(`${kind}[${i}].amountWei`, 'DIVISION_WRONG', message);
    }
  }
  const isPaid =
    payouts.length === divided.payouts.length &&
    payouts.every((payout, i) => isSame(payout, divided.payouts[i] ?? {}));
  if (!isPaid) {
    return receiptFault('payouts', 'DIVISION_WRONG', 'not the sums of the leaves by account');
  }
  return null;
}

function checkRoots(file: ReceiptFile): Step {
  const { receipt, scores } = file;
  if (scoreRoot(scores.map(scoreLeafOf)) !== receipt.scoreRoot) {
    return receiptFault('receipt.scoreRoot', 'ROOT_WRONG', 'not the root of the scores');
  }
  if (spanRoot(receipt.requestId, spanLeavesOf(file)) !== receipt.spanRoot) {
    return receiptFault('receipt.spanRoot', 'ROOT_WRONG', 'not the root of the spans');
  }
  return null;
}

function checkEpoch({ epoch, receipt }: ReceiptFile, anchors: TrustedAnchors | null): Step {
  if (epoch === null) return null;
  const leaf = fromHex(receiptHash(receipt));
  const { index, receiptCount: count, siblings } = epoch;
  if (!verifyLeaf(fromHex(epoch.receiptsRoot), leaf, { index, count, siblings })) {
    return receiptFault('epoch', 'PROOF_WRONG', `not at ${index} under the epoch's receipts`);
  }
  if (anchors === null) return null;
  const trusted = anchors.epochs.find((each) => each.epoch === epoch.epoch);
  const isTrusted =
    trusted !== undefined &&
    trusted.receiptsRoot === epoch.receiptsRoot &&
    trusted.receiptCount === epoch.receiptCount;
  if (isTrusted) return null;
  return receiptFault('epoch', 'EPOCH_UNTRUSTED', `not as the chain has epoch ${epoch.epoch}`);
}
