// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IEpochDisputes} from "./interfaces/IEpochDisputes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IParameters} from "./interfaces/IParameters.sol";
import {IPaymentDisputes} from "./interfaces/IPaymentDisputes.sol";
import {IReferee} from "./interfaces/IReferee.sol";
import {IStakeHistory} from "./interfaces/IStakeHistory.sol";
import {CommittedEvidence} from "./libraries/CommittedEvidence.sol";
import {EpochTrees} from "./libraries/EpochTrees.sol";
import {ReceiptDivision} from "./libraries/ReceiptDivision.sol";

/// @title Disputes about an epoch's payments, each decided by one transaction
/// @notice An epoch commits to every payment that it makes: what each receipt gives to each account, to the stakers' pool and
/// to what its channel has paid for, and what each staker gets of the pool. Payments are sorted by key with running
/// sums, so that a few leaves show a payment that is wrong, missing, or backed by nothing, and a payout that moved by
/// something else. A receipt that anchorers leave out can be put on chain whole; epochs that open later must pay it.
contract PaymentDisputes is IPaymentDisputes {
    IParameters public immutable parameters;
    IEpochs public immutable epochs;
    IReferee public immutable referee;
    IStakeHistory public immutable staking;
    IModelRegistry public immutable models;
    IInferenceEscrow public immutable inferenceEscrow;

    /// @dev Who gets the model owner's part, and who what nobody else gets. Of an adapter that was registered after the
    /// receipt's date nobody can say whether the anchorer knew it: either may have the part.
    struct Owners {
        address model;
        address treasury;
        bool isLate;
    }

    /// @dev By receipt and presenter: nobody can put off what another one presented.
    mapping(bytes32 key => Presented) private _presented;

    constructor(
        IParameters parameters_,
        IEpochs epochs_,
        IReferee referee_,
        IStakeHistory staking_,
        IModelRegistry models_,
        IInferenceEscrow inferenceEscrow_
    ) {
        parameters = parameters_;
        epochs = epochs_;
        referee = referee_;
        staking = staking_;
        models = models_;
        inferenceEscrow = inferenceEscrow_;
    }

    // ---------------------------------------------------------------- order and sums

    /// @notice Rejects an epoch whose receipts do not stand in the order of their hashes, each once.
    function challengeList(ListEvidence calldata evidence) external {
        IEpochs.Epoch memory anchored = _judged(evidence.epoch);
        Listed calldata left = evidence.left;
        Listed calldata right = evidence.right;
        _checkListed(left, anchored.receiptsRoot, anchored.receiptCount);
        _checkListed(right, anchored.receiptsRoot, anchored.receiptCount);
        _need(right.index == left.index + 1 && left.receiptHash >= right.receiptHash, evidence.epoch);
        _reject(evidence.epoch, Fault.ListUnordered, address(0));
    }

    /// @notice Rejects an epoch whose payments are not in the order of key and source, or do not add up.
    function challengePaymentSums(PaymentSumEvidence calldata evidence) external {
        IEpochs.Epoch memory anchored = _judged(evidence.epoch);
        Payment[] calldata payments = evidence.payments;
        _need(payments.length == 1 || payments.length == 2, evidence.epoch);
        _checkPayments(payments, anchored);
        if (payments.length == 1) {
            _need(
                payments[0].index == 0 && payments[0].runningWei != payments[0].amountWei, evidence.epoch
            );
        } else {
            _need(payments[1].index == payments[0].index + 1, evidence.epoch);
            _need(!_follows(payments[0], payments[1]), evidence.epoch);
        }
        _reject(evidence.epoch, Fault.PaymentSums, address(0));
    }

    // ---------------------------------------------------------------- payouts

    /// @notice Rejects an epoch in which a key's cumulative amount grew by something else than its payments.
    function challengeMovement(MovementEvidence calldata evidence) external {
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory anchored = _judged(epoch);
        uint256 key = evidence.key;
        _need(key != EpochTrees.POOL, epoch);
        uint256 beforeWei = 0;
        // Of the first epoch there is no root before it.
        if (epoch > 1) beforeWei = _cumulativeAt(evidence.before, key, epochs.getEpoch(epoch - 1), epoch);
        uint256 presentWei = _cumulativeAt(evidence.present, key, anchored, epoch);
        uint256 paidWei = _sumOf(evidence.run, key, anchored, epoch);
        // A cumulative amount that fell is a fault of its own.
        _need(presentWei >= beforeWei && presentWei - beforeWei != paidWei, epoch);
        bool isWronged = EpochTrees.isAccount(key) && presentWei - beforeWei < paidWei;
        _reject(epoch, Fault.Movement, isWronged ? address(uint160(key)) : address(0));
    }

    /// @notice Rejects an epoch that says of more fees of a channel that they were paid than were collected by now.
    function challengeUncollected(UncollectedEvidence calldata evidence) external {
        IEpochs.Epoch memory anchored = _judged(evidence.epoch);
        IEpochDisputes.Payout calldata channel = evidence.channel;
        _checkPayout(channel, anchored);
        uint256 collectedWei = inferenceEscrow.getChannel(evidence.client, evidence.provider).feeWei;
        _need(
            channel.key == EpochTrees.channelKey(evidence.client, evidence.provider)
                && channel.cumulativeWei > collectedWei,
            evidence.epoch
        );
        _reject(evidence.epoch, Fault.Uncollected, address(0));
    }

    // ---------------------------------------------------------------- payments

    /// @notice Rejects an epoch that gives a key something else for a receipt than the receipt does, or lists a receipt that
    /// divides its fee by no rules of its time.
    function challengePayment(PaymentEvidence calldata evidence) external {
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory anchored = _judged(epoch);
        IReferee.DivisionEvidence calldata division = evidence.division;
        bytes32 receiptHash = _checkLeaves(division);
        require(
            EpochTrees.isListed(
                receiptHash, evidence.index, evidence.proof, anchored.receiptsRoot, anchored.receiptCount
            ),
            PaymentDisputesProofInvalid(anchored.receiptsRoot, evidence.index)
        );
        uint256 paidWei = _amountAt(evidence.place, evidence.key, receiptHash, anchored, epoch);
        IParameters.Fees[] memory right = parameters.feesAround(division.receipt.issuedAt);
        Owners memory owners = _ownersOf(division.receipt);
        for (uint256 i = 0; i < right.length; i++) {
            if (!ReceiptDivision.divides(division, right[i])) continue;
            _need(!_isDue(division, right[i], owners, evidence.key, paidWei), epoch);
        }
        _reject(epoch, Fault.Payment, address(0));
    }

    /// @notice Rejects an epoch that pays for a receipt which it does not list.
    function challengeUnbacked(UnbackedEvidence calldata evidence) external {
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory anchored = _judged(epoch);
        Payment calldata payment = evidence.payment;
        _checkPayment(payment, anchored);
        _checkList(evidence.place, anchored.receiptsRoot, anchored.receiptCount);
        _need(
            payment.source != 0
                && EpochTrees.isUnlisted(evidence.place, payment.source, anchored.receiptCount),
            epoch
        );
        _reject(epoch, Fault.Unbacked, address(0));
    }

    /// @notice Rejects an epoch that gives somebody another part of the stakers' pool than its share of all stake at the block
    /// in which the epoch opened, rounded down; where nobody had stake, all of it is the treasury's.
    function challengeStakerShare(StakerEvidence calldata evidence) external {
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory anchored = _judged(epoch);
        uint256 poolWei = _sumOf(evidence.pool, EpochTrees.POOL, anchored, epoch);
        uint256 paidWei = _amountAt(evidence.place, evidence.key, 0, anchored, epoch);
        uint256 dueWei = _shareOf(evidence.key, poolWei, anchored.openedBlock);
        _need(paidWei != dueWei, epoch);
        _reject(epoch, Fault.StakerShare, paidWei < dueWei ? address(uint160(evidence.key)) : address(0));
    }

    /// @notice Rejects an epoch that lists a receipt again which an earlier one listed.
    function challengeRepeated(RepeatedEvidence calldata evidence) external {
        IEpochs.Epoch memory anchored = _judged(evidence.epoch);
        _need(
            evidence.earlierEpoch < evidence.epoch
                && evidence.present.receiptHash == evidence.earlier.receiptHash,
            evidence.epoch
        );
        (bytes32 earlierRoot, uint32 earlierCount) = epochs.receiptsOf(evidence.earlierEpoch);
        _checkListed(evidence.present, anchored.receiptsRoot, anchored.receiptCount);
        _checkListed(evidence.earlier, earlierRoot, earlierCount);
        _reject(evidence.epoch, Fault.Repeated, address(0));
    }

    // ---------------------------------------------------------------- receipts that are left out

    /// @notice Puts a receipt on chain with all that is needed to pay it. Epochs that open later must, as far as its channel had
    /// been collected by now. Who presents it again starts anew, for itself only.
    function present(IReferee.DivisionEvidence calldata division) external returns (bytes32 receiptHash) {
        receiptHash = checkReceipt(division);
        IReferee.Receipt calldata receipt = division.receipt;
        _presented[_key(receiptHash, msg.sender)] = Presented({
            collectedWei: inferenceEscrow.getChannel(receipt.client, receipt.provider).feeWei,
            blockNumber: uint48(block.number),
            finalisedCount: epochs.finalisedCount()
        });
        emit ReceiptPresented(receiptHash, msg.sender, division);
    }

    /// @notice Takes back a presented receipt that a final epoch has paid; anybody may send it.
    function refute(
        bytes32 receiptHash,
        address presenter,
        uint64 epoch,
        uint256 index,
        bytes32[] calldata proof
    ) external {
        bytes32 key = _key(receiptHash, presenter);
        require(_presented[key].blockNumber > 0, PaymentDisputesNotPresented(receiptHash, presenter));
        require(epoch <= epochs.finalisedCount(), PaymentDisputesNotFinal(epoch));
        (bytes32 root, uint32 count) = epochs.receiptsOf(epoch);
        require(
            EpochTrees.isListed(receiptHash, index, proof, root, count),
            PaymentDisputesProofInvalid(root, index)
        );
        delete _presented[key];
        emit PresentationRefuted(receiptHash, presenter, epoch);
    }

    /// @notice Rejects an epoch that opened after a collected receipt was presented, and does not pay it.
    function challengeOmitted(OmittedEvidence calldata evidence) external {
        uint64 epoch = evidence.epoch;
        IEpochs.Epoch memory anchored = _judged(epoch);
        IReferee.Receipt calldata receipt = evidence.receipt;
        bytes32 receiptHash = referee.receiptHashOf(receipt);
        Presented memory shown = _presented[_key(receiptHash, evidence.presenter)];
        require(shown.blockNumber > 0, PaymentDisputesNotPresented(receiptHash, evidence.presenter));
        _need(anchored.openedBlock > shown.blockNumber, epoch);
        _checkAbsent(evidence, receiptHash, shown.finalisedCount);
        uint256 key = EpochTrees.channelKey(receipt.client, receipt.provider);
        uint256 coveredWei = _cumulativeAt(evidence.channel, key, anchored, epoch);
        _need(coveredWei + receipt.feeWei <= shown.collectedWei, epoch);
        // What came in since it was anchored is in the next epoch's pot, and was not there to pay it.
        uint256 potWei = epochs.potTotalWei() - epochs.potOf(epoch + 1);
        _need(anchored.totalWei + _potPartOf(receipt) <= potWei, epoch);
        _reject(epoch, Fault.Omitted, address(0));
    }

    // ---------------------------------------------------------------- views

    /// @notice The hash of a receipt that an epoch may list: signed by its provider, divided by rules of its time, not of the
    /// future, and with numbers that fit.
    function checkReceipt(IReferee.DivisionEvidence calldata division)
        public
        view
        returns (bytes32 receiptHash)
    {
        receiptHash = _checkLeaves(division);
        IReferee.Receipt calldata receipt = division.receipt;
        (address signer,,) = ECDSA.tryRecoverCalldata(referee.receiptDigest(receipt), division.signature);
        require(
            signer == receipt.provider && signer != address(0),
            PaymentDisputesReceiptUnsigned(receiptHash, receipt.provider)
        );
        IParameters.Fees[] memory right = parameters.feesAround(receipt.issuedAt);
        bool divides = false;
        for (uint256 i = 0; i < right.length && !divides; i++) {
            divides = ReceiptDivision.divides(division, right[i]);
        }
        require(divides && receipt.feeWei > 0, PaymentDisputesReceiptUndivided(receiptHash));
        require(ReceiptDivision.isListable(division), PaymentDisputesReceiptUnfit(receiptHash));
    }

    /// @notice A presentation; all zeros while there is none.
    function getPresented(bytes32 receiptHash, address presenter) external view returns (Presented memory) {
        return _presented[_key(receiptHash, presenter)];
    }

    /// @notice The key under which a channel's fees stand among payouts and payments.
    function channelKey(address client, address provider) external pure returns (uint256) {
        return EpochTrees.channelKey(client, provider);
    }

    // ---------------------------------------------------------------- inside: what is due

    /// @dev Whether an amount is what a receipt gives to a key under rules that it divides by.
    function _isDue(
        IReferee.DivisionEvidence calldata division,
        IParameters.Fees memory fees,
        Owners memory owners,
        uint256 key,
        uint256 paidWei
    ) private pure returns (bool) {
        IReferee.Receipt calldata receipt = division.receipt;
        uint256 feeWei = receipt.feeWei;
        if (key == EpochTrees.POOL) return paidWei == ReceiptDivision.stakersOf(feeWei, fees);
        if (key == EpochTrees.channelKey(receipt.client, receipt.provider)) return paidWei == feeWei;
        if (!EpochTrees.isAccount(key)) return paidWei == 0;
        address account = address(uint160(key));
        uint256 dueWei = 0;
        for (uint256 i = 0; i < division.scores.length; i++) {
            if (division.scores[i].contributor == account) dueWei += division.scores[i].amountWei;
        }
        for (uint256 i = 0; i < division.spans.length; i++) {
            if (division.spans[i].contributor == account) dueWei += division.spans[i].amountWei;
        }
        (, uint256 learned, uint256 memorised) = ReceiptDivision.weightsOf(division);
        if (account == owners.treasury && learned + memorised == 0) dueWei += ReceiptDivision.dataOf(feeWei, fees);
        uint256 ownersWei = ReceiptDivision.modelOwnerOf(feeWei, fees);
        bool isEither = owners.isLate && (account == owners.model || account == owners.treasury);
        if (isEither) return paidWei == dueWei || paidWei == dueWei + ownersWei;
        if (account == owners.model) dueWei += ownersWei;
        return paidWei == dueWei;
    }

    function _ownersOf(IReferee.Receipt calldata receipt) private view returns (Owners memory owners) {
        uint256 since;
        owners.treasury = inferenceEscrow.treasury();
        (owners.model, since) = models.ownerOf(receipt.adapterId);
        owners.isLate = since > receipt.issuedAt;
        if (owners.model == address(0)) owners.model = owners.treasury;
    }

    function _shareOf(uint256 key, uint256 poolWei, uint256 atBlock) private view returns (uint256) {
        if (!EpochTrees.isAccount(key)) return 0;
        address account = address(uint160(key));
        (uint256 stakeWei, uint256 totalWei) = staking.stakeAt(account, atBlock);
        if (totalWei == 0) return account == inferenceEscrow.treasury() ? poolWei : 0;
        return poolWei * stakeWei / totalWei;
    }

    /// @dev The most that a receipt can take out of the pots.
    function _potPartOf(IReferee.Receipt calldata receipt) private view returns (uint256 partWei) {
        IParameters.Fees[] memory right = parameters.feesAround(receipt.issuedAt);
        for (uint256 i = 0; i < right.length; i++) {
            uint256 potWei = ReceiptDivision.potOf(receipt.feeWei, right[i]);
            if (potWei > partWei) partWei = potWei;
        }
    }

    // ---------------------------------------------------------------- inside: what is shown

    function _judged(uint64 epoch) private view returns (IEpochs.Epoch memory anchored) {
        (bytes32 commitment, uint256 fromBlock) = CommittedEvidence.ofCall(referee, parameters);
        require(fromBlock > 0, PaymentDisputesEvidenceNotCommitted(commitment));
        require(block.number >= fromBlock, PaymentDisputesEvidenceTooEarly(commitment, fromBlock));
        require(epoch > 0 && epoch == epochs.epochCount(), PaymentDisputesNotInWindow(epoch));
        anchored = epochs.getEpoch(epoch);
        require(!anchored.finalised, PaymentDisputesNotInWindow(epoch));
    }

    function _need(bool isFault, uint64 epoch) private pure {
        require(isFault, PaymentDisputesNoFault(epoch));
    }

    function _follows(Payment calldata left, Payment calldata right) private pure returns (bool) {
        bool inOrder = left.key < right.key || (left.key == right.key && left.source < right.source);
        // A difference cannot overflow where the sum, which a liar chose, could.
        return inOrder && right.runningWei >= left.runningWei
            && right.runningWei - left.runningWei == right.amountWei;
    }

    function _checkLeaves(IReferee.DivisionEvidence calldata division)
        private
        view
        returns (bytes32 receiptHash)
    {
        IReferee.Receipt calldata receipt = division.receipt;
        receiptHash = referee.receiptHashOf(receipt);
        require(
            ReceiptDivision.rootOf(division.scores) == receipt.scoreRoot
                && ReceiptDivision.rootOf(division.spans) == receipt.spanRoot,
            PaymentDisputesLeavesMismatch(receiptHash)
        );
    }

    function _checkAbsent(OmittedEvidence calldata evidence, bytes32 receiptHash, uint64 finalisedCount)
        private
        view
    {
        uint64 epoch = finalisedCount + 1;
        _need(evidence.places.length == evidence.epoch - finalisedCount, evidence.epoch);
        for (uint256 i = 0; i < evidence.places.length; i++) {
            (bytes32 root, uint32 count) = epochs.receiptsOf(epoch++);
            _checkList(evidence.places[i], root, count);
            _need(EpochTrees.isUnlisted(evidence.places[i], receiptHash, count), evidence.epoch);
        }
    }

    function _checkListed(Listed calldata leaf, bytes32 root, uint256 count) private pure {
        require(
            EpochTrees.isListed(leaf.receiptHash, leaf.index, leaf.proof, root, count),
            PaymentDisputesProofInvalid(root, leaf.index)
        );
    }

    function _checkList(Listed[] calldata leaves, bytes32 root, uint256 count) private pure {
        for (uint256 i = 0; i < leaves.length; i++) _checkListed(leaves[i], root, count);
    }

    function _checkPayout(IEpochDisputes.Payout calldata leaf, IEpochs.Epoch memory anchored) private pure {
        require(
            EpochTrees.isUnder(leaf, anchored.payoutRoot, anchored.leafCount),
            PaymentDisputesProofInvalid(anchored.payoutRoot, leaf.index)
        );
    }

    function _checkPayment(Payment calldata leaf, IEpochs.Epoch memory anchored) private pure {
        require(
            EpochTrees.isUnder(leaf, anchored.paymentsRoot, anchored.paymentCount),
            PaymentDisputesProofInvalid(anchored.paymentsRoot, leaf.index)
        );
    }

    function _checkPayments(Payment[] calldata leaves, IEpochs.Epoch memory anchored) private pure {
        for (uint256 i = 0; i < leaves.length; i++) _checkPayment(leaves[i], anchored);
    }

    function _cumulativeAt(
        IEpochDisputes.Payout[] calldata place,
        uint256 key,
        IEpochs.Epoch memory anchored,
        uint64 epoch
    ) private pure returns (uint256 amountWei) {
        for (uint256 i = 0; i < place.length; i++) _checkPayout(place[i], anchored);
        bool shown;
        (shown, amountWei) = EpochTrees.cumulativeAt(place, key, anchored.leafCount);
        _need(shown, epoch);
    }

    function _amountAt(
        Payment[] calldata place,
        uint256 key,
        bytes32 source,
        IEpochs.Epoch memory anchored,
        uint64 epoch
    ) private pure returns (uint256 amountWei) {
        _checkPayments(place, anchored);
        bool shown;
        (shown, amountWei) = EpochTrees.amountAt(place, key, source, anchored.paymentCount);
        _need(shown, epoch);
    }

    function _sumOf(Run calldata run, uint256 key, IEpochs.Epoch memory anchored, uint64 epoch)
        private
        pure
        returns (uint256 sumWei)
    {
        _checkPayments(run.before, anchored);
        _checkPayments(run.last, anchored);
        _checkPayments(run.behind, anchored);
        bool shown;
        (shown, sumWei) = EpochTrees.sumOf(run, key, anchored.paymentCount);
        _need(shown, epoch);
    }

    function _reject(uint64 epoch, Fault fault, address wronged) private {
        uint256 slashedWei = epochs.reject(epoch, msg.sender, wronged);
        emit PaymentDisputed(epoch, fault, msg.sender, slashedWei);
    }

    function _key(bytes32 receiptHash, address presenter) private pure returns (bytes32) {
        return keccak256(abi.encode(receiptHash, presenter));
    }
}
