// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "./interfaces/IEpochs.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {ReceiptVerdicts} from "./ReceiptVerdicts.sol";
import {RefereeBase} from "./RefereeBase.sol";
import {Int8Dot} from "./libraries/Int8Dot.sol";
import {Locks} from "./libraries/Locks.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title Disputes that one transaction decides from bytes and integers
/// @notice Because nothing is left to judge afterwards, a challenge needs no bond: a right leaf makes it revert. Evidence is
/// committed under its sender's address in an earlier block, so that nobody can copy it on its way. A wrong leaf costs
/// the provider its serving lock at once; the leaf's amount is withheld as soon as its receipt stands in an anchored
/// epoch, because only then is it part of what the contributor could claim.
contract Referee is ReceiptVerdicts {
    /// @notice Judgements so far; they count from 1.
    uint256 public judgementCount;
    mapping(uint256 judgementId => Judgement) private _judgements;
    mapping(bytes32 receiptHash => mapping(uint256 leafIndex => uint256 judgementId)) public judgementOf;

    constructor(IParameters parameters_, IStaking staking_, IModelRegistry models_, IEpochs epochs_)
        RefereeBase(parameters_, staking_, models_, epochs_)
    {}

    /// @notice Slashes a provider that signed a wrong score leaf; reverts with RefereeScoreCorrect when it is right.
    function challengeScore(ScoreEvidence calldata evidence) external returns (uint256 judgementId) {
        _checkCommitted();
        bytes32 receiptHash = receiptHashOf(evidence.receipt);
        require(
            judgementOf[receiptHash][evidence.leafIndex] == 0,
            RefereeAlreadyJudged(receiptHash, evidence.leafIndex)
        );
        Finding memory finding = _find(evidence, receiptHash);
        require(finding.fault != Fault.None, RefereeScoreCorrect(finding.dot, finding.score));
        judgementId = ++judgementCount;
        judgementOf[receiptHash][evidence.leafIndex] = judgementId;
        _judge(judgementId, evidence, receiptHash, finding);
    }

    /// @notice Takes a judged leaf's amount off its contributor's claims, for the client, once the leaf's receipt is part of
    /// an anchored epoch. Anybody may call it; each judgement withholds once.
    function withholdLeaf(uint256 judgementId, uint64 epoch, uint256 receiptIndex, bytes32[] calldata proof)
        external
    {
        Judgement storage judgement = _existing(judgementId);
        require(!judgement.withheld, RefereeAlreadyWithheld(judgementId));
        (bytes32 root, uint32 count) = epochs.receiptsOf(epoch);
        bytes32 leaf = MerkleTree.leaf(abi.encode(judgement.receiptHash));
        require(
            MerkleTree.verify(root, leaf, receiptIndex, count, proof),
            RefereeReceiptNotAnchored(judgementId, epoch, receiptIndex)
        );
        judgement.withheld = true;
        emit LeafWithheld(judgementId, epoch, judgement.contributor, judgement.amountWei);
        epochs.withhold(judgement.contributor, judgement.amountWei, judgement.client);
    }

    // ---------------------------------------------------------------- views

    /// @notice What challengeScore would find; needs no committed evidence. Fault None means that the leaf is right.
    function findScore(ScoreEvidence calldata evidence) external view returns (Finding memory) {
        return _find(evidence, receiptHashOf(evidence.receipt));
    }

    function getJudgement(uint256 judgementId) external view returns (Judgement memory) {
        return _existing(judgementId);
    }

    /// @notice At most `count` judgements in the order of their ids, from id `from` (ids count from 1).
    function getJudgements(uint256 from, uint256 count) external view returns (Judgement[] memory page) {
        if (from == 0 || from > judgementCount) return page;
        uint256 left = judgementCount - from + 1;
        page = new Judgement[](count < left ? count : left);
        for (uint256 i = 0; i < page.length; i++) page[i] = _judgements[from + i];
    }

    // ---------------------------------------------------------------- inside

    function _find(ScoreEvidence calldata evidence, bytes32 receiptHash)
        private
        view
        returns (Finding memory finding)
    {
        Receipt calldata receipt = evidence.receipt;
        ScoreLeaf calldata leaf = evidence.leaf;
        _checkReceipt(evidence, receiptHash);
        finding.fault = Fault.OtherRequest;
        if (leaf.requestId != receipt.requestId) return finding;
        (bytes32 sketchRoot, uint32 sketchCount) = models.sketchesOf(receipt.adapterId);
        finding.fault = Fault.NoSuchRecord;
        if (leaf.sketchIndex >= sketchCount) return finding;
        _checkSketch(evidence, sketchRoot, sketchCount);
        _recompute(finding, evidence);
        finding.fault = _compare(finding, evidence);
    }

    /// @dev The provider signed the receipt, and the leaf stands under its scoreRoot.
    function _checkReceipt(ScoreEvidence calldata evidence, bytes32 receiptHash) private view {
        _checkSigned(evidence.receipt.provider, receiptHash, evidence.signature);
        require(
            MerkleTree.verify(
                evidence.receipt.scoreRoot,
                MerkleTree.leaf(abi.encode(evidence.leaf)),
                evidence.leafIndex,
                evidence.receipt.scoreCount,
                evidence.leafProof
            ),
            RefereeLeafProofInvalid(evidence.receipt.scoreRoot, evidence.leafIndex)
        );
    }

    /// @dev The query's sketch is the receipt's, and the record's sketch stands under the adapter's sketchRoot.
    function _checkSketch(ScoreEvidence calldata evidence, bytes32 sketchRoot, uint256 sketchCount) private pure {
        _checkQuery(evidence.querySketch, evidence.receipt.querySketchHash);
        _checkSketchLeaf(
            evidence.sketchLeaf, evidence.leaf.sketchIndex, evidence.sketchProof, sketchRoot, sketchCount
        );
    }

    /// @dev A query sketch of another length than the records' is refused by Int8Dot.
    function _recompute(Finding memory finding, ScoreEvidence calldata evidence) private view {
        int256 dot = Int8Dot.dot(evidence.querySketch, evidence.sketchLeaf.sketch);
        uint256 queryNorm = uint256(Int8Dot.dot(evidence.querySketch, evidence.querySketch));
        finding.dot = dot;
        finding.queryNorm = queryNorm;
        if (dot <= 0) return;
        uint256 product = evidence.sketchLeaf.norm * queryNorm;
        uint256 root = Int8Dot.isqrt(product);
        if (root == 0) return;
        finding.score = (uint256(dot) << 16) / root;
        // A leaf is right if it passes by any threshold of the time at which its receipt was issued.
        (uint256 passed,) = _passes(uint256(dot), product, evidence.receipt.issuedAt);
        finding.passes = passed > 0;
    }

    function _compare(Finding memory finding, ScoreEvidence calldata evidence) private pure returns (Fault) {
        ScoreLeaf calldata leaf = evidence.leaf;
        if (leaf.recordHash != evidence.sketchLeaf.recordHash) return Fault.OtherRecord;
        if (leaf.contributor != evidence.sketchLeaf.contributor) return Fault.OtherContributor;
        if (evidence.receipt.queryNorm != finding.queryNorm) return Fault.QueryNorm;
        if (leaf.dot != finding.dot) return Fault.Dot;
        if (leaf.score != finding.score) return Fault.Score;
        return finding.passes ? Fault.None : Fault.BelowThreshold;
    }

    function _judge(
        uint256 judgementId,
        ScoreEvidence calldata evidence,
        bytes32 receiptHash,
        Finding memory finding
    ) private {
        Receipt calldata receipt = evidence.receipt;
        uint256 slashedWei = staking.slash(Locks.serving(receipt.provider), msg.sender, receipt.client);
        _judgements[judgementId] = Judgement({
            receiptHash: receiptHash,
            client: receipt.client,
            // An honest anchor pays a leaf no more than its receipt's fee.
            amountWei: uint96(_min(_min(evidence.leaf.amountWei, receipt.feeWei), type(uint96).max)),
            contributor: evidence.leaf.contributor,
            slashedWei: uint96(_min(slashedWei, type(uint96).max)),
            challenger: msg.sender,
            leafIndex: uint32(evidence.leafIndex),
            judgedAt: uint48(block.timestamp),
            fault: finding.fault,
            withheld: false
        });
        emit ScoreJudged(
            judgementId,
            receipt.requestId,
            receipt.provider,
            msg.sender,
            evidence.leaf.contributor,
            evidence.leaf.sketchIndex,
            finding.fault,
            finding.dot,
            finding.score,
            finding.passes,
            slashedWei
        );
    }

    function _existing(uint256 judgementId) private view returns (Judgement storage judgement) {
        require(
            judgementId > 0 && judgementId <= judgementCount, RefereeUnknownJudgement(judgementId)
        );
        return _judgements[judgementId];
    }
}
