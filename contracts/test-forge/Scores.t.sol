// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {vm} from "./Base.sol";
import {Evidence} from "./Evidence.sol";

/// @title What the referee finds in one score leaf, and what it takes for evidence
contract ScoresTest is Evidence {
    address private _contributor;

    function setUp() external {
        serve();
        _contributor = vm.addr(41);
    }

    function _answer(uint256 lie) private view returns (IReferee.ScoreEvidence memory) {
        return answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), _contributor, 1, lie);
    }

    /// @dev Signs again after a change of the leaf or the receipt.
    function _signed(IReferee.ScoreEvidence memory evidence)
        private
        view
        returns (IReferee.ScoreEvidence memory)
    {
        evidence.receipt.scoreRoot = rootOfOne(abi.encode(evidence.leaf));
        evidence.signature = signed(evidence.receipt);
        return evidence;
    }

    function _finds(IReferee.ScoreEvidence memory evidence, IReferee.Fault fault) private {
        check(referee.findScore(evidence).fault == fault, "fault");
        if (fault == IReferee.Fault.None) return;
        uint256 judgementId = challenge(CHALLENGER, evidence);
        IReferee.Judgement memory judgement = referee.getJudgement(judgementId);
        check(judgement.fault == fault, "judgement");
        check(judgement.challenger == CHALLENGER && judgement.client == vm.addr(CLIENT_KEY), "parties");
        check(!judgement.withheld, "nothing was due yet");
        check(judgement.receiptHash == referee.receiptHashOf(evidence.receipt), "receipt");
        check(judgement.contributor == evidence.leaf.contributor, "contributor");
        same(judgement.judgedAt, vm.getBlockTimestamp(), "time");
        same(judgement.slashedWei, parameters.bonds().servingLockWei, "slashed");
        same(referee.judgementOf(judgement.receiptHash, 0), judgementId, "found again");
        same(bondWei(), 0, "bond");
    }

    // ---------------------------------------------------------------- faults, in their order

    function test_find_none() external {
        _finds(_answer(0), IReferee.Fault.None);
    }

    function test_find_otherRequest() external {
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.requestId = keccak256("another request");
        _finds(_signed(evidence), IReferee.Fault.OtherRequest);
    }

    function testFuzz_find_noSuchRecord(uint256 index) external {
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.sketchIndex = bound(index, 1, type(uint256).max - 1);
        _finds(_signed(evidence), IReferee.Fault.NoSuchRecord);
    }

    function test_find_otherRecord() external {
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.recordHash = keccak256("another record");
        _finds(_signed(evidence), IReferee.Fault.OtherRecord);
    }

    function testFuzz_find_otherContributor(address other) external {
        vm.assume(other != _contributor);
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.contributor = other;
        _finds(_signed(evidence), IReferee.Fault.OtherContributor);
    }

    function testFuzz_find_queryNorm(uint256 norm) external {
        IReferee.ScoreEvidence memory evidence = _answer(0);
        vm.assume(norm != evidence.receipt.queryNorm);
        evidence.receipt.queryNorm = norm;
        _finds(_signed(evidence), IReferee.Fault.QueryNorm);
    }

    function testFuzz_find_dot(int64 off) external {
        vm.assume(off != 0);
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.dot += off;
        _finds(_signed(evidence), IReferee.Fault.Dot);
    }

    function testFuzz_find_score(uint64 score) external {
        vm.assume(score != 65_536);
        IReferee.ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.score = score;
        _finds(_signed(evidence), IReferee.Fault.Score);
    }

    /// @dev A query of 127 in one place and 0 in the others: its cosine with the record is far below the threshold.
    function test_find_belowTheThreshold() external {
        (IReferee.ScoreEvidence memory evidence, int256 dot) = _narrow(0x7f, 1);
        evidence.leaf.score = (uint256(dot) << 16) / _root(127 * 127 * sketchNorm());
        _finds(_signed(evidence), IReferee.Fault.BelowThreshold);
    }

    /// @dev A record against the query scores nothing, and is owed nothing.
    function test_find_aNegativeDotScoresNothing() external {
        (IReferee.ScoreEvidence memory evidence, int256 dot) = _narrow(0x7f, 255);
        check(dot < 0, "negative");
        evidence.leaf.score = 0;
        _finds(_signed(evidence), IReferee.Fault.BelowThreshold);
    }

    /// @dev A query with one value at one place; the record holds the int8 of the place itself.
    function _narrow(bytes1 value, uint256 place)
        private
        view
        returns (IReferee.ScoreEvidence memory evidence, int256 dot)
    {
        evidence = _answer(0);
        bytes memory query = new bytes(256);
        query[place] = value;
        int256 level = int256(int8(uint8(value)));
        evidence.querySketch = query;
        evidence.receipt.querySketchHash = keccak256(query);
        evidence.receipt.queryNorm = uint256(level * level);
        // forge-lint: disable-next-line(unsafe-typecast)
        dot = level * int256(int8(uint8(place)));
        evidence.leaf.dot = dot;
    }

    function _root(uint256 value) private pure returns (uint256 root) {
        while ((root + 1) * (root + 1) <= value) root++;
    }

    /// @dev The threshold that was raised within the hour makes no leaf wrong that passes the old one.
    function test_find_aLeafPassesByAnyThresholdOfItsTime() external {
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        IParameters.Values memory values = parameters.all();
        values.threshold = IParameters.Threshold(1, 1);
        vm.prank(parameters.owner());
        parameters.change(values);
        _finds(_answer(0), IReferee.Fault.None);
    }

    // ---------------------------------------------------------------- evidence

    function test_evidence_mustStandWhereItSays() external {
        IReferee.ScoreEvidence memory evidence = _answer(1);
        evidence.leafIndex = 1;
        vm.expectPartialRevert(IReferee.RefereeLeafProofInvalid.selector);
        referee.findScore(evidence);
        evidence = _answer(1);
        evidence.leaf.amountWei++;
        vm.expectPartialRevert(IReferee.RefereeLeafProofInvalid.selector);
        referee.findScore(evidence);
        evidence = _answer(1);
        evidence.sketchLeaf.norm++;
        vm.expectPartialRevert(IReferee.RefereeSketchProofInvalid.selector);
        referee.findScore(evidence);
        evidence = _answer(1);
        evidence.querySketch[0] = 0x01;
        vm.expectPartialRevert(IReferee.RefereeQuerySketchMismatch.selector);
        referee.findScore(evidence);
        evidence = _answer(1);
        evidence.sketchLeaf.sketch = new bytes(32);
        vm.expectPartialRevert(IReferee.RefereeSketchLength.selector);
        referee.findScore(evidence);
    }

    function test_evidence_aLeafIsJudgedOnce() external {
        IReferee.ScoreEvidence memory evidence = _answer(1);
        challenge(CHALLENGER, evidence);
        commitTo(address(0xc5), abi.encode(evidence));
        vm.prank(address(0xc5));
        vm.expectPartialRevert(IReferee.RefereeAlreadyJudged.selector);
        referee.challengeScore(evidence);
    }

    // ---------------------------------------------------------------- withholdLeaf, views

    /// @dev The judged amount comes off the contributor once, at most the fee, as soon as its receipt is anchored.
    function testFuzz_withholdLeaf_onceAndAtMostTheFee(uint96 amount) external {
        IReferee.ScoreEvidence memory evidence = _answer(1);
        evidence.leaf.amountWei = amount;
        uint256 judgementId = challenge(CHALLENGER, _signed(evidence));
        uint256 amountWei = amount < 1_000_000 ? amount : 1_000_000;
        same(referee.getJudgement(judgementId).amountWei, amountWei, "amount");
        stakeOf(CHALLENGER, 50 ether, 0);
        bytes32 receipts = rootOfOne(abi.encode(referee.receiptHashOf(evidence.receipt)));
        vm.prank(CHALLENGER);
        anchorAs(1, "root", 1, 0, receipts, 1);
        vm.expectPartialRevert(IReferee.RefereeUnknownJudgement.selector);
        referee.withholdLeaf(0, 1, 0, new bytes32[](0));
        vm.expectPartialRevert(IReferee.RefereeUnknownJudgement.selector);
        referee.withholdLeaf(judgementId + 1, 1, 0, new bytes32[](0));
        vm.expectPartialRevert(IReferee.RefereeReceiptNotAnchored.selector);
        referee.withholdLeaf(judgementId, 1, 1, new bytes32[](0));
        referee.withholdLeaf(judgementId, 1, 0, new bytes32[](0));
        same(epochs.withheldWei(_contributor), amountWei, "withheld");
        check(referee.getJudgement(judgementId).withheld, "marked");
        vm.expectPartialRevert(IReferee.RefereeAlreadyWithheld.selector);
        referee.withholdLeaf(judgementId, 1, 0, new bytes32[](0));
    }

    function testFuzz_getJudgements_pages(uint8 from, uint8 count) external {
        for (uint256 i = 1; i <= 3; i++) {
            challenge(CHALLENGER, answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), _contributor, i, i));
        }
        same(referee.judgementCount(), 3, "count");
        uint256 expected = from == 0 || from > 3 ? 0 : count < 4 - uint256(from) ? count : 4 - uint256(from);
        IReferee.Judgement[] memory page = referee.getJudgements(from, count);
        same(page.length, expected, "page");
        for (uint256 i = 0; i < expected; i++) {
            same(referee.judgementOf(page[i].receiptHash, page[i].leafIndex), from + i, "order");
            // The first took the whole bond.
            check((page[i].slashedWei > 0) == (from + i == 1), "slashed");
        }
    }
}
