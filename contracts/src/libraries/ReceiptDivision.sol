// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../interfaces/IParameters.sol";
import {IReferee} from "../interfaces/IReferee.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title How a receipt divides its fee (docs/protocol.md section 4)
library ReceiptDivision {
    uint256 private constant ONE = 1_000_000;
    /// @notice Leaves that a receipt may have (docs/protocol.md section 4), so that one transaction can always show them.
    uint256 internal constant MAX_SCORES = 64;
    uint256 internal constant MAX_SPANS = 1_024;

    /// @notice Root over score leaves, which a receipt signs.
    function rootOf(IReferee.ScoreLeaf[] calldata leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) hashes[i] = MerkleTree.leaf(abi.encode(leaves[i]));
        return MerkleTree.rootOf(hashes);
    }

    /// @notice Root over span leaves, which a receipt signs.
    function rootOf(IReferee.SpanLeaf[] calldata leaves) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) hashes[i] = MerkleTree.leaf(abi.encode(leaves[i]));
        return MerkleTree.rootOf(hashes);
    }

    /// @notice Whether every number is one that an honest receipt can have by now: what nobody can hold or show must not be
    /// put on an anchorer, and rules of the future are nobody's yet.
    function isListable(IReferee.DivisionEvidence calldata evidence) internal view returns (bool) {
        IReferee.Receipt calldata receipt = evidence.receipt;
        if (receipt.issuedAt > block.timestamp || receipt.queryNorm > type(uint32).max) return false;
        if (evidence.scores.length > MAX_SCORES || evidence.scores.length != receipt.scoreCount) return false;
        if (evidence.spans.length > MAX_SPANS || evidence.spans.length != receipt.spanCount) return false;
        for (uint256 i = 0; i < evidence.scores.length; i++) {
            IReferee.ScoreLeaf calldata leaf = evidence.scores[i];
            if (leaf.dot < type(int32).min || leaf.dot > type(int32).max) return false;
            if ((leaf.sketchIndex | leaf.score) > type(uint32).max) return false;
        }
        for (uint256 i = 0; i < evidence.spans.length; i++) {
            IReferee.SpanLeaf calldata leaf = evidence.spans[i];
            if (leaf.requestId != receipt.requestId) return false;
            uint256 places = leaf.exchangeOffset | leaf.length | leaf.recordIndex | leaf.recordOffset;
            if ((places | leaf.weight) > type(uint32).max) return false;
        }
        return true;
    }

    /// @notice Whether the leaves' amounts are what these rules give, to the wei.
    function divides(IReferee.DivisionEvidence calldata evidence, IParameters.Fees memory fees)
        internal
        pure
        returns (bool)
    {
        // What no honest receipt holds would overflow below, and must not save its signer.
        if (evidence.receipt.feeWei > type(uint128).max) return false;
        (bool fits, uint256 learnedWeight, uint256 memorisedWeight) = weightsOf(evidence);
        if (!fits) return false;
        uint256 poolWei = dataOf(evidence.receipt.feeWei, fees);
        uint256 learnedWei = learnedWeight == 0 ? 0 : poolWei * fees.learnedPpm / ONE;
        if (memorisedWeight == 0 && learnedWeight > 0) learnedWei = poolWei;
        return _dividesScores(evidence.scores, learnedWei, learnedWeight)
            && _dividesSpans(evidence.spans, poolWei - learnedWei, memorisedWeight);
    }

    /// @notice Sums of the weights by which both pools are divided; `fits` is false for weights that no honest receipt has.
    function weightsOf(IReferee.DivisionEvidence calldata evidence)
        internal
        pure
        returns (bool fits, uint256 learned, uint256 memorised)
    {
        for (uint256 i = 0; i < evidence.scores.length; i++) {
            if (evidence.scores[i].score > type(uint64).max) return (false, 0, 0);
            learned += evidence.scores[i].score;
        }
        for (uint256 i = 0; i < evidence.spans.length; i++) {
            if (evidence.spans[i].weight > type(uint64).max) return (false, 0, 0);
            memorised += evidence.spans[i].weight;
        }
        fits = true;
    }

    /// @notice The data's part of a fee: what the other three leave.
    function dataOf(uint256 feeWei, IParameters.Fees memory fees) internal pure returns (uint256) {
        return potOf(feeWei, fees) - modelOwnerOf(feeWei, fees) - stakersOf(feeWei, fees);
    }

    /// @notice What of a fee comes into the epoch's pot.
    function potOf(uint256 feeWei, IParameters.Fees memory fees) internal pure returns (uint256) {
        return feeWei - feeWei * fees.platformPpm / ONE;
    }

    function modelOwnerOf(uint256 feeWei, IParameters.Fees memory fees) internal pure returns (uint256) {
        return feeWei * fees.modelOwnerPpm / ONE;
    }

    function stakersOf(uint256 feeWei, IParameters.Fees memory fees) internal pure returns (uint256) {
        return feeWei * fees.stakersPpm / ONE;
    }

    /// @dev Floored shares by weight, the remainder with the first.
    function _dividesScores(IReferee.ScoreLeaf[] calldata leaves, uint256 poolWei, uint256 weight)
        private
        pure
        returns (bool)
    {
        uint256 leftWei = weight == 0 ? 0 : poolWei;
        for (uint256 i = leaves.length; i > 0; i--) {
            uint256 shareWei = weight == 0 ? 0 : poolWei * leaves[i - 1].score / weight;
            if (i == 1) shareWei = leftWei;
            if (leaves[i - 1].amountWei != shareWei) return false;
            leftWei -= shareWei;
        }
        return true;
    }

    function _dividesSpans(IReferee.SpanLeaf[] calldata leaves, uint256 poolWei, uint256 weight)
        private
        pure
        returns (bool)
    {
        uint256 leftWei = weight == 0 ? 0 : poolWei;
        for (uint256 i = leaves.length; i > 0; i--) {
            uint256 shareWei = weight == 0 ? 0 : poolWei * leaves[i - 1].weight / weight;
            if (i == 1) shareWei = leftWei;
            if (leaves[i - 1].amountWei != shareWei) return false;
            leftWei -= shareWei;
        }
        return true;
    }
}
