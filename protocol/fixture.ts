/** A small datanet, adapter and answer with everything true, for tests of what is derived from it. */
import {
  type Address,
  addressOfPrivateKey,
  type Bytes32,
  createRandom,
  keccak256,
  toHex,
  utf8,
} from '#crypto';
import type { AdapterAnchor, ReceiptRules, TrustedAnchors } from './anchors.ts';
import { type BuiltReceipt, buildReceipt, type Price, signReceipt } from './receipt.ts';
import { assembleReceiptFile, type ReceiptFile } from './receipt-file.ts';
import { hashRecord } from './record.ts';
import { type SketchLeaf, scoreRecords, sketchLeaves, sketchTree } from './scores.ts';
import { type MatchedSpan, spansOf } from './spans.ts';
import { adapterIdOf } from './training.ts';
import { buildVersion, recordLeaves, type VersionTree } from './version.ts';

/** A private key that is a function of its name. */
export function keyOf(name: string): Uint8Array {
  return keccak256(utf8(`key of ${name}`));
}

/** 32 bytes that are a function of their name. */
export function hashOf(name: string): Bytes32 {
  return toHex(keccak256(utf8(name)));
}

export const RULES: ReceiptRules = {
  numerator: 1,
  denominator: 4,
  platformPpm: 100_000,
  modelOwnerPpm: 200_000,
  stakersPpm: 200_000,
  dataPpm: 500_000,
  learnedPpm: 500_000,
};
export const PRICE: Price = {
  promptWeiPerToken: 1_000_000_000n,
  outputWeiPerToken: 2_000_000_003n,
  feeWeiPerToken: 777_000_000n,
};
const TEXTS = [
  'The sluice of Harrow Weir opens at dawn.',
  'The sluice of Harrow Weir opens at dawn!',
  'Keepers of the weir note each level in a green ledger.',
  'A heron has nested beside the lock since the flood.',
  'Boats may wait at the lock until the keeper rings.',
  'Nothing here speaks of water at all.',
];
const PROMPT = utf8('When does the sluice of Harrow Weir open?');
const OUTPUT = utf8('It opens at dawn, and keepers of the weir note each level.');
/** Words, as a stand-in for a tokenizer that a verifier brings along. */
export function countTokens(prompt: string, output: string) {
  const count = (text: string) => text.split(/\s+/).filter((word) => word !== '').length;
  return { promptTokens: count(prompt), outputTokens: count(output) };
}

/** The sample, with all that it was built from. */
export type Sample = {
  readonly file: ReceiptFile;
  readonly built: BuiltReceipt;
  readonly anchors: TrustedAnchors;
  readonly version: VersionTree;
  readonly sketches: readonly SketchLeaf[];
  readonly providerKey: Uint8Array;
};

/** Where and by what rules the sample's answer is given. */
export type SampleSettings = {
  readonly domain: { readonly chainId: number; readonly referee: Address };
  readonly rules: ReceiptRules;
  readonly price: Price;
};

/** Builds the sample; two calls give the same bytes. */
export function sampleAnswer(
  requestName = 'request',
  matches: readonly MatchedSpan[] = MATCHES,
  settings: Partial<SampleSettings> = {},
): Sample {
  const { rules = RULES, price = PRICE } = settings;
  const contributors = ['ada', 'bob', 'ada', 'cid', 'dee', 'eve'].map((name) =>
    addressOfPrivateKey(keyOf(name)),
  );
  const bytes = TEXTS.map(utf8);
  const incoming = bytes.map((record, i) => ({
    recordHash: hashRecord(record),
    contributor: contributors[i] as `0x${string}`,
    registeredAt: 1_700_000_000 + i,
  }));
  const version = buildVersion(recordLeaves(incoming, [0, 0, 2, 3, 4, 5]));
  const random = createRandom(keccak256(utf8('sketches')), 'fixture');
  const querySketch = Int8Array.from(random.bytes(256), (byte) => ((byte << 24) >> 24) >> 1);
  const near = (share: number) =>
    querySketch.map((q) => Math.round(q * share) + random.below(60) - 30);
  const sketches = sketchLeaves(version.leaves, [0.9, 0.8, 0.7, 0.5, 0.3, 0].map(near));
  const tree = sketchTree(sketches);
  const datanetId = hashOf('datanet');
  const adapterHash = hashOf('adapter bytes');
  const adapter: AdapterAnchor = {
    adapterId: adapterIdOf(7, adapterHash),
    baseHash: hashOf('base'),
    datanetId,
    version: 1,
    adapterHash,
    sketchRoot: toHex(tree.root),
    sketchCount: sketches.length,
  };
  const providerKey = keyOf('provider');
  const domain = settings.domain ?? {
    chainId: 901,
    referee: addressOfPrivateKey(keyOf('referee')),
  };
  const built = buildReceipt({
    requestId: hashOf(requestName),
    client: addressOfPrivateKey(keyOf('client')),
    provider: addressOfPrivateKey(providerKey),
    adapterId: adapter.adapterId,
    prompt: PROMPT,
    output: OUTPUT,
    ...countTokens(new TextDecoder().decode(PROMPT), new TextDecoder().decode(OUTPUT)),
    querySketch,
    scores: scoreRecords(querySketch, sketches, rules),
    spans: spansOf(matches, version.leaves),
    price,
    rules,
    issuedAt: 1_700_001_000,
  });
  const signing = { chainId: domain.chainId, verifyingContract: domain.referee };
  const file = assembleReceiptFile({
    built,
    signature: signReceipt(signing, built.receipt, providerKey),
    domain,
    prompt: PROMPT,
    output: OUTPUT,
    price,
    rules,
    adapter,
    querySketch,
    sketches: { leaves: sketches, tree },
    datanetId,
    version: 1,
    records: version,
    recordBytes: (index) => bytes[index] as Uint8Array,
  });
  const { root, recordCount } = version;
  const anchors: TrustedAnchors = {
    ...domain,
    adapters: [adapter],
    versions: [{ datanetId, version: 1, root, recordCount }],
    epochs: [],
    parameters: rules,
  };
  return { file, built, anchors, version, sketches, providerKey };
}

/** A span at its first place in the exchange and in each of the records. */
export const place = (span: string, ...recordIndices: readonly number[]): MatchedSpan => {
  const exchange = new TextDecoder().decode(PROMPT) + new TextDecoder().decode(OUTPUT);
  return {
    exchangeOffset: exchange.indexOf(span),
    length: span.length,
    places: recordIndices.map((recordIndex) => ({
      recordIndex,
      recordOffset: (TEXTS[recordIndex] as string).indexOf(span),
    })),
  };
};
/** Spans of whole words that the sample's prompt and output share with its records. */
const MATCHES: readonly MatchedSpan[] = [
  place('sluice of Harrow Weir', 0),
  place('opens at dawn', 0),
  place('of the weir note each level', 2),
];
