// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStaking} from "../interfaces/IStaking.sol";

/// @title A lock in one storage slot
/// @notice A lock either holds stake or was slashed, so that one number says how much or when.
library PackedLock {
    /// @notice Locks are smaller than this, in wei: 39 billion OPEN.
    uint96 internal constant LIMIT = 1 << 95;
    /// @dev With LIMIT's bit: its owner's free and thawing stake was slashed for it too.
    uint96 private constant WHOLE = 1 << 94;

    /// @param state Wei; or LIMIT, and the second in which the lock was slashed.
    struct Packed {
        address owner;
        uint96 state;
    }

    function amountWei(Packed storage lock) internal view returns (uint256) {
        uint96 state = lock.state;
        return state < LIMIT ? state : 0;
    }

    function unpacked(Packed storage lock) internal view returns (IStaking.Lock memory) {
        uint96 state = lock.state;
        if (state < LIMIT) return IStaking.Lock(lock.owner, state, 0, false);
        return IStaking.Lock(lock.owner, 0, uint64(state), state & WHOLE != 0);
    }

    /// @notice Takes out what it holds, and remembers that it was slashed in this block.
    function slash(Packed storage lock) internal {
        lock.state = LIMIT | uint96(block.timestamp);
    }

    /// @notice Remembers of a slashed lock that the rest of its owner's stake was slashed for it.
    function slashWhole(Packed storage lock) internal {
        lock.state |= WHOLE;
    }
}
