// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStaking} from "../src/interfaces/IStaking.sol";
import {Staking} from "../src/Staking.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Roles, serving bonds, worker keys and the list of stakers, function by function
contract WorkersTest is World {
    uint256 private constant OWNER_KEY = 61;
    uint256 private constant WORKER_KEY = 62;

    function setUp() external {
        deployAll();
        connect();
        stakeOf(_owner(), 100 ether, PROVIDER | VERIFIER);
    }

    function _owner() private pure returns (address) {
        return vm.addr(OWNER_KEY);
    }

    function _worker() private pure returns (address) {
        return vm.addr(WORKER_KEY);
    }

    /// @dev Names a worker key by both signatures.
    function _setWorker(uint256 ownerKey, uint256 workerKey, bytes4 refusal) private {
        (address owner, address worker) = (vm.addr(ownerKey), vm.addr(workerKey));
        uint64 deadline = uint64(vm.getBlockTimestamp() + 60);
        bytes32 digest = staking.workerDigest(owner, worker, staking.workerNonce(owner), deadline);
        (bytes memory a, bytes memory b) = (signature(ownerKey, digest), signature(workerKey, digest));
        if (refusal != 0) vm.expectPartialRevert(refusal);
        staking.setWorker(owner, worker, deadline, a, b);
    }

    // ---------------------------------------------------------------- setRoles, deposit

    function testFuzz_setRoles_areHistoryByBlock(uint8 roles) external {
        uint256 then = vm.getBlockNumber();
        vm.roll(then + 5);
        vm.prank(_owner());
        if (roles > 3) {
            vm.expectPartialRevert(IStaking.StakingRolesUnknown.selector);
            staking.setRoles(roles);
            return;
        }
        staking.setRoles(roles);
        same(staking.getAccount(_owner()).roles, roles, "roles");
        uint256 weight = 100 ether / 1e12;
        same(staking.weightAt(_owner(), then + 5), roles & 2 != 0 ? weight : 0, "weight");
        same(staking.weightAt(_owner(), then + 4), weight, "weight before");
        same(staking.weightAt(_owner(), then - 1), 0, "nothing before the deposit");
    }

    function test_deposit_andThaw_refuseNothingAndMoreThanIsFree() external {
        vm.startPrank(_owner());
        vm.expectPartialRevert(IStaking.StakingAmountZero.selector);
        staking.deposit();
        vm.expectPartialRevert(IStaking.StakingAmountZero.selector);
        staking.requestThaw(0);
        vm.expectPartialRevert(IStaking.StakingNothingThawing.selector);
        staking.withdraw();
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- serving

    function testFuzz_serving_theBondStaysUntilItHasThawed(uint32 early) external {
        address owner = _owner();
        uint256 lockWei = parameters.bonds().servingLockWei;
        vm.prank(owner);
        vm.expectPartialRevert(IStaking.StakingNotServing.selector);
        staking.requestServingExit();
        vm.startPrank(owner);
        staking.registerServing();
        vm.expectPartialRevert(IStaking.StakingLockExists.selector);
        staking.registerServing();
        vm.stopPrank();
        same(staking.getAccount(owner).servingLockWei, lockWei, "bond");
        same(staking.getAccount(owner).freeWei, 100 ether - lockWei, "free");
        same(staking.getAccount(owner).stakeWei, 100 ether, "stake");
        vm.expectPartialRevert(IStaking.StakingServingExitNotRequested.selector);
        staking.releaseServingOf(owner);
        uint256 start = vm.getBlockTimestamp();
        vm.prank(owner);
        staking.requestServingExit();
        uint256 thaw = parameters.timing().thawSeconds;
        same(staking.getAccount(owner).servingExitAt, start + thaw, "exit");
        vm.warp(start + bound(early, 0, thaw - 1));
        vm.prank(owner);
        vm.expectPartialRevert(IStaking.StakingServingExitPending.selector);
        staking.releaseServing();
        vm.warp(start + thaw);
        staking.releaseServingOf(owner);
        same(staking.getAccount(owner).freeWei, 100 ether, "back");
        same(staking.getAccount(owner).servingExitAt, 0, "over");
        same(staking.lockedTotalWei(), 0, "nothing locked");
    }

    function test_serving_needsTheRoleAndTheStake() external {
        vm.startPrank(_owner());
        staking.setRoles(VERIFIER);
        vm.expectPartialRevert(IStaking.StakingRoleMissing.selector);
        staking.registerServing();
        staking.setRoles(PROVIDER);
        staking.requestThaw(90 ether);
        vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        staking.registerServing();
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- setWorker

    function testFuzz_worker_worksWithTheOwnersStakeAndTakesNothingOut(uint96 more) external {
        _setWorker(OWNER_KEY, WORKER_KEY, 0);
        check(staking.ownerOf(_worker()) == _owner() && staking.workerOf(_owner()) == _worker(), "named");
        uint256 moreWei = bound(more, 1, 10 ether);
        vm.deal(_worker(), moreWei);
        vm.startPrank(_worker());
        staking.deposit{value: moreWei}();
        staking.registerServing();
        vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        staking.requestThaw(1);
        vm.expectPartialRevert(IStaking.StakingNothingThawing.selector);
        staking.withdraw();
        vm.stopPrank();
        uint256 lockWei = parameters.bonds().servingLockWei;
        same(staking.getAccount(_worker()).freeWei, 100 ether + moreWei - lockWei, "one account");
        same(staking.getAccount(_owner()).servingLockWei, lockWei, "the key's bond");
        same(staking.getLock(staking.servingLockId(_worker())).amountWei, lockWei, "under the key's name");
        vm.prank(address(0xbad));
        vm.expectPartialRevert(IStaking.StakingUnauthorised.selector);
        staking.requestServingExitOf(_worker());
        vm.prank(_owner());
        staking.requestServingExitOf(_worker());
        vm.warp(staking.getAccount(_owner()).servingExitAt);
        staking.releaseServingOf(_worker());
        same(staking.getAccount(_owner()).freeWei, 100 ether + moreWei, "back to the owner");
    }

    function test_worker_aRetiredKeyNeverWorksAgainAndStillAnswers() external {
        _setWorker(OWNER_KEY, WORKER_KEY, 0);
        vm.prank(_worker());
        staking.registerServing();
        _setWorker(OWNER_KEY, 63, 0);
        vm.prank(_worker());
        vm.expectPartialRevert(IStaking.StakingKeyRetired.selector);
        staking.setRoles(PROVIDER);
        // The owner itself may always act.
        vm.prank(_owner());
        staking.setRoles(PROVIDER);
        IStaking.Account memory retired = staking.getAccount(_worker());
        same(retired.freeWei + retired.stakeWei, 0, "works with nothing");
        same(retired.servingLockWei, parameters.bonds().servingLockWei, "answers with its bond");
        same(staking.getAccount(vm.addr(63)).servingLockWei, 0, "the new key's bond is its own");
        bytes32 lockId = staking.servingLockId(_worker());
        vm.prank(address(referee));
        staking.slash(lockId, address(0xc4), address(0xc5));
        same(staking.getAccount(_owner()).stakeWei, 100 ether - retired.servingLockWei, "the owner's stake");
        _setWorker(OWNER_KEY, WORKER_KEY, IStaking.StakingKeyTaken.selector);
    }

    function test_worker_keysAreNamedOnceAndByBoth() external {
        stakeOf(vm.addr(64), 10 ether, 0);
        _setWorker(OWNER_KEY, OWNER_KEY, IStaking.StakingKeyTaken.selector);
        _setWorker(OWNER_KEY, 64, IStaking.StakingKeyTaken.selector);
        _setWorker(64, 65, 0);
        _setWorker(65, 66, IStaking.StakingKeyTaken.selector);
        _setWorker(OWNER_KEY, 65, IStaking.StakingKeyTaken.selector);
        // One that has named a key itself is an owner, even when it has no stake left.
        _setWorker(67, 68, 0);
        _setWorker(OWNER_KEY, 67, IStaking.StakingKeyTaken.selector);
        // Thawing stake is stake too.
        stakeOf(vm.addr(69), 10 ether, 0);
        vm.prank(vm.addr(69));
        staking.requestThaw(10 ether);
        _setWorker(OWNER_KEY, 69, IStaking.StakingKeyTaken.selector);
        // So is locked stake.
        stakeOf(vm.addr(70), 10 ether, 0);
        vm.prank(address(tasks));
        staking.lock(vm.addr(70), "lock", 10 ether);
        _setWorker(OWNER_KEY, 70, IStaking.StakingKeyTaken.selector);
    }

    function testFuzz_worker_nobodyIsNamedWithoutItsSignature(uint64 late, bool owner) external {
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes32 digest = staking.workerDigest(_owner(), _worker(), 0, deadline);
        (bytes memory right, bytes memory wrong) = (signature(OWNER_KEY, digest), signature(WORKER_KEY, digest));
        vm.expectPartialRevert(IStaking.StakingKeySignerMismatch.selector);
        if (owner) staking.setWorker(_owner(), _worker(), deadline, right, right);
        else staking.setWorker(_owner(), _worker(), deadline, wrong, wrong);
        vm.warp(uint256(deadline) + 1 + late % 1_000_000);
        vm.expectPartialRevert(IStaking.StakingKeyExpired.selector);
        staking.setWorker(_owner(), _worker(), deadline, right, wrong);
        vm.warp(deadline);
        staking.setWorker(_owner(), _worker(), deadline, right, wrong);
        vm.expectPartialRevert(IStaking.StakingKeySignerMismatch.selector);
        staking.setWorker(_owner(), _worker(), deadline, right, wrong);
    }

    function testFuzz_worker_aStatementIsForOneChainAndContract(uint64 chain) external {
        uint256 home = block.chainid;
        vm.assume(chain != home && chain != 0);
        uint64 deadline = uint64(vm.getBlockTimestamp());
        vm.chainId(chain);
        bytes32 digest = staking.workerDigest(_owner(), _worker(), 0, deadline);
        vm.chainId(home);
        (bytes memory a, bytes memory b) = (signature(OWNER_KEY, digest), signature(WORKER_KEY, digest));
        vm.expectPartialRevert(IStaking.StakingKeySignerMismatch.selector);
        staking.setWorker(_owner(), _worker(), deadline, a, b);
        Staking other = new Staking(parameters, address(tasks), address(referee), address(epochs), address(datanets));
        digest = other.workerDigest(_owner(), _worker(), 0, deadline);
        (a, b) = (signature(OWNER_KEY, digest), signature(WORKER_KEY, digest));
        vm.expectPartialRevert(IStaking.StakingKeySignerMismatch.selector);
        staking.setWorker(_owner(), _worker(), deadline, a, b);
    }

    // ---------------------------------------------------------------- the list

    function testFuzz_stakers_theListIsOfThoseWithEnough(uint8 which, uint8 from, uint8 count) external {
        for (uint160 i = 1; i <= 4; i++) stakeOf(address(0x60 + i), 10 ether, VERIFIER);
        same(staking.stakerCount(), 5, "five");
        address leaver = address(uint160(0x61) + which % 4);
        vm.prank(leaver);
        staking.requestThaw(1);
        same(staking.stakerCount(), 4, "four");
        check(!staking.getAccount(leaver).listed, "not listed");
        address[] memory all = staking.stakers();
        for (uint256 i = 0; i < all.length; i++) {
            check(all[i] != leaver && staking.getAccount(all[i]).listed, "listed");
            for (uint256 k = 0; k < i; k++) check(all[i] != all[k], "twice");
        }
        uint256 expected = from >= 4 ? 0 : count < 4 - from ? count : 4 - from;
        IStaking.Staker[] memory page = staking.getStakers(from, count);
        same(page.length, expected, "page");
        for (uint256 i = 0; i < expected; i++) {
            check(keccak256(abi.encode(page[i].account)) == keccak256(abi.encode(all[from + i])), "order");
        }
        stakeOf(leaver, 1, VERIFIER);
        same(staking.stakerCount(), 5, "back");
    }

    /// @dev Griefing: a full list keeps out newcomers, and nobody that is in it.
    function test_attack_griefingByAFullList() external {
        uint256 most = parameters.bonds().maxStakers;
        for (uint256 i = staking.stakerCount(); i < most; i++) {
            // forge-lint: disable-next-line(unsafe-typecast)
            stakeOf(address(uint160(0x9000 + i)), 10 ether, VERIFIER);
        }
        address late = address(0x8fff);
        vm.deal(late, 10 ether);
        vm.prank(late);
        vm.expectPartialRevert(IStaking.StakingListFull.selector);
        staking.deposit{value: 10 ether}();
        stakeOf(_owner(), 1 ether, VERIFIER);
        // A lock that comes back finds no place, and is not kept from coming back.
        vm.prank(_owner());
        staking.requestThaw(95 ether);
        stakeOf(late, 10 ether, VERIFIER);
        same(staking.stakerCount(), most, "full again");
    }
}
