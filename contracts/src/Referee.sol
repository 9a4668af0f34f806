// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {ReceiptVerdicts} from "./ReceiptVerdicts.sol";
import {RefereeBase} from "./RefereeBase.sol";
import {Int8Dot} from "./libraries/Int8Dot.sol";
import {Locks} from "./libraries/Locks.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";
import {ScoreEvidence} from "./libraries/ScoreEvidence.sol";

/// @title Disputes that one transaction decides from bytes and integers
/// @notice Because nothing is left to judge afterwards, a challenge needs no bond: a right leaf makes it revert. Evidence is
/// committed under its sender's address in an earlier block, so that nobody can copy it on its way. A wrong leaf costs
/// the provider its serving lock at once; the leaf's amount is withheld as soon as its receipt stands in an anchored
/// epoch, because only then is it part of what the contributor could claim; challengeAnchoredScore does both.
contract Referee is ReceiptVerdicts {
    using ScoreEvidence for ScoreEvidence.Claim;
    using ScoreEvidence for ScoreEvidence.Place;

    bytes32 private constant WITHHELD = bytes32(uint256(1));
    /// @dev Of a judged leaf the hash of its JudgedLeaf, then WITHHELD: one slot, the rest stands in ScoreJudged.
    mapping(bytes32 receiptHash => mapping(uint256 leafIndex => bytes32)) private _judged;

    constructor(IParameters parameters_, IStaking staking_, IModelRegistry models_, IEpochs epochs_)
        RefereeBase(parameters_, staking_, models_, epochs_)
    {}

    /// @notice Slashes a provider that signed a wrong score leaf; reverts with RefereeScoreCorrect when it is right.
    /// @dev The evidence follows the selector, packed as ScoreEvidence reads it, with the answer open, so that it is known
    /// who gains.
    function challengeScore() external {
        _challenge(ScoreEvidence.START, 0);
    }

    /// @notice The same, and withholds the leaf at once, its receipt standing in an anchored epoch.
    /// @dev Before the evidence stand the epoch, the receipt's index, the count of its receipts (4 bytes each), and the
    /// siblings of the receipt's hash.
    function challengeAnchoredScore() external {
        ScoreEvidence.Place memory place = ScoreEvidence.place();
        JudgedLeaf memory leaf = _challenge(place.endAt, place.epoch);
        require(
            epochs.receiptsRootOf(place.epoch) == place.receiptsRoot(leaf.receiptHash),
            RefereeReceiptNotAnchored(leaf.receiptHash, place.epoch, place.index)
        );
        epochs.withhold(leaf.contributor, leaf.amountWei, leaf.client);
    }

    /// @notice Takes a judged leaf's amount off its contributor's claims, for the client, once the leaf's receipt is part of
    /// an anchored epoch. Anybody may call it; each leaf is withheld once.
    function withholdLeaf(JudgedLeaf calldata leaf, uint64 epoch, uint256 receiptIndex, bytes32[] calldata proof)
        external
    {
        bytes32 known = _judged[leaf.receiptHash][leaf.leafIndex];
        require(known != WITHHELD, RefereeAlreadyWithheld(leaf.receiptHash, leaf.leafIndex));
        require(
            known == keccak256(abi.encode(leaf)), RefereeUnknownJudgement(leaf.receiptHash, leaf.leafIndex)
        );
        (bytes32 root, uint32 count) = epochs.receiptsOf(epoch);
        require(
            MerkleTree.verify(root, MerkleTree.leaf(abi.encode(leaf.receiptHash)), receiptIndex, count, proof),
            RefereeReceiptNotAnchored(leaf.receiptHash, epoch, receiptIndex)
        );
        _judged[leaf.receiptHash][leaf.leafIndex] = WITHHELD;
        emit LeafWithheld(leaf.receiptHash, leaf.leafIndex, epoch);
        epochs.withhold(leaf.contributor, leaf.amountWei, leaf.client);
    }

    // ---------------------------------------------------------------- views

    /// @notice What challengeScore would find; needs no committed evidence. Fault None means that the leaf is right.
    /// @dev The evidence follows the selector; the answer's hash is enough.
    function findScore() external view returns (Finding memory finding) {
        ScoreEvidence.Claim memory claim;
        _find(finding, claim, ScoreEvidence.START);
    }

    /// @notice Whether a leaf was judged wrong, and withheld.
    function stateOf(bytes32 receiptHash, uint256 leafIndex) external view returns (LeafState) {
        bytes32 known = _judged[receiptHash][leafIndex];
        if (known == 0) return LeafState.Unjudged;
        return known == WITHHELD ? LeafState.Withheld : LeafState.Judged;
    }

    // ---------------------------------------------------------------- inside

    /// @param from Calldata offset of the evidence.
    /// @param epoch In which the caller withholds the leaf; 0 if that is left for later.
    function _challenge(uint256 from, uint64 epoch) private returns (JudgedLeaf memory leaf) {
        _useCommitted();
        Finding memory finding;
        ScoreEvidence.Claim memory claim;
        _find(finding, claim, from);
        require(claim.form & ScoreEvidence.OPEN != 0, RefereeEvidenceForm(claim.form));
        leaf = JudgedLeaf({
            receiptHash: finding.receiptHash,
            leafIndex: claim.leafIndex,
            contributor: claim.leaf.contributor,
            // An honest anchor pays a leaf no more than its receipt's fee.
            amountWei: uint96(_min(_min(claim.leaf.amountWei, claim.feeWei), type(uint96).max)),
            client: claim.client
        });
        mapping(uint256 leafIndex => bytes32) storage judged = _judged[leaf.receiptHash];
        require(judged[leaf.leafIndex] == 0, RefereeAlreadyJudged(leaf.receiptHash, leaf.leafIndex));
        require(finding.fault != Fault.None, RefereeScoreCorrect(finding.dot, finding.score));
        judged[leaf.leafIndex] = epoch == 0 ? keccak256(abi.encode(leaf)) : WITHHELD;
        uint256 slashedWei = staking.slash(Locks.serving(claim.provider), msg.sender, leaf.client);
        emit ScoreJudged(
            leaf.receiptHash,
            claim.provider,
            msg.sender,
            leaf.leafIndex,
            leaf.contributor,
            leaf.amountWei,
            leaf.client,
            finding.fault,
            slashedWei,
            epoch
        );
    }

    function _find(Finding memory finding, ScoreEvidence.Claim memory claim, uint256 from) private view {
        claim.head(from, ANSWER_TYPE);
        (claim.adapterId, claim.sketchRoot, claim.sketchCount) = models.sketchesAt(uint32(claim.adapterIndex));
        // Of a leaf that names no record only its signer knows the dot product.
        require(
            claim.names() || claim.form & ScoreEvidence.PLAIN != 0, RefereeEvidenceForm(claim.form)
        );
        require(claim.leafIndex < claim.scoreCount, RefereeLeafOutside(claim.leafIndex, claim.scoreCount));
        claim.tail(from);
        bytes calldata query = claim.query();
        finding.queryNorm = uint256(Int8Dot.dot(query, query));
        if (claim.names()) finding.dot = Int8Dot.dot(query, claim.sketch());
        if (claim.form & ScoreEvidence.PLAIN == 0) {
            claim.leaf.dot = finding.dot;
            claim.queryNorm = finding.queryNorm;
        }
        _checkSigner(finding, claim);
        if (!claim.names()) {
            finding.fault = Fault.NoSuchRecord;
            return;
        }
        _checkRecord(claim);
        _score(finding, claim.norm, claim.issuedAt);
        finding.fault = _compare(finding, claim);
    }

    /// @dev Who signed the receipt under whose scoreRoot the leaf stands; of an open answer it must be its provider.
    function _checkSigner(Finding memory finding, ScoreEvidence.Claim memory claim) private view {
        bytes32 scoreRoot = MerkleTree.climb(
            _leafHash(claim.leaf), claim.leafIndex, claim.scoreCount, claim.leafProof()
        );
        finding.receiptHash = _receiptHash(
            claim.adapterId,
            keccak256(claim.query()),
            claim.queryNorm,
            scoreRoot,
            claim.scoreCount,
            claim.issuedAt,
            claim.answerHash
        );
        (address signer,,) = ECDSA.tryRecover(_hashTypedDataV4(finding.receiptHash), claim.r, claim.vs);
        require(
            signer != address(0) && (claim.form & ScoreEvidence.OPEN == 0 || signer == claim.provider),
            RefereeReceiptSignerMismatch(claim.provider, signer)
        );
        finding.signer = signer;
    }

    /// @dev MerkleTree.leaf of the leaf's six words, as they stand in memory.
    function _leafHash(ScoreLeaf memory leaf) private pure returns (bytes32 leafHash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x00)
            mcopy(add(free, 0x01), leaf, 0xc0)
            leafHash := keccak256(free, 0xc1)
        }
    }

    /// @dev The record's sketch stands under the adapter's sketchRoot.
    function _checkRecord(ScoreEvidence.Claim memory claim) private pure {
        bytes32 leafHash = _sketchLeafHash(
            claim.recordHash, claim.contributor, claim.cluster, claim.registeredAt, claim.norm, claim.sketch()
        );
        uint256 index = claim.leaf.sketchIndex;
        require(
            claim.sketchRoot == MerkleTree.climb(leafHash, index, claim.sketchCount, claim.sketchProof()),
            RefereeSketchProofInvalid(claim.sketchRoot, index)
        );
    }

    function _score(Finding memory finding, uint256 norm, uint256 issuedAt) private view {
        if (finding.dot <= 0) return;
        uint256 product = norm * finding.queryNorm;
        uint256 root = Int8Dot.isqrt(product);
        // Only a registered norm that is not that of its sketch is 0 here.
        if (root == 0) return;
        finding.score = (uint256(finding.dot) << 16) / root;
        // A leaf is right if it passes by any threshold of the time at which its receipt was issued.
        (uint256 passed,) = _passes(uint256(finding.dot), product, issuedAt);
        finding.passes = passed > 0;
    }

    function _compare(Finding memory finding, ScoreEvidence.Claim memory claim) private pure returns (Fault) {
        ScoreLeaf memory leaf = claim.leaf;
        if (leaf.recordHash != claim.recordHash) return Fault.OtherRecord;
        if (leaf.contributor != claim.contributor) return Fault.OtherContributor;
        if (claim.queryNorm != finding.queryNorm) return Fault.QueryNorm;
        if (leaf.dot != finding.dot) return Fault.Dot;
        if (leaf.score != finding.score) return Fault.Score;
        return finding.passes ? Fault.None : Fault.BelowThreshold;
    }
}
