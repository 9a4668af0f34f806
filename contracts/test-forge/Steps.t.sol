// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StepJudge} from "../src/StepJudge.sol";
import {IStepJudge} from "../src/interfaces/IStepJudge.sol";
import {SoftFloat} from "../src/libraries/SoftFloat.sol";
import {Base, vm} from "./Base.sol";

/// @title Every operation of the step judge, and soft-float at its edges
contract StepsTest is Base {
    uint32 private constant ONE = 0x3f800000;
    uint32 private constant TWO = 0x40000000;
    uint32 private constant INFINITY = 0x7f800000;
    uint32 private constant NAN = 0x7fc00000;
    uint32 private constant SMALLEST = 1;
    uint32 private constant LARGEST = 0x7f7fffff;
    StepJudge private judge = new StepJudge();

    function _unary(IStepJudge.Operation operation, uint32 a) private view returns (uint32) {
        return uint32(judge.compute(operation, abi.encodePacked(a)));
    }

    function _binary(IStepJudge.Operation operation, uint32 a, uint32 b) private view returns (uint32) {
        return uint32(judge.compute(operation, abi.encodePacked(a, b)));
    }

    function testFuzz_compute_isTheLibrarysOperation(uint32 a, uint32 b) external view {
        same(_binary(IStepJudge.Operation.Add, a, b), SoftFloat.add(a, b), "add");
        same(_binary(IStepJudge.Operation.Subtract, a, b), SoftFloat.sub(a, b), "subtract");
        same(_binary(IStepJudge.Operation.Multiply, a, b), SoftFloat.mul(a, b), "multiply");
        same(_binary(IStepJudge.Operation.Divide, a, b), SoftFloat.div(a, b), "divide");
        same(_unary(IStepJudge.Operation.SquareRoot, a), SoftFloat.sqrt(a), "root");
        // forge-lint: disable-next-line(unsafe-typecast)
        same(_unary(IStepJudge.Operation.FromInteger, a), SoftFloat.fromInt(int32(a)), "from an integer");
        // forge-lint: disable-next-line(unsafe-typecast)
        same(_unary(IStepJudge.Operation.ToInteger, a), uint32(SoftFloat.toInt(a)), "to an integer");
        SoftFloat.Order order = SoftFloat.compare(a, b);
        same(_binary(IStepJudge.Operation.Less, a, b), order == SoftFloat.Order.Less ? 1 : 0, "less");
        same(_binary(IStepJudge.Operation.Equal, a, b), order == SoftFloat.Order.Equal ? 1 : 0, "equal");
        bool atMost = order == SoftFloat.Order.Less || order == SoftFloat.Order.Equal;
        same(_binary(IStepJudge.Operation.LessOrEqual, a, b), atMost ? 1 : 0, "at most");
    }

    function test_compute_comparesNumbersAndNoNaN() external view {
        same(_binary(IStepJudge.Operation.Equal, ONE, ONE), 1, "1 = 1");
        same(_binary(IStepJudge.Operation.Equal, 0, 0x80000000), 1, "0 = -0");
        same(_binary(IStepJudge.Operation.LessOrEqual, ONE, ONE), 1, "1 <= 1");
        same(_binary(IStepJudge.Operation.LessOrEqual, ONE, TWO), 1, "1 <= 2");
        same(_binary(IStepJudge.Operation.LessOrEqual, TWO, ONE), 0, "2 <= 1");
        same(_binary(IStepJudge.Operation.Less, ONE, ONE), 0, "1 < 1");
        same(_binary(IStepJudge.Operation.Less, 0xc0000000, 0xbf800000), 1, "-2 < -1");
        same(_binary(IStepJudge.Operation.Less, 0xbf800000, ONE), 1, "-1 < 1");
        same(_binary(IStepJudge.Operation.Equal, NAN, NAN), 0, "NaN = NaN");
        same(_binary(IStepJudge.Operation.LessOrEqual, NAN, ONE), 0, "NaN <= 1");
    }

    /// @dev One accumulator takes the products in turn.
    function testFuzz_dot_isOneAccumulator(uint32[7] memory words) external view {
        uint256 sum = words[0];
        for (uint256 k = 1; k <= 3; k++) sum = SoftFloat.add(sum, SoftFloat.mul(words[k], words[3 + k]));
        bytes memory operands;
        for (uint256 k = 0; k < 7; k++) operands = abi.encodePacked(operands, words[k]);
        same(judge.compute(IStepJudge.Operation.Dot, operands), sum, "dot");
    }

    function testFuzz_compute_refusesOtherLengths(uint8 operation, uint16 length) external {
        // Bytes of each operation's operands, in the order of the enumeration; 0 stands for a slice.
        uint8[25] memory sizes =
            [8, 8, 8, 8, 4, 8, 8, 8, 4, 4, 0, 12, 4, 16, 16, 16, 16, 8, 16, 4, 8, 20, 8, 8, 0];
        IStepJudge.Operation which = IStepJudge.Operation(operation % 25);
        uint256 bytes_ = bound(length, 0, 9_000);
        bool right = bytes_ == sizes[operation % 25];
        if (sizes[operation % 25] == 0) {
            uint256 head = which == IStepJudge.Operation.Dot ? 4 : 8;
            right = bytes_ > head && (bytes_ - head) % 8 == 0 && bytes_ - head <= 8 * 1024;
        }
        if (!right) vm.expectPartialRevert(IStepJudge.StepJudgeOperands.selector);
        judge.compute(which, new bytes(bytes_));
    }

    function test_dot_takesTheLongestSliceAndNoLonger() external {
        judge.compute(IStepJudge.Operation.Dot, new bytes(4 * 2_049));
        vm.expectPartialRevert(IStepJudge.StepJudgeOperands.selector);
        judge.compute(IStepJudge.Operation.Dot, new bytes(4 * 2_051));
        vm.expectPartialRevert(IStepJudge.StepJudgeOperands.selector);
        judge.compute(IStepJudge.Operation.Dot, new bytes(4));
        vm.expectPartialRevert(IStepJudge.StepJudgeOperands.selector);
        judge.compute(IStepJudge.Operation.Dot, new bytes(13));
    }

    // ---------------------------------------------------------------- soft-float at its edges

    function test_add_edges() external pure {
        same(SoftFloat.add(LARGEST, LARGEST), INFINITY, "overflow");
        same(SoftFloat.add(INFINITY, 0xff800000), NAN, "inf - inf");
        same(SoftFloat.add(INFINITY, INFINITY), INFINITY, "inf + inf");
        same(SoftFloat.add(INFINITY, ONE), INFINITY, "inf + 1");
        same(SoftFloat.add(ONE, 0xff800000), 0xff800000, "1 - inf");
        same(SoftFloat.add(NAN, ONE), NAN, "NaN + 1");
        same(SoftFloat.add(ONE, 0x7f800001), NAN, "1 + a signalling NaN");
        same(SoftFloat.add(0x80000000, 0x80000000), 0x80000000, "-0 - 0");
        same(SoftFloat.add(0, 0x80000000), 0, "0 - 0");
        same(SoftFloat.add(SMALLEST, SMALLEST), 2, "subnormals");
        same(SoftFloat.add(0x00800000, 0x80000001), 0x007fffff, "into the subnormals");
        same(SoftFloat.add(ONE, 0xbf7fffff), 0x33800000, "cancels 24 places");
        same(SoftFloat.add(0x3f800001, 0xbf800000), 0x34000000, "cancels 23 places");
        same(SoftFloat.add(ONE, 0x33800000), ONE, "half a unit, to even");
        same(SoftFloat.add(0x3f800001, 0x33800000), 0x3f800002, "half a unit, to even, up");
        same(SoftFloat.add(ONE, 0x00000001), ONE, "far apart");
        same(SoftFloat.add(0x3f7fffff, 0x33000000), ONE, "carries into the exponent");
    }

    function test_mulAndDiv_edges() external pure {
        same(SoftFloat.mul(INFINITY, 0), NAN, "inf * 0");
        same(SoftFloat.mul(0, INFINITY), NAN, "0 * inf");
        same(SoftFloat.mul(INFINITY, 0xc0000000), 0xff800000, "inf * -2");
        same(SoftFloat.mul(NAN, 0), NAN, "NaN * 0");
        same(SoftFloat.mul(LARGEST, TWO), INFINITY, "overflow");
        same(SoftFloat.mul(SMALLEST, 0x3f000000), 0, "to zero, to even");
        same(SoftFloat.mul(3, 0x3f000000), 2, "to even");
        same(SoftFloat.mul(SMALLEST, 0x00000001), 0, "far below");
        same(SoftFloat.mul(0x00800000, 0x3f000000), 0x00400000, "into the subnormals");
        same(SoftFloat.div(ONE, 0), INFINITY, "1 / 0");
        same(SoftFloat.div(0, 0), NAN, "0 / 0");
        same(SoftFloat.div(INFINITY, INFINITY), NAN, "inf / inf");
        same(SoftFloat.div(INFINITY, TWO), INFINITY, "inf / 2");
        same(SoftFloat.div(ONE, 0xff800000), 0x80000000, "1 / -inf");
        same(SoftFloat.div(NAN, ONE), NAN, "NaN / 1");
        same(SoftFloat.div(ONE, 0x40400000), 0x3eaaaaab, "1 / 3");
        same(SoftFloat.div(SMALLEST, LARGEST), 0, "underflow");
        same(SoftFloat.div(LARGEST, SMALLEST), INFINITY, "overflow");
    }

    function test_sqrtAndConversions_edges() external pure {
        same(SoftFloat.sqrt(0x40800000), TWO, "2");
        same(SoftFloat.sqrt(TWO), 0x3fb504f3, "root of 2");
        same(SoftFloat.sqrt(0x80000000), 0x80000000, "-0");
        same(SoftFloat.sqrt(0xbf800000), NAN, "of -1");
        same(SoftFloat.sqrt(NAN), NAN, "of NaN");
        same(SoftFloat.sqrt(INFINITY), INFINITY, "of inf");
        same(SoftFloat.sqrt(SMALLEST), 0x1a3504f3, "of the smallest");
        same(SoftFloat.fromInt(0), 0, "0");
        same(SoftFloat.fromInt(-1), 0xbf800000, "-1");
        same(SoftFloat.fromInt(16_777_217), 0x4b800000, "2^24 + 1, to even");
        same(SoftFloat.fromInt(16_777_219), 0x4b800002, "2^24 + 3, to even");
        check(SoftFloat.toInt(NAN) == 0 && SoftFloat.toInt(0x3f7fffff) == 0, "0");
        check(SoftFloat.toInt(INFINITY) == type(int32).max && SoftFloat.toInt(0xff800000) == type(int32).min, "ends");
        check(SoftFloat.toInt(0x4f000000) == type(int32).max, "2^31");
        check(SoftFloat.toInt(0xcf000000) == type(int32).min, "-2^31");
        check(SoftFloat.toInt(0x4effffff) == 2_147_483_520, "below 2^31");
        check(SoftFloat.toInt(0xc0200000) == -2 && SoftFloat.toInt(0x40200000) == 2, "towards 0");
    }
}
