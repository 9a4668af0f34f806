// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochDisputes} from "../src/interfaces/IEpochDisputes.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {Locks} from "../src/libraries/Locks.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Anchored epochs: rejected over payouts that contradict each other or over data that nobody shows
contract EpochDisputesTest is World {
    address private constant LIAR = address(0x92);
    address private constant WATCHER = address(0x93);
    uint256 private constant POT = 900_000_000_000;

    function setUp() external {
        deployAll();
        connect();
        stakeOf(LIAR, 50 ether, 0);
        stakeOf(WATCHER, 50 ether, 0);
        vm.deal(address(inference), 1 ether);
        vm.prank(address(inference));
        epochs.fund{value: POT}();
    }

    // ---------------------------------------------------------------- trees of two leaves

    function _leaf(uint256 index, address account, uint256 cumulativeWei, uint256 runningWei)
        private
        pure
        returns (IEpochDisputes.Payout memory)
    {
        return IEpochDisputes.Payout(index, uint160(account), cumulativeWei, runningWei, new bytes32[](0));
    }

    function _bytes(IEpochDisputes.Payout memory leaf) private pure returns (bytes memory) {
        return abi.encode(leaf.index, leaf.key, leaf.cumulativeWei, leaf.runningWei);
    }

    /// @dev The root over two leaves, which get their proofs.
    function _tree(IEpochDisputes.Payout memory left, IEpochDisputes.Payout memory right)
        private
        pure
        returns (bytes32)
    {
        bytes32[] memory hashes = new bytes32[](2);
        hashes[0] = MerkleTree.leaf(_bytes(left));
        hashes[1] = MerkleTree.leaf(_bytes(right));
        left.proof = new bytes32[](1);
        left.proof[0] = hashes[1];
        right.proof = new bytes32[](1);
        right.proof[0] = hashes[0];
        return MerkleTree.rootOf(hashes);
    }

    function _anchor(uint64 epoch, bytes32 root, uint32 count, uint256 totalWei) private {
        vm.prank(LIAR);
        anchorAs(epoch, root, count, totalWei, "receipts", 1);
    }

    function _sums(uint64 epoch, IEpochDisputes.Payout[] memory leaves, bytes4 refusal) private {
        IEpochDisputes.SumEvidence memory evidence = IEpochDisputes.SumEvidence(epoch, leaves);
        commitTo(WATCHER, abi.encode(evidence));
        vm.prank(WATCHER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        disputes.challengeSums(evidence);
    }

    function _decrease(
        uint64 epoch,
        IEpochDisputes.Payout memory before,
        IEpochDisputes.Payout[] memory present,
        bytes4 refusal
    ) private {
        IEpochDisputes.DecreaseEvidence memory evidence = IEpochDisputes.DecreaseEvidence(epoch, before, present);
        commitTo(WATCHER, abi.encode(evidence));
        vm.prank(WATCHER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        disputes.challengeDecrease(evidence);
    }

    function _one(IEpochDisputes.Payout memory leaf) private pure returns (IEpochDisputes.Payout[] memory list) {
        list = new IEpochDisputes.Payout[](1);
        list[0] = leaf;
    }

    function _two(IEpochDisputes.Payout memory left, IEpochDisputes.Payout memory right)
        private
        pure
        returns (IEpochDisputes.Payout[] memory list)
    {
        list = new IEpochDisputes.Payout[](2);
        list[0] = left;
        list[1] = right;
    }

    function _rejected(uint64 epoch) private view {
        same(epochs.epochCount(), epoch - 1, "open again");
        same(staking.getLock(Locks.anchoring(LIAR)).amountWei, 0, "the bond is gone");
        same(staking.accountedWei(), address(staking).balance, "stake conserved");
    }

    // ---------------------------------------------------------------- challengeSums

    /// @dev Two leaves with any words: exactly what is not sorted, not summed or not the total is rejected.
    function testFuzz_challengeSums_decidesAsTheRuleSays(
        uint160 first,
        uint160 second,
        uint64[4] calldata words,
        uint8 lies,
        uint64 total
    ) external {
        address a = address(first);
        address b = lies & 1 == 0 && first < type(uint160).max ? address(uint160(bound(second, uint256(first) + 1, type(uint160).max))) : address(second);
        uint256 firstWei = words[0] % (POT / 2);
        uint256 secondWei = words[1] % (POT / 2);
        uint256 running = lies & 2 == 0 ? firstWei : words[2];
        uint256 sum = lies & 4 == 0 ? running + secondWei : words[3];
        uint256 totalWei = lies & 8 == 0 && sum <= POT ? sum : total % (POT + 1);
        IEpochDisputes.Payout memory left = _leaf(0, a, firstWei, running);
        IEpochDisputes.Payout memory right = _leaf(1, b, secondWei, sum);
        bytes32 root = _tree(left, right);
        bytes4 none = IEpochDisputes.EpochDisputesNoFault.selector;
        bytes32 proven = root;
        _anchor(1, proven, 2, totalWei);
        bool between = a >= b || sum < running || sum - running != secondWei;
        _sums(1, _two(left, right), between ? bytes4(0) : none);
        if (between) return _rejected(1);
        bool alone = running != firstWei;
        _sums(1, _one(left), alone ? bytes4(0) : none);
        if (alone) return _rejected(1);
        bool last = sum != totalWei;
        _sums(1, _one(right), last ? bytes4(0) : none);
        if (last) _rejected(1);
    }

    function test_challengeSums_refusesOtherShapes() external {
        IEpochDisputes.Payout memory left = _leaf(0, address(1), 5, 5);
        IEpochDisputes.Payout memory right = _leaf(1, address(2), 5, 10);
        _anchor(1, _tree(left, right), 2, 10);
        bytes4 none = IEpochDisputes.EpochDisputesNoFault.selector;
        _sums(1, new IEpochDisputes.Payout[](0), none);
        _sums(1, new IEpochDisputes.Payout[](3), none);
        // Neighbours in the wrong order, and one leaf twice, are not neighbours.
        _sums(1, _two(right, left), none);
        _sums(1, _two(left, left), none);
        right.cumulativeWei = 6;
        _sums(1, _one(right), IEpochDisputes.EpochDisputesProofInvalid.selector);
    }

    /// @dev Who has not committed to the evidence cannot show it, whoever else did.
    function test_attack_copiedEpochEvidence() external {
        _anchor(1, payoutRoot(address(1), 5), 1, 6);
        IEpochDisputes.SumEvidence memory evidence =
            IEpochDisputes.SumEvidence(1, _one(_leaf(0, address(1), 5, 5)));
        commitTo(WATCHER, abi.encode(evidence));
        vm.prank(address(0xbad));
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesEvidenceNotCommitted.selector);
        disputes.challengeSums(evidence);
        vm.prank(WATCHER);
        disputes.challengeSums(evidence);
        _rejected(1);
        same(staking.credits(address(0xbad)), 0, "nothing for the thief");
    }

    // ---------------------------------------------------------------- challengeDecrease

    /// @dev Of one account before and two now: its own leaf, or the gap where it would stand.
    function testFuzz_challengeDecrease_decidesAsTheRuleSays(
        uint160 account,
        uint160 first,
        uint160 second,
        uint32 before,
        uint32 firstWei,
        uint32 secondWei,
        bool own
    ) external {
        // Whoever is nobody has no part of a slash, and the watcher has one of its own.
        vm.assume(account > 0 && address(account) != WATCHER);
        address was = address(account);
        // No leaf is a leaf of nothing, and who was owed nothing cannot lose it.
        vm.assume(firstWei > 0);
        uint256 beforeWei = bound(before, 1, uint256(firstWei) + secondWei);
        address a = own ? was : address(first);
        vm.assume(uint160(a) < type(uint160).max);
        address b = address(uint160(bound(second, uint256(uint160(a)) + 1, type(uint160).max)));
        _anchor(1, payoutRoot(was, beforeWei), 1, beforeWei);
        vm.warp(epochs.getEpoch(1).finalisableAt);
        epochs.finalise(1);
        IEpochDisputes.Payout memory left = _leaf(0, a, firstWei, firstWei);
        IEpochDisputes.Payout memory right = _leaf(1, b, secondWei, uint256(firstWei) + secondWei);
        bytes32 root = _tree(left, right);
        _anchor(2, root, 2, uint256(firstWei) + secondWei);
        IEpochDisputes.Payout memory old = _leaf(0, was, beforeWei, beforeWei);
        bytes4 none = IEpochDisputes.EpochDisputesNoFault.selector;
        if (was == a || was == b) {
            bool fell = (was == a ? firstWei : secondWei) < beforeWei;
            _decrease(2, old, _one(was == a ? left : right), fell ? bytes4(0) : none);
            if (fell) return _rejected(2);
            return _decrease(2, old, _two(left, right), none);
        }
        if (was < a) {
            _decrease(2, old, _one(right), none);
            _decrease(2, old, _one(left), 0);
        } else if (was > b) {
            _decrease(2, old, _one(left), none);
            _decrease(2, old, _one(right), 0);
        } else {
            _decrease(2, old, _one(left), none);
            _decrease(2, old, _one(right), none);
            _decrease(2, old, _two(left, right), 0);
        }
        _rejected(2);
        same(staking.credits(was), parameters.bonds().minStakeWei / 10, "who lost its leaf");
    }

    function test_challengeDecrease_needsALastEpochAndItsLeaf() external {
        IEpochDisputes.Payout memory leaf = _leaf(0, address(1), 5, 5);
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        bytes4 none = IEpochDisputes.EpochDisputesNoFault.selector;
        _decrease(1, leaf, _one(leaf), none);
        vm.warp(epochs.getEpoch(1).finalisableAt);
        epochs.finalise(1);
        _decrease(1, leaf, _two(leaf, leaf), IEpochDisputes.EpochDisputesNotInWindow.selector);
        _anchor(2, payoutRoot(address(1), 5), 1, 5);
        _decrease(2, leaf, new IEpochDisputes.Payout[](0), none);
        _decrease(2, leaf, new IEpochDisputes.Payout[](3), IEpochDisputes.EpochDisputesProofInvalid.selector);
        _decrease(2, _leaf(0, address(1), 6, 6), _one(leaf), IEpochDisputes.EpochDisputesProofInvalid.selector);
    }

    /// @dev Every leaf that is shown has to stand under the disputed root, the first as well as the second.
    function testFuzz_challengeDecrease_refusesForgedLeaves(uint32 lost, bool second) external {
        _anchor(1, payoutRoot(address(3), 5), 1, 5);
        vm.warp(epochs.getEpoch(1).finalisableAt);
        epochs.finalise(1);
        IEpochDisputes.Payout memory left = _leaf(0, address(2), 1, 1);
        IEpochDisputes.Payout memory right = _leaf(1, address(4), 4 + uint256(lost), 5 + uint256(lost));
        _anchor(2, _tree(left, right), 2, 5 + uint256(lost));
        IEpochDisputes.Payout memory old = _leaf(0, address(3), 5, 5);
        (second ? right : left).cumulativeWei++;
        bytes4 forged = IEpochDisputes.EpochDisputesProofInvalid.selector;
        _decrease(2, old, _two(left, right), forged);
        _decrease(2, old, _one(_leaf(0, address(3), 1, 1)), forged);
        (second ? right : left).cumulativeWei--;
        _decrease(2, old, _two(left, right), 0);
        _rejected(2);
    }

    // ---------------------------------------------------------------- bond, reject, extend

    function testFuzz_bond_staysUntilTheEpochIsFinal(uint32 early) external {
        uint256 least = parameters.bonds().minStakeWei;
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        vm.warp(bound(early, vm.getBlockTimestamp(), epochs.getEpoch(1).finalisableAt));
        vm.expectPartialRevert(IEpochs.EpochsBondBound.selector);
        epochs.releaseBond(LIAR);
        // What is locked cannot thaw.
        vm.prank(LIAR);
        vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        staking.requestThaw(50 ether);
        vm.warp(epochs.getEpoch(1).finalisableAt);
        epochs.finalise(1);
        same(epochs.releaseBond(LIAR), least, "released");
        same(epochs.releaseBond(LIAR), 0, "once");
        same(staking.freeOf(LIAR), 50 ether, "free");
    }

    /// @dev One bond stands for one epoch after the other, and is not locked twice.
    function test_bond_isRaisedToWhatIsNeeded() external {
        uint256 least = parameters.bonds().minStakeWei;
        for (uint64 epoch = 1; epoch < 4; epoch++) {
            _anchor(epoch, payoutRoot(address(1), 5), 1, 5);
            vm.warp(epochs.getEpoch(epoch).finalisableAt);
            epochs.finalise(epoch);
            same(staking.getLock(Locks.anchoring(LIAR)).amountWei, least, "one bond");
            same(epochs.anchoringCount(), epoch, "rounds");
        }
    }

    function testFuzz_rejectAndExtend_areTheDisputes(address stranger) external {
        vm.assume(stranger != address(disputes));
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        vm.startPrank(stranger);
        vm.expectPartialRevert(IEpochs.EpochsUnauthorised.selector);
        epochs.reject(1, stranger, stranger);
        vm.expectPartialRevert(IEpochs.EpochsUnauthorised.selector);
        epochs.extend(1, 2);
        vm.stopPrank();
        if (stranger == address(epochs)) return;
        vm.prank(stranger);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.raise(LIAR, "lock", 1);
    }

    /// @dev What is collected while a false epoch stands goes to the epoch that is open again.
    function testFuzz_reject_returnsTheNextPot(uint64 later) external {
        _anchor(1, payoutRoot(address(1), 5), 1, 6);
        vm.deal(address(inference), later);
        vm.prank(address(inference));
        epochs.fund{value: later}();
        _sums(1, _one(_leaf(0, address(1), 5, 5)), 0);
        same(epochs.potOf(1), POT + later, "one pot");
        same(epochs.potOf(2), 0, "nothing ahead");
        same(epochs.potTotalWei(), POT + later, "all of it");
        vm.prank(WATCHER);
        anchorAs(1, payoutRoot(address(1), 5), 1, 5, "receipts", 1);
        same(epochs.anchoringCount(), 2, "another round");
        check(epochs.getEpoch(1).anchorer == WATCHER, "another's");
    }

    /// @dev A liar that challenges itself through another account loses at least half of its bond.
    function test_attack_selfChallengedEpoch() external {
        uint256 least = parameters.bonds().minStakeWei;
        _anchor(1, payoutRoot(address(1), 5), 1, 6);
        _sums(1, _one(_leaf(0, address(1), 5, 5)), 0);
        check(staking.credits(WATCHER) <= least / 2, "half");
        same(staking.burnedWei() + staking.credits(WATCHER), least, "the rest is burned");
    }

    // ---------------------------------------------------------------- ask, show, closeAsk

    function _ask(uint256 bondWei, uint32 index, bytes4 refusal) private {
        uint32[] memory indexes = new uint32[](1);
        indexes[0] = index;
        vm.deal(WATCHER, WATCHER.balance + bondWei);
        vm.prank(WATCHER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        disputes.ask{value: bondWei}(1, IEpochDisputes.Tree.Payouts, indexes);
    }

    function _show(bytes memory leaf, bytes4 refusal) private {
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = leaf;
        if (refusal != 0) vm.expectPartialRevert(refusal);
        vm.prank(address(0x94));
        disputes.show(1, leaves, new bytes32[][](1));
    }

    /// @dev However late in the window, and answered or not, it ends by window + answer + re-run + 4 delta.
    function testFuzz_ask_extendsTheWindowWithinItsBound(uint32 late, uint64 bondWei, bool shown) external {
        bytes memory leaf = _bytes(_leaf(0, address(1), 5, 5));
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        uint256 ends = epochs.getEpoch(1).windowEndsAt;
        vm.warp(bound(late, vm.getBlockTimestamp(), ends - 1));
        uint256 asked = vm.getBlockTimestamp();
        _ask(bondWei, 0, 0);
        same(disputes.accountedWei(), address(disputes).balance, "bonded");
        uint256 answer = parameters.timing().daAnswerSeconds;
        uint256 follows = parameters.timing().rerunSeconds + 4 * uint256(parameters.timing().deltaSeconds);
        check(epochs.getEpoch(1).finalisableAt >= asked + answer + follows, "time to follow up");
        check(epochs.getEpoch(1).finalisableAt <= ends + answer + follows, "the bound");
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesStillOpen.selector);
        disputes.closeAsk(1);
        vm.warp(asked + answer);
        if (shown) {
            _show(leaf, 0);
            same(disputes.credits(address(0x94)), bondWei, "paid to who showed it");
            vm.expectPartialRevert(IEpochDisputes.EpochDisputesAskClosed.selector);
            disputes.closeAsk(1);
            return;
        }
        vm.warp(asked + answer + 1);
        _show(leaf, IEpochDisputes.EpochDisputesAskClosed.selector);
        disputes.closeAsk(1);
        same(disputes.credits(WATCHER), bondWei, "back to who asked");
        same(disputes.accountedWei(), address(disputes).balance, "credited");
        _rejected(1);
    }

    function testFuzz_show_onlyWhatStandsUnderTheRoot(bytes calldata other, uint64 amount) external {
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        _ask(0, 0, 0);
        vm.assume(amount != 5);
        bytes4 shape = IEpochDisputes.EpochDisputesAnswerShape.selector;
        if (other.length != 128) _show(other, shape);
        _show(abi.encode(uint256(1), address(1), uint256(5), uint256(5)), shape);
        bytes4 proof = IEpochDisputes.EpochDisputesProofInvalid.selector;
        _show(abi.encode(uint256(0), address(1), uint256(amount), uint256(5)), proof);
    }

    function test_ask_refusals() external {
        _ask(0, 0, IEpochDisputes.EpochDisputesNotInWindow.selector);
        _anchor(1, payoutRoot(address(1), 5), 1, 5);
        _ask(0, 1, IEpochDisputes.EpochDisputesNoSuchLeaf.selector);
        _ask(1 << 96, 0, IEpochDisputes.EpochDisputesBondShort.selector);
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesAskSize.selector);
        disputes.ask(1, IEpochDisputes.Tree.Payouts, new uint32[](0));
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesAskSize.selector);
        disputes.ask(1, IEpochDisputes.Tree.Payouts, new uint32[](33));
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesUnknownAsk.selector);
        disputes.getAsk(0);
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesUnknownAsk.selector);
        disputes.closeAsk(1);
        _ask(0, 0, 0);
        _ask(0, 0, IEpochDisputes.EpochDisputesAskedBefore.selector);
        // The receipts are another tree.
        vm.prank(WATCHER);
        disputes.ask(1, IEpochDisputes.Tree.Receipts, new uint32[](1));
        vm.warp(epochs.getEpoch(1).windowEndsAt);
        _ask(0, 0, IEpochDisputes.EpochDisputesWindowEnded.selector);
    }

    /// @dev Shown leaves are judged after the first window as well: a late answer saves nobody.
    function test_attack_lateAnswer() external {
        bytes memory leaf = _bytes(_leaf(0, address(1), 5, 5));
        _anchor(1, payoutRoot(address(1), 5), 1, 6);
        vm.warp(epochs.getEpoch(1).windowEndsAt - 1);
        _ask(0, 0, 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().daAnswerSeconds);
        _show(leaf, 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().rerunSeconds);
        vm.expectPartialRevert(IEpochs.EpochsWindowOpen.selector);
        epochs.finalise(1);
        _sums(1, _one(_leaf(0, address(1), 5, 5)), 0);
        _rejected(1);
    }

    /// @dev A root that was rejected for its data and is anchored again can be asked for again.
    function test_attack_sameRootAgain() external {
        bytes32 root = payoutRoot(address(1), 5);
        _anchor(1, root, 1, 5);
        _ask(7, 0, 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().daAnswerSeconds + 1);
        disputes.closeAsk(1);
        _anchor(1, root, 1, 5);
        _ask(7, 0, 0);
        same(disputes.askCount(), 2, "asked again");
        // The first ask is settled, and settles once.
        vm.expectPartialRevert(IEpochDisputes.EpochDisputesAskClosed.selector);
        disputes.closeAsk(1);
    }
}
