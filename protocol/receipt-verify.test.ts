import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addressOfPrivateKey,
  buildTree,
  createRandom,
  fromHex,
  keccak256,
  proveLeaf,
  toHex,
  utf8,
} from '#crypto';
import type { TrustedAnchors } from './anchors.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { countTokens, hashOf, keyOf, place, RULES, type Sample, sampleAnswer } from './fixture.ts';
import { divideFee, receiptHash, signReceipt } from './receipt.ts';
import { encodeReceiptFile, type ReceiptFile, withEpochProof } from './receipt-file.ts';
import { scoreLeafOf, spanLeavesOf, verifyReceiptFile } from './receipt-verify.ts';
import { scoreRoot, sketchTree } from './scores.ts';
import { spanRoot } from './spans.ts';

const sample = sampleAnswer();

type Change = (file: ReceiptFile) => ReceiptFile;
type Receipt = ReceiptFile['receipt'];

/** Signs a changed file again as its own provider. */
function resigned(file: ReceiptFile): ReceiptFile {
  const domain = { chainId: file.domain.chainId, verifyingContract: file.domain.referee };
  return { ...file, signature: signReceipt(domain, file.receipt, sample.providerKey) };
}

/** Writes anew every root and count that follows from a changed file, then signs it again. */
function rerooted(file: ReceiptFile): ReceiptFile {
  const { requestId } = file.receipt;
  const scores = file.scores.map(scoreLeafOf);
  const receipt: Receipt = {
    ...file.receipt,
    scoreRoot: scoreRoot(scores),
    scoreCount: scores.length,
    spanRoot: spanRoot(requestId, spanLeavesOf(file)),
    spanCount: file.spans.length,
  };
  return resigned({ ...file, receipt });
}

/** Divides the fee anew over a changed file's leaves, then writes its roots. */
function redivided(file: ReceiptFile): ReceiptFile {
  const { scores, spans, rules, receipt } = file;
  const due = divideFee(receipt.feeWei, rules, scores.map(scoreLeafOf), spanLeavesOf(file));
  return rerooted({
    ...file,
    split: due.split,
    payouts: due.payouts,
    scores: scores.map((each, i) => ({ ...each, amountWei: due.scores[i]?.amountWei ?? 0n })),
    spans: spans.map((each, i) => ({ ...each, amountWei: due.spans[i]?.amountWei ?? 0n })),
  });
}

function verify(file: ReceiptFile, anchors: TrustedAnchors | null = sample.anchors) {
  return verifyReceiptFile(encodeReceiptFile(file), { anchors, countTokens });
}

function expectInvalid(file: ReceiptFile, code: string, field: string): void {
  const verdict = verify(file);
  assert.ok(!verdict.valid, `expected ${code} at ${field}, got a valid receipt`);
  assert.deepEqual([verdict.code, verdict.field], [code, field], verdict.message);
}

const withReceipt =
  (change: Partial<Receipt>): Change =>
  (file) => ({ ...file, receipt: { ...file.receipt, ...change } });
const withScore =
  (i: number, change: Partial<ReceiptFile['scores'][number]>): Change =>
  (file) => ({ ...file, scores: file.scores.map((s, at) => (at === i ? { ...s, ...change } : s)) });
const withSpan =
  (i: number, change: Partial<ReceiptFile['spans'][number]>): Change =>
  (file) => ({ ...file, spans: file.spans.map((s, at) => (at === i ? { ...s, ...change } : s)) });

test('the sample is valid, with anchors and without', () => {
  for (const anchors of [sample.anchors, null]) {
    const verdict = verify(sample.file, anchors);
    assert.ok(verdict.valid);
    assert.equal(verdict.anchored, false);
    assert.equal(receiptHash(verdict.receipt), receiptHash(sample.built.receipt));
  }
  assert.ok(sample.file.scores.length >= 3 && sample.file.spans.length >= 3);
});

test('SIGNATURE_WRONG: any field of the receipt changed and not signed again', () => {
  for (const name of Object.keys(sample.file.receipt) as (keyof Receipt)[]) {
    // The adapter's id is compared with the adapter first.
    if (name === 'adapterId') continue;
    const value = sample.file.receipt[name];
    const changed =
      typeof value === 'string' ? value.replace(/.$/, (c) => (c === '0' ? '1' : '0')) : undefined;
    const other = changed ?? (typeof value === 'bigint' ? value + 1n : (value as number) + 1);
    expectInvalid(withReceipt({ [name]: other })(sample.file), 'SIGNATURE_WRONG', 'signature');
  }
});

