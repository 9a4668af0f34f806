// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PaymentDisputes} from "../src/PaymentDisputes.sol";
import {IPaymentDisputes} from "../src/interfaces/IPaymentDisputes.sol";
import {Books} from "./Books.sol";
import {vm} from "./Base.sol";

/// @title Stakers' shares of an epoch's pool
contract SharesTest is Books {
    function setUp() external {
        open();
    }

    /// @dev Liar and watcher and provider share by what they had when the epoch opened.
    function testFuzz_challengeStakerShare_decidesAsTheRuleSays(
        uint64 pool,
        uint8 who,
        uint64 changed,
        bool wrong
    ) external {
        (address account, uint256 stakeWei) = _staker(who);
        // What changes after the epoch opened counts in the next one.
        stakeOf(account, 1 ether, 0);
        uint256 poolWei = uint256(pool) % 1e9 + 3;
        uint256 dueWei = poolWei * stakeWei / 180 ether;
        uint256 paidWei = wrong ? uint256(changed) % 1e9 : dueWei;
        Book memory book;
        book.payments = new IPaymentDisputes.Payment[](paidWei == 0 ? 1 : 2);
        if (paidWei > 0) book.payments[0] = payment(keyOf(account), 0, paidWei);
        book.payments[book.payments.length - 1] = payment(POOL, "receipt", poolWei);
        uint64 epoch = anchorBook(book);
        _share(epoch, book, keyOf(account), paidWei != dueWei ? bytes4(0) : NONE);
        if (paidWei == dueWei) return;
        rejected(epoch);
        uint256 gainWei = paidWei < dueWei ? parameters.bonds().minStakeWei / 10 : 0;
        if (account == WATCHER) gainWei += parameters.bonds().minStakeWei * 4 / 10;
        same(staking.credits(account), gainWei, "wronged");
    }

    function _staker(uint256 who) private pure returns (address account, uint256 stakeWei) {
        if (who % 3 == 0) return (LIAR, 50 ether);
        return who % 3 == 1 ? (WATCHER, 30 ether) : (vm.addr(PROVIDER_KEY), 100 ether);
    }

    function _share(uint64 epoch, Book memory book, uint256 key, bytes4 refusal) private {
        IPaymentDisputes.StakerEvidence memory evidence = IPaymentDisputes.StakerEvidence(
            epoch, key, runOf(book.payments, POOL), placeOf(book.payments, key, 0)
        );
        prepare(abi.encode(evidence), refusal);
        payments.challengeStakerShare(evidence);
    }

    /// @dev Neither a channel nor the pool itself has a share, and who had no stake has none.
    function test_challengeStakerShare_onlyStakersHaveOne() external {
        Book memory book;
        book.payments = new IPaymentDisputes.Payment[](3);
        book.payments[0] = payment(0x1001, 0, 1);
        book.payments[1] = payment(POOL, "receipt", 90);
        book.payments[2] = payment(channel(), 0, 1);
        uint64 epoch = anchorBook(book);
        uint256 before = vm.getBlockNumber();
        _share(epoch, book, channel(), 0);
        rejected(epoch);
        check(vm.getBlockNumber() > before, "committed first");
        book.payments[2] = payment(channel(), "receipt", 1);
        epoch = anchorBook(book);
        _share(epoch, book, channel(), NONE);
        _share(epoch, book, 0x1002, NONE);
        _share(epoch, book, 0x1001, 0);
        rejected(epoch);
    }

    /// @dev Everybody that left is remembered at the block at which it had not.
    function test_stakeAt_remembersWhoLeft() external {
        uint256 before = vm.getBlockNumber();
        vm.roll(before + 1);
        vm.prank(WATCHER);
        staking.requestThaw(30 ether);
        (uint256 thenWei, uint256 allThen) = staking.stakeAt(WATCHER, before);
        (uint256 nowWei, uint256 allNow) = staking.stakeAt(WATCHER, before + 1);
        same(thenWei, 30 ether, "then");
        same(nowWei, 0, "now");
        same(allThen - allNow, 30 ether, "all");
        same(staking.ownerCount(), 3, "three were ever stakers");
        same(staking.getStakes(before, 0, 9).length, 3, "a page");
        same(staking.getStakes(before, 3, 9).length, 0, "behind the last");
        same(staking.getStakes(before + 1, 2, 1)[0].stakeWei, 0, "gone");
        same(staking.getStakes(before, 2, 1)[0].stakeWei, 30 ether, "was there");
    }
}

/// @title The first epoch, opened while nobody had stake
contract StakelessTest is Books {
    function setUp() external {
        deployAll();
        connect();
        payments = PaymentDisputes(contractAt("PaymentDisputes"));
        vm.deal(address(inference), 1 ether);
        vm.prank(address(inference));
        epochs.fund{value: 1e12}();
        vm.roll(vm.getBlockNumber() + 1);
        stakeOf(LIAR, 50 ether, 0);
    }

    /// @dev All of the pool is the treasury's then.
    function testFuzz_challengeStakerShare_withoutStakeTheTreasuryHasAll(uint32 pool, uint32 paid, bool right)
        external
    {
        uint256 poolWei = uint256(pool) + 1;
        uint256 key = keyOf(inference.treasury());
        uint256 paidWei = right ? poolWei : uint256(paid) + 1;
        Book memory book;
        book.payments = new IPaymentDisputes.Payment[](2);
        book.payments[0] = payment(key, 0, paidWei);
        book.payments[1] = payment(POOL, "receipt", poolWei);
        uint64 epoch = anchorBook(book);
        _share(epoch, book, keyOf(LIAR), NONE);
        _share(epoch, book, key, paidWei == poolWei ? NONE : bytes4(0));
        if (paidWei != poolWei) rejected(epoch);
    }

    function _share(uint64 epoch, Book memory book, uint256 key, bytes4 refusal) private {
        IPaymentDisputes.StakerEvidence memory evidence = IPaymentDisputes.StakerEvidence(
            epoch, key, runOf(book.payments, POOL), placeOf(book.payments, key, 0)
        );
        prepare(abi.encode(evidence), refusal);
        payments.challengeStakerShare(evidence);
    }
}
