// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Anchorers} from "./Anchorers.sol";
import {Base} from "./Base.sol";
import {Swarm} from "./Swarm.sol";

/// @title What holds after any sequence of actions of any actors
contract InvariantsTest is Base {
    Swarm private swarm;

    function setUp() external {
        deployAll();
        swarm = new Swarm();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(swarm);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// @dev Time and work come up more often than the rest, so that runs get somewhere.
    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[27] memory chosen = [
            Swarm.announce.selector,
            Swarm.announce.selector,
            Swarm.cancel.selector,
            Swarm.claim.selector,
            Swarm.claim.selector,
            Swarm.work.selector,
            Swarm.draw.selector,
            Swarm.draw.selector,
            Swarm.vote.selector,
            Swarm.tally.selector,
            Swarm.expire.selector,
            Swarm.releaseEscalated.selector,
            Swarm.thaw.selector,
            Swarm.withdraw.selector,
            Swarm.takeCredits.selector,
            Swarm.startServing.selector,
            Swarm.stopServing.selector,
            Swarm.serve.selector,
            Swarm.anchor.selector,
            Swarm.claimPayout.selector,
            Swarm.withholdLeaf.selector,
            Swarm.pass.selector,
            Swarm.contribute.selector,
            Swarm.reveal.selector,
            Swarm.decide.selector,
            Swarm.lapse.selector,
            Anchorers.lieAboutEpoch.selector
        ];
        bytes4[] memory selectors = new bytes4[](chosen.length);
        for (uint256 i = 0; i < chosen.length; i++) selectors[i] = chosen[i];
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(swarm), selectors);
    }

    function invariant_fundsAreConserved() external view {
        swarm.checkConserved();
    }

    function invariant_noHonestPartyIsSlashed() external view {
        swarm.checkHonest();
    }

    function invariant_everyFaultIsSlashedWithItsStakeStillThere() external view {
        swarm.checkFaults();
    }

    /// @dev No deadlock: at the end of each run everything can be brought to its end, and nothing is left locked.
    function afterInvariant() external {
        swarm.settle();
        swarm.checkConserved();
        swarm.checkHonest();
        swarm.checkFaults();
        swarm.report();
    }
}
