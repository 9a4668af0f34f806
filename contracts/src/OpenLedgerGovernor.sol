// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorSettings} from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";

/// @title Decisions of gOPEN's holders
/// @notice A quorum that is only a share of what is wrapped would let whoever wraps first decide alone: one wei would
/// be all of a supply of one wei. Therefore the quorum is a share of the supply, and never less than a fixed amount of OPEN.
contract OpenLedgerGovernor is
    Governor,
    GovernorSettings,
    GovernorCountingSimple,
    GovernorVotes,
    GovernorTimelockControl
{
    uint256 private constant ONE = 1_000_000;

    /// @param proposalThresholdWei Votes that one needs to propose.
    /// @param quorumPpm Share of the supply that has to take part.
    /// @param quorumFloorWei Least quorum, whatever the supply.
    struct Rules {
        uint48 votingDelaySeconds;
        uint32 votingPeriodSeconds;
        uint256 proposalThresholdWei;
        uint256 quorumPpm;
        uint256 quorumFloorWei;
    }

    uint256 public immutable quorumPpm;
    uint256 public immutable quorumFloorWei;

    error OpenLedgerGovernorQuorumInvalid(uint256 quorumPpm, uint256 quorumFloorWei, uint256 proposalThresholdWei);

    constructor(IVotes token_, TimelockController timelock_, Rules memory rules)
        Governor("OpenLedger")
        GovernorSettings(rules.votingDelaySeconds, rules.votingPeriodSeconds, rules.proposalThresholdWei)
        GovernorVotes(token_)
        GovernorTimelockControl(timelock_)
    {
        require(
            rules.quorumPpm > 0 && rules.quorumPpm <= ONE && rules.quorumFloorWei > 0
                && rules.quorumFloorWei >= rules.proposalThresholdWei,
            OpenLedgerGovernorQuorumInvalid(rules.quorumPpm, rules.quorumFloorWei, rules.proposalThresholdWei)
        );
        quorumPpm = rules.quorumPpm;
        quorumFloorWei = rules.quorumFloorWei;
    }

    /// @notice Votes that have to take part in what is decided by the supply of `timepoint`.
    function quorum(uint256 timepoint) public view override returns (uint256) {
        uint256 shareWei = token().getPastTotalSupply(timepoint) * quorumPpm / ONE;
        return shareWei > quorumFloorWei ? shareWei : quorumFloorWei;
    }

    // ---------------------------------------------------------------- which base decides what

    function state(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (ProposalState)
    {
        return super.state(proposalId);
    }

    function proposalNeedsQueuing(uint256 proposalId)
        public
        view
        override(Governor, GovernorTimelockControl)
        returns (bool)
    {
        return super.proposalNeedsQueuing(proposalId);
    }

    function proposalThreshold() public view override(Governor, GovernorSettings) returns (uint256) {
        return super.proposalThreshold();
    }

    function _queueOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint48) {
        return super._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(
        uint256 proposalId,
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) {
        super._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        bytes32 descriptionHash
    ) internal override(Governor, GovernorTimelockControl) returns (uint256) {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}
