import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressOfPrivateKey } from '#crypto';
import { hashOf, keyOf } from './fixture.ts';
import {
  decodeNearCopyEvidence,
  encodeNearCopyEvidence,
  judgeContribution,
  type NearCopy,
} from './near-copy.ts';

const [ada, bob] = ['ada', 'bob'].map((name) => addressOfPrivateKey(keyOf(name))) as [
  `0x${string}`,
  `0x${string}`,
];
const copies = (count: number, earlierContributor = ada, jaccardPpm = 700_000): NearCopy[] =>
  Array.from({ length: count }, (_, i) => ({
    record: hashOf(`copy ${i}`),
    earlier: hashOf(`earlier ${i}`),
    earlierContributor,
    jaccardPpm,
  }));

test('more than half of near-copies of others is refused, with the earlier records named', () => {
  const verdict = judgeContribution(bob, 10, copies(6));
  assert.ok(verdict.verdict === 'refuse');
  assert.equal(verdict.earlierRecordHash, hashOf('earlier 0'));
  assert.deepEqual(verdict.evidence, copies(6));
});

test('exactly half, own copies, and records that are not so near are accepted', () => {
  for (const pairs of [[], copies(5), copies(10, bob), copies(10, ada, 599_999)]) {
    assert.equal(judgeContribution(bob, 10, pairs).verdict, 'accept');
  }
  assert.equal(judgeContribution(bob, 10, copies(6, ada, 600_000)).verdict, 'refuse');
});

test('evidence reads back as it was published', () => {
  const decoded = decodeNearCopyEvidence(encodeNearCopyEvidence(copies(3)));
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.value, copies(3));
  const broken = decodeNearCopyEvidence(Uint8Array.of(0x80, 0x80));
  assert.ok(!broken.ok && broken.code === 'NON_CANONICAL');
});