test('SIGNATURE_WRONG: signed by somebody else, or for another chain or contract', () => {
  const signing = { chainId: 901, verifyingContract: sample.file.domain.referee };
  for (const [domain, key] of [
    [signing, keyOf('somebody')],
    [{ ...signing, chainId: 902 }, sample.providerKey],
    [{ ...signing, verifyingContract: addressOfPrivateKey(keyOf('x')) }, sample.providerKey],
  ] as const) {
    const signature = signReceipt(domain, sample.file.receipt, key);
    expectInvalid({ ...sample.file, signature }, 'SIGNATURE_WRONG', 'signature');
  }
});

/** Altered in one quantity each and signed again by the provider. */
const ALTERED: readonly [code: string, field: string, change: Change][] = [
  ['TOKENS_WRONG', 'receipt.promptTokens', withReceipt({ promptTokens: 9 })],
  ['TOKENS_WRONG', 'receipt.outputTokens', withReceipt({ outputTokens: 13 })],
  ['HASH_WRONG', 'receipt.promptHash', withReceipt({ promptHash: hashOf('x') })],
  ['HASH_WRONG', 'receipt.outputHash', withReceipt({ outputHash: hashOf('x') })],
  ['HASH_WRONG', 'receipt.promptHash', (file) => ({ ...file, prompt: utf8('Other words?') })],
  ['HASH_WRONG', 'receipt.outputHash', (file) => ({ ...file, output: utf8('Other words.') })],
  [
    'PRICE_WRONG',
    'receipt.computeWei',
    (f) => withReceipt({ computeWei: f.receipt.computeWei + 1n })(f),
  ],
  [
    'PRICE_WRONG',
    'receipt.feeWei',
    (f) => withReceipt({ feeWei: f.receipt.feeWei + 1_000_000n })(f),
  ],
  [
    'FEE_UNEVEN',
    'price.feeWeiPerToken',
    (f) => ({ ...f, price: { ...f.price, feeWeiPerToken: 1n } }),
  ],
  [
    'HASH_WRONG',
    'receipt.querySketchHash',
    (f) => ({ ...f, querySketch: f.querySketch.map((q) => -q) }),
  ],
  ['NORM_WRONG', 'receipt.queryNorm', withReceipt({ queryNorm: 1 })],
  ['COUNT_WRONG', 'receipt.scoreCount', withReceipt({ scoreCount: 3 })],
  ['COUNT_WRONG', 'receipt.spanCount', withReceipt({ spanCount: 2 })],
  ['ROOT_WRONG', 'receipt.scoreRoot', withReceipt({ scoreRoot: hashOf('x') })],
  ['ROOT_WRONG', 'receipt.spanRoot', withReceipt({ spanRoot: hashOf('x') })],
  ['LINEAGE_BROKEN', 'adapter.adapterId', withReceipt({ adapterId: hashOf('x') })],
  ['LINEAGE_BROKEN', 'datanet', (f) => ({ ...f, datanet: { ...f.datanet, version: 2 } })],
  ['LINEAGE_BROKEN', 'datanet', (f) => ({ ...f, adapter: { ...f.adapter, sketchCount: 5 } })],
  ['RULES_WRONG', 'rules', (f) => ({ ...f, rules: { ...f.rules, dataPpm: 500_001 } })],
  ['RULES_WRONG', 'rules', (f) => ({ ...f, rules: { ...f.rules, numerator: 0 } })],
  ['RULES_UNTRUSTED', 'rules', (f) => ({ ...f, rules: { ...f.rules, learnedPpm: 1 } })],
  ['RULES_UNTRUSTED', 'rules', (f) => ({ ...f, rules: { ...f.rules, denominator: 400 } })],
  ['DOMAIN_UNTRUSTED', 'domain', (f) => ({ ...f, domain: { ...f.domain, chainId: 1 } })],
  [
    'ADAPTER_UNTRUSTED',
    'adapter',
    (f) => ({ ...f, adapter: { ...f.adapter, adapterHash: hashOf('x') } }),
  ],
  [
    'ADAPTER_UNTRUSTED',
    'adapter',
    (f) => ({ ...f, adapter: { ...f.adapter, sketchRoot: hashOf('x') } }),
  ],
  ['VERSION_UNTRUSTED', 'datanet', (f) => ({ ...f, datanet: { ...f.datanet, root: hashOf('x') } })],
  ['DOT_WRONG', 'scores[1].dot', (f) => withScore(1, { dot: (f.scores[1]?.dot ?? 0) + 1 })(f)],
  [
    'SCORE_WRONG',
    'scores[1].score',
    (f) => withScore(1, { score: (f.scores[1]?.score ?? 0) + 1 })(f),
  ],
  ['NORM_WRONG', 'scores[1].norm', (f) => withScore(1, { norm: (f.scores[1]?.norm ?? 0) - 1 })(f)],
  ['PROOF_WRONG', 'scores[1]', withScore(1, { recordHash: hashOf('x') })],
  [
    'PROOF_WRONG',
    'scores[1]',
    withScore(1, { contributor: addressOfPrivateKey(keyOf('provider')) }),
  ],
  ['PROOF_WRONG', 'scores[1]', withScore(1, { cluster: 5 })],
  ['PROOF_WRONG', 'scores[1]', withScore(1, { registeredAt: 5 })],
  ['PROOF_WRONG', 'scores[1]', withScore(1, { sketchIndex: 1 })],
  [
    'WEIGHT_WRONG',
    'spans[0].weight',
    (f) => withSpan(0, { weight: (f.spans[0]?.weight ?? 0) * 2 })(f),
  ],
  ['SPAN_NOT_THERE', 'spans[1]', withSpan(1, { recordOffset: 3 })],
  ['RECORDS_WRONG', 'records', withSpan(1, { recordIndex: 3 })],
  [
    'DIVISION_WRONG',
    'scores[0].amountWei',
    (f) => withScore(0, { amountWei: (f.scores[0]?.amountWei ?? 0n) + 1n })(f),
  ],
  ['DIVISION_WRONG', 'spans[0].amountWei', (f) => withSpan(0, { amountWei: 0n })(f)],
  [
    'DIVISION_WRONG',
    'split.platformWei',
    (f) => ({ ...f, split: { ...f.split, platformWei: 1n } }),
  ],
  ['DIVISION_WRONG', 'split.learnedWei', (f) => ({ ...f, split: { ...f.split, learnedWei: 0n } })],
  ['DIVISION_WRONG', 'payouts', (f) => ({ ...f, payouts: f.payouts.slice(1) })],
  ['DIVISION_WRONG', 'payouts', (f) => ({ ...f, payouts: [...f.payouts].reverse() })],
];

