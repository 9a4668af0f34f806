// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

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
        if (index >= count || !_reaches(proof.length, count)) return false;
        bytes32 top = leafHash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0x01)
            let path := index
            let end := add(proof.offset, shl(5, proof.length))
            for { let at := proof.offset } lt(at, end) { at := add(at, 0x20) } {
                // Bit of the path: 0 when the sibling stands on the right.
                switch and(path, 1)
                case 0 {
                    mstore(add(free, 0x01), top)
                    mstore(add(free, 0x21), calldataload(at))
                }
                default {
                    mstore(add(free, 0x01), calldataload(at))
                    mstore(add(free, 0x21), top)
                }
                top := keccak256(free, 0x41)
                path := shr(1, path)
            }
        }
        return root == keccak256(abi.encodePacked(bytes1(0x02), count, top));
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

    /// @dev Whether `levels` is ceil(log2(count)), for a count of at least 1.
    function _reaches(uint256 levels, uint256 count) private pure returns (bool) {
        return (count - 1) >> levels == 0 && (levels == 0 || (count - 1) >> (levels - 1) > 0);
    }
}
