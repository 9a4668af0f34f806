// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IReferee} from "../src/interfaces/IReferee.sol";
import {ScoreEvidence as Layout} from "../src/libraries/ScoreEvidence.sol";

/// @dev Evidence about a score leaf by its fields; sketchLeaf and sketchProof are left out of leaves of no record.
struct ScoreEvidence {
    IReferee.Receipt receipt;
    bytes signature;
    IReferee.ScoreLeaf leaf;
    uint256 leafIndex;
    bytes32[] leafProof;
    bytes querySketch;
    IReferee.SketchLeaf sketchLeaf;
    bytes32[] sketchProof;
    bool namesNoRecord;
}

/// @title The layout of docs/protocol.md section 6, written again field by field
library Packing {
    uint256 internal constant OPEN = Layout.OPEN;
    uint256 internal constant PLAIN = Layout.PLAIN;

    function pack(ScoreEvidence memory evidence, uint256 form) internal pure returns (bytes memory) {
        return bytes.concat(
            bytes1(uint8(form)),
            compact(evidence.signature),
            form & OPEN == 0 ? abi.encodePacked(answerHash(evidence.receipt)) : answer(evidence.receipt),
            _leaf(evidence, form),
            abi.encodePacked(evidence.leafProof),
            evidence.querySketch,
            evidence.namesNoRecord ? bytes("") : _record(evidence, form)
        );
    }

    /// @dev With the answer open, and the leaf in whole words.
    function pack(ScoreEvidence memory evidence) internal pure returns (bytes memory) {
        return pack(evidence, OPEN | PLAIN);
    }

    /// @dev r, and s with the parity of R in its top bit.
    function compact(bytes memory signature) internal pure returns (bytes memory) {
        bytes32 r;
        bytes32 s;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
        }
        uint256 parity = uint8(signature[64]) - 27;
        return abi.encodePacked(r, uint256(s) | (parity << 255));
    }

    function answerHash(IReferee.Receipt memory r) internal pure returns (bytes32) {
        bytes memory first = abi.encode(
            keccak256(
                "Answer(bytes32 requestId,address client,address provider,bytes32 promptHash,bytes32 outputHash,uint32 promptTokens,uint32 outputTokens,bytes32 spanRoot,uint32 spanCount,uint256 computeWei,uint256 feeWei)"
            ),
            r.requestId,
            r.client,
            r.provider,
            r.promptHash,
            r.outputHash
        );
        return keccak256(
            bytes.concat(
                first,
                abi.encode(
                    r.promptTokens, r.outputTokens, r.spanRoot, r.spanCount, r.computeWei, r.feeWei
                )
            )
        );
    }

    function answer(IReferee.Receipt memory r) internal pure returns (bytes memory) {
        return bytes.concat(
            abi.encodePacked(r.requestId, r.client, r.provider, r.promptHash, r.outputHash),
            abi.encodePacked(
                r.promptTokens, r.outputTokens, r.spanRoot, r.spanCount, r.computeWei, r.feeWei
            )
        );
    }

    /// @dev The adapter's index is 0: the first that was registered.
    function _leaf(ScoreEvidence memory evidence, uint256 form) private pure returns (bytes memory) {
        IReferee.ScoreLeaf memory leaf = evidence.leaf;
        bytes memory head = abi.encodePacked(
            uint32(0), evidence.receipt.issuedAt, uint32(evidence.leafIndex), evidence.receipt.scoreCount
        );
        if (form & PLAIN == 0) {
            return bytes.concat(
                head,
                abi.encodePacked(
                    uint32(leaf.sketchIndex),
                    leaf.recordHash,
                    leaf.contributor,
                    uint32(leaf.score),
                    uint96(leaf.amountWei)
                )
            );
        }
        return bytes.concat(
            head,
            abi.encodePacked(leaf.sketchIndex, leaf.recordHash, leaf.contributor),
            abi.encodePacked(leaf.dot, leaf.score, leaf.amountWei, evidence.receipt.queryNorm)
        );
    }

    function _record(ScoreEvidence memory evidence, uint256 form) private pure returns (bytes memory) {
        IReferee.SketchLeaf memory leaf = evidence.sketchLeaf;
        return bytes.concat(
            form & PLAIN == 0 ? bytes("") : abi.encodePacked(leaf.recordHash, leaf.contributor),
            abi.encodePacked(uint32(leaf.cluster), uint40(leaf.registeredAt), uint32(leaf.norm)),
            leaf.sketch,
            abi.encodePacked(evidence.sketchProof)
        );
    }
}
