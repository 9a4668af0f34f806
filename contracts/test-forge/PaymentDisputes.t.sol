// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochDisputes} from "../src/interfaces/IEpochDisputes.sol";
import {IPaymentDisputes} from "../src/interfaces/IPaymentDisputes.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {Books} from "./Books.sol";
import {vm} from "./Base.sol";

/// @title Anchored epochs: rejected over what they pay
contract PaymentDisputesTest is Books {
    function setUp() external {
        open();
    }

    // ---------------------------------------------------------------- order and sums

    function testFuzz_challengeList_decidesAsTheRuleSays(bytes32 left, bytes32 right, bool apart) external {
        Book memory book;
        book.receipts = new bytes32[](apart ? 3 : 2);
        book.receipts[0] = left;
        book.receipts[book.receipts.length - 1] = right;
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.ListEvidence memory evidence = IPaymentDisputes.ListEvidence(
            epoch, listed(book.receipts, 0), listed(book.receipts, book.receipts.length - 1)
        );
        // What does not stand side by side says nothing about order.
        bool fault = !apart && left >= right;
        prepare(abi.encode(evidence), fault ? bytes4(0) : NONE);
        payments.challengeList(evidence);
        if (fault) return rejected(epoch);
        evidence.right.receiptHash = ~right;
        prepare(abi.encode(evidence), PROOF);
        payments.challengeList(evidence);
    }

    function testFuzz_challengePaymentSums_decidesAsTheRuleSays(
        uint256[2] calldata keys,
        bytes32[2] calldata sources,
        uint128[4] calldata words,
        uint8 lies
    ) external {
        Book memory book;
        book.payments = new IPaymentDisputes.Payment[](2);
        uint256 second = lies & 1 == 0 && keys[0] < type(uint256).max ? keys[0] + 1 : keys[1];
        book.payments[0] = payment(keys[0], sources[0], words[0]);
        book.payments[1] = payment(second, sources[1], words[1]);
        book.payments[0].runningWei = lies & 2 == 0 ? words[0] : words[2];
        book.payments[1].runningWei =
            lies & 4 == 0 ? book.payments[0].runningWei + uint256(words[1]) : words[3];
        uint64 epoch = anchorRoots(book, 0, sealAsStated(book.payments));
        bool ordered = keys[0] < second || (keys[0] == second && sources[0] < sources[1]);
        bool between =
            !ordered || book.payments[1].runningWei != book.payments[0].runningWei + uint256(words[1]);
        _sums(epoch, book.payments, between ? bytes4(0) : NONE);
        if (between) return rejected(epoch);
        bool alone = book.payments[0].runningWei != words[0];
        _sums(epoch, one(book.payments[1]), NONE);
        _sums(epoch, one(book.payments[0]), alone ? bytes4(0) : NONE);
        if (alone) return rejected(epoch);
        _sums(epoch, none(), NONE);
        (book.payments[0], book.payments[1]) = (book.payments[1], book.payments[0]);
        _sums(epoch, book.payments, NONE);
    }

    function _sums(uint64 epoch, IPaymentDisputes.Payment[] memory leaves, bytes4 refusal) private {
        IPaymentDisputes.PaymentSumEvidence memory evidence = IPaymentDisputes.PaymentSumEvidence(epoch, leaves);
        prepare(abi.encode(evidence), refusal);
        payments.challengePaymentSums(evidence);
    }

    // ---------------------------------------------------------------- movement

    /// @dev Three keys, each paid or not, owed before or not: exactly a movement that is not what was paid is rejected.
    function testFuzz_challengeMovement_decidesAsTheRuleSays(
        uint32[3] calldata before,
        uint32[3] calldata paid,
        uint8 lie,
        uint8 wanted,
        bool second
    ) external {
        uint256[3] memory keys = [uint256(0x1001), uint256(0x1002), channel()];
        Book memory first;
        if (second) {
            first.payouts = _payouts(keys, _small(before));
            finalise(anchorBook(first));
        }
        uint32[3] memory owed;
        for (uint256 i = 0; i < 3; i++) owed[i] = (second ? _small(before)[i] : 0) + _small(paid)[i];
        uint256 key = keys[wanted % 3];
        if (lie % 3 == 1) owed[wanted % 3] += 1;
        Book memory book;
        book.payouts = _payouts(keys, owed);
        book.payments = _payments(keys, paid);
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.MovementEvidence memory evidence = IPaymentDisputes.MovementEvidence(
            epoch,
            key,
            second ? placeOf(first.payouts, key) : new IEpochDisputes.Payout[](0),
            placeOf(book.payouts, key),
            runOf(book.payments, key)
        );
        bool fault = lie % 3 == 1;
        prepare(abi.encode(evidence), fault ? bytes4(0) : NONE);
        payments.challengeMovement(evidence);
        if (fault) rejected(epoch);
    }

    function _small(uint32[3] memory drawn) private pure returns (uint32[3] memory small) {
        for (uint256 i = 0; i < 3; i++) small[i] = drawn[i] % 1e9;
    }

    /// @dev Leaves of the keys with an amount.
    function _payouts(uint256[3] memory keys, uint32[3] memory amounts)
        private
        pure
        returns (IEpochDisputes.Payout[] memory leaves)
    {
        leaves = new IEpochDisputes.Payout[](3);
        uint256 count = 0;
        for (uint256 i = 0; i < 3; i++) {
            if (amounts[i] > 0) leaves[count++] = payout(keys[i], amounts[i]);
        }
        return part(leaves, 0, count);
    }

    function _payments(uint256[3] memory keys, uint32[3] memory amounts)
        private
        pure
        returns (IPaymentDisputes.Payment[] memory leaves)
    {
        leaves = new IPaymentDisputes.Payment[](6);
        uint256 count = 0;
        for (uint256 i = 0; i < 3; i++) {
            uint256 amountWei = amounts[i] % 1e9;
            if (amountWei == 0) continue;
            // In two parts, of two receipts.
            leaves[count++] = payment(keys[i], "a", amountWei / 2);
            leaves[count++] = payment(keys[i], "b", amountWei - amountWei / 2);
        }
        return part(leaves, 0, count);
    }

    /// @dev Leaves around the wrong place, in the wrong number or of another key show nothing.
    function test_challengeMovement_refusesRunsThatAreNone() external {
        uint256[3] memory keys = [uint256(0x1001), uint256(0x1002), channel()];
        Book memory book;
        book.payments = _payments(keys, [uint32(10), 20, 30]);
        book.payouts = _payouts(keys, [uint32(10), 21, 30]);
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.Payment[] memory leaves = book.payments;
        IPaymentDisputes.Run memory right = runOf(leaves, keys[1]);
        IPaymentDisputes.Run[8] memory wrong;
        wrong[0] = IPaymentDisputes.Run(right.before, none(), right.behind);
        wrong[1] = IPaymentDisputes.Run(right.before, one(leaves[2]), right.behind);
        wrong[2] = IPaymentDisputes.Run(none(), right.last, none());
        wrong[3] = IPaymentDisputes.Run(right.last, right.last, right.behind);
        wrong[4] = IPaymentDisputes.Run(right.before, right.before, right.behind);
        wrong[5] = IPaymentDisputes.Run(leaves, right.last, right.behind);
        wrong[6] = IPaymentDisputes.Run(right.before, leaves, right.behind);
        wrong[7] = IPaymentDisputes.Run(right.before, right.last, right.last);
        IPaymentDisputes.MovementEvidence memory evidence = IPaymentDisputes.MovementEvidence(
            epoch, keys[1], new IEpochDisputes.Payout[](0), placeOf(book.payouts, keys[1]), right
        );
        for (uint256 i = 0; i < wrong.length; i++) {
            evidence.run = wrong[i];
            prepare(abi.encode(evidence), NONE);
            payments.challengeMovement(evidence);
        }
        evidence.run = right;
        evidence.present = part(book.payouts, 0, 2);
        prepare(abi.encode(evidence), NONE);
        payments.challengeMovement(evidence);
        evidence.present = new IEpochDisputes.Payout[](0);
        prepare(abi.encode(evidence), NONE);
        payments.challengeMovement(evidence);
        evidence.key = POOL;
        prepare(abi.encode(evidence), NONE);
        payments.challengeMovement(evidence);
        evidence.key = keys[1];
        evidence.present = placeOf(book.payouts, keys[1]);
        prepare(abi.encode(evidence), 0);
        payments.challengeMovement(evidence);
        rejected(epoch);
    }

    /// @dev A liar's sums that run backwards are no run; they are a fault of their own.
    function test_challengeMovement_refusesSumsThatFall() external {
        Book memory book;
        book.payments = new IPaymentDisputes.Payment[](2);
        book.payments[0] = payment(0x1001, "a", 9);
        book.payments[1] = payment(0x1002, "a", 9);
        book.payments[0].runningWei = 9;
        book.payments[1].runningWei = 3;
        uint64 epoch = anchorRoots(book, 0, sealAsStated(book.payments));
        IPaymentDisputes.MovementEvidence memory evidence = IPaymentDisputes.MovementEvidence(
            epoch, 0x1002, new IEpochDisputes.Payout[](0), new IEpochDisputes.Payout[](0), runOf(book.payments, 0x1002)
        );
        prepare(abi.encode(evidence), NONE);
        payments.challengeMovement(evidence);
        _sums(epoch, book.payments, 0);
        rejected(epoch);
    }

    /// @dev Who was paid less than its payments say was wronged, and has the requester's part.
    function test_challengeMovement_theWrongedAreNamed() external {
        address account = address(0x1001);
        Book memory book;
        book.payments = one(payment(keyOf(account), "a", 10));
        book.payouts = new IEpochDisputes.Payout[](1);
        book.payouts[0] = payout(keyOf(account), 9);
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.MovementEvidence memory evidence = IPaymentDisputes.MovementEvidence(
            epoch, keyOf(account), new IEpochDisputes.Payout[](0), book.payouts, runOf(book.payments, keyOf(account))
        );
        prepare(abi.encode(evidence), 0);
        payments.challengeMovement(evidence);
        rejected(epoch);
        same(staking.credits(account), parameters.bonds().minStakeWei / 10, "wronged");
    }

    // ---------------------------------------------------------------- uncollected, unbacked, repeated

    function testFuzz_challengeUncollected_decidesAsTheRuleSays(uint128 covered, uint64 later, bool other) external {
        Book memory book;
        book.payouts = new IEpochDisputes.Payout[](1);
        book.payouts[0] = payout(channel(), covered);
        uint64 epoch = anchorBook(book);
        // What is collected by now counts, whenever it came.
        collect(uint256(later) / 1e6 * 1e6 + 1e6);
        uint256 collectedWei = inference.getChannel(vm.addr(CLIENT_KEY), vm.addr(PROVIDER_KEY)).feeWei;
        bool fault = !other && covered > collectedWei;
        IPaymentDisputes.UncollectedEvidence memory evidence = IPaymentDisputes.UncollectedEvidence(
            epoch, vm.addr(CLIENT_KEY), other ? LIAR : vm.addr(PROVIDER_KEY), book.payouts[0]
        );
        prepare(abi.encode(evidence), fault ? bytes4(0) : NONE);
        payments.challengeUncollected(evidence);
        if (fault) return rejected(epoch);
        evidence.channel.cumulativeWei++;
        prepare(abi.encode(evidence), PROOF);
        payments.challengeUncollected(evidence);
    }

    function testFuzz_challengeUnbacked_decidesAsTheRuleSays(bytes32 source, bytes32[3] memory receipts) external {
        Book memory book;
        book.receipts = _sorted(receipts);
        book.payments = one(payment(0x1001, source, 7));
        uint64 epoch = anchorBook(book);
        bool fault = source != 0 && source != receipts[0] && source != receipts[1] && source != receipts[2];
        IPaymentDisputes.UnbackedEvidence memory evidence =
            IPaymentDisputes.UnbackedEvidence(epoch, book.payments[0], placeIn(book.receipts, source));
        prepare(abi.encode(evidence), fault ? bytes4(0) : NONE);
        payments.challengeUnbacked(evidence);
        if (fault) rejected(epoch);
    }

    function test_challengeUnbacked_theListMustBeShown() external {
        Book memory book;
        book.receipts = _sorted([bytes32(uint256(1)), bytes32(uint256(5)), bytes32(uint256(9))]);
        book.payments = one(payment(0x1001, bytes32(uint256(5)), 7));
        uint64 epoch = anchorBook(book);
        IPaymentDisputes.UnbackedEvidence memory evidence =
            IPaymentDisputes.UnbackedEvidence(epoch, book.payments[0], placeIn(book.receipts, bytes32(uint256(4))));
        // Neighbours of something else, leaves that are no neighbours, one that is neither first nor last, nothing.
        for (uint256 i = 0; i < 5; i++) {
            if (i == 1) evidence.place[1] = listed(book.receipts, 2);
            if (i == 2) evidence.place = _one(listed(book.receipts, 0));
            if (i == 3) evidence.place = _one(listed(book.receipts, 2));
            if (i == 4) evidence.place = new IPaymentDisputes.Listed[](0);
            prepare(abi.encode(evidence), NONE);
            payments.challengeUnbacked(evidence);
        }
    }

    function testFuzz_challengeRepeated_decidesAsTheRuleSays(bytes32[2] calldata receipts, uint8 which) external {
        Book memory first;
        first.receipts = new bytes32[](1);
        first.receipts[0] = receipts[0];
        finalise(anchorBook(first));
        Book memory book;
        book.receipts = new bytes32[](1);
        book.receipts[0] = which % 2 == 0 ? receipts[0] : receipts[1];
        uint64 epoch = anchorBook(book);
        bool same_ = book.receipts[0] == receipts[0];
        IPaymentDisputes.RepeatedEvidence memory evidence =
            IPaymentDisputes.RepeatedEvidence(epoch, 1, listed(book.receipts, 0), listed(first.receipts, 0));
        // An epoch repeats no receipt by listing it itself.
        evidence.earlierEpoch = epoch;
        prepare(abi.encode(evidence), NONE);
        payments.challengeRepeated(evidence);
        evidence.earlierEpoch = 1;
        prepare(abi.encode(evidence), same_ ? bytes4(0) : NONE);
        payments.challengeRepeated(evidence);
        if (same_) rejected(epoch);
    }

    function _sorted(bytes32[3] memory words) private pure returns (bytes32[] memory list) {
        for (uint256 i = 0; i < 3; i++) {
            for (uint256 j = i + 1; j < 3; j++) {
                if (words[j] < words[i]) (words[i], words[j]) = (words[j], words[i]);
            }
        }
        list = new bytes32[](3);
        for (uint256 i = 0; i < 3; i++) list[i] = words[i];
    }

    function _one(IPaymentDisputes.Listed memory leaf) private pure returns (IPaymentDisputes.Listed[] memory list) {
        list = new IPaymentDisputes.Listed[](1);
        list[0] = leaf;
    }

    // ---------------------------------------------------------------- payments of a receipt

    function _divided() private view returns (IReferee.DivisionEvidence memory) {
        IReferee.ScoreLeaf[] memory scores = new IReferee.ScoreLeaf[](2);
        (scores[0], scores[1]) = (scoreLeaf(0), scoreLeaf(1));
        IReferee.SpanLeaf[] memory spans = new IReferee.SpanLeaf[](2);
        (spans[0], spans[1]) = (spanLeaf(0, 840), spanLeaf(1, 420));
        divide(scores, spans, 1e9);
        return division(scores, spans, 1e9);
    }

    function _dueTo(IReferee.DivisionEvidence memory shown, uint256 key) private view returns (uint256 dueWei) {
        uint256 feeWei = shown.receipt.feeWei;
        if (key == POOL) return feeWei * parameters.fees().stakersPpm / 1e6;
        if (key == channel()) return feeWei;
        for (uint256 i = 0; i < shown.scores.length; i++) {
            if (keyOf(shown.scores[i].contributor) == key) dueWei += shown.scores[i].amountWei;
            if (keyOf(shown.spans[i].contributor) == key) dueWei += shown.spans[i].amountWei;
        }
        if (key == keyOf(models.getAdapter(shown.receipt.adapterId).owner)) {
            dueWei += feeWei * parameters.fees().modelOwnerPpm / 1e6;
        }
    }

    /// @dev Contributors, owner, treasury, pool, channel and a stranger: exactly what the receipt does not give is rejected.
    function testFuzz_challengePayment_decidesAsTheRuleSays(uint8 who, uint64 amount, bool right, bool beside) external {
        _records();
        IReferee.DivisionEvidence memory shown = _divided();
        address owner = models.getAdapter(shown.receipt.adapterId).owner;
        uint256[7] memory keys = [
            keyOf(vm.addr(41)),
            keyOf(vm.addr(42)),
            keyOf(owner),
            keyOf(inference.treasury()),
            POOL,
            channel(),
            POOL + 7
        ];
        uint256 key = keys[who % 7];
        uint256 dueWei = _dueTo(shown, key);
        uint256 paidWei = right ? dueWei : uint256(amount) % 2e9;
        bytes32 hash = referee.receiptHashOf(shown.receipt);
        Book memory book;
        book.receipts = new bytes32[](1);
        book.receipts[0] = hash;
        book.payments = new IPaymentDisputes.Payment[](2);
        uint256 count = 0;
        if (paidWei > 0) book.payments[count++] = payment(key, hash, paidWei);
        // Another receipt's payment to the same key stands behind it.
        if (beside && hash != bytes32(type(uint256).max)) {
            book.payments[count++] = payment(key, bytes32(type(uint256).max), 3);
        }
        book.payments = part(book.payments, 0, count);
        uint64 epoch = anchorBook(book);
        _payment(epoch, book, shown, key, paidWei != dueWei ? bytes4(0) : NONE);
        if (paidWei != dueWei) rejected(epoch);
    }

    function _records() private {
        addRecord(64, 0);
        addRecord(32, 1);
        registerRecords();
    }

    function _payment(
        uint64 epoch,
        Book memory book,
        IReferee.DivisionEvidence memory shown,
        uint256 key,
        bytes4 refusal
    ) private {
        bytes32 hash = referee.receiptHashOf(shown.receipt);
        IPaymentDisputes.PaymentEvidence memory evidence = IPaymentDisputes.PaymentEvidence(
            epoch, 0, listed(book.receipts, 0).proof, shown, key, placeOf(book.payments, key, hash)
        );
        prepare(abi.encode(evidence), refusal);
        payments.challengePayment(evidence);
    }

    /// @dev A receipt that divides by no rules of its time must not be listed, whatever is paid for it.
    function test_challengePayment_undividedReceipts() external {
        _records();
        IReferee.DivisionEvidence memory shown = _divided();
        shown.scores[0].amountWei++;
        shown = division(shown.scores, shown.spans, 1e9);
        Book memory book;
        book.receipts = new bytes32[](1);
        book.receipts[0] = referee.receiptHashOf(shown.receipt);
        uint64 epoch = anchorBook(book);
        shown.scores[0].amountWei--;
        _payment(epoch, book, shown, POOL, IPaymentDisputes.PaymentDisputesLeavesMismatch.selector);
        shown.scores[0].amountWei++;
        _payment(epoch, book, shown, POOL, 0);
        rejected(epoch);
    }

    /// @dev Of an adapter that was registered later than the receipt's date either its owner or the treasury may be paid.
    function testFuzz_challengePayment_aLaterOwnerIsNobodysFault(uint8 who, bool paid, bool half) external {
        _records();
        IReferee.DivisionEvidence memory shown = _divided();
        shown.receipt.issuedAt -= 1;
        shown.signature = signed(shown.receipt);
        address owner = models.getAdapter(shown.receipt.adapterId).owner;
        uint256 key = who % 2 == 0 ? keyOf(owner) : keyOf(inference.treasury());
        uint256 ownersWei = 1e9 * uint256(parameters.fees().modelOwnerPpm) / 1e6;
        // Apart from that the owner is the first record's contributor.
        uint256 withoutWei = key == keyOf(owner) ? _dueTo(shown, key) - ownersWei : 0;
        uint256 paidWei = withoutWei + (paid ? ownersWei : 0) + (half ? 1 : 0);
        Book memory book;
        book.receipts = new bytes32[](1);
        book.receipts[0] = referee.receiptHashOf(shown.receipt);
        book.payments = paidWei == 0 ? none() : one(payment(key, book.receipts[0], paidWei));
        uint64 epoch = anchorBook(book);
        _payment(epoch, book, shown, key, half ? bytes4(0) : NONE);
        if (half) rejected(epoch);
    }

    /// @dev Without weights the data's part is the treasury's, and without an adapter the owner's as well.
    function test_challengePayment_theTreasurysPart() external {
        IReferee.DivisionEvidence memory shown = division(new IReferee.ScoreLeaf[](0), new IReferee.SpanLeaf[](0), 1e9);
        shown.receipt.adapterId = 0;
        shown.signature = signed(shown.receipt);
        uint256 dueWei = 1e9 * uint256(parameters.fees().modelOwnerPpm + parameters.fees().dataPpm) / 1e6;
        Book memory book;
        book.receipts = new bytes32[](1);
        book.receipts[0] = referee.receiptHashOf(shown.receipt);
        uint256 key = keyOf(inference.treasury());
        book.payments = one(payment(key, book.receipts[0], dueWei));
        uint64 epoch = anchorBook(book);
        _payment(epoch, book, shown, key, NONE);
        _payment(epoch, book, shown, POOL, 0);
        rejected(epoch);
    }
}
