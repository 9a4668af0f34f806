/**
 * The vectors that the contracts' tests and other languages read. They are made here from our code,
 * compared with the committed files, and checked against ethers and bigint arithmetic. To write them
 * anew after a change of the specification: OPENLEDGER_WRITE_VECTORS=1 and this file.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { TypedDataEncoder, verifyTypedData } from 'ethers';
import {
  addressOfPrivateKey,
  buildTree,
  cosineQ16,
  createProjection,
  createRandom,
  dotProduct,
  encodeType,
  fromHex,
  keccak256,
  mix32,
  passesThreshold,
  proveLeaf,
  quantise,
  type StructType,
  type StructValues,
  signDigest,
  sketchBytes,
  squaredNorm,
  structHash,
  toHex,
  typedDigest,
  uint256,
  utf8,
  verifyLeaf,
} from './index.ts';

const seed = keccak256(utf8('openledger vectors'));

/** Compares with the committed file; numbers above 2^53 are decimal text. */
function agree(name: string, made: unknown): void {
  const path = new URL(`./vectors/${name}.json`, import.meta.url);
  const text = `${JSON.stringify(made, null, 1)}\n`;
  if (process.env['OPENLEDGER_WRITE_VECTORS'] === '1') writeFileSync(path, text);
  assert.equal(readFileSync(path, 'utf8'), text, `crypto/vectors/${name}.json differs`);
}

test('merkle.json', () => {
  const random = createRandom(seed, 'merkle');
  const cases = [1, 2, 3, 4, 5, 7, 8, 9, 16, 33].map((count) => {
    const leaves = Array.from({ length: count }, () => random.bytes(32 * (1 + random.below(13))));
    const tree = buildTree(leaves);
    const indices = [...new Set([0, Math.floor(count / 2), count - 1])];
    const proofs = indices.map((index) => {
      const proof = proveLeaf(tree, index);
      assert.equal(verifyLeaf(tree.root, leaves[index] as Uint8Array, proof), true);
      return { index, siblings: proof.siblings.map(toHex) };
    });
    return { count, root: toHex(tree.root), leaves: leaves.map(toHex), proofs };
  });
  agree('merkle', { cases });
});

const ANSWER: StructType = {
  name: 'Answer',
  fields: [
    ['requestId', 'bytes32'],
    ['client', 'address'],
    ['provider', 'address'],
    ['promptHash', 'bytes32'],
    ['outputHash', 'bytes32'],
    ['promptTokens', 'uint32'],
    ['outputTokens', 'uint32'],
    ['spanRoot', 'bytes32'],
    ['spanCount', 'uint32'],
    ['computeWei', 'uint256'],
    ['feeWei', 'uint256'],
  ],
};
const RECEIPT: StructType = {
  name: 'Receipt',
  fields: [
    ['adapterId', 'bytes32'],
    ['querySketchHash', 'bytes32'],
    ['queryNorm', 'uint256'],
    ['scoreRoot', 'bytes32'],
    ['scoreCount', 'uint32'],
    ['issuedAt', 'uint64'],
    ['answer', ANSWER],
  ],
};
const VOUCHER: StructType = {
  name: 'Voucher',
  fields: [
    ['client', 'address'],
    ['provider', 'address'],
    ['cumulativeComputeWei', 'uint256'],
    ['cumulativeFeeWei', 'uint256'],
  ],
};
const CONTRIBUTION: StructType = {
  name: 'Contribution',
  fields: [
    ['datanetId', 'bytes32'],
    ['contributor', 'address'],
    ['commitment', 'bytes32'],
    ['recordCount', 'uint32'],
  ],
};

/** A struct and the structs in it, as ethers takes them. */
function ethersTypes(type: StructType): Record<string, { name: string; type: string }[]> {
  const inner = type.fields.flatMap(([, kind]) => (typeof kind === 'string' ? [] : [kind]));
  const fields = type.fields.map(([name, kind]) => ({
    name,
    type: typeof kind === 'string' ? kind : kind.name,
  }));
  return Object.assign({ [type.name]: fields }, ...inner.map(ethersTypes)) as never;
}