test('a receipt altered in any quantity and signed again names it', () => {
  for (const [code, field, change] of ALTERED) {
    expectInvalid(resigned(change(sample.file)), code, field);
  }
});

test('so does one whose roots, counts and division were made to fit as well', () => {
  for (const [code, field, change] of ALTERED) {
    const isFitted = [
      'COUNT_WRONG',
      'ROOT_WRONG',
      'DIVISION_WRONG',
      'RECORDS_WRONG',
      'RULES_WRONG',
    ].includes(code);
    if (isFitted) continue;
    expectInvalid(redivided(change(sample.file)), code, field);
  }
});

test('BELOW_THRESHOLD: a true score that is not paid', () => {
  const rules = { ...RULES, numerator: 3, denominator: 4 };
  const anchors = { ...sample.anchors, parameters: rules };
  const verdict = verify(redivided({ ...sample.file, rules }), anchors);
  assert.ok(!verdict.valid);
  assert.equal(verdict.code, 'BELOW_THRESHOLD');
  assert.match(verdict.field, /^scores\[\d\]\.score$/);
});

test('CLUSTER_TWICE: two records of one cluster are not both paid', () => {
  const [first, ...rest] = sample.file.scores;
  assert.ok(first !== undefined);
  const leaf = sample.sketches[1];
  assert.ok(leaf !== undefined && leaf.cluster === 0);
  const tree = sketchTree(sample.sketches);
  const twin = {
    ...first,
    ...leaf,
    sketchIndex: 1,
    siblings: proveLeaf(tree, 1).siblings,
    ...truth(sample, 1),
  };
  const scores = [first, twin, ...rest].sort((a, b) => b.score - a.score);
  const at = scores.findIndex(({ cluster }, i) =>
    scores.slice(0, i).some((s) => s.cluster === cluster),
  );
  expectInvalid(redivided({ ...sample.file, scores }), 'CLUSTER_TWICE', `scores[${at}].cluster`);
});

