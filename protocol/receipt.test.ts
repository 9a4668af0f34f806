import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TypedDataEncoder, verifyTypedData } from 'ethers';
import { addressOfPrivateKey, signDigest, toHex } from '#crypto';
import { keyOf, sampleAnswer } from './fixture.ts';
import {
  isReceiptSigned,
  priceOf,
  RECEIPT_TYPE,
  receiptDigest,
  receiptHash,
  signReceipt,
} from './receipt.ts';
import {
  isVoucherSigned,
  judgeVoucher,
  signVoucher,
  VOUCHER_TYPE,
  type Voucher,
  voucherDigest,
} from './voucher.ts';

const { built, providerKey } = sampleAnswer();
const verifyingContract = addressOfPrivateKey(keyOf('contract'));
const domain = { chainId: 901, verifyingContract };
const ethersDomain = { name: 'OpenLedger', version: '1', ...domain };
/** A struct and the structs in it, as a wallet shows and ethers hashes them. */
function typesOf(type: typeof RECEIPT_TYPE): Record<string, { name: string; type: string }[]> {
  const inner = type.fields.flatMap(([, kind]) => (typeof kind === 'string' ? [] : [kind]));
  const fields = type.fields.map(([name, kind]) => ({
    name,
    type: typeof kind === 'string' ? kind : kind.name,
  }));
  return Object.assign({ [type.name]: fields }, ...inner.map(typesOf)) as never;
}

test('a receipt is the typed data that ethers hashes and recovers', () => {
  const types = typesOf(RECEIPT_TYPE);
  const message = { ...built.receipt, answer: built.receipt };
  const digest = receiptDigest(domain, built.receipt);
  assert.equal(toHex(digest), TypedDataEncoder.hash(ethersDomain, types, message));
  assert.equal(receiptHash(built.receipt), TypedDataEncoder.hashStruct('Receipt', types, message));
  const signature = signReceipt(domain, built.receipt, providerKey);
  const signer = verifyTypedData(ethersDomain, types, message, toHex(signature));
  assert.equal(signer.toLowerCase(), built.receipt.provider);
  assert.ok(isReceiptSigned(domain, built.receipt, signature));
  assert.ok(!isReceiptSigned({ ...domain, chainId: 902 }, built.receipt, signature));
});

test('the same parts give the same receipt, and its amounts are those of its leaves', () => {
  assert.deepEqual(sampleAnswer().built, built);
  const { receipt, scores, spans, payouts, split } = built;
  assert.equal(receipt.scoreCount, scores.length);
  assert.equal(receipt.spanCount, spans.length);
  const leaves = [...scores, ...spans].reduce((sum, { amountWei }) => sum + amountWei, 0n);
  assert.equal(leaves, split.learnedWei + split.memorisedWei);
  assert.equal(
    payouts.reduce((sum, { amountWei }) => sum + amountWei, 0n),
    leaves,
  );
});

test('a price is per token of prompt and of output, and the fee per token of both', () => {
  const price = { promptWeiPerToken: 2n, outputWeiPerToken: 5n, feeWeiPerToken: 10n };
  assert.deepEqual(priceOf(price, 3, 4), { computeWei: 26n, feeWei: 70n });
  assert.deepEqual(priceOf(price, 0, 0), { computeWei: 0n, feeWei: 0n });
});

const clientKey = keyOf('client');
const voucher: Voucher = {
  client: addressOfPrivateKey(clientKey),
  provider: addressOfPrivateKey(providerKey),
  cumulativeComputeWei: 100n,
  cumulativeFeeWei: 5_000_000n,
};
const expected = {
  provider: voucher.provider,
  owedComputeWei: 100n,
  owedFeeWei: 5_000_000n,
  escrowedWei: 5_000_100n,
};

test('a voucher is the typed data that ethers hashes, and is taken when it covers what is owed', () => {
  const digest = voucherDigest(domain, voucher);
  assert.equal(toHex(digest), TypedDataEncoder.hash(ethersDomain, typesOf(VOUCHER_TYPE), voucher));
  const signature = signVoucher(domain, voucher, clientKey);
  assert.deepEqual(signature, signDigest(digest, clientKey));
  assert.ok(isVoucherSigned(domain, voucher, signature));
  assert.deepEqual(judgeVoucher(domain, voucher, signature, expected), { ok: true });
});

function expectVoucherFault(
  code: string,
  given: Voucher,
  change: Partial<typeof expected>,
  key = clientKey,
) {
  const signature = signVoucher(domain, given, key);
  assert.deepEqual(judgeVoucher(domain, given, signature, { ...expected, ...change }), {
    ok: false,
    code,
  });
}

test('VOUCHER_UNSIGNED', () => {
  expectVoucherFault('VOUCHER_UNSIGNED', voucher, {}, keyOf('somebody'));
});

test('VOUCHER_WRONG_PROVIDER', () => {
  const provider = addressOfPrivateKey(keyOf('another'));
  expectVoucherFault('VOUCHER_WRONG_PROVIDER', { ...voucher, provider }, {});
});

test('VOUCHER_TOO_SMALL', () => {
  expectVoucherFault('VOUCHER_TOO_SMALL', voucher, { owedComputeWei: 101n });
  expectVoucherFault('VOUCHER_TOO_SMALL', voucher, { owedFeeWei: 5_000_001n });
});

test('VOUCHER_NOT_COVERED', () => {
  expectVoucherFault('VOUCHER_NOT_COVERED', voucher, { escrowedWei: 5_000_099n });
});

test('VOUCHER_FEE_UNEVEN', () => {
  expectVoucherFault('VOUCHER_FEE_UNEVEN', { ...voucher, cumulativeFeeWei: 5_000_001n }, {});
});
