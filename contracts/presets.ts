/** The governed numbers that a chain starts with: `local` in seconds, `testnet` in minutes and hours, `mainnet` in days. */
import type { ParametersValues } from './bindings/structs.ts';

/** One OPEN in wei. */
export const OPEN_WEI = 10n ** 18n;

export type PresetName = 'local' | 'testnet' | 'mainnet';

/** How gOPEN's holders decide, and who owns Parameters. */
export type Governance = {
  /** True: the timelock owns Parameters from its first block. False: whoever deploys does. */
  readonly ownsParameters: boolean;
  readonly votingDelaySeconds: bigint;
  readonly votingPeriodSeconds: bigint;
  /** Between a decision and its effect; long enough to leave with one's stake where it matters. */
  readonly timelockSeconds: bigint;
  readonly proposalThresholdWei: bigint;
  readonly quorumPpm: bigint;
  /** Least votes for any decision, however little is wrapped. */
  readonly quorumFloorWei: bigint;
};

const MINUTE = 60n;
const HOUR = 3_600n;
const DAY = 86_400n;

/** The ratios are the same everywhere; only money and time differ between presets. */
const ratios: Pick<ParametersValues, 'threshold' | 'fees' | 'audits'> = {
  // Measured on other questions than the story's: docs/decisions/0005.
  threshold: { numerator: 9n, denominator: 50n },
  fees: {
    platformPpm: 100_000n,
    modelOwnerPpm: 200_000n,
    stakersPpm: 200_000n,
    dataPpm: 500_000n,
    learnedPpm: 400_000n,
  },
  audits: {
    auditPpm: 50_000n,
    newKeyAuditPpm: 100_000n,
    provenKeyAuditPpm: 20_000n,
    canaryPpm: 50_000n,
    newKeyTasks: 100n,
    provenKeyTasks: 500n,
  },
};

/** A fault that is no accident costs 5 % + 3X of the stake, X the share of all stake slashed within the window. */
const slashing = {
  challengerPpm: 400_000n,
  juryPpm: 100_000n,
  requesterPpm: 100_000n,
  burnPpm: 400_000n,
  correlationBasePpm: 50_000n,
  correlationPpm: 3_000_000n,
};

const committee = {
  committeeSize: 3n,
  segmentsPerVerifier: 2n,
  samplesPerVerifier: 8n,
  verifierRewardPpm: 150_000n,
};

/**
 * Within how many seconds a transaction can be forced onto the chain past its sequencer: `sequencerWindowSize` of the
 * rollup in blocks of the L1. Mainnet has OP's default (3,600 blocks of 12 s); our testnet's rollup is configured with
 * 50; a local chain has no sequencer that could keep anybody out but its operator.
 */
export const forceInclusionSeconds: Record<PresetName, bigint> = {
  local: 0n,
  testnet: 50n * 12n,
  mainnet: 3_600n * 12n,
};

/**
 * Starting values of Parameters. No deadline that can cost stake or the right to challenge is shorter than the
 * time of forced inclusion, and the floor that enforces it cannot be changed after deployment.
 */
