// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Deposits of clients with providers, collected by vouchers
interface IInferenceEscrow {
    /// @param balanceWei What vouchers may still draw on, besides what is thawing.
    /// @param computeWei Cumulative compute paid so far; `feeWei` likewise.
    /// @param platformPpm The platform's part of what is collected next: of the rules under which the channel was opened or
    /// last collected.
    struct Channel {
        uint128 balanceWei;
        uint128 thawingWei;
        uint64 thawReadyAt;
        uint128 computeWei;
        uint128 feeWei;
        uint32 platformPpm;
    }

    struct Voucher {
        address client;
        address provider;
        uint256 cumulativeComputeWei;
        uint256 cumulativeFeeWei;
    }

    event ChannelDeposited(address indexed client, address indexed provider, uint256 amountWei);
    event ChannelThawRequested(address indexed client, address indexed provider, uint256 amountWei, uint64 readyAt);
    event ChannelWithdrawn(address indexed client, address indexed provider, uint256 amountWei);
    event VoucherCollected(
        address indexed client, address indexed provider, uint256 computeWei, uint256 platformWei, uint256 potWei
    );
    event PotFunded(uint64 indexed epoch, uint256 potWei);

    error InferenceEscrowAmountZero();
    error InferenceEscrowAmountTooLarge(uint256 amountWei);
    error InferenceEscrowBalanceShort(address client, address provider, uint256 neededWei, uint256 balanceWei);
    error InferenceEscrowNothingThawing(address client, address provider);
    error InferenceEscrowStillThawing(address client, address provider, uint256 readyAt);
    error InferenceEscrowLengthMismatch(uint256 vouchers, uint256 signatures);
    error InferenceEscrowBatchEmpty();
    error InferenceEscrowVoucherStale(address client, address provider);
    error InferenceEscrowFeeUneven(uint256 cumulativeFeeWei);
    error InferenceEscrowSignerMismatch(address expected, address recovered);

    function deposit(address provider) external payable;
    function requestThaw(address provider, uint256 amountWei) external;
    function withdraw(address provider) external returns (uint256 amountWei);
    function collect(Voucher[] calldata vouchers, bytes[] calldata signatures) external;
    function getChannel(address client, address provider) external view returns (Channel memory);
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32);
    function treasury() external view returns (address);
    function accountedWei() external view returns (uint256);
}
