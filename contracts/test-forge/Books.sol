// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PaymentDisputes} from "../src/PaymentDisputes.sol";
import {IEpochDisputes} from "../src/interfaces/IEpochDisputes.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IPaymentDisputes} from "../src/interfaces/IPaymentDisputes.sol";
import {Locks} from "../src/libraries/Locks.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {vm} from "./Base.sol";
import {Evidence} from "./Evidence.sol";

/// @title Epochs with all three trees, and the leaves that show what stands in them
abstract contract Books is Evidence {
    address internal constant LIAR = address(0x92);
    address internal constant WATCHER = address(0x93);
    uint256 internal constant POOL = 1 << 160;
    bytes4 internal constant NONE = IPaymentDisputes.PaymentDisputesNoFault.selector;
    bytes4 internal constant PROOF = IPaymentDisputes.PaymentDisputesProofInvalid.selector;

    PaymentDisputes internal payments;
    uint256 private _feeWei;

    struct Book {
        IEpochDisputes.Payout[] payouts;
        IPaymentDisputes.Payment[] payments;
        bytes32[] receipts;
    }

    /// @dev A deployment with a liar and a watcher who can anchor, and pots.
    function open() internal {
        serve();
        payments = PaymentDisputes(contractAt("PaymentDisputes"));
        stakeOf(LIAR, 50 ether, 0);
        stakeOf(WATCHER, 30 ether, 0);
        collect(1e12);
        // Stakes count at the end of the block in which an epoch opens.
        vm.roll(vm.getBlockNumber() + 1);
    }

    /// @dev The client pays so much more of fees to the provider.
    function collect(uint256 feeWei) internal {
        _feeWei += feeWei;
        address provider = vm.addr(PROVIDER_KEY);
        vm.deal(vm.addr(CLIENT_KEY), feeWei);
        vm.prank(vm.addr(CLIENT_KEY));
        inference.deposit{value: feeWei}(provider);
        IInferenceEscrow.Voucher[] memory vouchers = new IInferenceEscrow.Voucher[](1);
        vouchers[0] = IInferenceEscrow.Voucher(vm.addr(CLIENT_KEY), provider, 0, _feeWei);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signature(CLIENT_KEY, inference.voucherDigest(vouchers[0]));
        inference.collect(vouchers, signatures);
    }

    function channel() internal view returns (uint256) {
        return payments.channelKey(vm.addr(CLIENT_KEY), vm.addr(PROVIDER_KEY));
    }

    function keyOf(address account) internal pure returns (uint256) {
        return uint160(account);
    }

    // ---------------------------------------------------------------- leaves

    function payout(uint256 key, uint256 amountWei) internal pure returns (IEpochDisputes.Payout memory leaf) {
        (leaf.key, leaf.cumulativeWei) = (key, amountWei);
    }

    function payment(uint256 key, bytes32 source, uint256 amountWei)
        internal
        pure
        returns (IPaymentDisputes.Payment memory leaf)
    {
        (leaf.key, leaf.source, leaf.amountWei) = (key, source, amountWei);
    }

    /// @dev Numbers the leaves, sums them up, and adds their proofs; returns the root.
    function seal(IEpochDisputes.Payout[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        uint256 runningWei = 0;
        for (uint256 i = 0; i < leaves.length; i++) {
            IEpochDisputes.Payout memory leaf = leaves[i];
            if (leaf.key <= type(uint160).max) runningWei += leaf.cumulativeWei;
            (leaf.index, leaf.runningWei) = (i, runningWei);
            hashes[i] = MerkleTree.leaf(abi.encode(i, leaf.key, leaf.cumulativeWei, leaf.runningWei));
        }
        for (uint256 i = 0; i < leaves.length; i++) leaves[i].proof = proofOf(copy(hashes), i);
        return MerkleTree.rootOf(hashes);
    }

    function seal(IPaymentDisputes.Payment[] memory leaves) internal pure returns (bytes32) {
        uint256 runningWei = 0;
        for (uint256 i = 0; i < leaves.length; i++) {
            runningWei += leaves[i].amountWei;
            leaves[i].runningWei = runningWei;
        }
        return sealAsStated(leaves);
    }

    /// @dev The same with running sums as they are.
    function sealAsStated(IPaymentDisputes.Payment[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) {
            IPaymentDisputes.Payment memory leaf = leaves[i];
            leaf.index = i;
            hashes[i] =
                MerkleTree.leaf(abi.encode(i, leaf.key, leaf.source, leaf.amountWei, leaf.runningWei));
        }
        for (uint256 i = 0; i < leaves.length; i++) leaves[i].proof = proofOf(copy(hashes), i);
        return MerkleTree.rootOf(hashes);
    }

    function listRoot(bytes32[] memory receipts) internal pure returns (bytes32) {
        return MerkleTree.rootOf(_listHashes(receipts));
    }

    function listed(bytes32[] memory receipts, uint256 index)
        internal
        pure
        returns (IPaymentDisputes.Listed memory)
    {
        return IPaymentDisputes.Listed(index, receipts[index], proofOf(_listHashes(receipts), index));
    }

    function _listHashes(bytes32[] memory receipts) private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](receipts.length);
        for (uint256 i = 0; i < receipts.length; i++) hashes[i] = MerkleTree.leaf(abi.encode(receipts[i]));
    }

    function copy(bytes32[] memory words) internal pure returns (bytes32[] memory copied) {
        copied = new bytes32[](words.length);
        for (uint256 i = 0; i < words.length; i++) copied[i] = words[i];
    }

    // ---------------------------------------------------------------- anchoring

    /// @dev Anchors a book in the liar's name, its leaves sealed.
    function anchorBook(Book memory book) internal returns (uint64 epoch) {
        return anchorRoots(book, seal(book.payouts), seal(book.payments));
    }

    function anchorRoots(Book memory book, bytes32 payoutsRoot, bytes32 paymentsRoot)
        internal
        returns (uint64 epoch)
    {
        epoch = epochs.epochCount() + 1;
        uint256 count = book.payouts.length;
        IEpochs.Roots memory roots = IEpochs.Roots({
            payoutRoot: payoutsRoot,
            receiptsRoot: listRoot(book.receipts),
            paymentsRoot: paymentsRoot,
            manifest: "manifest",
            totalWei: count == 0 ? 0 : book.payouts[count - 1].runningWei,
            leafCount: uint32(count),
            receiptCount: uint32(book.receipts.length),
            paymentCount: uint32(book.payments.length)
        });
        vm.prank(LIAR);
        epochs.anchor(epoch, roots, "");
        vm.roll(vm.getBlockNumber() + 1);
    }

    function finalise(uint64 epoch) internal {
        vm.warp(epochs.getEpoch(epoch).finalisableAt);
        epochs.finalise(epoch);
    }

    /// @dev Commits to what will be shown, and expects the refusal if there is to be one.
    function prepare(bytes memory encoded, bytes4 refusal) internal {
        commitTo(WATCHER, encoded);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        vm.prank(WATCHER);
    }

    function rejected(uint64 epoch) internal view {
        same(epochs.epochCount(), epoch - 1, "open again");
        same(staking.getLock(Locks.anchoring(LIAR)).amountWei, 0, "the bond is gone");
        same(staking.accountedWei(), address(staking).balance, "stake conserved");
        same(epochs.accountedWei(), address(epochs).balance, "pots conserved");
    }

    // ---------------------------------------------------------------- places

    function none() internal pure returns (IPaymentDisputes.Payment[] memory) {
        return new IPaymentDisputes.Payment[](0);
    }

    function one(IPaymentDisputes.Payment memory leaf)
        internal
        pure
        returns (IPaymentDisputes.Payment[] memory list)
    {
        list = new IPaymentDisputes.Payment[](1);
        list[0] = leaf;
    }

    /// @dev Leaves from one place of a list to before another.
    function part(IPaymentDisputes.Payment[] memory leaves, uint256 from, uint256 to)
        internal
        pure
        returns (IPaymentDisputes.Payment[] memory list)
    {
        list = new IPaymentDisputes.Payment[](to - from);
        for (uint256 i = from; i < to; i++) list[i - from] = leaves[i];
    }

    function part(IEpochDisputes.Payout[] memory leaves, uint256 from, uint256 to)
        internal
        pure
        returns (IEpochDisputes.Payout[] memory list)
    {
        list = new IEpochDisputes.Payout[](to - from);
        for (uint256 i = from; i < to; i++) list[i - from] = leaves[i];
    }

    /// @dev The place of a key among sorted payouts, or of the gap where it would stand.
    function placeOf(IEpochDisputes.Payout[] memory leaves, uint256 key)
        internal
        pure
        returns (IEpochDisputes.Payout[] memory)
    {
        uint256 behind = 0;
        while (behind < leaves.length && leaves[behind].key < key) behind++;
        if (behind < leaves.length && leaves[behind].key == key) return part(leaves, behind, behind + 1);
        return part(leaves, behind == 0 ? 0 : behind - 1, behind == leaves.length ? behind : behind + 1);
    }

    function placeOf(IPaymentDisputes.Payment[] memory leaves, uint256 key, bytes32 source)
        internal
        pure
        returns (IPaymentDisputes.Payment[] memory)
    {
        uint256 behind = 0;
        while (behind < leaves.length && _isBefore(leaves[behind], key, source)) behind++;
        if (behind < leaves.length && leaves[behind].key == key && leaves[behind].source == source) {
            return part(leaves, behind, behind + 1);
        }
        return part(leaves, behind == 0 ? 0 : behind - 1, behind == leaves.length ? behind : behind + 1);
    }

    function _isBefore(IPaymentDisputes.Payment memory leaf, uint256 key, bytes32 source)
        private
        pure
        returns (bool)
    {
        return leaf.key < key || (leaf.key == key && leaf.source < source);
    }

    function placeIn(bytes32[] memory receipts, bytes32 receiptHash)
        internal
        pure
        returns (IPaymentDisputes.Listed[] memory place)
    {
        uint256 behind = 0;
        while (behind < receipts.length && receipts[behind] < receiptHash) behind++;
        bool isThere = behind < receipts.length && receipts[behind] == receiptHash;
        uint256 from = isThere || behind == 0 ? behind : behind - 1;
        uint256 to = behind == receipts.length ? behind : behind + 1;
        place = new IPaymentDisputes.Listed[](to - from);
        for (uint256 i = from; i < to; i++) place[i - from] = listed(receipts, i);
    }

    function runOf(IPaymentDisputes.Payment[] memory leaves, uint256 key)
        internal
        pure
        returns (IPaymentDisputes.Run memory)
    {
        uint256 from = 0;
        while (from < leaves.length && leaves[from].key < key) from++;
        uint256 to = from;
        while (to < leaves.length && leaves[to].key == key) to++;
        return IPaymentDisputes.Run(
            from == 0 ? none() : one(leaves[from - 1]),
            to == from ? none() : one(leaves[to - 1]),
            to == leaves.length ? none() : one(leaves[to])
        );
    }
}