/** The true dot and score of a record of the sample. */
function truth({ sketches, file }: Sample, index: number) {
  const sketch = sketches[index]?.sketch ?? new Int8Array(256);
  let dot = 0;
  let norm = 0;
  for (let i = 0; i < 256; i += 1) {
    dot += (sketch[i] ?? 0) * (file.querySketch[i] ?? 0);
    norm += (sketch[i] ?? 0) ** 2;
  }
  const score = Math.floor((dot * 65_536) / Math.floor(Math.sqrt(norm * file.receipt.queryNorm)));
  return { dot, score };
}

test('ORDER_WRONG: scores and spans stand in one order only', () => {
  const scores = [...sample.file.scores].reverse();
  expectInvalid(redivided({ ...sample.file, scores }), 'ORDER_WRONG', 'scores[1]');
  const spans = [...sample.file.spans].reverse();
  expectInvalid(redivided({ ...sample.file, spans }), 'ORDER_WRONG', 'spans[1]');
});

test('NOT_UTF8: bytes that are no text have no token count', () => {
  const output = Uint8Array.of(0xc3, 0x28);
  const receipt = { ...sample.file.receipt, outputHash: toHex(keccak256(output)) };
  expectInvalid(resigned({ ...sample.file, output, receipt }), 'NOT_UTF8', 'output');
});

test('the epoch: proven and trusted, proven and not trusted, not proven', () => {
  const leaf = fromHex(receiptHash(sample.file.receipt));
  const tree = buildTree([fromHex(hashOf('another receipt')), leaf]);
  const { siblings } = proveLeaf(tree, 1);
  const epoch = { epoch: 3, receiptsRoot: toHex(tree.root), receiptCount: 2, index: 1, siblings };
  const file = withEpochProof(sample.file, epoch);
  const { siblings: _, index: __, ...anchor } = epoch;
  const trusting = { ...sample.anchors, epochs: [anchor] };
  const verdict = verify(file, trusting);
  assert.ok(verdict.valid && verdict.anchored);
  const alone = verify(file, null);
  assert.ok(alone.valid && !alone.anchored);
  const untrusted = verify(file, sample.anchors);
  assert.ok(!untrusted.valid && untrusted.code === 'EPOCH_UNTRUSTED');
  const elsewhere = { ...trusting, epochs: [{ ...anchor, receiptCount: 3 }] };
  const other = verify(file, elsewhere);
  assert.ok(!other.valid && other.code === 'EPOCH_UNTRUSTED' && other.field === 'epoch');
  const moved = verify(withEpochProof(sample.file, { ...epoch, index: 0 }), trusting);
  assert.ok(!moved.valid && moved.code === 'PROOF_WRONG' && moved.field === 'epoch');
});

/** A file that is true in all but the spans that it claims. */
const withMatches = (...matches: readonly ReturnType<typeof place>[]) =>
  sampleAnswer('spans', matches).file;

test('spans in several clusters share their weight and are valid', () => {
  // Both records have it, and they are of different clusters.
  const file = withMatches(place('of the weir', 2), place('opens at dawn', 0));
  assert.ok(verify(file).valid);
  assert.equal(file.spans.length, 2);
});

test('SPAN_RULE: too short, cut words, too many', () => {
  expectInvalid(withMatches(place('at dawn', 0)), 'SPAN_RULE', 'spans[0].length');
  expectInvalid(withMatches(place('pens at dawn', 0)), 'SPAN_RULE', 'spans[0]');
  expectInvalid(withMatches(place('opens at daw', 0)), 'SPAN_RULE', 'spans[0]');
  const comma = { ...place('opens at dawn', 0), length: 'opens at dawn,'.length };
  expectInvalid(withMatches(comma), 'SPAN_NOT_THERE', 'spans[0]');
  const five = ['sluice of', 'Harrow Weir', 'opens at', 'of the weir', 'the weir note'];
  const many = [...five, 'each level'].map((span) =>
    place(span, /opens|sluice|Harrow/.test(span) ? 0 : 2),
  );
  expectInvalid(withMatches(...many), 'SPAN_RULE', 'spans');
  assert.ok(verify(withMatches(...many.slice(0, 5))).valid);
});

