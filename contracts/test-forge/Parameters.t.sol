// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Parameters} from "../src/Parameters.sol";
import {IParameters} from "../src/interfaces/IParameters.sol";
import {vm} from "./Base.sol";
import {World} from "./World.sol";

/// @title Governed numbers: what each change must satisfy, and what was right when
contract ParametersTest is World {
    uint256 private constant ONE = 1_000_000;

    function setUp() external {
        deployAll();
        connect();
    }

    /// @dev Changes to these values, or is refused with this error and changes nothing.
    function _change(IParameters.Values memory values, bytes4 refusal) private {
        bytes32 before = keccak256(abi.encode(parameters.all()));
        vm.prank(parameters.owner());
        if (refusal != 0) vm.expectPartialRevert(refusal);
        parameters.change(values);
        bytes32 expected = refusal == 0 ? keccak256(abi.encode(values)) : before;
        check(keccak256(abi.encode(parameters.all())) == expected, "values");
    }

    function _max(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    // ---------------------------------------------------------------- change

    function testFuzz_change_isTheOwnersAlone(address stranger) external {
        vm.assume(stranger != parameters.owner());
        IParameters.Values memory values = parameters.all();
        vm.prank(stranger);
        vm.expectPartialRevert(Ownable.OwnableUnauthorizedAccount.selector);
        parameters.change(values);
    }

    function testFuzz_change_threshold(uint32 numerator, uint32 denominator) external {
        IParameters.Values memory values = parameters.all();
        values.threshold = IParameters.Threshold(numerator, denominator);
        bool right = numerator > 0 && numerator <= denominator;
        _change(values, right ? bytes4(0) : IParameters.ParametersThresholdInvalid.selector);
    }

    function testFuzz_change_feesAddUpToOne(uint32 platform, uint32 owner, uint32 stakers, uint8 off) external {
        IParameters.Values memory values = parameters.all();
        values.fees.platformPpm = uint32(bound(platform, 0, ONE));
        values.fees.modelOwnerPpm = uint32(bound(owner, 0, ONE - values.fees.platformPpm));
        values.fees.stakersPpm =
            uint32(bound(stakers, 0, ONE - values.fees.platformPpm - values.fees.modelOwnerPpm));
        values.fees.dataPpm = uint32(
            ONE - values.fees.platformPpm - values.fees.modelOwnerPpm - values.fees.stakersPpm + off % 2
        );
        _change(values, off % 2 == 0 ? bytes4(0) : IParameters.ParametersFeeSum.selector);
    }

    function testFuzz_change_noShareIsAboveOne(uint32 learned, uint32 verifiers) external {
        IParameters.Values memory values = parameters.all();
        values.fees.learnedPpm = uint32(bound(learned, 0, 2 * ONE));
        values.tasks.verifierRewardPpm = uint32(bound(verifiers, 0, 2 * ONE));
        bool right = values.fees.learnedPpm <= ONE && values.tasks.verifierRewardPpm <= ONE;
        _change(values, right ? bytes4(0) : IParameters.ParametersRatioAboveOne.selector);
    }

    function testFuzz_change_whoChallengesItselfLosesHalf(uint32 challenger, uint32 requester, uint32 jury, bool off)
        external
    {
        IParameters.Values memory values = parameters.all();
        values.slashing.challengerPpm = uint32(bound(challenger, 0, ONE));
        values.slashing.requesterPpm = uint32(bound(requester, 0, ONE - values.slashing.challengerPpm));
        uint256 self = uint256(values.slashing.challengerPpm) + values.slashing.requesterPpm;
        values.slashing.juryPpm = uint32(bound(jury, 0, ONE - self));
        values.slashing.burnPpm = uint32(ONE - self - values.slashing.juryPpm + (off ? 1 : 0));
        bytes4 refusal = self > ONE / 2 ? IParameters.ParametersSelfChallengePays.selector : bytes4(0);
        _change(values, off ? IParameters.ParametersSlashSum.selector : refusal);
    }

    function testFuzz_change_committee(uint8 size) external {
        IParameters.Values memory values = parameters.all();
        values.tasks.committeeSize = size;
        _change(values, size > 0 && size <= 21 ? bytes4(0) : IParameters.ParametersCommitteeSize.selector);
    }

    function testFuzz_change_noTaskRuleIsZero(uint8 which) external {
        IParameters.Values memory values = parameters.all();
        uint256 rule = which % 6;
        if (rule == 0) values.tasks.claimSeconds = 0;
        if (rule == 1) values.tasks.leaseSeconds = 0;
        if (rule == 2) values.tasks.revealSeconds = 0;
        if (rule == 3) values.tasks.voteCommitSeconds = 0;
        if (rule == 4) values.tasks.voteRevealSeconds = 0;
        if (rule == 5) values.tasks.segmentsPerVerifier = 0;
        _change(values, IParameters.ParametersTaskRuleZero.selector);
    }

    function testFuzz_change_noDurationIsZero(uint8 which) external {
        IParameters.Values memory values = parameters.all();
        uint256 duration = which % 6;
        if (duration == 0) values.timing.challengeWindowSeconds = 0;
        if (duration == 1) values.timing.deltaSeconds = 0;
        if (duration == 2) values.timing.daAnswerSeconds = 0;
        if (duration == 3) values.timing.rerunSeconds = 0;
        if (duration == 4) values.timing.evidenceDelayBlocks = 0;
        if (duration == 5) values.timing.contributionRevealSeconds = 0;
        bytes4 refusal = duration == 4
            ? IParameters.ParametersEvidenceDelayZero.selector
            : IParameters.ParametersDurationZero.selector;
        _change(values, refusal);
    }

    function testFuzz_change_bonds(uint128 least, uint128 serving, uint128 training, uint128 abandon) external {
        IParameters.Values memory values = parameters.all();
        values.bonds.minStakeWei = least % 3 == 0 ? 0 : least;
        values.bonds.servingLockWei = serving % 3 == 0 ? 0 : serving;
        values.bonds.abandonBondWei = abandon % 3 == 0 ? 0 : abandon;
        values.bonds.trainingLockWei = training;
        values.bonds.contributionDepositWei = 0;
        bytes4 refusal = 0;
        if (values.bonds.abandonBondWei >= training) refusal = IParameters.ParametersBondNotBelowLock.selector;
        if (least % 3 == 0 || serving % 3 == 0 || abandon % 3 == 0) refusal = IParameters.ParametersBondZero.selector;
        _change(values, refusal);
    }

    function testFuzz_change_versionLock(uint128 lockWei, bool atTheLimit) external {
        IParameters.Values memory values = parameters.all();
        uint128 most = values.bonds.trainingLockWei;
        values.bonds.versionLockWei = atTheLimit ? most : lockWei;
        bool right = values.bonds.versionLockWei <= most;
        _change(values, right ? bytes4(0) : IParameters.ParametersVersionLockTooHigh.selector);
    }

    function testFuzz_change_contributionDeposit(uint96 depositWei, bool atTheLimit) external {
        IParameters.Values memory values = parameters.all();
        uint96 most = uint96(values.bonds.minStakeWei);
        values.bonds.contributionDepositWei = atTheLimit ? most : depositWei;
        bool right = values.bonds.contributionDepositWei <= most;
        _change(values, right ? bytes4(0) : IParameters.ParametersDepositTooHigh.selector);
    }

    function testFuzz_change_stakers(uint32 most) external {
        IParameters.Values memory values = parameters.all();
        values.bonds.maxStakers = uint32(bound(most, 0, 131_072));
        bool right = values.bonds.maxStakers >= 1 && values.bonds.maxStakers <= 65_536;
        _change(values, right ? bytes4(0) : IParameters.ParametersStakersOutOfBounds.selector);
    }

    function testFuzz_change_audits(uint32 proven, uint32 usual, uint32 fresh, uint32 canary) external {
        IParameters.Values memory values = parameters.all();
        values.audits.provenKeyAuditPpm = uint32(bound(proven, 0, ONE));
        values.audits.auditPpm = uint32(bound(usual, 0, ONE));
        values.audits.newKeyAuditPpm = uint32(bound(fresh, 0, 2 * ONE));
        values.audits.canaryPpm = uint32(bound(canary, 0, 2 * ONE));
        bytes4 refusal = values.audits.canaryPpm > 0 && values.audits.canaryPpm <= ONE
            ? bytes4(0)
            : IParameters.ParametersCanariesInvalid.selector;
        bool ordered = 0 < values.audits.provenKeyAuditPpm && values.audits.provenKeyAuditPpm <= values.audits.auditPpm
            && values.audits.auditPpm <= values.audits.newKeyAuditPpm && values.audits.newKeyAuditPpm <= ONE;
        _change(values, ordered ? refusal : IParameters.ParametersAuditsUnordered.selector);
    }

    // ---------------------------------------------------------------- removed rules (I1, I2, unbonding)

    /// @dev A window that does not outlast a late answer, its re-run and four messages would close on a fault unheard.
    function testFuzz_removedRule_theWindowOutlastsALateAnswer(uint16 answer, uint16 rerun, uint8 delta, uint16 window)
        external
    {
        IParameters.Values memory values = parameters.all();
        values.timing.daAnswerSeconds = uint32(bound(answer, 1, 10_000));
        values.timing.rerunSeconds = uint32(bound(rerun, 1, 10_000));
        values.timing.deltaSeconds = uint32(bound(delta, 1, 255));
        uint256 needed = uint256(values.timing.daAnswerSeconds) + values.timing.rerunSeconds
            + 4 * uint256(values.timing.deltaSeconds);
        values.timing.challengeWindowSeconds = uint32(bound(window, _max(1, needed - needed / 2), needed + 100));
        values.timing.thawSeconds = type(uint32).max;
        values.slashing.windowSeconds = type(uint32).max;
        bool right = values.timing.challengeWindowSeconds >= needed;
        _change(values, right ? bytes4(0) : IParameters.ParametersWindowTooShort.selector);
        values.timing.challengeWindowSeconds = uint32(needed);
        _change(values, 0);
        values.timing.challengeWindowSeconds = uint32(needed - 1);
        _change(values, IParameters.ParametersWindowTooShort.selector);
    }

    /// @dev Stake that thaws before the longest dispute can end would be gone when the fault is proven.
    function testFuzz_removedRule_stakeOutlastsTheLongestDispute(uint16[4] memory roads, uint16 window) external {
        IParameters.Values memory values = parameters.all();
        values.tasks.leaseSeconds = uint32(1) + roads[0];
        values.tasks.revealSeconds = uint32(1) + roads[1];
        values.tasks.voteCommitSeconds = uint32(1) + roads[2];
        values.tasks.voteRevealSeconds = uint32(1) + roads[3];
        values.timing.challengeWindowSeconds += window;
        uint256 needed = uint256(values.tasks.leaseSeconds) + values.tasks.revealSeconds
            + values.tasks.voteCommitSeconds + values.tasks.voteRevealSeconds;
        needed = 2
            * (needed + values.timing.challengeWindowSeconds + values.timing.daAnswerSeconds
                + values.timing.rerunSeconds);
        values.timing.thawSeconds = uint32(needed);
        values.slashing.windowSeconds = type(uint32).max;
        _change(values, 0);
        values.timing.thawSeconds = uint32(needed - 1);
        _change(values, IParameters.ParametersThawTooShort.selector);
    }

    /// @dev Whoever is kept out of the blocks for as long as that is possible loses nothing over it.
    function testFuzz_change_noSlashingDeadlineIsBelowTheFloor(uint8 which, uint16 floor_, uint16 given) external {
        uint32 floorSeconds = uint32(bound(floor_, 1, 10_000));
        IParameters.Values memory values = parameters.all();
        values.timing.slashingFloorSeconds = floorSeconds;
        _change(values, IParameters.ParametersFloorIsFixed.selector);
        values.tasks.leaseSeconds = floorSeconds;
        values.tasks.revealSeconds = floorSeconds;
        values.tasks.voteCommitSeconds = floorSeconds;
        values.tasks.voteRevealSeconds = floorSeconds;
        values.timing.daAnswerSeconds = floorSeconds;
        values.timing.contributionRevealSeconds = floorSeconds;
        values.timing.challengeWindowSeconds = 2 * floorSeconds + 100;
        values.timing.thawSeconds = type(uint32).max;
        values.slashing.windowSeconds = type(uint32).max;
        Parameters other = new Parameters(address(this), values);
        uint32 short = uint32(bound(given, 1, floorSeconds));
        uint256 deadline = which % 6;
        if (deadline == 0) values.tasks.leaseSeconds = short;
        if (deadline == 1) values.tasks.revealSeconds = short;
        if (deadline == 2) values.tasks.voteCommitSeconds = short;
        if (deadline == 3) values.tasks.voteRevealSeconds = short;
        if (deadline == 4) values.timing.daAnswerSeconds = short;
        if (deadline == 5) values.timing.contributionRevealSeconds = short;
        if (short < floorSeconds) vm.expectPartialRevert(IParameters.ParametersBelowSlashingFloor.selector);
        other.change(values);
    }

    function test_change_theChallengeWindowIsNotBelowTheFloor() external {
        IParameters.Values memory values = parameters.all();
        // With any data answer above the floor the window is above it too, therefore only the shortest answer shows it.
        values.timing.slashingFloorSeconds = values.timing.challengeWindowSeconds + 1;
        values.tasks.leaseSeconds = 1 hours;
        values.tasks.revealSeconds = 1 hours;
        values.tasks.voteCommitSeconds = 1 hours;
        values.tasks.voteRevealSeconds = 1 hours;
        values.timing.thawSeconds = 10 hours;
        values.slashing.windowSeconds = type(uint32).max;
        vm.expectPartialRevert(IParameters.ParametersBelowSlashingFloor.selector);
        new Parameters(address(this), values);
    }

    function test_constructor_checksItsValuesToo() external {
        IParameters.Values memory values = parameters.all();
        values.threshold.numerator = 0;
        vm.expectPartialRevert(IParameters.ParametersThresholdInvalid.selector);
        new Parameters(address(this), values);
    }

    // ---------------------------------------------------------------- views

    function test_views_areTheGroupsOfAll() external view {
        IParameters.Values memory values = parameters.all();
        check(keccak256(abi.encode(parameters.threshold())) == keccak256(abi.encode(values.threshold)), "threshold");
        check(keccak256(abi.encode(parameters.fees())) == keccak256(abi.encode(values.fees)), "fees");
        check(keccak256(abi.encode(parameters.slashing())) == keccak256(abi.encode(values.slashing)), "slashing");
        check(keccak256(abi.encode(parameters.tasks())) == keccak256(abi.encode(values.tasks)), "tasks");
        check(keccak256(abi.encode(parameters.bonds())) == keccak256(abi.encode(values.bonds)), "bonds");
        check(keccak256(abi.encode(parameters.timing())) == keccak256(abi.encode(values.timing)), "timing");
        check(keccak256(abi.encode(parameters.audits())) == keccak256(abi.encode(values.audits)), "audits");
        (uint256 minStakeWei, uint256 maxStakers) = parameters.listing();
        same(minStakeWei, values.bonds.minStakeWei, "least stake");
        same(maxStakers, values.bonds.maxStakers, "most stakers");
        (uint256 depositWei, uint256 revealSeconds) = parameters.depositTerms();
        same(depositWei, values.bonds.contributionDepositWei, "deposit");
        same(revealSeconds, values.timing.contributionRevealSeconds, "time to reveal");
    }

    // ---------------------------------------------------------------- thresholdsAround, feesAround

    /// @dev Three changes at any times; what is right for a second is what held within an hour of it, newest first.
    function testFuzz_around_isWhatHeldWithinAnHour(uint16[3] memory gaps, uint32 asked) external {
        uint256 start = vm.getBlockTimestamp();
        uint256[4] memory since;
        IParameters.Values memory values = parameters.all();
        for (uint256 i = 1; i < 4; i++) {
            vm.warp(vm.getBlockTimestamp() + 1 + gaps[i - 1] % 9_000);
            since[i] = vm.getBlockTimestamp();
            values.threshold = IParameters.Threshold(uint32(i), 100);
            values.fees.learnedPpm = uint32(i);
            _change(values, 0);
        }
        uint256 second = start - 5_000 + asked % 40_000;
        uint256 grace = parameters.RULES_GRACE_SECONDS();
        IParameters.Threshold[] memory found = parameters.thresholdsAround(second);
        IParameters.Fees[] memory fees = parameters.feesAround(second);
        same(found.length, fees.length, "as many");
        uint256 place = 0;
        for (uint256 i = 4; i > 0; i--) {
            // Rules i - 1 hold from their time until the next.
            bool begun = since[i - 1] <= second + grace;
            bool ended = i < 4 && since[i] <= second - grace;
            if (!begun || ended) continue;
            check(place < found.length, "one is missing");
            if (i > 1) {
                same(found[place].numerator, i - 1, "threshold");
                same(fees[place].learnedPpm, i - 1, "fees");
            } else {
                same(found[place].denominator, 50, "the first threshold");
            }
            place++;
        }
        same(found.length, place, "no others");
    }

    /// @dev A change of other numbers makes no new rules.
    function testFuzz_around_onlyRulesOfReceiptsAreKept(uint8 canary) external {
        IParameters.Values memory values = parameters.all();
        values.audits.canaryPpm = uint32(1) + canary;
        _change(values, 0);
        same(parameters.thresholdsAround(vm.getBlockTimestamp()).length, 1, "one threshold");
    }

    function testFuzz_around_eachRuleOfReceiptsMakesNewOnes(uint8 which) external {
        IParameters.Values memory values = parameters.all();
        uint256 rule = which % 7;
        if (rule == 0) values.threshold.numerator++;
        if (rule == 1) values.threshold.denominator++;
        if (rule == 2) (values.fees.platformPpm, values.fees.dataPpm) = (0, 600_000);
        if (rule == 3) (values.fees.modelOwnerPpm, values.fees.dataPpm) = (0, 700_000);
        if (rule == 4) (values.fees.stakersPpm, values.fees.dataPpm) = (0, 700_000);
        if (rule == 5) (values.fees.stakersPpm, values.fees.modelOwnerPpm) = (0, 400_000);
        if (rule == 6) values.fees.learnedPpm++;
        _change(values, 0);
        same(parameters.feesAround(vm.getBlockTimestamp()).length, 2, "old and new");
    }

    function test_around_beforeTheFirstHour() external view {
        same(parameters.thresholdsAround(0).length, 1, "the first rules hold for all that was before");
    }
}
