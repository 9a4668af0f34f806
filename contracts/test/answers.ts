/** Served answers of the contracts' tests: sketches, score leaves, receipts, and the evidence against them. */
import {
  AbiCoder,
  concat,
  getBytes,
  hexlify,
  id,
  keccak256,
  TypedDataEncoder,
  toBeHex,
  type Wallet,
  ZeroHash,
} from 'ethers';
import {
  buildTree,
  cosineQ16,
  createRandom,
  dotProduct,
  type MerkleTree,
  sketchBytes,
  squaredNorm,
} from '#crypto';
import type { RefereeScoreEvidenceInput } from '../bindings/structs.ts';
import { encodeScoreEvidence, evidenceCommitment } from '../evidence.ts';
import type { Chain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import { domainOf, siblings } from './fixtures.ts';

const coder = AbiCoder.defaultAbiCoder();

const RECEIPT_TYPES = {
  Receipt: [
    { name: 'requestId', type: 'bytes32' },
    { name: 'client', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'adapterId', type: 'bytes32' },
    { name: 'promptHash', type: 'bytes32' },
    { name: 'outputHash', type: 'bytes32' },
    { name: 'promptTokens', type: 'uint32' },
    { name: 'outputTokens', type: 'uint32' },
    { name: 'querySketchHash', type: 'bytes32' },
    { name: 'queryNorm', type: 'uint256' },
    { name: 'scoreRoot', type: 'bytes32' },
    { name: 'scoreCount', type: 'uint32' },
    { name: 'spanRoot', type: 'bytes32' },
    { name: 'spanCount', type: 'uint32' },
    { name: 'computeWei', type: 'uint256' },
    { name: 'feeWei', type: 'uint256' },
    { name: 'issuedAt', type: 'uint64' },
  ],
};

export type Receipt = {
  requestId: string;
  client: string;
  provider: string;
  adapterId: string;
  promptHash: string;
  outputHash: string;
  promptTokens: number;
  outputTokens: number;
  querySketchHash: string;
  queryNorm: number;
  scoreRoot: string;
  scoreCount: number;
  spanRoot: string;
  spanCount: number;
  computeWei: bigint;
  feeWei: bigint;
  issuedAt: number;
};

export type ScoreLeaf = {
  requestId: string;
  sketchIndex: number;
  recordHash: string;
  contributor: string;
  dot: number;
  score: number;
  amountWei: bigint;
};

export function receiptHash(receipt: Receipt): string {
  return TypedDataEncoder.from(RECEIPT_TYPES).hash(receipt);
}

export function signReceipt(
  chain: Chain,
  provider: Wallet,
  receipt: Receipt,
  domain = domainOf(chain, 'Referee'),
): Promise<string> {
  return provider.signTypedData(domain, RECEIPT_TYPES, receipt);
}

export type Sketch = {
  recordHash: string;
  contributor: string;
  cluster: number;
  registeredAt: number;
  sketch: Int8Array;
};

export function sketchLeafBytes(leaf: Sketch): Uint8Array {
  const words = coder.encode(
    ['bytes32', 'address', 'uint256', 'uint256', 'uint256'],
    [leaf.recordHash, leaf.contributor, leaf.cluster, leaf.registeredAt, squaredNorm(leaf.sketch)],
  );
  return getBytes(concat([words, sketchBytes(leaf.sketch)]));
}

export function scoreLeafBytes(leaf: ScoreLeaf): Uint8Array {
  return getBytes(
    coder.encode(
      ['bytes32', 'uint256', 'bytes32', 'address', 'int256', 'uint256', 'uint256'],
      [
        leaf.requestId,
        leaf.sketchIndex,
        leaf.recordHash,
        leaf.contributor,
        leaf.dot,
        leaf.score,
        leaf.amountWei,
      ],
    ),
  );
}

/** A seeded sketch that points mostly the way of `towards`, so that its score passes the threshold. */
export function sketchNear(seed: number, towards: Int8Array): Int8Array {
  const random = createRandom(getBytes(id(`sketch/${seed}`)), 'test');
  return Int8Array.from(towards, (value) => Math.trunc((value + random.below(101) - 50) / 2));
}

export function seededSketch(seed: number): Int8Array {
  const random = createRandom(getBytes(id(`sketch/${seed}`)), 'test');
  return Int8Array.from({ length: 256 }, () => random.below(201) - 100);
}

/** A served answer: what a provider signs, and all that a challenger needs. */
export type Served = {
  query: Int8Array;
  sketches: readonly Sketch[];
  sketchTree: MerkleTree;
  leaves: ScoreLeaf[];
  receipt: Receipt;
};

/**
 * An honest answer over these sketches, or one with leaves changed by `alter` before they are signed.
 * Amounts: each leaf gets a tenth of the fee.
 */
export function serve(
  parties: { client: string; provider: string; adapterId: string; feeWei: bigint },
  sketches: readonly Sketch[],
  alter: (leaves: ScoreLeaf[], receipt: Receipt) => void = () => {},
  seed = 1,
): Served {
  const query = seededSketch(seed);
  const requestId = toBeHex(seed, 32);
  const leaves = sketches.map((sketch, sketchIndex): ScoreLeaf => {
    const dot = dotProduct(query, sketch.sketch);
    return {
      requestId,
      sketchIndex,
      recordHash: sketch.recordHash,
      contributor: sketch.contributor,
      dot,
      score: cosineQ16(dot, squaredNorm(query), squaredNorm(sketch.sketch)),
      amountWei: parties.feeWei / 10n,
    };
  });
  const receipt: Receipt = {
    requestId,
    client: parties.client,
    provider: parties.provider,
    adapterId: parties.adapterId,
    promptHash: id('prompt'),
    outputHash: id('output'),
    promptTokens: 10,
    outputTokens: 20,
    querySketchHash: keccak256(sketchBytes(query)),
    queryNorm: squaredNorm(query),
    scoreRoot: ZeroHash,
    scoreCount: 0,
    spanRoot: ZeroHash,
    spanCount: 0,
    computeWei: OPEN_WEI,
    feeWei: parties.feeWei,
    issuedAt: 1_800_000_000,
  };
  alter(leaves, receipt);
  receipt.scoreRoot = hexlify(buildTree(leaves.map(scoreLeafBytes)).root);
  receipt.scoreCount = leaves.length;
  return { query, sketches, sketchTree: buildTree(sketches.map(sketchLeafBytes)), leaves, receipt };
}

/** The evidence against leaf `index` of a served answer. */
export function evidenceOf(
  served: Served,
  index: number,
  signature: string,
): RefereeScoreEvidenceInput {
  const leaf = served.leaves[index]!;
  const place = Math.min(leaf.sketchIndex, served.sketches.length - 1);
  const sketch = served.sketches[place]!;
  return {
    receipt: served.receipt,
    signature,
    leaf,
    leafIndex: index,
    leafProof: siblings(buildTree(served.leaves.map(scoreLeafBytes)), index),
    querySketch: sketchBytes(served.query),
    sketchLeaf: {
      recordHash: sketch.recordHash,
      contributor: sketch.contributor,
      cluster: sketch.cluster,
      registeredAt: sketch.registeredAt,
      norm: squaredNorm(sketch.sketch),
      sketch: sketchBytes(sketch.sketch),
    },
    sketchProof: siblings(served.sketchTree, place),
  };
}

export async function commitEvidence(
  chain: Chain,
  challenger: Wallet,
  evidence: RefereeScoreEvidenceInput,
): Promise<string> {
  const commitment = evidenceCommitment(challenger.address, encodeScoreEvidence(evidence));
  await chain.send(challenger, 'Referee', 'commitEvidence', [commitment]);
  return commitment;
}

/** Commits evidence and shows it one block later. */
export async function challenge(
  chain: Chain,
  challenger: Wallet,
  evidence: RefereeScoreEvidenceInput,
) {
  await commitEvidence(chain, challenger, evidence);
  return chain.send(challenger, 'Referee', 'challengeScore', [evidence]);
}
