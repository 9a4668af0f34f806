// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "../src/Credits.sol";
import {GOpen} from "../src/GOpen.sol";
import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {IStaking} from "../src/interfaces/IStaking.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {Vm, vm} from "./Base.sol";
import {Packing, ScoreEvidence} from "./Packing.sol";
import {Training} from "./Training.sol";

/// @title Whatever happens is said: nodes follow the contracts by their events alone
contract EventsTest is Training {
    address private constant ACTOR = address(0x81);
    address private constant OTHER = address(0x82);
    uint256 private constant OWNER_KEY = 61;
    uint256 private constant WORKER_KEY = 62;
    uint256 private constant CLIENT_KEY = 1;
    uint256 private constant PROVIDER_KEY = 11;
    uint256 private constant ONE = 1_000_000;

    function setUp() external {
        staff(5);
        vm.deal(ACTOR, 1_000 ether);
        vm.recordLogs();
    }

    /// @dev How often a contract said this since it was last asked, and whether that is what it should.
    function _said(Vm.Log[] memory logs, address emitter, bytes32 what, uint256 times, string memory name) private pure {
        uint256 found = 0;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].emitter == emitter && logs[i].topics[0] == what) found++;
        }
        same(found, times, name);
    }

    // ---------------------------------------------------------------- Staking

    function test_staking_says() external {
        vm.startPrank(ACTOR);
        staking.deposit{value: 30 ether}();
        staking.setRoles(PROVIDER);
        staking.registerServing();
        staking.requestServingExit();
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        staking.releaseServing();
        staking.requestThaw(25 ether);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        staking.withdraw();
        vm.stopPrank();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        address from = address(staking);
        _said(logs, from, IStaking.Deposited.selector, 1, "Deposited");
        _said(logs, from, IStaking.RolesChanged.selector, 1, "RolesChanged");
        _said(logs, from, IStaking.StakerListed.selector, 1, "StakerListed");
        _said(logs, from, IStaking.StakerUnlisted.selector, 1, "StakerUnlisted");
        _said(logs, from, IStaking.StakeChanged.selector, 3, "StakeChanged");
        _said(logs, from, IStaking.Locked.selector, 1, "Locked");
        _said(logs, from, IStaking.ServingRegistered.selector, 1, "ServingRegistered");
        _said(logs, from, IStaking.ServingExitRequested.selector, 1, "ServingExitRequested");
        _said(logs, from, IStaking.Unlocked.selector, 1, "Unlocked");
        _said(logs, from, IStaking.ThawRequested.selector, 1, "ThawRequested");
        _said(logs, from, IStaking.Withdrawn.selector, 1, "Withdrawn");
    }

    function test_staking_saysWhoWorksForWhom() external {
        (address owner, address worker) = (vm.addr(OWNER_KEY), vm.addr(WORKER_KEY));
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes32 digest = staking.workerDigest(owner, worker, 0, deadline);
        vm.expectEmit(address(staking));
        emit IStaking.WorkerChanged(owner, address(0), worker);
        staking.setWorker(owner, worker, deadline, signature(OWNER_KEY, digest), signature(WORKER_KEY, digest));
    }

    function testFuzz_staking_saysWhatIsTaken(uint64 taken) external {
        uint256 takenWei = bound(taken, 2, 10 ether);
        stakeOf(ACTOR, 30 ether, PROVIDER);
        vm.startPrank(address(tasks));
        staking.lock(ACTOR, "lock", 20 ether);
        vm.expectEmit(address(staking));
        emit IStaking.Forfeited("lock", ACTOR, OTHER, takenWei, takenWei - takenWei / 2);
        vm.expectEmit(address(staking));
        emit IStaking.StakeChanged(ACTOR, 30 ether - takenWei, PROVIDER);
        staking.forfeit("lock", takenWei, OTHER);
        uint256 restWei = 20 ether - takenWei;
        (uint256 challengerWei, uint256 requesterWei) = (restWei * 40 / 100, restWei / 10);
        vm.expectEmit(address(staking));
        emit IStaking.Slashed(
            "lock",
            ACTOR,
            OTHER,
            REQUESTER,
            restWei,
            challengerWei,
            requesterWei,
            restWei - challengerWei - requesterWei
        );
        vm.expectEmit(address(staking));
        emit IStaking.StakeChanged(ACTOR, 10 ether, PROVIDER);
        staking.slash("lock", OTHER, REQUESTER);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- registries, Parameters, GOpen

    function test_registries_say() external {
        vm.startPrank(ACTOR);
        datanetId = datanets.createDatanet("licence", "policy", "name");
        datanets.publishVersion(datanetId, "root", 1, "manifest");
        vm.stopPrank();
        address contributor = vm.addr(OWNER_KEY);
        bytes32 root = keccak256("records");
        for (uint32 count = 1; count <= 3; count++) {
            bytes32 commitment = datanets.commitmentOf(datanetId, contributor, root, count, SALT);
            bytes32 digest = datanets.contributionDigest(datanetId, contributor, commitment, count);
            uint256 id = datanets.commit{value: depositOf()}(
                datanetId, contributor, commitment, count, signature(OWNER_KEY, digest)
            );
            if (count == 3) {
                vm.warp(vm.getBlockTimestamp() + parameters.timing().contributionRevealSeconds + 1);
                datanets.lapse(id);
                continue;
            }
            vm.prank(contributor);
            datanets.reveal(id, root, SALT, "manifest");
            vm.startPrank(ACTOR);
            if (count == 1) datanets.refuse(id, "evidence", "earlier");
            else {
                datanets.accept(id);
                datanets.revoke(id, "reason");
            }
            vm.stopPrank();
        }
        Vm.Log[] memory logs = vm.getRecordedLogs();
        address from = address(datanets);
        _said(logs, from, IDatanetRegistry.DatanetCreated.selector, 1, "DatanetCreated");
        _said(logs, from, IDatanetRegistry.VersionPublished.selector, 1, "VersionPublished");
        _said(logs, from, IDatanetRegistry.ContributionCommitted.selector, 3, "ContributionCommitted");
        _said(logs, from, IDatanetRegistry.ContributionRevealed.selector, 2, "ContributionRevealed");
        _said(logs, from, IDatanetRegistry.ContributionAccepted.selector, 1, "ContributionAccepted");
        _said(logs, from, IDatanetRegistry.ContributionRefused.selector, 1, "ContributionRefused");
        _said(logs, from, IDatanetRegistry.ContributionRevoked.selector, 1, "ContributionRevoked");
        _said(logs, from, IDatanetRegistry.ContributionLapsed.selector, 1, "ContributionLapsed");
        _said(logs, from, Credits.Credited.selector, 2, "Credited");
    }

    function test_registries_sayWhoHasAnotherKey() external {
        (address from, address to) = (vm.addr(OWNER_KEY), vm.addr(WORKER_KEY));
        uint64 deadline = uint64(vm.getBlockTimestamp());
        bytes32 digest = datanets.rotationDigest(from, to, 0, deadline);
        vm.expectEmit(address(datanets));
        emit IDatanetRegistry.ContributorRotated(from, from, to);
        datanets.rotateContributor(
            from, to, deadline, signature(OWNER_KEY, digest), signature(WORKER_KEY, digest)
        );
    }

    function test_models_say() external {
        models.registerBase("hash", "name", ACTOR);
        IModelRegistry.Adapter memory adapter = models.getAdapter(adapterId);
        adapter.taskId = 7;
        vm.prank(address(tasks));
        models.registerAdapter(adapter);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _said(logs, address(models), IModelRegistry.BaseRegistered.selector, 1, "BaseRegistered");
        _said(logs, address(models), IModelRegistry.AdapterRegistered.selector, 1, "AdapterRegistered");
    }

    function test_parametersAndGOpen_say() external {
        IParameters.Values memory settings = parameters.all();
        vm.prank(parameters.owner());
        parameters.change(settings);
        GOpen token = GOpen(payable(contractAt("GOpen")));
        vm.startPrank(ACTOR);
        token.wrapFor{value: 3}(OTHER);
        token.wrap{value: 2}();
        vm.expectEmit(address(token));
        emit GOpen.Unwrapped(ACTOR, OTHER, 2);
        token.unwrap(2, OTHER);
        vm.stopPrank();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _said(logs, address(parameters), IParameters.ParametersChanged.selector, 1, "ParametersChanged");
        _said(logs, address(token), GOpen.Wrapped.selector, 2, "Wrapped");
    }

    // ---------------------------------------------------------------- TaskEscrow

    function test_tasks_sayTheirWholeLife() external {
        uint256 taskId = claimed();
        vm.prank(TRAINER);
        tasks.heartbeat(taskId, 1, "checkpoint");
        bytes32 result = resultHash(taskId, TRAINER);
        vm.prank(TRAINER);
        tasks.commit(taskId, result);
        reveal(taskId, TRAINER);
        draw(taskId);
        vote(taskId, 0);
        tasks.tally(taskId);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        address from = address(tasks);
        _said(logs, from, ITaskEscrow.TaskAnnounced.selector, 1, "TaskAnnounced");
        _said(logs, from, ITaskEscrow.TaskClaimed.selector, 1, "TaskClaimed");
        _said(logs, from, ITaskEscrow.TaskHeartbeat.selector, 1, "TaskHeartbeat");
        _said(logs, from, ITaskEscrow.TaskCommitted.selector, 1, "TaskCommitted");
        _said(logs, from, ITaskEscrow.TaskRevealed.selector, 1, "TaskRevealed");
        _said(logs, from, ITaskEscrow.CommitteeDrawn.selector, 1, "CommitteeDrawn");
        _said(logs, from, ITaskEscrow.VoteCommitted.selector, 3, "VoteCommitted");
        _said(logs, from, ITaskEscrow.VoteRevealed.selector, 3, "VoteRevealed");
        _said(logs, from, ITaskEscrow.TaskRegistered.selector, 1, "TaskRegistered");
        _said(logs, from, Credits.Credited.selector, 4, "Credited");
    }

    function test_tasks_sayHowTheyFail() external {
        uint256 taskId = claimed();
        vm.warp(tasks.getTask(taskId).deadline);
        uint256 bondWei = tasks.getTask(taskId).abandonBondWei;
        vm.expectEmit(address(tasks));
        emit ITaskEscrow.TaskAbandoned(taskId, TRAINER, 1, bondWei);
        tasks.expire(taskId);
        vm.prank(REQUESTER);
        vm.expectEmit(address(tasks));
        emit ITaskEscrow.TaskRefunded(taskId, ITaskEscrow.State.Cancelled, REWARD_WEI);
        tasks.cancel(taskId);
        taskId = voting();
        vm.warp(tasks.getTask(taskId).voteRevealDeadline);
        vm.expectEmit(address(tasks));
        emit ITaskEscrow.TaskRedraw(taskId, 2);
        tasks.tally(taskId);
        draw(taskId);
        vote(taskId, 1);
        uint64 releaseAt = uint64(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        vm.expectEmit(address(tasks));
        emit ITaskEscrow.TaskEscalated(taskId, TRAINER, 1, 0, releaseAt);
        tasks.tally(taskId);
        vm.warp(releaseAt);
        vm.expectEmit(address(tasks));
        emit ITaskEscrow.EscalationReleased(taskId, 0, 20 ether);
        tasks.releaseEscalated(taskId, 0);
    }

    // ---------------------------------------------------------------- payments

    function test_payments_say() external {
        stakeOf(ACTOR, 50 ether, 0);
        address client = vm.addr(CLIENT_KEY);
        vm.deal(client, 10 ether);
        vm.startPrank(client);
        inference.deposit{value: 5 ether}(ACTOR);
        inference.requestThaw(ACTOR, 1 ether);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().thawSeconds);
        inference.withdraw(ACTOR);
        vm.stopPrank();
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, ACTOR, 7, ONE);
        uint256 platformWei = parameters.fees().platformPpm;
        vm.expectEmit(address(inference));
        emit IInferenceEscrow.VoucherCollected(client, ACTOR, 7, platformWei, ONE - platformWei);
        inference.collect(v, s);
        vm.prank(ACTOR);
        inference.withdrawCredits();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        address from = address(inference);
        _said(logs, from, IInferenceEscrow.ChannelDeposited.selector, 1, "ChannelDeposited");
        _said(logs, from, IInferenceEscrow.ChannelThawRequested.selector, 1, "ChannelThawRequested");
        _said(logs, from, IInferenceEscrow.ChannelWithdrawn.selector, 1, "ChannelWithdrawn");
        _said(logs, from, IInferenceEscrow.PotFunded.selector, 1, "PotFunded");
        _said(logs, from, Credits.Credited.selector, 2, "Credited");
        _said(logs, from, Credits.CreditsWithdrawn.selector, 1, "CreditsWithdrawn");
        _said(logs, address(epochs), IEpochs.EpochFunded.selector, 1, "EpochFunded");
        vm.prank(address(referee));
        epochs.withhold(OTHER, 5, client);
        vm.prank(ACTOR);
        anchorAs(1, payoutRoot(OTHER, 9), 1, 9, "receipts", 1);
        vm.warp(epochs.getEpoch(1).finalisableAt);
        epochs.finalise(1);
        claimOnly(OTHER, 9);
        logs = vm.getRecordedLogs();
        from = address(epochs);
        _said(logs, from, IEpochs.Withheld.selector, 1, "Withheld");
        _said(logs, from, IEpochs.EpochAnchored.selector, 1, "EpochAnchored");
        _said(logs, from, IEpochs.EpochFinalised.selector, 1, "EpochFinalised");
        _said(logs, from, IEpochs.WithheldPaid.selector, 1, "WithheldPaid");
        _said(logs, from, IEpochs.Claimed.selector, 1, "Claimed");
    }

    // ---------------------------------------------------------------- Referee

    function test_referee_says() external {
        address provider = vm.addr(PROVIDER_KEY);
        stakeOf(provider, 50 ether, PROVIDER);
        vm.prank(provider);
        staking.registerServing();
        ScoreEvidence memory evidence = answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), address(0xc0), 1, 1);
        challenge(ACTOR, Packing.pack(evidence));
        stakeOf(ACTOR, 50 ether, 0);
        bytes32 receipts = rootOfOne(abi.encode(referee.receiptHashOf(evidence.receipt)));
        vm.prank(ACTOR);
        anchorAs(1, "root", 1, 0, receipts, 1);
        referee.withholdLeaf(judgedLeaf(evidence), 1, 0, new bytes32[](0));
        IReferee.EquivocationEvidence memory two;
        two.first = evidence.receipt;
        two.second = abi.decode(abi.encode(evidence.receipt), (IReferee.Receipt));
        two.second.outputHash = "another";
        two.firstSignature = signature(PROVIDER_KEY, referee.receiptDigest(two.first));
        two.secondSignature = signature(PROVIDER_KEY, referee.receiptDigest(two.second));
        commitTo(ACTOR, abi.encode(two));
        vm.prank(ACTOR);
        referee.challengeEquivocation(two);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        address from = address(referee);
        _said(logs, from, IReferee.EvidenceCommitted.selector, 2, "EvidenceCommitted");
        _said(logs, from, IReferee.ScoreJudged.selector, 1, "ScoreJudged");
        _said(logs, from, IReferee.LeafWithheld.selector, 1, "LeafWithheld");
        _said(logs, from, IReferee.ReceiptJudged.selector, 1, "ReceiptJudged");
    }
}
