// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Int8Dot} from "../libraries/Int8Dot.sol";
import {MerkleTree} from "../libraries/MerkleTree.sol";
import {SoftFloat} from "../libraries/SoftFloat.sol";

/// @title Door to the libraries for tests; never deployed to a network
contract LibraryProbe {
    function dot(bytes calldata left, bytes calldata right) external pure returns (int256) {
        return Int8Dot.dot(left, right);
    }

    /// @notice Gas of the dot product alone.
    function dotGas(bytes calldata left, bytes calldata right) external view returns (uint256) {
        uint256 before = gasleft();
        Int8Dot.dot(left, right);
        return before - gasleft();
    }

    function isqrt(uint256 value) external pure returns (uint256) {
        return Int8Dot.isqrt(value);
    }

    function leaf(bytes calldata data) external pure returns (bytes32) {
        return MerkleTree.leaf(data);
    }

    function verify(bytes32 root, bytes32 leafHash, uint256 index, uint256 count, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        return MerkleTree.verify(root, leafHash, index, count, proof);
    }

    function rootOf(bytes32[] calldata hashes) external pure returns (bytes32) {
        return MerkleTree.rootOf(hashes);
    }

    /// @notice One operation on many pairs of big-endian words: 0 add, 1 sub, 2 mul, 3 div, 4 compare, and on the first of
    /// each pair 5 sqrt, 6 from int32, 7 to int32. Four bytes come out for every eight.
    function floats(uint256 operation, bytes calldata pairs) external pure returns (bytes memory results) {
        results = new bytes(pairs.length / 2);
        for (uint256 i = 0; i < pairs.length / 8; i++) {
            uint256 a;
            uint256 b;
            assembly ("memory-safe") {
                let pair := calldataload(add(pairs.offset, shl(3, i)))
                a := shr(224, pair)
                b := and(shr(192, pair), 0xffffffff)
            }
            uint256 result = _float(operation, a, b);
            assembly ("memory-safe") {
                let at := add(add(results, 0x20), shl(2, i))
                mstore(at, or(shl(224, result), shr(32, shl(32, mload(at)))))
            }
        }
    }

    /// @notice Gas of a multiplication and an addition.
    function floatGas(uint256 a, uint256 b, uint256 c) external view returns (uint256) {
        uint256 before = gasleft();
        SoftFloat.add(SoftFloat.mul(a, b), c);
        return before - gasleft();
    }

    function _float(uint256 operation, uint256 a, uint256 b) private pure returns (uint256) {
        if (operation == 0) return SoftFloat.add(a, b);
        if (operation == 1) return SoftFloat.sub(a, b);
        if (operation == 2) return SoftFloat.mul(a, b);
        if (operation == 3) return SoftFloat.div(a, b);
        if (operation == 4) return uint256(SoftFloat.compare(a, b));
        if (operation == 5) return SoftFloat.sqrt(a);
        if (operation == 6) return SoftFloat.fromInt(int32(uint32(a)));
        return uint32(SoftFloat.toInt(a));
    }
}
