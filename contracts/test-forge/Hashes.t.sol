// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IInferenceEscrow} from "../src/interfaces/IInferenceEscrow.sol";
import {IReferee} from "../src/interfaces/IReferee.sol";
import {ITaskEscrow} from "../src/interfaces/ITaskEscrow.sol";
import {vm} from "./Base.sol";
import {Training} from "./Training.sol";

/// @title What the contracts hash and have signed, field by field as docs/protocol.md writes it
contract HashesTest is Training {
    string private constant ANSWER =
        "Answer(bytes32 requestId,address client,address provider,bytes32 promptHash,bytes32 outputHash,uint32 promptTokens,uint32 outputTokens,bytes32 spanRoot,uint32 spanCount,uint256 computeWei,uint256 feeWei)";
    string private constant RECEIPT =
        "Receipt(bytes32 adapterId,bytes32 querySketchHash,uint256 queryNorm,bytes32 scoreRoot,uint32 scoreCount,uint64 issuedAt,Answer answer)";

    function setUp() external {
        staff(4);
    }

    /// @dev EIP-712 over a struct's hash.
    function _typed(address verifying, bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("OpenLedger"),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    // ---------------------------------------------------------------- what is signed

    function testFuzz_workerDigest(address owner, address worker, uint256 nonce, uint64 deadline) external view {
        bytes32 kind = keccak256("WorkerKey(address owner,address worker,uint256 nonce,uint64 deadline)");
        bytes32 expected =
            _typed(address(staking), keccak256(abi.encode(kind, owner, worker, nonce, deadline)));
        check(staking.workerDigest(owner, worker, nonce, deadline) == expected, "worker key");
    }

    function testFuzz_contributionDigest(address contributor, bytes32 commitment, uint32 count) external view {
        bytes32 kind = keccak256(
            "Contribution(bytes32 datanetId,address contributor,bytes32 commitment,uint32 recordCount)"
        );
        bytes32 expected = _typed(
            address(datanets), keccak256(abi.encode(kind, datanetId, contributor, commitment, count))
        );
        check(datanets.contributionDigest(datanetId, contributor, commitment, count) == expected, "contribution");
    }

    function testFuzz_voucherDigest(address client, address provider, uint128 compute, uint128 fee) external view {
        bytes32 kind = keccak256(
            "Voucher(address client,address provider,uint256 cumulativeComputeWei,uint256 cumulativeFeeWei)"
        );
        bytes32 expected =
            _typed(address(inference), keccak256(abi.encode(kind, client, provider, compute, fee)));
        check(
            inference.voucherDigest(IInferenceEscrow.Voucher(client, provider, compute, fee)) == expected, "voucher"
        );
    }

    function testFuzz_receiptDigest(IReferee.Receipt memory r) external view {
        bytes32 answer_ = keccak256(
            bytes.concat(
                abi.encode(keccak256(bytes(ANSWER)), r.requestId, r.client, r.provider, r.promptHash, r.outputHash),
                abi.encode(r.promptTokens, r.outputTokens, r.spanRoot, r.spanCount, r.computeWei, r.feeWei)
            )
        );
        bytes32 kind = keccak256(bytes.concat(bytes(RECEIPT), bytes(ANSWER)));
        bytes32 expected = keccak256(
            bytes.concat(
                abi.encode(kind, r.adapterId, r.querySketchHash, r.queryNorm),
                abi.encode(r.scoreRoot, r.scoreCount, r.issuedAt, answer_)
            )
        );
        check(referee.receiptHashOf(r) == expected, "hash");
        check(referee.receiptDigest(r) == _typed(address(referee), expected), "digest");
    }

    // ---------------------------------------------------------------- ids and commitments

    function testFuzz_tasks(uint256 taskId, uint32 attempt, address account, bytes32[5] memory shown) external view {
        bytes32 lock = keccak256(abi.encode(keccak256("openledger/lock/1"), taskId, attempt));
        check(tasks.lockIdOf(taskId, attempt) == lock, "lock");
        bytes32 result = keccak256(
            abi.encode(
                keccak256("openledger/result/1"),
                taskId,
                account,
                shown[0],
                shown[1],
                shown[2],
                shown[3],
                shown[4]
            )
        );
        check(
            tasks.resultHashOf(taskId, account, shown[0], shown[1], shown[2], shown[3], shown[4]) == result, "result"
        );
        bytes32 vote = keccak256(
            abi.encode(keccak256("openledger/vote/1"), taskId, account, uint8(2), shown[0], shown[1])
        );
        check(
            tasks.voteHashOf(taskId, account, ITaskEscrow.Verdict.Invalid, shown[0], shown[1]) == vote, "vote"
        );
    }

    function testFuzz_registries(address contributor, bytes32 root, uint32 count, bytes32 salt, uint256 taskId)
        external
    {
        bytes32 commitment = keccak256(
            abi.encode(keccak256("openledger/contribution/1"), datanetId, contributor, root, count, salt)
        );
        check(datanets.commitmentOf(datanetId, contributor, root, count, salt) == commitment, "contribution");
        bytes32 adapter = keccak256(abi.encode(keccak256("openledger/adapter/1"), taskId, root));
        check(models.adapterIdOf(taskId, root) == adapter, "adapter");
        // The second datanet of all.
        bytes32 datanet = keccak256(
            abi.encode(keccak256("openledger/datanet/1"), block.chainid, address(datanets), contributor, uint256(1))
        );
        vm.prank(contributor);
        check(datanets.createDatanet(0, 0, "") == datanet, "datanet");
    }

    function testFuzz_evidenceBondsAndPayouts(address account, bytes32 evidence, uint256 index, uint256[2] memory wei_)
        external
        view
    {
        bytes32 commitment = keccak256(abi.encode(keccak256("openledger/evidence/1"), account, evidence));
        check(referee.evidenceCommitmentOf(account, evidence) == commitment, "evidence");
        bytes32 bond = keccak256(abi.encode(keccak256("openledger/serving/1"), account));
        check(staking.servingLockId(account) == bond, "serving");
        bytes32 leaf = keccak256(abi.encodePacked(bytes1(0), abi.encode(index, account, wei_)));
        check(epochs.payoutLeaf(index, account, wei_[0], wei_[1]) == leaf, "payout");
    }

    // ---------------------------------------------------------------- draws

    /// @dev The seed is the beacon's for the reveal's block, bound to task, attempt and round.
    function test_drawCommittee_seedAndAssignment() external {
        uint256 taskId = revealed();
        uint256 source = vm.getBlockNumber() + 1;
        draw(taskId);
        bytes32 mark = keccak256(
            abi.encode(keccak256("openledger/beacon/1"), block.chainid, source, blockhash(source))
        );
        bytes32 seed = keccak256(abi.encode(mark, taskId, uint32(1), uint8(1)));
        check(tasks.getTask(taskId).seed == seed, "seed");
        (uint256[] memory segments, uint256[] memory samples) = tasks.assignment(taskId, TRAINER);
        for (uint256 i = 0; i < segments.length; i++) {
            bytes32 point = keccak256(abi.encode(keccak256("openledger/segment/1"), seed, TRAINER, i));
            same(segments[i], uint256(point) % 8, "segment");
        }
        for (uint256 i = 0; i < samples.length; i++) same(samples[i], 0, "the only sample");
    }

    /// @dev One after the other, in proportion to the weights of those left, positions in the order of arrival.
    function testFuzz_draw_isProportionalSampling(bytes32 seed, uint16[6] memory stakes, uint8 out) external {
        address[] memory left = new address[](6);
        uint256[] memory weights = new uint256[](6);
        uint256 sum = 0;
        uint256 before = 4;
        for (uint160 i = 0; i < 6; i++) {
            left[i] = address(0x900 + i);
            uint256 amountWei = 10 ether + uint256(stakes[i]) * 1e12;
            stakeOf(left[i], amountWei, VERIFIER);
            weights[i] = amountWei / 1e12;
            sum += weights[i];
        }
        // The staff of the set-up is left out, and one more.
        address[] memory excluded = new address[](before + 1);
        for (uint160 i = 0; i < before; i++) excluded[i] = address(0x200 + i);
        excluded[before] = left[out % 6];
        sum -= weights[out % 6];
        weights[out % 6] = 0;
        address[] memory drawn = staking.draw(seed, vm.getBlockNumber(), 5, excluded);
        for (uint256 i = 0; i < 5; i++) {
            uint256 point = uint256(keccak256(abi.encode(keccak256("openledger/sortition/2"), seed, i))) % sum;
            uint256 place = 0;
            while (point >= weights[place]) point -= weights[place++];
            check(drawn[i] == left[place], "drawn");
            sum -= weights[place];
            weights[place] = 0;
        }
    }
}
