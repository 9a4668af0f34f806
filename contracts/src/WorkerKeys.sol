// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IStaking} from "./interfaces/IStaking.sol";

/// @title Worker keys: who acts with whose stake
abstract contract WorkerKeys is IStaking, EIP712 {
    bytes32 private constant WORKER_TYPE =
        keccak256("WorkerKey(address owner,address worker,uint256 nonce,uint64 deadline)");

    // Whose stake a worker key works with; kept for ever, so that a retired key never works for anybody again.
    mapping(address worker => address owner) private _owners;
    // The worker key in force; 0 while the owner works itself.
    mapping(address owner => address worker) private _workers;
    /// @notice Worker keys that an owner has named so far.
    mapping(address owner => uint256 nonce) public workerNonce;

    constructor() EIP712("OpenLedger", "1") {}

    /// @notice Names the key that works with an owner's stake from now on, in place of the one before. Both sign, so that the
    /// owner's key can stay offline and nobody binds a key that is not his; anybody may send it.
    function setWorker(
        address owner,
        address worker,
        uint64 deadline,
        bytes calldata ownerSignature,
        bytes calldata workerSignature
    ) external {
        require(block.timestamp <= deadline, StakingKeyExpired(deadline));
        bytes32 digest = workerDigest(owner, worker, workerNonce[owner]++, deadline);
        _signed(owner, digest, ownerSignature);
        _signed(worker, digest, workerSignature);
        // A key is named once, is nobody's owner, and has no stake that would be out of reach.
        require(
            worker != owner && _owners[worker] == address(0) && _owners[owner] == address(0)
                && workerNonce[worker] == 0 && !_hasStake(worker),
            StakingKeyTaken(owner, worker)
        );
        emit WorkerChanged(owner, _workers[owner], worker);
        _owners[worker] = owner;
        _workers[owner] = worker;
    }

    /// @notice Whose stake an account works with: its owner's for a worker key, present or retired, else its own.
    function ownerOf(address account) public view returns (address owner) {
        owner = _owners[account];
        if (owner == address(0)) owner = account;
    }

    /// @notice The account that acts with an owner's stake: its worker key, or itself.
    function workerOf(address owner) public view returns (address worker) {
        worker = _workers[owner];
        if (worker == address(0)) worker = owner;
    }

    /// @notice The EIP-712 digest that owner and worker sign.
    function workerDigest(address owner, address worker, uint256 nonce, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(WORKER_TYPE, owner, worker, nonce, deadline)));
    }

    /// @dev Whether an account holds stake of its own.
    function _hasStake(address account) internal view virtual returns (bool);

    /// @dev The owner for whom an account may act now.
    function _acting(address account) internal view returns (address owner) {
        owner = ownerOf(account);
        require(account == owner || account == _workers[owner], StakingKeyRetired(account));
    }

    function _signed(address expected, bytes32 digest, bytes calldata signature) private pure {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        require(signer == expected && signer != address(0), StakingKeySignerMismatch(expected, signer));
    }
}
