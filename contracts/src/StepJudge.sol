// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStepJudge} from "./interfaces/IStepJudge.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";
import {SoftFloat} from "./libraries/SoftFloat.sol";

/// @title Judge of one committed binary32 step
/// @notice A trace commits to its steps by a Merkle root. Whoever has found the step at which a trace leaves the kernels'
/// arithmetic shows it here, and the answer follows from its bytes alone. The judge keeps nothing and holds nothing;
/// what a wrong step costs is the affair of the contract that asks.
contract StepJudge is IStepJudge {
    /// @dev Words of each slice of a dot product, so that one step stays far below a transaction's gas.
    uint256 private constant MAX_SLICE = 1024;

    /// @notice Whether the step that stands at `index` under `root` is right, and what comes out in truth.
    function judge(bytes32 root, uint256 count, uint256 index, Step calldata step, bytes32[] calldata proof)
        external
        pure
        returns (bool right, uint32 truth)
    {
        require(
            MerkleTree.verify(root, stepLeaf(step), index, count, proof), StepJudgeProofInvalid(root, index)
        );
        truth = compute(step.operation, step.operands);
        right = truth == step.result;
    }

    /// @notice The result of an operation on these operands.
    function compute(Operation operation, bytes calldata operands) public pure returns (uint32) {
        if (operation == Operation.Dot) return uint32(_dot(operands));
        uint256 words = _isUnary(operation) ? 1 : 2;
        require(operands.length == 4 * words, StepJudgeOperands(operation, operands.length));
        uint256 a = _word(operands, 0);
        if (operation == Operation.SquareRoot) return uint32(SoftFloat.sqrt(a));
        if (operation == Operation.FromInteger) return uint32(SoftFloat.fromInt(int32(uint32(a))));
        if (operation == Operation.ToInteger) return uint32(SoftFloat.toInt(a));
        uint256 b = _word(operands, 1);
        if (operation == Operation.Add) return uint32(SoftFloat.add(a, b));
        if (operation == Operation.Subtract) return uint32(SoftFloat.sub(a, b));
        if (operation == Operation.Multiply) return uint32(SoftFloat.mul(a, b));
        if (operation == Operation.Divide) return uint32(SoftFloat.div(a, b));
        SoftFloat.Order order = SoftFloat.compare(a, b);
        if (operation == Operation.Equal) return order == SoftFloat.Order.Equal ? 1 : 0;
        if (order == SoftFloat.Order.Less) return 1;
        return operation == Operation.LessOrEqual && order == SoftFloat.Order.Equal ? 1 : 0;
    }

    /// @notice Hash of a step as a leaf of its trace.
    function stepLeaf(Step calldata step) public pure returns (bytes32) {
        return MerkleTree.leaf(abi.encodePacked(uint8(step.operation), step.result, step.operands));
    }

    /// @dev The kernels' order: one accumulator takes the products in turn, each rounded before it is added.
    function _dot(bytes calldata operands) private pure returns (uint256 sum) {
        uint256 words = operands.length / 4;
        uint256 length = words / 2;
        require(
            operands.length % 4 == 0 && words % 2 == 1 && length > 0 && length <= MAX_SLICE,
            StepJudgeOperands(Operation.Dot, operands.length)
        );
        sum = _word(operands, 0);
        for (uint256 k = 1; k <= length; k++) {
            sum = SoftFloat.add(sum, SoftFloat.mul(_word(operands, k), _word(operands, length + k)));
        }
    }

    function _isUnary(Operation operation) private pure returns (bool) {
        return operation == Operation.SquareRoot || operation == Operation.FromInteger
            || operation == Operation.ToInteger;
    }

    /// @dev The word at a place; callers have checked the length.
    function _word(bytes calldata operands, uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := shr(224, calldataload(add(operands.offset, shl(2, place))))
        }
    }
}
