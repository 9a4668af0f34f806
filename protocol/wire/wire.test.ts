/** Hostile bytes against every message: what a stranger can send that is not what we agreed on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { concat, createRandom, equal, keccak256, utf8 } from '#crypto';
import { cidOf, decodeCanonical, encodeCanonical } from '../cbor.ts';
import { hashOf, keyOf, PRICE } from '../fixture.ts';
import { capacityAnnouncement } from './capacity.ts';
import { epochAnnouncement } from './epochs.ts';
import { inferOrder, inferReply, inferVoucher, inferVoucherReply } from './infer.ts';
import type { WireResult } from './message.ts';
import { receiptAnnouncement } from './receipts.ts';
import { receiptsReply, receiptsRequest } from './receipts-request.ts';
import { shardsAnnouncement } from './shards.ts';
import { taskHint } from './tasks.ts';

const NOW_MS = 1_700_000_000_000;
const WINDOW = { clockSkewMs: 5_000, gossipAgeMs: 60_000 };
const account = `0x${'0a'.repeat(20)}` as const;
const cid = cidOf(utf8('file'));

type Case = {
  readonly name: string;
  readonly encoded: Uint8Array;
  readonly again: (value: never) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => WireResult<unknown>;
  readonly bytesMax: number;
};

type Codec<Value> = { bytesMax: number; encode: (value: Value) => Uint8Array };
type Gossip<Value> = Codec<Value> & {
  decode: (bytes: Uint8Array, nowMs: number, window: typeof WINDOW) => WireResult<Value>;
};
type Plain<Value> = Codec<Value> & { decode: (bytes: Uint8Array) => WireResult<Value> };

const gossip = <Value>(name: string, message: Gossip<Value>, value: Value): Case => ({
  name,
  encoded: message.encode(value),
  again: message.encode as (value: never) => Uint8Array,
  decode: (bytes) => message.decode(bytes, NOW_MS, WINDOW),
  bytesMax: message.bytesMax,
});
const plain = <Value>(name: string, message: Plain<Value>, value: Value): Case => ({
  name,
  encoded: message.encode(value),
  again: message.encode as (value: never) => Uint8Array,
  decode: message.decode,
  bytesMax: message.bytesMax,
});

const sentAtMs = NOW_MS;
const order = {
  adapterId: hashOf('adapter'),
  baseHash: hashOf('base'),
  client: account,
  outputTokensMax: 64,
  price: PRICE,
  prompt: 'Why is the sky blue?',
  requestId: hashOf('request'),
  saidTokens: [1, 2, 3],
  seed: 7,
  stops: ['\n\n'],
  temperature: 0.7,
  topP: 1,
  topK: 0,
  minP: 0.05,
  repetitionPenalty: 1.1,
  logprobs: 3,
};
const CASES: readonly Case[] = [
  gossip('capacity', capacityAnnouncement, {
    account,
    adapters: [hashOf('adapter')],
    bases: [hashOf('base')],
    contextTokens: 512,
    isVerifier: true,
    price: PRICE,
    sentAtMs,
    slotsFree: 3,
    speedMilliTokens: 90_000,
  }),
  gossip('shards', shardsAnnouncement, {
    contributionId: 4,
    datanetId: hashOf('datanet'),
    manifest: cid,
    sentAtMs,
    shards: [cid, cidOf(utf8('other'))],
  }),
  gossip('tasks', taskHint, { sentAtMs, taskId: 9 }),
  gossip('receipts', receiptAnnouncement, {
    adapterId: hashOf('adapter'),
    file: cid,
    provider: account,
    receiptHash: hashOf('receipt'),
    requestId: hashOf('request'),
    sentAtMs,
  }),
  gossip('epochs', epochAnnouncement, { epoch: 2, manifest: cid, sentAtMs }),
  plain('order', inferOrder, order),
  plain('order to the base', inferOrder, { ...order, adapterId: null, logprobs: null }),
  plain('tokens', inferReply, { type: 'tokens', text: 'Because', tokens: [5, 6], logprobs: [] }),
  plain('tokens with logprobs', inferReply, {
    type: 'tokens',
    text: 'So',
    tokens: [7],
    logprobs: [{ token: 7, logprob: -0.5, top: [{ token: 9, logprob: 0 }] }],
  }),
  plain('end', inferReply, {
    ...{ type: 'end', finish: 'stop', receiptFile: utf8('file'), text: '.' },
    logprobs: [],
  }),
  plain('refusal', inferReply, {
    type: 'refusal',
    code: 'BUSY',
    isTransient: true,
    message: 'full',
  }),
  plain('voucher', inferVoucher, {
    client: account,
    cumulativeComputeWei: 10n ** 20n,
    cumulativeFeeWei: 10n ** 18n,
    provider: account,
    signature: new Uint8Array(65).fill(3),
  }),
  plain('voucher taken', inferVoucherReply, { code: null }),
  plain('voucher refused', inferVoucherReply, { code: 'VOUCHER_TOO_SMALL' }),
  plain('receipts by hash', receiptsRequest, { type: 'byHash', hashes: [hashOf('a')] }),
  plain('receipts since', receiptsRequest, {
    type: 'since',
    after: 5,
    filesMax: 10,
  }),
  plain('file', receiptsReply, { type: 'file', file: keyOf('bytes'), receiptHash: hashOf('r') }),
  plain('done', receiptsReply, { type: 'done', isMore: false, place: 7 }),
];

function expectRefused(result: WireResult<unknown>, code: string, action: string, what: string) {
  assert.ok(!result.ok, `${what}: accepted`);
  assert.deepEqual([result.code, result.action], [code, action], what);
}

test('every message reads back as it was written, to the byte', () => {
  for (const { name, encoded, decode, again } of CASES) {
    const result = decode(encoded);
    assert.ok(result.ok, name);
    assert.ok(equal(again(result.value as never), encoded), name);
  }
});

test('NON_CANONICAL: every message cut short anywhere, or with bytes after it', () => {
  for (const { name, encoded, decode } of CASES) {
    for (let length = 0; length < encoded.length; length += 1) {
      expectRefused(decode(encoded.subarray(0, length)), 'NON_CANONICAL', 'reject', name);
    }
    expectRefused(decode(concat(encoded, Uint8Array.of(0xf6))), 'NON_CANONICAL', 'reject', name);
  }
});

test('every bit flipped is refused, or another message in its own one form', () => {
  for (const { name, encoded, decode, again } of CASES) {
    for (let bit = 0; bit < encoded.length * 8; bit += 1) {
      const flipped = encoded.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const result = decode(flipped);
      if (!result.ok) continue;
      assert.ok(equal(again(result.value as never), flipped), `${name}, bit ${bit}`);
    }
  }
});

test('random bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const { decode } of CASES) assert.equal(typeof decode(bytes).ok, 'boolean');
    }),
  );
  const random = createRandom(keccak256(utf8('wire')), 'noise');
  for (const { encoded, decode } of CASES) {
    for (let i = 0; i < 50; i += 1) {
      const at = random.below(encoded.length);
      const noise = concat(encoded.subarray(0, at), random.bytes(8), encoded.subarray(at));
      assert.equal(typeof decode(noise).ok, 'boolean');
    }
  }
});

test('TOO_LARGE: more bytes than the limit are not decoded', () => {
  for (const { name, decode, bytesMax } of CASES) {
    expectRefused(decode(new Uint8Array(bytesMax + 1)), 'TOO_LARGE', 'reject', name);
  }
});

/** The message's map with something changed, in canonical form. */
function altered(encoded: Uint8Array, change: { readonly [name: string]: unknown }): Uint8Array {
  const map = decodeCanonical(encoded)?.value as { [name: string]: unknown };
  const merged = Object.entries({ ...map, ...change }).filter(([, value]) => value !== undefined);
  return encodeCanonical(Object.fromEntries(merged));
}

