// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {EpochDisputes} from "../src/EpochDisputes.sol";
import {Epochs} from "../src/Epochs.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {Parameters} from "../src/Parameters.sol";
import {Referee} from "../src/Referee.sol";
import {Staking} from "../src/Staking.sol";
import {TaskEscrow} from "../src/TaskEscrow.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {Base, vm} from "./Base.sol";
import {ScoreEvidence} from "./Packing.sol";

/// @title A deployment with one datanet, one base, one adapter, and what actors sign
abstract contract World is Base {
    uint8 internal constant PROVIDER = 1;
    uint8 internal constant VERIFIER = 2;
    bytes32 internal constant BASE_HASH = keccak256("base model");
    bytes32 internal constant ADAPTER_HASH = keccak256("adapter of the set-up");

    Parameters internal parameters;
    Staking internal staking;
    DatanetRegistry internal datanets;
    ModelRegistry internal models;
    TaskEscrow internal tasks;
    InferenceEscrow internal inference;
    Epochs internal epochs;
    Referee internal referee;
    EpochDisputes internal disputes;
    bytes32 internal datanetId;
    bytes32 internal adapterId;

    function connect() internal {
        parameters = Parameters(contractAt("Parameters"));
        staking = Staking(contractAt("Staking"));
        datanets = DatanetRegistry(contractAt("DatanetRegistry"));
        models = ModelRegistry(contractAt("ModelRegistry"));
        tasks = TaskEscrow(contractAt("TaskEscrow"));
        inference = InferenceEscrow(contractAt("InferenceEscrow"));
        epochs = Epochs(contractAt("Epochs"));
        referee = Referee(contractAt("Referee"));
        disputes = EpochDisputes(contractAt("EpochDisputes"));
    }

    function publish(address curator) internal {
        vm.startPrank(curator);
        datanetId = datanets.createDatanet(keccak256("MIT"), keccak256("policy"), "docs");
        datanets.publishVersion(datanetId, keccak256("version root"), 1, keccak256("manifest"));
        models.registerBase(BASE_HASH, "base", curator);
        vm.stopPrank();
        IModelRegistry.Adapter memory adapter;
        adapter.baseHash = BASE_HASH;
        adapter.datanetId = datanetId;
        adapter.version = 1;
        adapter.sketchCount = 1;
        adapter.owner = curator;
        adapter.provider = curator;
        adapter.adapterHash = ADAPTER_HASH;
        adapter.sketchRoot = rootOfOne(sketchBytes(curator));
        adapter.name = "adapter";
        vm.prank(address(tasks));
        adapterId = models.registerAdapter(adapter);
    }

    /// @dev What a commit to records takes now.
    function depositOf() internal view returns (uint256 depositWei) {
        (depositWei,) = parameters.depositTerms();
    }

    function stakeOf(address account, uint256 amountWei, uint8 roles) internal {
        vm.deal(account, account.balance + amountWei);
        vm.startPrank(account);
        staking.deposit{value: amountWei}();
        if (roles != 0) staking.setRoles(roles);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- what is signed

    function rootOfOne(bytes memory leaf) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x02), uint256(1), MerkleTree.leaf(leaf)));
    }

    /// @dev The root of one payout leaf: all of the running sum is its own.
    function payoutRoot(address account, uint256 cumulativeWei) internal pure returns (bytes32) {
        return rootOfOne(abi.encode(uint256(0), account, cumulativeWei, cumulativeWei));
    }

    /// @dev Anchors in the name of an account that was pranked before.
    function anchorAs(
        uint64 epoch,
        bytes32 root,
        uint32 leafCount,
        uint256 totalWei,
        bytes32 receipts,
        uint32 receiptCount
    ) internal {
        IEpochs.Roots memory roots = IEpochs.Roots(root, receipts, 0, "manifest", totalWei, leafCount, receiptCount, 0);
        epochs.anchor(epoch, roots, "");
    }

    /// @dev Claims the only leaf of the final root.
    function claimOnly(address account, uint256 cumulativeWei) internal returns (uint256 paidWei) {
        return epochs.claim(account, cumulativeWei, cumulativeWei, 0, new bytes32[](0));
    }

    function sketch() internal pure returns (bytes memory bytes256) {
        bytes256 = new bytes(256);
        for (uint256 i = 0; i < 256; i++) bytes256[i] = bytes1(uint8(i));
    }

    /// @dev Sum of the squares of the int8 that sketch() holds: twice 1 + 4 + ... + 127^2, and 128^2.
    function sketchNorm() internal pure returns (uint256) {
        return 2 * (uint256(127) * 128 * 255 / 6) + 128 * 128;
    }

    function sketchLeaf(address contributor) internal pure returns (IReferee.SketchLeaf memory) {
        return IReferee.SketchLeaf(keccak256("record"), contributor, 0, 1, sketchNorm(), sketch());
    }

    function sketchBytes(address contributor) internal pure returns (bytes memory) {
        return abi.encodePacked(
            abi.encode(keccak256("record"), contributor, uint256(0), uint256(1), sketchNorm()), sketch()
        );
    }

    /// @dev An answer whose query is the record's own sketch, with its only leaf's score off by `lie`.
    function answer(uint256 providerKey, address client, address contributor, uint256 number, uint256 lie)
        internal
        view
        returns (ScoreEvidence memory evidence)
    {
        IReferee.ScoreLeaf memory leaf = IReferee.ScoreLeaf({
            sketchIndex: 0,
            recordHash: keccak256("record"),
            contributor: contributor,
            dot: int256(sketchNorm()),
            score: 65_536 + lie,
            amountWei: 100
        });
        evidence.receipt.requestId = keccak256(abi.encode(number));
        evidence.receipt.client = client;
        evidence.receipt.provider = vm.addr(providerKey);
        evidence.receipt.adapterId = adapterId;
        evidence.receipt.querySketchHash = keccak256(sketch());
        evidence.receipt.queryNorm = sketchNorm();
        evidence.receipt.scoreRoot = rootOfOne(abi.encode(leaf));
        evidence.receipt.scoreCount = 1;
        evidence.receipt.feeWei = 1_000_000;
        evidence.receipt.issuedAt = uint64(vm.getBlockTimestamp());
        evidence.leaf = leaf;
        evidence.querySketch = sketch();
        evidence.sketchLeaf = sketchLeaf(contributor);
        evidence.signature = signature(providerKey, referee.receiptDigest(evidence.receipt));
    }

    /// @dev Commits to evidence, waits as long as it must, and shows it.
    function challenge(address challenger, bytes memory packed) internal {
        commitTo(challenger, packed);
        vm.prank(challenger);
        showScore(packed);
    }

    function showScore(bytes memory packed) internal {
        _show(abi.encodePacked(IReferee.challengeScore.selector, packed));
    }

    /// @param shown A receipt's place, and evidence behind it.
    function showAnchoredScore(bytes memory shown) internal {
        _show(abi.encodePacked(IReferee.challengeAnchoredScore.selector, shown));
    }

    function findScore(bytes memory packed) internal view returns (IReferee.Finding memory) {
        (bool found, bytes memory data) =
            address(referee).staticcall(abi.encodePacked(IReferee.findScore.selector, packed));
        if (!found) _revertWith(data);
        return abi.decode(data, (IReferee.Finding));
    }

    function _show(bytes memory call) private {
        (bool shown, bytes memory data) = address(referee).call(call);
        if (!shown) _revertWith(data);
    }

    function _revertWith(bytes memory data) private pure {
        assembly ("memory-safe") {
            revert(add(data, 0x20), mload(data))
        }
    }

    /// @dev What the referee keeps the hash of when it judges this leaf.
    function judgedLeaf(ScoreEvidence memory evidence) internal view returns (IReferee.JudgedLeaf memory) {
        uint256 amountWei = evidence.leaf.amountWei;
        if (amountWei > evidence.receipt.feeWei) amountWei = evidence.receipt.feeWei;
        return IReferee.JudgedLeaf(
            referee.receiptHashOf(evidence.receipt),
            evidence.leafIndex,
            evidence.leaf.contributor,
            uint96(amountWei),
            evidence.receipt.client
        );
    }

    function commitTo(address challenger, bytes memory encoded) internal {
        bytes32 commitment = referee.evidenceCommitmentOf(challenger, keccak256(encoded));
        vm.prank(challenger);
        referee.commitEvidence(commitment);
        vm.roll(vm.getBlockNumber() + parameters.timing().evidenceDelayBlocks);
    }

    function voucher(uint256 clientKey, address provider, uint256 computeWei, uint256 feeWei)
        internal
        view
        returns (IInferenceEscrow.Voucher[] memory vouchers, bytes[] memory signatures)
    {
        vouchers = new IInferenceEscrow.Voucher[](1);
        signatures = new bytes[](1);
        vouchers[0] = IInferenceEscrow.Voucher(vm.addr(clientKey), provider, computeWei, feeWei);
        signatures[0] = signature(clientKey, inference.voucherDigest(vouchers[0]));
    }
}
