// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PaymentDisputes} from "../src/PaymentDisputes.sol";
import {IEpochDisputes} from "../src/interfaces/IEpochDisputes.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IPaymentDisputes} from "../src/interfaces/IPaymentDisputes.sol";
import {Locks} from "../src/libraries/Locks.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {Actors} from "./Actors.sol";
import {vm} from "./Base.sol";

/// @title An anchorer that lies, and the watcher that has its epochs rejected
abstract contract Anchorers is Actors {
    // What the liar anchored last: its epoch, 0 if it was rejected, and which lie it is.
    uint64 private _lieEpoch;
    uint256 private _lie;

    /// @dev Anchors an epoch whose sums, list or payments are wrong.
    function lieAboutEpoch(uint256 how) external {
        uint64 count = epochs.epochCount();
        if (count > epochs.finalisedCount() || epochs.potTotalWei() == 0) return;
        if (staking.getAccount(vm.addr(LIAR)).freeWei < parameters.bonds().minStakeWei) return;
        (_lieEpoch, _lie) = (count + 1, how % 3);
        IEpochs.Roots memory roots;
        roots.totalWei = epochs.getEpoch(count == 0 ? 1 : count).totalWei;
        roots.payoutRoot = rootOfOne(abi.encode(uint256(0), LIAR, roots.totalWei, roots.totalWei + (_lie == 0 ? 1 : 0)));
        roots.leafCount = 1;
        roots.receiptsRoot = MerkleTree.rootOf(_list());
        roots.receiptCount = 2;
        roots.paymentsRoot = rootOfOne(abi.encode(uint256(0), LIAR, bytes32("no receipt"), uint256(1), uint256(1)));
        roots.paymentCount = 1;
        vm.prank(vm.addr(LIAR));
        epochs.anchor(_lieEpoch, roots, "");
    }

    /// @dev Two receipts that do not rise where that is the lie, and else do.
    function _list() private view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](2);
        hashes[0] = MerkleTree.leaf(abi.encode(uint256(1)));
        hashes[1] = MerkleTree.leaf(abi.encode(uint256(_lie == 1 ? 1 : 2)));
    }

    function _listed(uint256 index) private view returns (IPaymentDisputes.Listed memory) {
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = _list()[1 - index];
        return IPaymentDisputes.Listed(index, bytes32(index == 1 && _lie != 1 ? 2 : uint256(1)), proof);
    }

    /// @dev Before time passes: a false epoch never becomes final, and its bond is there.
    function _watchEpochs() internal {
        if (_lieEpoch == 0) return;
        uint256 bondWei = staking.getLock(Locks.anchoring(vm.addr(LIAR))).amountWei;
        check(bondWei > 0, "a false epoch without a bond");
        if (_lie == 0) _challengeSums();
        else if (_lie == 1) _challengeList();
        else _challengeUnbacked();
        same(epochs.epochCount(), _lieEpoch - 1, "a false epoch that stands");
        same(staking.getLock(Locks.anchoring(vm.addr(LIAR))).amountWei, 0, "a bond that was not taken");
        _lieEpoch = 0;
        rejections++;
    }

    function _challengeSums() private {
        uint256 totalWei_ = epochs.getEpoch(_lieEpoch).totalWei;
        IEpochDisputes.SumEvidence memory evidence =
            IEpochDisputes.SumEvidence(_lieEpoch, new IEpochDisputes.Payout[](1));
        evidence.leaves[0] = IEpochDisputes.Payout(0, LIAR, totalWei_, totalWei_ + 1, new bytes32[](0));
        _commit(abi.encode(evidence));
        vm.prank(vm.addr(WATCHER));
        disputes.challengeSums(evidence);
    }

    function _challengeList() private {
        IPaymentDisputes.ListEvidence memory evidence =
            IPaymentDisputes.ListEvidence(_lieEpoch, _listed(0), _listed(1));
        _commit(abi.encode(evidence));
        vm.prank(vm.addr(WATCHER));
        _payments().challengeList(evidence);
    }

    function _challengeUnbacked() private {
        IPaymentDisputes.Payment memory payment =
            IPaymentDisputes.Payment(0, LIAR, "no receipt", 1, 1, new bytes32[](0));
        IPaymentDisputes.Listed[] memory place = new IPaymentDisputes.Listed[](1);
        // Letters stand behind both.
        place[0] = _listed(1);
        IPaymentDisputes.UnbackedEvidence memory evidence =
            IPaymentDisputes.UnbackedEvidence(_lieEpoch, payment, place);
        _commit(abi.encode(evidence));
        vm.prank(vm.addr(WATCHER));
        _payments().challengeUnbacked(evidence);
    }

    /// @dev The same lie in the same epoch has the same evidence, which stands committed.
    function _commit(bytes memory encoded) private {
        bytes32 commitment = referee.evidenceCommitmentOf(vm.addr(WATCHER), keccak256(encoded));
        if (referee.evidenceBlock(commitment) == 0) commitTo(vm.addr(WATCHER), encoded);
    }

    function _payments() private pure returns (PaymentDisputes) {
        return PaymentDisputes(contractAt("PaymentDisputes"));
    }
}
