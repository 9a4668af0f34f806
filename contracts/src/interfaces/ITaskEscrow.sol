// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "./IParameters.sol";

/// @title Life of a training task
interface ITaskEscrow {
    /// @dev Announced and Escalated wait for a provider. Registered, Refunded and Cancelled are final.
    enum State {
        None,
        Announced,
        Claimed,
        Committed,
        Revealed,
        Voting,
        Escalated,
        Registered,
        Refunded,
        Cancelled
    }

    enum Verdict {
        None,
        Valid,
        Invalid
    }

    struct Result {
        bytes32 resultHash;
        bytes32 traceRoot;
        bytes32 adapterHash;
        bytes32 sketchRoot;
        bytes32 manifest;
        uint32 sketchCount;
    }

    /// @param verdict None until revealed.
    struct Seat {
        address verifier;
        Verdict verdict;
        bytes32 commitment;
        bytes32 receiptHash;
    }

    /// @param deadline Second at which the present state runs out (for Voting: the end of vote commits).
    /// @param voteRevealDeadline End of vote reveals, while Voting.
    /// @param attempt Claims so far; the present claim's number while there is one.
    /// @param round 1 for the first committee of an attempt, 2 for the redrawn one.
    /// @param revealBlock Block of the reveal or the redraw, whose stake the draw counts.
    /// @param seedMark Names the beacon's seed for the present round; fixed in revealBlock.
    struct Task {
        address requester;
        State state;
        uint64 deadline;
        address provider;
        uint64 voteRevealDeadline;
        uint32 version;
        uint32 segments;
        uint32 attempt;
        uint32 renewals;
        uint32 step;
        uint8 round;
        uint64 announcedAt;
        uint64 revealBlock;
        uint64 seedMark;
        uint128 rewardWei;
        uint128 trainingLockWei;
        uint128 abandonBondWei;
        IParameters.TaskRules rules;
        bytes32 specDigest;
        bytes32 baseHash;
        bytes32 datanetId;
        bytes32 checkpointRoot;
        bytes32 seed;
        bytes32 adapterId;
        Result result;
        Seat[] committee;
        string name;
    }

    /// @notice An attempt that a verifier called INVALID; its lock waits for the dispute protocol or for releaseAt.
    struct Escalation {
        address provider;
        uint32 attempt;
        uint64 releaseAt;
        bool released;
        bytes32 resultHash;
    }

    event TaskAnnounced(
        uint256 indexed taskId,
        address indexed requester,
        bytes32 indexed datanetId,
        bytes32 specDigest,
        bytes32 baseHash,
        uint32 version,
        uint32 segments,
        uint256 rewardWei,
        string name
    );
    event TaskClaimed(uint256 indexed taskId, address indexed provider, uint32 attempt, uint64 deadline);
    event TaskHeartbeat(
        uint256 indexed taskId, address indexed provider, uint32 step, bytes32 checkpointRoot, uint64 deadline
    );
    event TaskCommitted(uint256 indexed taskId, address indexed provider, bytes32 resultHash, uint64 deadline);
    event TaskRevealed(
        uint256 indexed taskId,
        address indexed provider,
        bytes32 traceRoot,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        uint32 sketchCount,
        bytes32 manifest
    );
    event CommitteeDrawn(uint256 indexed taskId, uint8 round, bytes32 seed, address[] verifiers);
    event VoteCommitted(uint256 indexed taskId, address indexed verifier, bytes32 commitment);
    event VoteRevealed(
        uint256 indexed taskId, address indexed verifier, uint8 round, Verdict verdict, bytes32 receiptHash
    );
    event TaskRegistered(uint256 indexed taskId, address indexed provider, bytes32 indexed adapterId);
    event TaskEscalated(
        uint256 indexed taskId, address indexed provider, uint32 attempt, uint256 escalationIndex, uint64 releaseAt
    );
    event EscalationReleased(uint256 indexed taskId, uint256 escalationIndex, uint256 amountWei);
    event TaskRedraw(uint256 indexed taskId, uint8 round);
    event TaskAbandoned(uint256 indexed taskId, address indexed provider, uint32 attempt, uint256 forfeitedWei);
    event TaskRefunded(uint256 indexed taskId, State finalState, uint256 amountWei);

