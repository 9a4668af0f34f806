// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {vm} from "./Base.sol";
import {Evidence} from "./Evidence.sol";

/// @title What a fault costs that is no accident: the lock, and a share of free and thawing stake that grows with others'
contract CorrelationTest is Evidence {
    uint256 private constant ONE = 1_000_000;
    uint256 private constant BASE = 50_000;
    uint256 private constant LOCK_WEI = 20 ether;
    address private constant HONEST = address(0x71);
    address private constant OTHER = address(0x72);

    function setUp() external {
        serve();
    }

    function _provider() private pure returns (address) {
        return vm.addr(PROVIDER_KEY);
    }

    function _slash(address challenger, address requester) private returns (uint256 amountWei) {
        bytes32 lockId = staking.servingLockId(_provider());
        vm.prank(address(referee));
        return staking.slashDeliberate(lockId, challenger, requester);
    }

    /// @dev Another provider's whole lock of this size, taken for a fault that may be an accident.
    function _lose(address account, uint256 amountWei) private {
        stakeOf(account, amountWei, PROVIDER);
        vm.startPrank(address(tasks));
        staking.lock(account, keccak256(abi.encode(account)), amountWei);
        staking.slash(keccak256(abi.encode(account)), CHALLENGER, OTHER);
        vm.stopPrank();
    }

    function _window() private view returns (uint256) {
        return parameters.slashing().windowSeconds;
    }

    function testFuzz_freeAndThawingStakeIsTakenAndNoOtherLock(uint96 more, uint96 thaws, uint96 task, uint96 lost)
        external
    {
        stakeOf(HONEST, 500 ether, PROVIDER);
        stakeOf(_provider(), bound(more, 1, 1_000 ether), PROVIDER);
        _lose(OTHER, bound(lost, 10 ether, 2_000 ether));
        uint256 taskWei = bound(task, 1, staking.freeOf(_provider()));
        vm.prank(address(tasks));
        staking.lock(_provider(), "task", taskWei);
        uint256 freeWei = staking.freeOf(_provider());
        uint256 thawWei = bound(thaws, 0, freeWei);
        if (thawWei > 0) {
            vm.prank(_provider());
            staking.requestThaw(thawWei);
        }
        freeWei -= thawWei;
        // The window counts in millionths of an OPEN, rounded up.
        uint256 lostWei = (bound(lost, 10 ether, 2_000 ether) + 1e12 - 1) / 1e12 * 1e12 + LOCK_WEI;
        uint256 stakeWei = freeWei + thawWei + taskWei + LOCK_WEI;
        uint256 ppm = BASE + 3 * ONE * lostWei / (lostWei + 500 ether + stakeWei - LOCK_WEI);
        uint256 share = stakeWei * (ppm > ONE ? ONE : ppm) / ONE;
        if (share > freeWei + thawWei) share = freeWei + thawWei;
        same(_slash(CHALLENGER, OTHER), LOCK_WEI + share, "lock and share");
        IStaking.Account memory left = staking.getAccount(_provider());
        same(left.freeWei, share < freeWei ? freeWei - share : 0, "free stake first");
        same(uint256(left.freeWei) + left.thawingWei, freeWei + thawWei - share, "then thawing stake");
        same(left.lockedWei, taskWei, "locked");
        same(staking.getLock("task").amountWei, taskWei, "the task's lock");
        same(staking.getAccount(HONEST).freeWei, 500 ether, "the honest");
        same(address(staking).balance, staking.accountedWei(), "balance");
    }

    function test_theFractionIsFivePercentAndThreeTimesTheShareLost() external {
        same(staking.correlationFraction(), BASE, "nothing lost");
        stakeOf(HONEST, 870 ether, PROVIDER);
        _lose(OTHER, 10 ether);
        // 10 of 980 before the fault; 100 of them are the provider's.
        same(staking.correlationFraction(), BASE + 3 * ONE * 10 / 980, "1 %");
        _lose(OTHER, 98 ether);
        same(staking.correlationFraction(), BASE + 3 * ONE * 108 / 1078, "10 %");
        _lose(OTHER, 2_000 ether);
        same(staking.correlationFraction(), ONE, "never more than all");
    }

    function testFuzz_theWindowRollsOff(uint32 first, uint32 later) external {
        stakeOf(HONEST, 1_000 ether, PROVIDER);
        _lose(OTHER, 30 ether);
        uint256 start = vm.getBlockTimestamp();
        uint256 whole = staking.correlationFraction();
        check(whole > BASE, "it counts");
        uint256 a = bound(first, 0, 2 * _window() - 1);
        uint256 b = bound(later, a, 2 * _window() - 1);
        vm.warp(start + a);
        uint256 then = staking.correlationFraction();
        if (a <= _window()) same(then, whole, "whole within its period");
        vm.warp(start + b);
        check(staking.correlationFraction() <= then, "it only falls");
        vm.warp(start + 2 * _window());
        same(staking.correlationFraction(), BASE, "gone");
        vm.warp(start + 2 * _window() + bound(later, 1, 3 * _window()));
        same(staking.correlationFraction(), BASE, "gone for good");
    }

    function test_theWindowAddsUpWhatFellInTwoPeriods() external {
        stakeOf(HONEST, 1_000 ether, PROVIDER);
        uint256 start = vm.getBlockTimestamp();
        _lose(OTHER, 40 ether);
        vm.warp(start + _window());
        _lose(OTHER, 20 ether);
        same(staking.correlationFraction(), BASE + 3 * ONE * 60 / 1160, "both");
        vm.warp(start + _window() + _window() / 4);
        same(staking.correlationFraction(), BASE + 3 * ONE * 50 / 1150, "three quarters of the earlier");
        vm.warp(start + 2 * _window());
        same(staking.correlationFraction(), BASE + 3 * ONE * 20 / 1120, "the later only");
    }

    /// @dev However much falls, the window neither overflows nor hides it: from some sum on everything is taken.
    function test_theWindowStaysWhereItIsBeyondItsLargestSum() external {
        uint256 mostWei = (2 ** 56 - 1) * 1e12;
        vm.deal(OTHER, 40 * mostWei);
        vm.prank(OTHER);
        staking.deposit{value: 40 * mostWei}();
        vm.startPrank(address(tasks));
        staking.lock(OTHER, "first", mostWei / 2);
        staking.lock(OTHER, "second", mostWei / 2);
        staking.lock(OTHER, "third", mostWei / 2);
        staking.slash("first", CHALLENGER, OTHER);
        uint256 leftWei = uint256(staking.freeTotalWei()) + staking.lockedTotalWei() + mostWei / 2;
        same(staking.correlationFraction(), BASE + 3 * ONE * (mostWei / 2) / leftWei, "what fell");
        staking.slash("second", CHALLENGER, OTHER);
        staking.slash("third", CHALLENGER, OTHER);
        vm.stopPrank();
        leftWei = uint256(staking.freeTotalWei()) + staking.lockedTotalWei() + mostWei;
        same(staking.correlationFraction(), BASE + 3 * ONE * mostWei / leftWei, "the most that it counts");
        same(address(staking).balance, staking.accountedWei(), "balance");
        same(staking.lockedTotalWei(), staking.getLock(staking.servingLockId(_provider())).amountWei, "locked");
        vm.warp(vm.getBlockTimestamp() + 2 * _window());
        same(staking.correlationFraction(), BASE, "gone");
    }

    function testFuzz_whoIsItsOwnClientAndChallengerGetsHalfAtMost(uint96 more, uint96 lost) external {
        stakeOf(_provider(), bound(more, 1, 10_000 ether), PROVIDER);
        _lose(OTHER, bound(lost, 1, 10_000 ether));
        address self = address(0x77);
        uint256 takenWei = _slash(self, self);
        check(2 * staking.credits(self) <= takenWei, "a challenge of oneself must cost half");
    }

    function test_oncePerLock_alsoWhenItsOwnerHadItSlashedBefore() external {
        bytes32 lockId = staking.servingLockId(_provider());
        vm.prank(address(referee));
        same(staking.slash(lockId, CHALLENGER, OTHER), LOCK_WEI, "its own accomplice is first");
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        check(_slash(CHALLENGER, OTHER) > 0, "its share is taken all the same");
        same(_slash(CHALLENGER, OTHER), 0, "once");
        vm.prank(_provider());
        staking.registerServing();
        check(_slash(CHALLENGER, OTHER) > LOCK_WEI, "a new lock answers anew");
    }

    function test_noLongerThanStakeThaws_andNotForALockThatWasGivenBack() external {
        bytes32 lockId = staking.servingLockId(_provider());
        vm.prank(address(referee));
        staking.slash(lockId, CHALLENGER, OTHER);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds + 1);
        same(_slash(CHALLENGER, OTHER), 0, "slashed long ago");
        vm.startPrank(_provider());
        staking.registerServing();
        staking.requestServingExit();
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        staking.releaseServing();
        vm.stopPrank();
        same(_slash(CHALLENGER, OTHER), 0, "given back");
    }

    function testFuzz_onlyTheRefereeSlashesDeliberately(address stranger) external {
        vm.assume(stranger != address(referee));
        bytes32 lockId = staking.servingLockId(_provider());
        vm.prank(stranger);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.slashDeliberate(lockId, stranger, stranger);
        vm.prank(address(tasks));
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.slashDeliberate(lockId, stranger, stranger);
    }

    function test_gas_doesNotGrowWithWhoWasSlashedBefore() external {
        stakeOf(HONEST, 1_000_000 ether, PROVIDER);
        _lose(OTHER, 10 ether);
        uint256 before = gasleft();
        _slash(CHALLENGER, OTHER);
        uint256 one = before - gasleft();
        for (uint160 i = 1; i <= 40; i++) _lose(address(0x1000 + i), 10 ether);
        vm.prank(_provider());
        staking.registerServing();
        before = gasleft();
        _slash(CHALLENGER, OTHER);
        check(before - gasleft() <= one + 5_000, "bounded");
    }

    function testFuzz_change_correlation(uint32 base, uint32 correlation, uint32 window) external {
        IParameters.Values memory values = parameters.all();
        values.slashing.correlationBasePpm = uint32(bound(base, 0, 2 * ONE));
        values.slashing.correlationPpm = uint32(bound(correlation, 0, 20 * ONE));
        values.slashing.windowSeconds = uint32(bound(window, 0, 2 * uint256(values.timing.thawSeconds)));
        bytes4 refusal = bytes4(0);
        if (values.slashing.windowSeconds < values.timing.thawSeconds) {
            refusal = IParameters.ParametersSlashWindowTooShort.selector;
        }
        uint256 basePpm = values.slashing.correlationBasePpm;
        if (basePpm == 0 || basePpm > ONE || values.slashing.correlationPpm > 10 * ONE) {
            refusal = IParameters.ParametersCorrelationInvalid.selector;
        }
        vm.prank(parameters.owner());
        if (refusal != 0) vm.expectPartialRevert(refusal);
        parameters.change(values);
    }
}
