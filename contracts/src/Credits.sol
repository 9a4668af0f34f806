// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Pull payments
/// @notice Money owed to an account waits here until the account takes it; nobody else's transaction can fail over it.
abstract contract Credits {
    /// @notice What each account may take, in wei.
    mapping(address account => uint256 amountWei) public credits;
    /// @notice Sum of all credits, in wei.
    uint128 public creditsTotalWei;

    /// @dev Staking's Slashed says what a slash credits.
    event Credited(address indexed account, uint256 amountWei);
    event CreditsWithdrawn(address indexed account, uint256 amountWei);

    error CreditsNone(address account);
    error CreditsTransferFailed(address account, uint256 amountWei);

    /// @notice Sends the caller all its credits.
    function withdrawCredits() external returns (uint256 amountWei) {
        amountWei = credits[msg.sender];
        require(amountWei > 0, CreditsNone(msg.sender));
        credits[msg.sender] = 0;
        creditsTotalWei -= uint128(amountWei);
        emit CreditsWithdrawn(msg.sender, amountWei);
        _send(msg.sender, amountWei);
    }

    function _credit(address account, uint256 amountWei) internal {
        if (amountWei == 0) return;
        credits[account] += amountWei;
        creditsTotalWei += uint128(amountWei);
        emit Credited(account, amountWei);
    }

    function _send(address account, uint256 amountWei) internal {
        (bool sent,) = account.call{value: amountWei}("");
        require(sent, CreditsTransferFailed(account, amountWei));
    }
}