test('CLUSTER_TWICE: a span is paid once in a cluster', () => {
  expectInvalid(withMatches(place('opens at dawn', 0, 1)), 'CLUSTER_TWICE', 'spans[1]');
});

test('ORDER_WRONG: no span inside another, no span twice', () => {
  const inside = withMatches(place('of the weir note', 2), place('the weir note', 2));
  expectInvalid(inside, 'ORDER_WRONG', 'spans[1]');
  const twice = withMatches(place('of the weir note', 2), place('of the weir note', 2));
  const spans = twice.spans.map((span) => ({ ...span, weight: span.weight / 2 }));
  expectInvalid(redivided({ ...twice, spans }), 'ORDER_WRONG', 'spans[1]');
});

test('SPAN_NOT_THERE: a span lies wholly in the prompt or in the output', () => {
  const promptLength = sample.file.prompt.length;
  const across = { ...place('opens at dawn', 0), exchangeOffset: promptLength - 5 };
  expectInvalid(withMatches(across), 'SPAN_NOT_THERE', 'spans[0].exchangeOffset');
  const beyond = { ...across, exchangeOffset: 4_000_000_000 };
  expectInvalid(withMatches(beyond), 'SPAN_NOT_THERE', 'spans[0].exchangeOffset');
});

/** Every place in a decoded object at which a plain value stands. */
function leavesIn(value: unknown, path: readonly (string | number)[] = []): (string | number)[][] {
  const isTree = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
  if (!isTree) return [[...path]];
  return Object.keys(value).flatMap((key) =>
    leavesIn((value as { [key: string]: unknown })[key], [...path, key]),
  );
}

function changedValue(value: unknown, draw: number): unknown {
  if (typeof value === 'number') return draw % 3 === 0 ? -value - 1 : value + 1 + (draw % 1000);
  if (typeof value === 'string') return `${value}x`;
  if (value === null) return 0;
  const bytes = Uint8Array.from(value as Uint8Array);
  if (bytes.length === 0 || draw % 7 === 0) return Uint8Array.from([...bytes, draw & 0xff]);
  bytes[draw % bytes.length] = (bytes[draw % bytes.length] as number) ^ (1 + (draw % 255));
  return bytes;
}

test('any one value changed, with its digest made to fit, is invalid and never throws', () => {
  const leaf = fromHex(receiptHash(sample.file.receipt));
  const tree = buildTree([fromHex(hashOf('another receipt')), leaf]);
  const { siblings } = proveLeaf(tree, 1);
  const anchor = { epoch: 3, receiptsRoot: toHex(tree.root), receiptCount: 2 };
  const file = withEpochProof(sample.file, { ...anchor, index: 1, siblings });
  const anchors = { ...sample.anchors, epochs: [anchor] };
  assert.ok(verify(file, anchors).valid);
  const decoded = decodeCanonical(encodeReceiptFile(file));
  assert.ok(decoded !== null);
  const [magic, , written] = decoded.value as readonly [string, unknown, unknown[]];
  const paths = leavesIn(written);
  const random = createRandom(keccak256(utf8('values')), 'changes');
  for (const path of paths) {
    const changed = structuredClone(written);
    let parent = changed as unknown as { [key: string]: unknown };
    for (const key of path.slice(0, -1)) parent = parent[key] as { [key: string]: unknown };
    const last = path.at(-1) as string;
    parent[last] = changedValue(parent[last], random.uint32());
    const digests = changed.map((field) => keccak256(encodeCanonical(field)));
    const forged = encodeCanonical([magic, digests, changed]);
    const verdict = verifyReceiptFile(forged, { anchors, countTokens });
    assert.ok(!verdict.valid, `${path.join('.')} changed to ${parent[last]} is valid`);
  }
  assert.ok(paths.length > 140, `${paths.length} values`);
});
