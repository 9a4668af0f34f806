// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "./interfaces/IBeacon.sol";

/// @title Beacon for local chains, from block hashes. INSECURE: whoever makes the blocks chooses the seeds
/// @notice The seed of block b is the hash of block b + 1. Block hashes are kept for 256 blocks; a seed nobody used by
/// then is replaced by that of 256 blocks later, so that a late draw is still possible but never a choice.
contract InsecureLocalBeacon is IBeacon {
    bytes32 private constant TAG = keccak256("openledger/beacon/1");
    uint256 private constant KEPT_BLOCKS = 256;

    /// @inheritdoc IBeacon
    function mark() external view returns (uint64) {
        return uint64(block.number);
    }

    /// @inheritdoc IBeacon
    function seedOf(uint256 fixedAtBlock) external view returns (bytes32) {
        uint256 source = fixedAtBlock + 1;
        require(block.number > source, BeaconNotReady(fixedAtBlock, source + 1));
        source += (block.number - 1 - source) / KEPT_BLOCKS * KEPT_BLOCKS;
        return keccak256(abi.encode(TAG, block.chainid, source, blockhash(source)));
    }

    /// @inheritdoc IBeacon
    function readyAt(uint256 fixedAtBlock) external pure returns (uint256) {
        return fixedAtBlock + 2;
    }

    /// @inheritdoc IBeacon
    function isInsecure() external pure returns (bool) {
        return true;
    }
}
