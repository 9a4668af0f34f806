// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "../src/Credits.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {vm} from "./Base.sol";
import {Evidence} from "./Evidence.sol";

/// @dev Acts for its owner, and whenever it is paid does once more what it was told.
contract Reenterer {
    address private target;
    bytes private call_;
    uint256 public attempts;
    uint256 public successes;

    function act(address to, bytes calldata data, uint256 valueWei) external payable {
        (bool done,) = to.call{value: valueWei}(data);
        require(done, "the first call");
    }

    function repeatWhenPaid(address to, bytes calldata data) external {
        (target, call_) = (to, data);
    }

    receive() external payable {
        if (target == address(0)) return;
        attempts++;
        (bool done,) = target.call(call_);
        if (done) successes++;
    }
}

/// @dev Takes no money.
contract Refuser {
    function act(address to, bytes calldata data, uint256 valueWei) external payable {
        (bool done,) = to.call{value: valueWei}(data);
        require(done, "the call");
    }
}

/// @title Named attacks: each tried, each without gain
/// @dev Elsewhere: sandwiched reveal (Tasks), just-in-time stake (Staking), votes and a tiny supply (Governance), a copied
/// contribution (Registries), copied evidence (Signatures).
contract AttacksTest is Evidence {
    uint256 private constant ONE = 1_000_000;
    uint256 private constant MAX_TRANSACTION_GAS = 16_777_216;
    Reenterer private thief;

    function setUp() external {
        serve();
        addRecord(200, 1);
        addRecord(150, 2);
        registerRecords();
        thief = new Reenterer();
        vm.deal(address(thief), 10 ether);
    }

    function _provider() private pure returns (address) {
        return vm.addr(PROVIDER_KEY);
    }

    function _nobody() private pure returns (IReferee.ScoreLeaf[] memory) {
        return new IReferee.ScoreLeaf[](0);
    }

    function _unpaid() private pure returns (IReferee.SpanLeaf[] memory) {
        return new IReferee.SpanLeaf[](0);
    }

    // ---------------------------------------------------------------- reentrancy

    function testFuzz_attack_reentrancyOfThawedStake(uint96 amount) external {
        uint256 amountWei = bound(amount, 1, 10 ether);
        thief.act(address(staking), abi.encodeCall(staking.deposit, ()), amountWei);
        thief.act(address(staking), abi.encodeCall(staking.requestThaw, (amountWei)), 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        _drain(address(staking), abi.encodeCall(staking.withdraw, ()), 10 ether);
        same(address(staking).balance, staking.accountedWei(), "Staking");
    }

    function testFuzz_attack_reentrancyOfAChannel(uint96 amount) external {
        uint256 amountWei = bound(amount, 1, 10 ether);
        vm.prank(vm.addr(CLIENT_KEY));
        inference.deposit{value: 10 ether}(_provider());
        thief.act(address(inference), abi.encodeCall(inference.deposit, (_provider())), amountWei);
        thief.act(address(inference), abi.encodeCall(inference.requestThaw, (_provider(), amountWei)), 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        _drain(address(inference), abi.encodeCall(inference.withdraw, (_provider())), 10 ether);
        same(address(inference).balance, inference.accountedWei(), "InferenceEscrow");
    }

    function testFuzz_attack_reentrancyOfCredits(uint96 amount) external {
        uint256 amountWei = bound(amount, 1, 10 ether);
        bytes memory announce = abi.encodeCall(tasks.announce, ("spec", BASE_HASH, datanetId, 1, 8, "adapter"));
        vm.prank(vm.addr(CLIENT_KEY));
        tasks.announce{value: 10 ether}("spec", BASE_HASH, datanetId, 1, 8, "adapter");
        thief.act(address(tasks), announce, amountWei);
        thief.act(address(tasks), abi.encodeCall(tasks.cancel, (2)), 0);
        _drain(address(tasks), abi.encodeCall(tasks.withdrawCredits, ()), 10 ether);
        same(address(tasks).balance, 10 ether, "the other's reward");
    }

    function testFuzz_attack_reentrancyOfAPayout(uint96 amount) external {
        uint256 feeWei = ONE * bound(amount, 10, 1e12);
        _collect(feeWei);
        uint256 potWei = epochs.potTotalWei();
        uint256 dueWei = potWei / 2;
        _finalise(payoutRoot(address(thief), dueWei), dueWei);
        bytes memory claim = abi.encodeCall(epochs.claim, (address(thief), dueWei, dueWei, 0, new bytes32[](0)));
        _drain(address(epochs), claim, 10 ether + dueWei);
        same(address(epochs).balance, potWei - dueWei, "Epochs");
    }

    /// @dev Calls, calls again while being paid, and ends with what is its own.
    function _drain(address target, bytes memory data, uint256 ownWei) private {
        thief.repeatWhenPaid(target, data);
        thief.act(target, data, 0);
        same(thief.attempts(), 1, "it was paid once");
        same(thief.successes(), 0, "the second call was refused");
        same(address(thief).balance, ownWei, "its own and no more");
    }

    function _collect(uint256 feeWei) private {
        vm.prank(vm.addr(CLIENT_KEY));
        inference.deposit{value: feeWei}(_provider());
        (IInferenceEscrow.Voucher[] memory vouchers, bytes[] memory signatures) =
            voucher(CLIENT_KEY, _provider(), 0, feeWei);
        inference.collect(vouchers, signatures);
    }

    function _finalise(bytes32 root, uint256 totalWei) private {
        stakeOf(CHALLENGER, 50 ether, 0);
        vm.prank(CHALLENGER);
        anchorAs(1, root, 1, totalWei, keccak256("receipts"), 1);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().challengeWindowSeconds);
        epochs.finalise(1);
    }

    // ---------------------------------------------------------------- griefing and front-running

    /// @dev Whoever repeats a commitment before its author only pays for it.
    function testFuzz_attack_griefingByCommittingForAnother(address griefer) external {
        vm.assume(griefer != CHALLENGER);
        IReferee.OmissionEvidence memory evidence = omission(_nobody(), 0);
        bytes32 commitment = referee.evidenceCommitmentOf(CHALLENGER, keccak256(abi.encode(evidence)));
        vm.prank(griefer);
        referee.commitEvidence(commitment);
        vm.roll(vm.getBlockNumber() + parameters.timing().evidenceDelayBlocks);
        vm.prank(griefer);
        vm.expectPartialRevert(IReferee.RefereeEvidenceNotCommitted.selector);
        referee.challengeOmission(evidence);
        vm.prank(CHALLENGER);
        referee.challengeOmission(evidence);
        check(staking.credits(CHALLENGER) > 0 && staking.credits(griefer) == 0, "whose it was");
    }

    /// @dev Challenges run in parallel: an accomplice that comes first with bad evidence, or never shows its own, keeps
    /// nobody else from the verdict.
    function testFuzz_removedRule_aFailedChallengeBlocksNobody(address accomplice, bool silent) external {
        vm.assume(accomplice != CHALLENGER && accomplice.code.length == 0);
        IReferee.OmissionEvidence memory bad = omission(_nobody(), 0);
        bad.sketchIndex = 1;
        commitTo(accomplice, abi.encode(bad));
        if (!silent) {
            vm.prank(accomplice);
            vm.expectPartialRevert(IReferee.RefereeSketchProofInvalid.selector);
            referee.challengeOmission(bad);
        }
        challengeOmission(omission(_nobody(), 0), 0);
        same(bondWei(), 0, "slashed all the same");
    }

    /// @dev One who takes no money blocks its own payment only.
    function test_attack_griefingByRefusingMoney() external {
        Refuser refuser = new Refuser();
        vm.deal(address(refuser), 1 ether);
        refuser.act(
            address(tasks), abi.encodeCall(tasks.announce, ("spec", BASE_HASH, datanetId, 1, 8, "adapter")), 1 ether
        );
        vm.warp(tasks.getTask(1).deadline);
        tasks.expire(1);
        same(tasks.credits(address(refuser)), 1 ether, "the task is over all the same");
        vm.prank(address(refuser));
        vm.expectPartialRevert(Credits.CreditsTransferFailed.selector);
        tasks.withdrawCredits();
        same(tasks.credits(address(refuser)), 1 ether, "and it is still owed");
    }

    /// @dev A bond that is on its way out answers for what it signed until it has thawed.
    function testFuzz_removedRule_aBondUnderExitStillAnswers(uint32 late) external {
        vm.prank(_provider());
        staking.requestServingExit();
        uint256 exitAt = staking.getAccount(_provider()).servingExitAt;
        vm.warp(bound(late, vm.getBlockTimestamp(), exitAt - 1));
        uint256 lockWei = bondWei();
        challengeOmission(omission(_nobody(), 0), 0);
        same(bondWei(), 0, "slashed");
        same(staking.burnedWei(), lockWei / 2, "burned");
        vm.warp(exitAt);
        vm.prank(_provider());
        staking.releaseServing();
        same(staking.getAccount(_provider()).freeWei, 100 ether - lockWei, "nothing comes back");
    }

    // ---------------------------------------------------------------- self-challenge

    /// @dev A provider that is its own client and challenger gets at most half of its bond back.
    function testFuzz_attack_selfChallenge(uint8 way) external {
        address self = _provider();
        uint256 beforeWei = _stakeWei(self);
        IReferee.Receipt memory first = receiptOf(_nobody(), _unpaid(), ONE);
        IReferee.Receipt memory second = receiptOf(_nobody(), _unpaid(), 2 * ONE);
        (first.client, second.client) = (self, way % 2 == 0 ? self : address(0xc5));
        IReferee.EquivocationEvidence memory evidence = equivocation(first, second);
        commitTo(self, abi.encode(evidence));
        vm.prank(self);
        referee.challengeEquivocation(evidence);
        uint256 takenWei = beforeWei - _stakeWei(self);
        check(takenWei > 20 ether, "more than the lock, for it is no accident");
        check(2 * staking.credits(self) <= takenWei, "more than half came back");
        same(staking.burnedWei(), takenWei - staking.credits(self), "the rest is burned");
    }

    function _stakeWei(address owner) private view returns (uint256) {
        IStaking.Account memory account = staking.getAccount(owner);
        return uint256(account.freeWei) + account.lockedWei + account.thawingWei;
    }

    // ---------------------------------------------------------------- rounding and dust

    /// @dev Many small vouchers divide exactly as one large voucher does.
    function testFuzz_attack_roundingByManySmallVouchers(uint32[5] memory millions, uint32[5] memory compute) external {
        uint256 sumFeeWei = 0;
        uint256 sumComputeWei = 0;
        vm.prank(vm.addr(CLIENT_KEY));
        inference.deposit{value: 50 ether}(_provider());
        for (uint256 i = 0; i < 5; i++) {
            sumFeeWei += ONE * bound(millions[i], 1, type(uint32).max);
            sumComputeWei += compute[i];
            (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) =
                voucher(CLIENT_KEY, _provider(), sumComputeWei, sumFeeWei);
            inference.collect(v, s);
        }
        uint256 platformWei = sumFeeWei * parameters.fees().platformPpm / ONE;
        same(inference.credits(inference.treasury()), platformWei, "treasury");
        same(epochs.potTotalWei(), sumFeeWei - platformWei, "pot");
        same(inference.credits(_provider()), sumComputeWei, "provider");
        same(inference.getChannel(vm.addr(CLIENT_KEY), _provider()).balanceWei, 50 ether - sumFeeWei - sumComputeWei, "rest");
    }

    function testFuzz_attack_dustIsNeitherListedNorLost(uint96 dust) external {
        uint256 count = staking.stakerCount();
        uint256 least = parameters.bonds().minStakeWei;
        uint256 dustWei = bound(dust, 1, least - 1);
        address dusty = address(0xd5);
        stakeOf(dusty, dustWei, VERIFIER);
        same(staking.stakerCount(), count, "no place for dust");
        check(!staking.getAccount(dusty).listed, "not listed");
        stakeOf(dusty, least - dustWei, VERIFIER);
        same(staking.stakerCount(), count + 1, "listed from the least stake on");
        vm.prank(dusty);
        staking.requestThaw(1);
        same(staking.stakerCount(), count, "and only while it is there");
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        vm.prank(dusty);
        same(staking.withdraw(), 1, "the wei");
        same(address(staking).balance, staking.accountedWei(), "balance");
    }

    /// @dev Of one wei nobody can take a share, and the wei is not lost.
    function test_attack_dustReward() external {
        vm.deal(address(0x71), 1);
        vm.prank(address(0x71));
        tasks.announce{value: 1}("spec", BASE_HASH, datanetId, 1, 8, "adapter");
        vm.warp(tasks.getTask(1).deadline);
        tasks.expire(1);
        vm.prank(address(0x71));
        same(tasks.withdrawCredits(), 1, "the wei");
    }

    // ---------------------------------------------------------------- gas exhaustion by many claims

    /// @dev However many leaves were withheld of an account, a claim fits into a block and brings it forward.
    function test_attack_gasExhaustionByManyWithholdings() external {
        uint256 count = 200;
        _collect(ONE * 1_000);
        address contributor = vm.addr(41);
        uint256 dueWei = epochs.potTotalWei();
        _finalise(payoutRoot(contributor, dueWei), dueWei);
        for (uint256 i = 0; i < count; i++) {
            vm.prank(address(referee));
            // forge-lint: disable-next-line(unsafe-typecast)
            epochs.withhold(contributor, 1_000, address(uint160(0x5000 + i)));
        }
        uint256 turns = 0;
        while (epochs.withheldWei(contributor) > 0) {
            uint256 before = gasleft();
            claimOnly(contributor, dueWei);
            check(before - gasleft() < MAX_TRANSACTION_GAS, "a claim above a transaction's gas");
            turns++;
        }
        same(turns, 4, "64 at a time");
        same(contributor.balance, dueWei - count * 1_000, "the rest is paid");
        same(epochs.creditsTotalWei(), count * 1_000, "clients");
        same(epochs.getWithholdings(contributor).length, 0, "nothing open");
    }

    /// @dev Verdicts on one provider do not get dearer by their number.
    function test_attack_gasExhaustionByManyVerdicts() external {
        this.verdictGas(0);
        uint256 second = this.verdictGas(1);
        for (uint256 i = 2; i < 40; i++) {
            check(this.verdictGas(i) < second + second / 10, "a later verdict costs more than the second");
        }
    }

    /// @dev In a call of its own, whose memory starts empty, so that each is measured alike.
    function verdictGas(uint256 number) external returns (uint256 used) {
        IReferee.OmissionEvidence memory evidence = omission(_nobody(), 0);
        evidence.receipt.requestId = keccak256(abi.encode(number));
        evidence.signature = signed(evidence.receipt);
        commitTo(CHALLENGER, abi.encode(evidence));
        vm.prank(CHALLENGER);
        uint256 before = gasleft();
        referee.challengeOmission(evidence);
        return before - gasleft();
    }
}
