// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DatanetRegistry} from "../src/DatanetRegistry.sol";
import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title A contribution's deposit from its commit to its end, and contributors that change their key
contract ContributionsTest is World {
    uint256 private constant KEY = 51;
    address private constant CURATOR = address(0xc0);
    address private constant RELAYER = address(0xe1);
    bytes32 private constant ROOT = keccak256("records");
    bytes32 private constant SALT = keccak256("salt");

    function setUp() external {
        deployAll();
        connect();
        publish(CURATOR);
    }

    function _rulesAre(uint96 depositWei, uint32 revealSeconds) private {
        IParameters.Values memory values = parameters.all();
        values.bonds.contributionDepositWei = depositWei;
        values.timing.contributionRevealSeconds = revealSeconds;
        vm.prank(parameters.owner());
        parameters.change(values);
    }

    /// @dev Commits to as many records as its number says, which makes each commitment another.
    function _commit(uint32 number, uint256 sentWei, bytes4 refusal) private returns (uint256) {
        bytes32 commitment = datanets.commitmentOf(datanetId, vm.addr(KEY), ROOT, number, SALT);
        bytes memory signed =
            signature(KEY, datanets.contributionDigest(datanetId, vm.addr(KEY), commitment, number));
        vm.deal(RELAYER, sentWei);
        vm.prank(RELAYER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        return datanets.commit{value: sentWei}(datanetId, vm.addr(KEY), commitment, number, signed);
    }

    function _buckets(uint256 heldWei, uint256 burnedWei, uint256 creditWei) private view {
        same(datanets.depositsWei(), heldWei, "held");
        same(datanets.burnedWei(), burnedWei, "burned");
        same(datanets.credits(RELAYER), creditWei, "credit");
        same(address(datanets).balance, datanets.accountedWei(), "accounted");
    }

    // ---------------------------------------------------------------- deposits

    function testFuzz_commit_takesExactlyTheDeposit(uint96 depositWei, uint96 sentWei, bool exact) external {
        depositWei = uint96(bound(depositWei, 0, parameters.bonds().minStakeWei));
        _rulesAre(depositWei, 60);
        if (exact) sentWei = depositWei;
        bytes4 refusal =
            sentWei == depositWei ? bytes4(0) : IDatanetRegistry.DatanetRegistryDepositMismatch.selector;
        uint256 contributionId = _commit(1, sentWei, refusal);
        if (refusal != 0) return _buckets(0, 0, 0);
        _buckets(depositWei, 0, 0);
        same(datanets.getContribution(contributionId).depositWei, depositWei, "its own");
    }

    /// @dev What it was committed under holds, whatever is decided about parameters and records.
    function testFuzz_reveal_returnsToWhoPaid(uint96 depositWei, uint96 later, uint32 wait, bool corrected) external {
        depositWei = uint96(bound(depositWei, 0, parameters.bonds().minStakeWei));
        _rulesAre(depositWei, 60);
        uint256 contributionId = _commit(1, depositWei, 0);
        _rulesAre(uint96(bound(later, 0, parameters.bonds().minStakeWei)), 1);
        vm.warp(vm.getBlockTimestamp() + bound(wait, 0, 60));
        vm.prank(vm.addr(KEY));
        datanets.reveal(contributionId, ROOT, SALT, "manifest");
        _buckets(0, 0, depositWei);
        if (corrected) {
            vm.prank(vm.addr(KEY));
            datanets.reveal(contributionId, ROOT, SALT, "corrected");
        }
        vm.prank(CURATOR);
        if (wait % 2 == 0) datanets.accept(contributionId);
        else datanets.refuse(contributionId, "evidence", "earlier");
        _buckets(0, 0, depositWei);
        vm.prank(RELAYER);
        if (depositWei == 0) return;
        same(datanets.withdrawCredits(), depositWei, "taken");
        same(RELAYER.balance, depositWei, "paid back");
        _buckets(0, 0, 0);
    }

    function testFuzz_lapse_onlyOfWhatNobodyRevealedInTime(uint32 wait, bool revealed, address anybody) external {
        _rulesAre(7, 60);
        uint256 contributionId = _commit(1, 7, 0);
        _commit(2, 7, 0);
        uint256 passed = bound(wait, 0, 120);
        vm.warp(vm.getBlockTimestamp() + passed);
        if (revealed) {
            vm.prank(RELAYER);
            if (passed > 60) vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryRevealLate.selector);
            datanets.reveal(contributionId, ROOT, SALT, "manifest");
        }
        bool isShown = revealed && passed <= 60;
        bytes4 refusal = isShown
            ? IDatanetRegistry.DatanetRegistryWrongState.selector
            : IDatanetRegistry.DatanetRegistryRevealOpen.selector;
        vm.prank(anybody);
        if (passed <= 60) vm.expectPartialRevert(refusal);
        datanets.lapse(contributionId);
        if (passed <= 60) return _buckets(isShown ? 7 : 14, 0, isShown ? 7 : 0);
        _buckets(7, 7, 0);
        check(
            datanets.getContribution(contributionId).state == IDatanetRegistry.ContributionState.Lapsed, "lapsed"
        );
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.lapse(contributionId);
        vm.prank(CURATOR);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryWrongState.selector);
        datanets.accept(contributionId);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryUnknownContribution.selector);
        datanets.lapse(99);
        // The same signature opens no second contribution, and another salt or count does.
        _commit(1, 7, IDatanetRegistry.DatanetRegistryCommitmentKnown.selector);
        same(_commit(3, 7, 0), 3, "anew");
    }

    /// @dev Whoever squats on priority pays for each second of it that is not followed by records.
    function test_attack_squattingCostsADepositEach() external {
        _rulesAre(7, 60);
        for (uint32 number = 1; number <= 5; number++) _commit(number, 7, 0);
        vm.warp(vm.getBlockTimestamp() + 61);
        for (uint256 id = 1; id <= 5; id++) {
            vm.prank(RELAYER);
            vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryRevealLate.selector);
            datanets.reveal(id, ROOT, SALT, "manifest");
            datanets.lapse(id);
        }
        _buckets(0, 35, 0);
    }

    // ---------------------------------------------------------------- keys

    function _rotate(uint256 from, uint256 to, uint64 deadline, bytes32 digest, bytes4 refusal) private {
        (address old, address next) = (vm.addr(from), vm.addr(to));
        bytes memory one = signature(from, digest);
        bytes memory two = signature(to, digest);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        datanets.rotateContributor(old, next, deadline, one, two);
    }

    function _rotate(uint256 from, uint256 to, bytes4 refusal) private {
        uint64 deadline = uint64(vm.getBlockTimestamp());
        uint256 nonce = datanets.rotationNonce(vm.addr(from));
        _rotate(from, to, deadline, datanets.rotationDigest(vm.addr(from), vm.addr(to), nonce, deadline), refusal);
    }

    function testFuzz_rotate_everyKeyLeadsToTheLast(uint8 times) external {
        uint256 count = 1 + times % 6;
        for (uint256 i = 0; i < count; i++) _rotate(100 + i, 101 + i, 0);
        address[] memory keys = new address[](count + 2);
        for (uint256 i = 0; i < keys.length; i++) keys[i] = vm.addr(100 + i);
        address[] memory current = datanets.contributorsOf(keys);
        for (uint256 i = 0; i <= count; i++) {
            check(current[i] == vm.addr(100 + count), "the last");
            same(datanets.rotationNonce(keys[i]), count, "nonce");
        }
        check(current[count + 1] == keys[count + 1], "nobody else");
        for (uint256 i = 0; i < count; i++) {
            _rotate(100 + i, 200, IDatanetRegistry.DatanetRegistryKeyRetired.selector);
            _rotate(100 + count, 100 + i, IDatanetRegistry.DatanetRegistryKeyTaken.selector);
            _rotate(300, 101 + i, IDatanetRegistry.DatanetRegistryKeyTaken.selector);
        }
        _rotate(300, 300, IDatanetRegistry.DatanetRegistryKeyTaken.selector);
    }

    function testFuzz_rotate_theNewKeyActsAndTheOldOneDoesNot(bool shown) external {
        _rulesAre(7, 60);
        uint256 contributionId = _commit(1, 7, 0);
        if (shown) {
            vm.prank(vm.addr(KEY));
            datanets.reveal(contributionId, ROOT, SALT, "manifest");
        }
        _rotate(KEY, 101, 0);
        vm.prank(vm.addr(KEY));
        vm.expectPartialRevert(
            shown
                ? IDatanetRegistry.DatanetRegistryWrongState.selector
                : IDatanetRegistry.DatanetRegistryNotContributor.selector
        );
        datanets.reveal(contributionId, ROOT, SALT, "by the old key");
        vm.prank(vm.addr(101));
        datanets.reveal(contributionId, ROOT, SALT, "by the new key");
        vm.prank(CURATOR);
        datanets.accept(contributionId);
        vm.prank(vm.addr(KEY));
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryNotConcerned.selector);
        datanets.revoke(contributionId, 0);
        vm.prank(vm.addr(101));
        datanets.revoke(contributionId, 0);
        IDatanetRegistry.Contribution memory entry = datanets.getContribution(contributionId);
        check(entry.contributor == vm.addr(KEY) && entry.manifest == "by the new key", "whose");
        _commit(2, 7, IDatanetRegistry.DatanetRegistryKeyRetired.selector);
    }

    function testFuzz_rotate_nobodyWithoutItsSignature(uint64 late, bool old) external {
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes32 digest = datanets.rotationDigest(vm.addr(KEY), vm.addr(101), 0, deadline);
        bytes memory one = signature(old ? 66 : KEY, digest);
        bytes memory two = signature(old ? 101 : 66, digest);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.rotateContributor(vm.addr(KEY), vm.addr(101), deadline, one, two);
        vm.warp(vm.getBlockTimestamp() + 1 + late / 2);
        _rotate(KEY, 101, deadline, digest, IDatanetRegistry.DatanetRegistryKeyExpired.selector);
        // The zero address is who an invalid signature recovers to.
        digest = datanets.rotationDigest(vm.addr(KEY), address(0), 0, type(uint64).max);
        one = signature(KEY, digest);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.rotateContributor(vm.addr(KEY), address(0), type(uint64).max, one, new bytes(65));
    }

    function testFuzz_rotate_isForOneChain(uint64 chain) external {
        uint256 home = block.chainid;
        uint256 other = bound(chain, 1, type(uint64).max);
        vm.assume(other != home);
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes32 digest = datanets.rotationDigest(vm.addr(KEY), vm.addr(101), 0, deadline);
        vm.chainId(other);
        _rotate(KEY, 101, deadline, digest, IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        vm.chainId(home);
        _rotate(KEY, 101, deadline, digest, 0);
    }

    function testFuzz_rotate_isForOneContractAndChange(bytes32 salt) external {
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes4 refusal = IDatanetRegistry.DatanetRegistrySignerMismatch.selector;
        (address old, address next) = (vm.addr(KEY), vm.addr(101));
        DatanetRegistry another = new DatanetRegistry{salt: salt}(parameters, staking, referee);
        _rotate(KEY, 101, deadline, another.rotationDigest(old, next, 0, deadline), refusal);
        _rotate(KEY, 101, deadline, datanets.rotationDigest(old, next, 1, deadline), refusal);
        _rotate(KEY, 101, deadline, datanets.rotationDigest(next, old, 0, deadline), refusal);
        bytes32 digest = datanets.rotationDigest(old, next, 0, deadline);
        _rotate(KEY, 101, deadline, digest, 0);
        _rotate(KEY, 101, deadline, digest, IDatanetRegistry.DatanetRegistryKeyRetired.selector);
    }
}
