// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "./interfaces/IParameters.sol";
import {RefereeBase} from "./RefereeBase.sol";
import {Int8Dot} from "./libraries/Int8Dot.sol";
import {Locks} from "./libraries/Locks.sol";
import {ReceiptDivision} from "./libraries/ReceiptDivision.sol";

/// @title Verdicts on a receipt as a whole: what it left out, how it divided, and whether there are two of it
/// @notice Like a wrong leaf each costs the provider its serving lock, in one transaction and without a bond. Nothing is
/// withheld from contributors: they were not the ones who left out or divided.
abstract contract ReceiptVerdicts is RefereeBase {
    /// @dev Best clusters that are paid for one answer (docs/protocol.md section 4).
    uint256 private constant MAX_LEAVES = 64;

    mapping(bytes32 verdictKey => Verdict) private _verdicts;

    /// @notice Slashes a provider that left out a record above every threshold of its time, whose cluster has no better
    /// record in the receipt, although there was room or it paid for a worse one.
    function challengeOmission(OmissionEvidence calldata evidence) external {
        _useCommitted();
        Receipt calldata receipt = evidence.receipt;
        bytes32 receiptHash = receiptHashOf(receipt);
        _checkSigned(receipt.provider, receiptHash, evidence.signature);
        _checkScores(receipt, evidence.leaves);
        (bytes32 sketchRoot, uint32 sketchCount) = models.sketchesOf(receipt.adapterId);
        uint256 score = _scoreOf(evidence, sketchRoot, sketchCount);
        _checkOmitted(evidence, score, sketchRoot, sketchCount);
        _convict(VerdictKind.Omission, receiptHash, receipt);
    }

    /// @notice Slashes a provider whose leaves do not divide its fee as any rules of its time say.
    function challengeDivision(DivisionEvidence calldata evidence) external {
        _useCommitted();
        Receipt calldata receipt = evidence.receipt;
        bytes32 receiptHash = receiptHashOf(receipt);
        _checkSigned(receipt.provider, receiptHash, evidence.signature);
        _checkScores(receipt, evidence.scores);
        _checkSpans(receipt, evidence.spans);
        IParameters.Fees[] memory right = parameters.feesAround(receipt.issuedAt);
        for (uint256 i = 0; i < right.length; i++) {
            require(!ReceiptDivision.divides(evidence, right[i]), RefereeDivisionCorrect(receiptHash));
        }
        _convict(VerdictKind.Division, receiptHash, receipt);
    }

    /// @notice Slashes a provider that signed two different receipts for one request.
    function challengeEquivocation(EquivocationEvidence calldata evidence) external {
        _useCommitted();
        Receipt calldata receipt = evidence.first;
        bytes32 firstHash = receiptHashOf(receipt);
        bytes32 secondHash = receiptHashOf(evidence.second);
        require(
            firstHash != secondHash && receipt.requestId == evidence.second.requestId
                && receipt.provider == evidence.second.provider,
            RefereeNotEquivocation(firstHash, secondHash)
        );
        _checkSigned(receipt.provider, firstHash, evidence.firstSignature);
        _checkSigned(receipt.provider, secondHash, evidence.secondSignature);
        // Of three receipts for one request each pair shows the same fault.
        _convict(
            VerdictKind.Equivocation, keccak256(abi.encode(receipt.provider, receipt.requestId)), receipt
        );
    }

    /// @notice A verdict; provider is 0 while there is none.
    /// @param subject The receipt's hash; for an equivocation keccak256(provider, requestId).
    function verdictOf(VerdictKind kind, bytes32 subject) external view returns (Verdict memory) {
        return _verdicts[_key(kind, subject)];
    }

    // ---------------------------------------------------------------- omission

    /// @dev The omitted record's true score, which must pass every threshold of the time.
    function _scoreOf(OmissionEvidence calldata evidence, bytes32 sketchRoot, uint256 sketchCount)
        private
        view
        returns (uint256 score)
    {
        _checkQuery(evidence.querySketch, evidence.receipt.querySketchHash);
        _checkSketchLeaf(
            evidence.sketchLeaf, evidence.sketchIndex, evidence.sketchProof, sketchRoot, sketchCount
        );
        int256 dot = Int8Dot.dot(evidence.querySketch, evidence.sketchLeaf.sketch);
        require(dot > 0, RefereeNotOmitted(evidence.sketchIndex));
        uint256 product = evidence.sketchLeaf.norm
            * uint256(Int8Dot.dot(evidence.querySketch, evidence.querySketch));
        (uint256 passed, uint256 all) = _passes(uint256(dot), product, evidence.receipt.issuedAt);
        require(passed == all, RefereeNotOmitted(evidence.sketchIndex));
        score = (uint256(dot) << 16) / Int8Dot.isqrt(product);
    }

    /// @dev Each leaf that ranks before the record must be of another cluster, which its sketch shows.
    function _checkOmitted(
        OmissionEvidence calldata evidence,
        uint256 score,
        bytes32 sketchRoot,
        uint256 sketchCount
    ) private pure {
        uint256 index = evidence.sketchIndex;
        uint256 shown = 0;
        for (uint256 i = 0; i < evidence.leaves.length; i++) {
            ScoreLeaf calldata leaf = evidence.leaves[i];
            require(leaf.sketchIndex != index, RefereeNotOmitted(index));
            if (leaf.score < score || (leaf.score == score && leaf.sketchIndex > index)) continue;
            require(shown < evidence.better.length, RefereeBetterMissing(i));
            SketchPeer calldata peer = evidence.better[shown++];
            _checkSketchLeaf(peer.sketchLeaf, leaf.sketchIndex, peer.proof, sketchRoot, sketchCount);
            require(peer.sketchLeaf.cluster != evidence.sketchLeaf.cluster, RefereeNotOmitted(index));
        }
        // With every place taken by a better one it was right to leave the record out.
        require(shown < MAX_LEAVES, RefereeNotOmitted(index));
    }

    // ---------------------------------------------------------------- both

    /// @dev All leaves of the receipt's scores, and only they.
    function _checkScores(Receipt calldata receipt, ScoreLeaf[] calldata leaves) private pure {
        bytes32 computed = ReceiptDivision.rootOf(leaves);
        require(computed == receipt.scoreRoot, RefereeLeavesMismatch(receipt.scoreRoot, computed));
    }

    function _checkSpans(Receipt calldata receipt, SpanLeaf[] calldata leaves) private pure {
        bytes32 computed = ReceiptDivision.rootOf(leaves);
        require(computed == receipt.spanRoot, RefereeLeavesMismatch(receipt.spanRoot, computed));
    }

    function _convict(VerdictKind kind, bytes32 subject, Receipt calldata receipt) private {
        Verdict storage verdict = _verdicts[_key(kind, subject)];
        require(verdict.provider == address(0), RefereeVerdictKnown(kind, subject));
        verdict.provider = receipt.provider;
        verdict.challenger = msg.sender;
        verdict.judgedAt = uint64(block.timestamp);
        // Two receipts for one request are no accident; a wrong sum may be one.
        uint256 slashedWei = (kind == VerdictKind.Equivocation ? staking.slashDeliberate : staking.slash)(
            Locks.serving(receipt.provider), msg.sender, receipt.client
        );
        verdict.slashedWei = uint128(slashedWei);
        emit ReceiptJudged(kind, subject, receipt.provider, receipt.requestId, msg.sender, slashedWei);
    }

    function _key(VerdictKind kind, bytes32 subject) private pure returns (bytes32) {
        return keccak256(abi.encode(kind, subject));
    }
}
