// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IParameters} from "./interfaces/IParameters.sol";

/// @title Every governed number, with the bounds and inequalities between them checked at each change
/// @notice What a provider signs is judged by the rules of the moment at which it signed. Therefore every threshold and
/// every division of fees stays readable with the time from which it held, and around a change both are right for an
/// hour: clocks differ, and a provider may have read the rules just before.
contract Parameters is IParameters, Ownable2Step {
    uint256 private constant ONE = 1_000_000;
    uint256 private constant MAX_COMMITTEE = 21;
    uint256 private constant MAX_STAKERS = 65_536;
    uint256 private constant MAX_SELF_CHALLENGE_PPM = 500_000;
    uint256 private constant MAX_CORRELATION_PPM = 10_000_000;

    uint256 public constant RULES_GRACE_SECONDS = 1 hours;

    /// @dev One slot: the rules that receipts are judged by, and since when.
    struct Mark {
        uint32 numerator;
        uint32 denominator;
        uint32 platformPpm;
        uint32 modelOwnerPpm;
        uint32 stakersPpm;
        uint32 dataPpm;
        uint32 learnedPpm;
        uint32 since;
    }

    Values private _values;
    Mark private _latest;
    Mark[] private _earlier;

    constructor(address owner, Values memory settings) Ownable(owner) {
        _check(settings);
        _values = settings;
        // The first rules hold for all that was before them.
        _latest = _mark(settings, 0);
        emit ParametersChanged(settings);
    }

    /// @inheritdoc IParameters
    function change(Values calldata settings) external onlyOwner {
        uint256 floorSeconds = _values.timing.slashingFloorSeconds;
        require(settings.timing.slashingFloorSeconds == floorSeconds, ParametersFloorIsFixed(floorSeconds));
        _check(settings);
        _values = settings;
        Mark memory mark = _mark(settings, uint32(block.timestamp));
        if (!_sameRules(mark, _latest)) {
            _earlier.push(_latest);
            _latest = mark;
        }
        emit ParametersChanged(settings);
    }

    function all() external view returns (Values memory) {
        return _values;
    }

    function threshold() external view returns (Threshold memory) {
        return _values.threshold;
    }

    function fees() external view returns (Fees memory) {
        return _values.fees;
    }

    function slashing() external view returns (Slashing memory) {
        return _values.slashing;
    }

    function tasks() external view returns (TaskRules memory) {
        return _values.tasks;
    }

    function bonds() external view returns (Bonds memory) {
        return _values.bonds;
    }

    /// @notice What the list of stakers is kept by.
    function listing() external view returns (uint256 minStakeWei, uint256 maxStakers) {
        return (_values.bonds.minStakeWei, _values.bonds.maxStakers);
    }

    /// @notice What an anchor is held to.
    function anchoring() external view returns (uint256 minStakeWei, uint256 challengeWindowSeconds) {
        return (_values.bonds.minStakeWei, _values.timing.challengeWindowSeconds);
    }

    /// @notice What a commitment to records is held to.
    function depositTerms() external view returns (uint256 depositWei, uint256 revealSeconds) {
        return (_values.bonds.contributionDepositWei, _values.timing.contributionRevealSeconds);
    }

    function timing() external view returns (Timing memory) {
        return _values.timing;
    }

    /// @notice Blocks between the commitment of evidence and the evidence.
    function evidenceDelayBlocks() external view returns (uint256) {
        return _values.timing.evidenceDelayBlocks;
    }

    function audits() external view returns (Audits memory) {
        return _values.audits;
    }

    /// @notice Every threshold that is right for what was signed at `second`, newest first.
    function thresholdsAround(uint256 second) external view returns (Threshold[] memory found) {
        if (uint256(_latest.since) + RULES_GRACE_SECONDS <= second) {
            found = new Threshold[](1);
            found[0] = Threshold(_latest.numerator, _latest.denominator);
            return found;
        }
        Mark[] memory marks = _around(second);
        found = new Threshold[](marks.length);
        for (uint256 i = 0; i < marks.length; i++) {
            found[i] = Threshold(marks[i].numerator, marks[i].denominator);
        }
    }

    /// @notice Every division of fees that is right for what was signed at `second`, newest first.
    function feesAround(uint256 second) external view returns (Fees[] memory found) {
        Mark[] memory marks = _around(second);
        found = new Fees[](marks.length);
        for (uint256 i = 0; i < marks.length; i++) {
            Mark memory mark = marks[i];
            found[i] = Fees(
                mark.platformPpm, mark.modelOwnerPpm, mark.stakersPpm, mark.dataPpm, mark.learnedPpm
            );
        }
    }

    /// @dev Rules that held at some time within the grace before or after a second.
    function _around(uint256 second) private view returns (Mark[] memory found) {
        uint256 from = second < RULES_GRACE_SECONDS ? 0 : second - RULES_GRACE_SECONDS;
        uint256 until = second + RULES_GRACE_SECONDS;
        Mark memory latest = _latest;
        if (latest.since <= from) {
            found = new Mark[](1);
            found[0] = latest;
            return found;
        }
        uint256 end = _earlier.length;
        uint256 start = end - 1;
        while (_earlier[start].since > from) start--;
        while (end > start + 1 && _earlier[end - 1].since > until) end--;
        bool withLatest = latest.since <= until;
        found = new Mark[](end - start + (withLatest ? 1 : 0));
        uint256 place = 0;
        if (withLatest) found[place++] = latest;
        for (uint256 i = end; i > start; i--) found[place++] = _earlier[i - 1];
    }

    function _mark(Values memory v, uint32 since) private pure returns (Mark memory) {
        return Mark({
            numerator: v.threshold.numerator,
            denominator: v.threshold.denominator,
            platformPpm: v.fees.platformPpm,
            modelOwnerPpm: v.fees.modelOwnerPpm,
            stakersPpm: v.fees.stakersPpm,
            dataPpm: v.fees.dataPpm,
            learnedPpm: v.fees.learnedPpm,
            since: since
        });
    }

    function _sameRules(Mark memory a, Mark memory b) private pure returns (bool) {
        return a.numerator == b.numerator && a.denominator == b.denominator && a.platformPpm == b.platformPpm
            && a.modelOwnerPpm == b.modelOwnerPpm && a.stakersPpm == b.stakersPpm && a.dataPpm == b.dataPpm
            && a.learnedPpm == b.learnedPpm;
    }

    function _check(Values memory v) private pure {
        require(
            v.threshold.numerator > 0 && v.threshold.numerator <= v.threshold.denominator,
            ParametersThresholdInvalid(v.threshold.numerator, v.threshold.denominator)
        );
        _checkRatios(v.fees, v.slashing);
        _checkTasks(v.tasks);
        _checkBonds(v.bonds);
        _checkTiming(v.tasks, v.timing, v.slashing.windowSeconds);
        _checkAudits(v.audits);
    }

    function _checkAudits(Audits memory a) private pure {
        // A key with a clean past is still audited, and a new one at least as often as any.
        require(
            a.provenKeyAuditPpm > 0 && a.provenKeyAuditPpm <= a.auditPpm && a.auditPpm <= a.newKeyAuditPpm
                && a.newKeyAuditPpm <= ONE,
            ParametersAuditsUnordered(a.provenKeyAuditPpm, a.auditPpm, a.newKeyAuditPpm)
        );
        require(a.canaryPpm > 0 && a.canaryPpm <= ONE, ParametersCanariesInvalid(a.canaryPpm));
    }

    function _checkRatios(Fees memory f, Slashing memory s) private pure {
        uint256 feeSum = uint256(f.platformPpm) + f.modelOwnerPpm + f.stakersPpm + f.dataPpm;
        require(feeSum == ONE, ParametersFeeSum(feeSum));
        require(f.learnedPpm <= ONE, ParametersRatioAboveOne(f.learnedPpm));
        uint256 slashSum = uint256(s.challengerPpm) + s.juryPpm + s.requesterPpm + s.burnPpm;
        require(slashSum == ONE, ParametersSlashSum(slashSum));
        // Whoever challenges itself, as its own client, must lose at least half.
        uint256 self = uint256(s.challengerPpm) + s.requesterPpm;
        require(self <= MAX_SELF_CHALLENGE_PPM, ParametersSelfChallengePays(self));
        // A fault that is no accident always costs more than its lock, and never more than all because of a few others.
        require(
            s.correlationBasePpm > 0 && s.correlationBasePpm <= ONE && s.correlationPpm <= MAX_CORRELATION_PPM,
            ParametersCorrelationInvalid(s.correlationBasePpm, s.correlationPpm)
        );
    }

    function _checkTasks(TaskRules memory t) private pure {
        require(t.committeeSize > 0 && t.committeeSize <= MAX_COMMITTEE, ParametersCommitteeSize(t.committeeSize));
        require(t.verifierRewardPpm <= ONE, ParametersRatioAboveOne(t.verifierRewardPpm));
        require(
            t.claimSeconds > 0 && t.leaseSeconds > 0 && t.revealSeconds > 0 && t.voteCommitSeconds > 0
                && t.voteRevealSeconds > 0 && t.segmentsPerVerifier > 0,
            ParametersTaskRuleZero()
        );
    }

    function _checkBonds(Bonds memory b) private pure {
        require(b.minStakeWei > 0 && b.servingLockWei > 0 && b.abandonBondWei > 0, ParametersBondZero());
        require(
            b.abandonBondWei < b.trainingLockWei, ParametersBondNotBelowLock(b.abandonBondWei, b.trainingLockWei)
        );
        // Whoever publishes what others contributed risks no more than whoever trains on it.
        require(
            b.versionLockWei <= b.trainingLockWei,
            ParametersVersionLockTooHigh(b.versionLockWei, b.trainingLockWei)
        );
        // Whoever has data to give need not be as rich as whoever stakes.
        require(
            b.contributionDepositWei <= b.minStakeWei,
            ParametersDepositTooHigh(b.contributionDepositWei, b.minStakeWei)
        );
        require(
            b.maxStakers >= 1 && b.maxStakers <= MAX_STAKERS, ParametersStakersOutOfBounds(b.maxStakers)
        );
    }

    function _checkTiming(TaskRules memory t, Timing memory time, uint256 windowSeconds) private pure {
        require(
            time.challengeWindowSeconds > 0 && time.deltaSeconds > 0 && time.daAnswerSeconds > 0
                && time.rerunSeconds > 0 && time.contributionRevealSeconds > 0,
            ParametersDurationZero()
        );
        require(time.evidenceDelayBlocks > 0, ParametersEvidenceDelayZero());
        // I1: whoever gets the data at the last moment can still run it again and be heard.
        uint256 rerun = uint256(time.daAnswerSeconds) + time.rerunSeconds;
        uint256 window = rerun + 4 * uint256(time.deltaSeconds);
        require(
            time.challengeWindowSeconds >= window,
            ParametersWindowTooShort(time.challengeWindowSeconds, window)
        );
        // I2 and unbonding: stake outlasts twice the longest road to the end of a dispute.
        uint256 needed = 2
            * (uint256(t.leaseSeconds) + t.revealSeconds + t.voteCommitSeconds + t.voteRevealSeconds
                + time.challengeWindowSeconds + rerun);
        require(time.thawSeconds >= needed, ParametersThawTooShort(time.thawSeconds, needed));
        // Faults that one crowd shows one by one, as its stake thaws, still count as one.
        require(
            windowSeconds >= time.thawSeconds, ParametersSlashWindowTooShort(windowSeconds, time.thawSeconds)
        );
        // Whoever is kept out of the blocks for as long as that is possible loses nothing over it.
        uint256 floorSeconds = time.slashingFloorSeconds;
        _atLeast(t.leaseSeconds, floorSeconds);
        _atLeast(t.revealSeconds, floorSeconds);
        _atLeast(t.voteCommitSeconds, floorSeconds);
        _atLeast(t.voteRevealSeconds, floorSeconds);
        _atLeast(time.challengeWindowSeconds, floorSeconds);
        _atLeast(time.daAnswerSeconds, floorSeconds);
        _atLeast(time.contributionRevealSeconds, floorSeconds);
    }

    function _atLeast(uint256 givenSeconds, uint256 floorSeconds) private pure {
        require(givenSeconds >= floorSeconds, ParametersBelowSlashingFloor(givenSeconds, floorSeconds));
    }
}
