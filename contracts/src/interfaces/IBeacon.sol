// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Source of randomness that does not exist yet when it is asked for
interface IBeacon {
    error BeaconNotReady(uint256 mark, uint256 readyAtBlock);

    /// @notice Names the seed that whoever asks in this block will get: a block's number, or a round of drand.
    function mark() external view returns (uint64);

    /// @notice The seed that a mark names: unknown to all when it was given, and the same for ever while it is available.
    /// @dev Reverts with BeaconNotReady before.
    function seedOf(uint256 mark) external view returns (bytes32 seed);

    /// @notice First block in which seedOf may answer; of a round that nobody brought yet, the next block.
    function readyAt(uint256 mark) external view returns (uint256 blockNumber);

    /// @notice Whether whoever makes the blocks can choose the seed.
    function isInsecure() external view returns (bool);
}
