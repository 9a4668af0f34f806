// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "../src/Credits.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {Locks} from "../src/libraries/Locks.sol";
import {Vm, vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Channels, vouchers, epochs and claims, function by function
contract PaymentsTest is World {
    uint256 private constant ONE = 1_000_000;
    uint256 private constant CLIENT_KEY = 1;
    address private constant PAID = address(0x91);
    address private constant ANCHORER = address(0x92);

    function setUp() external {
        deployAll();
        connect();
        vm.deal(_client(), 100 ether);
        stakeOf(ANCHORER, 50 ether, 0);
    }

    function _client() private pure returns (address) {
        return vm.addr(CLIENT_KEY);
    }

    function _deposit(uint256 amountWei) private {
        vm.prank(_client());
        inference.deposit{value: amountWei}(PAID);
    }

    function _channel() private view returns (IInferenceEscrow.Channel memory) {
        return inference.getChannel(_client(), PAID);
    }

    function _collect(uint256 computeWei, uint256 feeWei, bytes4 refusal) private {
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, PAID, computeWei, feeWei);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        inference.collect(v, s);
    }

    function _anchor(uint64 epoch, bytes32 root, uint256 totalWei, bytes4 refusal) private {
        vm.prank(ANCHORER);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        anchorAs(epoch, root, 1, totalWei, "receipts", 3);
    }

    function _finalise(uint64 epoch) private {
        vm.warp(epochs.getEpoch(epoch).finalisableAt);
        epochs.finalise(epoch);
    }

    function _root(address account, uint256 cumulativeWei) private pure returns (bytes32) {
        return payoutRoot(account, cumulativeWei);
    }

    function _claim(address account, uint256 cumulativeWei) private returns (uint256) {
        return claimOnly(account, cumulativeWei);
    }

    // ---------------------------------------------------------------- deposit, requestThaw, withdraw

    function testFuzz_deposit_addsUp(uint96 first, uint96 second) external {
        uint256 a = bound(first, 1, 10 ether);
        uint256 b = bound(second, 1, 10 ether);
        _deposit(a);
        _deposit(b);
        same(_channel().balanceWei, a + b, "balance");
        same(inference.depositedTotalWei(), a + b, "total");
        same(inference.accountedWei(), address(inference).balance, "accounted");
        vm.prank(_client());
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowAmountZero.selector);
        inference.deposit(PAID);
    }

    function testFuzz_thaw_isDrawnOnUntilItIsWithdrawn(uint96 amount, uint96 drawn, uint32 early) external {
        uint256 amountWei = bound(amount, 1, 10 ether);
        uint256 drawnWei = bound(drawn, 1, 10 ether - 1);
        _deposit(10 ether);
        vm.startPrank(_client());
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowNothingThawing.selector);
        inference.withdraw(PAID);
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowAmountZero.selector);
        inference.requestThaw(PAID, 0);
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowBalanceShort.selector);
        inference.requestThaw(PAID, 10 ether + 1);
        inference.requestThaw(PAID, amountWei);
        vm.stopPrank();
        uint256 readyAt = vm.getBlockTimestamp() + parameters.timing().thawSeconds;
        same(_channel().thawReadyAt, readyAt, "ready");
        same(_channel().balanceWei, 10 ether - amountWei, "balance");
        same(_channel().thawingWei, amountWei, "thawing");
        _collect(drawnWei, 0, 0);
        // The balance goes first.
        uint256 fromThawing = drawnWei > 10 ether - amountWei ? drawnWei - (10 ether - amountWei) : 0;
        same(_channel().thawingWei, amountWei - fromThawing, "left thawing");
        same(_channel().balanceWei, 10 ether - drawnWei - (amountWei - fromThawing), "left");
        if (amountWei == fromThawing) return;
        vm.warp(bound(early, vm.getBlockTimestamp(), readyAt - 1));
        vm.prank(_client());
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowStillThawing.selector);
        inference.withdraw(PAID);
        vm.warp(readyAt);
        uint256 before = _client().balance;
        vm.prank(_client());
        same(inference.withdraw(PAID), amountWei - fromThawing, "withdrawn");
        same(_client().balance - before, amountWei - fromThawing, "paid");
        same(_channel().thawReadyAt, 0, "no longer thawing");
        same(inference.accountedWei(), address(inference).balance, "accounted");
    }

    // ---------------------------------------------------------------- collect

    function testFuzz_collect_dividesWhatWasAdded(uint64 compute, uint32 millions) external {
        _deposit(50 ether);
        uint256 feeWei = ONE * uint256(millions);
        if (compute == 0 && millions == 0) {
            _collect(0, 0, IInferenceEscrow.InferenceEscrowVoucherStale.selector);
            return;
        }
        _collect(compute, feeWei, 0);
        uint256 platformWei = feeWei * parameters.fees().platformPpm / ONE;
        same(inference.credits(PAID), compute, "provider");
        same(inference.credits(inference.treasury()), platformWei, "treasury");
        same(epochs.potOf(1), feeWei - platformWei, "pot");
        same(_channel().computeWei, compute, "compute so far");
        same(_channel().feeWei, feeWei, "fees so far");
        if (compute > 0) _collect(compute - 1, feeWei + ONE, IInferenceEscrow.InferenceEscrowVoucherStale.selector);
        if (feeWei > 0) _collect(uint256(compute) + 1, feeWei - ONE, IInferenceEscrow.InferenceEscrowVoucherStale.selector);
        _collect(uint256(compute) + 1, feeWei, 0);
        same(inference.credits(PAID), uint256(compute) + 1, "one wei more");
        if (compute == 0) return;
        vm.prank(PAID);
        same(inference.withdrawCredits(), uint256(compute) + 1, "taken");
        same(PAID.balance, uint256(compute) + 1, "paid");
        vm.prank(PAID);
        vm.expectPartialRevert(Credits.CreditsNone.selector);
        inference.withdrawCredits();
    }

    /// @dev A change of fees divides nothing that was served before it: each increment by the rules it began under.
    function testFuzz_collect_dividesByTheRulesThatAChannelWasOpenedUnder(uint32 millions, uint32 part) external {
        uint256 feeWei = ONE * bound(millions, 1, type(uint32).max);
        uint256 opened = parameters.fees().platformPpm;
        uint256 changed = bound(part, 0, ONE);
        _deposit(50 ether);
        same(_channel().platformPpm, opened, "opened under");
        _setPlatform(changed);
        // More on the same channel does not open it again.
        _deposit(1 ether);
        _collect(0, feeWei, 0);
        uint256 firstWei = feeWei * opened / ONE;
        same(inference.credits(inference.treasury()), firstWei, "by the rules of before");
        same(_channel().platformPpm, changed, "from here on");
        _setPlatform(0);
        _collect(0, 2 * feeWei, 0);
        same(inference.credits(inference.treasury()), firstWei + feeWei * changed / ONE, "by those of the last time");
        _collect(0, 3 * feeWei, 0);
        same(inference.credits(inference.treasury()), firstWei + feeWei * changed / ONE, "by those of now");
        same(address(inference).balance, inference.accountedWei(), "balance");
    }

    /// @dev An emptied channel that is filled again is a new one; rules that came back are the same rules.
    function test_deposit_opensAnEmptyChannelUnderTheRulesOfNow() external {
        same(inference.getChannel(_client(), ANCHORER).platformPpm, parameters.fees().platformPpm, "none yet");
        _deposit(1 ether);
        _setPlatform(400_000);
        _collect(1 ether, 0, 0);
        _setPlatform(300_000);
        _deposit(1 ether);
        same(_channel().platformPpm, 300_000, "opened again");
    }

    function test_collect_refusesMoreFeesThanAChannelCanCount() external {
        uint256 mostWei = ONE * type(uint64).max;
        vm.deal(_client(), mostWei + ONE);
        _deposit(mostWei + ONE);
        _collect(0, mostWei + ONE, IInferenceEscrow.InferenceEscrowAmountTooLarge.selector);
        _collect(0, mostWei, 0);
        same(_channel().feeWei, mostWei, "to the last million");
    }

    /// @dev The rest goes to the stakers and the data.
    function _setPlatform(uint256 ppm) private {
        IParameters.Values memory values = parameters.all();
        values.fees.platformPpm = uint32(ppm);
        values.fees.modelOwnerPpm = 0;
        values.fees.stakersPpm = 0;
        values.fees.dataPpm = uint32(ONE - ppm);
        vm.prank(parameters.owner());
        parameters.change(values);
    }

    function testFuzz_collect_refusesUnevenFeesAndMoreThanIsThere(uint64 fee, uint64 deposited) external {
        vm.assume(fee % ONE != 0);
        uint256 depositWei = bound(deposited, 1, 10 ether);
        _deposit(depositWei);
        _collect(0, fee, IInferenceEscrow.InferenceEscrowFeeUneven.selector);
        _collect(depositWei + 1, 0, IInferenceEscrow.InferenceEscrowBalanceShort.selector);
        _collect(depositWei, 0, 0);
        same(_channel().balanceWei, 0, "to the last wei");
    }

    function test_collect_refusesEmptyAndUnequalBatches() external {
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowBatchEmpty.selector);
        inference.collect(new IInferenceEscrow.Voucher[](0), new bytes[](0));
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowLengthMismatch.selector);
        inference.collect(new IInferenceEscrow.Voucher[](1), new bytes[](0));
        // The zero address is who an invalid signature recovers to.
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowSignerMismatch.selector);
        inference.collect(new IInferenceEscrow.Voucher[](1), new bytes[](1));
    }

    /// @dev A voucher of a client of its own with one of two providers.
    function _single(uint256 which, uint256 clientKey, uint256 computeWei, uint256 feeWei)
        private
        returns (IInferenceEscrow.Voucher memory, bytes memory)
    {
        address provider = which == 0 ? PAID : address(0x93);
        vm.deal(vm.addr(clientKey), 1 ether);
        vm.prank(vm.addr(clientKey));
        inference.deposit{value: 1 ether}(provider);
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(clientKey, provider, computeWei, feeWei);
        return (v[0], s[0]);
    }

    function _credited() private returns (uint256 count) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) if (logs[i].topics[0] == Credits.Credited.selector) count++;
    }

    /// @dev A batch pays what its vouchers would pay one by one, with one credit for those of a provider in a row.
    function testFuzz_collect_aBatchOfTwoProviders(uint8 order, uint32[4] memory compute, uint16 millions) external {
        IInferenceEscrow.Voucher[] memory vouchers = new IInferenceEscrow.Voucher[](4);
        bytes[] memory signatures = new bytes[](4);
        uint256[2] memory owedWei;
        uint256 credits = 0;
        uint256 feeWei = ONE * (uint256(millions) + 1);
        for (uint256 i = 0; i < 4; i++) {
            uint256 which = (order >> i) & 1;
            uint256 computeWei = uint256(compute[i]) + 1;
            (vouchers[i], signatures[i]) = _single(which, 101 + i, computeWei, feeWei);
            owedWei[which] += computeWei;
            if (i == 0 || which != (order >> (i - 1)) & 1) credits++;
        }
        vm.recordLogs();
        inference.collect(vouchers, signatures);
        same(_credited(), credits + 1, "a credit for each row, and the treasury's");
        same(inference.credits(PAID), owedWei[0], "one provider");
        same(inference.credits(address(0x93)), owedWei[1], "the other");
        uint256 platformWei = 4 * feeWei * parameters.fees().platformPpm / ONE;
        same(inference.credits(inference.treasury()), platformWei, "treasury");
        same(epochs.potOf(1), 4 * feeWei - platformWei, "pot");
        same(inference.accountedWei(), address(inference).balance, "accounted");
    }

    // ---------------------------------------------------------------- anchor, finalise

    function testFuzz_anchor_staysWithinWhatWasCollected(uint32 millions, uint64 total, uint64 next) external {
        uint256 feeWei = ONE * bound(millions, 1, type(uint32).max);
        _deposit(feeWei);
        _collect(0, feeWei, 0);
        uint256 potWei = epochs.potTotalWei();
        uint256 totalWei = bound(total, 0, 2 * potWei);
        if (totalWei > potWei) {
            _anchor(1, "root", totalWei, IEpochs.EpochsTotalAbovePot.selector);
            totalWei = potWei;
        }
        _anchor(2, "root", totalWei, IEpochs.EpochsOutOfOrder.selector);
        _anchor(1, "root", totalWei, 0);
        IEpochs.Epoch memory epoch = epochs.getEpoch(1);
        check(epoch.payoutRoot == "root" && epoch.receiptsRoot == "receipts" && epoch.manifest == "manifest", "roots");
        check(epoch.leafCount == 1 && epoch.receiptCount == 3, "how many");
        same(epoch.totalWei, totalWei, "total");
        same(epoch.finalisableAt, vm.getBlockTimestamp() + parameters.timing().challengeWindowSeconds, "window");
        same(epoch.anchoredBlock, vm.getBlockNumber(), "block");
        same(epochs.getEpoch(2).openedBlock, vm.getBlockNumber(), "the next one opens");
        _anchor(2, "root", totalWei, IEpochs.EpochsPreviousOpen.selector);
        _finalise(1);
        uint256 nextWei = bound(next, 0, potWei);
        _anchor(2, "root", nextWei, nextWei < totalWei ? IEpochs.EpochsTotalFell.selector : bytes4(0));
    }

    function testFuzz_anchor_needsFreeStake(uint96 stake) external {
        uint256 least = parameters.bonds().minStakeWei;
        uint256 stakeWei = bound(stake, 1, 2 * least);
        stakeOf(PAID, stakeWei, 0);
        vm.prank(PAID);
        if (stakeWei < least) vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        anchorAs(1, "root", 1, 0, "receipts", 0);
        if (stakeWei < least) return;
        same(staking.getLock(Locks.anchoring(PAID)).amountWei, least, "bond");
        same(staking.freeOf(PAID), stakeWei - least, "free");
    }

    function testFuzz_finalise_afterTheWindow(uint32 early) external {
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.finalise(0);
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.finalise(1);
        _anchor(1, "root", 0, 0);
        uint256 window = parameters.timing().challengeWindowSeconds;
        uint256 start = vm.getBlockTimestamp();
        vm.warp(start + bound(early, 0, window - 1));
        vm.expectPartialRevert(IEpochs.EpochsWindowOpen.selector);
        epochs.finalise(1);
        vm.warp(start + window);
        epochs.finalise(1);
        same(epochs.finalisedCount(), 1, "final");
        vm.expectPartialRevert(IEpochs.EpochsAlreadyFinalised.selector);
        epochs.finalise(1);
        (bytes32 receiptsRoot, uint32 receiptCount) = epochs.receiptsOf(1);
        check(receiptsRoot == "receipts" && receiptCount == 3, "receipts");
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.receiptsOf(2);
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.receiptsOf(0);
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.getEpoch(3);
        vm.expectPartialRevert(IEpochs.EpochsUnknownEpoch.selector);
        epochs.getEpoch(0);
    }

    // ---------------------------------------------------------------- claim, withhold

    function testFuzz_claim_paysWhatIsAddedAndNoRootMoreThanItsTotal(uint32 due, uint32 more) external {
        _deposit(10 ether);
        _collect(0, 1 ether, 0);
        vm.expectPartialRevert(IEpochs.EpochsNothingFinalised.selector);
        _claim(PAID, 1);
        uint256 dueWei = bound(due, 1, type(uint32).max);
        _anchor(1, _root(PAID, dueWei), dueWei, 0);
        vm.expectPartialRevert(IEpochs.EpochsNothingFinalised.selector);
        _claim(PAID, dueWei);
        _finalise(1);
        same(_claim(PAID, dueWei), dueWei, "first");
        vm.expectPartialRevert(IEpochs.EpochsNothingDue.selector);
        _claim(PAID, dueWei);
        // A root whose leaf says more than its total.
        uint256 nextWei = dueWei + bound(more, 2, 1_000_000);
        _anchor(2, _root(PAID, nextWei), nextWei - 1, 0);
        _finalise(2);
        vm.expectPartialRevert(IEpochs.EpochsClaimsAboveTotal.selector);
        _claim(PAID, nextWei);
        _anchor(3, _root(PAID, nextWei), nextWei, 0);
        _finalise(3);
        same(_claim(PAID, nextWei), nextWei - dueWei, "what it adds");
        same(PAID.balance, nextWei, "paid");
        same(epochs.claimedTotalWei(), nextWei, "claimed");
        same(epochs.accountedWei(), address(epochs).balance, "accounted");
    }

    function testFuzz_withhold_comesOffTheNextClaims(uint32 due, uint32 first, uint32 second) external {
        _deposit(10 ether);
        _collect(0, 1 ether, 0);
        uint256 dueWei = bound(due, 1, type(uint32).max);
        vm.startPrank(address(referee));
        epochs.withhold(PAID, first, address(0xe1));
        epochs.withhold(PAID, second, address(0xe2));
        vm.stopPrank();
        uint256 withheldWei = uint256(first) + second;
        same(epochs.withheldWei(PAID), withheldWei, "withheld");
        IEpochs.Withholding[] memory open = epochs.getWithholdings(PAID);
        same(open.length, (first > 0 ? 1 : 0) + (second > 0 ? 1 : 0), "open");
        if (first > 0) check(open[0].client == address(0xe1) && open[0].amountWei == first, "the first");
        if (second > 0) {
            IEpochs.Withholding memory last = open[open.length - 1];
            check(last.client == address(0xe2) && last.amountWei == second, "the second");
        }
        _anchor(1, _root(PAID, dueWei), dueWei, 0);
        _finalise(1);
        uint256 servedWei = withheldWei < dueWei ? withheldWei : dueWei;
        same(_claim(PAID, dueWei), dueWei - servedWei, "paid");
        uint256 firstWei = first < dueWei ? first : dueWei;
        same(epochs.credits(address(0xe1)), firstWei, "the first client");
        same(epochs.credits(address(0xe2)), servedWei - firstWei, "the second client");
        same(epochs.withheldWei(PAID), withheldWei - servedWei, "still withheld");
        same(epochs.claimedWei(PAID), dueWei, "claimed");
        same(epochs.accountedWei(), address(epochs).balance, "accounted");
    }

    /// @dev Behind an open one for the same client a withholding adds to it, unless that does not fit; sums saturate.
    function testFuzz_withhold_addsToTheLastOfItsClient(uint96 first, uint96 second, bool same_) external {
        vm.assume(first > 0 && second > 0);
        address other = same_ ? address(0xe1) : address(0xe2);
        vm.startPrank(address(referee));
        epochs.withhold(PAID, first, address(0xe1));
        epochs.withhold(PAID, second, other);
        vm.stopPrank();
        uint256 sumWei = uint256(first) + second;
        IEpochs.Withholding[] memory open = epochs.getWithholdings(PAID);
        if (same_ && sumWei <= type(uint96).max) {
            same(open.length, 1, "one");
            check(open[0].client == other && open[0].amountWei == sumWei, "of both");
        } else {
            same(open.length, 2, "two");
            check(open[0].client == address(0xe1) && open[0].amountWei == first, "the first");
            check(open[1].client == other && open[1].amountWei == second, "the second");
        }
        same(epochs.withheldWei(PAID), sumWei > type(uint96).max ? type(uint96).max : sumWei, "withheld");
    }

    function testFuzz_fundAndWithhold_areNoStrangers(address stranger) external {
        vm.assume(stranger != address(referee) && stranger != address(inference));
        vm.deal(stranger, 1 ether);
        vm.startPrank(stranger);
        vm.expectPartialRevert(IEpochs.EpochsUnauthorised.selector);
        epochs.fund{value: 1}();
        vm.expectPartialRevert(IEpochs.EpochsUnauthorised.selector);
        epochs.withhold(PAID, 1, stranger);
        vm.stopPrank();
    }
}
