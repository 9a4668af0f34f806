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
  type Hex,
  type MerkleTree,
  sketchBytes,
  squaredNorm,
  toHex,
} from '#crypto';
import {
  packReceiptPlace,
  packScoreEvidence,
  type ReceiptPlace,
  type ScoreEvidence,
  type SketchLeaf,
} from '#protocol';
import { decodeResult } from '../connect.ts';
import { evidenceCommitment, type ScoreFunction, scoreCall } from '../evidence.ts';
import type { Chain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import { domainOf, siblings } from './fixtures.ts';

const coder = AbiCoder.defaultAbiCoder();

const field = (text: string) => {
  const [type, name] = text.split(' ') as [string, string];
  return { name, type };
};
const RECEIPT_TYPES = {
  Receipt: [
    'bytes32 adapterId',
    'bytes32 querySketchHash',
    'uint256 queryNorm',
    'bytes32 scoreRoot',
    'uint32 scoreCount',
    'uint64 issuedAt',
    'Answer answer',
  ].map(field),
  Answer: [
    'bytes32 requestId',
    'address client',
    'address provider',
    'bytes32 promptHash',
    'bytes32 outputHash',
    'uint32 promptTokens',
    'uint32 outputTokens',
    'bytes32 spanRoot',
    'uint32 spanCount',
    'uint256 computeWei',
    'uint256 feeWei',
  ].map(field),
};
/** The receipt as it is signed: with its answer in a struct of its own. */
const nested = (receipt: Receipt) => ({ ...receipt, answer: receipt });

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
  sketchIndex: number;
  recordHash: string;
  contributor: string;
  dot: number;
  score: number;
  amountWei: bigint;
};

export function receiptHash(receipt: Receipt): string {
  return TypedDataEncoder.from(RECEIPT_TYPES).hash(nested(receipt));
}

export function signReceipt(
  chain: Chain,
  provider: Wallet,
  receipt: Receipt,
  domain = domainOf(chain, 'Referee'),
): Promise<string> {
  return provider.signTypedData(domain, RECEIPT_TYPES, nested(receipt));
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
      ['uint256', 'bytes32', 'address', 'int256', 'uint256', 'uint256'],
      [leaf.sketchIndex, leaf.recordHash, leaf.contributor, leaf.dot, leaf.score, leaf.amountWei],
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

const lowerCase = <T extends object>(value: T): T =>
  Object.fromEntries(
    Object.entries(value).map(([k, v]) => [k, typeof v === 'string' ? v.toLowerCase() : v]),
  ) as T;

/** A record's sketch as evidence shows it. */
export function recordOf(sketch: Sketch, proof: readonly string[]): ScoreEvidence['record'] {
  const leaf = { ...lowerCase(sketch), norm: squaredNorm(sketch.sketch) };
  return { leaf: leaf as SketchLeaf, proof: proof as Hex[] };
}

/** The evidence against leaf `index` of a served answer of the first adapter. */
export function evidenceOf(served: Served, index: number, signature: string): ScoreEvidence {
  const leaf = served.leaves[index]!;
  const sketch = served.sketches[leaf.sketchIndex];
  return {
    receipt: lowerCase(served.receipt) as unknown as ScoreEvidence['receipt'],
    signature: signature as Hex,
    adapterIndex: 0,
    leaf: lowerCase(leaf) as unknown as ScoreEvidence['leaf'],
    leafIndex: index,
    leafProof: siblings(buildTree(served.leaves.map(scoreLeafBytes)), index) as Hex[],
    querySketch: served.query,
    record:
      sketch === undefined ? null : recordOf(sketch, siblings(served.sketchTree, leaf.sketchIndex)),
  };
}

/** Commits to evidence, and gives the commitment. */
export async function commitEvidence(chain: Chain, challenger: Wallet, shown: string) {
  const commitment = evidenceCommitment(challenger.address, shown);
  await chain.send(challenger, 'Referee', 'commitEvidence', [commitment]);
  return commitment;
}

/** Shows evidence, which may stand behind a receipt's place, to a function that judges it. */
export function showEvidence(
  chain: Chain,
  from: Wallet,
  shown: string,
  fn: ScoreFunction = 'challengeScore',
) {
  return chain.sendData(from, chain.deployment.contracts.Referee, scoreCall(fn, shown));
}

/** Commits to evidence about a leaf, or to its bytes, and shows it one block later. */
export async function challenge(
  chain: Chain,
  challenger: Wallet,
  evidence: ScoreEvidence | string,
) {
  const packed = typeof evidence === 'string' ? evidence : packedOf(evidence);
  await commitEvidence(chain, challenger, packed);
  return showEvidence(chain, challenger, packed);
}

/** The same with the place of its receipt in an epoch, which withholds the leaf at once. */
export async function challengeAnchored(
  chain: Chain,
  challenger: Wallet,
  evidence: ScoreEvidence,
  place: Omit<ReceiptPlace, 'siblings'> & { readonly siblings: readonly string[] },
) {
  const siblings = place.siblings.map((sibling) => getBytes(sibling));
  const shown = concat([packReceiptPlace({ ...place, siblings }), packScoreEvidence(evidence)]);
  await commitEvidence(chain, challenger, shown);
  return showEvidence(chain, challenger, shown, 'challengeAnchoredScore');
}

/** Evidence as challengeScore reads it, or findScore, which the answer's hash is enough for. */
export const packedOf = (evidence: ScoreEvidence, answer: 'open' | 'hash' = 'open'): Hex =>
  toHex(packScoreEvidence(evidence, answer));

/** What findScore says. */
export async function findScore(chain: Chain, packed: string) {
  const to = chain.deployment.contracts.Referee;
  const data = await chain.provider.call({ to, data: scoreCall('findScore', packed) });
  return decodeResult('Referee', 'findScore', data);
}
