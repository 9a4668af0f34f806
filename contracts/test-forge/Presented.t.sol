// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochDisputes} from "../src/interfaces/IEpochDisputes.sol";
import {IPaymentDisputes} from "../src/interfaces/IPaymentDisputes.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {Books} from "./Books.sol";
import {vm} from "./Base.sol";

/// @title Receipts that anchorers leave out: put on chain, refuted where they were paid, and due from the next epoch on
contract PresentedTest is Books {
    address private constant PRESENTER = address(0x95);
    uint256 private constant FEE = 1e9;

    function setUp() external {
        open();
    }

    function _receipt(uint256 feeWei) private view returns (IReferee.DivisionEvidence memory) {
        return division(new IReferee.ScoreLeaf[](0), new IReferee.SpanLeaf[](0), feeWei);
    }

    function _present(IReferee.DivisionEvidence memory shown) private returns (bytes32 hash) {
        vm.prank(PRESENTER);
        hash = payments.present(shown);
        vm.roll(vm.getBlockNumber() + 1);
    }

    function _empty() private pure returns (Book memory book) {}

    function _listing(bytes32 hash) private pure returns (Book memory book) {
        book.receipts = new bytes32[](1);
        book.receipts[0] = hash;
    }

    function _omitted(uint64 epoch, IReferee.Receipt memory receipt, Book[] memory books, bytes4 refusal) private {
        bytes32 hash = referee.receiptHashOf(receipt);
        IPaymentDisputes.Listed[][] memory places = new IPaymentDisputes.Listed[][](books.length);
        for (uint256 i = 0; i < books.length; i++) places[i] = placeIn(books[i].receipts, hash);
        IEpochDisputes.Payout[] memory place = placeOf(books[books.length - 1].payouts, channel());
        IPaymentDisputes.OmittedEvidence memory evidence =
            IPaymentDisputes.OmittedEvidence(epoch, PRESENTER, receipt, places, place);
        prepare(abi.encode(evidence), refusal);
        payments.challengeOmitted(evidence);
    }

    function _one(Book memory book) private pure returns (Book[] memory books) {
        books = new Book[](1);
        books[0] = book;
    }

    function _two(Book memory left, Book memory right) private pure returns (Book[] memory books) {
        books = new Book[](2);
        (books[0], books[1]) = (left, right);
    }

    /// @dev Due in the first epoch that opened later, as far as its channel had been collected and covers others.
    function testFuzz_challengeOmitted_decidesAsTheRuleSays(uint64 fee, uint64 covered, bool late) external {
        uint256 feeWei = (uint256(fee) % 2e6 + 1) * 1e6;
        uint256 coveredWei = uint256(covered) % 2e12;
        IReferee.DivisionEvidence memory shown = _receipt(feeWei);
        if (!late) _present(shown);
        Book memory first = _empty();
        finalise(anchorBook(first));
        if (late) _present(shown);
        Book memory book = _empty();
        book.payouts = new IEpochDisputes.Payout[](1);
        book.payouts[0] = payout(channel(), coveredWei);
        uint64 epoch = anchorBook(book);
        // What is collected after it was presented is not counted.
        collect(5e12);
        // Pots hold what the channel was collected for but for the platform's part, and nothing was paid out yet.
        bool fault = !late && coveredWei + feeWei <= 1e12;
        Book[] memory books = late ? _one(book) : _two(first, book);
        _omitted(epoch, shown.receipt, books, fault ? bytes4(0) : NONE);
        if (fault) rejected(epoch);
    }

    /// @dev An epoch whose total leaves no room in the pots that it could divide.
    function test_challengeOmitted_notWithoutRoomInThePots() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        _present(shown);
        Book memory first = _empty();
        finalise(anchorBook(first));
        Book memory book = _empty();
        book.payouts = new IEpochDisputes.Payout[](1);
        book.payouts[0] = payout(0x1001, 9e11 - FEE * 9 / 10 + 1);
        uint64 epoch = anchorBook(book);
        collect(5e12);
        _omitted(epoch, shown.receipt, _two(first, book), NONE);
        book.payouts[0].cumulativeWei--;
        vm.warp(epochs.getEpoch(epoch).finalisableAt);
        epochs.finalise(epoch);
    }

    function test_challengeOmitted_everyEpochSinceMustLackIt() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        bytes32 hash = _present(shown);
        Book memory first = _listing(hash);
        finalise(anchorBook(first));
        Book memory book = _empty();
        uint64 epoch = anchorBook(book);
        _omitted(epoch, shown.receipt, _two(first, book), NONE);
        _omitted(epoch, shown.receipt, _one(book), NONE);
        _omitted(epoch, shown.receipt, _two(book, book), NONE);
        IReferee.Receipt memory other = shown.receipt;
        other.requestId = keccak256("another");
        _omitted(epoch, other, _two(first, book), IPaymentDisputes.PaymentDisputesNotPresented.selector);
    }

    function test_refute_onlyWhatAFinalEpochListed() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        Book memory first = _listing(referee.receiptHashOf(shown.receipt));
        bytes32 hash = first.receipts[0];
        bytes32[] memory proof = listed(first.receipts, 0).proof;
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesNotPresented.selector);
        payments.refute(hash, PRESENTER, 1, 0, proof);
        _present(shown);
        same(payments.getPresented(hash, PRESENTER).collectedWei, 1e12, "collected");
        uint64 epoch = anchorBook(first);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesNotFinal.selector);
        payments.refute(hash, PRESENTER, epoch, 0, proof);
        finalise(epoch);
        vm.expectPartialRevert(PROOF);
        payments.refute(hash, PRESENTER, epoch, 1, proof);
        payments.refute(hash, PRESENTER, epoch, 0, proof);
        same(payments.getPresented(hash, PRESENTER).blockNumber, 0, "gone");
    }

    /// @dev Nobody can put off what another one presented by presenting it again.
    function test_attack_presentedAgainByAnother() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        _present(shown);
        Book memory first = _empty();
        finalise(anchorBook(first));
        vm.prank(LIAR);
        payments.present(shown);
        Book memory book = _empty();
        uint64 epoch = anchorBook(book);
        _omitted(epoch, shown.receipt, _two(first, book), 0);
        rejected(epoch);
    }

    function test_present_onlyWhatMayBeListed() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        shown.signature = signature(CLIENT_KEY, referee.receiptDigest(shown.receipt));
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesReceiptUnsigned.selector);
        payments.present(shown);
        shown.signature = "";
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesReceiptUnsigned.selector);
        payments.present(shown);
        shown = _receipt(0);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesReceiptUndivided.selector);
        payments.present(shown);
        IReferee.SpanLeaf[] memory spans = new IReferee.SpanLeaf[](1);
        spans[0] = spanLeaf(0, 840);
        shown = division(new IReferee.ScoreLeaf[](0), spans, FEE);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesReceiptUndivided.selector);
        payments.present(shown);
        shown.spans = new IReferee.SpanLeaf[](0);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesLeavesMismatch.selector);
        payments.present(shown);
    }

    // ---------------------------------------------------------------- contents and payments on request

    function _ask(IEpochDisputes.Tree tree, uint256 count, bytes4 refusal) private {
        uint32[] memory indexes = new uint32[](count);
        for (uint256 i = 0; i < count; i++) indexes[i] = uint32(i);
        if (refusal != 0) vm.expectPartialRevert(refusal);
        disputes.ask(1, tree, indexes);
    }

    function _show(uint256 askId, bytes memory shown, bytes32[] memory proof, bytes4 refusal) private {
        bytes[] memory leaves = new bytes[](1);
        leaves[0] = shown;
        bytes32[][] memory proofs = new bytes32[][](1);
        proofs[0] = proof;
        if (refusal != 0) vm.expectPartialRevert(refusal);
        disputes.show(askId, leaves, proofs);
    }

    function test_show_contentsAreWholeReceipts() external {
        IReferee.DivisionEvidence memory shown = _receipt(FEE);
        IReferee.DivisionEvidence memory other = _receipt(2 * FEE);
        Book memory book = _listing(referee.receiptHashOf(shown.receipt));
        anchorBook(book);
        _ask(IEpochDisputes.Tree.Contents, 2, IEpochDisputes.EpochDisputesAskSize.selector);
        _ask(IEpochDisputes.Tree.Contents, 1, 0);
        bytes32[] memory proof = listed(book.receipts, 0).proof;
        _show(1, abi.encode(other), proof, IEpochDisputes.EpochDisputesProofInvalid.selector);
        other = shown;
        bytes memory right = abi.encode(shown);
        other.signature = "";
        _show(1, abi.encode(other), proof, IPaymentDisputes.PaymentDisputesReceiptUnsigned.selector);
        _show(1, right, proof, 0);
        check(disputes.getAsk(1).settled, "settled");
    }

    function test_show_paymentsAreFiveWords() external {
        Book memory book = _empty();
        book.payments = one(payment(0x1001, "a", 5));
        anchorBook(book);
        _ask(IEpochDisputes.Tree.Payments, 1, 0);
        bytes4 shape = IEpochDisputes.EpochDisputesAnswerShape.selector;
        bytes32[] memory proof = book.payments[0].proof;
        _show(1, abi.encode(uint256(0), uint256(0x1001), "a", uint256(5)), proof, shape);
        _show(1, abi.encode(uint256(1), uint256(0x1001), bytes32("a"), uint256(5), uint256(5)), proof, shape);
        _show(1, abi.encode(uint256(0), uint256(0x1001), bytes32("a"), uint256(5), uint256(5)), proof, 0);
        same(uint256(disputes.bondOf(IEpochDisputes.Tree.Contents, 1)), 11_000_000 * block.basefee, "priced");
    }

    // ---------------------------------------------------------------- who may show evidence

    function test_attack_copiedPaymentEvidence() external {
        Book memory book = _empty();
        book.receipts = new bytes32[](2);
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.ListEvidence memory evidence =
            IPaymentDisputes.ListEvidence(epoch, listed(book.receipts, 0), listed(book.receipts, 1));
        commitTo(WATCHER, abi.encode(evidence));
        vm.prank(address(0xbad));
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesEvidenceNotCommitted.selector);
        payments.challengeList(evidence);
        vm.prank(address(0xbad));
        referee.commitEvidence(referee.evidenceCommitmentOf(address(0xbad), keccak256(abi.encode(evidence))));
        vm.prank(address(0xbad));
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesEvidenceTooEarly.selector);
        payments.challengeList(evidence);
        vm.prank(WATCHER);
        payments.challengeList(evidence);
        rejected(epoch);
        evidence.epoch = 0;
        prepare(abi.encode(evidence), IPaymentDisputes.PaymentDisputesNotInWindow.selector);
        payments.challengeList(evidence);
        evidence.epoch = anchorBook(_empty());
        evidence.left.index = 5;
        finalise(evidence.epoch);
        prepare(abi.encode(evidence), IPaymentDisputes.PaymentDisputesNotInWindow.selector);
        payments.challengeList(evidence);
    }

    /// @dev What was committed to and shown about one epoch says nothing about another, even with the same roots.
    function test_attack_evidenceOfAnotherEpoch() external {
        Book memory book = _empty();
        book.receipts = new bytes32[](2);
        uint64 first = anchorBook(book);
        IPaymentDisputes.ListEvidence memory evidence =
            IPaymentDisputes.ListEvidence(first, listed(book.receipts, 0), listed(book.receipts, 1));
        commitTo(WATCHER, abi.encode(evidence));
        finalise(first);
        uint64 second = anchorBook(book);
        vm.prank(WATCHER);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesNotInWindow.selector);
        payments.challengeList(evidence);
        evidence.epoch = second;
        vm.prank(WATCHER);
        vm.expectPartialRevert(IPaymentDisputes.PaymentDisputesEvidenceNotCommitted.selector);
        payments.challengeList(evidence);
    }

    /// @dev The same lie told again in the same epoch is rejected again, by the evidence that stands committed.
    function test_attack_theSameLieAgain() external {
        Book memory book = _empty();
        book.receipts = new bytes32[](2);
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.ListEvidence memory evidence =
            IPaymentDisputes.ListEvidence(epoch, listed(book.receipts, 0), listed(book.receipts, 1));
        commitTo(WATCHER, abi.encode(evidence));
        for (uint256 i = 0; i < 3; i++) {
            vm.prank(WATCHER);
            payments.challengeList(evidence);
            rejected(epoch);
            if (i < 2) same(anchorBook(book), epoch, "the same epoch");
        }
    }
}