test('WRONG_VERSION: another version is ignored, not held against its sender', () => {
  for (const { name, encoded, decode } of CASES) {
    expectRefused(decode(altered(encoded, { v: 2 })), 'WRONG_VERSION', 'ignore', name);
  }
});

test('WRONG_SHAPE: fields that are missing, unknown or of another type', () => {
  for (const { name, encoded, decode } of CASES) {
    const shape = (change: { readonly [field: string]: unknown }) =>
      expectRefused(decode(altered(encoded, change)), 'WRONG_SHAPE', 'reject', name);
    shape({ unknown: 1 });
    shape({ v: undefined });
    shape({ v: '1' });
    const map = decodeCanonical(encoded)?.value as { [field: string]: unknown };
    for (const field of Object.keys(map)) {
      if (field === 'v') continue;
      shape({ [field]: undefined });
      shape({ [field]: [[]] });
      shape({ [field]: { a: -1 } });
      shape({ [field]: -1 });
    }
  }
  for (const { name, decode } of CASES) {
    for (const other of [null, 1, 'text', [], [1], {}]) {
      expectRefused(decode(encodeCanonical(other)), 'WRONG_SHAPE', 'reject', name);
    }
  }
});

test('TOO_OLD and FROM_FUTURE: outside the window a message is ignored', () => {
  const at = (time: number) => taskHint.encode({ sentAtMs: time, taskId: 1 });
  const decode = (time: number) => taskHint.decode(at(time), NOW_MS, WINDOW);
  assert.ok(decode(NOW_MS + WINDOW.clockSkewMs).ok);
  assert.ok(decode(NOW_MS - WINDOW.gossipAgeMs).ok);
  expectRefused(decode(NOW_MS + WINDOW.clockSkewMs + 1), 'FROM_FUTURE', 'ignore', 'future');
  expectRefused(decode(NOW_MS - WINDOW.gossipAgeMs - 1), 'TOO_OLD', 'ignore', 'old');
});

