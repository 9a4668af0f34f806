/** Solidity and TypeScript agree: dot product, roots, Merkle trees, scores, and typed data, on the same inputs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Contract, getBytes, hexlify, Interface, id } from 'ethers';
import {
  buildTree,
  createRandom,
  dotProduct,
  hashLeaf,
  integerSqrt,
  parseAddress,
  proveLeaf,
  sketchBytes,
  typedDigest,
} from '#crypto';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import type { InferenceEscrowVoucherInput, RefereeReceiptInput } from '../bindings/structs.ts';
import { startChain, TEST_CHAIN_ID } from '../harness.ts';
import { toReverted } from './fixtures.ts';

const chain = await startChain();
const deployed = await chain.sendData(chain.deployer, null, LibraryProbeBytecode);
const probe = new Contract(
  deployed.contractAddress!,
  new Interface(LibraryProbeAbi),
  chain.provider,
);
const random = createRandom(getBytes(id('contracts/vectors')), 'vectors');

/** Calls many times in parallel; the engine answers in turn. */
async function check<T>(inputs: readonly T[], one: (input: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < inputs.length; from += 50) {
    await Promise.all(inputs.slice(from, from + 50).map(one));
  }
}

const bytesOf = (values: Int8Array) => hexlify(sketchBytes(values));

describe('Int8Dot.dot equals the TypeScript dot product', () => {
  const same = async ([left, right]: readonly [Int8Array, Int8Array]) => {
    const actual = await probe['dot']!(bytesOf(left), bytesOf(right));
    assert.equal(actual, BigInt(dotProduct(left, right)));
  };

  test('on 2,000 seeded pairs of 256, some of them small, sparse or equal', async () => {
    const pairs = Array.from({ length: 2_000 }, (_, i): [Int8Array, Int8Array] => {
      const span = i % 4 === 0 ? 3 : 256;
      const draw = () =>
        Int8Array.from({ length: 256 }, () =>
          i % 5 === 0 && random.below(4) > 0 ? 0 : random.below(span) - (span >> 1),
        );
      const left = draw();
      return [left, i % 10 === 0 ? left : draw()];
    });
    await check(pairs, same);
  });

  test('on the extremes, and on a single 1 in every place', async () => {
    const extremes = [-128, -127, -1, 0, 1, 127].map((value) => new Int8Array(256).fill(value));
    const alternating = Int8Array.from({ length: 256 }, (_, i) => (i % 2 === 0 ? 127 : -128));
    const all = [...extremes, alternating];
    const ramp = Int8Array.from({ length: 256 }, (_, i) => i - 128);
    const places = Array.from({ length: 256 }, (_, place): [Int8Array, Int8Array] => {
      const one = new Int8Array(256);
      one[place] = 1;
      return [one, ramp];
    });
    await check(
      [...all.flatMap((a) => all.map((b): [Int8Array, Int8Array] => [a, b])), ...places],
      same,
    );
  });

  test('on every other length, up to the longest without overflow', async () => {
    const lengths = [0, 32, 64, 512, 4_096, 8_192];
    await check(
      lengths.flatMap((length) =>
        [-128, 127].map((value): [Int8Array, Int8Array] => [
          new Int8Array(length).fill(value),
          new Int8Array(length).fill(-128),
        ]),
      ),
      same,
    );
  });

  test('Int8DotLength: unequal, odd and too long', async () => {
    for (const [left, right] of [
      [32, 64],
      [31, 31],
      [8_224, 8_224],
    ] as const) {
      const call = probe['dot']!(new Uint8Array(left), new Uint8Array(right));
      await assert.rejects(call.catch(toReverted), { error: 'Int8DotLength' });
    }
  });
});

describe('Int8Dot.isqrt is the exact floor', () => {
  test('around every square of a power of two, at the ends, and on 300 seeded numbers', async () => {
    const values = [
      0n,
      1n,
      2n,
      3n,
      4n,
      2n ** 256n - 1n,
      (2n ** 128n - 1n) ** 2n,
      (2n ** 128n - 1n) ** 2n - 1n,
    ];
    for (let bit = 1n; bit < 128n; bit += 1n) {
      const square = 2n ** (2n * bit);
      values.push(square - 1n, square, square + 1n, (2n ** bit - 1n) ** 2n);
    }
    for (let i = 0; i < 300; i += 1)
      values.push(BigInt(hexlify(random.bytes(1 + random.below(32)))));
    await check(values, async (value) => {
      const root = (await probe['isqrt']!(value)) as bigint;
      assert.equal(root, integerSqrt(value));
      assert.ok(root * root <= value && (root + 1n) * (root + 1n) > value);
    });
  });
});

