// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {Int8Dot} from "../src/libraries/Int8Dot.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Receipts over an adapter of several records, and the evidence that the referee judges whole receipts by
/// @dev The query is 64 in each of 256 places, and a record is 64 in its first `width` places and 0 in the others: their
/// cosine is sqrt(width / 256), which passes the threshold of 9/50 from width 9 on.
abstract contract Evidence is World {
    int8 private constant LEVEL = 64;
    uint256 private constant DIMENSIONS = 256;
    uint256 private constant ONE = 1_000_000;
    uint256 internal constant PROVIDER_KEY = 11;
    uint256 internal constant CLIENT_KEY = 1;
    address internal constant CHALLENGER = address(0xc4);

    struct Record {
        uint256 width;
        uint256 cluster;
        address contributor;
    }

    Record[] private _records;
    bytes32 private _recordsAdapterId;

    /// @dev A deployment in which the provider serves.
    function serve() internal {
        deployAll();
        connect();
        publish(vm.addr(41));
        stakeOf(vm.addr(PROVIDER_KEY), 100 ether, PROVIDER);
        vm.prank(vm.addr(PROVIDER_KEY));
        staking.registerServing();
        vm.deal(vm.addr(CLIENT_KEY), 100 ether);
    }

    function bondWei() internal view returns (uint256) {
        return staking.getLock(staking.servingLockId(vm.addr(PROVIDER_KEY))).amountWei;
    }

    // ---------------------------------------------------------------- records

    function addRecord(uint256 width, uint256 cluster) internal {
        _records.push(Record(width, cluster, vm.addr(41 + _records.length)));
    }

    function registerRecords() internal {
        IModelRegistry.Adapter memory adapter = models.getAdapter(adapterId);
        adapter.taskId = 77;
        adapter.sketchCount = uint32(_records.length);
        adapter.sketchRoot = MerkleTree.rootOf(_sketchHashes());
        vm.prank(address(tasks));
        _recordsAdapterId = models.registerAdapter(adapter);
    }

    function querySketch() internal pure returns (bytes memory) {
        return _levels(DIMENSIONS);
    }

    function recordSketch(uint256 index) internal view returns (IReferee.SketchLeaf memory) {
        Record storage record = _records[index];
        uint256 norm = record.width * uint256(int256(LEVEL) * LEVEL);
        return IReferee.SketchLeaf(
            keccak256(abi.encode("record", index)),
            record.contributor,
            record.cluster,
            1,
            norm,
            _levels(record.width)
        );
    }

    function sketchProofOf(uint256 index) internal view returns (bytes32[] memory) {
        return proofOf(_sketchHashes(), index);
    }

    /// @dev Siblings from a leaf upwards, padded as MerkleTree.rootOf pads.
    function proofOf(bytes32[] memory hashes, uint256 index) internal pure returns (bytes32[] memory proof) {
        uint256 levels;
        while (1 << levels < hashes.length) levels++;
        proof = new bytes32[](levels);
        bytes32 padding = 0;
        uint256 width = hashes.length;
        for (uint256 level = 0; level < proof.length; level++) {
            proof[level] = index ^ 1 < width ? hashes[index ^ 1] : padding;
            for (uint256 i = 0; i < width; i += 2) {
                bytes32 right = i + 1 < width ? hashes[i + 1] : padding;
                hashes[i / 2] = keccak256(abi.encodePacked(bytes1(0x01), hashes[i], right));
            }
            padding = keccak256(abi.encodePacked(bytes1(0x01), padding, padding));
            width = (width + 1) / 2;
            index >>= 1;
        }
    }

    // ---------------------------------------------------------------- receipts

    /// @dev The right score leaf of a record, without its amount.
    function scoreLeaf(uint256 index) internal view returns (IReferee.ScoreLeaf memory) {
        IReferee.SketchLeaf memory sketch = recordSketch(index);
        uint256 dot = sketch.norm;
        uint256 score = (dot << 16) / Int8Dot.isqrt(sketch.norm * DIMENSIONS * uint256(int256(LEVEL) * LEVEL));
        return IReferee.ScoreLeaf(
            index, sketch.recordHash, sketch.contributor, int256(dot), score, 0
        );
    }

    function spanLeaf(uint256 index, uint256 weight) internal pure returns (IReferee.SpanLeaf memory) {
        return IReferee.SpanLeaf(keccak256("request"), 8 * index, 8, index, 0, vm.addr(41 + index), weight, 0);
    }

    function scoreRootOf(IReferee.ScoreLeaf[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) hashes[i] = MerkleTree.leaf(abi.encode(leaves[i]));
        return MerkleTree.rootOf(hashes);
    }

    function spanRootOf(IReferee.SpanLeaf[] memory leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) hashes[i] = MerkleTree.leaf(abi.encode(leaves[i]));
        return MerkleTree.rootOf(hashes);
    }

    function receiptOf(IReferee.ScoreLeaf[] memory scores, IReferee.SpanLeaf[] memory spans, uint256 feeWei)
        internal
        view
        returns (IReferee.Receipt memory receipt)
    {
        receipt.requestId = keccak256("request");
        receipt.client = vm.addr(CLIENT_KEY);
        receipt.provider = vm.addr(PROVIDER_KEY);
        receipt.adapterId = _recordsAdapterId;
        receipt.querySketchHash = keccak256(querySketch());
        receipt.queryNorm = DIMENSIONS * uint256(int256(LEVEL) * LEVEL);
        receipt.scoreRoot = scoreRootOf(scores);
        receipt.scoreCount = uint32(scores.length);
        receipt.spanRoot = spanRootOf(spans);
        receipt.spanCount = uint32(spans.length);
        receipt.feeWei = feeWei;
        receipt.issuedAt = uint64(vm.getBlockTimestamp());
    }

    function signed(IReferee.Receipt memory receipt) internal view returns (bytes memory) {
        return signature(PROVIDER_KEY, referee.receiptDigest(receipt));
    }

    // ---------------------------------------------------------------- omission

    /// @dev Says that record `index` is missing among these leaves, with the sketches of those that rank before it.
    function omission(IReferee.ScoreLeaf[] memory leaves, uint256 index)
        internal
        view
        returns (IReferee.OmissionEvidence memory evidence)
    {
        evidence.receipt = receiptOf(leaves, new IReferee.SpanLeaf[](0), ONE);
        evidence.signature = signed(evidence.receipt);
        evidence.leaves = leaves;
        evidence.querySketch = querySketch();
        evidence.sketchIndex = index;
        evidence.sketchLeaf = recordSketch(index);
        evidence.sketchProof = sketchProofOf(index);
        uint256 score = scoreLeaf(index).score;
        uint256 count = 0;
        for (uint256 i = 0; i < leaves.length; i++) if (_ranksBefore(leaves[i], score, index)) count++;
        evidence.better = new IReferee.SketchPeer[](count);
        count = 0;
        for (uint256 i = 0; i < leaves.length; i++) {
            if (!_ranksBefore(leaves[i], score, index)) continue;
            uint256 peer = leaves[i].sketchIndex;
            evidence.better[count++] = IReferee.SketchPeer(recordSketch(peer), sketchProofOf(peer));
        }
    }

    function challengeOmission(IReferee.OmissionEvidence memory evidence, bytes4 refusal) internal {
        commitTo(CHALLENGER, abi.encode(evidence));
        vm.prank(CHALLENGER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        referee.challengeOmission(evidence);
    }

    // ---------------------------------------------------------------- division

    /// @dev Writes the amounts that the rules of now give: floored shares by weight, remainders with the first.
    function divide(IReferee.ScoreLeaf[] memory scores, IReferee.SpanLeaf[] memory spans, uint256 feeWei)
        internal
        view
    {
        IParameters.Fees memory fees = parameters.fees();
        uint256 dataWei = feeWei / ONE * fees.dataPpm;
        uint256 learned = 0;
        for (uint256 i = 0; i < scores.length; i++) learned += scores[i].score;
        uint256 memorised = 0;
        for (uint256 i = 0; i < spans.length; i++) memorised += spans[i].weight;
        uint256 learnedWei = learned == 0 ? 0 : memorised == 0 ? dataWei : dataWei * fees.learnedPpm / ONE;
        uint256 memorisedWei = memorised == 0 ? 0 : dataWei - learnedWei;
        uint256 restWei = learnedWei;
        for (uint256 i = 0; i < scores.length; i++) {
            scores[i].amountWei = learned == 0 ? 0 : learnedWei * scores[i].score / learned;
            restWei -= scores[i].amountWei;
        }
        if (scores.length > 0) scores[0].amountWei += restWei;
        restWei = memorisedWei;
        for (uint256 i = 0; i < spans.length; i++) {
            spans[i].amountWei = memorised == 0 ? 0 : memorisedWei * spans[i].weight / memorised;
            restWei -= spans[i].amountWei;
        }
        if (spans.length > 0) spans[0].amountWei += restWei;
    }

    function division(IReferee.ScoreLeaf[] memory scores, IReferee.SpanLeaf[] memory spans, uint256 feeWei)
        internal
        view
        returns (IReferee.DivisionEvidence memory evidence)
    {
        evidence.receipt = receiptOf(scores, spans, feeWei);
        evidence.signature = signed(evidence.receipt);
        evidence.scores = scores;
        evidence.spans = spans;
    }

    function challengeDivision(IReferee.DivisionEvidence memory evidence, bytes4 refusal) internal {
        commitTo(CHALLENGER, abi.encode(evidence));
        vm.prank(CHALLENGER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        referee.challengeDivision(evidence);
    }

    // ---------------------------------------------------------------- equivocation

    function equivocation(IReferee.Receipt memory first, IReferee.Receipt memory second)
        internal
        view
        returns (IReferee.EquivocationEvidence memory evidence)
    {
        evidence = IReferee.EquivocationEvidence(first, signed(first), second, signed(second));
    }

    function challengeEquivocation(IReferee.EquivocationEvidence memory evidence, bytes4 refusal) internal {
        commitTo(CHALLENGER, abi.encode(evidence));
        vm.prank(CHALLENGER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        referee.challengeEquivocation(evidence);
    }

    // ---------------------------------------------------------------- inside

    function _sketchHashes() private view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](_records.length);
        for (uint256 i = 0; i < hashes.length; i++) {
            IReferee.SketchLeaf memory leaf = recordSketch(i);
            hashes[i] = MerkleTree.leaf(
                abi.encodePacked(
                    abi.encode(leaf.recordHash, leaf.contributor, leaf.cluster, leaf.registeredAt, leaf.norm),
                    leaf.sketch
                )
            );
        }
    }

    function _levels(uint256 width) private pure returns (bytes memory sketch) {
        sketch = new bytes(DIMENSIONS);
        for (uint256 i = 0; i < width; i++) sketch[i] = bytes1(uint8(LEVEL));
    }

    function _ranksBefore(IReferee.ScoreLeaf memory leaf, uint256 score, uint256 index) private pure returns (bool) {
        return leaf.score > score || (leaf.score == score && leaf.sketchIndex < index);
    }
}
