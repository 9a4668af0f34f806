/** Evidence for the Referee: the bytes that are committed to, and the commitment that has to stand in an earlier block. */
import { AbiCoder, concat, dataSlice, id, keccak256 } from 'ethers';
import type { ContractFunctions } from './bindings/contracts.ts';
import type {
  DatanetRegistrySeparationEvidenceInput,
  RefereeDivisionEvidenceInput,
} from './bindings/structs.ts';
import { contractInterfaces, encodeCall } from './connect.ts';

const EVIDENCE_TAG = id('openledger/evidence/1');

/** Functions of the Referee that read packed evidence (protocol/score-evidence.ts) right behind their selector. */
export type ScoreFunction = 'findScore' | 'challengeScore' | 'challengeAnchoredScore';

/** Calldata of a function that reads packed evidence. */
export function scoreCall(fn: ScoreFunction, packed: string): string {
  return concat([contractInterfaces.Referee.encodeFunctionData(fn), packed]);
}

/** Functions that judge evidence against an epoch, each of one argument. */
export type EpochJudgingFunction = {
  EpochDisputes: 'challengeDecrease' | 'challengeSums';
  PaymentDisputes: Extract<keyof ContractFunctions['PaymentDisputes'], `challenge${string}`>;
};
export type EpochJudge = keyof EpochJudgingFunction;

/** What is committed to against an epoch: the ABI-encoded argument of the function that judges it. */
export function encodeEpochEvidence<Judge extends EpochJudge>(
  contract: Judge,
  fn: EpochJudgingFunction[Judge],
  evidence: unknown,
): string {
  return dataSlice(encodeCall(contract, fn as never, [evidence] as never), 4);
}

/** A receipt with its leaves as `EpochDisputes.show` takes it for its contents. */
export function encodeDivision(division: RefereeDivisionEvidenceInput): string {
  return dataSlice(encodeCall('PaymentDisputes', 'present', [division]), 4);
}

/** The same for evidence against a version of a datanet: the argument of DatanetRegistry.mergeClusters. */
export function encodeSeparationEvidence(evidence: DatanetRegistrySeparationEvidenceInput): string {
  return dataSlice(encodeCall('DatanetRegistry', 'mergeClusters', [evidence]), 4);
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
