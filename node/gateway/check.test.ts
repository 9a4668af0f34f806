// A receipt that its own provider altered and signed again is refused before it is paid.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { utf8 } from '#crypto';
import {
  encodeReceiptFile,
  INFER_PROTOCOL,
  inferOrder,
  inferReply,
  type Receipt,
  type ReceiptFile,
  scoreLeafOf,
  scoreRoot,
  signReceipt,
} from '#protocol';
import { ownReceiptFile } from '../provider/receipts.ts';
import { makeWorld } from '../provider/testing.ts';
import { AskFailure } from './asking.ts';
import { type CheckDepth, type CheckParts, checkReceipt } from './check.ts';
import type { Offer } from './routing.ts';
import { PRICE, startSwarm } from './testing.ts';

const world = await makeWorld();
after(world.close);

test('every number that a provider could bend is checked, by code', async (t) => {
  const swarm = await startSwarm(t, world, { providers: [{}] });
  const [provider] = swarm.providers;
  const { account, host } = provider!;
  swarm.bank.deposit('first', swarm.client, account, 10n ** 18n);
  const ask = {
    requestId: `0x${'01'.repeat(32)}`,
    adapterId: world.lineage.adapterId,
    prompt: 'Keepers of the weir note each level',
    saidTokens: [],
    outputTokensMax: 8,
    temperature: 0,
    topP: 1,
    topK: 0,
    minP: 0,
    repetitionPenalty: 1,
    logprobs: null,
    seed: 1,
    stops: [],
  } as const;
  const order = { ...ask, client: swarm.client, baseHash: world.baseHash, price: PRICE };
  let bytes = new Uint8Array();
  for await (const frame of swarm.front.rpc.stream(
    host.peerId,
    INFER_PROTOCOL,
    inferOrder.encode(order),
  )) {
    const reply = inferReply.decode(frame);
    if (reply.ok && reply.value.type === 'end') bytes = new Uint8Array(reply.value.receiptFile);
  }
  const file = ownReceiptFile(bytes);
  const output = new TextDecoder().decode(file.output);
  const offer: Offer = {
    provider: account,
    peer: host.peerId,
    price: PRICE,
    residentAdapters: [],
    slotsFree: 1,
    announcedAtMs: 0,
  };
  const parts: CheckParts = {
    client: swarm.client,
    baseHash: world.baseHash,
    depth: 'all',
    anchors: async () => swarm.anchors,
    countTokens: world.countTokens,
    nowMs: Date.now,
  };
  const check = (encoded: Uint8Array, depth: CheckDepth = 'all') =>
    checkReceipt({ ...parts, depth }, offer, ask, output, encoded);
  const checked = await check(bytes);
  assert.equal(checked.verified, true);
  assert.equal(checked.outputTokens, file.receipt.outputTokens);

  /** The file with other contents, its receipt signed again by the provider's own key. */
  const signed = (changes: Partial<ReceiptFile>, receipt: Partial<Receipt> = {}): Uint8Array => {
    const altered = { ...file.receipt, ...receipt };
    const { chainId, referee } = file.domain;
    const key = new Uint8Array(32).fill(2);
    const signature = signReceipt({ chainId, verifyingContract: referee }, altered, key);
    return encodeReceiptFile({ ...file, ...changes, receipt: altered, signature });
  };
  const withScore = (change: object): Uint8Array => {
    const scores = file.scores.map((score, i) => (i === 0 ? { ...score, ...change } : score));
    const root = scoreRoot(scores.map(scoreLeafOf));
    return signed({ scores }, { scoreRoot: root });
  };
  const { receipt, scores, price } = file;
  const cases: readonly [code: string, bytes: Uint8Array][] = [
    ['OTHER_REQUEST', signed({}, { requestId: `0x${'02'.repeat(32)}` })],
    ['SIGNATURE_WRONG', encodeReceiptFile({ ...file, receipt: { ...receipt, issuedAt: 1 } })],
    ['TOKENS_WRONG', signed({}, { outputTokens: receipt.outputTokens + 1 })],
    ['TOKENS_WRONG', signed({}, { promptTokens: receipt.promptTokens + 1 })],
    ['PRICE_WRONG', signed({}, { computeWei: receipt.computeWei + 1n })],
    ['HASH_WRONG', signed({ output: utf8('something else') })],
    ['DOT_WRONG', withScore({ dot: scores[0]!.dot + 1 })],
    ['SCORE_WRONG', withScore({ score: scores[0]!.score + 1 })],
    ['DIVISION_WRONG', withScore({ amountWei: scores[0]!.amountWei + 1n })],
    ['ROOT_WRONG', signed({}, { scoreRoot: `0x${'00'.repeat(32)}` })],
    ['OTHER_TIME', signed({}, { issuedAt: receipt.issuedAt - 10_000 })],
    ['RULES_UNTRUSTED', signed({ rules: { ...file.rules, numerator: 2 } })],
    ['NON_CANONICAL', Uint8Array.of(...bytes, 0)],
  ];
  for (const [code, altered] of cases)
    await assert.rejects(check(altered), (error: unknown) => {
      assert.ok(error instanceof AskFailure, String(error));
      // Another request id also moves the span leaves, which are found first.
      const accepted = code === 'OTHER_REQUEST' ? [code, 'ROOT_WRONG'] : [code];
      assert.ok(accepted.includes(error.code), `expected ${code}, got ${error.code}`);
      return error.kind === 'lied';
    });
  const dear = { ...price, outputWeiPerToken: price.outputWeiPerToken + 1n };
  const computeWei = receipt.computeWei + BigInt(receipt.outputTokens);
  await assert.rejects(check(signed({ price: dear }, { computeWei })), { code: 'OTHER_PRICE' });
  await assert.rejects(
    checkReceipt(parts, offer, { ...ask, prompt: 'another question' }, output, bytes),
    { code: 'OTHER_PROMPT' },
  );
  await assert.rejects(checkReceipt(parts, offer, ask, `${output}!`, bytes), {
    code: 'OTHER_OUTPUT',
  });

  // A client that leaves scores to the watchers pays for a wrong one, but not for anything else.
  const tolerated = await check(withScore({ dot: scores[0]!.dot + 1 }), 'payment');
  assert.equal(tolerated.verified, false);
  assert.equal(tolerated.feeWei, receipt.feeWei);
  await assert.rejects(check(signed({}, { computeWei: receipt.computeWei + 1n }), 'payment'), {
    code: 'PRICE_WRONG',
  });
});
