import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder } from 'ethers';
import { addressOfPrivateKey, toHex, utf8 } from '#crypto';
import { cidOf, encodeCanonical } from './cbor.ts';
import { hashOf, keyOf } from './fixture.ts';
import { InvariantViolation } from './invariant.ts';
import {
  buildVersion,
  decodeVersionManifest,
  encodeVersionManifest,
  proveRecord,
  recordLeafBytes,
  recordLeaves,
  verifyRecord,
} from './version.ts';

const people = ['ada', 'bob', 'cid'].map((name) => addressOfPrivateKey(keyOf(name)));
const incoming = Array.from({ length: 9 }, (_, i) => ({
  recordHash: hashOf(`record ${i}`),
  contributor: people[i % 3] as `0x${string}`,
  registeredAt: 1_700_000_000 + i,
}));
const clusters = [0, 1, 2, 0, 4, 1, 6, 7, 0];

test('a copy names the owner of its cluster, and keeps its own time', () => {
  const leaves = recordLeaves(incoming, clusters);
  assert.deepEqual(
    leaves.map(({ contributor }) => contributor),
    clusters.map((cluster) => incoming[cluster]?.contributor),
  );
  assert.equal(leaves[5]?.registeredAt, 1_700_000_005);
  assert.equal(leaves[5]?.cluster, 1);
});

test('a cluster is named by its earliest record', () => {
  for (const wrong of [
    [0, 2, 2],
    [0, 0, 1],
    [0, 1, 5],
    [1, 1, 2],
  ]) {
    assert.throws(() => recordLeaves(incoming.slice(0, 3), wrong), InvariantViolation);
  }
  assert.throws(() => recordLeaves(incoming, [0]), InvariantViolation);
});

test('a leaf is the words of the specification', () => {
  const [leaf] = recordLeaves(incoming, clusters);
  assert.ok(leaf !== undefined);
  const encoded = AbiCoder.defaultAbiCoder().encode(
    ['bytes32', 'address', 'uint256', 'uint256'],
    [leaf.recordHash, leaf.contributor, leaf.cluster, leaf.registeredAt],
  );
  assert.equal(toHex(recordLeafBytes(leaf)), encoded);
});

test('every record is proven under the root, and no other in its place', () => {
  const version = buildVersion(recordLeaves(incoming, clusters));
  assert.equal(version.recordCount, 9);
  for (const [i, leaf] of version.leaves.entries()) {
    const proof = proveRecord(version, i);
    assert.ok(verifyRecord(version.root, leaf, proof));
    assert.ok(!verifyRecord(version.root, { ...leaf, cluster: leaf.cluster + 1 }, proof));
    assert.ok(!verifyRecord(version.root, leaf, { ...proof, index: (i + 1) % 9 }));
  }
});

test('a manifest reads back as it was written', () => {
  const manifest = {
    datanetId: hashOf('datanet'),
    version: 3,
    contributions: [
      {
        id: 4,
        contributor: people[0] as `0x${string}`,
        registeredAt: 5,
        shards: [cidOf(utf8('s'))],
      },
    ],
    clusters,
  };
  const decoded = decodeVersionManifest(encodeVersionManifest(manifest));
  assert.ok(decoded.ok);
  assert.deepEqual(
    {
      ...decoded.value,
      contributions: decoded.value.contributions.map((c) => ({
        ...c,
        shards: c.shards.map(String),
      })),
    },
    {
      ...manifest,
      contributions: manifest.contributions.map((c) => ({ ...c, shards: c.shards.map(String) })),
    },
  );
  const broken = decodeVersionManifest(encodeCanonical({ v: 1 }));
  assert.ok(!broken.ok && broken.code === 'WRONG_SHAPE');
});
