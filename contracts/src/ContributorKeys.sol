// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";

/// @title Contributors' keys: who a contributor is after it has changed its key
abstract contract ContributorKeys is IDatanetRegistry, EIP712 {
    bytes32 private constant KEY_TYPE =
        keccak256("ContributorKey(address from,address to,uint256 nonce,uint64 deadline)");

    // The first key of whoever a later key stands for; kept for ever, so that a key never stands for anybody else.
    mapping(address account => address first) private _firsts;
    // The key in force; 0 while it is the first.
    mapping(address first => address current) private _currents;
    // Changes of key so far.
    mapping(address first => uint256 nonce) private _nonces;

    constructor() EIP712("OpenLedger", "1") {}

    /// @notice Puts a contributor's new key in the place of its present one. Both sign, so that nobody takes another's name
    /// and nobody is given one; anybody may send it. Contributions keep the key that they came under.
    function rotateContributor(
        address from,
        address to,
        uint64 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature
    ) external {
        require(block.timestamp <= deadline, DatanetRegistryKeyExpired(deadline));
        _checkCurrent(from);
        address first = _firstOf(from);
        bytes32 digest = rotationDigest(from, to, _nonces[first], deadline);
        _checkSigned(from, digest, fromSignature);
        _checkSigned(to, digest, toSignature);
        // A new key stands for nobody yet, and is not a first one that was given up.
        require(to != from && _firsts[to] == address(0) && _nonces[to] == 0, DatanetRegistryKeyTaken(to));
        _nonces[first]++;
        _firsts[to] = first;
        _currents[first] = to;
        emit ContributorRotated(first, from, to);
    }

    /// @notice The account that acts now for the contributor who had, or has, this account.
    function contributorOf(address account) public view returns (address current) {
        address first = _firstOf(account);
        current = _currents[first];
        if (current == address(0)) current = first;
    }

    /// @notice The same for several accounts, in their order.
    function contributorsOf(address[] calldata accounts) external view returns (address[] memory current) {
        current = new address[](accounts.length);
        for (uint256 i = 0; i < accounts.length; i++) current[i] = contributorOf(accounts[i]);
    }

    /// @notice How often the contributor who had, or has, this account changed its key.
    function rotationNonce(address account) external view returns (uint256) {
        return _nonces[_firstOf(account)];
    }

    /// @notice The EIP-712 digest that both keys sign.
    function rotationDigest(address from, address to, uint256 nonce, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(KEY_TYPE, from, to, nonce, deadline)));
    }

    function _checkCurrent(address account) internal view {
        require(contributorOf(account) == account, DatanetRegistryKeyRetired(account));
    }

    function _checkSigned(address expected, bytes32 digest, bytes calldata signature) internal pure {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        require(
            signer == expected && signer != address(0), DatanetRegistrySignerMismatch(expected, signer)
        );
    }

    function _firstOf(address account) private view returns (address first) {
        first = _firsts[account];
        if (first == address(0)) first = account;
    }
}
