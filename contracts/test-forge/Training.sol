// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title A training task taken to any of its states
abstract contract Training is World {
    address internal constant REQUESTER = address(0x71);
    address internal constant TRAINER = address(0x72);
    uint256 internal constant REWARD_WEI = 1 ether;
    bytes32 internal constant SALT = keccak256("salt");

    /// @dev A deployment with a requester, a provider and as many verifiers.
    function staff(uint256 verifiers) internal {
        deployAll();
        connect();
        publish(address(0xc0));
        vm.deal(REQUESTER, 1_000 ether);
        stakeOf(TRAINER, 100 ether, PROVIDER);
        for (uint160 i = 0; i < verifiers; i++) stakeOf(address(0x200 + i), 50 ether, VERIFIER);
    }

    function announced() internal returns (uint256 taskId) {
        vm.prank(REQUESTER);
        return tasks.announce{value: REWARD_WEI}(keccak256("spec"), BASE_HASH, datanetId, 1, 8, "adapter");
    }

    function claimed() internal returns (uint256 taskId) {
        taskId = announced();
        claim(taskId, TRAINER);
    }

    function claim(uint256 taskId, address provider) internal {
        vm.prank(provider);
        tasks.claim(taskId);
    }

    function resultHash(uint256 taskId, address provider) internal view returns (bytes32) {
        return tasks.resultHashOf(taskId, provider, "trace", "adapter", "sketches", "manifest", SALT);
    }

    function committed() internal returns (uint256 taskId) {
        taskId = claimed();
        bytes32 result = resultHash(taskId, TRAINER);
        vm.prank(TRAINER);
        tasks.commit(taskId, result);
    }

    function reveal(uint256 taskId, address provider) internal {
        vm.prank(provider);
        tasks.reveal(taskId, "trace", "adapter", "sketches", 1, "manifest", SALT);
    }

    function revealed() internal returns (uint256 taskId) {
        taskId = committed();
        reveal(taskId, TRAINER);
    }

    function draw(uint256 taskId) internal {
        vm.roll(tasks.drawableAtBlock(taskId));
        tasks.drawCommittee(taskId);
    }

    function voting() internal returns (uint256 taskId) {
        taskId = revealed();
        draw(taskId);
    }

    /// @dev Everybody commits and shows; bit i of `invalid` says that seat i finds the result wrong.
    function vote(uint256 taskId, uint256 invalid) internal {
        ITaskEscrow.Task memory task = tasks.getTask(taskId);
        for (uint256 i = 0; i < task.committee.length; i++) commitVote(taskId, i, verdict(invalid, i));
        for (uint256 i = 0; i < task.committee.length; i++) revealVote(taskId, i, verdict(invalid, i));
    }

    function verdict(uint256 invalid, uint256 index) internal pure returns (ITaskEscrow.Verdict) {
        return (invalid >> index) & 1 == 1 ? ITaskEscrow.Verdict.Invalid : ITaskEscrow.Verdict.Valid;
    }

    function seat(uint256 taskId, uint256 index) internal view returns (address) {
        return tasks.getTask(taskId).committee[index].verifier;
    }

    function commitVote(uint256 taskId, uint256 index, ITaskEscrow.Verdict says) internal {
        address verifier = seat(taskId, index);
        bytes32 commitment = tasks.voteHashOf(taskId, verifier, says, "receipt", SALT);
        vm.prank(verifier);
        tasks.commitVote(taskId, commitment);
    }

    function revealVote(uint256 taskId, uint256 index, ITaskEscrow.Verdict says) internal {
        vm.prank(seat(taskId, index));
        tasks.revealVote(taskId, says, "receipt", SALT);
    }

    function stateOf(uint256 taskId) internal view returns (ITaskEscrow.State) {
        return tasks.getTask(taskId).state;
    }

    /// @dev What an account has in Staking that it could still lose or take out.
    function heldWei(address account) internal view returns (uint256) {
        return staking.getAccount(account).stakeWei + staking.getAccount(account).thawingWei;
    }
}
