// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StepJudge} from "../src/StepJudge.sol";
import {IStepJudge} from "../src/interfaces/IStepJudge.sol";
import {MerkleTree} from "../src/libraries/MerkleTree.sol";
import {SoftFloat} from "../src/libraries/SoftFloat.sol";
import {Base, vm} from "./Base.sol";

/// @title Binary64 steps at their edges, against the results of IEEE 754 hardware
contract DoublesTest is Base {
    uint64 private constant ONE = 0x3ff0000000000000;
    /// @dev Rows of eight bytes each: a, b, a + b, a - b, a * b, a / b, a < b.
    bytes private constant PAIRS =
        hex"3ff000000000000040000000000000004008000000000000bff000000000000040000000000000003fe00000000000000000000000000001"
        hex"3ff0000000000000bff000000000000000000000000000004000000000000000bff0000000000000bff00000000000000000000000000000"
        hex"7ff0000000000000fff00000000000007ff80000000000007ff0000000000000fff00000000000007ff80000000000000000000000000000"
        hex"7ff00000000000007ff00000000000007ff00000000000007ff80000000000007ff00000000000007ff80000000000000000000000000000"
        hex"7ff80000000000003ff00000000000007ff80000000000007ff80000000000007ff80000000000007ff80000000000000000000000000000"
        hex"3ff00000000000007ff80000000000007ff80000000000007ff80000000000007ff80000000000007ff80000000000000000000000000000"
        hex"000000000000000080000000000000000000000000000000000000000000000080000000000000007ff80000000000000000000000000000"
        hex"800000000000000080000000000000008000000000000000000000000000000000000000000000007ff80000000000000000000000000000"
        hex"000000000000000100000000000000010000000000000002000000000000000000000000000000003ff00000000000000000000000000000"
        hex"0010000000000000000012688b70e62b001012688b70e62b000fed97748f19d50000000000000000406bd03c814069920000000000000000"
        hex"7fefffffffffffff7fefffffffffffff7ff000000000000000000000000000007ff00000000000003ff00000000000000000000000000000"
        hex"3ff0000000000001bff00000000000003cb00000000000004000000000000000bff0000000000001bff00000000000010000000000000000"
        hex"3ff00000000000003ca00000000000003ff00000000000003fefffffffffffff3ca000000000000043400000000000000000000000000000"
        hex"3ff00000000000013ca00000000000003ff00000000000023ff00000000000003ca000000000000143400000000000010000000000000000"
        hex"43400000000000003ff00000000000004340000000000000433fffffffffffff434000000000000043400000000000000000000000000000"
        hex"400921fb54442d184005bf0a8b14576940177082efac42403fdb1786497ead78402114580b45d4743ff27ddbf6271dbe0000000000000000"
        hex"000012688b70e62b3fe00000000000003fe0000000000000bfe00000000000000000093445b87316000024d116e1cc560000000000000001"
        hex"00000000000000013fe00000000000003fe0000000000000bfe0000000000000000000000000000000000000000000020000000000000001"
        hex"7ff000000000000000000000000000007ff00000000000007ff00000000000007ff80000000000007ff00000000000000000000000000000"
        hex"3ff000000000000000000000000000003ff00000000000003ff000000000000000000000000000007ff00000000000000000000000000000"
        hex"000000000000000000000000000000000000000000000000000000000000000000000000000000007ff80000000000000000000000000000"
        hex"3ff000000000000040080000000000004010000000000000c00000000000000040080000000000003fd55555555555550000000000000001"
        hex"00000000000000017fefffffffffffff7fefffffffffffffffefffffffffffff3ccfffffffffffff00000000000000000000000000000001"
        hex"7fefffffffffffff00000000000000017fefffffffffffff7fefffffffffffff3ccfffffffffffff7ff00000000000000000000000000000"
        hex"3ff00000000000007ff00000000000007ff0000000000000fff00000000000007ff000000000000000000000000000000000000000000001"
        hex"7ff000000000000040000000000000007ff00000000000007ff00000000000007ff00000000000007ff00000000000000000000000000000"
        hex"00100000000000003fe00000000000003fe0000000000000bfe0000000000000000800000000000000200000000000000000000000000001"
        hex"3fd55555555555554008000000000000400aaaaaaaaaaaabc0055555555555553ff00000000000003fbc71c71c71c71c0000000000000001"
        hex"000012688b70e62b4005bf0a8b1457694005bf0a8b145769c005bf0a8b1457690000320a064c393b000006c5a5f77c6d0000000000000001"
        hex"bff00000000000007ff00000000000007ff0000000000000fff0000000000000fff000000000000080000000000000000000000000000001"
        hex"40000000000000003ff000000000000040080000000000003ff0000000000000400000000000000040000000000000000000000000000000"
        hex"7fefffffffffffff40000000000000007fefffffffffffff7fefffffffffffff7ff00000000000007fdfffffffffffff0000000000000000";
    /// @dev Rows: a, its root.
    bytes private constant ROOTS =
        hex"00000000000000000000000000000000800000000000000080000000000000003ff00000000000003ff00000000000004000000000000000"
        hex"3ff6a09e667f3bcdbff00000000000007ff80000000000007ff80000000000007ff80000000000007ff00000000000007ff0000000000000"
        hex"00000000000000011e60000000000000000012688b70e62b1fc1297872d9cbae7fefffffffffffff5fefffffffffffff4010000000000000"
        hex"400000000000000040080000000000003ffbb67ae8584caa3fb999999999999a3fd43d136248490f";
    /// @dev Rows: a, the binary32 nearest to it.
    bytes private constant NARROW =
        hex"00000000000000000000000000000000800000000000000000000000800000003ff0000000000000000000003f8000003fd5555555555555"
        hex"000000003eaaaaabc00400000000000000000000c02000007ff8000000000000000000007fc000007ff0000000000000000000007f800000"
        hex"fff000000000000000000000ff80000048078287f49c4a1d000000007f80000047effffff0000000000000007f8000003696d601ad376ab9"
        hex"0000000000000001368ff868bf4d956a0000000000000000000012688b70e62b0000000000000000380fffffe8c9d9fb0000000000800000"
        hex"36a000000000000000000000000000013690000000000000000000000000000036980000000000000000000000000001380ffffff0000000"
        hex"0000000000800000";
    /// @dev Rows: a binary32, the binary64 equal to it.
    bytes private constant WIDE =
        hex"0000000000000000000000000000000000000000800000008000000000000000000000003f8000003ff000000000000000000000bf800000"
        hex"bff0000000000000000000007fc000007ff8000000000000000000007f8000007ff000000000000000000000ff800000fff0000000000000"
        hex"000000000000000136a0000000000000000000000000000336b800000000000000000000008000003810000000000000000000007f7fffff"
        hex"47efffffe0000000000000003dcccccd3fb99999a0000000";
    StepJudge private judge = new StepJudge();

    function _at(bytes memory rows, uint256 place) private pure returns (uint64 word) {
        assembly ("memory-safe") {
            word := shr(192, mload(add(add(rows, 32), mul(8, place))))
        }
    }

    function _compute(IStepJudge.Operation operation, uint64 a, uint64 b) private view returns (uint64) {
        return judge.compute(operation, abi.encodePacked(a, b));
    }

    function test_pairs_areIeee754() external view {
        for (uint256 at = 0; at < PAIRS.length / 8; at += 7) {
            (uint64 a, uint64 b) = (_at(PAIRS, at), _at(PAIRS, at + 1));
            same(_compute(IStepJudge.Operation.WideAdd, a, b), _at(PAIRS, at + 2), "sum");
            same(_compute(IStepJudge.Operation.WideSubtract, a, b), _at(PAIRS, at + 3), "difference");
            same(_compute(IStepJudge.Operation.WideMultiply, a, b), _at(PAIRS, at + 4), "product");
            same(_compute(IStepJudge.Operation.WideDivide, a, b), _at(PAIRS, at + 5), "quotient");
            same(_compute(IStepJudge.Operation.WideLess, a, b), _at(PAIRS, at + 6), "less");
        }
    }

    function test_rootsAndConversions_areIeee754() external view {
        for (uint256 at = 0; at < ROOTS.length / 8; at += 2) {
            bytes memory a = abi.encodePacked(_at(ROOTS, at));
            same(judge.compute(IStepJudge.Operation.WideSquareRoot, a), _at(ROOTS, at + 1), "root");
        }
        for (uint256 at = 0; at < NARROW.length / 8; at += 2) {
            bytes memory a = abi.encodePacked(_at(NARROW, at));
            same(judge.compute(IStepJudge.Operation.Narrow, a), _at(NARROW, at + 1), "narrow");
        }
        for (uint256 at = 0; at < WIDE.length / 8; at += 2) {
            bytes memory a = abi.encodePacked(uint32(_at(WIDE, at)));
            same(judge.compute(IStepJudge.Operation.Widen, a), _at(WIDE, at + 1), "wide");
        }
    }

    /// @dev Of two binary32 numbers the exact product fits in binary64, and narrows to SoftFloat's.
    function testFuzz_product_narrowsToTheFloats(uint32 a, uint32 b) external view {
        uint64 wideA = judge.compute(IStepJudge.Operation.Widen, abi.encodePacked(a));
        uint64 wideB = judge.compute(IStepJudge.Operation.Widen, abi.encodePacked(b));
        uint64 product = _compute(IStepJudge.Operation.WideMultiply, wideA, wideB);
        same(judge.compute(IStepJudge.Operation.Narrow, abi.encodePacked(product)), SoftFloat.mul(a, b), "product");
        bytes memory slice = abi.encodePacked(uint64(0), a, b);
        uint64 sum = judge.compute(IStepJudge.Operation.WideDot, slice);
        same(sum, _compute(IStepJudge.Operation.WideAdd, 0, product), "slice of one");
    }

    function test_choicesExponentsAndPowers() external view {
        bytes memory choice = abi.encodePacked(uint32(1), uint32(7), uint32(9));
        same(judge.compute(IStepJudge.Operation.Select, choice), 7, "first");
        choice = abi.encodePacked(uint32(0), uint32(7), uint32(9));
        same(judge.compute(IStepJudge.Operation.Select, choice), 9, "second");
        choice = abi.encodePacked(uint32(5), uint64(7), uint64(9));
        same(judge.compute(IStepJudge.Operation.WideSelect, choice), 7, "first, wide");
        choice = abi.encodePacked(uint32(0), uint64(7), uint64(9));
        same(judge.compute(IStepJudge.Operation.WideSelect, choice), 9, "second, wide");
        // 2^-3: 1.5 * 2^23 - 3.
        same(judge.compute(IStepJudge.Operation.PowerOfTwo, abi.encodePacked(uint32(0x4b3ffffd))), 0x3e000000, "2^-3");
        // 12 = 1.5 * 2^3, 0.375 = 1.5 * 2^-2.
        uint64 half = 0x3ff8000000000000;
        bytes memory twelve = abi.encodePacked(uint64(0x4028000000000000));
        same(judge.compute(IStepJudge.Operation.WideExponent, twelve), 0x4008000000000000, "3");
        same(judge.compute(IStepJudge.Operation.WideSignificand, twelve), half, "1.5 of 12");
        bytes memory small = abi.encodePacked(uint64(0x3fd8000000000000));
        same(judge.compute(IStepJudge.Operation.WideExponent, small), 0xc000000000000000, "-2");
        same(judge.compute(IStepJudge.Operation.WideSignificand, small), half, "1.5 of 0.375");
        same(judge.compute(IStepJudge.Operation.WideExponent, abi.encodePacked(ONE)), 0, "0");
    }

    function test_judge_tellsTheTruthUnderItsRootOnly() external {
        IStepJudge.Step memory step =
            IStepJudge.Step(IStepJudge.Operation.WideAdd, abi.encodePacked(ONE, ONE), 0x4000000000000000);
        bytes32[] memory hashes = new bytes32[](1);
        hashes[0] = judge.stepLeaf(step);
        (bool right, uint64 truth) = judge.judge(MerkleTree.rootOf(hashes), 1, 0, step, new bytes32[](0));
        check(right && truth == 0x4000000000000000, "1 + 1 = 2");
        step.result = ONE;
        bytes32 root = MerkleTree.rootOf(hashes);
        vm.expectPartialRevert(IStepJudge.StepJudgeProofInvalid.selector);
        judge.judge(root, 1, 0, step, new bytes32[](0));
        hashes[0] = judge.stepLeaf(step);
        (right, truth) = judge.judge(MerkleTree.rootOf(hashes), 1, 0, step, new bytes32[](0));
        check(!right && truth == 0x4000000000000000, "1 + 1 is not 1");
    }
}
