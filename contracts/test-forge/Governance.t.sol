// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {GOpen} from "../src/GOpen.sol";
import {OpenLedgerGovernor} from "../src/OpenLedgerGovernor.sol";
import {Timelock} from "../src/Timelock.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {Vm, vm} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Takes OPEN and unwraps once more in the middle of being paid.
contract Reentrant {
    GOpen private immutable token;
    uint256 public taken;

    constructor(GOpen token_) payable {
        token = token_;
        token_.wrap{value: msg.value}();
    }

    function start(uint256 amountWei) external {
        token.unwrap(amountWei, address(this));
    }

    receive() external payable {
        taken += msg.value;
        uint256 leftWei = token.balanceOf(address(this));
        if (leftWei > 0) token.unwrap(leftWei, address(this));
        else try token.unwrap(1, address(this)) {} catch {}
    }
}

/// @title Wrapped OPEN, its governor and the timelock, function by function
contract GovernanceTest is World {
    uint256 private constant ONE = 1_000_000;
    address private constant HOLDER = address(0xa1);
    address private constant OTHER = address(0xa2);

    GOpen private token;
    OpenLedgerGovernor private governor;
    Timelock private timelock;

    function setUp() external {
        deployAll();
        connect();
        token = GOpen(payable(contractAt("GOpen")));
        governor = OpenLedgerGovernor(payable(contractAt("OpenLedgerGovernor")));
        timelock = Timelock(payable(contractAt("Timelock")));
        // As on public networks: nobody but the timelock changes numbers.
        address owner = parameters.owner();
        vm.prank(owner);
        parameters.transferOwnership(address(timelock));
        vm.prank(address(timelock));
        parameters.acceptOwnership();
    }

    function _wrap(address account, uint256 amountWei) private {
        vm.deal(account, account.balance + amountWei);
        vm.startPrank(account);
        token.wrap{value: amountWei}();
        token.delegate(account);
        vm.stopPrank();
        vm.warp(vm.getBlockTimestamp() + 1);
    }

    /// @dev A proposal that makes the canaries' rate this.
    function _call(uint32 canaryPpm)
        private
        view
        returns (address[] memory targets, uint256[] memory values, bytes[] memory calls)
    {
        (targets, values, calls) = (new address[](1), new uint256[](1), new bytes[](1));
        targets[0] = address(parameters);
        IParameters.Values memory settings = parameters.all();
        settings.audits.canaryPpm = canaryPpm;
        calls[0] = abi.encodeCall(parameters.change, (settings));
    }

    function _propose(address proposer, uint32 canaryPpm) private returns (uint256 proposalId) {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(canaryPpm);
        vm.prank(proposer);
        return governor.propose(targets, values, calls, "canaries");
    }

    function _queue(uint32 canaryPpm) private {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(canaryPpm);
        governor.queue(targets, values, calls, keccak256("canaries"));
    }

    function _execute(uint32 canaryPpm) private {
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(canaryPpm);
        governor.execute(targets, values, calls, keccak256("canaries"));
    }

    function _toVote(uint256 proposalId) private {
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
    }

    function _toEnd(uint256 proposalId) private {
        vm.warp(governor.proposalDeadline(proposalId) + 1);
    }

    // ---------------------------------------------------------------- GOpen

    function testFuzz_wrap_isOneForOneAndSoIsUnwrap(uint96 amount, uint96 back, uint8 way) external {
        uint256 amountWei = bound(amount, 1, type(uint96).max);
        uint256 backWei = bound(back, 1, amountWei);
        vm.deal(HOLDER, amountWei);
        vm.prank(HOLDER);
        if (way % 3 == 0) token.wrap{value: amountWei}();
        if (way % 3 == 1) token.wrapFor{value: amountWei}(HOLDER);
        if (way % 3 == 2) {
            (bool sent,) = address(token).call{value: amountWei}("");
            check(sent, "receive");
        }
        same(token.balanceOf(HOLDER), amountWei, "gOPEN");
        same(token.accountedWei(), amountWei, "owed");
        vm.prank(HOLDER);
        token.unwrap(backWei, OTHER);
        same(OTHER.balance, backWei, "paid");
        same(token.balanceOf(HOLDER), amountWei - backWei, "left");
        same(address(token).balance, token.accountedWei(), "balance");
    }

    function testFuzz_wrapFor_givesItToAnother(uint96 amount) external {
        uint256 amountWei = bound(amount, 1, type(uint96).max);
        vm.deal(HOLDER, amountWei);
        vm.prank(HOLDER);
        token.wrapFor{value: amountWei}(OTHER);
        same(token.balanceOf(OTHER), amountWei, "theirs");
        same(token.balanceOf(HOLDER), 0, "not ours");
    }

    function testFuzz_unwrap_paysNoMoreThanIsHeld(uint96 held, uint96 asked) external {
        uint256 heldWei = bound(held, 1, 100 ether);
        uint256 askedWei = bound(asked, heldWei + 1, 200 ether);
        _wrap(HOLDER, heldWei);
        _wrap(OTHER, 500 ether);
        vm.prank(HOLDER);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientBalance.selector);
        token.unwrap(askedWei, HOLDER);
    }

    function test_zeroIsRefusedAndSoIsWhoTakesNoMoney() external {
        vm.startPrank(HOLDER);
        vm.expectPartialRevert(GOpen.GOpenAmountZero.selector);
        token.wrap();
        vm.expectPartialRevert(GOpen.GOpenAmountZero.selector);
        token.unwrap(0, HOLDER);
        vm.stopPrank();
        _wrap(HOLDER, 1 ether);
        vm.prank(HOLDER);
        vm.expectPartialRevert(GOpen.GOpenTransferFailed.selector);
        // The token itself would wrap what it is sent; a registry takes nothing.
        token.unwrap(1 ether, address(datanets));
        same(token.balanceOf(HOLDER), 1 ether, "nothing lost");
    }

    function testFuzz_forcedOpenIsNobodys(uint96 forced) external {
        _wrap(HOLDER, 1 ether);
        vm.deal(address(token), 1 ether + uint256(forced));
        same(token.accountedWei(), 1 ether, "owed");
        vm.prank(HOLDER);
        token.unwrap(1 ether, HOLDER);
        same(address(token).balance, forced, "what was forced in stays");
    }

    function testFuzz_attack_reentrancyOfUnwrap(uint96 amount, uint96 first) external {
        uint256 amountWei = bound(amount, 1, 100 ether);
        _wrap(HOLDER, 100 ether);
        vm.deal(address(this), amountWei);
        Reentrant thief = new Reentrant{value: amountWei}(token);
        thief.start(bound(first, 1, amountWei));
        same(thief.taken(), amountWei, "no wei more than it wrapped");
        same(address(token).balance, 100 ether, "the others'");
        same(token.accountedWei(), 100 ether, "owed");
    }

    function testFuzz_votesAreHistoryByTime(uint96 amount) external {
        uint256 amountWei = bound(amount, 1, 100 ether);
        same(token.clock(), vm.getBlockTimestamp(), "clock");
        check(keccak256(bytes(token.CLOCK_MODE())) == keccak256("mode=timestamp"), "mode");
        _wrap(HOLDER, amountWei);
        uint256 then = vm.getBlockTimestamp() - 1;
        vm.prank(HOLDER);
        token.unwrap(amountWei, HOLDER);
        vm.warp(vm.getBlockTimestamp() + 1);
        same(token.getPastVotes(HOLDER, then), amountWei, "then");
        same(token.getVotes(HOLDER), 0, "now");
        same(token.nonces(HOLDER), 0, "nonce");
    }

    // ---------------------------------------------------------------- quorum

    function testFuzz_quorum_isAShareOfTheSupplyAndNeverBelowTheFloor(uint128 supply) external {
        uint256 supplyWei = bound(supply, 1, 1e30);
        _wrap(HOLDER, supplyWei);
        uint256 shareWei = supplyWei * governor.quorumPpm() / ONE;
        uint256 floorWei = governor.quorumFloorWei();
        same(
            governor.quorum(vm.getBlockTimestamp() - 1), shareWei > floorWei ? shareWei : floorWei, "quorum"
        );
    }

    function testFuzz_constructor_needsAQuorumWithAFloor(uint32 ppm, uint96 floor_, uint96 least) external {
        uint256 quorumPpm = bound(ppm, 0, 2 * ONE);
        uint256 floorWei = floor_ % 4 == 0 ? 0 : floor_;
        bool right = quorumPpm > 0 && quorumPpm <= ONE && floorWei > 0 && floorWei >= least;
        OpenLedgerGovernor.Rules memory rules = OpenLedgerGovernor.Rules(1, 1, least, quorumPpm, floorWei);
        if (!right) vm.expectPartialRevert(OpenLedgerGovernor.OpenLedgerGovernorQuorumInvalid.selector);
        OpenLedgerGovernor made = new OpenLedgerGovernor(token, timelock, rules);
        if (!right) return;
        same(made.quorumPpm(), quorumPpm, "share");
        same(made.quorumFloorWei(), floorWei, "floor");
        same(made.proposalThreshold(), least, "threshold");
    }

    // ---------------------------------------------------------------- from proposal to effect

    function testFuzz_aDecisionTakesEffectOnlyThroughTheTimelock(uint32 canary, uint16 early) external {
        uint32 canaryPpm = uint32(bound(canary, 1, ONE));
        _wrap(HOLDER, 2_000 ether);
        uint256 proposalId = _propose(HOLDER, canaryPpm);
        check(governor.state(proposalId) == IGovernor.ProposalState.Pending, "pending");
        check(governor.proposalNeedsQueuing(proposalId), "needs the timelock");
        _toVote(proposalId);
        vm.prank(HOLDER);
        governor.castVote(proposalId, 1);
        check(governor.state(proposalId) == IGovernor.ProposalState.Active, "active");
        _toEnd(proposalId);
        check(governor.state(proposalId) == IGovernor.ProposalState.Succeeded, "succeeded");
        _queue(canaryPpm);
        check(governor.state(proposalId) == IGovernor.ProposalState.Queued, "queued");
        uint256 readyAt = governor.proposalEta(proposalId);
        same(readyAt, vm.getBlockTimestamp() + timelock.getMinDelay(), "delay");
        vm.warp(readyAt - 1 - early % timelock.getMinDelay());
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(canaryPpm);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        governor.execute(targets, values, calls, keccak256("canaries"));
        vm.warp(readyAt);
        _execute(canaryPpm);
        same(parameters.audits().canaryPpm, canaryPpm, "effect");
        check(governor.state(proposalId) == IGovernor.ProposalState.Executed, "executed");
    }

    function testFuzz_aMajorityAgainstOrTooFewDecideNothing(uint96 against, uint96 for_) external {
        uint256 forWei = bound(for_, 10 ether, 5_000 ether);
        uint256 againstWei = bound(against, 1, 5_000 ether);
        _wrap(HOLDER, forWei);
        _wrap(OTHER, againstWei);
        uint256 proposalId = _propose(HOLDER, 7);
        _toVote(proposalId);
        vm.prank(HOLDER);
        governor.castVote(proposalId, 1);
        vm.prank(OTHER);
        governor.castVote(proposalId, 0);
        _toEnd(proposalId);
        // GovernorCountingSimple: for and abstain make the quorum, and for must exceed against.
        bool wins = forWei > againstWei && forWei >= governor.quorum(governor.proposalSnapshot(proposalId));
        IGovernor.ProposalState expected =
            wins ? IGovernor.ProposalState.Succeeded : IGovernor.ProposalState.Defeated;
        check(governor.state(proposalId) == expected, "outcome");
        if (wins) return;
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(7);
        vm.expectPartialRevert(IGovernor.GovernorUnexpectedProposalState.selector);
        governor.queue(targets, values, calls, keccak256("canaries"));
    }

    /// @dev Whoever wraps first would be all of the supply; the floor of the quorum is what keeps it from deciding alone.
    function testFuzz_attack_governanceWithATinyWrappedSupply(uint96 supply) external {
        uint256 supplyWei = bound(supply, governor.proposalThreshold(), governor.quorumFloorWei() - 1);
        _wrap(HOLDER, supplyWei);
        same(token.totalSupply(), supplyWei, "all of the supply");
        uint256 proposalId = _propose(HOLDER, 7);
        _toVote(proposalId);
        vm.prank(HOLDER);
        governor.castVote(proposalId, 1);
        _toEnd(proposalId);
        check(governor.state(proposalId) == IGovernor.ProposalState.Defeated, "defeated");
    }

    /// @dev Just-in-time votes: what is wrapped after the snapshot does not count.
    function testFuzz_attack_votesThatComeAfterTheSnapshot(uint96 late) external {
        _wrap(HOLDER, 10 ether);
        uint256 proposalId = _propose(HOLDER, 7);
        _toVote(proposalId);
        _wrap(OTHER, bound(late, 1, 1e28));
        vm.prank(OTHER);
        governor.castVote(proposalId, 1);
        (uint256 againstVotes, uint256 forVotes, uint256 abstainVotes) = governor.proposalVotes(proposalId);
        same(againstVotes + forVotes + abstainVotes, 0, "votes");
    }

    function testFuzz_belowTheThresholdNobodyProposes(uint96 amount) external {
        _wrap(HOLDER, bound(amount, 1, governor.proposalThreshold() - 1));
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(7);
        vm.prank(HOLDER);
        vm.expectPartialRevert(IGovernor.GovernorInsufficientProposerVotes.selector);
        governor.propose(targets, values, calls, "canaries");
    }

    function test_aProposalIsCancelledByItsProposerBeforeTheVoteOnly() external {
        _wrap(HOLDER, 2_000 ether);
        uint256 proposalId = _propose(HOLDER, 7);
        (address[] memory targets, uint256[] memory values, bytes[] memory calls) = _call(7);
        vm.prank(OTHER);
        vm.expectPartialRevert(IGovernor.GovernorUnableToCancel.selector);
        governor.cancel(targets, values, calls, keccak256("canaries"));
        vm.prank(HOLDER);
        governor.cancel(targets, values, calls, keccak256("canaries"));
        check(governor.state(proposalId) == IGovernor.ProposalState.Canceled, "cancelled");
        (targets, values, calls) = _call(8);
        vm.prank(HOLDER);
        proposalId = governor.propose(targets, values, calls, "canaries");
        _toVote(proposalId);
        vm.prank(HOLDER);
        vm.expectPartialRevert(IGovernor.GovernorUnableToCancel.selector);
        governor.cancel(targets, values, calls, keccak256("canaries"));
    }

    // ---------------------------------------------------------------- Timelock

    function testFuzz_timelock_nobodyGoesAroundTheGovernor(address stranger) external {
        vm.assume(stranger != address(governor) && stranger != address(timelock));
        (address[] memory targets,, bytes[] memory calls) = _call(7);
        vm.startPrank(stranger);
        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        timelock.schedule(targets[0], 0, calls[0], 0, 0, 1 days);
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        timelock.grantRole(admin, stranger);
        vm.expectPartialRevert(TimelockController.TimelockUnauthorizedCaller.selector);
        timelock.updateDelay(0);
        vm.expectPartialRevert(Ownable.OwnableUnauthorizedAccount.selector);
        parameters.transferOwnership(stranger);
        vm.stopPrank();
        check(!timelock.hasRole(admin, DEPLOYER) && timelock.hasRole(admin, address(timelock)), "administrator");
        // Whom the constructor grants the role shows only in what it says.
        vm.recordLogs();
        new Timelock(1, new address[](0), new address[](0));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 granted = 0;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] == IAccessControl.RoleGranted.selector && logs[i].topics[1] == admin) granted++;
        }
        same(granted, 1, "nobody but the timelock administers it");
    }

    function test_timelock_theGovernorProposesCancelsAndAnybodyExecutes() external view {
        check(timelock.hasRole(timelock.PROPOSER_ROLE(), address(governor)), "proposes");
        check(timelock.hasRole(timelock.CANCELLER_ROLE(), address(governor)), "cancels");
        check(timelock.hasRole(timelock.EXECUTOR_ROLE(), address(0)), "anybody executes");
        check(timelock.getMinDelay() > 0, "delay");
        check(governor.timelock() == address(timelock) && address(governor.token()) == address(token), "wired");
    }
}
