// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITaskEscrow} from "./interfaces/ITaskEscrow.sol";

/// @title Hashes of a task: its locks, what is committed to, and what a seed assigns (docs/protocol.md section 3)
abstract contract TaskHashes is ITaskEscrow {
    bytes32 private constant LOCK_TAG = keccak256("openledger/lock/1");
    bytes32 private constant RESULT_TAG = keccak256("openledger/result/1");
    bytes32 private constant VOTE_TAG = keccak256("openledger/vote/1");
    bytes32 private constant SEGMENT_TAG = keccak256("openledger/segment/1");
    bytes32 private constant SAMPLE_TAG = keccak256("openledger/sample/1");

    function lockIdOf(uint256 taskId, uint32 attempt) public pure returns (bytes32) {
        return keccak256(abi.encode(LOCK_TAG, taskId, attempt));
    }

    function resultHashOf(
        uint256 taskId,
        address provider,
        bytes32 traceRoot,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        bytes32 manifest,
        bytes32 salt
    ) public pure returns (bytes32) {
        return keccak256(
            abi.encode(RESULT_TAG, taskId, provider, traceRoot, adapterHash, sketchRoot, manifest, salt)
        );
    }

    function voteHashOf(uint256 taskId, address verifier, Verdict verdict, bytes32 receiptHash, bytes32 salt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(VOTE_TAG, taskId, verifier, verdict, receiptHash, salt));
    }

    function _segmentsOf(bytes32 seed, address verifier, uint256 count, uint256 segments)
        internal
        pure
        returns (uint256[] memory)
    {
        return _drawn(SEGMENT_TAG, seed, verifier, count, segments);
    }

    function _samplesOf(bytes32 seed, address verifier, uint256 count, uint256 sketchCount)
        internal
        pure
        returns (uint256[] memory)
    {
        return _drawn(SAMPLE_TAG, seed, verifier, count, sketchCount);
    }

    function _drawn(bytes32 tag, bytes32 seed, address verifier, uint256 count, uint256 modulus)
        private
        pure
        returns (uint256[] memory numbers)
    {
        if (seed == 0 || modulus == 0) return numbers;
        numbers = new uint256[](count);
        for (uint256 i = 0; i < count; i++) {
            numbers[i] = uint256(keccak256(abi.encode(tag, seed, verifier, i))) % modulus;
        }
    }
}
