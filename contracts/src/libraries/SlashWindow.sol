// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../interfaces/IParameters.sol";

/// @title How much was slashed within a sliding window, in one storage slot with what is locked
/// @notice Time is cut into periods as long as the window. What fell in this period counts whole; what fell in the one
/// before counts by the part of it that the window still covers, as if it had been spread evenly. So an amount counts
/// whole until its period ends, for nothing once two windows have passed, and never again more than it did.
library SlashWindow {
    /// @dev Millionths of an OPEN, so that sums fit in 56 bits, as weights in draws do.
    uint256 private constant UNIT_WEI = 1e12;
    uint256 private constant ONE = 1_000_000;

    /// @param lockedWei Of the owner of this slot; the window leaves it alone.
    /// @param current What fell in this period, and `previous` in the one before, in units.
    struct Window {
        uint104 lockedWei;
        uint56 current;
        uint56 previous;
        uint40 startedAt;
    }

    /// @notice Counts an amount that is slashed in this block, rounded up; beyond 2^56 units a period's sum stays where it is.
    function add(Window storage window, uint256 amountWei, uint256 lengthSeconds) internal {
        Window memory now_ = _rolled(window, lengthSeconds);
        uint256 sum_ = now_.current + (amountWei + UNIT_WEI - 1) / UNIT_WEI;
        now_.current = sum_ > type(uint56).max ? type(uint56).max : uint56(sum_);
        window.lockedWei = now_.lockedWei;
        window.current = now_.current;
        window.previous = now_.previous;
        window.startedAt = now_.startedAt;
    }

    /// @notice Share of its stake, in PPM, that a fault costs now that is no accident: the base, and a multiple of the share
    /// of all stake that was slashed within the window; never more than all.
    /// @param unlockedWei All stake that is not locked.
    function fraction(Window storage window, IParameters.Slashing memory rules, uint256 unlockedWei)
        internal
        view
        returns (uint256 ppm)
    {
        uint256 lostWei = _sum(window, rules.windowSeconds);
        uint256 allWei = lostWei + unlockedWei + window.lockedWei;
        ppm = rules.correlationBasePpm;
        if (lostWei > 0) ppm += rules.correlationPpm * lostWei / allWei;
        if (ppm > ONE) ppm = ONE;
    }

    /// @dev What was slashed within `lengthSeconds` up to now, in wei.
    function _sum(Window storage window, uint256 lengthSeconds) private view returns (uint256) {
        Window memory now_ = _rolled(window, lengthSeconds);
        uint256 leftSeconds = lengthSeconds - (block.timestamp - now_.startedAt);
        return (now_.current + now_.previous * leftSeconds / lengthSeconds) * UNIT_WEI;
    }

    /// @dev The window with its periods brought to this block's time.
    function _rolled(Window storage window, uint256 lengthSeconds) private view returns (Window memory now_) {
        now_ = window;
        uint256 passed = block.timestamp - now_.startedAt;
        if (passed < lengthSeconds) return now_;
        if (passed < 2 * lengthSeconds) {
            return Window(now_.lockedWei, 0, now_.current, uint40(now_.startedAt + lengthSeconds));
        }
        return Window(now_.lockedWei, 0, 0, uint40(block.timestamp));
    }
}
