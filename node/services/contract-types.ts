/** The contracts' structs as `chain-port` returns them; field for field those of contracts/src. */
import type { Address, Bytes32 } from '#crypto';
import type { ChainTask } from '#protocol';

export type ContractDatanet = {
  readonly curator: Address;
  readonly createdAt: number;
  readonly versionCount: number;
  readonly licence: Bytes32;
  readonly policyHash: Bytes32;
  readonly name: string;
};

export type ContractContribution = {
  readonly datanetId: Bytes32;
  readonly contributor: Address;
  readonly committedAt: number;
  /** Place in CONTRIBUTION_STATES. */
  readonly state: number;
  readonly relayer: Address;
  readonly recordCount: number;
  readonly commitment: Bytes32;
  readonly recordsRoot: Bytes32;
  readonly salt: Bytes32;
  readonly manifest: Bytes32;
  readonly evidence: Bytes32;
  readonly earlierRecordHash: Bytes32;
  /** Second from which no later version holds its records; 0 while it stands. */
  readonly revokedAt: number;
  /** Last second in which it may be revealed for the first time. */
  readonly revealBy: number;
  /** What is held for it; 0 once it was returned or burned. */
  readonly depositWei: bigint;
};

export type ContractVersion = {
  readonly root: Bytes32;
  readonly manifest: Bytes32;
  readonly recordCount: number;
  readonly publishedAt: number;
};

/** What nodes read of `TaskEscrow.getTask`. */
export type ContractTask = ChainTask & {
  readonly version: number;
  readonly announcedAt: number;
  readonly rewardWei: bigint;
  /** A block's number, or a round of drand. */
  readonly seedMark: number;
  readonly rules: ChainTask['rules'] & { readonly committeeSize: number };
  readonly baseHash: Bytes32;
  readonly datanetId: Bytes32;
  readonly adapterId: Bytes32;
  readonly result: {
    readonly resultHash: Bytes32;
    readonly traceRoot: Bytes32;
    readonly adapterHash: Bytes32;
    readonly sketchRoot: Bytes32;
    readonly manifest: Bytes32;
    readonly sketchCount: number;
  };
  readonly name: string;
};

export type ContractAdapter = {
  readonly adapterId: Bytes32;
  readonly baseHash: Bytes32;
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly sketchCount: number;
  readonly registeredAt: number;
  readonly owner: Address;
  readonly provider: Address;
  readonly taskId: bigint;
  readonly adapterHash: Bytes32;
  readonly sketchRoot: Bytes32;
  readonly traceRoot: Bytes32;
  readonly manifest: Bytes32;
  readonly name: string;
};
