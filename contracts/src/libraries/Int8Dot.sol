// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Dot product of int8 vectors, eight products per MUL
/// @notice Bytes are read as offset binary (value + 128), so that every lane is non-negative. With one vector's bytes in
/// 32-bit lanes and the other's lanes in reverse order, the top lane of one MUL is an 8-term dot product: at most
/// 8 * 255 * 255 < 2^19, and 2^13 such words still fit in 32 bits, so products are summed before the one shift.
library Int8Dot {
    /// @notice Length that both vectors must have is a multiple of 32 and at most this, so that no lane overflows.
    uint256 internal constant MAX_LENGTH = 8192;

    error Int8DotLength(uint256 left, uint256 right);

    /// @notice Sum of left[i] * right[i], both read as two's complement int8.
    function dot(bytes calldata left, bytes calldata right) internal pure returns (int256 result) {
        uint256 length = left.length;
        if (length != right.length || length % 32 != 0 || length > MAX_LENGTH) {
            revert Int8DotLength(length, right.length);
        }
        assembly ("memory-safe") {
            // 0x000000ff repeated: the lowest byte of each of the eight 32-bit lanes.
            let lanes := 0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff
            let ones := 0x0000000100000001000000010000000100000001000000010000000100000001
            let bias := 0x8080808080808080808080808080808080808080808080808080808080808080
            let products := 0
            let sumLeft := 0
            let sumRight := 0
            for { let at := 0 } lt(at, length) { at := add(at, 0x20) } {
                // Two's complement to offset binary is one flip of each byte's top bit.
                let a := xor(calldataload(add(left.offset, at)), bias)
                let b := xor(calldataload(add(right.offset, at)), bias)
                // Sums of all 32 bytes: first per lane (four bytes), then over the lanes by one MUL.
                let al := and(a, lanes)
                let al8 := and(shr(8, a), lanes)
                let al16 := and(shr(16, a), lanes)
                let al24 := and(shr(24, a), lanes)
                sumLeft := add(sumLeft, add(add(al, al8), add(al16, al24)))
                // Reverse the order of b's 32-bit lanes.
                b := or(shr(128, b), shl(128, b))
                b := or(
                    and(shr(64, b), 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff),
                    shl(64, and(b, 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff))
                )
                b := or(
                    and(shr(32, b), 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff),
                    shl(32, and(b, 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff))
                )
                let bl := and(b, lanes)
                let bl8 := and(shr(8, b), lanes)
                let bl16 := and(shr(16, b), lanes)
                let bl24 := and(shr(24, b), lanes)
                sumRight := add(sumRight, add(add(bl, bl8), add(bl16, bl24)))
                products := add(products, mul(al, bl))
                products := add(products, mul(al8, bl8))
                products := add(products, mul(al16, bl16))
                products := add(products, mul(al24, bl24))
            }
            sumLeft := shr(224, mul(sumLeft, ones))
            sumRight := shr(224, mul(sumRight, ones))
            products := shr(224, products)
            // (x - 128)(y - 128) = xy - 128(x + y) + 128 * 128
            result := add(sub(products, shl(7, add(sumLeft, sumRight))), shl(14, length))
        }
    }

    /// @notice Largest r with r * r <= value.
    function isqrt(uint256 value) internal pure returns (uint256) {
        return Math.sqrt(value);
    }
}
