// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Stake under fuzzed amounts, splits and times
contract StakingTest is World {
    address private constant OWNER = address(0x51);
    address private constant OTHER = address(0x52);
    bytes32 private constant LOCK = keccak256("lock");

    function setUp() external {
        deployAll();
        connect();
    }

    function testFuzz_onlyFreeStakeThaws(uint96 stake, uint96 locked, uint96 asked) external {
        uint256 stakeWei = bound(stake, 10 ether, 1_000 ether);
        uint256 lockWei = bound(locked, 1, stakeWei);
        stakeOf(OWNER, stakeWei, PROVIDER);
        vm.prank(address(tasks));
        staking.lock(OWNER, LOCK, lockWei);
        uint256 askedWei = bound(asked, 1, 1_000 ether);
        vm.prank(OWNER);
        if (askedWei > stakeWei - lockWei) vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        staking.requestThaw(askedWei);
    }

    function testFuzz_nothingLeavesBeforeItHasThawed(uint96 amount, uint32 early) external {
        uint256 amountWei = bound(amount, 1, 50 ether);
        stakeOf(OWNER, 50 ether, 0);
        vm.prank(OWNER);
        staking.requestThaw(amountWei);
        uint256 thaw = parameters.timing().thawSeconds;
        uint256 start = vm.getBlockTimestamp();
        vm.warp(start + bound(early, 0, thaw - 1));
        vm.prank(OWNER);
        vm.expectPartialRevert(IStaking.StakingStillThawing.selector);
        staking.withdraw();
        vm.warp(start + thaw);
        vm.prank(OWNER);
        same(staking.withdraw(), amountWei, "withdrawn");
        same(OWNER.balance, amountWei, "balance");
    }

    function testFuzz_aLockIdIsUsedOnceAtATime(uint96 first, uint96 second) external {
        stakeOf(OWNER, 1_000 ether, PROVIDER);
        stakeOf(OTHER, 1_000 ether, PROVIDER);
        vm.startPrank(address(tasks));
        staking.lock(OWNER, LOCK, bound(first, 1, 500 ether));
        vm.expectPartialRevert(IStaking.StakingLockExists.selector);
        staking.lock(OTHER, LOCK, bound(second, 1, 500 ether));
        same(staking.unlock(LOCK), bound(first, 1, 500 ether), "unlocked");
        same(staking.unlock(LOCK), 0, "unlocked twice");
        vm.stopPrank();
        same(staking.getAccount(OWNER).freeWei, 1_000 ether, "free again");
    }

    function testFuzz_aSlashTakesThatLockOnlyAndLosesNoWei(uint96 slashed, uint96 kept) external {
        uint256 slashedWei = bound(slashed, 1, 500 ether);
        uint256 keptWei = bound(kept, 1, 500 ether);
        stakeOf(OWNER, 1_000 ether, PROVIDER);
        vm.startPrank(address(tasks));
        staking.lock(OWNER, LOCK, slashedWei);
        staking.lock(OWNER, "another task", keptWei);
        staking.slash(LOCK, OTHER, address(0x53));
        same(staking.slash(LOCK, OTHER, address(0x53)), 0, "slashed twice");
        vm.stopPrank();
        same(staking.getLock("another task").amountWei, keptWei, "another task's lock");
        same(staking.credits(OTHER) + staking.credits(address(0x53)) + staking.burnedWei(), slashedWei, "split");
        check(2 * staking.burnedWei() >= slashedWei, "a challenge of oneself must cost half");
        same(address(staking).balance, staking.accountedWei(), "balance");
    }

    function testFuzz_aLockIsBelowTheLargest(uint120 amount) external {
        uint256 amountWei = bound(amount, 1, 1 << 96);
        vm.deal(OWNER, 1 << 96);
        vm.prank(OWNER);
        staking.deposit{value: 1 << 96}();
        vm.prank(address(tasks));
        if (amountWei >= 1 << 95) vm.expectPartialRevert(IStaking.StakingLockTooLarge.selector);
        staking.lock(OWNER, LOCK, amountWei);
        same(staking.lockedTotalWei(), amountWei < 1 << 95 ? amountWei : 0, "locked");
        same(staking.getLock(LOCK).amountWei, staking.lockedTotalWei(), "the lock");
        same(address(staking).balance, staking.accountedWei(), "balance");
    }

    function testFuzz_aForfeitCannotExceedItsLock(uint96 locked, uint96 taken) external {
        uint256 lockWei = bound(locked, 1, 100 ether);
        uint256 takenWei = bound(taken, 0, 200 ether);
        stakeOf(OWNER, 100 ether, PROVIDER);
        vm.startPrank(address(tasks));
        staking.lock(OWNER, LOCK, lockWei);
        if (takenWei > lockWei) vm.expectPartialRevert(IStaking.StakingLockShort.selector);
        staking.forfeit(LOCK, takenWei, OTHER);
        vm.stopPrank();
        same(address(staking).balance, staking.accountedWei(), "balance");
    }

    function testFuzz_strangersMoveNoStake(address stranger, uint96 amount) external {
        vm.assume(stranger != address(tasks) && stranger != address(referee));
        vm.assume(stranger != address(epochs) && stranger != address(datanets));
        stakeOf(OWNER, 100 ether, PROVIDER);
        vm.startPrank(stranger);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.lock(OWNER, LOCK, amount);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.unlock(LOCK);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.forfeit(LOCK, amount, stranger);
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.slash(LOCK, stranger, stranger);
        vm.stopPrank();
    }

    /// @dev Just-in-time stake: what comes after the block that fixes the draw does not count in it.
    function testFuzz_stakeThatComesLaterIsNotDrawn(bytes32 seed, uint96 late) external {
        for (uint160 i = 1; i <= 3; i++) stakeOf(address(0x60 + i), 10 ether, VERIFIER);
        vm.roll(vm.getBlockNumber() + 1);
        uint256 fixedAt = vm.getBlockNumber() - 1;
        stakeOf(OTHER, bound(late, 10 ether, 1_000_000 ether), VERIFIER);
        address[] memory drawn = staking.draw(seed, fixedAt, 3, new address[](0));
        for (uint256 i = 0; i < drawn.length; i++) check(drawn[i] != OTHER, "late stake was drawn");
        vm.expectPartialRevert(IStaking.StakingTooFewVerifiers.selector);
        staking.draw(seed, fixedAt, 4, new address[](0));
    }

    function testFuzz_drawnAreDistinctAndNeverExcluded(bytes32 seed, uint8 count) external {
        for (uint160 i = 1; i <= 8; i++) stakeOf(address(0x60 + i), 10 ether * i, VERIFIER);
        address[] memory excluded = new address[](1);
        excluded[0] = address(0x61);
        address[] memory drawn = staking.draw(seed, vm.getBlockNumber(), bound(count, 1, 7), excluded);
        for (uint256 i = 0; i < drawn.length; i++) {
            check(drawn[i] != excluded[0] && drawn[i] != address(0), "excluded");
            for (uint256 k = 0; k < i; k++) check(drawn[i] != drawn[k], "twice");
        }
    }

    /// @dev A weight's whole past, with several changes to a block and blocks without any.
    function testFuzz_weightAt_remembersEveryBlock(uint8[24] memory gaps) external {
        uint256 start = vm.getBlockNumber();
        uint256 last = start;
        uint256[] memory weights = new uint256[](24 * 4 + 1);
        stakeOf(OWNER, 10 ether, VERIFIER);
        weights[0] = 10 ether / 1e12;
        for (uint256 i = 0; i < gaps.length; i++) {
            uint256 next = last + gaps[i] % 4;
            for (uint256 at = last + 1; at <= next; at++) weights[at - start] = weights[last - start];
            vm.roll(next);
            stakeOf(OWNER, 1 ether, VERIFIER);
            weights[next - start] += 1 ether / 1e12;
            last = next;
        }
        same(staking.weightAt(OWNER, start - 1), 0, "before");
        for (uint256 at = start; at <= last; at++) same(staking.weightAt(OWNER, at), weights[at - start], "then");
    }
}
