// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./Credits.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {TaskHashes} from "./TaskHashes.sol";

/// @title Life of a training task, from its escrow to the registered adapter
/// @notice A task copies the rules it was announced under. The committee's seed exists only after the provider has shown
/// its result. Votes decide nothing but payment: one INVALID escalates, no vote slashes. Every state in which somebody
/// could stay silent has a deadline, after which anybody may move the task on.
contract TaskEscrow is TaskHashes, Credits {
    uint8 private constant PROVIDER = 1;
    uint256 private constant ONE = 1_000_000;
    uint8 private constant MAX_ROUNDS = 2;

    IParameters public immutable parameters;
    IStaking public immutable staking;
    IDatanetRegistry public immutable datanets;
    IModelRegistry public immutable models;
    IBeacon public immutable beacon;

    uint256 public taskCount;
    /// @notice Rewards of tasks that are not final, in wei.
    uint256 public escrowedWei;
    mapping(uint256 taskId => Task) private _tasks;
    mapping(uint256 taskId => Escalation[]) private _escalations;
    // Owners, so that another key of one is excluded with it.
    mapping(uint256 taskId => mapping(address owner => bool)) private _excluded;
    mapping(bytes32 usedKey => bool) private _usedCheckpoints;

    constructor(
        IParameters parameters_,
        IStaking staking_,
        IDatanetRegistry datanets_,
        IModelRegistry models_,
        IBeacon beacon_
    ) {
        parameters = parameters_;
        staking = staking_;
        datanets = datanets_;
        models = models_;
        beacon = beacon_;
    }

    // ---------------------------------------------------------------- requester

    /// @notice Announces a training task; the value sent is its reward.
    /// @param segments Number of checkpoint segments, from which verifiers draw.
    function announce(
        bytes32 specDigest,
        bytes32 baseHash,
        bytes32 datanetId,
        uint32 version,
        uint32 segments,
        string calldata name
    ) external payable returns (uint256 taskId) {
        require(msg.value > 0, TaskEscrowRewardZero());
        require(msg.value <= type(uint128).max, TaskEscrowRewardTooLarge(msg.value));
        require(segments > 0, TaskEscrowSegmentsZero());
        require(models.isBase(baseHash), TaskEscrowBaseUnknown(baseHash));
        // Reverts when there is no such version.
        datanets.getVersion(datanetId, version);
        taskId = ++taskCount;
        Task storage task = _tasks[taskId];
        task.requester = msg.sender;
        task.version = version;
        task.segments = segments;
        task.announcedAt = uint64(block.timestamp);
        task.rewardWei = uint128(msg.value);
        task.specDigest = specDigest;
        task.baseHash = baseHash;
        task.datanetId = datanetId;
        task.name = name;
        task.rules = parameters.tasks();
        IParameters.Bonds memory bonds = parameters.bonds();
        task.trainingLockWei = bonds.trainingLockWei;
        task.abandonBondWei = bonds.abandonBondWei;
        escrowedWei += msg.value;
        emit TaskAnnounced(
            taskId, msg.sender, datanetId, specDigest, baseHash, version, segments, msg.value, name
        );
        _open(task, State.Announced);
    }

    /// @notice The requester takes back a task that no provider holds.
    function cancel(uint256 taskId) external {
        Task storage task = _existing(taskId);
        require(msg.sender == task.requester, TaskEscrowNotRequester(taskId, msg.sender, task.requester));
        require(_isOpen(task.state), TaskEscrowWrongState(taskId, task.state));
        _refund(taskId, task, State.Cancelled);
    }

    // ---------------------------------------------------------------- provider

    /// @notice Takes an open task under a lease and locks the training bond.
    function claim(uint256 taskId) external {
        Task storage task = _existing(taskId);
        require(_isOpen(task.state), TaskEscrowWrongState(taskId, task.state));
        _notPassed(taskId, task.deadline);
        require(!isExcluded(taskId, msg.sender), TaskEscrowProviderExcluded(taskId, msg.sender));
        require(
            staking.getAccount(msg.sender).roles & PROVIDER != 0, TaskEscrowNotProviderRole(msg.sender)
        );
        task.state = State.Claimed;
        task.provider = msg.sender;
        task.attempt++;
        task.renewals = 0;
        task.step = 0;
        task.round = 0;
        task.checkpointRoot = 0;
        task.deadline = _after(task.rules.leaseSeconds);
        emit TaskClaimed(taskId, msg.sender, task.attempt, task.deadline);
        staking.lock(msg.sender, lockIdOf(taskId, task.attempt), task.trainingLockWei);
    }

    /// @notice Extends the lease for a checkpoint that was never shown before.
    function heartbeat(uint256 taskId, uint32 step, bytes32 checkpointRoot) external {
        Task storage task = _held(taskId, State.Claimed);
        require(step > task.step, TaskEscrowStepNotForward(taskId, step, task.step));
        require(task.renewals < task.rules.maxRenewals, TaskEscrowRenewalsSpent(taskId, task.rules.maxRenewals));
        bytes32 usedKey = keccak256(abi.encode(taskId, task.attempt, checkpointRoot));
        require(!_usedCheckpoints[usedKey], TaskEscrowCheckpointRepeated(taskId, checkpointRoot));
        _usedCheckpoints[usedKey] = true;
        task.renewals++;
        task.step = step;
        task.checkpointRoot = checkpointRoot;
        task.deadline = _after(task.rules.leaseSeconds);
        emit TaskHeartbeat(taskId, msg.sender, step, checkpointRoot, task.deadline);
    }

    /// @notice Commits to the result before anybody can copy it.
    function commit(uint256 taskId, bytes32 resultHash) external {
        Task storage task = _held(taskId, State.Claimed);
        require(resultHash != 0, TaskEscrowResultHashZero());
        task.state = State.Committed;
        task.deadline = _after(task.rules.revealSeconds);
        task.result.resultHash = resultHash;
        emit TaskCommitted(taskId, msg.sender, resultHash, task.deadline);
    }

    /// @notice Shows the committed result; this block fixes the committee's seed, which nobody knows yet.
    function reveal(
        uint256 taskId,
        bytes32 traceRoot,
        bytes32 adapterHash,
        bytes32 sketchRoot,
        uint32 sketchCount,
        bytes32 manifest,
        bytes32 salt
    ) external {
        Task storage task = _held(taskId, State.Committed);
        bytes32 computed = resultHashOf(taskId, msg.sender, traceRoot, adapterHash, sketchRoot, manifest, salt);
        Result storage result = task.result;
        require(computed == result.resultHash, TaskEscrowResultMismatch(taskId, result.resultHash, computed));
        uint256 expected = datanets.getVersion(task.datanetId, task.version).recordCount;
        require(sketchCount == expected, TaskEscrowSketchCount(taskId, sketchCount, expected));
        result.traceRoot = traceRoot;
        result.adapterHash = adapterHash;
        result.sketchRoot = sketchRoot;
        result.manifest = manifest;
        result.sketchCount = sketchCount;
        emit TaskRevealed(taskId, msg.sender, traceRoot, adapterHash, sketchRoot, sketchCount, manifest);
        _awaitDraw(task);
    }

    // ---------------------------------------------------------------- committee

    /// @notice Draws the committee once the beacon answers; anybody may call it, nobody can choose.
    function drawCommittee(uint256 taskId) external {
        Task storage task = _existing(taskId);
        require(task.state == State.Revealed, TaskEscrowWrongState(taskId, task.state));
        _notPassed(taskId, task.deadline);
        address[] memory excluded = new address[](2);
        excluded[0] = task.provider;
        excluded[1] = task.requester;
        // The round is in the seed, so that two rounds fixed by one block would still differ.
        bytes32 seed = keccak256(abi.encode(beacon.seedOf(task.seedMark), taskId, task.attempt, task.round));
        address[] memory drawn = staking.draw(seed, task.revealBlock, task.rules.committeeSize, excluded);
        task.seed = seed;
        task.state = State.Voting;
        task.deadline = _after(task.rules.voteCommitSeconds);
        task.voteRevealDeadline = task.deadline + task.rules.voteRevealSeconds;
        delete task.committee;
        for (uint256 i = 0; i < drawn.length; i++) {
            task.committee.push(Seat(drawn[i], Verdict.None, 0, 0));
        }
        emit CommitteeDrawn(taskId, task.round, seed, drawn);
    }

    /// @notice A drawn verifier commits to its verdict.
    function commitVote(uint256 taskId, bytes32 commitment) external {
        (Task storage task, Seat storage seat) = _seat(taskId);
        _notPassed(taskId, task.deadline);
        require(commitment != 0, TaskEscrowVoteHashZero());
        require(seat.commitment == 0, TaskEscrowVoteAlreadyCommitted(taskId, msg.sender));
        seat.commitment = commitment;
        emit VoteCommitted(taskId, msg.sender, commitment);
    }

    /// @notice A drawn verifier shows its verdict, once all have committed or the time to commit is over.
    function revealVote(uint256 taskId, Verdict verdict, bytes32 receiptHash, bytes32 salt) external {
        (Task storage task, Seat storage seat) = _seat(taskId);
        require(_commitsClosed(task), TaskEscrowVotesOutstanding(taskId, task.deadline));
        _notPassed(taskId, task.voteRevealDeadline);
        require(verdict != Verdict.None, TaskEscrowVerdictNone());
        require(seat.verdict == Verdict.None, TaskEscrowVoteAlreadyRevealed(taskId, msg.sender));
        bytes32 computed = voteHashOf(taskId, msg.sender, verdict, receiptHash, salt);
        require(computed == seat.commitment, TaskEscrowVoteMismatch(taskId, seat.commitment, computed));
        seat.verdict = verdict;
        seat.receiptHash = receiptHash;
        emit VoteRevealed(taskId, msg.sender, task.round, verdict, receiptHash);
    }

    /// @notice Ends the vote: registers and pays, escalates, draws once more, or refunds.
    function tally(uint256 taskId) external {
        Task storage task = _existing(taskId);
        require(task.state == State.Voting, TaskEscrowWrongState(taskId, task.state));
        (uint256 valid, uint256 invalid) = _count(task);
        require(
            _votesClosed(task, valid, invalid), TaskEscrowVotesOutstanding(taskId, task.voteRevealDeadline)
        );
        uint256 size = task.committee.length;
        if (invalid > 0) {
            _escalate(taskId, task);
        } else if (valid == size || (size > 1 && valid * 2 > size)) {
            _register(taskId, task);
        } else if (task.round < MAX_ROUNDS) {
            emit TaskRedraw(taskId, task.round + 1);
            _awaitDraw(task);
        } else {
            _giveBack(taskId, task);
        }
    }

    // ---------------------------------------------------------------- timeouts, for anybody

    /// @notice Moves a task on whose present state has run out.
    function expire(uint256 taskId) external {
        Task storage task = _existing(taskId);
        State state = task.state;
        bool held = state == State.Claimed || state == State.Committed;
        require(held || state == State.Revealed || _isOpen(state), TaskEscrowWrongState(taskId, state));
        require(block.timestamp >= task.deadline, TaskEscrowDeadlineNotReached(taskId, task.deadline));
        if (held) {
            _abandon(taskId, task);
        } else if (state == State.Revealed) {
            // Nobody could be drawn in time, which is not the provider's fault.
            _giveBack(taskId, task);
        } else {
            _refund(taskId, task, State.Refunded);
        }
    }

    /// @notice Frees what is left of an escalated attempt's lock after the time for a dispute.
    function releaseEscalated(uint256 taskId, uint256 index) external {
        require(index < _escalations[taskId].length, TaskEscrowUnknownEscalation(taskId, index));
        Escalation storage escalation = _escalations[taskId][index];
        require(!escalation.released, TaskEscrowEscalationReleased(taskId, index));
        require(
            block.timestamp >= escalation.releaseAt, TaskEscrowEscalationPending(taskId, escalation.releaseAt)
        );
        escalation.released = true;
        uint256 amountWei = staking.unlock(lockIdOf(taskId, escalation.attempt));
        emit EscalationReleased(taskId, index, amountWei);
    }

    // ---------------------------------------------------------------- views

    function getTask(uint256 taskId) external view returns (Task memory) {
        return _existing(taskId);
    }

    /// @notice At most `count` tasks in the order of their ids, from id `from` (ids count from 1).
    function getTasks(uint256 from, uint256 count) external view returns (Task[] memory page) {
        if (from == 0 || from > taskCount) return page;
        uint256 left = taskCount - from + 1;
        page = new Task[](count < left ? count : left);
        for (uint256 i = 0; i < page.length; i++) page[i] = _tasks[from + i];
    }

    function getEscalations(uint256 taskId) external view returns (Escalation[] memory) {
        return _escalations[taskId];
    }

    /// @notice Whether an attempt of the task by an account, or by another key of its owner, was escalated.
    function isExcluded(uint256 taskId, address provider) public view returns (bool) {
        return _excluded[taskId][staking.ownerOf(provider)];
    }

    /// @notice Whether verifiers may show their votes now.
    function canReveal(uint256 taskId) external view returns (bool) {
        Task storage task = _existing(taskId);
        return task.state == State.Voting && _commitsClosed(task) && block.timestamp < task.voteRevealDeadline;
    }

    /// @notice Whether tally would succeed now.
    function canTally(uint256 taskId) external view returns (bool) {
        Task storage task = _existing(taskId);
        (uint256 valid, uint256 invalid) = _count(task);
        return task.state == State.Voting && _votesClosed(task, valid, invalid);
    }

    /// @notice First block in which drawCommittee can find its seed.
    function drawableAtBlock(uint256 taskId) external view returns (uint256) {
        Task storage task = _existing(taskId);
        require(task.state == State.Revealed, TaskEscrowWrongState(taskId, task.state));
        return beacon.readyAt(task.seedMark);
    }

    /// @notice Segments and sketches that the seed assigns to a verifier (docs/protocol.md section 3).
    function assignment(uint256 taskId, address verifier)
        external
        view
        returns (uint256[] memory segments, uint256[] memory samples)
    {
        Task storage task = _existing(taskId);
        segments = _segmentsOf(task.seed, verifier, task.rules.segmentsPerVerifier, task.segments);
        samples = _samplesOf(task.seed, verifier, task.rules.samplesPerVerifier, task.result.sketchCount);
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return escrowedWei + creditsTotalWei;
    }

    // ---------------------------------------------------------------- outcomes

    function _register(uint256 taskId, Task storage task) private {
        task.state = State.Registered;
        task.deadline = 0;
        address provider = task.provider;
        uint256 rewardWei = task.rewardWei;
        escrowedWei -= rewardWei;
        // Each seat's share is fixed by the committee's size; silent seats' shares and remainders are the provider's.
        uint256 seatWei = rewardWei * task.rules.verifierRewardPpm / ONE / task.committee.length;
        for (uint256 i = 0; i < task.committee.length; i++) {
            if (task.committee[i].verdict != Verdict.Valid) continue;
            _credit(task.committee[i].verifier, seatWei);
            rewardWei -= seatWei;
        }
        _credit(provider, rewardWei);
        bytes32 adapterId = models.adapterIdOf(taskId, task.result.adapterHash);
        task.adapterId = adapterId;
        emit TaskRegistered(taskId, provider, adapterId);
        staking.unlock(lockIdOf(taskId, task.attempt));
        models.registerAdapter(_lineage(taskId, task));
    }

    function _lineage(uint256 taskId, Task storage task) private view returns (IModelRegistry.Adapter memory) {
        Result memory result = task.result;
        return IModelRegistry.Adapter({
            adapterId: task.adapterId,
            baseHash: task.baseHash,
            datanetId: task.datanetId,
            version: task.version,
            sketchCount: result.sketchCount,
            registeredAt: 0,
            owner: task.requester,
            provider: task.provider,
            taskId: taskId,
            adapterHash: result.adapterHash,
            sketchRoot: result.sketchRoot,
            traceRoot: result.traceRoot,
            manifest: result.manifest,
            name: task.name
        });
    }

    function _escalate(uint256 taskId, Task storage task) private {
        address provider = task.provider;
        uint64 releaseAt = _after(parameters.timing().thawSeconds);
        uint256 index = _escalations[taskId].length;
        _escalations[taskId].push(
            Escalation(provider, task.attempt, releaseAt, false, task.result.resultHash)
        );
        _excluded[taskId][staking.ownerOf(provider)] = true;
        emit TaskEscalated(taskId, provider, task.attempt, index, releaseAt);
        _open(task, State.Escalated);
    }

    function _abandon(uint256 taskId, Task storage task) private {
        bytes32 lockId = lockIdOf(taskId, task.attempt);
        emit TaskAbandoned(taskId, task.provider, task.attempt, task.abandonBondWei);
        _open(task, State.Announced);
        staking.forfeit(lockId, task.abandonBondWei, task.requester);
        staking.unlock(lockId);
    }

    /// @dev The provider did its part: its lock is freed and the requester refunded.
    function _giveBack(uint256 taskId, Task storage task) private {
        bytes32 lockId = lockIdOf(taskId, task.attempt);
        _refund(taskId, task, State.Refunded);
        staking.unlock(lockId);
    }

    function _refund(uint256 taskId, Task storage task, State finalState) private {
        task.state = finalState;
        task.deadline = 0;
        escrowedWei -= task.rewardWei;
        _credit(task.requester, task.rewardWei);
        emit TaskRefunded(taskId, finalState, task.rewardWei);
    }

    // ---------------------------------------------------------------- inside

    /// @dev Waits for a provider; what the last attempt left is cleared, except the number of attempts.
    function _open(Task storage task, State state) private {
        task.state = state;
        task.provider = address(0);
        task.deadline = _after(task.rules.claimSeconds);
        task.voteRevealDeadline = 0;
        delete task.result;
        delete task.committee;
        task.seed = 0;
    }

    function _awaitDraw(Task storage task) private {
        task.state = State.Revealed;
        task.round++;
        task.revealBlock = uint64(block.number);
        task.seedMark = beacon.mark();
        task.deadline = _after(task.rules.voteCommitSeconds);
        task.voteRevealDeadline = 0;
        task.seed = 0;
    }

    function _existing(uint256 taskId) private view returns (Task storage task) {
        task = _tasks[taskId];
        require(task.state != State.None, TaskEscrowUnknownTask(taskId));
    }

    /// @dev The task in a state that the calling provider holds, before its deadline.
    function _held(uint256 taskId, State state) private view returns (Task storage task) {
        task = _existing(taskId);
        require(task.state == state, TaskEscrowWrongState(taskId, task.state));
        require(msg.sender == task.provider, TaskEscrowNotProvider(taskId, msg.sender, task.provider));
        _notPassed(taskId, task.deadline);
    }

    /// @dev The calling verifier's seat of a task that is being voted on.
    function _seat(uint256 taskId) private view returns (Task storage task, Seat storage seat) {
        task = _existing(taskId);
        require(task.state == State.Voting, TaskEscrowWrongState(taskId, task.state));
        for (uint256 i = 0; i < task.committee.length; i++) {
            seat = task.committee[i];
            if (seat.verifier == msg.sender) return (task, seat);
        }
        revert TaskEscrowNotVerifier(taskId, msg.sender);
    }

    function _commitsClosed(Task storage task) private view returns (bool) {
        if (block.timestamp >= task.deadline) return true;
        for (uint256 i = 0; i < task.committee.length; i++) {
            if (task.committee[i].commitment == 0) return false;
        }
        return true;
    }

    function _votesClosed(Task storage task, uint256 valid, uint256 invalid) private view returns (bool) {
        return invalid > 0 || valid == task.committee.length || block.timestamp >= task.voteRevealDeadline;
    }

    function _count(Task storage task) private view returns (uint256 valid, uint256 invalid) {
        for (uint256 i = 0; i < task.committee.length; i++) {
            if (task.committee[i].verdict == Verdict.Valid) valid++;
            else if (task.committee[i].verdict == Verdict.Invalid) invalid++;
        }
    }

    function _isOpen(State state) private pure returns (bool) {
        return state == State.Announced || state == State.Escalated;
    }

    function _after(uint256 durationSeconds) private view returns (uint64) {
        return uint64(block.timestamp + durationSeconds);
    }

    function _notPassed(uint256 taskId, uint256 deadline) private view {
        require(block.timestamp < deadline, TaskEscrowDeadlinePassed(taskId, deadline));
    }
}