test('lists and texts longer than their limit are refused', () => {
  const many = CASES.find(({ name }) => name === 'capacity') as Case;
  const adapters = Array.from({ length: 257 }, () => new Uint8Array(32));
  expectRefused(many.decode(altered(many.encoded, { adapters })), 'WRONG_SHAPE', 'reject', 'many');
  const refusal = CASES.find(({ name }) => name === 'refusal') as Case;
  const code = 'x'.repeat(65);
  expectRefused(
    refusal.decode(altered(refusal.encoded, { code })),
    'WRONG_SHAPE',
    'reject',
    'long',
  );
});

test('the largest message that its fields allow fits its limit', () => {
  const largest = capacityAnnouncement.encode({
    account,
    adapters: Array.from({ length: 256 }, () => hashOf('a')),
    bases: Array.from({ length: 16 }, () => hashOf('b')),
    contextTokens: 2 ** 32 - 1,
    isVerifier: true,
    price: PRICE,
    sentAtMs: Number.MAX_SAFE_INTEGER,
    slotsFree: 2 ** 32 - 1,
    speedMilliTokens: 2 ** 32 - 1,
  });
  assert.ok(largest.length <= capacityAnnouncement.bytesMax);
  const shards = shardsAnnouncement.encode({
    contributionId: Number.MAX_SAFE_INTEGER,
    datanetId: hashOf('d'),
    manifest: cid,
    sentAtMs: Number.MAX_SAFE_INTEGER,
    shards: Array.from({ length: 1024 }, () => cid),
  });
  assert.ok(shards.length <= shardsAnnouncement.bytesMax);
  const receipt = receiptAnnouncement.encode({
    adapterId: hashOf('a'),
    file: cid,
    provider: account,
    receiptHash: hashOf('r'),
    requestId: hashOf('q'),
    sentAtMs: Number.MAX_SAFE_INTEGER,
  });
  assert.ok(receipt.length <= receiptAnnouncement.bytesMax);
  const hint = taskHint.encode({
    sentAtMs: Number.MAX_SAFE_INTEGER,
    taskId: Number.MAX_SAFE_INTEGER,
  });
  assert.ok(hint.length <= taskHint.bytesMax);
  const asked = receiptsRequest.encode({
    type: 'byHash',
    hashes: Array.from({ length: 256 }, () => hashOf('h')),
  });
  assert.ok(asked.length <= receiptsRequest.bytesMax);
  const tokens = inferReply.encode({
    type: 'tokens',
    text: 'x'.repeat(65_536),
    tokens: Array.from({ length: 4_096 }, () => 2 ** 32 - 1),
    logprobs: [],
  });
  assert.ok(inferReply.decode(tokens).ok);
});
