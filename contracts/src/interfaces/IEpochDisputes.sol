// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Disputes about an anchored epoch: payouts that contradict each other, and data that nobody shows
interface IEpochDisputes {
    enum Fault {
        /// A cumulative amount fell against the last final root, or its leaf is gone.
        Decreased,
        /// Neighbouring leaves out of the order of keys.
        Unordered,
        /// A running sum that is not the one before it plus what the leaf's account is owed.
        RunningSum,
        /// The last running sum is not the anchored total.
        Total,
        /// Leaves that were asked for and not shown in time.
        Unavailable
    }

    enum Tree {
        Payouts,
        Receipts,
        Payments,
        /// What the receipts say, behind their hashes.
        Contents
    }

    /// @notice A payout leaf where it stands under a payout root.
    /// @param key An account; or a channel, whose amount is the fees that receipts account for.
    /// @param runningWei Sum of the accounts' amounts up to and including this leaf.
    struct Payout {
        uint256 index;
        uint256 key;
        uint256 cumulativeWei;
        uint256 runningWei;
        bytes32[] proof;
    }

    /// @param before The key's leaf under the last final root.
    /// @param present Its leaf under the disputed root; or, where it is gone, the leaves between which it would stand: two
    /// neighbours, the first alone, the last alone, or none if there are none.
    struct DecreaseEvidence {
        uint64 epoch;
        Payout before;
        Payout[] present;
    }

    /// @param leaves One leaf (the first or the last), or two neighbours.
    struct SumEvidence {
        uint64 epoch;
        Payout[] leaves;
    }

    /// @notice Leaves that somebody asked to be shown.
    /// @param round The anchoring that they belong to.
    /// @param bondWei What showing them is worth; the asker gets it back when nobody did.
    struct Ask {
        uint64 epoch;
        uint48 round;
        uint48 deadline;
        Tree tree;
        bool settled;
        address asker;
        uint96 bondWei;
        uint32[] indexes;
    }

    event EpochDisputed(uint64 indexed epoch, Fault fault, address indexed challenger, uint256 slashedWei);
    event LeavesAsked(
        uint256 indexed askId, uint64 indexed epoch, Tree tree, uint32[] indexes, uint64 deadline, uint256 bondWei
    );
    event LeavesShown(uint256 indexed askId, address indexed answerer, bytes[] leaves);
    event AskClosed(uint256 indexed askId, bool rejected);

    error EpochDisputesEvidenceNotCommitted(bytes32 commitment);
    error EpochDisputesEvidenceTooEarly(bytes32 commitment, uint256 fromBlock);
    error EpochDisputesNotInWindow(uint64 epoch);
    error EpochDisputesProofInvalid(bytes32 root, uint256 index);
    error EpochDisputesNoFault(uint64 epoch);
    error EpochDisputesWindowEnded(uint64 epoch, uint256 endedAt);
    error EpochDisputesAskSize(uint256 count, uint256 most);
    error EpochDisputesNoSuchLeaf(uint256 index, uint256 count);
    error EpochDisputesAskedBefore(Tree tree, uint256 index);
    error EpochDisputesBondShort(uint256 givenWei, uint256 neededWei);
    error EpochDisputesUnknownAsk(uint256 askId);
    error EpochDisputesAskClosed(uint256 askId);
    error EpochDisputesAnswerShape(uint256 askId);
    error EpochDisputesStillOpen(uint256 askId, uint256 deadline);

    function challengeDecrease(DecreaseEvidence calldata evidence) external;
    function challengeSums(SumEvidence calldata evidence) external;
    function ask(uint64 epoch, Tree tree, uint32[] calldata indexes) external payable returns (uint256 askId);
    function show(uint256 askId, bytes[] calldata leaves, bytes32[][] calldata proofs) external;
    function closeAsk(uint256 askId) external;

    function askCount() external view returns (uint256);
    function getAsk(uint256 askId) external view returns (Ask memory);
    function bondOf(Tree tree, uint256 count) external view returns (uint256 bondWei);
    function accountedWei() external view returns (uint256);
}
