// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title How much was slashed within a sliding window, in one storage slot
/// @notice Time is cut into periods as long as the window. What fell in this period counts whole; what fell in the one
/// before counts by the part of it that the window still covers, as if it had been spread evenly. So an amount counts
/// whole until its period ends, for nothing once two windows have passed, and never again more than it did.
library SlashWindow {
    struct Window {
        uint96 currentWei;
        uint96 previousWei;
        uint64 startedAt;
    }

    /// @notice Counts an amount that is slashed in this block; beyond 2^96 wei a period's sum stays where it is.
    function add(Window storage window, uint256 amountWei, uint256 lengthSeconds) internal {
        Window memory now_ = _rolled(window, lengthSeconds);
        uint256 sumWei = now_.currentWei + amountWei;
        now_.currentWei = sumWei > type(uint96).max ? type(uint96).max : uint96(sumWei);
        window.currentWei = now_.currentWei;
        window.previousWei = now_.previousWei;
        window.startedAt = now_.startedAt;
    }

    /// @notice What was slashed within `lengthSeconds` up to now, in wei.
    function sum(Window storage window, uint256 lengthSeconds) internal view returns (uint256) {
        Window memory now_ = _rolled(window, lengthSeconds);
        uint256 leftSeconds = lengthSeconds - (block.timestamp - now_.startedAt);
        return now_.currentWei + now_.previousWei * leftSeconds / lengthSeconds;
    }

    /// @dev The window with its periods brought to this block's time.
    function _rolled(Window storage window, uint256 lengthSeconds) private view returns (Window memory now_) {
        now_ = window;
        uint256 passed = block.timestamp - now_.startedAt;
        if (passed < lengthSeconds) return now_;
        if (passed < 2 * lengthSeconds) {
            return Window(0, now_.currentWei, uint64(now_.startedAt + lengthSeconds));
        }
        return Window(0, 0, uint64(block.timestamp));
    }
}