test('eip712.json', () => {
  const random = createRandom(seed, 'eip712');
  const bytesOf = { address: 20, bytes32: 32 } as const;
  const bitsOf = { uint32: 4, uint64: 8, uint256: 16 } as const;
  const cases = [RECEIPT, VOUCHER, CONTRIBUTION].map((type) => {
    const privateKey = keccak256(random.bytes(32));
    const drawValues = (of: StructType): StructValues =>
      Object.fromEntries(
        of.fields.map(([name, kind]): [string, StructValues[string]] => {
          if (typeof kind !== 'string') return [name, drawValues(kind)];
          const isBytes = kind in bytesOf;
          const size = isBytes ? bytesOf[kind as 'address'] : bitsOf[kind as 'uint32'];
          const drawn = toHex(random.bytes(size));
          return [name, isBytes ? drawn : BigInt(drawn)];
        }),
      );
    const values = drawValues(type);
    const message = JSON.parse(
      JSON.stringify(values, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
    ) as unknown;
    const domain = { chainId: 901, verifyingContract: toHex(random.bytes(20)) };
    const hashed = structHash(type, values);
    const digest = typedDigest(domain, hashed);
    const signature = toHex(signDigest(digest, privateKey));
    const ethersDomain = { name: 'OpenLedger', version: '1', ...domain };
    const types = ethersTypes(type);
    assert.equal(TypedDataEncoder.hash(ethersDomain, types, values), toHex(digest));
    const signer = addressOfPrivateKey(privateKey);
    assert.equal(verifyTypedData(ethersDomain, types, values, signature).toLowerCase(), signer);
    return {
      type: encodeType(type),
      ...domain,
      message,
      structHash: toHex(hashed),
      digest: toHex(digest),
      signer,
      signature,
    };
  });
  agree('eip712', { cases });
});

test('sketch.json', () => {
  const random = createRandom(seed, 'sketch');
  const draw = () => Int8Array.from(random.bytes(256));
  const small = () => Int8Array.from(draw(), (x) => x >> 5);
  const near = (a: Int8Array) =>
    a.map((x) => Math.max(-127, Math.min(127, x + random.below(61) - 30)));
  const first = draw();
  const pairs: [Int8Array, Int8Array][] = [
    [first, first],
    [first, near(first)],
    [first, first.map((x) => (x === -128 ? 127 : -x))],
    [new Int8Array(256).fill(-128), new Int8Array(256).fill(-128)],
    [new Int8Array(256).fill(-128), new Int8Array(256).fill(127)],
    [new Int8Array(256).fill(127), new Int8Array(256).fill(127)],
    [new Int8Array(256), first],
  ];
  for (let i = 0; i < 12; i += 1) pairs.push([draw(), draw()], [small(), small()]);
  for (let i = 0; i < 6; i += 1) {
    const a = draw();
    pairs.push([a, near(near(near(a)))]);
  }
  const cases = pairs.map(([a, b]) => {
    const [dot, normA, normB] = [dotProduct(a, b), squaredNorm(a), squaredNorm(b)];
    return {
      a: toHex(sketchBytes(a)),
      b: toHex(sketchBytes(b)),
      dot,
      normA,
      normB,
      cosineQ16: cosineQ16(dot, normA, normB),
      passes: [
        [1, 10],
        [1, 4],
        [1, 2],
        [9, 10],
      ].map(([n, d]) => ({
        numerator: n,
        denominator: d,
        passes: passesThreshold(dot, normA, normB, n as number, d as number),
      })),
    };
  });
  agree('sketch', { cases });
});

test('projection.json', () => {
  const random = createRandom(seed, 'projection');
  const mixed = [0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff].map((x) => [x, mix32(x)]);
  const cases = [0, 1, 0xdeadbeef].map((projectionSeed) => {
    const values = Float32Array.from({ length: 64 }, () => (random.below(20_001) - 10_000) / 64);
    const buckets = new Float64Array(256);
    const flatIndexStart = random.below(2 ** 31);
    createProjection(projectionSeed).add(buckets, flatIndexStart, values, 0.5);
    return {
      seed: projectionSeed,
      size: 256,
      nonZeros: 4,
      flatIndexStart,
      scale: 0.5,
      values: [...values],
      buckets: [...buckets],
      sketch: toHex(sketchBytes(quantise(buckets))),
    };
  });
  agree('projection', { mix32: mixed, cases });
});

test('random.json', () => {
  const cases = ['', 'shuffle', 'openledger'].map((label) => {
    const random = createRandom(seed, label);
    return {
      seed: toHex(seed),
      label,
      bytes: toHex(random.bytes(40)),
      below1000: Array.from({ length: 10 }, () => random.below(1000)),
      shuffled: random.shuffle([0, 1, 2, 3, 4, 5, 6, 7]),
    };
  });
  agree('random', { cases });
  assert.equal(fromHex(toHex(uint256(1))).length, 32);
});
