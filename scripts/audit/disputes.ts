/**
 * The Referee's judgements again. Each is judged anew from the evidence in the transaction that
 * brought it: who signed, which leaf, and what the dot product and the cosine really are.
 */

import { contractInterfaces, type RefereeJudgement, type RefereeScoreEvidence } from '#contracts';
import {
  type Address,
  type Bytes32,
  cosineQ16,
  dotProduct,
  fromHex,
  parseAddress,
  parseBytes32,
  sketchFromBytes,
  squaredNorm,
  verifyLeaf,
} from '#crypto';
import {
  hashSketch,
  isReceiptSigned,
  judgeScore,
  type Receipt,
  receiptHash,
  SCORE_FAULTS,
  type ScoreLeaf,
  type SketchLeaf,
  scoreLeafBytes,
  type TrustedAnchors,
  verifySketch,
} from '#protocol';
import type { Chain } from './chain.ts';
import { AuditError } from './errors.ts';
import type { Recomputed } from './report.ts';

/** What an audited judgement says about which receipt. */
export type AuditedJudgement = {
  readonly id: number;
  readonly receiptHash: Bytes32;
  readonly leafIndex: number;
  readonly leaf: ScoreLeaf;
  readonly faults: readonly string[];
};

/** All judgements by the audited block, each judged again. */
export async function readJudgements(
  chain: Chain,
  anchors: TrustedAnchors,
): Promise<readonly AuditedJudgement[]> {
  const count = await chain.read('Referee', 'judgementCount', []);
  const judgements = await chain.read('Referee', 'getJudgements', [1, count]);
  const events = chain.history.of('Referee', 'ScoreJudged');
  const audited: AuditedJudgement[] = [];
  for (const [at, judgement] of judgements.entries()) {
    const id = at + 1;
    const what = `judgement ${id}`;
    const event = events.find(({ args }) => Number(args['judgementId']) === id);
    if (event === undefined)
      throw new AuditError('CONTENT_WRONG', { what, reason: 'no transaction logged it' });
    const evidence = await evidenceOf(chain, event.transaction, what);
    const slashed = chain.history
      .of('Staking', 'Slashed')
      .filter(({ transaction }) => transaction === event.transaction);
    const faults = judgeAgain(chain, anchors, evidence, judgement);
    if (parseAddress(String(event.args['provider'])) !== parseAddress(evidence.receipt.provider))
      faults.push('it names another provider');
    const slashedWei = slashed.reduce((sum, { args }) => sum + (args['amountWei'] as bigint), 0n);
    if (slashedWei !== judgement.slashedWei || slashedWei === 0n)
      faults.push(`it took ${slashedWei} wei of stake, it says ${judgement.slashedWei}`);
    audited.push({
      id,
      receiptHash: parseBytes32(judgement.receiptHash),
      leafIndex: Number(judgement.leafIndex),
      leaf: leafOf(evidence),
      faults: faults.map((each) => `${what}: ${each}`),
    });
  }
  return audited;
}

async function evidenceOf(
  { rpc }: Chain,
  transaction: string,
  what: string,
): Promise<RefereeScoreEvidence> {
  const sent = (await rpc.call('eth_getTransactionByHash', [transaction])) as { input: string };
  const call = contractInterfaces.Referee.parseTransaction({ data: sent.input });
  if (call?.name !== 'challengeScore')
    throw new AuditError('CONTENT_WRONG', { what, reason: 'its transaction shows no evidence' });
  return call.args[0] as RefereeScoreEvidence;
}

const leafOf = ({ leaf }: RefereeScoreEvidence): ScoreLeaf => ({
  sketchIndex: Number(leaf.sketchIndex),
  recordHash: parseBytes32(leaf.recordHash),
  contributor: parseAddress(leaf.contributor),
  dot: Number(leaf.dot),
  score: Number(leaf.score),
  amountWei: leaf.amountWei,
});

