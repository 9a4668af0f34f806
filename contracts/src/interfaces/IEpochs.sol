// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Pots, anchored payout roots and claims
interface IEpochs {
    /// @notice What an anchor puts on chain.
    /// @param manifest Digest of the published bytes from which everybody can compute the epoch.
    /// @param totalWei Sum of all payouts of the root, over all epochs so far: its last running sum.
    struct Roots {
        bytes32 payoutRoot;
        bytes32 receiptsRoot;
        bytes32 paymentsRoot;
        bytes32 manifest;
        uint256 totalWei;
        uint32 leafCount;
        uint32 receiptCount;
        uint32 paymentCount;
    }

    /// @param payoutRoot As paymentsRoot, paymentCount, manifest, anchorer, round and windowEndsAt, of the last final epoch and of one in its window;
    /// 0 for earlier ones, which no claim is judged by (EpochAnchored keeps them).
    /// @param anchorer Whose bond answers for it.
    /// @param round Number of the anchoring, rejected ones counted.
    /// @param openedBlock Block in which the one before it was anchored, of the first one that in which anything was collected; 0
    /// before. Stakers are paid by their stake at its end.
    /// @param windowEndsAt Until when it may be asked for data; finalisableAt may come later, by what was asked.
    struct Epoch {
        bytes32 payoutRoot;
        bytes32 receiptsRoot;
        bytes32 paymentsRoot;
        bytes32 manifest;
        uint96 totalWei;
        uint32 leafCount;
        uint32 receiptCount;
        uint32 paymentCount;
        bool finalised;
        address anchorer;
        uint48 round;
        uint48 openedBlock;
        uint48 anchoredBlock;
        uint48 windowEndsAt;
        uint48 finalisableAt;
    }

    /// @dev In one slot.
    struct Withholding {
        address client;
        uint96 amountWei;
    }

    event EpochFunded(uint64 indexed epoch, uint256 amountWei, uint256 potTotalWei);
    event EpochAnchored(
        uint64 indexed epoch,
        address indexed anchorer,
        Roots roots,
        uint256 potTotalWei,
        uint64 finalisableAt,
        bytes certificate
    );
    event EpochExtended(uint64 indexed epoch, uint64 finalisableAt);
    event EpochRejected(
        uint64 indexed epoch, address indexed anchorer, address indexed challenger, uint256 slashedWei
    );
    event EpochFinalised(uint64 indexed epoch, uint256 totalWei);
    event Withheld(address indexed account, address indexed client, uint256 amountWei);
    event WithheldPaid(address indexed account, address indexed client, uint256 amountWei);
    event Claimed(address indexed account, uint64 indexed epoch, uint256 amountWei, uint256 claimedWei);

    error EpochsUnauthorised(address caller);
    error EpochsUnknownEpoch(uint64 epoch);
    error EpochsOutOfOrder(uint64 given, uint64 expected);
    error EpochsPreviousOpen(uint64 epoch);
    error EpochsNotInWindow(uint64 epoch);
    error EpochsBondBound(address account, uint64 epoch);
    error EpochsTotalAbovePot(uint256 totalWei, uint256 potTotalWei);
    error EpochsTotalFell(uint256 totalWei, uint256 previousTotalWei);
    error EpochsWindowOpen(uint64 epoch, uint256 finalisableAt);
    error EpochsAlreadyFinalised(uint64 epoch);
    error EpochsNothingFinalised();
    error EpochsProofInvalid(address account, uint256 cumulativeWei, uint256 index);
    error EpochsNothingDue(address account);
    error EpochsClaimsAboveTotal(uint256 claimedWei, uint256 totalWei);

    function fund() external payable returns (uint64 epoch);
    function anchor(uint64 epoch, Roots calldata roots, bytes calldata certificate) external;
    function extend(uint64 epoch, uint48 finalisableAt) external;
    function reject(uint64 epoch, address challenger, address wronged) external returns (uint256 slashedWei);
    function releaseBond(address anchorer) external returns (uint256 amountWei);
    function finalise(uint64 epoch) external;
    function claim(
        address account,
        uint256 cumulativeWei,
        uint256 runningWei,
        uint256 index,
        bytes32[] calldata proof
    ) external returns (uint256 paidWei);
    function withhold(address account, uint96 amountWei, address client) external;

    function anchoringCount() external view returns (uint48);
    function epochCount() external view returns (uint64);
    function finalisedCount() external view returns (uint64);
    function potOf(uint64 epoch) external view returns (uint256);
    function potTotalWei() external view returns (uint128);
    function claimedTotalWei() external view returns (uint256);
    function claimedWei(address account) external view returns (uint256);
    function withheldWei(address account) external view returns (uint256);
    function getWithholdings(address account) external view returns (Withholding[] memory);
    function getEpoch(uint64 epoch) external view returns (Epoch memory);
    function receiptsRootOf(uint64 epoch) external view returns (bytes32 receiptsRoot);
    function receiptsOf(uint64 epoch) external view returns (bytes32 receiptsRoot, uint32 receiptCount);
    function payoutLeaf(uint256 index, address account, uint256 cumulativeWei, uint256 runningWei)
        external
        pure
        returns (bytes32);
    function accountedWei() external view returns (uint256);
}
