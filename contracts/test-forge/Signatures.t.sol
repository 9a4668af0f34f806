// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {Referee} from "../src/Referee.sol";
import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {vm} from "./Base.sol";
import {Packing, ScoreEvidence} from "./Packing.sol";
import {World} from "./World.sol";

/// @title Nothing signed for one chain, contract, datanet, version or epoch is accepted in another
contract SignaturesTest is World {
    uint256 private constant PROVIDER_KEY = 11;
    uint256 private constant CLIENT_KEY = 1;
    address private constant CHALLENGER = address(0xc4);

    function setUp() external {
        deployAll();
        connect();
        publish(vm.addr(41));
        stakeOf(vm.addr(PROVIDER_KEY), 100 ether, PROVIDER);
        vm.prank(vm.addr(PROVIDER_KEY));
        staking.registerServing();
        vm.deal(vm.addr(CLIENT_KEY), 100 ether);
    }

    function _chain(uint64 chain) private view returns (uint256 other) {
        other = bound(chain, 1, type(uint64).max);
        vm.assume(other != block.chainid);
    }

    // ---------------------------------------------------------------- receipts

    function testFuzz_aWrongScoreCostsTheServingBond(uint64 lie) external {
        uint256 lockWei = staking.getLock(staking.servingLockId(vm.addr(PROVIDER_KEY))).amountWei;
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), 1, bound(lie, 1, type(uint64).max));
        challenge(CHALLENGER, Packing.pack(evidence));
        same(staking.getLock(staking.servingLockId(vm.addr(PROVIDER_KEY))).amountWei, 0, "bond");
        same(staking.credits(CHALLENGER), lockWei * 4 / 10, "challenger");
        same(staking.credits(vm.addr(CLIENT_KEY)), lockWei / 10, "client");
        same(staking.burnedWei(), lockWei / 2, "burned");
    }

    function testFuzz_aRightScoreCostsNothing(uint256 number) external {
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), number, 0);
        commitTo(CHALLENGER, Packing.pack(evidence));
        vm.prank(CHALLENGER);
        vm.expectPartialRevert(IReferee.RefereeScoreCorrect.selector);
        showScore(Packing.pack(evidence));
    }

    function testFuzz_aReceiptOfAnotherChainProvesNothing(uint64 chain) external {
        uint256 home = block.chainid;
        vm.chainId(_chain(chain));
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), 1, 1);
        vm.chainId(home);
        vm.expectPartialRevert(IReferee.RefereeReceiptSignerMismatch.selector);
        findScore(Packing.pack(evidence));
    }

    function testFuzz_aReceiptOfAnotherRefereeProvesNothing(bytes32 salt) external {
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), 1, 1);
        Referee other = new Referee{salt: salt}(parameters, staking, models, epochs);
        evidence.signature = signature(PROVIDER_KEY, other.receiptDigest(evidence.receipt));
        vm.expectPartialRevert(IReferee.RefereeReceiptSignerMismatch.selector);
        findScore(Packing.pack(evidence));
    }

    function testFuzz_copiedEvidenceIsUseless(address thief) external {
        vm.assume(thief != CHALLENGER);
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), 1, 1);
        commitTo(CHALLENGER, Packing.pack(evidence));
        vm.prank(thief);
        vm.expectPartialRevert(IReferee.RefereeEvidenceNotCommitted.selector);
        showScore(Packing.pack(evidence));
    }

    function testFuzz_aJudgedLeafIsNotWithheldByAnEpochWithoutItsReceipt(bytes32 root, uint32 count) external {
        ScoreEvidence memory evidence =
            answer(PROVIDER_KEY, vm.addr(CLIENT_KEY), vm.addr(41), 1, 1);
        challenge(CHALLENGER, Packing.pack(evidence));
        IReferee.JudgedLeaf memory leaf = judgedLeaf(evidence);
        stakeOf(CHALLENGER, 50 ether, 0);
        vm.prank(CHALLENGER);
        anchorAs(1, root, 0, 0, root, count % 2);
        vm.expectPartialRevert(IReferee.RefereeReceiptNotAnchored.selector);
        referee.withholdLeaf(leaf, 1, 0, new bytes32[](0));
    }

    // ---------------------------------------------------------------- vouchers

    function _fund() private returns (address provider) {
        provider = vm.addr(PROVIDER_KEY);
        vm.prank(vm.addr(CLIENT_KEY));
        inference.deposit{value: 10 ether}(provider);
    }

    function testFuzz_aVoucherPaysWhatItSays(uint64 computeWei, uint32 millions) external {
        address provider = _fund();
        uint256 compute = bound(computeWei, 1, 9 ether);
        uint256 fee = uint256(millions) * 1_000_000;
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, provider, compute, fee);
        inference.collect(v, s);
        same(inference.credits(provider), compute, "provider");
        same(inference.credits(inference.treasury()) + epochs.potTotalWei(), fee, "fee");
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowVoucherStale.selector);
        inference.collect(v, s);
    }

    function testFuzz_aVoucherOfAnotherChainPaysNothing(uint64 chain, uint64 compute) external {
        address provider = _fund();
        uint256 home = block.chainid;
        vm.chainId(_chain(chain));
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, provider, compute, 0);
        vm.chainId(home);
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowSignerMismatch.selector);
        inference.collect(v, s);
    }

    function testFuzz_aVoucherOfAnotherEscrowPaysNothing(bytes32 salt, uint64 compute) external {
        address provider = _fund();
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, provider, compute, 0);
        InferenceEscrow other = new InferenceEscrow{salt: salt}(parameters, epochs, address(0xd2));
        s[0] = signature(CLIENT_KEY, other.voucherDigest(v[0]));
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowSignerMismatch.selector);
        inference.collect(v, s);
    }

    function testFuzz_aVoucherForAnotherProviderPaysNothing(address other, uint64 compute) external {
        address provider = _fund();
        vm.assume(other != provider);
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, provider, compute, 0);
        v[0].provider = other;
        vm.expectPartialRevert(IInferenceEscrow.InferenceEscrowSignerMismatch.selector);
        inference.collect(v, s);
    }

    // ---------------------------------------------------------------- contributions

    function testFuzz_aContributionIsForOneDatanetAndChain(bytes32 commitment, uint32 count, uint64 chain) external {
        uint256 depositWei = depositOf();
        uint32 records = uint32(bound(count, 1, type(uint32).max));
        address contributor = vm.addr(CLIENT_KEY);
        bytes memory signed =
            signature(CLIENT_KEY, datanets.contributionDigest(datanetId, contributor, commitment, records));
        vm.prank(contributor);
        bytes32 other = datanets.createDatanet(keccak256("MIT"), keccak256("policy"), "other");
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.commit{value: depositWei}(other, contributor, commitment, records, signed);
        uint256 home = block.chainid;
        vm.chainId(_chain(chain));
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistrySignerMismatch.selector);
        datanets.commit{value: depositWei}(datanetId, contributor, commitment, records, signed);
        vm.chainId(home);
        datanets.commit{value: depositWei}(datanetId, contributor, commitment, records, signed);
        vm.expectPartialRevert(IDatanetRegistry.DatanetRegistryCommitmentKnown.selector);
        datanets.commit{value: depositWei}(datanetId, contributor, commitment, records, signed);
    }

    // ---------------------------------------------------------------- epochs

    function testFuzz_aPayoutIsForOneAccountAndAmount(uint64 amount, uint64 other) external {
        uint256 dueWei = bound(amount, 1, 900_000);
        address provider = _fund();
        (IInferenceEscrow.Voucher[] memory v, bytes[] memory s) = voucher(CLIENT_KEY, provider, 0, 1_000_000);
        inference.collect(v, s);
        stakeOf(CHALLENGER, 50 ether, 0);
        bytes32 root = payoutRoot(vm.addr(41), dueWei);
        vm.prank(CHALLENGER);
        anchorAs(1, root, 1, dueWei, root, 0);
        vm.warp(vm.getBlockTimestamp() + parameters.timing().challengeWindowSeconds);
        epochs.finalise(1);
        if (other != dueWei) {
            vm.expectPartialRevert(IEpochs.EpochsProofInvalid.selector);
            claimOnly(vm.addr(41), other);
        }
        vm.expectPartialRevert(IEpochs.EpochsProofInvalid.selector);
        claimOnly(CHALLENGER, dueWei);
        claimOnly(vm.addr(41), dueWei);
        same(vm.addr(41).balance, dueWei, "paid");
        vm.expectPartialRevert(IEpochs.EpochsNothingDue.selector);
        claimOnly(vm.addr(41), dueWei);
    }
}
