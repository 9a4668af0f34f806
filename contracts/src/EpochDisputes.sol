// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Credits} from "./Credits.sol";
import {IEpochDisputes} from "./interfaces/IEpochDisputes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IPaymentDisputes} from "./interfaces/IPaymentDisputes.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {CommittedEvidence} from "./libraries/CommittedEvidence.sol";
import {EpochTrees} from "./libraries/EpochTrees.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title Disputes about an anchored epoch, each decided by one transaction
/// @notice Payout leaves are sorted by key, accounts before channels, and carry running sums of what accounts are owed, so that two of them, or one and the anchored total,
/// show what is wrong with a root. Evidence is committed with the Referee first, like every other. Leaves that nobody
/// publishes can be asked for while the epoch's first window lasts: who shows them is paid for it by who asked, and leaves
/// that nobody shows in time count as wrong ones. What is found rejects the epoch.
contract EpochDisputes is IEpochDisputes, Credits {
    /// @dev Leaves in one ask, so that the answer stays far below a transaction's gas.
    uint256 private constant MAX_ASKED = 32;
    /// @dev Gas of showing one leaf at depth 20, calldata included; priced at the base fee of the asking.
    uint256 private constant SHOW_GAS = 40_000;
    /// @dev Receipts whose contents are asked for together, and the gas of showing one of the largest (64 scores, 1,024
    /// spans: 10.3 M measured).
    uint256 private constant MAX_CONTENTS = 1;
    uint256 private constant CONTENT_GAS = 11_000_000;
    uint256 private constant WORD = 32;

    IParameters public immutable parameters;
    IEpochs public immutable epochs;
    IReferee public immutable referee;
    IPaymentDisputes public immutable payments;

    /// @notice Asks so far; they count from 1.
    uint256 public askCount;
    /// @notice Bonds of asks that are open, in wei.
    uint256 public bondedWei;
    mapping(uint256 askId => Ask) private _asks;
    mapping(bytes32 leafKey => bool) private _isAsked;

    constructor(IParameters parameters_, IEpochs epochs_, IReferee referee_, IPaymentDisputes payments_) {
        parameters = parameters_;
        epochs = epochs_;
        referee = referee_;
        payments = payments_;
    }

    // ---------------------------------------------------------------- payouts

    /// @notice Rejects an epoch that owes an account less than the last final one did, or covers less of a channel.
    function challengeDecrease(DecreaseEvidence calldata evidence) external {
        _checkCommitted();
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory present = _inWindow(epoch);
        // Of the first epoch there is no root before it.
        require(epoch > 1, EpochDisputesNoFault(epoch));
        IEpochs.Epoch memory last = epochs.getEpoch(epoch - 1);
        _checkPayout(evidence.before, last.payoutRoot, last.leafCount);
        for (uint256 i = 0; i < evidence.present.length; i++) {
            _checkPayout(evidence.present[i], present.payoutRoot, present.leafCount);
        }
        uint256 key = evidence.before.key;
        (bool shown, uint256 presentWei) = EpochTrees.cumulativeAt(evidence.present, key, present.leafCount);
        require(shown && presentWei < evidence.before.cumulativeWei, EpochDisputesNoFault(epoch));
        _reject(epoch, Fault.Decreased, EpochTrees.isAccount(key) ? address(uint160(key)) : address(0));
    }

    /// @notice Rejects an epoch whose leaves are out of order, or do not add up to each other or to the total.
    function challengeSums(SumEvidence calldata evidence) external {
        _checkCommitted();
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory present = _inWindow(epoch);
        Payout[] calldata leaves = evidence.leaves;
        require(leaves.length == 1 || leaves.length == 2, EpochDisputesNoFault(epoch));
        for (uint256 i = 0; i < leaves.length; i++) {
            _checkPayout(leaves[i], present.payoutRoot, present.leafCount);
        }
        _reject(epoch, leaves.length == 1 ? _alone(evidence, present) : _together(evidence), address(0));
    }

    // ---------------------------------------------------------------- data

    /// @notice Asks for leaves of an epoch's trees, or for what its receipts say; the value sent pays whoever shows them. Each leaf can be
    /// asked for once per anchoring, in the epoch's first window, which stays open for what follows from the answer.
    function ask(uint64 epoch, Tree tree, uint32[] calldata indexes) external payable returns (uint256 askId) {
        IEpochs.Epoch memory present = _inWindow(epoch);
        require(
            block.timestamp < present.windowEndsAt, EpochDisputesWindowEnded(epoch, present.windowEndsAt)
        );
        uint256 count = indexes.length;
        uint256 most = tree == Tree.Contents ? MAX_CONTENTS : MAX_ASKED;
        require(count > 0 && count <= most, EpochDisputesAskSize(count, most));
        uint256 neededWei = bondOf(tree, count);
        require(
            msg.value >= neededWei && msg.value <= type(uint96).max, EpochDisputesBondShort(msg.value, neededWei)
        );
        (, uint256 leafCount) = _treeOf(tree, present);
        for (uint256 i = 0; i < count; i++) {
            require(indexes[i] < leafCount, EpochDisputesNoSuchLeaf(indexes[i], leafCount));
            bytes32 key = keccak256(abi.encode(present.round, tree, indexes[i]));
            require(!_isAsked[key], EpochDisputesAskedBefore(tree, indexes[i]));
            _isAsked[key] = true;
        }
        IParameters.Timing memory timing = parameters.timing();
        uint256 deadline = block.timestamp + timing.daAnswerSeconds;
        askId = ++askCount;
        _asks[askId] = Ask({
            epoch: epoch,
            round: present.round,
            deadline: uint48(deadline),
            tree: tree,
            settled: false,
            asker: msg.sender,
            bondWei: uint96(msg.value),
            indexes: indexes
        });
        bondedWei += msg.value;
        emit LeavesAsked(askId, epoch, tree, indexes, uint64(deadline), msg.value);
        // I1: whoever gets the data at the last moment can still run it again and be heard.
        epochs.extend(epoch, uint48(deadline + timing.rerunSeconds + 4 * uint256(timing.deltaSeconds)));
    }

    /// @notice Shows the leaves of an ask, in its order, and takes its bond; anybody who has them may, until the deadline.
    /// @param leaves The leaves' bytes (docs/protocol.md section 5); of contents the ABI-encoded receipts with signature and
    /// leaves, of which each has to be one that an epoch may list.
    function show(uint256 askId, bytes[] calldata leaves, bytes32[][] calldata proofs) external {
        Ask storage asked = _open(askId);
        IEpochs.Epoch memory present = _inWindow(asked.epoch);
        require(
            present.round == asked.round && block.timestamp <= asked.deadline, EpochDisputesAskClosed(askId)
        );
        uint256 count = asked.indexes.length;
        require(leaves.length == count && proofs.length == count, EpochDisputesAnswerShape(askId));
        Tree tree = asked.tree;
        (bytes32 root, uint256 leafCount) = _treeOf(tree, present);
        for (uint256 i = 0; i < count; i++) {
            uint256 index = asked.indexes[i];
            bytes32 leafHash;
            if (tree == Tree.Contents) {
                leafHash = MerkleTree.leaf(abi.encode(_receiptOf(leaves[i])));
            } else {
                // Bytes that are no leaf at all stand under a root as well, but show nothing that could be judged.
                require(_isLeaf(leaves[i], tree, index), EpochDisputesAnswerShape(askId));
                leafHash = MerkleTree.leaf(leaves[i]);
            }
            require(
                MerkleTree.verify(root, leafHash, index, leafCount, proofs[i]),
                EpochDisputesProofInvalid(root, index)
            );
        }
        emit LeavesShown(askId, msg.sender, leaves);
        _settle(asked, msg.sender);
    }

    /// @notice Returns the bond of an ask that nobody answered, and rejects its epoch if it still stands; anybody may send
    /// it after the deadline, or as soon as the epoch was rejected over something else.
    function closeAsk(uint256 askId) external {
        Ask storage asked = _open(askId);
        IEpochs.Epoch memory present = epochs.getEpoch(asked.epoch);
        bool stands = present.round == asked.round && !present.finalised;
        require(!stands || block.timestamp > asked.deadline, EpochDisputesStillOpen(askId, asked.deadline));
        _settle(asked, asked.asker);
        emit AskClosed(askId, stands);
        if (!stands) return;
        uint256 slashedWei = epochs.reject(asked.epoch, asked.asker, address(0));
        emit EpochDisputed(asked.epoch, Fault.Unavailable, asked.asker, slashedWei);
    }

    // ---------------------------------------------------------------- views

    function getAsk(uint256 askId) external view returns (Ask memory) {
        require(askId > 0 && askId <= askCount, EpochDisputesUnknownAsk(askId));
        return _asks[askId];
    }

    /// @notice The least that asking for so many leaves takes in this block.
    function bondOf(Tree tree, uint256 count) public view returns (uint256 bondWei) {
        return count * (tree == Tree.Contents ? CONTENT_GAS : SHOW_GAS) * block.basefee;
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return bondedWei + creditsTotalWei;
    }

    // ---------------------------------------------------------------- inside

    function _checkCommitted() private view {
        (bytes32 commitment, uint256 fromBlock) = CommittedEvidence.ofCall(referee, parameters);
        require(fromBlock > 0, EpochDisputesEvidenceNotCommitted(commitment));
        require(block.number >= fromBlock, EpochDisputesEvidenceTooEarly(commitment, fromBlock));
    }

    function _inWindow(uint64 epoch) private view returns (IEpochs.Epoch memory present) {
        require(epoch > 0 && epoch == epochs.epochCount(), EpochDisputesNotInWindow(epoch));
        present = epochs.getEpoch(epoch);
        require(!present.finalised, EpochDisputesNotInWindow(epoch));
    }

    function _checkPayout(Payout calldata payout, bytes32 root, uint256 count) private pure {
        require(EpochTrees.isUnder(payout, root, count), EpochDisputesProofInvalid(root, payout.index));
    }

    /// @dev What is wrong with a leaf by itself.
    function _alone(SumEvidence calldata evidence, IEpochs.Epoch memory present) private pure returns (Fault) {
        Payout calldata leaf = evidence.leaves[0];
        if (leaf.index == 0 && leaf.runningWei != _owedBy(leaf)) return Fault.RunningSum;
        require(
            leaf.index == present.leafCount - 1 && leaf.runningWei != present.totalWei,
            EpochDisputesNoFault(evidence.epoch)
        );
        return Fault.Total;
    }

    /// @dev What is wrong between two neighbours.
    function _together(SumEvidence calldata evidence) private pure returns (Fault) {
        Payout calldata left = evidence.leaves[0];
        Payout calldata right = evidence.leaves[1];
        require(right.index == left.index + 1, EpochDisputesNoFault(evidence.epoch));
        if (left.key >= right.key) return Fault.Unordered;
        // A difference cannot overflow where the sum, which a liar chose, could.
        bool adds = right.runningWei >= left.runningWei
            && right.runningWei - left.runningWei == _owedBy(right);
        require(!adds, EpochDisputesNoFault(evidence.epoch));
        return Fault.RunningSum;
    }

    function _reject(uint64 epoch, Fault fault, address wronged) private {
        uint256 slashedWei = epochs.reject(epoch, msg.sender, wronged);
        emit EpochDisputed(epoch, fault, msg.sender, slashedWei);
    }

    function _open(uint256 askId) private view returns (Ask storage asked) {
        require(askId > 0 && askId <= askCount, EpochDisputesUnknownAsk(askId));
        asked = _asks[askId];
        require(!asked.settled, EpochDisputesAskClosed(askId));
    }

    function _settle(Ask storage asked, address beneficiary) private {
        asked.settled = true;
        uint256 bondWei = asked.bondWei;
        bondedWei -= bondWei;
        _credit(beneficiary, bondWei);
    }

    /// @dev What a leaf adds to the running sum: only accounts are owed anything.
    function _owedBy(Payout calldata leaf) private pure returns (uint256) {
        return EpochTrees.isAccount(leaf.key) ? leaf.cumulativeWei : 0;
    }

    function _treeOf(Tree tree, IEpochs.Epoch memory present)
        private
        pure
        returns (bytes32 root, uint256 leafCount)
    {
        if (tree == Tree.Payouts) return (present.payoutRoot, present.leafCount);
        if (tree == Tree.Payments) return (present.paymentsRoot, present.paymentCount);
        return (present.receiptsRoot, present.receiptCount);
    }

    /// @dev A payout leaf is four words and a payment's five, of which the first is its index; a receipt's is one.
    function _isLeaf(bytes calldata leaf, Tree tree, uint256 index) private pure returns (bool) {
        if (tree == Tree.Receipts) return leaf.length == WORD;
        uint256 words = tree == Tree.Payouts ? 4 : 5;
        return leaf.length == words * WORD && uint256(bytes32(leaf[:WORD])) == index;
    }

    /// @dev The hash of a receipt that an epoch may list; whatever else the bytes are reverts.
    function _receiptOf(bytes calldata encoded) private view returns (bytes32) {
        bytes memory call = bytes.concat(IPaymentDisputes.checkReceipt.selector, encoded);
        return abi.decode(Address.functionStaticCall(address(payments), call), (bytes32));
    }
}
