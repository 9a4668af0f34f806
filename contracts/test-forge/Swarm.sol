// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {Anchorers} from "./Anchorers.sol";
import {Packing, ScoreEvidence} from "./Packing.sol";
import {vm} from "./Base.sol";

/// @title Actors over all contracts: some honest, some not, one watcher, and time
/// @dev The fuzzer chooses who does what. Before time passes, the honest do what they owe: they finish tasks they hold,
/// vote the truth, and the watcher takes every wrong leaf to the referee. Every action either does something or
/// returns; a revert is a finding.
contract Swarm is Anchorers {
    // ---------------------------------------------------------------- tasks

    function announce(uint256 who, uint96 reward) external {
        if (tasks.taskCount() >= MAX_TASKS) return;
        uint256 rewardWei = bound(reward, 1, OPEN);
        vm.prank(vm.addr(1 + who % 2));
        tasks.announce{value: rewardWei}(keccak256("spec"), BASE_HASH, datanetId, 1, 8, "adapter");
    }

    function cancel(uint256 which) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        if (taskId == 0 || which % 4 != 0 || !_isOpen(task.state)) return;
        vm.prank(task.requester);
        tasks.cancel(taskId);
        refunds++;
    }

    function claim(uint256 which, uint256 who) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        uint256 key = providers[who % providers.length];
        address provider = vm.addr(key);
        if (taskId == 0 || !_isOpen(task.state) || vm.getBlockTimestamp() >= task.deadline) return;
        if (tasks.isExcluded(taskId, provider)) return;
        if (staking.getAccount(provider).freeWei < task.trainingLockWei) return;
        vm.prank(provider);
        tasks.claim(taskId);
        isGood[_attempt(taskId, task.attempt + 1)] = isHonest(key) || who % 2 == 0;
    }

    /// @dev The next step of whoever holds a task; the dishonest sometimes leave it.
    function work(uint256 which) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        if (taskId != 0) _work(taskId, task);
    }

    function draw(uint256 which) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        if (taskId != 0) _draw(taskId, task);
    }

    function vote(uint256 which, uint256 seat, uint256 how) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        if (taskId == 0 || task.state != ITaskEscrow.State.Voting) return;
        uint256 key = _keyOf(task.committee[seat % task.committee.length].verifier);
        _vote(taskId, seat % task.committee.length, key, how);
    }

    function tally(uint256 which) external {
        (uint256 taskId,) = _task(which);
        if (taskId != 0) _tally(taskId);
    }

    function expire(uint256 which) external {
        (uint256 taskId, ITaskEscrow.Task memory task) = _task(which);
        if (taskId != 0) _expire(taskId, task);
    }

    function releaseEscalated(uint256 which, uint256 index) external {
        (uint256 taskId,) = _task(which);
        if (taskId == 0) return;
        ITaskEscrow.Escalation[] memory open = tasks.getEscalations(taskId);
        if (open.length == 0) return;
        index %= open.length;
        if (open[index].released || vm.getBlockTimestamp() < open[index].releaseAt) return;
        tasks.releaseEscalated(taskId, index);
    }

    // ---------------------------------------------------------------- stake

    function thaw(uint256 who, uint96 amount) external {
        address account = vm.addr(who % 2 == 0 ? providers[who % 4] : verifiers[who % 7]);
        uint256 freeWei = staking.getAccount(account).freeWei;
        if (freeWei == 0) return;
        vm.prank(account);
        staking.requestThaw(bound(amount, 1, freeWei));
    }

    function withdraw(uint256 who) external {
        address account = vm.addr(who % 2 == 0 ? providers[who % 4] : verifiers[who % 7]);
        uint256 amountWei = staking.getAccount(account).thawingWei;
        if (amountWei == 0 || vm.getBlockTimestamp() < staking.getAccount(account).thawReadyAt) return;
        vm.prank(account);
        staking.withdraw();
        takenOut[account] += amountWei;
        _pay(account, amountWei, 0);
    }

    function takeCredits(uint256 who) external {
        uint256[5] memory keys = [uint256(1), 2, 11, 21, WATCHER];
        address account = vm.addr(keys[who % 5]);
        if (staking.credits(account) > 0) {
            vm.prank(account);
            staking.withdrawCredits();
        }
        if (tasks.credits(account) > 0) {
            vm.prank(account);
            tasks.withdrawCredits();
        }
        if (epochs.credits(account) > 0) {
            vm.prank(account);
            epochs.withdrawCredits();
        }
        if (datanets.credits(account) > 0) {
            vm.prank(account);
            returnedWei += datanets.withdrawCredits();
        }
    }

    // ---------------------------------------------------------------- answers

    function startServing(uint256 who) external {
        address provider = vm.addr(providers[who % 4]);
        if (staking.getLock(staking.servingLockId(provider)).amountWei > 0) return;
        if (staking.getAccount(provider).freeWei < parameters.bonds().servingLockWei) return;
        vm.prank(provider);
        staking.registerServing();
        servingSince[provider]++;
    }

    function stopServing(uint256 who) external {
        address provider = vm.addr(providers[who % 4]);
        if (staking.getLock(staking.servingLockId(provider)).amountWei == 0) return;
        uint256 exitAt = staking.getAccount(provider).servingExitAt;
        if (exitAt == 0) {
            vm.prank(provider);
            staking.requestServingExit();
        } else if (vm.getBlockTimestamp() >= exitAt) {
            vm.prank(provider);
            staking.releaseServing();
        }
    }

    /// @dev Serves, collects a voucher, and if dishonest may sign a wrong leaf.
    function serve(uint256 who, uint256 client, uint64 price, uint256 lie) external {
        uint256 key = providers[who % 4];
        address provider = vm.addr(key);
        if (staking.getLock(staking.servingLockId(provider)).amountWei == 0) return;
        // Clients order from nobody whose bond is on its way out: it may be gone before a lie is seen.
        if (staking.getAccount(provider).servingExitAt != 0) return;
        uint256 clientKey = 1 + client % 2;
        uint256 compute = bound(price, 0, 1e15);
        uint256 fee = 1_000_000 * bound(price, 1, 1e9);
        address clientAddress = vm.addr(clientKey);
        vm.prank(clientAddress);
        inference.deposit{value: compute + fee}(provider);
        computeWei[provider][clientAddress] += compute;
        feeWei[provider][clientAddress] += fee;
        (address p, address c) = (provider, clientAddress);
        _collect(clientKey, p, computeWei[p][c], feeWei[p][c]);
        if (isHonest(key) || lie % 3 == 0) return;
        faults.push();
        Fault storage fault = faults[faults.length - 1];
        fault.evidence = answer(key, clientAddress, vm.addr(CONTRIBUTOR), ++answers, 1 + lie % 1000);
        fault.servingSince = servingSince[provider];
    }

    // ---------------------------------------------------------------- epochs

    /// @dev The watcher anchors what is in the pots as the contributor's, and later claims it for it.
    function anchor() external {
        uint64 count = epochs.epochCount();
        if (count > epochs.finalisedCount()) {
            if (vm.getBlockTimestamp() < epochs.getEpoch(count).finalisableAt) return;
            epochs.finalise(count);
            return;
        }
        uint256 potWei = epochs.potTotalWei();
        if (potWei == totalWei) return;
        totalWei = potWei;
        bytes32 root = payoutRoot(vm.addr(CONTRIBUTOR), potWei);
        // The epoch's receipts: the last judged fault's, if there is one, so that it can be withheld.
        (bytes32 receipts, uint32 receiptCount) = _receipts();
        vm.prank(vm.addr(WATCHER));
        anchorAs(count + 1, root, 1, potWei, receipts, receiptCount);
    }

    function claimPayout() external {
        uint64 last = epochs.finalisedCount();
        if (last == 0) return;
        uint256 cumulativeWei = epochs.getEpoch(last).totalWei;
        address contributor = vm.addr(CONTRIBUTOR);
        if (cumulativeWei <= epochs.claimedWei(contributor)) return;
        claimOnly(contributor, cumulativeWei);
        claims++;
    }

    // ---------------------------------------------------------------- contributions

    /// @dev One of two relayers puts up the deposit for the contributor's next records.
    function contribute(uint256 who) external {
        uint256 number = datanets.contributionTotal();
        if (number >= MAX_CONTRIBUTIONS) return;
        address contributor = vm.addr(CONTRIBUTOR);
        bytes32 commitment = datanets.commitmentOf(datanetId, contributor, bytes32(number), 1, "salt");
        bytes memory signed =
            signature(CONTRIBUTOR, datanets.contributionDigest(datanetId, contributor, commitment, 1));
        uint256 depositWei = depositOf();
        depositedWei += depositWei;
        vm.prank(vm.addr(1 + who % 2));
        datanets.commit{value: depositWei}(datanetId, contributor, commitment, 1, signed);
    }

    function reveal(uint256 which) external {
        (uint256 id, IDatanetRegistry.Contribution memory entry) = _contribution(which);
        if (id == 0 || entry.state != IDatanetRegistry.ContributionState.Committed) return;
        if (vm.getBlockTimestamp() > entry.revealBy) return;
        vm.prank(which % 2 == 0 ? entry.relayer : entry.contributor);
        datanets.reveal(id, bytes32(id - 1), "salt", "manifest");
        reveals++;
    }

    /// @dev The curator, who is the contributor in this world, refuses, accepts, or accepts and revokes.
    function decide(uint256 which, uint256 how) external {
        (uint256 id, IDatanetRegistry.Contribution memory entry) = _contribution(which);
        if (id == 0 || entry.state != IDatanetRegistry.ContributionState.Revealed) return;
        vm.startPrank(vm.addr(CONTRIBUTOR));
        if (how % 3 == 0) datanets.refuse(id, "evidence", "earlier");
        else datanets.accept(id);
        if (how % 3 == 2) datanets.revoke(id, "reason");
        vm.stopPrank();
    }

    function lapse(uint256 which) public {
        (uint256 id, IDatanetRegistry.Contribution memory entry) = _contribution(which);
        if (id == 0 || entry.state != IDatanetRegistry.ContributionState.Committed) return;
        if (vm.getBlockTimestamp() <= entry.revealBy) return;
        datanets.lapse(id);
        lapses++;
    }

    function _contribution(uint256 which)
        private
        view
        returns (uint256 id, IDatanetRegistry.Contribution memory entry)
    {
        uint256 count = datanets.contributionTotal();
        if (count == 0) return (0, entry);
        id = 1 + which % count;
        entry = datanets.getContribution(id);
    }

    // ---------------------------------------------------------------- time

    /// @dev Seconds pass in steps, and before each the honest do what they owe.
    function pass(uint256 seconds_) external {
        uint256 left = bound(seconds_, 1, seconds_ % 5 == 0 ? 1_000 : 60);
        while (left > 0) {
            _duties();
            uint256 step = left < 14 ? left : 14;
            vm.warp(vm.getBlockTimestamp() + step);
            vm.roll(vm.getBlockNumber() + 1 + step / 2);
            left -= step;
        }
        _duties();
    }

    /// @dev Runs everything to its end: nothing may be left that nobody can move.
    function settle() external {
        _duties();
        for (uint256 turn = 0; turn < 400; turn++) {
            bool open = false;
            for (uint256 taskId = 1; taskId <= tasks.taskCount(); taskId++) {
                ITaskEscrow.Task memory task = tasks.getTask(taskId);
                if (_isFinal(task.state)) continue;
                open = true;
                _draw(taskId, task);
                _tally(taskId);
                _expire(taskId, tasks.getTask(taskId));
            }
            if (!open) break;
            vm.warp(vm.getBlockTimestamp() + 14);
            vm.roll(vm.getBlockNumber() + 3);
            _duties();
        }
        vm.warp(vm.getBlockTimestamp() + 2 * parameters.timing().thawSeconds);
        for (uint256 taskId = 1; taskId <= tasks.taskCount(); taskId++) {
            check(_isFinal(tasks.getTask(taskId).state), "a task that nobody can move");
            ITaskEscrow.Escalation[] memory open = tasks.getEscalations(taskId);
            for (uint256 i = 0; i < open.length; i++) {
                if (!open[i].released) tasks.releaseEscalated(taskId, i);
            }
        }
        for (uint256 id = 0; id < datanets.contributionTotal(); id++) lapse(id);
        same(datanets.depositsWei(), 0, "deposits of contributions that are over");
        uint64 anchored = epochs.epochCount();
        if (anchored > epochs.finalisedCount()) epochs.finalise(anchored);
        epochs.releaseBond(vm.addr(WATCHER));
        epochs.releaseBond(vm.addr(LIAR));
        uint256 servingWei = 0;
        for (uint256 i = 0; i < providers.length; i++) {
            servingWei += staking.getLock(staking.servingLockId(vm.addr(providers[i]))).amountWei;
        }
        same(staking.lockedTotalWei(), servingWei, "stake locked for tasks that are over");
        same(tasks.escrowedWei(), 0, "escrow of tasks that are over");
        _duties();
        for (uint256 i = 0; i < faults.length; i++) check(faults[i].judged, "a fault that nobody judged");
    }

    // ---------------------------------------------------------------- inside

    function _duties() private {
        for (uint256 taskId = 1; taskId <= tasks.taskCount(); taskId++) {
            ITaskEscrow.Task memory task = tasks.getTask(taskId);
            if (task.provider != address(0) && _works(taskId, task)) {
                _work(taskId, task);
                _work(taskId, tasks.getTask(taskId));
            }
            // Anybody may draw, so somebody does.
            _draw(taskId, tasks.getTask(taskId));
            if (tasks.getTask(taskId).state == ITaskEscrow.State.Voting) _votes(taskId);
        }
        _watch();
        _watchEpochs();
    }

    /// @dev The honest finish what they hold; the others do so three times of four.
    function _works(uint256 taskId, ITaskEscrow.Task memory task) private view returns (bool) {
        return isHonest(_keyOf(task.provider)) || uint256(_attempt(taskId, task.attempt)) % 4 != 0;
    }

    /// @dev Everybody commits, then everybody shows, except those who stay silent.
    function _votes(uint256 taskId) private {
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        for (uint256 turn = 0; turn < 2; turn++) {
            for (uint256 seat = 0; seat < task.committee.length; seat++) {
                uint256 key = _keyOf(task.committee[seat].verifier);
                _vote(taskId, seat, key, uint256(_attempt(taskId, task.attempt)) >> 8);
            }
        }
    }

    function _watch() private {
        address watcher = vm.addr(WATCHER);
        for (uint256 i = 0; i < faults.length; i++) {
            Fault storage fault = faults[i];
            if (fault.judged) continue;
            ScoreEvidence memory evidence = fault.evidence;
            uint256 lockWei = staking.getLock(staking.servingLockId(evidence.receipt.provider)).amountWei;
            challenge(watcher, Packing.pack(evidence));
            fault.judged = true;
            uint256 slashedWei =
                lockWei - staking.getLock(staking.servingLockId(evidence.receipt.provider)).amountWei;
            slashedFor[evidence.receipt.provider][fault.servingSince] += slashedWei;
            if (slashedWei > 0) slashes++;
        }
    }

    function _receipts() private view returns (bytes32 root, uint32 count) {
        for (uint256 i = faults.length; i > 0; i--) {
            if (!faults[i - 1].judged) continue;
            ScoreEvidence memory evidence = faults[i - 1].evidence;
            return (rootOfOne(abi.encode(referee.receiptHashOf(evidence.receipt))), 1);
        }
        return (keccak256("no receipts"), 0);
    }

    /// @dev Takes the last judged leaf off the contributor's claims.
    function withholdLeaf(uint256 which) external {
        uint64 epoch = epochs.epochCount();
        if (faults.length == 0 || epoch == 0) return;
        Fault storage fault = faults[which % faults.length];
        if (!fault.judged) return;
        IReferee.JudgedLeaf memory leaf = judgedLeaf(fault.evidence);
        if (referee.stateOf(leaf.receiptHash, 0) == IReferee.LeafState.Withheld) return;
        (bytes32 root,) = epochs.receiptsOf(epoch);
        if (root != rootOfOne(abi.encode(leaf.receiptHash))) return;
        referee.withholdLeaf(leaf, epoch, 0, new bytes32[](0));
        withheld++;
    }

    function _collect(uint256 clientKey, address provider, uint256 compute, uint256 fee) private {
        (IInferenceEscrow.Voucher[] memory vouchers, bytes[] memory signatures) =
            voucher(clientKey, provider, compute, fee);
        vm.prank(provider);
        inference.collect(vouchers, signatures);
    }

    function _work(uint256 taskId, ITaskEscrow.Task memory task) private {
        if (vm.getBlockTimestamp() >= task.deadline) return;
        bytes32 name = keccak256(abi.encode(taskId, task.attempt));
        vm.startPrank(task.provider);
        if (task.state == ITaskEscrow.State.Claimed) {
            if (task.renewals == 0) tasks.heartbeat(taskId, 1, name);
            else tasks.commit(taskId, tasks.resultHashOf(taskId, task.provider, name, name, name, name, name));
        } else if (task.state == ITaskEscrow.State.Committed) {
            tasks.reveal(taskId, name, name, name, 1, name, name);
        }
        vm.stopPrank();
    }

    function _draw(uint256 taskId, ITaskEscrow.Task memory task) private {
        if (task.state != ITaskEscrow.State.Revealed || vm.getBlockTimestamp() >= task.deadline) return;
        if (vm.getBlockNumber() < tasks.drawableAtBlock(taskId)) return;
        // Fewer verifiers than seats is no fault of the draw; the task will be given back.
        try tasks.drawCommittee(taskId) {} catch {}
    }

    /// @dev Commits, or shows what was committed, whichever the moment allows.
    function _vote(uint256 taskId, uint256 seatIndex, uint256 key, uint256 how) private {
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        ITaskEscrow.Seat memory seat = task.committee[seatIndex];
        bool truth = isGood[_attempt(taskId, task.attempt)];
        bool says = isHonest(key) ? truth : uint256(keccak256(abi.encode(taskId, task.round, key))) % 3 == 0;
        ITaskEscrow.Verdict verdict = says ? ITaskEscrow.Verdict.Valid : ITaskEscrow.Verdict.Invalid;
        if (seat.commitment == 0) {
            // The dishonest stay silent every second time.
            if (vm.getBlockTimestamp() >= task.deadline || (!isHonest(key) && how % 2 == 1)) return;
            bytes32 commitment = tasks.voteHashOf(taskId, seat.verifier, verdict, "receipt", "salt");
            vm.prank(seat.verifier);
            tasks.commitVote(taskId, commitment);
        } else if (seat.verdict == ITaskEscrow.Verdict.None && tasks.canReveal(taskId)) {
            vm.prank(seat.verifier);
            tasks.revealVote(taskId, verdict, "receipt", "salt");
        }
    }

    function _tally(uint256 taskId) private {
        if (tasks.getTask(taskId).state != ITaskEscrow.State.Voting || !tasks.canTally(taskId)) return;
        if (vm.getBlockTimestamp() >= tasks.getTask(taskId).voteRevealDeadline) timeouts++;
        tasks.tally(taskId);
        ITaskEscrow.State state = tasks.getTask(taskId).state;
        if (state == ITaskEscrow.State.Registered) registrations++;
        else if (state == ITaskEscrow.State.Escalated) escalations++;
        else if (state == ITaskEscrow.State.Revealed) redraws++;
        else refunds++;
    }

    function _expire(uint256 taskId, ITaskEscrow.Task memory task) private {
        if (_isFinal(task.state) || task.state == ITaskEscrow.State.Voting) return;
        if (vm.getBlockTimestamp() < task.deadline) return;
        tasks.expire(taskId);
        timeouts++;
        if (_isFinal(tasks.getTask(taskId).state)) refunds++;
    }
}
