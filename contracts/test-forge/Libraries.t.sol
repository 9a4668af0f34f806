// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StepJudge} from "../src/StepJudge.sol";
import {IStepJudge} from "../src/interfaces/IStepJudge.sol";
import {Int8Dot} from "../src/libraries/Int8Dot.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {SoftFloat} from "../src/libraries/SoftFloat.sol";
import {Base, vm} from "./Base.sol";

/// @title Laws of the libraries on fuzzed inputs; equality with TypeScript is in contracts/test
contract LibrariesTest is Base {
    StepJudge private judge = new StepJudge();

    function dot(bytes calldata left, bytes calldata right) external pure returns (int256) {
        return Int8Dot.dot(left, right);
    }

    function verify(bytes32 root, bytes32 leaf, uint256 index, uint256 count, bytes32[] calldata proof)
        external
        pure
        returns (bool)
    {
        return MerkleTree.verify(root, leaf, index, count, proof);
    }

    function testFuzz_dotIsTheSumOfProducts(bytes32[8] memory left, bytes32[8] memory right) external view {
        int256 sum = 0;
        for (uint256 i = 0; i < 256; i++) {
            sum += int256(int8(uint8(left[i / 32][i % 32]))) * int8(uint8(right[i / 32][i % 32]));
        }
        check(this.dot(abi.encodePacked(left), abi.encodePacked(right)) == sum, "dot");
    }

    function testFuzz_dotRefusesOtherLengths(uint16 left, uint16 right) external {
        uint256 a = bound(left, 0, 700);
        uint256 b = bound(right, 0, 700);
        vm.assume(a != b || a % 32 != 0);
        vm.expectPartialRevert(Int8Dot.Int8DotLength.selector);
        this.dot(new bytes(a), new bytes(b));
    }

    function testFuzz_isqrtIsTheFloor(uint256 value) external pure {
        uint256 root = Int8Dot.isqrt(value);
        check(root * root <= value, "root too large");
        check(root == type(uint128).max || (root + 1) * (root + 1) > value, "root too small");
    }

    /// @dev A tree of any size, hashed level by level; a lone node moves up as it is paired with nothing.
    function testFuzz_merkleTellsWhatStandsWhere(bytes32 salt, uint8 width, uint8 place, uint8 other) external view {
        // Full trees: every level pairs, so that proofs need no rule for lone nodes here.
        uint256 count = 1 << (width % 6);
        uint256 index = place % count;
        bytes32[] memory level = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) level[i] = MerkleTree.leaf(abi.encode(salt, i));
        bytes32 leaf = level[index];
        bytes32[] memory proof = new bytes32[](width % 6);
        uint256 position = index;
        for (uint256 step = 0; step < proof.length; step++) {
            proof[step] = level[position ^ 1];
            bytes32[] memory above = new bytes32[](level.length / 2);
            for (uint256 i = 0; i < above.length; i++) {
                above[i] = keccak256(abi.encodePacked(bytes1(0x01), level[2 * i], level[2 * i + 1]));
            }
            level = above;
            position >>= 1;
        }
        bytes32 root = keccak256(abi.encodePacked(bytes1(0x02), count, level[0]));
        check(this.verify(root, leaf, index, count, proof), "the leaf stands there");
        uint256 elsewhere = other % count;
        if (elsewhere != index) check(!this.verify(root, leaf, elsewhere, count, proof), "not elsewhere");
        check(!this.verify(root, leaf, index, count + 1, proof), "not in a longer tree");
        check(!this.verify(root, keccak256(abi.encode(leaf)), index, count, proof), "no other leaf");
    }

    function testFuzz_sumAndProductCommute(uint32 a, uint32 b) external pure {
        same(SoftFloat.add(a, b), SoftFloat.add(b, a), "a + b");
        same(SoftFloat.mul(a, b), SoftFloat.mul(b, a), "a * b");
    }

    function testFuzz_resultsAreCanonical(uint32 a, uint32 b) external pure {
        uint256[4] memory results =
            [SoftFloat.add(a, b), SoftFloat.sub(a, b), SoftFloat.mul(a, b), SoftFloat.div(a, b)];
        for (uint256 i = 0; i < 4; i++) {
            check(results[i] >> 32 == 0, "32 bits");
            check(results[i] & 0x7fffffff <= 0x7f800000 || results[i] == SoftFloat.NAN, "one NaN");
        }
    }

    function testFuzz_identities(uint32 a) external pure {
        if (a & 0x7fffffff > 0x7f800000) return;
        same(SoftFloat.mul(a, 0x3f800000), a, "a * 1");
        same(SoftFloat.div(a, 0x3f800000), a, "a / 1");
        same(SoftFloat.sub(a, 0), a, "a - 0");
        if (a & 0x7fffffff == 0x7f800000) return;
        same(SoftFloat.sub(a, a), 0, "a - a");
        if (a & 0x7fffffff != 0) same(SoftFloat.div(a, a), 0x3f800000, "a / a");
    }

    function testFuzz_roundingKeepsOrder(uint32 a, uint32 b, uint32 c) external pure {
        if (SoftFloat.compare(a, b) != SoftFloat.Order.Less) return;
        SoftFloat.Order sums = SoftFloat.compare(SoftFloat.add(a, c), SoftFloat.add(b, c));
        check(sums != SoftFloat.Order.Greater, "a < b, yet a + c > b + c");
        if (a >> 31 == 1) return;
        SoftFloat.Order roots = SoftFloat.compare(SoftFloat.sqrt(a), SoftFloat.sqrt(b));
        check(roots == SoftFloat.Order.Less || roots == SoftFloat.Order.Equal, "roots");
    }

    function testFuzz_smallIntegersSurvive(int32 value) external pure {
        int32 small = value % 16_777_216;
        check(SoftFloat.toInt(SoftFloat.fromInt(small)) == small, "round trip");
    }

    function testFuzz_judgeRefusesWhatIsNotCommitted(uint32 a, uint32 b, uint32 said) external {
        IStepJudge.Step memory step =
            IStepJudge.Step(IStepJudge.Operation.Multiply, abi.encodePacked(a, b), said);
        bytes32 root = keccak256(abi.encodePacked(bytes1(0x02), uint256(1), judge.stepLeaf(step)));
        (bool right, uint64 truth) = judge.judge(root, 1, 0, step, new bytes32[](0));
        same(truth, SoftFloat.mul(a, b), "truth");
        check(right == (said == truth), "verdict");
        step.result ^= 1;
        vm.expectPartialRevert(IStepJudge.StepJudgeProofInvalid.selector);
        judge.judge(root, 1, 0, step, new bytes32[](0));
    }
}
