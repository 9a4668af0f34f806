// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {IStakeHistory} from "./interfaces/IStakeHistory.sol";

/// @title What everybody staked, at every block
/// @notice The stakers' part of fees is divided by the stake at the block in which an epoch opened, which anybody can read
/// here ever after; so can the contract that judges the division.
abstract contract StakeHistory is IStakeHistory {
    using Checkpoints for Checkpoints.Trace208;

    mapping(address owner => Checkpoints.Trace208) private _stakes;
    Checkpoints.Trace208 private _total;
    /// @dev Everybody who was ever a staker.
    address[] private _owners;

    /// @notice What an owner of stake had at the end of a block as a staker, 0 while it was not listed, and all stakers
    /// together, in wei. What was slashed counts until it is settled.
    function stakeAt(address owner, uint256 blockNumber)
        external
        view
        returns (uint256 stakeWei, uint256 totalWei)
    {
        uint48 key = uint48(blockNumber);
        return (_stakes[owner].upperLookupRecent(key), _total.upperLookupRecent(key));
    }

    /// @notice Owners of stake that were ever stakers.
    function ownerCount() external view returns (uint256) {
        return _owners.length;
    }

    /// @notice The stakes of at most `count` of them at the end of a block, from position `from` on.
    function getStakes(uint256 blockNumber, uint256 from, uint256 count)
        external
        view
        returns (Stake[] memory page)
    {
        uint256 end = from + count > _owners.length ? _owners.length : from + count;
        if (from >= end) return page;
        page = new Stake[](end - from);
        for (uint256 i = from; i < end; i++) {
            page[i - from] = Stake(_owners[i], _stakes[_owners[i]].upperLookupRecent(uint48(blockNumber)));
        }
    }

    /// @dev Writes down what an owner has as a staker from this block on.
    function _record(address owner, uint256 stakeWei) internal {
        Checkpoints.Trace208 storage stakes = _stakes[owner];
        uint208 previousWei = stakes.latest();
        if (stakeWei == previousWei) return;
        if (stakes.length() == 0) _owners.push(owner);
        stakes.push(uint48(block.number), uint208(stakeWei));
        _total.push(uint48(block.number), _total.latest() + uint208(stakeWei) - previousWei);
    }
}