export const presets: Record<PresetName, ParametersValues> = {
  local: {
    ...ratios,
    slashing: { ...slashing, windowSeconds: 1n * HOUR },
    tasks: {
      ...committee,
      claimSeconds: 120n,
      leaseSeconds: 30n,
      revealSeconds: 30n,
      voteCommitSeconds: 120n,
      voteRevealSeconds: 30n,
      maxRenewals: 64n,
    },
    bonds: {
      minStakeWei: 10n * OPEN_WEI,
      servingLockWei: 20n * OPEN_WEI,
      trainingLockWei: 20n * OPEN_WEI,
      abandonBondWei: 2n * OPEN_WEI,
      maxStakers: 64n,
      // The story's curator holds no stake.
      versionLockWei: 0n,
      contributionDepositWei: OPEN_WEI / 100n,
    },
    timing: {
      challengeWindowSeconds: 12n,
      thawSeconds: 900n,
      slashingFloorSeconds: forceInclusionSeconds.local,
      evidenceDelayBlocks: 1n,
      deltaSeconds: 1n,
      daAnswerSeconds: 3n,
      rerunSeconds: 5n,
      contributionRevealSeconds: 10n * MINUTE,
    },
  },
  testnet: {
    ...ratios,
    slashing: { ...slashing, windowSeconds: 3n * DAY },
    tasks: {
      ...committee,
      claimSeconds: 2n * HOUR,
      leaseSeconds: 30n * MINUTE,
      revealSeconds: 10n * MINUTE,
      voteCommitSeconds: 30n * MINUTE,
      voteRevealSeconds: 10n * MINUTE,
      maxRenewals: 96n,
    },
    bonds: {
      minStakeWei: 100n * OPEN_WEI,
      servingLockWei: 200n * OPEN_WEI,
      trainingLockWei: 200n * OPEN_WEI,
      abandonBondWei: 20n * OPEN_WEI,
      maxStakers: 1_000n,
      versionLockWei: 20n * OPEN_WEI,
      contributionDepositWei: OPEN_WEI,
    },
    timing: {
      challengeWindowSeconds: 1n * HOUR,
      thawSeconds: 6n * HOUR,
      slashingFloorSeconds: forceInclusionSeconds.testnet,
      evidenceDelayBlocks: 2n,
      deltaSeconds: 1n * MINUTE,
      daAnswerSeconds: 10n * MINUTE,
      rerunSeconds: 30n * MINUTE,
      contributionRevealSeconds: 1n * HOUR,
    },
  },
  mainnet: {
    ...ratios,
    slashing: { ...slashing, windowSeconds: 36n * DAY },
    tasks: {
      ...committee,
      claimSeconds: 1n * DAY,
      leaseSeconds: 12n * HOUR,
      revealSeconds: 12n * HOUR,
      voteCommitSeconds: 12n * HOUR,
      voteRevealSeconds: 12n * HOUR,
      maxRenewals: 60n,
    },
    bonds: {
      minStakeWei: 1_000n * OPEN_WEI,
      servingLockWei: 5_000n * OPEN_WEI,
      trainingLockWei: 5_000n * OPEN_WEI,
      abandonBondWei: 500n * OPEN_WEI,
      maxStakers: 10_000n,
      versionLockWei: 500n * OPEN_WEI,
      contributionDepositWei: 5n * OPEN_WEI,
    },
    timing: {
      challengeWindowSeconds: 1n * DAY,
      thawSeconds: 14n * DAY,
      slashingFloorSeconds: forceInclusionSeconds.mainnet,
      evidenceDelayBlocks: 5n,
      deltaSeconds: 1n * MINUTE,
      daAnswerSeconds: 12n * HOUR,
      rerunSeconds: 6n * HOUR,
      contributionRevealSeconds: 1n * DAY,
    },
  },
};

/**
 * The governor of each preset. On a local chain, which one person runs, its operator keeps Parameters: the story and
 * the tests change numbers in seconds. On `mainnet` the timelock is longer than the thawing of stake, so that whoever
 * disagrees with a decision is gone before it holds.
 */
export const governance: Record<PresetName, Governance> = {
  local: {
    ownsParameters: false,
    votingDelaySeconds: 2n,
    votingPeriodSeconds: 20n,
    timelockSeconds: 5n,
    proposalThresholdWei: 10n * OPEN_WEI,
    quorumPpm: 40_000n,
    quorumFloorWei: 1_000n * OPEN_WEI,
  },
  testnet: {
    ownsParameters: true,
    votingDelaySeconds: 10n * MINUTE,
    votingPeriodSeconds: 2n * HOUR,
    timelockSeconds: 8n * HOUR,
    proposalThresholdWei: 1_000n * OPEN_WEI,
    quorumPpm: 40_000n,
    quorumFloorWei: 100_000n * OPEN_WEI,
  },
  mainnet: {
    ownsParameters: true,
    votingDelaySeconds: 1n * DAY,
    votingPeriodSeconds: 5n * DAY,
    timelockSeconds: 15n * DAY,
    proposalThresholdWei: 100_000n * OPEN_WEI,
    quorumPpm: 40_000n,
    quorumFloorWei: 10_000_000n * OPEN_WEI,
  },
};