const receiptOf = ({ receipt }: RefereeScoreEvidence): Receipt => ({
  requestId: parseBytes32(receipt.requestId),
  client: parseAddress(receipt.client),
  provider: parseAddress(receipt.provider),
  adapterId: parseBytes32(receipt.adapterId),
  promptHash: parseBytes32(receipt.promptHash),
  outputHash: parseBytes32(receipt.outputHash),
  promptTokens: Number(receipt.promptTokens),
  outputTokens: Number(receipt.outputTokens),
  querySketchHash: parseBytes32(receipt.querySketchHash),
  queryNorm: Number(receipt.queryNorm),
  scoreRoot: parseBytes32(receipt.scoreRoot),
  scoreCount: Number(receipt.scoreCount),
  spanRoot: parseBytes32(receipt.spanRoot),
  spanCount: Number(receipt.spanCount),
  computeWei: receipt.computeWei,
  feeWei: receipt.feeWei,
  issuedAt: Number(receipt.issuedAt),
});

const bytesOf = (hexes: readonly string[]): Uint8Array[] =>
  hexes.map((hex) => fromHex(hex as Bytes32));

/** What does not hold of a judgement. */
function judgeAgain(
  { chainId, contracts }: Chain,
  anchors: TrustedAnchors,
  evidence: RefereeScoreEvidence,
  judgement: RefereeJudgement,
): string[] {
  const receipt = receiptOf(evidence);
  const leaf = leafOf(evidence);
  const leafIndex = Number(evidence.leafIndex);
  const query = sketchFromBytes(fromHex(evidence.querySketch as Bytes32));
  const sketch = sketchFromBytes(fromHex(evidence.sketchLeaf.sketch as Bytes32));
  const sketchLeaf: SketchLeaf = {
    recordHash: parseBytes32(evidence.sketchLeaf.recordHash),
    contributor: parseAddress(evidence.sketchLeaf.contributor),
    cluster: Number(evidence.sketchLeaf.cluster),
    registeredAt: Number(evidence.sketchLeaf.registeredAt),
    norm: Number(evidence.sketchLeaf.norm),
    sketch,
  };
  const adapter = anchors.adapters.find(({ adapterId }) => adapterId === receipt.adapterId);
  const domain = { chainId, verifyingContract: parseAddress(contracts.Referee) as Address };
  const signature = fromHex(evidence.signature as Bytes32);
  const leafProof = { index: leafIndex, count: receipt.scoreCount };
  const isNamed = adapter !== undefined && leaf.sketchIndex < adapter.sketchCount;
  const isUnderRoot =
    isNamed &&
    verifySketch(adapter.sketchRoot, sketchLeaf, {
      index: leaf.sketchIndex,
      count: adapter.sketchCount,
      siblings: bytesOf(evidence.sketchProof),
    });
  const found = judgeScore(
    receipt,
    query,
    leaf,
    isNamed ? sketchLeaf : undefined,
    anchors.parameters,
  );
  const dot = dotProduct(query, sketch);
  const score = dot > 0 ? cosineQ16(dot, squaredNorm(sketch), squaredNorm(query)) : 0;
  const isFalse = leaf.dot !== dot || leaf.score !== score || found !== 'NONE';
  const rules: readonly (readonly [boolean, string])[] = [
    [receiptHash(receipt) === judgement.receiptHash, 'its evidence is another receipt'],
    [isReceiptSigned(domain, receipt, signature), `${receipt.provider} did not sign that receipt`],
    [
      verifyLeaf(
        fromHex(receipt.scoreRoot),
        scoreLeafBytes(parseBytes32(evidence.leaf.requestId), leaf),
        { ...leafProof, siblings: bytesOf(evidence.leafProof) },
      ),
      'the leaf is not one of the receipt',
    ],
    [hashSketch(query) === receipt.querySketchHash, 'the sketch is not that of the question'],
    [!isNamed || isUnderRoot, "the record's sketch is not under the adapter's root"],
    [isFalse, `the leaf is right: dot ${dot}, score ${score}`],
    [
      SCORE_FAULTS[Number(judgement.fault)] === found ||
        evidence.leaf.requestId !== receipt.requestId,
      `the fault is ${found}, the chain says ${SCORE_FAULTS[Number(judgement.fault)]}`,
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, fault]) => fault);
}

/** How many leaves were judged false, and really are. */
export function auditSlashed(judgements: readonly AuditedJudgement[]): Recomputed {
  return { value: judgements.length, faults: judgements.flatMap((each) => each.faults) };
}
