// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStepJudge} from "./interfaces/IStepJudge.sol";
import {MerkleTree} from "./libraries/MerkleTree.sol";
import {SoftDouble} from "./libraries/SoftDouble.sol";
import {SoftFloat} from "./libraries/SoftFloat.sol";

/// @title Judge of one committed step of the kernels' arithmetic
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
        returns (bool right, uint64 truth)
    {
        require(
            MerkleTree.verify(root, stepLeaf(step), index, count, proof), StepJudgeProofInvalid(root, index)
        );
        truth = compute(step.operation, step.operands);
        right = truth == step.result;
    }

    /// @notice The result of an operation on these operands.
    function compute(Operation operation, bytes calldata operands) public pure returns (uint64) {
        if (operation == Operation.Dot || operation == Operation.WideDot) {
            return uint64(_dot(operation, operands));
        }
        require(operands.length == _size(operation), StepJudgeOperands(operation, operands.length));
        uint256 result = operation < Operation.WideAdd ? _float(operation, operands) : _wide(operation, operands);
        return uint64(result);
    }

    /// @notice Hash of a step as a leaf of its trace.
    function stepLeaf(Step calldata step) public pure returns (bytes32) {
        return MerkleTree.leaf(abi.encodePacked(uint8(step.operation), step.result, step.operands));
    }

    function _float(Operation operation, bytes calldata operands) private pure returns (uint256) {
        uint256 a = _word(operands, 0);
        if (operation == Operation.SquareRoot) return SoftFloat.sqrt(a);
        if (operation == Operation.FromInteger) return SoftFloat.fromInt(int32(uint32(a)));
        if (operation == Operation.ToInteger) return uint32(SoftFloat.toInt(a));
        if (operation == Operation.PowerOfTwo) return _powerOfTwo(a);
        uint256 b = _word(operands, 1);
        if (operation == Operation.Add) return SoftFloat.add(a, b);
        if (operation == Operation.Subtract) return SoftFloat.sub(a, b);
        if (operation == Operation.Multiply) return SoftFloat.mul(a, b);
        if (operation == Operation.Divide) return SoftFloat.div(a, b);
        if (operation == Operation.Select) return a != 0 ? b : _word(operands, 2);
        SoftFloat.Order order = SoftFloat.compare(a, b);
        if (operation == Operation.Equal) return order == SoftFloat.Order.Equal ? 1 : 0;
        if (order == SoftFloat.Order.Less) return 1;
        return operation == Operation.LessOrEqual && order == SoftFloat.Order.Equal ? 1 : 0;
    }

    function _wide(Operation operation, bytes calldata operands) private pure returns (uint256) {
        if (operation == Operation.Widen) return SoftDouble.fromFloat(_word(operands, 0));
        if (operation == Operation.WideSelect) return _double(operands, _word(operands, 0) != 0 ? 4 : 12);
        uint256 a = _double(operands, 0);
        if (operation == Operation.Narrow) return SoftDouble.toFloat(a);
        if (operation == Operation.WideSquareRoot) return SoftDouble.sqrt(a);
        if (operation == Operation.WideExponent) return SoftDouble.exponentOf(a);
        if (operation == Operation.WideSignificand) return SoftDouble.significandOf(a);
        uint256 b = _double(operands, 8);
        if (operation == Operation.WideAdd) return SoftDouble.add(a, b);
        if (operation == Operation.WideSubtract) return SoftDouble.sub(a, b);
        if (operation == Operation.WideMultiply) return SoftDouble.mul(a, b);
        if (operation == Operation.WideDivide) return SoftDouble.div(a, b);
        return SoftDouble.less(a, b) ? 1 : 0;
    }

    /// @dev The kernels' order: one accumulator takes the products in turn, each rounded before it is added.
    function _dot(Operation operation, bytes calldata operands) private pure returns (uint256 sum) {
        bool wide = operation == Operation.WideDot;
        uint256 head = wide ? 2 : 1;
        uint256 words = operands.length / 4;
        require(
            operands.length % 4 == 0 && words > head && (words - head) % 2 == 0 && words - head <= 2 * MAX_SLICE,
            StepJudgeOperands(operation, operands.length)
        );
        uint256 length = (words - head) / 2;
        sum = wide ? _double(operands, 0) : _word(operands, 0);
        for (uint256 k = head; k < head + length; k++) {
            (uint256 a, uint256 b) = (_word(operands, k), _word(operands, length + k));
            if (wide) {
                sum = SoftDouble.add(sum, SoftDouble.mul(SoftDouble.fromFloat(a), SoftDouble.fromFloat(b)));
            } else {
                sum = SoftFloat.add(sum, SoftFloat.mul(a, b));
            }
        }
    }

    /// @dev 2^n of 1.5 * 2^23 + n: the low bits of the significand hold n, and go to the exponent's place.
    function _powerOfTwo(uint256 shifted) private pure returns (uint256) {
        unchecked {
            return ((shifted - 0x4b400000 + 127) << 23) & 0xffffffff;
        }
    }

    /// @dev Bytes of the operands; not asked for dot slices.
    function _size(Operation operation) private pure returns (uint256) {
        if (operation < Operation.SquareRoot) return 8;
        if (operation >= Operation.Less && operation <= Operation.Equal) return 8;
        if (operation == Operation.Select) return 12;
        if (operation < Operation.WideAdd || operation == Operation.Widen) return 4;
        if (operation < Operation.WideSquareRoot || operation == Operation.WideLess) return 16;
        return operation == Operation.WideSelect ? 20 : 8;
    }

    /// @dev The word at a place; callers have checked the length.
    function _word(bytes calldata operands, uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := shr(224, calldataload(add(operands.offset, shl(2, place))))
        }
    }

    /// @dev The 64 bits from a byte on; callers have checked the length.
    function _double(bytes calldata operands, uint256 from) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := shr(192, calldataload(add(operands.offset, from)))
        }
    }
}