    error TaskEscrowUnknownTask(uint256 taskId);
    error TaskEscrowWrongState(uint256 taskId, State state);
    error TaskEscrowRewardZero();
    error TaskEscrowRewardTooLarge(uint256 rewardWei);
    error TaskEscrowSegmentsZero();
    error TaskEscrowBaseUnknown(bytes32 baseHash);
    error TaskEscrowNotProviderRole(address account);
    error TaskEscrowProviderExcluded(uint256 taskId, address provider);
    error TaskEscrowNotProvider(uint256 taskId, address caller, address provider);
    error TaskEscrowNotRequester(uint256 taskId, address caller, address requester);
    error TaskEscrowDeadlinePassed(uint256 taskId, uint256 deadline);
    error TaskEscrowDeadlineNotReached(uint256 taskId, uint256 deadline);
    error TaskEscrowCheckpointRepeated(uint256 taskId, bytes32 checkpointRoot);
    error TaskEscrowStepNotForward(uint256 taskId, uint256 step, uint256 lastStep);
    error TaskEscrowRenewalsSpent(uint256 taskId, uint256 maxRenewals);
    error TaskEscrowResultHashZero();
    error TaskEscrowResultMismatch(uint256 taskId, bytes32 expected, bytes32 computed);
    error TaskEscrowSketchCount(uint256 taskId, uint256 given, uint256 expected);
    error TaskEscrowNotVerifier(uint256 taskId, address caller);
    error TaskEscrowVoteAlreadyCommitted(uint256 taskId, address verifier);
    error TaskEscrowVoteAlreadyRevealed(uint256 taskId, address verifier);
    error TaskEscrowVoteHashZero();
    error TaskEscrowVoteMismatch(uint256 taskId, bytes32 expected, bytes32 computed);
    error TaskEscrowVerdictNone();
    error TaskEscrowVotesOutstanding(uint256 taskId, uint256 deadline);
    error TaskEscrowEscalationPending(uint256 taskId, uint256 releaseAt);
    error TaskEscrowEscalationReleased(uint256 taskId, uint256 index);
    error TaskEscrowUnknownEscalation(uint256 taskId, uint256 index);

    function announce(
        bytes32 specDigest,
        bytes32 baseHash,
        bytes32 datanetId,
        uint32 version,
        uint32 segments,
        string calldata name
    ) external payable returns (uint256 taskId);
    function claim(uint256 taskId) external;
    function heartbeat(uint256 taskId, uint32 step, bytes32 checkpointRoot) external;
    function commit(uint256 taskId, bytes32 resultHash) external;
    function reveal(
        uint256 taskId,
        bytes32 traceRoot,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        uint32 sketchCount,
        bytes32 manifest,
        bytes32 salt
    ) external;
    function drawCommittee(uint256 taskId) external;
    function commitVote(uint256 taskId, bytes32 commitment) external;
    function revealVote(uint256 taskId, Verdict verdict, bytes32 receiptHash, bytes32 salt) external;
    function tally(uint256 taskId) external;
    function expire(uint256 taskId) external;
    function cancel(uint256 taskId) external;
    function releaseEscalated(uint256 taskId, uint256 index) external;

    function taskCount() external view returns (uint256);
    function getTask(uint256 taskId) external view returns (Task memory);
    function getTasks(uint256 from, uint256 count) external view returns (Task[] memory);
    function getEscalations(uint256 taskId) external view returns (Escalation[] memory);
    function isExcluded(uint256 taskId, address provider) external view returns (bool);
    function canReveal(uint256 taskId) external view returns (bool);
    function canTally(uint256 taskId) external view returns (bool);
    function drawableAtBlock(uint256 taskId) external view returns (uint256);
    function assignment(uint256 taskId, address verifier)
        external
        view
        returns (uint256[] memory segments, uint256[] memory samples);
    function lockIdOf(uint256 taskId, uint32 attempt) external pure returns (bytes32);
    function resultHashOf(
        uint256 taskId,
        address provider,
        bytes32 traceRoot,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        bytes32 manifest,
        bytes32 salt
    ) external pure returns (bytes32);
    function voteHashOf(uint256 taskId, address verifier, Verdict verdict, bytes32 receiptHash, bytes32 salt)
        external
        pure
        returns (bytes32);
    function accountedWei() external view returns (uint256);
}
