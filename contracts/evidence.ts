/** Evidence for the Referee: its bytes, their hash, and the commitment that has to stand in an earlier block. */
import { AbiCoder, dataSlice, id, keccak256 } from 'ethers';
import type {
  EpochDisputesDecreaseEvidenceInput,
  EpochDisputesSumEvidenceInput,
  RefereeScoreEvidenceInput,
} from './bindings/structs.ts';
import { encodeCall } from './connect.ts';

const EVIDENCE_TAG = id('openledger/evidence/1');

/** The evidence's bytes as docs/protocol.md section 6 hashes them: the ABI-encoded argument of challengeScore. */
export function encodeScoreEvidence(evidence: RefereeScoreEvidenceInput): string {
  return dataSlice(encodeCall('Referee', 'challengeScore', [evidence]), 4);
}

/** The same for evidence against an epoch: the argument of the function of EpochDisputes that judges it. */
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
