// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Judgement of one committed step of the kernels' arithmetic
interface IStepJudge {
    /// @dev Comparisons give 1 or 0. Integers are int32. Dot takes an accumulator, then both slices. Select takes a truth
    /// and two floats. PowerOfTwo takes 1.5 * 2^23 + n. Wide operations are binary64; WideDot takes a wide
    /// accumulator and two slices of binary32.
    enum Operation {
        Add,
        Subtract,
        Multiply,
        Divide,
        SquareRoot,
        Less,
        LessOrEqual,
        Equal,
        FromInteger,
        ToInteger,
        Dot,
        Select,
        PowerOfTwo,
        WideAdd,
        WideSubtract,
        WideMultiply,
        WideDivide,
        WideSquareRoot,
        WideLess,
        Widen,
        Narrow,
        WideSelect,
        WideExponent,
        WideSignificand,
        WideDot
    }

    /// @param operands Words, big-endian, one after the other: 64 bits a binary64 number, 32 bits anything else.
    /// @param result What the author of the trace says came out: 64 bits, of which anything but binary64 has 32.
    struct Step {
        Operation operation;
        bytes operands;
        uint64 result;
    }

    error StepJudgeOperands(Operation operation, uint256 length);
    error StepJudgeProofInvalid(bytes32 root, uint256 index);

    function judge(bytes32 root, uint256 count, uint256 index, Step calldata step, bytes32[] calldata proof)
        external
        pure
        returns (bool right, uint64 truth);
    function compute(Operation operation, bytes calldata operands) external pure returns (uint64);
    function stepLeaf(Step calldata step) external pure returns (bytes32);
}
