// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./Credits.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title Pots, anchored payout roots and claims
/// @notice Fees come into the pot of the epoch that is open. A staker anchors the root of cumulative payouts, which may
/// never sum to more than all pots; after the window it is final. A claim pays an account what its leaf adds to what it
/// was paid. What the referee withheld comes off an account's next claims and is credited to the client there, so a
/// withholding moves money that the account's own leaf proves, and can never take from another's.
contract Epochs is IEpochs, Credits {
    /// @dev Withholdings served by one claim; a longer queue takes several claims.
    uint256 private constant MAX_SERVED = 64;

    IParameters public immutable parameters;
    IStaking public immutable staking;
    address public immutable inferenceEscrow;
    address public immutable referee;

    /// @notice Epochs anchored so far; the open epoch is the next number. Epochs count from 1.
    uint64 public epochCount;
    /// @notice Epochs finalised so far.
    uint64 public finalisedCount;
    /// @notice All that ever came into pots, in wei.
    uint256 public potTotalWei;
    /// @notice All that claims took out of pots, in wei: paid to accounts or credited to clients.
    uint256 public claimedTotalWei;
    mapping(uint64 epoch => uint256 amountWei) public potOf;
    mapping(address account => uint256 amountWei) public claimedWei;
    /// @notice What is still to come off an account's claims, in wei.
    mapping(address account => uint256 amountWei) public withheldWei;
    mapping(uint64 epoch => Epoch) private _epochs;
    mapping(address account => Withholding[]) private _withholdings;
    mapping(address account => uint256) private _served;

    constructor(IParameters parameters_, IStaking staking_, address inferenceEscrow_, address referee_) {
        parameters = parameters_;
        staking = staking_;
        inferenceEscrow = inferenceEscrow_;
        referee = referee_;
        _epochs[1].openedBlock = uint64(block.number);
    }

    /// @notice Adds the value sent to the open epoch's pot.
    function fund() external payable returns (uint64 epoch) {
        require(msg.sender == inferenceEscrow, EpochsUnauthorised(msg.sender));
        epoch = epochCount + 1;
        potOf[epoch] += msg.value;
        potTotalWei += msg.value;
        emit EpochFunded(epoch, msg.value, potTotalWei);
    }

    /// @notice Closes the open epoch with the roots of its payouts and receipts.
    /// @param totalWei Last cumulative sum of the payout leaves.
    function anchor(
        uint64 epoch,
        bytes32 payoutRoot,
        uint32 leafCount,
        uint256 totalWei,
        bytes32 receiptsRoot,
        uint32 receiptCount,
        bytes32 manifest
    ) external {
        _checkAnchor(epoch, totalWei);
        Epoch storage opened = _epochs[epoch];
        opened.payoutRoot = payoutRoot;
        opened.receiptsRoot = receiptsRoot;
        opened.manifest = manifest;
        opened.totalWei = uint128(totalWei);
        opened.potTotalWei = uint128(potTotalWei);
        opened.anchorer = msg.sender;
        opened.leafCount = leafCount;
        opened.receiptCount = receiptCount;
        opened.anchoredBlock = uint64(block.number);
        opened.anchoredAt = uint64(block.timestamp);
        opened.finalisableAt = uint64(block.timestamp + parameters.timing().challengeWindowSeconds);
        epochCount = epoch;
        _epochs[epoch + 1].openedBlock = uint64(block.number);
        _emitAnchored(epoch);
    }

    /// @notice Makes an anchored epoch the one that claims are judged by, after its window.
    function finalise(uint64 epoch) external {
        require(epoch > 0 && epoch <= epochCount, EpochsUnknownEpoch(epoch));
        Epoch storage anchored = _epochs[epoch];
        require(!anchored.finalised, EpochsAlreadyFinalised(epoch));
        require(block.timestamp >= anchored.finalisableAt, EpochsWindowOpen(epoch, anchored.finalisableAt));
        anchored.finalised = true;
        finalisedCount = epoch;
        emit EpochFinalised(epoch, anchored.totalWei);
    }

    /// @notice Pays an account what the latest final root owes it; anybody may send it for the account.
    function claim(address account, uint256 cumulativeWei, uint256 index, bytes32[] calldata proof)
        external
        returns (uint256 paidWei)
    {
        _checkPayout(account, cumulativeWei, index, proof);
        uint256 beforeWei = claimedWei[account];
        require(cumulativeWei > beforeWei, EpochsNothingDue(account));
        uint256 dueWei = cumulativeWei - beforeWei;
        uint256 takenWei;
        if (withheldWei[account] > 0) takenWei = _serve(account, dueWei);
        // While withholdings are left over, nothing is paid to the account itself.
        if (withheldWei[account] == 0) {
            paidWei = dueWei - takenWei;
            takenWei = dueWei;
        }
        _book(account, beforeWei + takenWei, takenWei);
        emit Claimed(account, finalisedCount, paidWei, beforeWei + takenWei);
        if (paidWei > 0) _send(account, paidWei);
    }

    /// @notice Lets the referee take an amount off an account's next claims, for a client.
    function withhold(address account, uint256 amountWei, address client) external {
        require(msg.sender == referee, EpochsUnauthorised(msg.sender));
        if (amountWei == 0) return;
        _withholdings[account].push(Withholding(client, uint128(amountWei)));
        withheldWei[account] += amountWei;
        emit Withheld(account, client, amountWei);
    }

    // ---------------------------------------------------------------- views

    /// @notice An anchored epoch, or the open one, of which only openedBlock is set.
    function getEpoch(uint64 epoch) external view returns (Epoch memory) {
        require(epoch > 0 && epoch <= epochCount + 1, EpochsUnknownEpoch(epoch));
        return _epochs[epoch];
    }

    function receiptsOf(uint64 epoch) external view returns (bytes32 receiptsRoot, uint32 receiptCount) {
        require(epoch > 0 && epoch <= epochCount, EpochsUnknownEpoch(epoch));
        return (_epochs[epoch].receiptsRoot, _epochs[epoch].receiptCount);
    }

    /// @notice Withholdings of an account that are not served yet, in their order.
    function getWithholdings(address account) external view returns (Withholding[] memory open) {
        Withholding[] storage queue = _withholdings[account];
        uint256 from = _served[account];
        open = new Withholding[](queue.length - from);
        for (uint256 i = 0; i < open.length; i++) open[i] = queue[from + i];
    }

    /// @notice Hash of a payout leaf (docs/protocol.md section 5).
    function payoutLeaf(uint256 index, address account, uint256 cumulativeWei) public pure returns (bytes32) {
        return MerkleTree.leaf(abi.encode(index, account, cumulativeWei));
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return potTotalWei - claimedTotalWei + creditsTotalWei;
    }

    // ---------------------------------------------------------------- inside

    function _checkAnchor(uint64 epoch, uint256 totalWei) private view {
        uint64 previous = epochCount;
        require(epoch == previous + 1, EpochsOutOfOrder(epoch, previous + 1));
        require(previous == finalisedCount, EpochsPreviousOpen(previous));
        uint256 neededWei = parameters.bonds().minStakeWei;
        uint256 freeWei = staking.getAccount(msg.sender).freeWei;
        require(freeWei >= neededWei, EpochsStakeShort(msg.sender, freeWei, neededWei));
        require(totalWei <= potTotalWei, EpochsTotalAbovePot(totalWei, potTotalWei));
        uint256 previousWei = _epochs[previous].totalWei;
        require(totalWei >= previousWei, EpochsTotalFell(totalWei, previousWei));
    }

    function _checkPayout(address account, uint256 cumulativeWei, uint256 index, bytes32[] calldata proof)
        private
        view
    {
        require(finalisedCount > 0, EpochsNothingFinalised());
        Epoch storage last = _epochs[finalisedCount];
        bytes32 leaf = payoutLeaf(index, account, cumulativeWei);
        require(
            MerkleTree.verify(last.payoutRoot, leaf, index, last.leafCount, proof),
            EpochsProofInvalid(account, cumulativeWei, index)
        );
    }

    /// @dev No root, whatever it says, pays out more than its total, which is at most what is in the pots.
    function _book(address account, uint256 accountWei, uint256 takenWei) private {
        uint256 totalWei = _epochs[finalisedCount].totalWei;
        uint256 allWei = claimedTotalWei + takenWei;
        require(allWei <= totalWei, EpochsClaimsAboveTotal(allWei, totalWei));
        claimedWei[account] = accountWei;
        claimedTotalWei = allWei;
    }

    function _emitAnchored(uint64 epoch) private {
        Epoch storage anchored = _epochs[epoch];
        emit EpochAnchored(
            epoch,
            anchored.anchorer,
            anchored.payoutRoot,
            anchored.leafCount,
            anchored.totalWei,
            anchored.receiptsRoot,
            anchored.receiptCount,
            anchored.manifest,
            anchored.finalisableAt
        );
    }

    /// @dev Credits clients out of what is due, in the order of the withholdings.
    function _serve(address account, uint256 dueWei) private returns (uint256 servedWei) {
        Withholding[] storage queue = _withholdings[account];
        uint256 place = _served[account];
        uint256 end = place + MAX_SERVED < queue.length ? place + MAX_SERVED : queue.length;
        while (place < end && servedWei < dueWei) {
            Withholding storage entry = queue[place];
            uint256 leftWei = dueWei - servedWei;
            uint256 partWei = entry.amountWei < leftWei ? entry.amountWei : leftWei;
            entry.amountWei -= uint128(partWei);
            servedWei += partWei;
            _credit(entry.client, partWei);
            emit WithheldPaid(account, entry.client, partWei);
            if (entry.amountWei == 0) place++;
        }
        _served[account] = place;
        withheldWei[account] -= servedWei;
    }
}
