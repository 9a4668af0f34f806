// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// @title gOPEN: OPEN in the form that votes, one for one
/// @notice The native token has no history, so nobody could say who held how much when a proposal was made; the wrapped
/// one has. Wrapping and unwrapping are free and always open; only delegated gOPEN votes. OPEN that is sent here
/// by force (a block reward, a destroyed contract) belongs to nobody and is never counted.
contract GOpen is ERC20, ERC20Permit, ERC20Votes {
    event Wrapped(address indexed sender, address indexed account, uint256 amountWei);
    event Unwrapped(address indexed account, address indexed recipient, uint256 amountWei);

    error GOpenAmountZero();
    error GOpenTransferFailed(address recipient, uint256 amountWei);

    constructor() ERC20("Governance OPEN", "gOPEN") ERC20Permit("Governance OPEN") {}

    /// @notice Wraps the value sent, for the caller.
    receive() external payable {
        _wrap(msg.sender);
    }

    /// @notice Wraps the value sent, for the caller.
    function wrap() external payable {
        _wrap(msg.sender);
    }

    /// @notice Wraps the value sent, for `account`.
    function wrapFor(address account) external payable {
        _wrap(account);
    }

    /// @notice Destroys the caller's gOPEN and pays the same amount of OPEN to `recipient`.
    function unwrap(uint256 amountWei, address recipient) external {
        require(amountWei > 0, GOpenAmountZero());
        _burn(msg.sender, amountWei);
        emit Unwrapped(msg.sender, recipient, amountWei);
        (bool sent,) = recipient.call{value: amountWei}("");
        require(sent, GOpenTransferFailed(recipient, amountWei));
    }

    /// @notice What the contract owes, in wei: every gOPEN that exists.
    function accountedWei() external view returns (uint256) {
        return totalSupply();
    }

    /// @notice Votes are counted by time, because an L2's blocks have no fixed pace.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _wrap(address account) private {
        require(msg.value > 0, GOpenAmountZero());
        _mint(account, msg.value);
        emit Wrapped(msg.sender, account, msg.value);
    }

    function _update(address from, address to, uint256 amountWei) internal override(ERC20, ERC20Votes) {
        super._update(from, to, amountWei);
    }
}
