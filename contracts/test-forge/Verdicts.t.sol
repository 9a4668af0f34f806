// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {vm} from "./Base.sol";
import {Evidence} from "./Evidence.sol";

/// @title What the referee finds in whole receipts: omissions, divisions, equivocations
contract VerdictsTest is Evidence {
    uint256 private constant ONE = 1_000_000;
    uint256 private _lockWei;

    /// @dev Records 0 and 1 are of one cluster, 2 to 4 of others; 5 lies below the threshold, 6 across the query.
    function setUp() external {
        serve();
        addRecord(200, 1);
        addRecord(100, 1);
        addRecord(150, 2);
        addRecord(60, 3);
        addRecord(60, 4);
        addRecord(8, 5);
        addRecord(0, 6);
        registerRecords();
        _lockWei = bondWei();
    }

    function _leaves(uint256 a) private view returns (IReferee.ScoreLeaf[] memory leaves) {
        leaves = new IReferee.ScoreLeaf[](1);
        leaves[0] = scoreLeaf(a);
    }

    function _leaves(uint256 a, uint256 b) private view returns (IReferee.ScoreLeaf[] memory leaves) {
        leaves = new IReferee.ScoreLeaf[](2);
        (leaves[0], leaves[1]) = (scoreLeaf(a), scoreLeaf(b));
    }

    function _spans(uint256 count, uint256 seed) private pure returns (IReferee.SpanLeaf[] memory spans) {
        spans = new IReferee.SpanLeaf[](count);
        for (uint256 i = 0; i < count; i++) {
            spans[i] = spanLeaf(i, 1 + uint256(keccak256(abi.encode(seed, i))) % 1000);
        }
    }

    function _scores(uint256 count, uint256 seed) private view returns (IReferee.ScoreLeaf[] memory scores) {
        scores = new IReferee.ScoreLeaf[](count);
        for (uint256 i = 0; i < count; i++) {
            scores[i] = scoreLeaf(i);
            // The referee of a division takes scores as they were signed, therefore any will do.
            scores[i].score = 1 + uint256(keccak256(abi.encode(seed, i))) % 65_536;
        }
    }

    function _none() private pure returns (IReferee.SpanLeaf[] memory) {
        return new IReferee.SpanLeaf[](0);
    }

    function _slashed(IReferee.VerdictKind kind, bytes32 subject) private view {
        _slashed(kind, subject, _lockWei);
    }

    function _slashed(IReferee.VerdictKind kind, bytes32 subject, uint256 amountWei) private view {
        same(bondWei(), 0, "the bond is gone");
        IReferee.Verdict memory verdict = referee.verdictOf(kind, subject);
        check(verdict.provider == vm.addr(PROVIDER_KEY) && verdict.challenger == CHALLENGER, "who");
        same(verdict.slashedWei, amountWei, "slashed");
        same(verdict.judgedAt, vm.getBlockTimestamp(), "when");
        same(staking.credits(CHALLENGER), amountWei * 4 / 10, "challenger");
        same(staking.credits(vm.addr(CLIENT_KEY)), amountWei / 10, "client");
        same(staking.burnedWei(), amountWei / 2, "burned");
        // Those who were left out or paid wrongly answer for nothing.
        for (uint256 i = 0; i < 6; i++) same(epochs.withheldWei(vm.addr(41 + i)), 0, "withheld");
    }

    // ---------------------------------------------------------------- challengeOmission

    function test_omission_aRecordAboveTheThresholdIsMissing() external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 3);
        challengeOmission(evidence, 0);
        _slashed(IReferee.VerdictKind.Omission, referee.receiptHashOf(evidence.receipt));
        challengeOmission(omission(_leaves(0, 2), 4), IReferee.RefereeVerdictKnown.selector);
    }

    function test_omission_ofAnEmptyReceipt() external {
        challengeOmission(omission(new IReferee.ScoreLeaf[](0), 3), 0);
        same(bondWei(), 0, "bond");
    }

    function test_omission_aWorseRecordOfTheClusterWasPaid() external {
        challengeOmission(omission(_leaves(1, 2), 0), 0);
        same(bondWei(), 0, "bond");
    }

    function test_omission_aBetterRecordOfTheClusterStandsFor() external {
        challengeOmission(omission(_leaves(0, 2), 1), IReferee.RefereeNotOmitted.selector);
    }

    function test_omission_belowTheThresholdNothingIsOwed() external {
        challengeOmission(omission(_leaves(0, 2), 5), IReferee.RefereeNotOmitted.selector);
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 5);
        evidence.sketchIndex = 6;
        evidence.sketchLeaf = recordSketch(6);
        evidence.sketchProof = sketchProofOf(6);
        challengeOmission(evidence, IReferee.RefereeNotOmitted.selector);
    }

    function test_omission_whatStandsThereIsNotMissing() external {
        challengeOmission(omission(_leaves(0, 2), 2), IReferee.RefereeNotOmitted.selector);
    }

    /// @dev Of two records with one score the one that comes first ranks before.
    function test_omission_equalScoresRankByTheirPlace() external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 3), 4);
        same(evidence.better.length, 2, "record 3 ranks before record 4");
        same(omission(_leaves(0, 4), 3).better.length, 1, "record 4 ranks after record 3");
        challengeOmission(evidence, 0);
    }

    function test_omission_betterLeavesMayNotBeKeptBack() external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 3);
        evidence.better = new IReferee.SketchPeer[](0);
        challengeOmission(evidence, IReferee.RefereeBetterMissing.selector);
        evidence = omission(_leaves(0, 2), 3);
        evidence.leaves = _leaves(0);
        challengeOmission(evidence, IReferee.RefereeLeavesMismatch.selector);
    }

    function test_omission_aBetterLeafIsShownByItsOwnSketch() external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 1);
        // The sketch of another cluster in place of record 0's.
        evidence.better[0] = IReferee.SketchPeer(recordSketch(3), sketchProofOf(3));
        challengeOmission(evidence, IReferee.RefereeSketchProofInvalid.selector);
    }

    function test_omission_theRecordIsShownAsItIs() external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 5);
        evidence.sketchLeaf = recordSketch(3);
        challengeOmission(evidence, IReferee.RefereeSketchProofInvalid.selector);
        evidence = omission(_leaves(0, 2), 3);
        evidence.sketchLeaf.sketch = new bytes(255);
        challengeOmission(evidence, IReferee.RefereeSketchLength.selector);
        evidence = omission(_leaves(0, 2), 3);
        evidence.querySketch[0] = 0x01;
        challengeOmission(evidence, IReferee.RefereeQuerySketchMismatch.selector);
    }

    function testFuzz_omission_needsTheProvidersSignature(uint256 key) external {
        uint256 other = bound(key, 1, type(uint128).max);
        vm.assume(other != PROVIDER_KEY);
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 3);
        evidence.signature = signature(other, referee.receiptDigest(evidence.receipt));
        challengeOmission(evidence, IReferee.RefereeReceiptSignerMismatch.selector);
    }

    /// @dev A threshold that was raised within the hour lets both be right.
    function test_omission_aRecordMustPassEveryThresholdOfItsTime() external {
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        IParameters.Values memory values = parameters.all();
        values.threshold = IParameters.Threshold(1, 2);
        vm.prank(parameters.owner());
        parameters.change(values);
        challengeOmission(omission(_leaves(0, 2), 3), IReferee.RefereeNotOmitted.selector);
        // Record 1 has a cosine of 0.625.
        challengeOmission(omission(_leaves(2), 1), 0);
    }

    function testFuzz_omission_whateverIsClaimedAnHonestReceiptIsSafe(uint8 which) external {
        IReferee.ScoreLeaf[] memory leaves = new IReferee.ScoreLeaf[](4);
        leaves[0] = scoreLeaf(0);
        leaves[1] = scoreLeaf(2);
        leaves[2] = scoreLeaf(3);
        leaves[3] = scoreLeaf(4);
        challengeOmission(omission(leaves, which % 6), IReferee.RefereeNotOmitted.selector);
        same(bondWei(), _lockWei, "bond");
    }

    // ---------------------------------------------------------------- challengeDivision

    function testFuzz_division_theRightOneIsSafe(uint8 scores, uint8 spans, uint256 seed, uint64 millions) external {
        IReferee.ScoreLeaf[] memory some = _scores(scores % 6, seed);
        IReferee.SpanLeaf[] memory others = _spans(spans % 4, seed);
        uint256 feeWei = uint256(millions) * ONE;
        divide(some, others, feeWei);
        challengeDivision(division(some, others, feeWei), IReferee.RefereeDivisionCorrect.selector);
        same(bondWei(), _lockWei, "bond");
    }

    function testFuzz_division_aWeiTooMuchOrTooLittleCostsTheBond(uint8 place, bool more, bool span, uint256 seed)
        external
    {
        IReferee.ScoreLeaf[] memory scores = _scores(3, seed);
        IReferee.SpanLeaf[] memory spans = _spans(3, seed);
        divide(scores, spans, 1e9);
        uint256 i = place % 3;
        if (span) spans[i].amountWei = more ? spans[i].amountWei + 1 : spans[i].amountWei - 1;
        else scores[i].amountWei = more ? scores[i].amountWei + 1 : scores[i].amountWei - 1;
        IReferee.DivisionEvidence memory evidence = division(scores, spans, 1e9);
        challengeDivision(evidence, 0);
        _slashed(IReferee.VerdictKind.Division, referee.receiptHashOf(evidence.receipt));
    }

    function testFuzz_division_aWeiMovedFromOneToAnotherCostsTheBond(uint8 from, uint8 to, uint256 seed) external {
        vm.assume(from % 3 != to % 3);
        IReferee.ScoreLeaf[] memory scores = _scores(3, seed);
        divide(scores, _none(), 1e9);
        scores[from % 3].amountWei--;
        scores[to % 3].amountWei++;
        challengeDivision(division(scores, _none(), 1e9), 0);
        same(bondWei(), 0, "bond");
    }

    function test_division_allLeavesMustBeShown() external {
        IReferee.ScoreLeaf[] memory scores = _scores(3, 1);
        IReferee.SpanLeaf[] memory spans = _spans(2, 1);
        divide(scores, spans, 1e9);
        IReferee.DivisionEvidence memory evidence = division(scores, spans, 1e9);
        evidence.scores = _scores(2, 1);
        challengeDivision(evidence, IReferee.RefereeLeavesMismatch.selector);
        evidence.scores = scores;
        evidence.spans = _none();
        challengeDivision(evidence, IReferee.RefereeLeavesMismatch.selector);
        evidence.spans = spans;
        evidence.signature = signature(CLIENT_KEY, referee.receiptDigest(evidence.receipt));
        challengeDivision(evidence, IReferee.RefereeReceiptSignerMismatch.selector);
    }

    /// @dev What no honest receipt holds must not save its signer by an overflow.
    function test_division_amountsBeyondAllBoundsAreWrong() external {
        IReferee.ScoreLeaf[] memory scores = _scores(1, 1);
        challengeDivision(division(scores, _none(), uint256(type(uint128).max) + 1), 0);
        same(bondWei(), 0, "bond");
    }

    function test_division_scoresBeyondAllBoundsAreWrong() external {
        IReferee.ScoreLeaf[] memory scores = _scores(1, 1);
        scores[0].score = uint256(type(uint64).max) + 1;
        challengeDivision(division(scores, _none(), 1e9), 0);
        same(bondWei(), 0, "bond");
    }

    function test_division_weightsBeyondAllBoundsAreWrong() external {
        IReferee.SpanLeaf[] memory spans = _spans(1, 1);
        spans[0].weight = uint256(type(uint64).max) + 1;
        challengeDivision(division(new IReferee.ScoreLeaf[](0), spans, 1e9), 0);
        same(bondWei(), 0, "bond");
    }

    function test_division_theLargestBoundsAreNoOverflow() external {
        IReferee.ScoreLeaf[] memory scores = _scores(2, 1);
        scores[0].score = type(uint64).max;
        scores[1].score = type(uint64).max;
        uint256 feeWei = type(uint128).max / ONE * ONE;
        divide(scores, _none(), feeWei);
        challengeDivision(division(scores, _none(), feeWei), IReferee.RefereeDivisionCorrect.selector);
    }

    function test_division_withoutWeightNobodyIsPaid() external {
        IReferee.ScoreLeaf[] memory scores = _scores(2, 1);
        IReferee.SpanLeaf[] memory spans = _spans(2, 1);
        (scores[0].score, scores[1].score, spans[0].weight, spans[1].weight) = (0, 0, 0, 0);
        challengeDivision(division(scores, spans, 1e9), IReferee.RefereeDivisionCorrect.selector);
        spans[1].amountWei = 1;
        challengeDivision(division(scores, spans, 1e9), 0);
        same(bondWei(), 0, "bond");
    }

    /// @dev Around a change of the fees both divisions are right; a division by neither is not.
    function test_division_anyRulesOfItsTimeMakeItRight() external {
        IReferee.ScoreLeaf[] memory scores = _scores(2, 1);
        IReferee.SpanLeaf[] memory spans = _spans(2, 1);
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        divide(scores, spans, 1e9);
        IReferee.DivisionEvidence memory before = division(scores, spans, 1e9);
        IParameters.Values memory values = parameters.all();
        values.fees.learnedPpm = 700_000;
        vm.prank(parameters.owner());
        parameters.change(values);
        challengeDivision(before, IReferee.RefereeDivisionCorrect.selector);
        vm.warp(vm.getBlockTimestamp() + parameters.RULES_GRACE_SECONDS() + 1);
        challengeDivision(division(scores, spans, 1e9), 0);
    }

    // ---------------------------------------------------------------- challengeEquivocation

    function testFuzz_equivocation_twoReceiptsForOneRequestCostTheBond(bytes32 output) external {
        IReferee.Receipt memory first = receiptOf(_leaves(0), _none(), ONE);
        IReferee.Receipt memory second = receiptOf(_leaves(0), _none(), ONE);
        second.outputHash = output;
        if (output == 0) {
            challengeEquivocation(equivocation(first, second), IReferee.RefereeNotEquivocation.selector);
            return;
        }
        challengeEquivocation(equivocation(first, second), 0);
        // All stake is this owner's 100 OPEN: the lock, and 5 % + 3 times the lock's share of it.
        uint256 moreWei = 5 ether + 3 * _lockWei;
        bytes32 subject = keccak256(abi.encode(vm.addr(PROVIDER_KEY), first.requestId));
        _slashed(IReferee.VerdictKind.Equivocation, subject, _lockWei + moreWei);
        // A third receipt for the request shows the same fault again.
        second.outputHash = keccak256(abi.encode(output));
        challengeEquivocation(equivocation(first, second), IReferee.RefereeVerdictKnown.selector);
    }

    function test_equivocation_otherRequestsAndOtherProvidersAreNone() external {
        IReferee.Receipt memory first = receiptOf(_leaves(0), _none(), ONE);
        IReferee.Receipt memory second = receiptOf(_leaves(0), _none(), ONE);
        second.requestId = keccak256("another request");
        challengeEquivocation(equivocation(first, second), IReferee.RefereeNotEquivocation.selector);
        second.requestId = first.requestId;
        second.provider = vm.addr(12);
        challengeEquivocation(equivocation(first, second), IReferee.RefereeNotEquivocation.selector);
        same(bondWei(), _lockWei, "bond");
    }

    function test_equivocation_bothMustBeSigned() external {
        IReferee.Receipt memory first = receiptOf(_leaves(0), _none(), ONE);
        IReferee.Receipt memory second = receiptOf(_leaves(2), _none(), ONE);
        IReferee.EquivocationEvidence memory evidence = equivocation(first, second);
        evidence.firstSignature = signature(CLIENT_KEY, referee.receiptDigest(first));
        challengeEquivocation(evidence, IReferee.RefereeReceiptSignerMismatch.selector);
        evidence = equivocation(first, second);
        evidence.secondSignature = signature(CLIENT_KEY, referee.receiptDigest(second));
        challengeEquivocation(evidence, IReferee.RefereeReceiptSignerMismatch.selector);
    }

    // ---------------------------------------------------------------- commitEvidence

    function testFuzz_commitEvidence_isShownNoEarlierThanItMayBe(uint8 early) external {
        IReferee.OmissionEvidence memory evidence = omission(_leaves(0, 2), 3);
        bytes32 commitment = referee.evidenceCommitmentOf(CHALLENGER, keccak256(abi.encode(evidence)));
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeEvidenceNotCommitted.selector);
        referee.challengeOmission(evidence);
        vm.prank(CHALLENGER);
        referee.commitEvidence(commitment);
        same(referee.evidenceBlock(commitment), vm.getBlockNumber(), "block");
        uint256 delay = parameters.timing().evidenceDelayBlocks;
        vm.roll(vm.getBlockNumber() + early % delay);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeEvidenceTooEarly.selector);
        referee.challengeOmission(evidence);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeEvidenceKnown.selector);
        referee.commitEvidence(commitment);
    }
}
