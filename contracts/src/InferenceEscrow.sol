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
/// sends it, the money goes to the provider, the treasury and the epoch's pot. A fee is divided by the platform's part that
/// held when the channel was opened or last collected: a change divides nothing that was served before it was known.
contract InferenceEscrow is IInferenceEscrow, Credits, EIP712 {
    uint256 private constant ONE = 1_000_000;
    bytes32 private constant VOUCHER_TYPE = keccak256(
        "Voucher(address client,address provider,uint256 cumulativeComputeWei,uint256 cumulativeFeeWei)"
    );

    IParameters public immutable parameters;
    IEpochs public immutable epochs;
    address public immutable treasury;

    /// @dev What a collection reads and writes, in one slot: up to 309 million OPEN, and 18 million of fees, which are in
    /// millions of wei. `rules` counts from 1.
    struct Open {
        uint88 balanceWei;
        uint88 computeWei;
        uint64 feeMillions;
        uint16 rules;
    }

    struct Thawing {
        uint128 amountWei;
        uint64 readyAt;
    }

    mapping(address client => mapping(address provider => Open)) private _open;
    mapping(address client => mapping(address provider => Thawing)) private _thawing;
    /// @dev Every platform's part that a channel was opened under; a channel keeps its place, which takes two bytes.
    uint32[] private _platformPpms;
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
        Open storage open = _open[msg.sender][provider];
        if (open.balanceWei == 0) (open.rules,) = _rulesNow();
        open.balanceWei = _fits(open.balanceWei + msg.value);
        depositedTotalWei += msg.value;
        emit ChannelDeposited(msg.sender, provider, msg.value);
    }

    /// @notice Starts to thaw part of a balance; vouchers can draw on it until it is withdrawn.
    function requestThaw(address provider, uint256 amountWei) external {
        Open storage open = _open[msg.sender][provider];
        Thawing storage thawing = _thawing[msg.sender][provider];
        require(amountWei > 0, InferenceEscrowAmountZero());
        require(
            amountWei <= open.balanceWei,
            InferenceEscrowBalanceShort(msg.sender, provider, amountWei, open.balanceWei)
        );
        open.balanceWei -= uint88(amountWei);
        thawing.amountWei += uint128(amountWei);
        thawing.readyAt = uint64(block.timestamp + parameters.timing().thawSeconds);
        emit ChannelThawRequested(msg.sender, provider, amountWei, thawing.readyAt);
    }

    /// @notice Pays the caller what has thawed and was not drawn on meanwhile.
    function withdraw(address provider) external returns (uint256 amountWei) {
        Thawing storage thawing = _thawing[msg.sender][provider];
        amountWei = thawing.amountWei;
        require(amountWei > 0, InferenceEscrowNothingThawing(msg.sender, provider));
        require(
            block.timestamp >= thawing.readyAt,
            InferenceEscrowStillThawing(msg.sender, provider, thawing.readyAt)
        );
        delete _thawing[msg.sender][provider];
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
        (uint16 rules, uint256 platformPpm) = _rulesNow();
        uint256 treasuryWei = 0;
        uint256 potTotalWei = 0;
        uint256 owedWei = 0;
        uint256 computeTotalWei = 0;
        for (uint256 i = 0; i < vouchers.length; i++) {
            (uint256 computeWei, uint256 platformWei, uint256 potWei) =
                _collect(vouchers[i], signatures[i], rules, platformPpm);
            computeTotalWei += computeWei;
            treasuryWei += platformWei;
            potTotalWei += potWei;
            owedWei += computeWei;
            // One credit for all vouchers of a provider that stand together.
            if (i + 1 < vouchers.length && vouchers[i + 1].provider == vouchers[i].provider) continue;
            _credit(vouchers[i].provider, owedWei);
            owedWei = 0;
        }
        depositedTotalWei -= computeTotalWei + treasuryWei + potTotalWei;
        _credit(treasury, treasuryWei);
        if (potTotalWei == 0) return;
        uint64 epoch = epochs.fund{value: potTotalWei}();
        emit PotFunded(epoch, potTotalWei);
    }

    // ---------------------------------------------------------------- views

    function getChannel(address client, address provider) external view returns (Channel memory) {
        Open storage open = _open[client][provider];
        Thawing storage thawing = _thawing[client][provider];
        return Channel({
            balanceWei: open.balanceWei,
            thawingWei: thawing.amountWei,
            thawReadyAt: thawing.readyAt,
            computeWei: open.computeWei,
            feeWei: uint128(open.feeMillions * ONE),
            platformPpm: open.rules == 0 ? parameters.fees().platformPpm : _platformPpms[open.rules - 1]
        });
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

    /// @dev The rules of now and their place; written down when they are new.
    function _rulesNow() private returns (uint16 rules, uint32 platformPpm) {
        platformPpm = parameters.fees().platformPpm;
        uint256 count = _platformPpms.length;
        if (count == 0 || _platformPpms[count - 1] != platformPpm) {
            _platformPpms.push(platformPpm);
            count++;
        }
        // 65,535 changes of one number by a vote take longer than anything here lasts.
        rules = uint16(count);
    }

    /// @param rules The place of the rules of now, and `platformPpm` what they say.
    function _collect(Voucher calldata voucher, bytes calldata signature, uint16 rules, uint256 platformPpm)
        private
        returns (uint256 computeWei, uint256 platformWei, uint256 potWei)
    {
        address client = voucher.client;
        (address signer,,) = ECDSA.tryRecoverCalldata(voucherDigest(voucher), signature);
        require(signer == client && signer != address(0), InferenceEscrowSignerMismatch(client, signer));
        Open memory open = _open[client][voucher.provider];
        uint256 feeWei;
        (computeWei, feeWei) = _increase(open, voucher);
        open.balanceWei = uint88(open.balanceWei - _draw(open.balanceWei, voucher, computeWei + feeWei));
        open.computeWei = _fits(voucher.cumulativeComputeWei);
        uint256 feeMillions = voucher.cumulativeFeeWei / ONE;
        require(feeMillions <= type(uint64).max, InferenceEscrowAmountTooLarge(voucher.cumulativeFeeWei));
        open.feeMillions = uint64(feeMillions);
        if (open.rules != rules) {
            platformPpm = _platformPpms[open.rules - 1];
            open.rules = rules;
        }
        _open[client][voucher.provider] = open;
        platformWei = feeWei * platformPpm / ONE;
        potWei = feeWei - platformWei;
        emit VoucherCollected(client, voucher.provider, computeWei, platformWei, potWei);
    }

    function _increase(Open memory open, Voucher calldata voucher)
        private
        pure
        returns (uint256 computeWei, uint256 feeWei)
    {
        // Fees in whole millions of wei make every division by PPM exact, per receipt and in any sum of receipts.
        require(voucher.cumulativeFeeWei % ONE == 0, InferenceEscrowFeeUneven(voucher.cumulativeFeeWei));
        uint256 paidFeeWei = open.feeMillions * ONE;
        bool falls = voucher.cumulativeComputeWei < open.computeWei || voucher.cumulativeFeeWei < paidFeeWei;
        require(!falls, InferenceEscrowVoucherStale(voucher.client, voucher.provider));
        computeWei = voucher.cumulativeComputeWei - open.computeWei;
        feeWei = voucher.cumulativeFeeWei - paidFeeWei;
        require(computeWei > 0 || feeWei > 0, InferenceEscrowVoucherStale(voucher.client, voucher.provider));
    }

    /// @dev Takes from the balance first, then from what is thawing.
    /// @return fromBalanceWei What is to come off the balance.
    function _draw(uint256 balanceWei, Voucher calldata voucher, uint256 amountWei)
        private
        returns (uint256 fromBalanceWei)
    {
        if (amountWei <= balanceWei) return amountWei;
        Thawing storage thawing = _thawing[voucher.client][voucher.provider];
        uint256 haveWei = balanceWei + thawing.amountWei;
        require(
            amountWei <= haveWei,
            InferenceEscrowBalanceShort(voucher.client, voucher.provider, amountWei, haveWei)
        );
        thawing.amountWei -= uint128(amountWei - balanceWei);
        return balanceWei;
    }

    function _fits(uint256 amountWei) private pure returns (uint88) {
        require(amountWei <= type(uint88).max, InferenceEscrowAmountTooLarge(amountWei));
        return uint88(amountWei);
    }
}
