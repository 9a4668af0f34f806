// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Credits} from "./Credits.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {StakeHistory} from "./StakeHistory.sol";
import {WorkerKeys} from "./WorkerKeys.sol";
import {Locks} from "./libraries/Locks.sol";
import {PackedLock} from "./libraries/PackedLock.sol";
import {SlashWindow} from "./libraries/SlashWindow.sol";
import {StakeTree} from "./libraries/StakeTree.sol";

/// @title Stake: free, locked under a lock id, or thawing
/// @notice A lock is one task's or one provider's serving bond and is never counted twice. Only free stake thaws. Slashed stake is divided by Parameters:
/// credits for challenger and requester, the rest stays here for good and is counted as burned. An owner may name a worker key: it works and answers with the owner's stake, and can never take it out. Buckets: free + locked + thawing + credits + burned = everything that was ever paid in and not paid out.
contract Staking is IStaking, WorkerKeys, StakeHistory, Credits {
    using PackedLock for PackedLock.Packed;
    using SlashWindow for SlashWindow.Window;
    using StakeTree for StakeTree.Tree;
    using StakeTree for StakeTree.Omitted;

    uint8 public constant PROVIDER = 1;
    uint8 public constant VERIFIER = 2;
    uint256 private constant ONE = 1_000_000;
    bytes32 private constant SORTITION_TAG = keccak256("openledger/sortition/2");
    /// @dev Stake counts in a draw in whole millionths of an OPEN, so that sums fit in 56 bits.
    uint256 private constant WEIGHT_WEI = 1e12;

    IParameters public immutable parameters;
    address public immutable taskEscrow;
    address public immutable referee;
    address public immutable epochs;
    address public immutable datanets;

    // The first slot is what a slash needs; 2^120 wei are more than there ever are.
    struct Holding {
        uint120 freeWei;
        uint120 lockedWei;
        uint8 roles;
        uint128 thawingWei;
        uint64 thawReadyAt;
        uint64 servingExitAt;
        // Place in the list of stakers, from 1; 0 when not listed.
        uint32 position;
        // Place in the tree of verifiers, from 1 and for ever; 0 before the first weight.
        uint32 seat;
        // What stands there now.
        uint64 weight;
    }

    /// @notice Stake that was destroyed; no function pays it out. It shares a slot with the sum of credits before it.
    uint128 public burnedWei;
    mapping(address account => Holding) private _holdings;
    mapping(bytes32 lockId => PackedLock.Packed) private _locks;
    // Weights of listed verifiers, at every block.
    StakeTree.Tree private _tree;
    address[] private _seats;
    address[] private _stakers;

    uint128 public freeTotalWei;
    uint128 public thawingTotalWei;
    // What is locked, and what faults took lately: a slash moves from the one to the other, in one slot.
    SlashWindow.Window private _slashed;

    constructor(IParameters parameters_, address taskEscrow_, address referee_, address epochs_, address datanets_) {
        // So that the first slash pays no more for its slot than any other.
        _slashed.startedAt = uint40(block.timestamp);
        parameters = parameters_;
        taskEscrow = taskEscrow_;
        referee = referee_;
        epochs = epochs_;
        datanets = datanets_;
    }

    // ---------------------------------------------------------------- owner of the stake

    /// @notice Adds the value sent to the caller's free stake; a worker key adds to its owner's.
    function deposit() external payable {
        require(msg.value > 0, StakingAmountZero());
        address owner = ownerOf(msg.sender);
        _holdings[owner].freeWei += uint120(msg.value);
        freeTotalWei += uint128(msg.value);
        emit Deposited(owner, msg.value);
        require(_changed(owner), StakingListFull(_stakers.length));
    }

    /// @notice Starts to thaw free stake; a second request restarts the clock for all that is thawing.
    function requestThaw(uint256 amountWei) external {
        Holding storage holding = _holdings[msg.sender];
        require(amountWei > 0, StakingAmountZero());
        require(amountWei <= holding.freeWei, StakingFreeShort(msg.sender, amountWei, holding.freeWei));
        uint64 readyAt = uint64(block.timestamp + parameters.timing().thawSeconds);
        holding.freeWei -= uint120(amountWei);
        holding.thawingWei += uint128(amountWei);
        holding.thawReadyAt = readyAt;
        freeTotalWei -= uint128(amountWei);
        thawingTotalWei += uint128(amountWei);
        emit ThawRequested(msg.sender, amountWei, readyAt);
        _changed(msg.sender);
    }

    /// @notice Pays the caller all stake that has thawed.
    function withdraw() external returns (uint256 amountWei) {
        Holding storage holding = _holdings[msg.sender];
        amountWei = holding.thawingWei;
        require(amountWei > 0, StakingNothingThawing(msg.sender));
        require(block.timestamp >= holding.thawReadyAt, StakingStillThawing(msg.sender, holding.thawReadyAt));
        holding.thawingWei = 0;
        holding.thawReadyAt = 0;
        thawingTotalWei -= uint128(amountWei);
        emit Withdrawn(msg.sender, amountWei);
        _send(msg.sender, amountWei);
    }

    /// @notice Sets what the caller offers: bit 1 provider, bit 2 verifier.
    function setRoles(uint8 roles) external {
        require(roles <= (PROVIDER | VERIFIER), StakingRolesUnknown(roles));
        address owner = _acting(msg.sender);
        _holdings[owner].roles = roles;
        emit RolesChanged(owner, roles);
        _changed(owner);
    }

    /// @notice Locks the serving bond, which answers for every receipt that the caller signs.
    function registerServing() external {
        address owner = _acting(msg.sender);
        require(_holdings[owner].roles & PROVIDER != 0, StakingRoleMissing(msg.sender, PROVIDER));
        uint256 amountWei = parameters.bonds().servingLockWei;
        _holdings[msg.sender].servingExitAt = 0;
        _lock(owner, servingLockId(msg.sender), amountWei);
        emit ServingRegistered(msg.sender, amountWei);
    }

    /// @notice Announces the end of serving; the bond stays slashable until it has thawed.
    function requestServingExit() external {
        _requestServingExit(msg.sender);
    }

    /// @notice The same for a worker key that the caller owns, or once owned.
    function requestServingExitOf(address worker) external {
        require(ownerOf(worker) == msg.sender, StakingUnauthorised(msg.sender));
        _requestServingExit(worker);
    }

    /// @notice Returns a key's serving bond to its owner's free stake once it has thawed; anybody may send it for the key.
    function releaseServingOf(address account) public {
        Holding storage holding = _holdings[account];
        uint256 exitAt = holding.servingExitAt;
        require(exitAt > 0, StakingServingExitNotRequested(account));
        require(block.timestamp >= exitAt, StakingServingExitPending(account, exitAt));
        holding.servingExitAt = 0;
        _unlock(servingLockId(account));
    }

    /// @notice Returns the caller's serving bond to free stake once it has thawed.
    function releaseServing() external {
        releaseServingOf(msg.sender);
    }

    // ---------------------------------------------------------------- task escrow, referee, epochs, datanets

    /// @notice Locks free stake that `account` works with under an unused id.
    function lock(address account, bytes32 lockId, uint256 amountWei) external {
        require(msg.sender == taskEscrow || msg.sender == datanets, StakingUnauthorised(msg.sender));
        _lock(_acting(account), lockId, amountWei);
    }

    /// @notice Raises a lock to an amount out of the free stake that `account` works with; one that is high enough stays.
    function raise(address account, bytes32 lockId, uint256 amountWei) external {
        require(msg.sender == epochs, StakingUnauthorised(msg.sender));
        address owner = _acting(account);
        if (_locks[lockId].amountWei() >= amountWei) return;
        _unlock(lockId);
        _lock(owner, lockId, amountWei);
    }

    /// @notice Returns what is left under an id to its owner's free stake; nothing left is not an error.
    function unlock(bytes32 lockId) external returns (uint256) {
        require(
            msg.sender == taskEscrow || msg.sender == epochs || msg.sender == datanets,
            StakingUnauthorised(msg.sender)
        );
        return _unlock(lockId);
    }

    /// @notice Takes part of a lock: half to the beneficiary's credits, half (and an odd wei) burned.
    function forfeit(bytes32 lockId, uint256 amountWei, address beneficiary) external {
        require(msg.sender == taskEscrow, StakingUnauthorised(msg.sender));
        PackedLock.Packed storage held = _locks[lockId];
        uint256 heldWei = held.amountWei();
        require(amountWei <= heldWei, StakingLockShort(lockId, amountWei, heldWei));
        address owner = held.owner;
        _take(owner, held, amountWei);
        uint256 halfWei = amountWei / 2;
        burnedWei += uint128(amountWei - halfWei);
        _credit(beneficiary, halfWei);
        emit Forfeited(lockId, owner, beneficiary, amountWei, amountWei - halfWei);
        _changed(owner);
    }

    /// @notice Takes a whole lock and divides it; a lock that is gone gives 0. Where nobody was wronged in particular, the
    /// requester is the zero address and its part is burned.
    function slash(bytes32 lockId, address challenger, address requester) external returns (uint256 amountWei) {
        require(
            msg.sender == referee || msg.sender == taskEscrow || msg.sender == epochs || msg.sender == datanets,
            StakingUnauthorised(msg.sender)
        );
        return _slash(lockId, challenger, requester, parameters.slashing());
    }

    /// @notice Takes a whole lock for a fault that is no accident, and of all that its owner has here the more the more stake
    /// was lost to faults lately: correlationFraction() of it, out of free and then thawing stake, never out of another lock.
    /// @dev Once per lock, and not for a lock that was given back or was slashed longer ago than stake thaws: a key that
    /// stopped serving cannot cost its owner anything any more.
    function slashDeliberate(bytes32 lockId, address challenger, address requester)
        external
        returns (uint256 amountWei)
    {
        require(msg.sender == referee, StakingUnauthorised(msg.sender));
        IParameters.Slashing memory rules = parameters.slashing();
        PackedLock.Packed storage held = _locks[lockId];
        Holding storage holding = _holdings[held.owner];
        uint256 stakeWei = uint256(holding.freeWei) + holding.lockedWei + holding.thawingWei;
        amountWei = _slash(lockId, challenger, requester, rules);
        Lock memory lock_ = held.unpacked();
        if (lock_.slashedWhole || block.timestamp > lock_.slashedAt + parameters.timing().thawSeconds) {
            return amountWei;
        }
        held.slashWhole();
        return amountWei + _slashCorrelated(held.owner, stakeWei, challenger, requester, rules);
    }

    /// @notice Brings the list of stakers and the draw to what an account's stake is since a slash; anybody may send it.
    function settle(address account) external {
        _settle(ownerOf(account));
    }

    // ---------------------------------------------------------------- views

    /// @notice Share of its stake, in PPM, that a fault costs now that is no accident: the base, and a multiple of the share
    /// of all stake that was lost to faults within the window.
    function correlationFraction() external view returns (uint256) {
        return _slashed.fraction(parameters.slashing(), uint256(freeTotalWei) + thawingTotalWei);
    }

    function servingLockId(address account) public pure returns (bytes32) {
        return Locks.serving(account);
    }

    function getLock(bytes32 lockId) external view returns (Lock memory) {
        return _locks[lockId].unpacked();
    }

    /// @notice The stake that an account works with, and the serving bond of the key that signs; none for a retired key.
    function getAccount(address account) public view returns (Account memory state) {
        address owner = ownerOf(account);
        address worker = workerOf(owner);
        if (account != owner && account != worker) {
            state.servingLockWei = uint128(_locks[servingLockId(account)].amountWei());
            state.servingExitAt = _holdings[account].servingExitAt;
            return state;
        }
        Holding storage holding = _holdings[owner];
        return Account({
            freeWei: holding.freeWei,
            lockedWei: holding.lockedWei,
            thawingWei: holding.thawingWei,
            stakeWei: holding.freeWei + holding.lockedWei,
            servingLockWei: uint128(_locks[servingLockId(worker)].amountWei()),
            thawReadyAt: holding.thawReadyAt,
            servingExitAt: _holdings[worker].servingExitAt,
            roles: holding.roles,
            listed: holding.position > 0
        });
    }

    /// @notice Free stake that an account works with; none for a retired key.
    function freeOf(address account) external view returns (uint256) {
        address owner = ownerOf(account);
        return account == owner || account == workerOf(owner) ? _holdings[owner].freeWei : 0;
    }

    /// @notice What an account weighs in a draw at the end of a block (of this block so far, for the current one):
    /// millionths of an OPEN of a listed verifier's stake, otherwise 0.
    function weightAt(address account, uint256 blockNumber) external view returns (uint256) {
        uint256 seat = _holdings[ownerOf(account)].seat;
        return seat == 0 ? 0 : _tree.weightAt(seat - 1, blockNumber);
    }

    /// @notice Sum of all locks, in wei.
    function lockedTotalWei() external view returns (uint256) {
        return _slashed.lockedWei;
    }

    function stakerCount() external view returns (uint256) {
        return _stakers.length;
    }

    /// @notice Who acts with at least the minimum stake, in no order that means anything.
    function stakers() external view returns (address[] memory accounts) {
        accounts = new address[](_stakers.length);
        for (uint256 i = 0; i < accounts.length; i++) accounts[i] = workerOf(_stakers[i]);
    }

    /// @notice At most `count` stakers with their accounts, from position `from` of the list.
    function getStakers(uint256 from, uint256 count) external view returns (Staker[] memory page) {
        uint256 end = from + count > _stakers.length ? _stakers.length : from + count;
        if (from >= end) return page;
        page = new Staker[](end - from);
        for (uint256 i = from; i < end; i++) {
            page[i - from] = Staker(workerOf(_stakers[i]), getAccount(_stakers[i]));
        }
    }

    /// @notice Draws `count` distinct verifiers by their weight at the end of block `atBlock`, one after the other in
    /// proportion to the weights of those left; who works for an excluded account's owner is excluded with it.
    function draw(bytes32 seed, uint256 atBlock, uint256 count, address[] memory excluded)
        external
        view
        returns (address[] memory drawn)
    {
        StakeTree.Omitted memory omitted = StakeTree.Omitted(0, new uint256[](excluded.length + count));
        (uint256 levels, uint256 sum) = _tree.rootAt(atBlock);
        for (uint256 i = 0; i < excluded.length; i++) {
            uint256 seat = _holdings[ownerOf(excluded[i])].seat;
            // Two excluded accounts may be of one owner.
            if (seat == 0 || omitted.omittedUnder(0, seat - 1) > 0) continue;
            uint256 weight = _tree.weightAt(seat - 1, atBlock);
            omitted.omit(seat - 1, weight);
            sum -= weight;
        }
        drawn = new address[](count);
        for (uint256 i = 0; i < count; i++) {
            require(sum > 0, StakingTooFewVerifiers(i, count));
            uint256 point = uint256(keccak256(abi.encode(SORTITION_TAG, seed, i))) % sum;
            (uint256 position, uint256 weight) = _tree.find(atBlock, levels, point, omitted);
            omitted.omit(position, weight);
            sum -= weight;
            drawn[i] = workerOf(_seats[position]);
        }
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return uint256(freeTotalWei) + _slashed.lockedWei + thawingTotalWei + creditsTotalWei + burnedWei;
    }

    // ---------------------------------------------------------------- inside

    function _hasStake(address account) internal view override returns (bool) {
        Holding storage own = _holdings[account];
        return own.freeWei > 0 || own.lockedWei > 0 || own.thawingWei > 0;
    }

    function _requestServingExit(address account) private {
        require(_locks[servingLockId(account)].amountWei() > 0, StakingNotServing(account));
        uint64 exitAt = uint64(block.timestamp + parameters.timing().thawSeconds);
        _holdings[account].servingExitAt = exitAt;
        emit ServingExitRequested(account, exitAt);
    }

    function _lock(address owner, bytes32 lockId, uint256 amountWei) private {
        Holding storage holding = _holdings[owner];
        require(_locks[lockId].amountWei() == 0, StakingLockExists(lockId));
        require(amountWei < PackedLock.LIMIT, StakingLockTooLarge(lockId, amountWei));
        require(amountWei <= holding.freeWei, StakingFreeShort(owner, amountWei, holding.freeWei));
        holding.freeWei -= uint120(amountWei);
        holding.lockedWei += uint120(amountWei);
        freeTotalWei -= uint128(amountWei);
        _slashed.lockedWei += uint104(amountWei);
        _locks[lockId] = PackedLock.Packed(owner, uint96(amountWei));
        emit Locked(lockId, owner, amountWei);
    }

    function _unlock(bytes32 lockId) private returns (uint256 amountWei) {
        PackedLock.Packed storage held = _locks[lockId];
        amountWei = held.amountWei();
        if (amountWei == 0) return 0;
        address owner = held.owner;
        _take(owner, held, amountWei);
        _holdings[owner].freeWei += uint120(amountWei);
        freeTotalWei += uint128(amountWei);
        emit Unlocked(lockId, owner, amountWei);
    }

    /// @dev Removes stake from a lock; the caller books where it goes.
    function _take(address owner, PackedLock.Packed storage held, uint256 amountWei) private {
        held.state -= uint96(amountWei);
        _holdings[owner].lockedWei -= uint120(amountWei);
        _slashed.lockedWei -= uint104(amountWei);
    }

    /// @dev The list and the tree follow by settle: what a verdict costs must not grow with the number of verifiers.
    function _slash(bytes32 lockId, address challenger, address requester, IParameters.Slashing memory rules)
        private
        returns (uint256 amountWei)
    {
        PackedLock.Packed storage held = _locks[lockId];
        amountWei = held.amountWei();
        if (amountWei == 0) return 0;
        address owner = held.owner;
        _take(owner, held, amountWei);
        held.slash();
        _divide(lockId, owner, amountWei, challenger, requester, rules);
    }

    function _slashCorrelated(
        address owner,
        uint256 stakeWei,
        address challenger,
        address requester,
        IParameters.Slashing memory rules
    ) private returns (uint256 amountWei) {
        Holding storage holding = _holdings[owner];
        amountWei = stakeWei * _slashed.fraction(rules, uint256(freeTotalWei) + thawingTotalWei) / ONE;
        uint256 freeWei = amountWei < holding.freeWei ? amountWei : holding.freeWei;
        uint256 thawingWei = amountWei - freeWei;
        if (thawingWei > holding.thawingWei) thawingWei = holding.thawingWei;
        amountWei = freeWei + thawingWei;
        if (amountWei == 0) return 0;
        holding.freeWei -= uint120(freeWei);
        holding.thawingWei -= uint128(thawingWei);
        freeTotalWei -= uint128(freeWei);
        thawingTotalWei -= uint128(thawingWei);
        _divide(bytes32(0), owner, amountWei, challenger, requester, rules);
    }

    /// @dev Books slashed stake. The jury's part is burned, because no jury sits yet; so is the remainder of the divisions.
    function _divide(
        bytes32 lockId,
        address owner,
        uint256 amountWei,
        address challenger,
        address requester,
        IParameters.Slashing memory rules
    ) private {
        uint256 challengerWei = amountWei * rules.challengerPpm / ONE;
        uint256 requesterWei = requester == address(0) ? 0 : amountWei * rules.requesterPpm / ONE;
        uint256 restWei = amountWei - challengerWei - requesterWei;
        burnedWei += uint128(restWei);
        _slashed.add(amountWei, rules.windowSeconds);
        // Slashed says what each is given.
        credits[challenger] += challengerWei;
        if (requesterWei > 0) credits[requester] += requesterWei;
        creditsTotalWei += uint128(challengerWei + requesterWei);
        emit Slashed(lockId, owner, challenger, requester, amountWei, challengerWei, requesterWei, restWei);
        _emitChanged(owner);
    }

    /// @dev Announces what an account's stake and roles are now, and settles them.
    /// @return fits False when the stake is enough but the list has no place; only a deposit fails over that.
    function _changed(address account) private returns (bool fits) {
        _emitChanged(account);
        return _settle(account);
    }

    function _emitChanged(address account) private {
        Holding storage holding = _holdings[account];
        emit StakeChanged(account, uint256(holding.freeWei) + holding.lockedWei, holding.roles);
    }

    /// @dev Keeps the list of stakers and the tree of verifiers right.
    function _settle(address account) private returns (bool fits) {
        fits = _list(account);
        Holding storage holding = _holdings[account];
        uint256 stakeWei = holding.position > 0 ? uint256(holding.freeWei) + holding.lockedWei : 0;
        _record(account, stakeWei);
        uint256 weight = holding.roles & VERIFIER != 0 ? stakeWei / WEIGHT_WEI : 0;
        if (weight == holding.weight) return fits;
        if (holding.seat == 0) {
            _seats.push(account);
            holding.seat = uint32(_seats.length);
        }
        // The tree refuses what does not fit in 56 bits.
        _tree.set(holding.seat - 1, holding.weight, weight);
        holding.weight = uint64(weight);
    }

    function _list(address account) private returns (bool fits) {
        Holding storage holding = _holdings[account];
        uint256 stakeWei = uint256(holding.freeWei) + holding.lockedWei;
        (uint256 minStakeWei, uint256 maxStakers) = parameters.listing();
        if (stakeWei >= minStakeWei) {
            if (holding.position > 0) return true;
            if (_stakers.length >= maxStakers) return false;
            _stakers.push(account);
            holding.position = uint32(_stakers.length);
            emit StakerListed(account);
        } else if (holding.position > 0) {
            address last = _stakers[_stakers.length - 1];
            _stakers[holding.position - 1] = last;
            _holdings[last].position = holding.position;
            _stakers.pop();
            holding.position = 0;
            emit StakerUnlisted(account);
        }
        return true;
    }
}
