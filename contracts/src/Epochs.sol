// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./Credits.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {Locks} from "./libraries/Locks.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title Pots, anchored payout roots and claims
/// @notice Fees come into the pot of the epoch that is open. Whoever has the stake for the bond anchors the root of
/// cumulative payouts, which may never sum to more than all pots; after the window it is final. Until then the contract of
/// epoch disputes may reject it: the bond is slashed and the epoch is open again. A claim pays an account what its leaf adds to what it
/// was paid. What the referee withheld comes off an account's next claims and is credited to the client there, so a
/// withholding moves money that the account's own leaf proves, and can never take from another's.
contract Epochs is IEpochs, Credits {
    /// @dev Withholdings served by one claim; a longer queue takes several claims.
    uint256 private constant MAX_SERVED = 64;

    IParameters public immutable parameters;
    IStaking public immutable staking;
    address public immutable inferenceEscrow;
    address public immutable referee;
    address public immutable disputes;
    address public immutable paymentDisputes;

    /// @dev What an anchor leaves behind for good: two slots.
    struct Anchor {
        bytes32 receiptsRoot;
        uint96 totalWei;
        uint32 leafCount;
        uint32 receiptCount;
        uint48 anchoredBlock;
        uint48 finalisableAt;
    }

    /// @dev What claims, disputes and nodes need of the last final epoch and of the one in its window; four slots that
    /// are written over, which costs a quarter of new ones.
    struct Recent {
        bytes32 payoutRoot;
        bytes32 paymentsRoot;
        bytes32 manifest;
        address anchorer;
        uint40 windowEndsAt;
        uint24 round;
        uint32 paymentCount;
    }

    /// @dev What claims are judged by, besides the recent payout root: one slot.
    struct Final {
        uint96 totalWei;
        uint96 claimedTotalWei;
        uint32 leafCount;
        uint32 epoch;
    }

    /// @dev One slot. No claim passes a total of 96 bits, so that withholdings which sum to more take all there can be.
    /// @param servedCount Withholdings that are paid, and `withheldCount` all that there were, in the account's queue.
    struct Account {
        uint96 claimedWei;
        uint96 withheldWei;
        uint32 servedCount;
        uint32 withheldCount;
    }

    mapping(uint64 epoch => uint256 amountWei) public potOf;
    /// @notice Epochs anchored so far; the open epoch is the next number. Epochs count from 1.
    uint64 public epochCount;
    /// @notice All that ever came into pots, in wei.
    uint128 public potTotalWei;
    /// @dev Block in which anything came in first: there the first epoch opened.
    uint48 private _fundedBlock;
    Final private _final;
    /// @dev Of the epochs by their number modulo 2: at most one stands behind the last final one.
    Recent[2] private _recent;
    mapping(address account => Account) private _accounts;
    mapping(uint64 epoch => Anchor) private _anchors;
    mapping(address account => mapping(uint256 place => Withholding)) private _withholdings;

    modifier onlyDisputes() {
        require(msg.sender == disputes || msg.sender == paymentDisputes, EpochsUnauthorised(msg.sender));
        _;
    }

    constructor(
        IParameters parameters_,
        IStaking staking_,
        address inferenceEscrow_,
        address referee_,
        address disputes_,
        address paymentDisputes_
    ) {
        parameters = parameters_;
        staking = staking_;
        inferenceEscrow = inferenceEscrow_;
        referee = referee_;
        disputes = disputes_;
        paymentDisputes = paymentDisputes_;
    }

    /// @notice Adds the value sent to the open epoch's pot.
    function fund() external payable returns (uint64 epoch) {
        require(msg.sender == inferenceEscrow, EpochsUnauthorised(msg.sender));
        epoch = epochCount + 1;
        potOf[epoch] += msg.value;
        uint128 totalWei = potTotalWei + uint128(msg.value);
        potTotalWei = totalWei;
        if (_fundedBlock == 0) _fundedBlock = uint48(block.number);
        emit EpochFunded(epoch, msg.value, totalWei);
    }

    /// @notice Closes the open epoch with the roots of its payouts and receipts, and binds the sender's bond to them.
    /// @param certificate What a data-availability layer gave for the manifest's bytes; empty where the nodes' own
    /// network keeps them. It is only recorded: whether the data can be had is what disputes find out.
    function anchor(uint64 epoch, Roots calldata roots, bytes calldata certificate) external {
        uint256 windowSeconds = _checkAnchor(epoch, roots.totalWei, roots.leafCount);
        uint48 finalisableAt = uint48(block.timestamp + windowSeconds);
        Recent storage recent = _recent[epoch % 2];
        recent.payoutRoot = roots.payoutRoot;
        recent.paymentsRoot = roots.paymentsRoot;
        recent.manifest = roots.manifest;
        recent.anchorer = msg.sender;
        recent.windowEndsAt = uint40(finalisableAt);
        recent.round = uint24(anchoringCount()) + 1;
        recent.paymentCount = roots.paymentCount;
        _anchors[epoch] = Anchor({
            receiptsRoot: roots.receiptsRoot,
            totalWei: uint96(roots.totalWei),
            leafCount: roots.leafCount,
            receiptCount: roots.receiptCount,
            anchoredBlock: uint48(block.number),
            finalisableAt: finalisableAt
        });
        epochCount = epoch;
        emit EpochAnchored(epoch, msg.sender, roots, potTotalWei, finalisableAt, certificate);
    }

    /// @notice Lets the disputes keep an epoch's window open for data that was asked for.
    function extend(uint64 epoch, uint48 finalisableAt) external onlyDisputes {
        Anchor storage anchored = _inWindow(epoch);
        if (finalisableAt <= anchored.finalisableAt) return;
        anchored.finalisableAt = finalisableAt;
        emit EpochExtended(epoch, finalisableAt);
    }

    /// @notice Lets the disputes reject an epoch that is not final: its anchorer's bond is slashed, and anybody may anchor
    /// the epoch again.
    /// @param wronged Who lost by it in particular; the zero address if nobody did.
    function reject(uint64 epoch, address challenger, address wronged)
        external
        onlyDisputes
        returns (uint256 slashedWei)
    {
        _inWindow(epoch);
        address anchorer = _recent[epoch % 2].anchorer;
        delete _anchors[epoch];
        epochCount = epoch - 1;
        // What came in meanwhile was meant for the next one, and goes to this one again.
        potOf[epoch] += potOf[epoch + 1];
        delete potOf[epoch + 1];
        slashedWei = staking.slash(Locks.anchoring(anchorer), challenger, wronged);
        emit EpochRejected(epoch, anchorer, challenger, slashedWei);
    }

    /// @notice Returns an anchorer's bond to its free stake unless an epoch in its window stands on it; anybody may send it.
    function releaseBond(address anchorer) external returns (uint256 amountWei) {
        uint64 epoch = epochCount;
        bool isBound = epoch > _final.epoch && _recent[epoch % 2].anchorer == anchorer;
        require(!isBound, EpochsBondBound(anchorer, epoch));
        return staking.unlock(Locks.anchoring(anchorer));
    }

    /// @notice Makes an anchored epoch the one that claims are judged by, after its window.
    function finalise(uint64 epoch) external {
        require(epoch > 0 && epoch <= epochCount, EpochsUnknownEpoch(epoch));
        Anchor storage anchored = _anchors[epoch];
        require(epoch > _final.epoch, EpochsAlreadyFinalised(epoch));
        require(block.timestamp >= anchored.finalisableAt, EpochsWindowOpen(epoch, anchored.finalisableAt));
        _final.totalWei = anchored.totalWei;
        _final.leafCount = anchored.leafCount;
        _final.epoch = uint32(epoch);
        emit EpochFinalised(epoch, anchored.totalWei);
    }

    /// @notice Pays an account what the latest final root owes it; anybody may send it for the account.
    /// @param runningWei Sum of the payouts up to this one, as the leaf says it.
    function claim(
        address account,
        uint256 cumulativeWei,
        uint256 runningWei,
        uint256 index,
        bytes32[] calldata proof
    ) external returns (uint256 paidWei) {
        Final memory last = _final;
        require(last.epoch > 0, EpochsNothingFinalised());
        require(
            MerkleTree.verify(
                _recent[last.epoch % 2].payoutRoot,
                payoutLeaf(index, account, cumulativeWei, runningWei),
                index,
                last.leafCount,
                proof
            ),
            EpochsProofInvalid(account, cumulativeWei, index)
        );
        Account memory state = _accounts[account];
        require(cumulativeWei > state.claimedWei, EpochsNothingDue(account));
        uint256 dueWei = cumulativeWei - state.claimedWei;
        uint256 takenWei;
        if (state.withheldWei > 0) takenWei = _serve(account, state, dueWei);
        // While withholdings are left over, nothing is paid to the account itself.
        if (state.withheldWei == 0) {
            paidWei = dueWei - takenWei;
            takenWei = dueWei;
        }
        // No root, whatever it says, pays out more than its total, which is at most what is in the pots.
        uint256 allWei = last.claimedTotalWei + takenWei;
        require(allWei <= last.totalWei, EpochsClaimsAboveTotal(allWei, last.totalWei));
        last.claimedTotalWei = uint96(allWei);
        _final = last;
        state.claimedWei += uint96(takenWei);
        _accounts[account] = state;
        emit Claimed(account, last.epoch, paidWei, state.claimedWei);
        if (paidWei > 0) _send(account, paidWei);
    }

    /// @notice Lets the referee take an amount off an account's next claims, for a client.
    function withhold(address account, uint96 amountWei, address client) external {
        require(msg.sender == referee, EpochsUnauthorised(msg.sender));
        if (amountWei == 0) return;
        Account memory state = _accounts[account];
        _enqueue(account, state, Withholding(client, amountWei));
        uint256 sumWei = uint256(state.withheldWei) + amountWei;
        state.withheldWei = sumWei > type(uint96).max ? type(uint96).max : uint96(sumWei);
        _accounts[account] = state;
        emit Withheld(account, client, amountWei);
    }

    // ---------------------------------------------------------------- views

    /// @notice Anchorings so far, rejected ones counted.
    function anchoringCount() public view returns (uint48) {
        (uint48 even, uint48 odd) = (_recent[0].round, _recent[1].round);
        return even > odd ? even : odd;
    }

    /// @notice Epochs finalised so far.
    function finalisedCount() external view returns (uint64) {
        return _final.epoch;
    }

    /// @notice All that claims took out of pots, in wei: paid to accounts or credited to clients.
    function claimedTotalWei() external view returns (uint256) {
        return _final.claimedTotalWei;
    }

    function claimedWei(address account) external view returns (uint256) {
        return _accounts[account].claimedWei;
    }

    /// @notice What is still to come off an account's claims, in wei.
    function withheldWei(address account) external view returns (uint256) {
        return _accounts[account].withheldWei;
    }

    /// @notice An anchored epoch, or the open one, of which only openedBlock is set.
    function getEpoch(uint64 epoch) external view returns (Epoch memory) {
        require(epoch > 0 && epoch <= epochCount + 1, EpochsUnknownEpoch(epoch));
        Anchor storage anchored = _anchors[epoch];
        Recent memory recent;
        if (epoch <= epochCount && epoch >= _final.epoch) recent = _recent[epoch % 2];
        return Epoch({
            payoutRoot: recent.payoutRoot,
            receiptsRoot: anchored.receiptsRoot,
            paymentsRoot: recent.paymentsRoot,
            manifest: recent.manifest,
            totalWei: anchored.totalWei,
            leafCount: anchored.leafCount,
            receiptCount: anchored.receiptCount,
            paymentCount: recent.paymentCount,
            finalised: epoch <= _final.epoch,
            anchorer: recent.anchorer,
            round: recent.round,
            openedBlock: epoch == 1 ? _fundedBlock : _anchors[epoch - 1].anchoredBlock,
            anchoredBlock: anchored.anchoredBlock,
            windowEndsAt: recent.windowEndsAt,
            finalisableAt: anchored.finalisableAt
        });
    }

    /// @notice Root of an epoch's receipts, which binds their number; 0 of an epoch that is not anchored.
    function receiptsRootOf(uint64 epoch) external view returns (bytes32) {
        return _anchors[epoch].receiptsRoot;
    }

    function receiptsOf(uint64 epoch) external view returns (bytes32 receiptsRoot, uint32 receiptCount) {
        require(epoch > 0 && epoch <= epochCount, EpochsUnknownEpoch(epoch));
        return (_anchors[epoch].receiptsRoot, _anchors[epoch].receiptCount);
    }

    /// @notice Withholdings of an account that are not served yet, in their order.
    function getWithholdings(address account) external view returns (Withholding[] memory open) {
        Account memory state = _accounts[account];
        open = new Withholding[](state.withheldCount - state.servedCount);
        for (uint256 i = 0; i < open.length; i++) open[i] = _withholdings[account][state.servedCount + i];
    }

    /// @notice Hash of a payout leaf (docs/protocol.md section 5).
    function payoutLeaf(uint256 index, address account, uint256 cumulativeWei, uint256 runningWei)
        public
        pure
        returns (bytes32)
    {
        return MerkleTree.leaf(abi.encode(index, account, cumulativeWei, runningWei));
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return potTotalWei - _final.claimedTotalWei + creditsTotalWei;
    }

    // ---------------------------------------------------------------- inside

    function _checkAnchor(uint64 epoch, uint256 totalWei, uint256 leafCount)
        private
        returns (uint256 windowSeconds)
    {
        uint64 previous = epochCount;
        Final memory last = _final;
        require(epoch == previous + 1, EpochsOutOfOrder(epoch, previous + 1));
        require(previous == last.epoch, EpochsPreviousOpen(previous));
        // At most the previous total and what was collected for this epoch: all that no epoch paid out so far.
        uint256 potWei = leafCount == 0 ? 0 : potTotalWei;
        require(totalWei <= potWei && totalWei <= type(uint96).max, EpochsTotalAbovePot(totalWei, potWei));
        require(totalWei >= last.totalWei, EpochsTotalFell(totalWei, last.totalWei));
        uint256 bondWei;
        (bondWei, windowSeconds) = parameters.anchoring();
        staking.raise(msg.sender, Locks.anchoring(msg.sender), bondWei);
    }

    function _inWindow(uint64 epoch) private view returns (Anchor storage) {
        require(epoch == epochCount && epoch > _final.epoch, EpochsNotInWindow(epoch));
        return _anchors[epoch];
    }

    /// @dev Behind an open withholding for the same client it only makes that one larger, which no order changes.
    function _enqueue(address account, Account memory state, Withholding memory added) private {
        mapping(uint256 place => Withholding) storage queue = _withholdings[account];
        if (state.withheldCount > state.servedCount) {
            Withholding memory last = queue[state.withheldCount - 1];
            uint256 sumWei = uint256(last.amountWei) + added.amountWei;
            if (last.client == added.client && sumWei <= type(uint96).max) {
                last.amountWei = uint96(sumWei);
                queue[state.withheldCount - 1] = last;
                return;
            }
        }
        queue[state.withheldCount++] = added;
    }

    /// @dev Credits clients out of what is due, in the order of the withholdings, and brings the account's state forward.
    function _serve(address account, Account memory state, uint256 dueWei) private returns (uint256 servedWei) {
        uint256 place = state.servedCount;
        uint256 end = place + MAX_SERVED < state.withheldCount ? place + MAX_SERVED : state.withheldCount;
        while (place < end && servedWei < dueWei) {
            Withholding storage entry = _withholdings[account][place];
            uint256 leftWei = dueWei - servedWei;
            uint256 partWei = entry.amountWei < leftWei ? entry.amountWei : leftWei;
            entry.amountWei -= uint96(partWei);
            servedWei += partWei;
            _credit(entry.client, partWei);
            emit WithheldPaid(account, entry.client, partWei);
            if (entry.amountWei == 0) place++;
        }
        state.servedCount = uint32(place);
        state.withheldWei = servedWei < state.withheldWei ? state.withheldWei - uint96(servedWei) : 0;
    }
}
