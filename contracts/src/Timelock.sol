// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title Delay between a decision of the governor and its effect
/// @notice The governor alone proposes and cancels, anybody executes, and nobody is administrator but the timelock itself,
/// so that its rules change only by a decision too.
contract Timelock is TimelockController {
    constructor(uint256 delaySeconds, address[] memory proposers, address[] memory executors)
        TimelockController(delaySeconds, proposers, executors, address(0))
    {}
}
