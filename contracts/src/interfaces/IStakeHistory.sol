// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What everybody staked, at every block
interface IStakeHistory {
    struct Stake {
        address owner;
        uint256 stakeWei;
    }

    function stakeAt(address owner, uint256 blockNumber)
        external
        view
        returns (uint256 stakeWei, uint256 totalWei);
    function ownerCount() external view returns (uint256);
    function getStakes(uint256 blockNumber, uint256 from, uint256 count)
        external
        view
        returns (Stake[] memory page);
}
