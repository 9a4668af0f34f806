import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder, keccak256 as ethersKeccak, id } from 'ethers';
import { addressOfPrivateKey, proveLeaf, toHex, utf8 } from '#crypto';
import { cidOf, digestOfCid, encodeCanonical } from './cbor.ts';
import { hashOf, keyOf } from './fixture.ts';
import {
  adapterIdOf,
  assignedSamples,
  assignedSegments,
  decodeTaskSpec,
  encodeTaskSpec,
  resultHash,
  segmentCount,
  type TaskOptions,
  type TaskSpec,
  taskSpecDigest,
  traceLeafOf,
  traceTree,
  USUAL_OPTIONS,
  verdictOf,
  verificationHash,
  verifyTrace,
  voteHash,
} from './training.ts';

const abi = AbiCoder.defaultAbiCoder();
const account = addressOfPrivateKey(keyOf('provider'));
const spec: TaskSpec = {
  base: hashOf('base'),
  batch: 8,
  checkpointEvery: 10,
  contextLength: 256,
  datanetId: hashOf('datanet'),
  lanes: 4,
  lora: { alpha: 16, rank: 8 },
  optimiser: { beta1: 0.9, beta2: 0.95, clipNorm: 1, epsilon: 1e-8, weightDecay: 0 },
  schedule: { floor: 0.1, kind: 'cosine', learningRate: 0.0003, warmupSteps: 5 },
  seed: 7,
  sketchSeed: 11,
  sketchSize: 256,
  steps: 60,
  version: 1,
};

test('a spec reads back as it was written, and its digest is that of its bytes', () => {
  const encoded = encodeTaskSpec(spec);
  const decoded = decodeTaskSpec(encoded);
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.value, spec);
  assert.equal(taskSpecDigest(spec), digestOfCid(cidOf(encoded)));
  assert.equal(segmentCount(spec), 6);
  assert.notEqual(taskSpecDigest({ ...spec, seed: 8 }), taskSpecDigest(spec));
});

function expectSpecFault(code: string, change: object): void {
  const decoded = decodeTaskSpec(encodeCanonical({ ...spec, ...rawHashes, v: 1, ...change }));
  assert.ok(!decoded.ok && decoded.code === code, `${code}: ${JSON.stringify(decoded)}`);
}
const rawHashes = { base: new Uint8Array(32), datanetId: new Uint8Array(32) };

test('SPEC_NO_STEPS', () => {
  for (const change of [{ steps: 0 }, { checkpointEvery: 0 }, { batch: 0 }]) {
    expectSpecFault('SPEC_NO_STEPS', change);
  }
});

test('SPEC_UNEVEN_SEGMENTS', () => {
  expectSpecFault('SPEC_UNEVEN_SEGMENTS', { steps: 61 });
  expectSpecFault('SPEC_UNEVEN_SEGMENTS', { steps: 65_537, checkpointEvery: 1 });
});

test('a spec of another shape is refused', () => {
  expectSpecFault('WRONG_SHAPE', { schedule: { ...spec.schedule, kind: 'staircase' } });
  expectSpecFault('WRONG_SHAPE', { schedule: { ...spec.schedule, learningRate: -1 } });
  expectSpecFault('WRONG_SHAPE', { more: 1 });
});

const options: TaskOptions = {
  dropout: 0.05,
  packTokens: 128,
  rankStabilised: true,
  targets: ['q_proj', 'down_proj'],
};

test('a spec with options reads back, and the usual options are not written', () => {
  const decoded = decodeTaskSpec(encodeTaskSpec({ ...spec, options }));
  assert.ok(decoded.ok);
  assert.deepEqual(decoded.value, { ...spec, options });
  const plain = encodeTaskSpec(spec);
  assert.deepEqual(encodeTaskSpec({ ...spec, options: USUAL_OPTIONS }), plain);
  assert.equal(
    taskSpecDigest(spec),
    '0x64d7656c369bdee1486ff4111f9b187a1e1d4cdd4874dc06707061c9f2b853e4',
    'specs of before keep their digest',
  );
});

