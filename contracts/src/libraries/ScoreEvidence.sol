// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../interfaces/IReferee.sol";
import {MerkleTree} from "./MerkleTree.sol";

/// @title Evidence about one score leaf as bytes, laid out as docs/protocol.md section 6 says
/// @notice It follows the function's selector as it is: the ABI's words for offset, length and padding would cost what a
/// proof's sibling does. What can be computed is not sent: roots, norms, the query's hash, a dot product that the
/// provider signed rightly. All of it goes into the digest that the provider signed, so that other
/// bytes give another signer.
library ScoreEvidence {
    /// @dev The answer's fields stand in place of their hash.
    uint256 internal constant OPEN = 1;
    /// @dev The leaf stands in whole words, whatever the provider wrote into it.
    uint256 internal constant PLAIN = 2;
    uint256 private constant SKETCH_LENGTH = 256;
    /// @dev Calldata offset behind the selector.
    uint256 internal constant START = 4;
    uint256 private constant PROOF_OF_PLACE = START + 12;

    /// @param provider With client and feeWei 0 unless the answer is open.
    /// @param leaf As signed; of one that is not plain, dot is still to be filled in, and queryNorm too, with the truth.
    /// @param adapterId With sketchRoot and sketchCount what the registry says of adapterIndex.
    /// @param recordHash With contributor, cluster, registeredAt and norm what the adapter was trained on.
    /// @param leafProofAt With queryAt, sketchAt and endAt a calldata offset.
    struct Claim {
        uint256 form;
        bytes32 r;
        bytes32 vs;
        bytes32 answerHash;
        address provider;
        address client;
        uint256 feeWei;
        uint256 adapterIndex;
        uint256 issuedAt;
        uint256 leafIndex;
        uint256 scoreCount;
        IReferee.ScoreLeaf leaf;
        uint256 queryNorm;
        bytes32 adapterId;
        bytes32 sketchRoot;
        uint256 sketchCount;
        bytes32 recordHash;
        address contributor;
        uint256 cluster;
        uint256 registeredAt;
        uint256 norm;
        uint256 leafProofAt;
        uint256 queryAt;
        uint256 sketchAt;
        uint256 endAt;
    }

    /// @notice Where a receipt stands in an epoch. `count` is not trusted: the root that the siblings lead to binds it.
    struct Place {
        uint64 epoch;
        uint256 index;
        uint256 count;
        uint256 endAt;
    }

    /// @notice Reads the place that stands before the evidence of challengeAnchoredScore.
    function place() internal pure returns (Place memory found) {
        found.epoch = uint64(_uint(START, 4));
        found.index = _uint(START + 4, 4);
        found.count = _uint(START + 8, 4);
        require(found.index < found.count, IReferee.RefereeReceiptOutside(found.index, found.count));
        found.endAt = PROOF_OF_PLACE + 32 * MerkleTree.levelsOf(found.count);
    }

    /// @notice Root of the epoch's receipts with `receiptHash` at that place.
    function receiptsRoot(Place memory found, bytes32 receiptHash) internal pure returns (bytes32) {
        bytes32 leafHash = MerkleTree.leaf(abi.encode(receiptHash));
        return MerkleTree.climb(leafHash, found.index, found.count, _proof(PROOF_OF_PLACE, found.endAt));
    }

    /// @notice Reads up to the leaf.
    /// @param cursor Calldata offset of the evidence. No sum of offsets here can come near 2^256.
    /// @param answerType Hash of the answer's EIP-712 type.
    function head(Claim memory claim, uint256 cursor, bytes32 answerType) internal pure {
        unchecked {
            claim.form = _uint(cursor, 1);
            require(claim.form <= OPEN | PLAIN, IReferee.RefereeEvidenceForm(claim.form));
            claim.r = bytes32(_uint(cursor + 1, 32));
            claim.vs = bytes32(_uint(cursor + 33, 32));
            cursor = _answer(claim, cursor + 65, answerType);
            claim.adapterIndex = _uint(cursor, 4);
            claim.issuedAt = _uint(cursor + 4, 8);
            claim.leafIndex = _uint(cursor + 12, 4);
            claim.scoreCount = _uint(cursor + 16, 4);
            cursor += 20;
            IReferee.ScoreLeaf memory leaf = claim.leaf;
            uint256 width = claim.form & PLAIN == 0 ? 4 : 32;
            leaf.sketchIndex = _uint(cursor, width);
            cursor += width;
            leaf.recordHash = bytes32(_uint(cursor, 32));
            leaf.contributor = address(uint160(_uint(cursor + 32, 20)));
            cursor += 52;
            if (width == 4) {
                leaf.score = _uint(cursor, 4);
                leaf.amountWei = _uint(cursor + 4, 12);
                cursor += 16;
            } else {
                leaf.dot = int256(_uint(cursor, 32));
                leaf.score = _uint(cursor + 32, 32);
                leaf.amountWei = _uint(cursor + 64, 32);
                claim.queryNorm = _uint(cursor + 96, 32);
                cursor += 128;
            }
            claim.leafProofAt = cursor;
        }
    }

    /// @notice Reads from the leaf's proof to the end, which must be the calldata's; a leaf of no record has no sketch.
    /// @param from Calldata offset of the evidence.
    function tail(Claim memory claim, uint256 from) internal pure {
        unchecked {
            uint256 cursor = claim.leafProofAt + 32 * MerkleTree.levelsOf(claim.scoreCount);
            claim.queryAt = cursor;
            cursor += SKETCH_LENGTH;
            if (names(claim)) {
                if (claim.form & PLAIN == 0) {
                    claim.recordHash = claim.leaf.recordHash;
                    claim.contributor = claim.leaf.contributor;
                } else {
                    claim.recordHash = bytes32(_uint(cursor, 32));
                    claim.contributor = address(uint160(_uint(cursor + 32, 20)));
                    cursor += 52;
                }
                claim.cluster = _uint(cursor, 4);
                claim.registeredAt = _uint(cursor + 4, 5);
                claim.norm = _uint(cursor + 9, 4);
                claim.sketchAt = cursor + 13;
                cursor += 13 + SKETCH_LENGTH + 32 * MerkleTree.levelsOf(claim.sketchCount);
            }
            claim.endAt = cursor;
            require(
                msg.data.length == cursor,
                IReferee.RefereeEvidenceLength(
                    msg.data.length < from ? 0 : msg.data.length - from, cursor - from
                )
            );
        }
    }

    /// @notice Whether the leaf names a record that the adapter was trained on.
    function names(Claim memory claim) internal pure returns (bool) {
        return claim.leaf.sketchIndex < claim.sketchCount;
    }

    function query(Claim memory claim) internal pure returns (bytes calldata) {
        return _bytes(claim.queryAt);
    }

    function sketch(Claim memory claim) internal pure returns (bytes calldata) {
        return _bytes(claim.sketchAt);
    }

    function leafProof(Claim memory claim) internal pure returns (bytes32[] calldata) {
        return _proof(claim.leafProofAt, claim.queryAt);
    }

    function sketchProof(Claim memory claim) internal pure returns (bytes32[] calldata) {
        return _proof(claim.sketchAt + SKETCH_LENGTH, claim.endAt);
    }

    /// @dev The siblings between two calldata offsets.
    function _proof(uint256 cursor, uint256 end) private pure returns (bytes32[] calldata siblings) {
        assembly ("memory-safe") {
            siblings.offset := cursor
            siblings.length := shr(5, sub(end, cursor))
        }
    }

    function _bytes(uint256 cursor) private pure returns (bytes calldata part) {
        assembly ("memory-safe") {
            part.offset := cursor
            part.length := SKETCH_LENGTH
        }
    }

    /// @dev Hash of the answer's fields, or the hash that stands in their place.
    function _answer(Claim memory claim, uint256 cursor, bytes32 answerType) private pure returns (uint256) {
        unchecked {
            if (claim.form & OPEN == 0) {
                claim.answerHash = bytes32(_uint(cursor, 32));
                return cursor + 32;
            }
            uint256 client = _uint(cursor + 32, 20);
            uint256 provider = _uint(cursor + 52, 20);
            claim.client = address(uint160(client));
            claim.provider = address(uint160(provider));
            claim.feeWei = _uint(cursor + 212, 32);
            bytes32 answerHash;
            assembly ("memory-safe") {
                // Type, requestId, client, provider, promptHash, outputHash, promptTokens, outputTokens, spanRoot, spanCount,
                // computeWei, feeWei: a word each.
                let words := mload(0x40)
                mstore(words, answerType)
                mstore(add(words, 0x20), calldataload(cursor))
                mstore(add(words, 0x40), client)
                mstore(add(words, 0x60), provider)
                calldatacopy(add(words, 0x80), add(cursor, 72), 64)
                mstore(add(words, 0xc0), shr(224, calldataload(add(cursor, 136))))
                mstore(add(words, 0xe0), shr(224, calldataload(add(cursor, 140))))
                mstore(add(words, 0x100), calldataload(add(cursor, 144)))
                mstore(add(words, 0x120), shr(224, calldataload(add(cursor, 176))))
                calldatacopy(add(words, 0x140), add(cursor, 180), 64)
                answerHash := keccak256(words, 0x180)
            }
            claim.answerHash = answerHash;
            return cursor + 244;
        }
    }

    /// @dev The big-endian integer of `width` bytes at a calldata offset.
    function _uint(uint256 cursor, uint256 width) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, width)), calldataload(cursor))
        }
    }
}
