// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParameters} from "../src/interfaces/IParameters.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {vm} from "./Base.sol";
import {Packing, ScoreEvidence} from "./Packing.sol";
import {Evidence} from "./Evidence.sol";

/// @title What the referee finds in one score leaf, and what it takes for evidence
contract ScoresTest is Evidence {
    address private _contributor;

    function setUp() external {
        serve();
        _contributor = vm.addr(41);
    }

    function _answer(uint256 lie) private view returns (ScoreEvidence memory) {
        return answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), _contributor, 1, lie);
    }

    /// @dev Signs again after a change of the leaf or the receipt.
    function _signed(ScoreEvidence memory evidence)
        private
        view
        returns (ScoreEvidence memory)
    {
        evidence.receipt.scoreRoot = rootOfOne(abi.encode(evidence.leaf));
        evidence.signature = signed(evidence.receipt);
        return evidence;
    }

    function _finds(ScoreEvidence memory evidence, IReferee.Fault fault) private {
        bytes memory packed = Packing.pack(evidence);
        IReferee.Finding memory finding = findScore(packed);
        check(finding.fault == fault, "fault");
        check(finding.signer == vm.addr(PROVIDER_KEY), "signer");
        check(finding.receiptHash == referee.receiptHashOf(evidence.receipt), "receipt");
        finding = findScore(Packing.pack(evidence, Packing.PLAIN));
        check(finding.fault == fault && finding.signer == vm.addr(PROVIDER_KEY), "by the answer's hash");
        check(referee.stateOf(finding.receiptHash, 0) == IReferee.LeafState.Unjudged, "not judged yet");
        if (fault == IReferee.Fault.None) return;
        challenge(CHALLENGER, packed);
        check(referee.stateOf(finding.receiptHash, 0) == IReferee.LeafState.Judged, "judged");
        same(staking.credits(CHALLENGER), parameters.bonds().servingLockWei * 4 / 10, "challenger");
        same(staking.credits(vm.addr(CLIENT_KEY)), parameters.bonds().servingLockWei / 10, "client");
        same(bondWei(), 0, "bond");
    }

    // ---------------------------------------------------------------- faults, in their order

    function test_find_none() external {
        _finds(_answer(0), IReferee.Fault.None);
    }

    function testFuzz_find_noSuchRecord(uint256 index) external {
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.sketchIndex = bound(index, 1, type(uint256).max - 1);
        evidence.namesNoRecord = true;
        _finds(_signed(evidence), IReferee.Fault.NoSuchRecord);
    }

    function test_find_otherRecord() external {
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.recordHash = keccak256("another record");
        _finds(_signed(evidence), IReferee.Fault.OtherRecord);
    }

    function testFuzz_find_otherContributor(address other) external {
        vm.assume(other != _contributor);
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.contributor = other;
        _finds(_signed(evidence), IReferee.Fault.OtherContributor);
    }

    function testFuzz_find_queryNorm(uint256 norm) external {
        ScoreEvidence memory evidence = _answer(0);
        vm.assume(norm != evidence.receipt.queryNorm);
        evidence.receipt.queryNorm = norm;
        _finds(_signed(evidence), IReferee.Fault.QueryNorm);
    }

    function testFuzz_find_dot(int64 off) external {
        vm.assume(off != 0);
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.dot += off;
        _finds(_signed(evidence), IReferee.Fault.Dot);
    }

    function testFuzz_find_score(uint64 score) external {
        vm.assume(score != 65_536);
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.score = score;
        _finds(_signed(evidence), IReferee.Fault.Score);
    }

    /// @dev A query of 127 in one place and 0 in the others: its cosine with the record is far below the threshold.
    function test_find_belowTheThreshold() external {
        (ScoreEvidence memory evidence, int256 dot) = _narrow(0x7f, 1);
        evidence.leaf.score = (uint256(dot) << 16) / _root(127 * 127 * sketchNorm());
        _finds(_signed(evidence), IReferee.Fault.BelowThreshold);
    }

    /// @dev A record against the query scores nothing, and is owed nothing.
    function test_find_aNegativeDotScoresNothing() external {
        (ScoreEvidence memory evidence, int256 dot) = _narrow(0x7f, 255);
        check(dot < 0, "negative");
        evidence.leaf.score = 0;
        _finds(_signed(evidence), IReferee.Fault.BelowThreshold);
    }

    /// @dev A query with one value at one place; the record holds the int8 of the place itself.
    function _narrow(bytes1 value, uint256 place)
        private
        view
        returns (ScoreEvidence memory evidence, int256 dot)
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

    /// @dev The short form says the same as whole words when only score and amount are the provider's own.
    function testFuzz_evidence_theShortFormIsTheSame(uint32 score, uint96 amountWei) external {
        ScoreEvidence memory evidence = _answer(0);
        evidence.leaf.score = score;
        evidence.leaf.amountWei = amountWei;
        evidence = _signed(evidence);
        IReferee.Finding memory long = findScore(Packing.pack(evidence));
        IReferee.Finding memory short = findScore(Packing.pack(evidence, Packing.OPEN));
        check(keccak256(abi.encode(long)) == keccak256(abi.encode(short)), "open");
        short = findScore(Packing.pack(evidence, 0));
        check(keccak256(abi.encode(long)) == keccak256(abi.encode(short)), "by the answer's hash");
        check((long.fault == IReferee.Fault.None) == (score == 65_536), "fault");
    }

    /// @dev No byte of evidence can be changed and still convict: not its form, nor a field, nor a sibling.
    function testFuzz_evidence_noByteCanBeChanged(uint256 place, uint8 difference, bool plain) external {
        vm.assume(difference != 0);
        bytes memory packed = Packing.pack(_answer(1), Packing.OPEN | (plain ? Packing.PLAIN : 0));
        check(findScore(packed).fault == IReferee.Fault.Score, "as it was");
        place = bound(place, 0, packed.length - 1);
        packed[place] = bytes1(uint8(packed[place]) ^ difference);
        commitTo(CHALLENGER, packed);
        vm.prank(CHALLENGER);
        vm.expectRevert();
        showScore(packed);
    }

    function testFuzz_evidence_hasOneLength(uint256 length, bool plain) external {
        bytes memory packed = Packing.pack(_answer(1), Packing.OPEN | (plain ? Packing.PLAIN : 0));
        bytes memory other = new bytes(bound(length, 0, 2 * packed.length));
        vm.assume(other.length != packed.length);
        for (uint256 i = 0; i < other.length && i < packed.length; i++) other[i] = packed[i];
        bool isLonger = other.length > packed.length;
        if (isLonger) vm.expectPartialRevert(IReferee.RefereeEvidenceLength.selector);
        else vm.expectRevert();
        findScore(other);
    }

    function test_evidence_mustStandWhereItSays() external {
        ScoreEvidence memory evidence = _answer(1);
        evidence.leafIndex = 1;
        vm.expectPartialRevert(IReferee.RefereeLeafOutside.selector);
        findScore(Packing.pack(evidence));
        evidence = _answer(1);
        evidence.leaf.amountWei++;
        vm.expectPartialRevert(IReferee.RefereeReceiptSignerMismatch.selector);
        findScore(Packing.pack(evidence));
        evidence = _answer(1);
        evidence.sketchLeaf.cluster++;
        vm.expectPartialRevert(IReferee.RefereeSketchProofInvalid.selector);
        findScore(Packing.pack(evidence));
        evidence = _answer(1);
        evidence.sketchLeaf.norm++;
        vm.expectPartialRevert(IReferee.RefereeSketchProofInvalid.selector);
        findScore(Packing.pack(evidence));
        evidence = _answer(1);
        evidence.querySketch[0] = 0x01;
        vm.expectPartialRevert(IReferee.RefereeReceiptSignerMismatch.selector);
        findScore(Packing.pack(evidence));
    }

    function testFuzz_evidence_hasAKnownForm(uint8 form) external {
        bytes memory packed = Packing.pack(_answer(1));
        packed[0] = bytes1(uint8(bound(form, 4, 255)));
        vm.expectPartialRevert(IReferee.RefereeEvidenceForm.selector);
        findScore(packed);
        packed = Packing.pack(_answer(1), Packing.PLAIN);
        commitTo(CHALLENGER, packed);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeEvidenceForm.selector);
        showScore(packed);
        // Without a record the signer alone knows the dot product, so that the leaf cannot be short.
        ScoreEvidence memory evidence = _answer(1);
        evidence.leaf.sketchIndex = 1;
        vm.expectPartialRevert(IReferee.RefereeEvidenceForm.selector);
        findScore(Packing.pack(evidence, Packing.OPEN));
    }

    function test_evidence_aLeafIsJudgedOnce() external {
        bytes memory packed = Packing.pack(_answer(1));
        challenge(CHALLENGER, packed);
        commitTo(address(0xc5), packed);
        vm.prank(address(0xc5));
        vm.expectPartialRevert(IReferee.RefereeAlreadyJudged.selector);
        showScore(packed);
        // Nor in its other form.
        packed = Packing.pack(_answer(1), Packing.OPEN);
        commitTo(address(0xc5), packed);
        vm.prank(address(0xc5));
        vm.expectPartialRevert(IReferee.RefereeAlreadyJudged.selector);
        showScore(packed);
    }

    /// @dev A commitment is used up by the verdict; until then nothing spends it.
    function test_evidence_aCommitmentServesOnce() external {
        bytes memory packed = Packing.pack(_answer(1));
        challenge(CHALLENGER, packed);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeEvidenceNotCommitted.selector);
        showScore(packed);
    }

    // ---------------------------------------------------------------- withholding

    function _anchor(ScoreEvidence memory evidence) private {
        stakeOf(CHALLENGER, 50 ether, 0);
        bytes32 receipts = rootOfOne(abi.encode(referee.receiptHashOf(evidence.receipt)));
        vm.prank(CHALLENGER);
        anchorAs(1, "root", 1, 0, receipts, 1);
    }

    /// @dev The judged amount comes off the contributor once, at most the fee, as soon as its receipt is anchored.
    function testFuzz_withholdLeaf_onceAndAtMostTheFee(uint96 amount) external {
        ScoreEvidence memory evidence = _answer(1);
        evidence.leaf.amountWei = amount;
        evidence = _signed(evidence);
        IReferee.JudgedLeaf memory leaf = judgedLeaf(evidence);
        vm.expectPartialRevert(IReferee.RefereeUnknownJudgement.selector);
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
        challenge(CHALLENGER, Packing.pack(evidence));
        _anchor(evidence);
        same(leaf.amountWei, amount < 1_000_000 ? amount : 1_000_000, "amount");
        leaf.leafIndex = 1;
        vm.expectPartialRevert(IReferee.RefereeUnknownJudgement.selector);
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
        leaf = judgedLeaf(evidence);
        leaf.amountWei++;
        vm.expectPartialRevert(IReferee.RefereeUnknownJudgement.selector);
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
        leaf.amountWei--;
        vm.expectPartialRevert(IReferee.RefereeReceiptNotAnchored.selector);
        referee.withholdLeaf(leaf, 1, 1, new bytes32[](0));
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
        _isWithheld(leaf);
    }

    function testFuzz_challengeAnchoredScore_withholdsAtOnce(uint96 amount) external {
        ScoreEvidence memory evidence = _answer(1);
        evidence.leaf.amountWei = amount;
        evidence = _signed(evidence);
        bytes memory packed = Packing.pack(evidence);
        _anchor(evidence);
        bytes memory shown = abi.encodePacked(uint32(1), uint32(1), uint32(1), packed);
        vm.expectPartialRevert(IReferee.RefereeReceiptOutside.selector);
        showAnchoredScore(shown);
        // Of two receipts, and of an epoch that there is not.
        shown = abi.encodePacked(uint32(1), uint32(1), uint32(2), bytes32(0), packed);
        commitTo(CHALLENGER, shown);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeReceiptNotAnchored.selector);
        showAnchoredScore(shown);
        shown = abi.encodePacked(uint32(2), uint32(0), uint32(1), packed);
        commitTo(CHALLENGER, shown);
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeReceiptNotAnchored.selector);
        showAnchoredScore(shown);
        shown = abi.encodePacked(uint32(1), uint32(0), uint32(1), packed);
        commitTo(CHALLENGER, shown);
        vm.prank(CHALLENGER);
        showAnchoredScore(shown);
        same(bondWei(), 0, "bond");
        _isWithheld(judgedLeaf(evidence));
    }

    function _isWithheld(IReferee.JudgedLeaf memory leaf) private {
        same(epochs.withheldWei(_contributor), leaf.amountWei, "withheld");
        check(referee.stateOf(leaf.receiptHash, 0) == IReferee.LeafState.Withheld, "marked");
        vm.expectPartialRevert(IReferee.RefereeAlreadyWithheld.selector);
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
    }
}
