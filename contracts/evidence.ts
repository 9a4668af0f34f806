/** Evidence for the Referee: the bytes that are committed to, and the commitment that has to stand in an earlier block. */
import { AbiCoder, concat, dataSlice, id, keccak256 } from 'ethers';
import type {
  EpochDisputesDecreaseEvidenceInput,
  EpochDisputesSumEvidenceInput,
} from './bindings/structs.ts';
import { contractInterfaces, encodeCall } from './connect.ts';

const EVIDENCE_TAG = id('openledger/evidence/1');

/** Functions of the Referee that read packed evidence (protocol/score-evidence.ts) right behind their selector. */
export type ScoreFunction = 'findScore' | 'challengeScore' | 'challengeAnchoredScore';

/** Calldata of a function that reads packed evidence. */
export function scoreCall(fn: ScoreFunction, packed: string): string {
  return concat([contractInterfaces.Referee.encodeFunctionData(fn), packed]);
}

/** What is committed to against an epoch: the ABI-encoded argument of the function of EpochDisputes that judges it. */
export function encodeEpochEvidence(
  challenge:
    | { readonly fn: 'challengeDecrease'; readonly evidence: EpochDisputesDecreaseEvidenceInput }
    | { readonly fn: 'challengeSums'; readonly evidence: EpochDisputesSumEvidenceInput },
): string {
  const call =
    challenge.fn === 'challengeSums'
      ? encodeCall('EpochDisputes', challenge.fn, [challenge.evidence])
      : encodeCall('EpochDisputes', challenge.fn, [challenge.evidence]);
  return dataSlice(call, 4);
}

/** What Referee.commitEvidence takes: binds the evidence to the address that will send it. */
export function evidenceCommitment(challenger: string, encodedEvidence: string): string {
  return keccak256(
    AbiCoder.defaultAbiCoder().encode(
      ['bytes32', 'address', 'bytes32'],
      [EVIDENCE_TAG, challenger, keccak256(encodedEvidence)],
    ),
  );
}
