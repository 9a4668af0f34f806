// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Judgement of one committed binary32 step
interface IStepJudge {
    /// @dev Comparisons give 1 or 0. Integers are int32. Dot takes an accumulator, then both slices.
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
        Dot
    }

    /// @param operands 32-bit words, big-endian, one after the other.
    /// @param result What the author of the trace says came out, as 32 bits.
    struct Step {
        Operation operation;
        bytes operands;
        uint32 result;
    }

    error StepJudgeOperands(Operation operation, uint256 length);
    error StepJudgeProofInvalid(bytes32 root, uint256 index);

    function judge(bytes32 root, uint256 count, uint256 index, Step calldata step, bytes32[] calldata proof)
        external
        pure
        returns (bool right, uint32 truth);
    function compute(Operation operation, bytes calldata operands) external pure returns (uint32);
    function stepLeaf(Step calldata step) external pure returns (bytes32);
}