test('SPEC_OPTIONS', () => {
  for (const change of [
    { dropout: 1 },
    { targets: [] },
    { targets: ['v_proj', 'q_proj'] },
    { targets: ['q_proj', 'q_proj'] },
    USUAL_OPTIONS,
  ]) {
    expectSpecFault('SPEC_OPTIONS', { v: 2, options: { ...options, ...change } });
  }
  expectSpecFault('WRONG_SHAPE', { v: 2 });
  expectSpecFault('WRONG_SHAPE', { options });
  expectSpecFault('WRONG_SHAPE', { v: 2, options: { ...options, targets: ['lm_head'] } });
});

test('checkpoints are proven at their own place', () => {
  const leaves = Array.from({ length: 7 }, (_, j) =>
    traceLeafOf(j, utf8(`state ${j}`), utf8(`losses ${j}`)),
  );
  const tree = traceTree(leaves);
  leaves.forEach((leaf, j) => {
    assert.ok(verifyTrace(toHex(tree.root), leaf, proveLeaf(tree, j)));
    assert.ok(!verifyTrace(toHex(tree.root), leaf, proveLeaf(tree, (j + 1) % 7)));
  });
});

test('hashes of results, adapters and votes are those of the contract', () => {
  const result = {
    traceRoot: hashOf('t'),
    adapterHash: hashOf('a'),
    sketchRoot: hashOf('s'),
    manifest: hashOf('m'),
  };
  const encoded = abi.encode(
    ['bytes32', 'uint256', 'address', 'bytes32', 'bytes32', 'bytes32', 'bytes32', 'bytes32'],
    [
      id('openledger/result/1'),
      7,
      account,
      hashOf('t'),
      hashOf('a'),
      hashOf('s'),
      hashOf('m'),
      hashOf('salt'),
    ],
  );
  assert.equal(resultHash(7, account, result, hashOf('salt')), ethersKeccak(encoded));
  const adapter = abi.encode(
    ['bytes32', 'uint256', 'bytes32'],
    [id('openledger/adapter/1'), 7, hashOf('a')],
  );
  assert.equal(adapterIdOf(7n, hashOf('a')), ethersKeccak(adapter));
  const vote = abi.encode(
    ['bytes32', 'uint256', 'address', 'uint8', 'bytes32', 'bytes32'],
    [id('openledger/vote/1'), 7, account, 2, hashOf('v'), hashOf('salt')],
  );
  assert.equal(voteHash(7, account, 'INVALID', hashOf('v'), hashOf('salt')), ethersKeccak(vote));
});

test('segments and samples are drawn as the contract draws them', () => {
  const seed = hashOf('seed');
  for (const [tag, drawn, modulus] of [
    ['openledger/segment/1', assignedSegments(seed, account, 5, 6), 6n],
    ['openledger/sample/1', assignedSamples(seed, account, 5, 1000), 1000n],
  ] as const) {
    const expected = [0, 1, 2, 3, 4].map((i) => {
      const words = abi.encode(
        ['bytes32', 'bytes32', 'address', 'uint256'],
        [id(tag), seed, account, i],
      );
      return Number(BigInt(ethersKeccak(words)) % modulus);
    });
    assert.deepEqual(drawn, expected);
  }
  assert.deepEqual(assignedSamples(seed, account, 5, 0), []);
});

test('a verdict is VALID only if something was checked and all bytes were equal', () => {
  const check = (isEqual: boolean) => ({
    kind: 'segment' as const,
    index: 1,
    foundHash: hashOf('f'),
    isEqual,
  });
  assert.equal(verdictOf([check(true), check(true)]), 'VALID');
  assert.equal(verdictOf([check(true), check(false)]), 'INVALID');
  assert.equal(verdictOf([]), 'INVALID');
  const hashes = [[check(true)], [check(false)], [check(true), check(true)]].map((checks) =>
    verificationHash(7, account, checks),
  );
  assert.equal(new Set(hashes).size, 3);
});