describe('MerkleTree equals the TypeScript trees', () => {
  test('every leaf of every tree of 1 to 17 leaves, and some of larger ones, is verified', async () => {
    const cases: { count: number; index: number }[] = [];
    for (let count = 1; count <= 17; count += 1) {
      for (let index = 0; index < count; index += 1) cases.push({ count, index });
    }
    for (const count of [100, 1_000]) cases.push({ count, index: random.below(count) });
    await check(cases, async ({ count, index }) => {
      const leaves = Array.from({ length: count }, (_, i) => getBytes(id(`leaf ${i}`)));
      const tree = buildTree(leaves);
      const leaf = hashLeaf(leaves[index]!);
      const proof = proveLeaf(tree, index).siblings.map((sibling) => hexlify(sibling));
      assert.equal(await probe['leaf']!(leaves[index]!), hexlify(leaf));
      const verify = (...args: unknown[]) => probe['verify']!(...args) as Promise<boolean>;
      assert.equal(await verify(tree.root, leaf, index, count, proof), true);
      // Another index, count, depth, leaf or root is not this proof's.
      assert.equal(await verify(tree.root, leaf, index ^ 1, count, proof), false);
      assert.equal(await verify(tree.root, leaf, index, count + 1, proof), false);
      assert.equal(await verify(tree.root, leaf, count, count, proof), false);
      assert.equal(await verify(tree.root, leaf, index, count, [...proof, id('more')]), false);
      assert.equal(await verify(tree.root, id('other'), index, count, proof), false);
      assert.equal(await verify(id('root'), leaf, index, count, proof), false);
    });
  });

  test('a node does not pass for a leaf, and nothing is under the root of nothing', async () => {
    const tree = buildTree([1, 2, 3, 4].map((value) => Uint8Array.of(value)));
    const node = tree.levels[1]![0]!;
    const above = hexlify(tree.levels[1]![1]!);
    assert.equal(await probe['verify']!(tree.root, node, 0, 2, [above]), false);
    assert.equal(await probe['verify']!(buildTree([]).root, id('x'), 0, 0, []), false);
  });

  test('the vectors of crypto/vectors/merkle.json', async () => {
    const { cases } = readVectors('merkle') as MerkleVectors;
    const proofs = cases.flatMap((tree) => tree.proofs.map((proof) => ({ ...tree, ...proof })));
    assert.ok(proofs.length > 10);
    await check(proofs, async ({ root, leaves, count, index, siblings }) => {
      const leaf = await probe['leaf']!(leaves[index]);
      assert.equal(await probe['verify']!(root, leaf, index, count, siblings), true);
    });
  });
});

describe('the vectors of crypto/vectors', () => {
  test('sketch.json: dot products', async () => {
    const { cases } = readVectors('sketch') as SketchVectors;
    await check(cases, async ({ a, b, dot, normA }) => {
      assert.equal(await probe['dot']!(a, b), BigInt(dot));
      assert.equal(await probe['dot']!(a, a), BigInt(normA));
    });
  });

  test('eip712.json: struct hashes, and digests under our own contracts', async () => {
    const { Referee, InferenceEscrow, DatanetRegistry } = chain.contracts;
    const { cases } = readVectors('eip712') as TypedVectors;
    for (const { type, message, structHash } of cases) {
      const digest = (contract: 'Referee' | 'InferenceEscrow' | 'DatanetRegistry') =>
        hexlify(
          typedDigest(
            {
              chainId: TEST_CHAIN_ID,
              verifyingContract: parseAddress(chain.deployment.contracts[contract].toLowerCase()),
            },
            getBytes(structHash),
          ),
        );
      const name = type.slice(0, type.indexOf('('));
      if (name === 'Receipt') {
        const { answer, ...rest } = message as unknown as { answer: object };
        const receipt = { ...rest, ...answer } as RefereeReceiptInput;
        assert.equal(await Referee.receiptHashOf(receipt), structHash);
        assert.equal(await Referee.receiptDigest(receipt), digest('Referee'));
      } else if (name === 'Voucher') {
        const voucher = message as unknown as InferenceEscrowVoucherInput;
        assert.equal(await InferenceEscrow.voucherDigest(voucher), digest('InferenceEscrow'));
      } else {
        const { datanetId, contributor, commitment, recordCount } = message;
        assert.equal(
          await DatanetRegistry.contributionDigest(
            datanetId!,
            contributor!,
            commitment!,
            recordCount!,
          ),
          digest('DatanetRegistry'),
        );
      }
    }
    assert.equal(cases.length, 3);
  });
});

function readVectors(name: string): unknown {
  return JSON.parse(
    readFileSync(new URL(`../../crypto/vectors/${name}.json`, import.meta.url), 'utf8'),
  );
}

type MerkleVectors = {
  cases: {
    count: number;
    root: string;
    leaves: string[];
    proofs: { index: number; siblings: string[] }[];
  }[];
};
type SketchVectors = { cases: { a: string; b: string; dot: number; normA: number }[] };
type TypedVectors = {
  cases: { type: string; message: Record<string, string>; structHash: string }[];
};

describe('MerkleTree.rootOf equals the TypeScript tree', () => {
  test('of 0 to 33 leaves', async () => {
    for (let count = 0; count <= 33; count++) {
      const leaves = Array.from({ length: count }, (_, i) => getBytes(id(`leaf ${i}`)));
      const hashes = leaves.map((leaf) => hexlify(hashLeaf(leaf)));
      assert.equal(await probe['rootOf']!(hashes), hexlify(buildTree(leaves).root), `${count}`);
    }
  });
});
