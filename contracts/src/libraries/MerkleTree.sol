// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Merkle trees of docs/protocol.md section 1
/// @notice Leaves, nodes and roots are hashed under different prefixes, and the root binds the number of leaves, so
/// that a leaf cannot pass for a node and a tree cannot pass for a longer or shorter one.
library MerkleTree {
    /// @notice Hash of a leaf's bytes.
    function leaf(bytes memory data) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x00), data));
    }

    /// @notice Whether `leafHash` stands at `index` of the tree of `count` leaves with this `root`.
    /// @param proof Siblings from the leaf upwards, exactly ceil(log2(count)) of them.
    function verify(bytes32 root, bytes32 leafHash, uint256 index, uint256 count, bytes32[] calldata proof)
        internal
        pure
        returns (bool)
    {
        if (index >= count || proof.length != levelsOf(count)) return false;
        return root == climb(leafHash, index, count, proof);
    }

    /// @notice Root of the tree of `count` leaves in which `leafHash` stands at `index` below these siblings.
    /// @dev The caller has made sure that index < count and that there are levelsOf(count) siblings.
    function climb(bytes32 leafHash, uint256 index, uint256 count, bytes32[] calldata proof)
        internal
        pure
        returns (bytes32 root)
    {
        assembly ("memory-safe") {
            let top := leafHash
            let path := index
            let end := add(proof.offset, shl(5, proof.length))
            // Two words for a pair of nodes, at a multiple of 64 so that one bit tells left from right; before them the prefix.
            let left := and(add(mload(0x40), 0x5f), not(0x3f))
            let input := sub(left, 1)
            mstore8(input, 0x01)
            for { let sibling := proof.offset } lt(sibling, end) { sibling := add(sibling, 0x20) } {
                // Where the path goes right the sibling stands on the left.
                let own := or(left, shl(5, and(path, 1)))
                mstore(own, top)
                mstore(xor(own, 0x20), calldataload(sibling))
                top := keccak256(input, 0x41)
                path := shr(1, path)
            }
            mstore8(input, 0x02)
            mstore(left, count)
            mstore(add(left, 0x20), top)
            root := keccak256(input, 0x41)
        }
    }

    /// @notice Siblings in a proof for a tree of `count` leaves: ceil(log2(count)), for a count of at least 1.
    function levelsOf(uint256 count) internal pure returns (uint256) {
        return count == 1 ? 0 : Math.log2(count - 1) + 1;
    }

    /// @notice Root of the tree over these leaf hashes; of nothing it is 0. The hashes' memory is used up.
    function rootOf(bytes32[] memory hashes) internal pure returns (bytes32) {
        uint256 count = hashes.length;
        if (count == 0) return 0;
        // Right of the last one stands padding: zero at the leaves, above them the hash of what is below.
        bytes32 padding = 0;
        for (uint256 width = count; width > 1; width = (width + 1) / 2) {
            for (uint256 i = 0; i < width; i += 2) {
                hashes[i / 2] = node(hashes[i], i + 1 < width ? hashes[i + 1] : padding);
            }
            padding = node(padding, padding);
        }
        return keccak256(abi.encodePacked(bytes1(0x02), count, hashes[0]));
    }

    function node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
