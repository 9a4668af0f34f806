// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "./IParameters.sol";

/// @title Stake: free, locked under a lock id, or thawing
interface IStaking {
    /// @param stakeWei Free and locked together: what sortition and the stakers' share count.
    /// @param roles Bits: 1 provider, 2 verifier.
    /// @param servingExitAt Second from which the serving lock may be released; 0 while serving or without a lock.
    struct Account {
        uint128 freeWei;
        uint128 lockedWei;
        uint128 thawingWei;
        uint128 stakeWei;
        uint128 servingLockWei;
        uint64 thawReadyAt;
        uint64 servingExitAt;
        uint8 roles;
        bool listed;
    }

    struct Staker {
        address account;
        Account state;
    }

    /// @param slashedAt Second in which it was slashed; 0 while it was not.
    /// @param slashedWhole Its owner's free and thawing stake was slashed for it too.
    struct Lock {
        address owner;
        uint128 amountWei;
        uint64 slashedAt;
        bool slashedWhole;
    }

    event Deposited(address indexed account, uint256 amountWei);
    event ThawRequested(address indexed account, uint256 amountWei, uint64 readyAt);
    event Withdrawn(address indexed account, uint256 amountWei);
    event RolesChanged(address indexed account, uint8 roles);
    event StakeChanged(address indexed account, uint256 stakeWei, uint8 roles);
    event StakerListed(address indexed account);
    event StakerUnlisted(address indexed account);
    event Locked(bytes32 indexed lockId, address indexed owner, uint256 amountWei);
    event Unlocked(bytes32 indexed lockId, address indexed owner, uint256 amountWei);
    /// @param lockId 0 where the stake was in no lock.
    event Slashed(
        bytes32 indexed lockId,
        address indexed owner,
        address challenger,
        address requester,
        uint256 amountWei,
        uint256 challengerWei,
        uint256 requesterWei,
        uint256 burnedWei
    );
    event Forfeited(
        bytes32 indexed lockId, address indexed owner, address beneficiary, uint256 amountWei, uint256 burnedWei
    );
    event ServingRegistered(address indexed account, uint256 amountWei);
    event ServingExitRequested(address indexed account, uint64 exitAt);

    event WorkerChanged(address indexed owner, address previousWorker, address indexed worker);

    error StakingAmountZero();
    error StakingFreeShort(address account, uint256 neededWei, uint256 freeWei);
    error StakingStillThawing(address account, uint256 readyAt);
    error StakingNothingThawing(address account);
    error StakingRolesUnknown(uint8 roles);
    error StakingRoleMissing(address account, uint8 role);
    error StakingListFull(uint256 maxStakers);
    error StakingUnauthorised(address caller);
    error StakingLockExists(bytes32 lockId);
    error StakingLockTooLarge(bytes32 lockId, uint256 amountWei);
    error StakingLockShort(bytes32 lockId, uint256 neededWei, uint256 lockedWei);
    error StakingNotServing(address account);
    error StakingServingExitPending(address account, uint256 exitAt);
    error StakingServingExitNotRequested(address account);
    error StakingKeyExpired(uint256 deadline);
    error StakingKeySignerMismatch(address expected, address recovered);
    error StakingKeyTaken(address owner, address worker);
    error StakingKeyRetired(address account);
    error StakingTooFewVerifiers(uint256 eligible, uint256 needed);

    function parameters() external view returns (IParameters);
    function deposit() external payable;
    function requestThaw(uint256 amountWei) external;
    function withdraw() external returns (uint256 amountWei);
    function setRoles(uint8 roles) external;
    function registerServing() external;
    function requestServingExit() external;
    function releaseServing() external;
    function requestServingExitOf(address worker) external;
    function releaseServingOf(address account) external;
    function setWorker(
        address owner,
        address worker,
        uint64 deadline,
        bytes calldata ownerSignature,
        bytes calldata workerSignature
    ) external;
    function ownerOf(address account) external view returns (address owner);
    function workerOf(address owner) external view returns (address worker);
    function workerNonce(address owner) external view returns (uint256);
    function workerDigest(address owner, address worker, uint256 nonce, uint64 deadline)
        external
        view
        returns (bytes32);

    function lock(address account, bytes32 lockId, uint256 amountWei) external;
    function raise(address account, bytes32 lockId, uint256 amountWei) external;
    function unlock(bytes32 lockId) external returns (uint256 amountWei);
    function forfeit(bytes32 lockId, uint256 amountWei, address beneficiary) external;
    function slash(bytes32 lockId, address challenger, address requester) external returns (uint256 amountWei);
    function slashDeliberate(bytes32 lockId, address challenger, address requester)
        external
        returns (uint256 amountWei);
    function settle(address account) external;

    function correlationFraction() external view returns (uint256 ppm);
    function servingLockId(address account) external pure returns (bytes32);
    function getAccount(address account) external view returns (Account memory);
    function getLock(bytes32 lockId) external view returns (Lock memory);
    function freeOf(address account) external view returns (uint256);
    function weightAt(address account, uint256 blockNumber) external view returns (uint256);
    function stakerCount() external view returns (uint256);
    function stakers() external view returns (address[] memory);
    function getStakers(uint256 from, uint256 count) external view returns (Staker[] memory);
    function draw(bytes32 seed, uint256 atBlock, uint256 count, address[] memory excluded)
        external
        view
        returns (address[] memory);
    function accountedWei() external view returns (uint256);
}
