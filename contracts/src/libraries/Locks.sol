// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Ids under which stake is locked, where more than one contract has to name them
library Locks {
    bytes32 private constant SERVING_TAG = keccak256("openledger/serving/1");
    bytes32 private constant ANCHORING_TAG = keccak256("openledger/anchoring/1");
    bytes32 private constant VERSION_TAG = keccak256("openledger/version/1");

    /// @notice The bond that answers for every receipt that an account signs.
    function serving(address account) internal pure returns (bytes32) {
        return keccak256(abi.encode(SERVING_TAG, account));
    }

    /// @notice The bond that answers for the epoch that an account has anchored.
    function anchoring(address account) internal pure returns (bytes32) {
        return keccak256(abi.encode(ANCHORING_TAG, account));
    }

    /// @notice The bond that answers for the clusters of a datanet's version.
    function version(bytes32 datanetId, uint256 number) internal pure returns (bytes32) {
        return keccak256(abi.encode(VERSION_TAG, datanetId, number));
    }
}
