// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {vm} from "./Base.sol";
import {Training} from "./Training.sol";

/// @title What an attempt at a task leaves behind: nothing for the next one, a whole lineage when it is registered
contract AttemptsTest is Training {
    function setUp() external {
        staff(5);
    }

    function _blank(uint256 taskId, ITaskEscrow.State state) private view {
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        ITaskEscrow.Result memory none;
        check(task.state == state && task.provider == address(0) && task.seed == 0, "nobody's");
        check(keccak256(abi.encode(task.result)) == keccak256(abi.encode(none)), "no result");
        same(task.committee.length, 0, "no committee");
        same(task.voteRevealDeadline, 0, "no vote");
        same(task.deadline, vm.getBlockTimestamp() + task.rules.claimSeconds, "open anew");
    }

    function test_reopened_startsWithNothingOfTheLastAttempt() external {
        uint256 taskId = claimed();
        vm.startPrank(TRAINER);
        tasks.heartbeat(taskId, 5, "checkpoint");
        tasks.commit(taskId, "result");
        vm.stopPrank();
        vm.warp(tasks.getTask(taskId).deadline);
        tasks.expire(taskId);
        _blank(taskId, ITaskEscrow.State.Announced);
        claim(taskId, TRAINER);
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        check(task.provider == TRAINER && task.attempt == 2, "the second attempt");
        check(task.renewals == 0 && task.step == 0 && task.round == 0 && task.checkpointRoot == 0, "from the start");
        same(task.deadline, vm.getBlockTimestamp() + task.rules.leaseSeconds, "lease");
        // Another attempt may show a checkpoint that an earlier one showed.
        vm.startPrank(TRAINER);
        tasks.heartbeat(taskId, 1, "checkpoint");
        tasks.commit(taskId, resultHash(taskId, TRAINER));
        vm.stopPrank();
        same(tasks.getTask(taskId).deadline, vm.getBlockTimestamp() + task.rules.revealSeconds, "show until");
        reveal(taskId, TRAINER);
        same(tasks.getTask(taskId).deadline, vm.getBlockTimestamp() + task.rules.voteCommitSeconds, "draw until");
        draw(taskId);
        vote(taskId, 1);
        tasks.tally(taskId);
        _blank(taskId, ITaskEscrow.State.Escalated);
        ITaskEscrow.Escalation memory open = tasks.getEscalations(taskId)[0];
        check(open.provider == TRAINER && open.attempt == 2 && !open.released, "escalation");
        same(open.releaseAt, vm.getBlockTimestamp() + parameters.timing().thawSeconds, "release");
        // The others may still try, and a refund ends it.
        vm.warp(tasks.getTask(taskId).deadline);
        tasks.expire(taskId);
        check(stateOf(taskId) == ITaskEscrow.State.Refunded && tasks.getTask(taskId).deadline == 0, "over");
    }

    function test_redraw_isANewRoundWithoutASeed() external {
        uint256 taskId = voting();
        bytes32 seed = tasks.getTask(taskId).seed;
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        vm.roll(vm.getBlockNumber() + 9);
        tasks.tally(taskId);
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        check(task.seed == 0 && task.round == 2 && task.voteRevealDeadline == 0, "a new round");
        same(task.revealBlock, vm.getBlockNumber(), "fixed now");
        same(task.deadline, vm.getBlockTimestamp() + task.rules.voteCommitSeconds, "draw until");
        draw(taskId);
        check(tasks.getTask(taskId).seed != seed, "another seed");
        same(tasks.getTask(taskId).committee.length, 3, "no seat of the first round is left");
    }

    function test_registered_isOverAndItsLineageIsComplete() external {
        uint256 taskId = voting();
        vote(taskId, 0);
        tasks.tally(taskId);
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        same(task.deadline, 0, "no deadline");
        same(tasks.escrowedWei(), 0, "paid out");
        IModelRegistry.Adapter memory adapter = models.getAdapter(task.adapterId);
        check(adapter.baseHash == BASE_HASH && adapter.datanetId == datanetId && adapter.version == 1, "trained on");
        check(adapter.owner == REQUESTER && adapter.provider == TRAINER && adapter.taskId == taskId, "whose");
        check(adapter.adapterHash == "adapter" && adapter.sketchRoot == "sketches", "weights and sketches");
        check(adapter.traceRoot == "trace" && adapter.manifest == "manifest" && adapter.sketchCount == 1, "shown");
        check(keccak256(bytes(adapter.name)) == keccak256("adapter"), "name");
        for (uint256 i = 0; i < 3; i++) check(task.committee[i].receiptHash == "receipt", "receipt");
    }
}
