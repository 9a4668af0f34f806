/**
 * The Referee's judgements again. Each is judged anew from the evidence in the transaction that
 * brought it: who signed, which leaf, and what the dot product and the cosine really are.
 */

import { dataSlice } from 'ethers';
import { contractInterfaces } from '#contracts';
import {
  type Address,
  type Bytes32,
  cosineQ16,
  dotProduct,
  fromHex,
  parseAddress,
  parseBytes32,
  squaredNorm,
} from '#crypto';
import {
  behindReceiptPlace,
  isReceiptSigned,
  judgeScore,
  receiptHash,
  SCORE_FAULTS,
  type ScoreEvidence,
  type ScoreLeaf,
  type TrustedAnchors,
  unpackScoreEvidence,
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

/** What the Referee logged of a judgement. */
type Judged = {
  readonly receiptHash: Bytes32;
  readonly provider: Address;
  readonly leafIndex: number;
  readonly fault: number;
  readonly slashedWei: bigint;
};

/** All judgements by the audited block, each judged again. */
export async function readJudgements(
  chain: Chain,
  anchors: TrustedAnchors,
): Promise<readonly AuditedJudgement[]> {
  const audited: AuditedJudgement[] = [];
  for (const [at, { args, transaction }] of chain.history.of('Referee', 'ScoreJudged').entries()) {
    const id = at + 1;
    const what = `judgement ${id}`;
    const judged: Judged = {
      receiptHash: parseBytes32(String(args['receiptHash'])),
      provider: parseAddress(String(args['provider'])),
      leafIndex: Number(args['leafIndex']),
      fault: Number(args['fault']),
      slashedWei: args['slashedWei'] as bigint,
    };
    const evidence = await evidenceOf(chain, anchors, transaction, what);
    const slashed = chain.history
      .of('Staking', 'Slashed')
      .filter((event) => event.transaction === transaction);
    const faults = judgeAgain(chain, anchors, evidence, judged);
    const slashedWei = slashed.reduce((sum, each) => sum + (each.args['amountWei'] as bigint), 0n);
    if (slashedWei !== judged.slashedWei || slashedWei === 0n)
      faults.push(`it took ${slashedWei} wei of stake, it says ${judged.slashedWei}`);
    audited.push({
      id,
      receiptHash: judged.receiptHash,
      leafIndex: judged.leafIndex,
      leaf: evidence.leaf,
      faults: faults.map((each) => `${what}: ${each}`),
    });
  }
  return audited;
}

/** The evidence in a transaction that judged a leaf, with all that it leaves out computed again. */
async function evidenceOf(
  { rpc }: Chain,
  { adapters }: TrustedAnchors,
  transaction: string,
  what: string,
): Promise<ScoreEvidence> {
  const sent = (await rpc.call('eth_getTransactionByHash', [transaction])) as { input: string };
  const call = contractInterfaces.Referee.parseTransaction({ data: sent.input });
  if (call?.name !== 'challengeScore' && call?.name !== 'challengeAnchoredScore')
    throw new AuditError('CONTENT_WRONG', { what, reason: 'its transaction shows no evidence' });
  const shown = fromHex(dataSlice(sent.input, 4));
  const packed = call.name === 'challengeScore' ? shown : behindReceiptPlace(shown);
  const unpacked = unpackScoreEvidence(packed, adapters);
  if (!unpacked.ok)
    throw new AuditError('CONTENT_WRONG', { what, reason: `its evidence is ${unpacked.code}` });
  return unpacked.value;
}

/** What does not hold of a judgement. */
function judgeAgain(
  { chainId, contracts }: Chain,
  anchors: TrustedAnchors,
  evidence: ScoreEvidence,
  judged: Judged,
): string[] {
  const { receipt, leaf, querySketch: query, record } = evidence;
  const adapter = anchors.adapters[evidence.adapterIndex];
  const domain = { chainId, verifyingContract: parseAddress(contracts.Referee) };
  const isUnderRoot =
    record === null ||
    (adapter !== undefined &&
      verifySketch(adapter.sketchRoot, record.leaf, {
        index: leaf.sketchIndex,
        count: adapter.sketchCount,
        siblings: record.proof.map(fromHex),
      }));
  const found = judgeScore(receipt, query, leaf, record?.leaf, anchors.parameters);
  const dot = record === null ? 0 : dotProduct(query, record.leaf.sketch);
  const score =
    record === null || dot <= 0 ? 0 : cosineQ16(dot, record.leaf.norm, squaredNorm(query));
  const rules: readonly (readonly [boolean, string])[] = [
    [receiptHash(receipt) === judged.receiptHash, 'its evidence is another receipt'],
    [evidence.leafIndex === judged.leafIndex, 'its evidence is about another leaf'],
    // The signature covers the leaf and the question's sketch: the receipt's roots are computed from them.
    [
      isReceiptSigned(domain, receipt, fromHex(evidence.signature)),
      `${receipt.provider} did not sign that receipt`,
    ],
    [receipt.provider === judged.provider, 'it names another provider'],
    [isUnderRoot, "the record's sketch is not under the adapter's root"],
    [found !== 'NONE', `the leaf is right: dot ${dot}, score ${score}`],
    [
      SCORE_FAULTS[judged.fault] === found,
      `the fault is ${found}, the chain says ${SCORE_FAULTS[judged.fault]}`,
    ],
  ];
  return rules.filter(([holds]) => !holds).map(([, fault]) => fault);
}

/** How many leaves were judged false, and really are. */
export function auditSlashed(judgements: readonly AuditedJudgement[]): Recomputed {
  return { value: judgements.length, faults: judgements.flatMap((each) => each.faults) };
}
