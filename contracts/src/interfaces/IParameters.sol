// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Every governed number. Ratios are PPM, amounts wei, durations seconds
interface IParameters {
    /// @notice A score passes when its cosine is at least numerator / denominator.
    struct Threshold {
        uint32 numerator;
        uint32 denominator;
    }

    /// @notice Division of the network fee (sum = 1e6), and of the data share into learned and memorised.
    struct Fees {
        uint32 platformPpm;
        uint32 modelOwnerPpm;
        uint32 stakersPpm;
        uint32 dataPpm;
        uint32 learnedPpm;
    }

    /// @notice Division of slashed stake (sum = 1e6), and what a fault that is no accident costs beyond its lock. The jury's
    /// part is burned where no jury sat.
    /// @param correlationBasePpm Share of the owner's stake that such a fault costs at least.
    /// @param correlationPpm What is added to it, times the share of all stake that was slashed within the window.
    struct Slashing {
        uint32 challengerPpm;
        uint32 juryPpm;
        uint32 requesterPpm;
        uint32 burnPpm;
        uint32 correlationBasePpm;
        uint32 correlationPpm;
        uint32 windowSeconds;
    }

    /// @notice Life of a training task; one storage slot, copied into each task when it is announced.
    struct TaskRules {
        uint32 claimSeconds;
        uint32 leaseSeconds;
        uint32 revealSeconds;
        uint32 voteCommitSeconds;
        uint32 voteRevealSeconds;
        uint16 maxRenewals;
        uint8 committeeSize;
        uint16 segmentsPerVerifier;
        uint16 samplesPerVerifier;
        uint32 verifierRewardPpm;
    }

    /// @param versionLockWei What answers for the clusters of a version of a datanet; 0 where nothing does.
    /// @param contributionDepositWei What a commitment to records costs until they are revealed.
    struct Bonds {
        uint128 minStakeWei;
        uint128 servingLockWei;
        uint128 trainingLockWei;
        uint128 abandonBondWei;
        uint32 maxStakers;
        uint128 versionLockWei;
        uint96 contributionDepositWei;
    }

    /// @notice How often work is done again, and how often a task is planted whose answer is known. Nodes read it.
    struct Audits {
        uint32 auditPpm;
        /// For a key's first newKeyTasks tasks.
        uint32 newKeyAuditPpm;
        /// After provenKeyTasks tasks without a fault; never 0.
        uint32 provenKeyAuditPpm;
        uint32 canaryPpm;
        uint16 newKeyTasks;
        uint16 provenKeyTasks;
    }

    /// @param slashingFloorSeconds Shortest deadline that may cost stake or a right to challenge; fixed when deployed.
    /// @param deltaSeconds A message and its inclusion in a block.
    /// @param daAnswerSeconds Time to show data that is asked for on chain.
    /// @param rerunSeconds Time to run again, canonically, all that a challenge may be about.
    /// @param contributionRevealSeconds Time to reveal what a contribution committed to; after it the deposit is burned.
    struct Timing {
        uint32 challengeWindowSeconds;
        uint32 thawSeconds;
        uint32 slashingFloorSeconds;
        uint16 evidenceDelayBlocks;
        uint32 deltaSeconds;
        uint32 daAnswerSeconds;
        uint32 rerunSeconds;
        uint32 contributionRevealSeconds;
    }

    struct Values {
        Threshold threshold;
        Fees fees;
        Slashing slashing;
        TaskRules tasks;
        Bonds bonds;
        Timing timing;
        Audits audits;
    }

    event ParametersChanged(Values settings);

    error ParametersThresholdInvalid(uint256 numerator, uint256 denominator);
    error ParametersFeeSum(uint256 sumPpm);
    error ParametersSlashSum(uint256 sumPpm);
    error ParametersCorrelationInvalid(uint256 basePpm, uint256 correlationPpm);
    error ParametersSlashWindowTooShort(uint256 windowSeconds, uint256 thawSeconds);
    error ParametersRatioAboveOne(uint256 ppm);
    error ParametersSelfChallengePays(uint256 challengerAndRequesterPpm);
    error ParametersCommitteeSize(uint256 size);
    error ParametersTaskRuleZero();
    error ParametersBondNotBelowLock(uint256 abandonBondWei, uint256 trainingLockWei);
    error ParametersBondZero();
    error ParametersVersionLockTooHigh(uint256 versionLockWei, uint256 trainingLockWei);
    error ParametersDepositTooHigh(uint256 contributionDepositWei, uint256 minStakeWei);
    error ParametersStakersOutOfBounds(uint256 maxStakers);
    error ParametersThawTooShort(uint256 thawSeconds, uint256 neededSeconds);
    error ParametersBelowSlashingFloor(uint256 givenSeconds, uint256 floorSeconds);
    error ParametersFloorIsFixed(uint256 floorSeconds);
    error ParametersEvidenceDelayZero();
    error ParametersWindowTooShort(uint256 windowSeconds, uint256 neededSeconds);
    error ParametersAuditsUnordered(uint256 provenKeyPpm, uint256 auditPpm, uint256 newKeyPpm);
    error ParametersCanariesInvalid(uint256 canaryPpm);
    error ParametersDurationZero();

    function change(Values calldata settings) external;
    function all() external view returns (Values memory);
    function threshold() external view returns (Threshold memory);
    function fees() external view returns (Fees memory);
    function slashing() external view returns (Slashing memory);
    function tasks() external view returns (TaskRules memory);
    function bonds() external view returns (Bonds memory);
    function listing() external view returns (uint256 minStakeWei, uint256 maxStakers);
    function anchoring() external view returns (uint256 minStakeWei, uint256 challengeWindowSeconds);
    function depositTerms() external view returns (uint256 depositWei, uint256 revealSeconds);
    function timing() external view returns (Timing memory);
    function evidenceDelayBlocks() external view returns (uint256);
    function audits() external view returns (Audits memory);
    function thresholdsAround(uint256 second) external view returns (Threshold[] memory);
    function feesAround(uint256 second) external view returns (Fees[] memory);
}
