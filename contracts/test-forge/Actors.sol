// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {vm} from "./Base.sol";
import {ScoreEvidence} from "./Packing.sol";
import {World} from "./World.sol";

/// @title Who acts in a swarm, what each paid and did, and what must hold of them
abstract contract Actors is World {
    uint256 internal constant MAX_TASKS = 6;
    uint256 internal constant MAX_CONTRIBUTIONS = 12;
    uint256 internal constant OPEN = 1 ether;
    string internal constant REACHED = ".cache/forge/reached.jsonl";

    /// @dev Keys: 1 and 2 requesters, 11 and 12 honest providers, 13 and 14 dishonest, 21 to 25 honest verifiers, 26 and
    /// 27 verifiers that vote as they like or not at all, 31 the watcher, 32 an anchorer that lies, 41 a contributor.
    uint256[] internal providers = [11, 12, 13, 14];
    uint256[] internal verifiers = [21, 22, 23, 24, 25, 26, 27];
    uint256 internal constant WATCHER = 31;
    uint256 internal constant LIAR = 32;
    uint256 internal constant CONTRIBUTOR = 41;

    struct Fault {
        ScoreEvidence evidence;
        uint64 servingSince;
        bool judged;
    }

    Fault[] internal faults;
    mapping(address => uint256) public paidIn;
    mapping(address => uint256) public takenOut;
    mapping(bytes32 attempt => bool) internal isGood;
    mapping(address provider => mapping(address client => uint256)) internal computeWei;
    mapping(address provider => mapping(address client => uint256)) internal feeWei;
    mapping(address provider => uint64) internal servingSince;
    mapping(address provider => mapping(uint64 since => uint256)) internal slashedFor;
    uint256 public totalWei;
    uint256 internal answers;

    // What this run reached.
    uint256 internal slashes;
    uint256 internal refunds;
    uint256 internal timeouts;
    uint256 internal registrations;
    uint256 internal escalations;
    uint256 internal redraws;
    uint256 internal withheld;
    uint256 internal claims;
    uint256 internal reveals;
    uint256 internal lapses;
    uint256 internal rejections;

    // What relayers put up for contributions and took back.
    uint256 internal depositedWei;
    uint256 internal returnedWei;

    constructor() {
        connect();
        publish(vm.addr(CONTRIBUTOR));
        for (uint256 i = 0; i < providers.length; i++) _pay(vm.addr(providers[i]), 200 * OPEN, PROVIDER);
        for (uint256 i = 0; i < verifiers.length; i++) _pay(vm.addr(verifiers[i]), 50 * OPEN, VERIFIER);
        _pay(vm.addr(WATCHER), 50 * OPEN, 0);
        _pay(vm.addr(LIAR), 200 * OPEN, 0);
        vm.deal(vm.addr(1), 1_000 * OPEN);
        vm.deal(vm.addr(2), 1_000 * OPEN);
    }

    function isHonest(uint256 key) public pure returns (bool) {
        return key != 13 && key != 14 && key != 26 && key != 27 && key != LIAR;
    }

    /// @dev Appends what this run reached to a file that the command sums up.
    function report() external {
        string memory line = string.concat(
            '{"slashes":', vm.toString(slashes), ',"refunds":', vm.toString(refunds), ',"timeouts":', vm.toString(timeouts)
        );
        line = string.concat(
            line, ',"registrations":', vm.toString(registrations), ',"escalations":', vm.toString(escalations)
        );
        line = string.concat(line, ',"redraws":', vm.toString(redraws), ',"withholdings":', vm.toString(withheld));
        line = string.concat(line, ',"reveals":', vm.toString(reveals), ',"lapses":', vm.toString(lapses));
        line = string.concat(line, ',"rejections":', vm.toString(rejections));
        vm.writeLine(REACHED, string.concat(line, ',"claims":', vm.toString(claims), "}"));
    }

    // ---------------------------------------------------------------- what must hold

    function checkConserved() external view {
        same(address(staking).balance, staking.accountedWei(), "Staking");
        same(address(tasks).balance, tasks.accountedWei(), "TaskEscrow");
        same(address(inference).balance, inference.accountedWei(), "InferenceEscrow");
        same(address(epochs).balance, epochs.accountedWei(), "Epochs");
        same(address(datanets).balance, datanets.accountedWei(), "DatanetRegistry");
        same(depositedWei - returnedWei, datanets.accountedWei(), "deposits");
        _checkDeposits();
        check(epochs.claimedTotalWei() <= epochs.potTotalWei(), "more claimed than collected");
    }

    function checkHonest() external view {
        for (uint256 i = 0; i < providers.length; i++) _checkWhole(providers[i]);
        for (uint256 i = 0; i < verifiers.length; i++) _checkWhole(verifiers[i]);
        _checkWhole(WATCHER);
    }

    /// @dev Once the watcher had its turn, every fault is judged, and the bond it was signed under is gone.
    function checkFaults() external view {
        for (uint256 i = 0; i < faults.length; i++) {
            Fault storage fault = faults[i];
            if (!fault.judged) continue;
            address provider = fault.evidence.receipt.provider;
            check(slashedFor[provider][fault.servingSince] > 0, "a fault whose bond was not there");
        }
    }

    // ---------------------------------------------------------------- inside

    /// @dev A deposit is held while its contribution is hidden, burned when it lapsed, and else is its relayer's.
    function _checkDeposits() private view {
        uint256 heldWei = 0;
        uint256 lapsed = 0;
        uint256 count = datanets.contributionTotal();
        for (uint256 id = 1; id <= count; id++) {
            IDatanetRegistry.Contribution memory entry = datanets.getContribution(id);
            heldWei += entry.depositWei;
            bool hidden = entry.state == IDatanetRegistry.ContributionState.Committed;
            check(hidden == (entry.depositWei > 0), "a deposit that should be somebody's");
            if (entry.state == IDatanetRegistry.ContributionState.Lapsed) lapsed++;
        }
        same(heldWei, datanets.depositsWei(), "held deposits");
        same(lapsed * depositOf(), datanets.burnedWei(), "burned deposits");
    }

    function _checkWhole(uint256 key) internal view {
        if (!isHonest(key)) return;
        address account = vm.addr(key);
        uint256 held = staking.getAccount(account).stakeWei + staking.getAccount(account).thawingWei;
        same(held, paidIn[account] - takenOut[account], "an honest party lost stake");
    }

    function _pay(address account, uint256 amountWei, uint8 roles) internal {
        stakeOf(account, amountWei, roles);
        paidIn[account] += amountWei;
    }

    function _task(uint256 which) internal view returns (uint256 taskId, ITaskEscrow.Task memory task) {
        uint256 count = tasks.taskCount();
        if (count == 0) return (0, task);
        taskId = 1 + which % count;
        task = tasks.getTask(taskId);
    }

    function _attempt(uint256 taskId, uint256 attempt) internal pure returns (bytes32) {
        return keccak256(abi.encode(taskId, attempt));
    }

    function _keyOf(address account) internal view returns (uint256) {
        for (uint256 i = 0; i < providers.length; i++) {
            if (vm.addr(providers[i]) == account) return providers[i];
        }
        for (uint256 i = 0; i < verifiers.length; i++) {
            if (vm.addr(verifiers[i]) == account) return verifiers[i];
        }
        revert("nobody's key");
    }

    function _isOpen(ITaskEscrow.State state) internal pure returns (bool) {
        return state == ITaskEscrow.State.Announced || state == ITaskEscrow.State.Escalated;
    }

    function _isFinal(ITaskEscrow.State state) internal pure returns (bool) {
        return state == ITaskEscrow.State.Registered || state == ITaskEscrow.State.Refunded
            || state == ITaskEscrow.State.Cancelled;
    }
}
