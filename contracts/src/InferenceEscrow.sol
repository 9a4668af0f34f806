// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Credits} from "./Credits.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IParameters} from "./interfaces/IParameters.sol";

/// @title Deposits of clients with providers, collected by vouchers
/// @notice A voucher carries cumulative amounts, so an old one pays nothing and a lost one is replaced by the next. Whoever
/// sends it, the money goes to the provider, the treasury and the epoch's pot.
contract InferenceEscrow is IInferenceEscrow, Credits, EIP712 {
    uint256 private constant ONE = 1_000_000;
    bytes32 private constant VOUCHER_TYPE = keccak256(
        "Voucher(address client,address provider,uint256 cumulativeComputeWei,uint256 cumulativeFeeWei)"
    );

    IParameters public immutable parameters;
    IEpochs public immutable epochs;
    address public immutable treasury;

    mapping(address client => mapping(address provider => Channel)) private _channels;
    /// @notice Sum of all balances and thawing amounts, in wei.
    uint256 public depositedTotalWei;

    constructor(IParameters parameters_, IEpochs epochs_, address treasury_) EIP712("OpenLedger", "1") {
        parameters = parameters_;
        epochs = epochs_;
        treasury = treasury_;
    }

    // ---------------------------------------------------------------- client

    /// @notice Adds the value sent to the caller's balance with a provider.
    function deposit(address provider) external payable {
        require(msg.value > 0, InferenceEscrowAmountZero());
        _channels[msg.sender][provider].balanceWei += uint128(msg.value);
        depositedTotalWei += msg.value;
        emit ChannelDeposited(msg.sender, provider, msg.value);
    }

    /// @notice Starts to thaw part of a balance; vouchers can draw on it until it is withdrawn.
    function requestThaw(address provider, uint256 amountWei) external {
        Channel storage channel = _channels[msg.sender][provider];
        require(amountWei > 0, InferenceEscrowAmountZero());
        require(
            amountWei <= channel.balanceWei,
            InferenceEscrowBalanceShort(msg.sender, provider, amountWei, channel.balanceWei)
        );
        channel.balanceWei -= uint128(amountWei);
        channel.thawingWei += uint128(amountWei);
        channel.thawReadyAt = uint64(block.timestamp + parameters.timing().thawSeconds);
        emit ChannelThawRequested(msg.sender, provider, amountWei, channel.thawReadyAt);
    }

    /// @notice Pays the caller what has thawed and was not drawn on meanwhile.
    function withdraw(address provider) external returns (uint256 amountWei) {
        Channel storage channel = _channels[msg.sender][provider];
        amountWei = channel.thawingWei;
        require(amountWei > 0, InferenceEscrowNothingThawing(msg.sender, provider));
        require(
            block.timestamp >= channel.thawReadyAt,
            InferenceEscrowStillThawing(msg.sender, provider, channel.thawReadyAt)
        );
        channel.thawingWei = 0;
        channel.thawReadyAt = 0;
        depositedTotalWei -= amountWei;
        emit ChannelWithdrawn(msg.sender, provider, amountWei);
        _send(msg.sender, amountWei);
    }

    // ---------------------------------------------------------------- provider

    /// @notice Pays what each voucher adds to what was paid before; all of them or none.
    function collect(Voucher[] calldata vouchers, bytes[] calldata signatures) external {
        require(
            vouchers.length == signatures.length, InferenceEscrowLengthMismatch(vouchers.length, signatures.length)
        );
        require(vouchers.length > 0, InferenceEscrowBatchEmpty());
        uint256 platformPpm = parameters.fees().platformPpm;
        uint256 treasuryWei = 0;
        uint256 potTotalWei = 0;
        for (uint256 i = 0; i < vouchers.length; i++) {
            (uint256 platformWei, uint256 potWei) = _collect(vouchers[i], signatures[i], platformPpm);
            treasuryWei += platformWei;
            potTotalWei += potWei;
        }
        _credit(treasury, treasuryWei);
        if (potTotalWei == 0) return;
        uint64 epoch = epochs.fund{value: potTotalWei}();
        emit PotFunded(epoch, potTotalWei);
    }

    // ---------------------------------------------------------------- views

    function getChannel(address client, address provider) external view returns (Channel memory) {
        return _channels[client][provider];
    }

    /// @notice The EIP-712 digest that the client signs.
    function voucherDigest(Voucher calldata voucher) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPE, voucher)));
    }

    /// @notice Sum of all buckets, in wei.
    function accountedWei() external view returns (uint256) {
        return depositedTotalWei + creditsTotalWei;
    }

    // ---------------------------------------------------------------- inside

    function _collect(Voucher calldata voucher, bytes calldata signature, uint256 platformPpm)
        private
        returns (uint256 platformWei, uint256 potWei)
    {
        address client = voucher.client;
        (address signer,,) = ECDSA.tryRecoverCalldata(voucherDigest(voucher), signature);
        require(signer == client && signer != address(0), InferenceEscrowSignerMismatch(client, signer));
        Channel storage channel = _channels[client][voucher.provider];
        (uint256 computeWei, uint256 feeWei) = _increase(channel, voucher);
        _draw(channel, voucher, computeWei + feeWei);
        channel.computeWei += uint128(computeWei);
        channel.feeWei += uint128(feeWei);
        _credit(voucher.provider, computeWei);
        platformWei = feeWei * platformPpm / ONE;
        potWei = feeWei - platformWei;
        emit VoucherCollected(client, voucher.provider, computeWei, platformWei, potWei);
    }

    function _increase(Channel storage channel, Voucher calldata voucher)
        private
        view
        returns (uint256 computeWei, uint256 feeWei)
    {
        // Fees in whole millions of wei make every division by PPM exact, per receipt and in any sum of receipts.
        require(voucher.cumulativeFeeWei % ONE == 0, InferenceEscrowFeeUneven(voucher.cumulativeFeeWei));
        bool falls =
            voucher.cumulativeComputeWei < channel.computeWei || voucher.cumulativeFeeWei < channel.feeWei;
        require(!falls, InferenceEscrowVoucherStale(voucher.client, voucher.provider));
        computeWei = voucher.cumulativeComputeWei - channel.computeWei;
        feeWei = voucher.cumulativeFeeWei - channel.feeWei;
        require(computeWei > 0 || feeWei > 0, InferenceEscrowVoucherStale(voucher.client, voucher.provider));
    }

    /// @dev Takes from the balance first, then from what is thawing.
    function _draw(Channel storage channel, Voucher calldata voucher, uint256 amountWei) private {
        uint256 balanceWei = channel.balanceWei;
        uint256 thawingWei = channel.thawingWei;
        require(
            amountWei <= balanceWei + thawingWei,
            InferenceEscrowBalanceShort(voucher.client, voucher.provider, amountWei, balanceWei + thawingWei)
        );
        uint256 fromBalanceWei = amountWei < balanceWei ? amountWei : balanceWei;
        channel.balanceWei = uint128(balanceWei - fromBalanceWei);
        if (amountWei > fromBalanceWei) {
            channel.thawingWei = uint128(thawingWei - (amountWei - fromBalanceWei));
        }
        depositedTotalWei -= amountWei;
    }
}
