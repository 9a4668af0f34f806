// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";

/// @title What every verdict of the referee needs: committed evidence, signed receipts, sketches, thresholds
abstract contract RefereeBase is IReferee, EIP712 {
    uint256 internal constant SKETCH_LENGTH = 256;
    bytes32 private constant EVIDENCE_TAG = keccak256("openledger/evidence/1");
    bytes32 private constant RECEIPT_TYPE = keccak256(
        "Receipt(bytes32 adapterId,bytes32 querySketchHash,uint256 queryNorm,bytes32 scoreRoot,uint32 scoreCount,uint64 issuedAt,Answer answer)Answer(bytes32 requestId,address client,address provider,bytes32 promptHash,bytes32 outputHash,uint32 promptTokens,uint32 outputTokens,bytes32 spanRoot,uint32 spanCount,uint256 computeWei,uint256 feeWei)"
    );
    bytes32 internal constant ANSWER_TYPE = keccak256(
        "Answer(bytes32 requestId,address client,address provider,bytes32 promptHash,bytes32 outputHash,uint32 promptTokens,uint32 outputTokens,bytes32 spanRoot,uint32 spanCount,uint256 computeWei,uint256 feeWei)"
    );

    IParameters public immutable parameters;
    IStaking public immutable staking;
    IModelRegistry public immutable models;
    IEpochs public immutable epochs;

    /// @notice Block in which evidence was committed; 0 if it was not.
    mapping(bytes32 commitment => uint256 blockNumber) public evidenceBlock;

    constructor(IParameters parameters_, IStaking staking_, IModelRegistry models_, IEpochs epochs_)
        EIP712("OpenLedger", "1")
    {
        parameters = parameters_;
        staking = staking_;
        models = models_;
        epochs = epochs_;
    }

    /// @notice Records the hash of evidence that its sender will show in a later block.
    /// @param commitment hash('openledger/evidence/1', sender, keccak256(evidence)), the evidence as everything behind
    /// the selector of the call that will judge it.
    function commitEvidence(bytes32 commitment) external {
        require(evidenceBlock[commitment] == 0, RefereeEvidenceKnown(commitment));
        evidenceBlock[commitment] = block.number;
        emit EvidenceCommitted(commitment, msg.sender);
    }

    function evidenceCommitmentOf(address challenger, bytes32 evidenceHash) public pure returns (bytes32) {
        return keccak256(abi.encode(EVIDENCE_TAG, challenger, evidenceHash));
    }

    /// @notice EIP-712 struct hash of a receipt, its answer nested in it: the leaf of an epoch's receiptsRoot.
    function receiptHashOf(Receipt calldata receipt) public pure returns (bytes32) {
        return _receiptHash(
            receipt.adapterId,
            receipt.querySketchHash,
            receipt.queryNorm,
            receipt.scoreRoot,
            receipt.scoreCount,
            receipt.issuedAt,
            _answerHash(receipt)
        );
    }

    /// @notice The EIP-712 digest that the provider signs.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32) {
        return _hashTypedDataV4(receiptHashOf(receipt));
    }

    /// @dev The evidence is everything after the function's selector; its commitment is used up, and its slot refunded.
    function _useCommitted() internal {
        bytes32 commitment = evidenceCommitmentOf(msg.sender, keccak256(msg.data[4:]));
        uint256 committedIn = evidenceBlock[commitment];
        require(committedIn > 0, RefereeEvidenceNotCommitted(commitment));
        uint256 fromBlock = committedIn + parameters.evidenceDelayBlocks();
        require(block.number >= fromBlock, RefereeEvidenceTooEarly(commitment, fromBlock));
        delete evidenceBlock[commitment];
    }

    function _receiptHash(
        bytes32 adapterId,
        bytes32 querySketchHash,
        uint256 queryNorm,
        bytes32 scoreRoot,
        uint256 scoreCount,
        uint256 issuedAt,
        bytes32 answerHash
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                RECEIPT_TYPE, adapterId, querySketchHash, queryNorm, scoreRoot, scoreCount, issuedAt, answerHash
            )
        );
    }

    function _checkSigned(address provider, bytes32 receiptHash, bytes calldata signature) internal view {
        (address signer,,) = ECDSA.tryRecoverCalldata(_hashTypedDataV4(receiptHash), signature);
        require(
            signer == provider && signer != address(0), RefereeReceiptSignerMismatch(provider, signer)
        );
    }

    function _checkQuery(bytes calldata querySketch, bytes32 expected) internal pure {
        bytes32 computed = keccak256(querySketch);
        require(computed == expected, RefereeQuerySketchMismatch(expected, computed));
    }

    /// @dev The sketch stands at this place of the adapter's sketches.
    function _checkSketchLeaf(
        SketchLeaf calldata leaf,
        uint256 index,
        bytes32[] calldata proof,
        bytes32 root,
        uint256 count
    ) internal pure {
        require(leaf.sketch.length == SKETCH_LENGTH, RefereeSketchLength(leaf.sketch.length));
        bytes32 leafHash = _sketchLeafHash(
            leaf.recordHash, leaf.contributor, leaf.cluster, leaf.registeredAt, leaf.norm, leaf.sketch
        );
        require(
            MerkleTree.verify(root, leafHash, index, count, proof), RefereeSketchProofInvalid(root, index)
        );
    }

    function _sketchLeafHash(
        bytes32 recordHash,
        address contributor,
        uint256 cluster,
        uint256 registeredAt,
        uint256 norm,
        bytes calldata sketch
    ) internal pure returns (bytes32 leafHash) {
        // MerkleTree.leaf of the words and the sketch, copied once.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x00)
            mstore(add(free, 0x01), recordHash)
            mstore(add(free, 0x21), and(contributor, sub(shl(160, 1), 1)))
            mstore(add(free, 0x41), cluster)
            mstore(add(free, 0x61), registeredAt)
            mstore(add(free, 0x81), norm)
            calldatacopy(add(free, 0xa1), sketch.offset, sketch.length)
            leafHash := keccak256(free, add(0xa1, sketch.length))
        }
    }

    /// @dev By how many of the thresholds that are right for its time a score passes, and how many there are.
    function _passes(uint256 dot, uint256 product, uint256 issuedAt)
        internal
        view
        returns (uint256 passed, uint256 all)
    {
        IParameters.Threshold[] memory right = parameters.thresholdsAround(issuedAt);
        all = right.length;
        for (uint256 i = 0; i < all; i++) {
            uint256 left = dot * right[i].denominator;
            if (left * left >= uint256(right[i].numerator) * right[i].numerator * product) passed++;
        }
    }

    function _min(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    function _answerHash(Receipt calldata receipt) private pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                abi.encode(
                    ANSWER_TYPE,
                    receipt.requestId,
                    receipt.client,
                    receipt.provider,
                    receipt.promptHash,
                    receipt.outputHash
                ),
                abi.encode(
                    receipt.promptTokens,
                    receipt.outputTokens,
                    receipt.spanRoot,
                    receipt.spanCount,
                    receipt.computeWei,
                    receipt.feeWei
                )
            )
        );
    }
}
