// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {vm} from "./Base.sol";
import {Training} from "./Training.sol";

/// @title Tasks, function by function, and the rules whose absence has a counter-example (contracts/tools/model)
contract TasksTest is Training {
    function setUp() external {
        staff(5);
    }

    // ---------------------------------------------------------------- announce, cancel

    function testFuzz_announce_escrowsTheReward(uint96 reward, uint32 segments) external {
        uint256 rewardWei = bound(reward, 1, 1_000 ether);
        uint32 count = uint32(bound(segments, 1, type(uint32).max));
        vm.prank(REQUESTER);
        uint256 taskId = tasks.announce{value: rewardWei}("spec", BASE_HASH, datanetId, 1, count, "name");
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        check(task.requester == REQUESTER && task.specDigest == "spec" && task.baseHash == BASE_HASH, "terms");
        check(task.datanetId == datanetId && task.version == 1 && task.segments == count, "data");
        same(task.rewardWei, rewardWei, "reward");
        same(task.announcedAt, vm.getBlockTimestamp(), "time");
        same(task.deadline, vm.getBlockTimestamp() + parameters.tasks().claimSeconds, "deadline");
        same(task.trainingLockWei, parameters.bonds().trainingLockWei, "lock");
        same(task.abandonBondWei, parameters.bonds().abandonBondWei, "bond");
        check(keccak256(abi.encode(task.rules)) == keccak256(abi.encode(parameters.tasks())), "rules");
        same(tasks.escrowedWei(), rewardWei, "escrow");
        same(tasks.accountedWei(), rewardWei, "accounted");
        vm.prank(REQUESTER);
        tasks.cancel(taskId);
        same(tasks.credits(REQUESTER), rewardWei, "back");
        check(stateOf(taskId) == ITaskEscrow.State.Cancelled, "cancelled");
        vm.prank(REQUESTER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.cancel(taskId);
    }

    function test_announce_refuses() external {
        vm.startPrank(REQUESTER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowRewardZero.selector);
        tasks.announce("spec", BASE_HASH, datanetId, 1, 8, "name");
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowSegmentsZero.selector);
        tasks.announce{value: 1}("spec", BASE_HASH, datanetId, 1, 0, "name");
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowBaseUnknown.selector);
        tasks.announce{value: 1}("spec", "no base", datanetId, 1, 8, "name");
        vm.stopPrank();
        uint256 tooMuch = uint256(type(uint128).max) + 1;
        vm.deal(REQUESTER, tooMuch);
        vm.prank(REQUESTER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowRewardTooLarge.selector);
        tasks.announce{value: tooMuch}("spec", BASE_HASH, datanetId, 1, 8, "name");
    }

    function testFuzz_cancel_isTheRequestersWhileNobodyHoldsIt(address stranger) external {
        vm.assume(stranger != REQUESTER);
        uint256 taskId = announced();
        vm.prank(stranger);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowNotRequester.selector);
        tasks.cancel(taskId);
        claim(taskId, TRAINER);
        vm.prank(REQUESTER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.cancel(taskId);
    }

    // ---------------------------------------------------------------- claim, heartbeat, commit, reveal

    function testFuzz_claim_untilItsDeadline(uint32 late) external {
        uint256 taskId = announced();
        uint256 deadline = tasks.getTask(taskId).deadline;
        vm.warp(deadline - 1 + bound(late, 0, 100));
        bool passed = vm.getBlockTimestamp() >= deadline;
        vm.prank(TRAINER);
        if (passed) vm.expectPartialRevert(ITaskEscrow.TaskEscrowDeadlinePassed.selector);
        tasks.claim(taskId);
        if (!passed) same(staking.getLock(tasks.lockIdOf(taskId, 1)).amountWei, 20 ether, "lock");
    }

    function test_claim_refuses() external {
        uint256 taskId = announced();
        vm.prank(address(0x200));
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowNotProviderRole.selector);
        tasks.claim(taskId);
        vm.prank(TRAINER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowUnknownTask.selector);
        tasks.claim(99);
        stakeOf(address(0x73), 15 ether, PROVIDER);
        vm.prank(address(0x73));
        vm.expectPartialRevert(IStaking.StakingFreeShort.selector);
        tasks.claim(taskId);
        claim(taskId, TRAINER);
        vm.prank(TRAINER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.claim(taskId);
    }

    function testFuzz_heartbeat_extendsTheLeaseForANewCheckpoint(bytes32 root, uint32 step) external {
        uint256 taskId = claimed();
        uint32 first = uint32(bound(step, 1, type(uint32).max - 1));
        vm.warp(vm.getBlockTimestamp() + 7);
        vm.startPrank(TRAINER);
        tasks.heartbeat(taskId, first, root);
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        same(task.deadline, vm.getBlockTimestamp() + task.rules.leaseSeconds, "lease");
        same(task.renewals, 1, "renewals");
        check(task.step == first && task.checkpointRoot == root, "checkpoint");
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowStepNotForward.selector);
        tasks.heartbeat(taskId, first, ~root);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowCheckpointRepeated.selector);
        tasks.heartbeat(taskId, first + 1, root);
        vm.stopPrank();
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowNotProvider.selector);
        tasks.heartbeat(taskId, first + 1, ~root);
    }

    function test_heartbeat_leasesEnd() external {
        uint256 taskId = claimed();
        uint32 most = parameters.tasks().maxRenewals;
        vm.startPrank(TRAINER);
        for (uint32 i = 1; i <= most; i++) tasks.heartbeat(taskId, i, bytes32(uint256(i)));
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowRenewalsSpent.selector);
        tasks.heartbeat(taskId, most + 1, "one more");
        vm.stopPrank();
        vm.warp(tasks.getTask(taskId).deadline);
        vm.prank(TRAINER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowDeadlinePassed.selector);
        tasks.commit(taskId, "result");
    }

    function test_commit_andReveal_refuse() external {
        uint256 taskId = claimed();
        vm.startPrank(TRAINER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowResultHashZero.selector);
        tasks.commit(taskId, 0);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.reveal(taskId, "trace", "adapter", "sketches", 1, "manifest", SALT);
        tasks.commit(taskId, tasks.resultHashOf(taskId, TRAINER, "trace", "adapter", "sketches", "manifest", SALT));
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowResultMismatch.selector);
        tasks.reveal(taskId, "trace", "other", "sketches", 1, "manifest", SALT);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowSketchCount.selector);
        tasks.reveal(taskId, "trace", "adapter", "sketches", 2, "manifest", SALT);
        tasks.reveal(taskId, "trace", "adapter", "sketches", 1, "manifest", SALT);
        vm.stopPrank();
        same(tasks.getTask(taskId).revealBlock, vm.getBlockNumber(), "reveal's block");
        same(tasks.getTask(taskId).round, 1, "round");
    }

    /// @dev Sandwiched reveal: a result that is seen on its way was committed by its author and binds its address.
    function testFuzz_attack_sandwichedReveal(address thief) external {
        vm.assume(uint160(thief) > 0x1000 && thief.code.length == 0 && thief != REQUESTER && thief != TRAINER);
        uint256 own = committed();
        stakeOf(thief, 100 ether, PROVIDER);
        uint256 other = announced();
        claim(other, thief);
        // It saw the reveal, commits to the same bytes before it and shows them after it.
        bytes32 copied = resultHash(own, TRAINER);
        vm.prank(thief);
        tasks.commit(other, copied);
        reveal(own, TRAINER);
        vm.prank(thief);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowResultMismatch.selector);
        tasks.reveal(other, "trace", "adapter", "sketches", 1, "manifest", SALT);
        vm.prank(thief);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.reveal(own, "trace", "adapter", "sketches", 1, "manifest", SALT);
    }

    // ---------------------------------------------------------------- drawCommittee

    function testFuzz_drawCommittee_isFixedByTheRevealAndDrawnOnce(uint8 late) external {
        uint256 taskId = revealed();
        vm.expectRevert();
        tasks.drawCommittee(taskId);
        uint256 readyAt = tasks.drawableAtBlock(taskId);
        vm.roll(readyAt + late % 200);
        tasks.drawCommittee(taskId);
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        same(task.committee.length, task.rules.committeeSize, "seats");
        same(task.deadline, vm.getBlockTimestamp() + task.rules.voteCommitSeconds, "commit until");
        same(task.voteRevealDeadline, task.deadline + task.rules.voteRevealSeconds, "show until");
        for (uint256 i = 0; i < task.committee.length; i++) {
            check(task.committee[i].verifier != TRAINER && task.committee[i].verifier != REQUESTER, "party");
        }
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.drawCommittee(taskId);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.drawableAtBlock(taskId);
    }

    function testFuzz_assignment_isInRangeAndTheSeeds(address verifier) external {
        uint256 taskId = revealed();
        (uint256[] memory segments, uint256[] memory samples) = tasks.assignment(taskId, verifier);
        same(segments.length + samples.length, 0, "nothing before the seed");
        draw(taskId);
        (segments, samples) = tasks.assignment(taskId, verifier);
        same(segments.length, parameters.tasks().segmentsPerVerifier, "segments");
        same(samples.length, parameters.tasks().samplesPerVerifier, "samples");
        for (uint256 i = 0; i < segments.length; i++) check(segments[i] < 8, "segment");
        for (uint256 i = 0; i < samples.length; i++) same(samples[i], 0, "sample");
    }

    // ---------------------------------------------------------------- votes and tally

    function testFuzz_tally_oneInvalidVoteEscalates(uint8 invalid) external {
        uint256 taskId = voting();
        uint256 wrong = invalid % 8;
        vote(taskId, wrong);
        check(tasks.canTally(taskId), "can tally");
        tasks.tally(taskId);
        uint256 lockWei = staking.getLock(tasks.lockIdOf(taskId, 1)).amountWei;
        if (wrong == 0) {
            check(stateOf(taskId) == ITaskEscrow.State.Registered, "registered");
            same(lockWei, 0, "lock is free");
            uint256 seatWei = REWARD_WEI * parameters.tasks().verifierRewardPpm / 1_000_000 / 3;
            same(tasks.credits(TRAINER), REWARD_WEI - 3 * seatWei, "provider");
            check(models.getAdapter(tasks.getTask(taskId).adapterId).provider == TRAINER, "adapter");
            return;
        }
        check(stateOf(taskId) == ITaskEscrow.State.Escalated, "escalated");
        same(lockWei, 20 ether, "lock stays");
        same(tasks.creditsTotalWei(), 0, "nobody is paid");
        check(tasks.isExcluded(taskId, TRAINER), "excluded");
        vm.prank(TRAINER);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowProviderExcluded.selector);
        tasks.claim(taskId);
    }

    function test_votes_refuse() external {
        uint256 taskId = revealed();
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.commitVote(taskId, "vote");
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.tally(taskId);
        check(!tasks.canReveal(taskId) && !tasks.canTally(taskId), "nothing to vote on");
        draw(taskId);
        address first = seat(taskId, 0);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowNotVerifier.selector);
        tasks.commitVote(taskId, "vote");
        vm.startPrank(first);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVoteHashZero.selector);
        tasks.commitVote(taskId, 0);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVotesOutstanding.selector);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.Valid, "receipt", SALT);
        vm.stopPrank();
        commitVote(taskId, 0, ITaskEscrow.Verdict.Valid);
        vm.prank(first);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVoteAlreadyCommitted.selector);
        tasks.commitVote(taskId, "another");
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVotesOutstanding.selector);
        tasks.tally(taskId);
        check(!tasks.canTally(taskId) && !tasks.canReveal(taskId), "not yet");
        vm.warp(tasks.getTask(taskId).deadline);
        check(tasks.canReveal(taskId), "now");
        vm.startPrank(first);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVerdictNone.selector);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.None, "receipt", SALT);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVoteMismatch.selector);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.Invalid, "receipt", SALT);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.Valid, "receipt", SALT);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowVoteAlreadyRevealed.selector);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.Valid, "receipt", SALT);
        vm.stopPrank();
        address second = seat(taskId, 1);
        vm.prank(second);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowDeadlinePassed.selector);
        tasks.commitVote(taskId, "late");
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        check(!tasks.canReveal(taskId) && tasks.canTally(taskId), "over");
        vm.prank(second);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowDeadlinePassed.selector);
        tasks.revealVote(taskId, ITaskEscrow.Verdict.Valid, "receipt", SALT);
    }

    /// @dev Two of three VALID register after the deadline; the silent seat's share is the provider's.
    function testFuzz_tally_silence(uint8 silent) external {
        uint256 taskId = voting();
        uint256 mute = silent % 4;
        for (uint256 i = mute; i < 3; i++) commitVote(taskId, i, ITaskEscrow.Verdict.Valid);
        if (mute > 0) vm.warp(tasks.getTask(taskId).deadline);
        for (uint256 i = mute; i < 3; i++) revealVote(taskId, i, ITaskEscrow.Verdict.Valid);
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        tasks.tally(taskId);
        if (mute < 2) {
            check(stateOf(taskId) == ITaskEscrow.State.Registered, "registered");
            uint256 seatWei = REWARD_WEI * parameters.tasks().verifierRewardPpm / 1_000_000 / 3;
            same(tasks.credits(TRAINER), REWARD_WEI - (3 - mute) * seatWei, "provider");
            return;
        }
        check(stateOf(taskId) == ITaskEscrow.State.Revealed, "drawn anew");
        same(tasks.getTask(taskId).round, 2, "second round");
        draw(taskId);
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        tasks.tally(taskId);
        check(stateOf(taskId) == ITaskEscrow.State.Refunded, "refunded");
        same(tasks.credits(REQUESTER), REWARD_WEI, "the requester");
        same(heldWei(TRAINER), 100 ether, "the provider did its part");
        same(staking.lockedTotalWei(), 0, "nothing is locked");
    }

    /// @dev A committee of five registers by three VALID votes, and not by two.
    function testFuzz_tally_needsMoreThanHalfOfTheSeats(uint8 valid) external {
        IParameters.Values memory values = parameters.all();
        values.tasks.committeeSize = 5;
        vm.prank(parameters.owner());
        parameters.change(values);
        uint256 taskId = voting();
        uint256 votes = bound(valid, 0, 5);
        for (uint256 i = 0; i < votes; i++) commitVote(taskId, i, ITaskEscrow.Verdict.Valid);
        vm.warp(tasks.getTask(taskId).deadline);
        for (uint256 i = 0; i < votes; i++) revealVote(taskId, i, ITaskEscrow.Verdict.Valid);
        check(tasks.canTally(taskId) == (votes == 5), "only when everybody has voted");
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        tasks.tally(taskId);
        check((stateOf(taskId) == ITaskEscrow.State.Registered) == (votes > 2), "more than half");
        uint256 seatWei = REWARD_WEI * parameters.tasks().verifierRewardPpm / 1_000_000 / 5;
        same(tasks.credits(TRAINER), votes > 2 ? REWARD_WEI - votes * seatWei : 0, "provider");
    }

    // ---------------------------------------------------------------- expire, releaseEscalated

    function testFuzz_expire_everyStateEnds(uint8 stage, uint32 early) external {
        uint256 which = stage % 4;
        uint256 taskId =
            which == 0 ? announced() : which == 1 ? claimed() : which == 2 ? committed() : revealed();
        uint256 deadline = tasks.getTask(taskId).deadline;
        vm.warp(bound(early, vm.getBlockTimestamp(), deadline - 1));
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowDeadlineNotReached.selector);
        tasks.expire(taskId);
        vm.warp(deadline);
        tasks.expire(taskId);
        bool abandoned = which == 1 || which == 2;
        check(
            stateOf(taskId) == (abandoned ? ITaskEscrow.State.Announced : ITaskEscrow.State.Refunded), "state"
        );
        same(tasks.credits(REQUESTER), abandoned ? 0 : REWARD_WEI, "reward");
        uint256 bond = abandoned ? parameters.bonds().abandonBondWei : 0;
        same(heldWei(TRAINER), 100 ether - bond, "provider");
        same(staking.credits(REQUESTER), bond / 2, "half to the requester");
        same(staking.burnedWei(), bond - bond / 2, "half burned");
        same(staking.lockedTotalWei(), 0, "nothing is locked");
    }

    function test_expire_refusesWhatIsVotedOnOrOver() external {
        uint256 taskId = voting();
        vm.warp(vm.getBlockTimestamp() + 1 days);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowWrongState.selector);
        tasks.expire(taskId);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowUnknownTask.selector);
        tasks.expire(0);
    }

    function testFuzz_releaseEscalated_afterTheTimeForADispute(uint32 early) external {
        uint256 taskId = voting();
        vote(taskId, 1);
        tasks.tally(taskId);
        uint256 thaw = parameters.timing().thawSeconds;
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowUnknownEscalation.selector);
        tasks.releaseEscalated(taskId, 1);
        uint256 start = vm.getBlockTimestamp();
        vm.warp(start + bound(early, 0, thaw - 1));
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowEscalationPending.selector);
        tasks.releaseEscalated(taskId, 0);
        vm.warp(start + thaw);
        tasks.releaseEscalated(taskId, 0);
        vm.expectPartialRevert(ITaskEscrow.TaskEscrowEscalationReleased.selector);
        tasks.releaseEscalated(taskId, 0);
        check(tasks.getEscalations(taskId)[0].released, "released");
        same(staking.getAccount(TRAINER).freeWei, 100 ether, "whole again");
    }

    function testFuzz_getTasks_pages(uint8 from, uint8 count) external {
        for (uint32 i = 1; i <= 4; i++) {
            vm.prank(REQUESTER);
            tasks.announce{value: i}("spec", BASE_HASH, datanetId, 1, i, "name");
        }
        uint256 expected = from == 0 || from > 4 ? 0 : count < 5 - uint256(from) ? count : 5 - uint256(from);
        ITaskEscrow.Task[] memory page = tasks.getTasks(from, count);
        same(page.length, expected, "page");
        for (uint256 i = 0; i < expected; i++) same(page[i].rewardWei, from + i, "order");
    }

    // ---------------------------------------------------------------- removed rules

    /// @dev A default is no proof against voters: a provider that concedes to its own challenger takes nobody with it.
    function testFuzz_removedRule_aDefaultSlashesNoVoter(bool late) external {
        uint256 taskId = voting();
        vote(taskId, 0);
        if (late) tasks.tally(taskId);
        // The worst that can happen to the provider's lock.
        bytes32 lockId = tasks.lockIdOf(taskId, 1);
        vm.prank(address(referee));
        staking.slash(lockId, address(0xc4), REQUESTER);
        for (uint160 i = 0; i < 5; i++) same(heldWei(address(0x200 + i)), 50 ether, "a voter's stake");
    }

    /// @dev A corrupted majority, even of everybody, costs an honest provider nothing but time.
    function testFuzz_removedRule_noMajoritySlashes(uint8 invalid) external {
        uint256 taskId = voting();
        vote(taskId, 1 + invalid % 7);
        tasks.tally(taskId);
        same(heldWei(TRAINER), 100 ether, "nothing slashed");
        vm.warp(tasks.getEscalations(taskId)[0].releaseAt);
        tasks.releaseEscalated(taskId, 0);
        same(staking.getAccount(TRAINER).freeWei, 100 ether, "and nothing kept");
        same(staking.burnedWei(), 0, "nothing burned");
    }

    /// @dev Two tasks of one provider have a lock each: what one loses is not the other's.
    function test_removedRule_eachTaskHasALockOfItsOwn() external {
        uint256 first = claimed();
        uint256 second = claimed();
        vm.warp(tasks.getTask(first).deadline - 1);
        vm.prank(TRAINER);
        tasks.heartbeat(second, 1, "checkpoint");
        vm.warp(tasks.getTask(first).deadline);
        tasks.expire(first);
        same(staking.getLock(tasks.lockIdOf(second, 1)).amountWei, 20 ether, "the other task's lock");
        same(staking.getLock(tasks.lockIdOf(first, 1)).amountWei, 0, "its own");
    }
}
