import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder, keccak256 as ethersKeccak, id, TypedDataEncoder } from 'ethers';
import { addressOfPrivateKey, equal, toHex, utf8 } from '#crypto';
import { cidOf, digestOfCid, encodeCanonical } from './cbor.ts';
import {
  contributionCommitment,
  contributionDigest,
  cutShards,
  decodeContributionManifest,
  decodeShard,
  encodeContributionManifest,
  encodeShard,
  recordsRoot,
  rotationDigest,
  SHARD_BYTES_MAX,
  SHARD_RECORDS_MAX,
} from './contribution.ts';
import { hashOf, keyOf } from './fixture.ts';
import { hashRecord } from './record.ts';

const contributor = addressOfPrivateKey(keyOf('ada'));
const records = Array.from({ length: 600 }, (_, i) => utf8(`Record number ${i}.`));

test('shards keep the records in order, 256 each, and read back to the byte', () => {
  const shards = cutShards(contributor, records);
  assert.deepEqual(
    shards.map((shard) => shard.records.length),
    [256, 256, 88],
  );
  assert.deepEqual(
    shards.flatMap((shard) => shard.records),
    records,
  );
  for (const shard of shards) {
    const encoded = encodeShard(shard);
    const decoded = decodeShard(encoded);
    assert.ok(decoded.ok);
    assert.deepEqual(decoded.value, shard);
    assert.ok(equal(encodeShard(decoded.value), encoded));
  }
});

test('a shard of the longest records fits the limit', () => {
  const longest = Array.from({ length: SHARD_RECORDS_MAX }, () => new Uint8Array(4096).fill(0x61));
  const encoded = encodeShard({ contributor, records: longest });
  assert.ok(encoded.length <= SHARD_BYTES_MAX && decodeShard(encoded).ok);
});

test('what is no shard is refused by its code', () => {
  const raw = { contributor: new Uint8Array(20), records: [utf8('a')], v: 1 };
  const codes: [string, unknown][] = [
    ['SHARD_EMPTY', { ...raw, records: [] }],
    ['RECORD_EMPTY', { ...raw, records: [new Uint8Array(0)] }],
    ['RECORD_NOT_UTF8', { ...raw, records: [utf8('a'), Uint8Array.of(0xff)] }],
    ['RECORD_NOT_NFC', { ...raw, records: [utf8('e\u0301')] }],
    ['RECORD_HAS_NUL', { ...raw, records: [utf8('\u0000')] }],
    ['WRONG_SHAPE', { ...raw, v: 2 }],
    ['WRONG_SHAPE', { ...raw, contributor: new Uint8Array(19) }],
    ['WRONG_SHAPE', { ...raw, records: Array.from({ length: 257 }, () => utf8('a')) }],
    ['WRONG_SHAPE', { ...raw, more: 1 }],
    ['WRONG_SHAPE', { ...raw, records: [new Uint8Array(4097).fill(0x61)] }],
  ];
  for (const [code, value] of codes) {
    const decoded = decodeShard(encodeCanonical(value));
    assert.ok(!decoded.ok && decoded.code === code, code);
  }
  const cut = decodeShard(encodeCanonical(raw).subarray(1));
  assert.ok(!cut.ok && cut.code === 'NON_CANONICAL');
  const long = decodeShard(new Uint8Array(SHARD_BYTES_MAX + 1));
  assert.ok(!long.ok && long.code === 'TOO_LARGE');
});

test('a manifest lists shards as links', () => {
  const shards = cutShards(contributor, records).map((shard) => cidOf(encodeShard(shard)));
  const encoded = encodeContributionManifest({ shards });
  const decoded = decodeContributionManifest(encoded);
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.value.shards.map(String), shards.map(String));
  assert.equal(digestOfCid(cidOf(encoded)).length, 66);
  const other = decodeContributionManifest(encodeCanonical({ shards: [utf8('no link')], v: 1 }));
  assert.ok(!other.ok && other.code === 'WRONG_SHAPE' && other.at === 'value.shards[0]');
});

test('the commitment is what the contract computes, and binds each word', () => {
  const opening = {
    datanetId: hashOf('datanet'),
    contributor,
    recordsRoot: recordsRoot(records.map(hashRecord)),
    recordCount: records.length,
    salt: hashOf('salt'),
  };
  const tag = id('openledger/contribution/1');
  const encoded = AbiCoder.defaultAbiCoder().encode(
    ['bytes32', 'bytes32', 'address', 'bytes32', 'uint32', 'bytes32'],
    [tag, ...Object.values(opening)],
  );
  const commitment = contributionCommitment(opening);
  assert.equal(commitment, ethersKeccak(encoded));
  for (const change of [
    { datanetId: hashOf('x') },
    { contributor: addressOfPrivateKey(keyOf('bob')) },
    { recordsRoot: hashOf('x') },
    { recordCount: 1 },
    { salt: hashOf('x') },
  ]) {
    assert.notEqual(contributionCommitment({ ...opening, ...change }), commitment);
  }
});

test('the digest is what a wallet signs', () => {
  const value = { datanetId: hashOf('d'), contributor, commitment: hashOf('c'), recordCount: 3 };
  const verifyingContract = addressOfPrivateKey(keyOf('registry'));
  const types = {
    Contribution: [
      { name: 'datanetId', type: 'bytes32' },
      { name: 'contributor', type: 'address' },
      { name: 'commitment', type: 'bytes32' },
      { name: 'recordCount', type: 'uint32' },
    ],
  };
  const domain = { name: 'OpenLedger', version: '1', chainId: 901, verifyingContract };
  const digest = contributionDigest({ chainId: 901, verifyingContract }, value);
  assert.equal(toHex(digest), TypedDataEncoder.hash(domain, types, value));
});

test('the digest of a change of key is what both wallets sign', () => {
  const next = addressOfPrivateKey(keyOf('ada 2'));
  const value = { from: contributor, to: next, nonce: 2n, deadline: 1_800_000_000n };
  const verifyingContract = addressOfPrivateKey(keyOf('registry'));
  const types = {
    ContributorKey: [
      { name: 'from', type: 'address' },
      { name: 'to', type: 'address' },
      { name: 'nonce', type: 'uint256' },
      { name: 'deadline', type: 'uint64' },
    ],
  };
  const domain = { name: 'OpenLedger', version: '1', chainId: 901, verifyingContract };
  const digest = rotationDigest({ chainId: 901, verifyingContract }, value);
  assert.equal(toHex(digest), TypedDataEncoder.hash(domain, types, value));
});
