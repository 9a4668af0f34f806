// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Int8Dot} from "./Int8Dot.sol";

/// @title IEEE 754 binary32 in integers, round to nearest even
/// @notice A float is its 32 bits in the low end of a uint256; bits above them must be zero. Every NaN that comes out is the
/// kernels' one canonical NaN (runtime/kernels/lanes.h). Two normal numbers take a short way through each operation;
/// the rest is exact integer arithmetic with one rounding at its end.
library SoftFloat {
    uint256 internal constant NAN = 0x7fc00000;
    uint256 internal constant INFINITY = 0x7f800000;
    uint256 private constant SIGN = 0x80000000;
    uint256 private constant MAGNITUDE = 0x7fffffff;
    /// @dev Of the lowest bit of the significand: 127 + 23.
    int256 private constant BIAS = 150;

    /// @dev Outcome of a comparison; a NaN is unordered with everything, itself too.
    enum Order {
        Less,
        Equal,
        Greater,
        Unordered
    }

    function add(uint256 a, uint256 b) internal pure returns (uint256 result) {
        bool done;
        assembly ("memory-safe") {
            let larger := a
            let smaller := b
            if lt(and(a, MAGNITUDE), and(b, MAGNITUDE)) {
                larger := b
                smaller := a
            }
            let exponent := and(shr(23, larger), 0xff)
            let distance := and(shr(23, smaller), 0xff)
            // Both normal: exponents 1 to 254, and 0 wraps round.
            if and(lt(sub(exponent, 1), 254), lt(sub(distance, 1), 254)) {
                distance := sub(exponent, distance)
                // What lies 40 places lower only decides the direction of rounding, at any distance.
                if gt(distance, 40) { distance := 40 }
                let sum := shl(40, or(and(larger, 0x7fffff), 0x800000))
                let term := shl(sub(40, distance), or(and(smaller, 0x7fffff), 0x800000))
                switch and(xor(a, b), SIGN)
                case 0 {
                    sum := add(sum, term)
                    let up := shr(64, sum)
                    exponent := add(exponent, up)
                    let drop := add(40, up)
                    sum := shr(drop, add(sum, add(sub(shl(sub(drop, 1), 1), 1), and(shr(drop, sum), 1))))
                    // A carry out of the significand runs into the exponent, as it should.
                    result := sub(add(shl(23, exponent), sum), 0x800000)
                    if gt(result, INFINITY) { result := INFINITY }
                    result := or(result, and(larger, SIGN))
                    done := 1
                }
                default {
                    sum := sub(sum, term)
                    switch shr(62, sum)
                    case 0 {
                        // Only exponents that differ by less than two cancel more than one place.
                        if iszero(shr(56, sum)) {
                            if iszero(shr(32, sum)) {
                                sum := shl(32, sum)
                                exponent := sub(exponent, 32)
                            }
                            if iszero(shr(48, sum)) {
                                sum := shl(16, sum)
                                exponent := sub(exponent, 16)
                            }
                            if iszero(shr(56, sum)) {
                                sum := shl(8, sum)
                                exponent := sub(exponent, 8)
                            }
                        }
                        if iszero(shr(60, sum)) {
                            sum := shl(4, sum)
                            exponent := sub(exponent, 4)
                        }
                        if iszero(shr(62, sum)) {
                            sum := shl(2, sum)
                            exponent := sub(exponent, 2)
                        }
                        if iszero(shr(63, sum)) {
                            sum := shl(1, sum)
                            exponent := sub(exponent, 1)
                        }
                    }
                    case 1 {
                        sum := shl(1, sum)
                        exponent := sub(exponent, 1)
                    }
                    // A zero or subnormal difference goes the long way.
                    if sgt(exponent, 0) {
                        if sum {
                            sum := shr(40, add(sum, add(0x7fffffffff, and(shr(40, sum), 1))))
                            result := or(sub(add(shl(23, exponent), sum), 0x800000), and(larger, SIGN))
                            done := 1
                        }
                    }
                }
            }
        }
        if (!done) return _add(a, b);
    }

    function sub(uint256 a, uint256 b) internal pure returns (uint256) {
        return add(a, b ^ SIGN);
    }

    function mul(uint256 a, uint256 b) internal pure returns (uint256 result) {
        bool done;
        assembly ("memory-safe") {
            let left := and(shr(23, a), 0xff)
            let right := and(shr(23, b), 0xff)
            if and(lt(sub(left, 1), 254), lt(sub(right, 1), 254)) {
                let product := mul(or(and(a, 0x7fffff), 0x800000), or(and(b, 0x7fffff), 0x800000))
                let up := shr(47, product)
                let exponent := sub(add(add(left, right), up), 127)
                if sgt(exponent, 0) {
                    let drop := add(23, up)
                    product := shr(drop, add(product, add(sub(shl(sub(drop, 1), 1), 1), and(shr(drop, product), 1))))
                    result := sub(add(shl(23, exponent), product), 0x800000)
                    if gt(result, INFINITY) { result := INFINITY }
                    result := or(result, and(xor(a, b), SIGN))
                    done := 1
                }
            }
        }
        if (!done) return _mul(a, b);
    }

    function div(uint256 a, uint256 b) internal pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        (uint256 top, int256 topExponent) = _split(a);
        (uint256 bottom, int256 bottomExponent) = _split(b);
        if (_isInfinite(a)) return _isInfinite(b) ? NAN : sign | INFINITY;
        if (_isInfinite(b)) return sign;
        if (bottom == 0) return top == 0 ? NAN : sign | INFINITY;
        unchecked {
            uint256 scaled = top << 64;
            uint256 quotient = scaled / bottom;
            // The lowest bit says that something was left over, which is all that rounding needs to know.
            if (quotient * bottom != scaled) quotient |= 1;
            return sign | round(quotient, topExponent - bottomExponent - 64);
        }
    }

    function sqrt(uint256 a) internal pure returns (uint256) {
        if (_isNan(a)) return NAN;
        if (a & MAGNITUDE == 0) return a;
        if (a & SIGN != 0) return NAN;
        if (a == INFINITY) return a;
        unchecked {
            (uint256 significand, int256 exponent) = _split(a);
            uint256 scaled = significand << 64;
            exponent -= 64;
            if (exponent % 2 != 0) {
                scaled <<= 1;
                exponent -= 1;
            }
            uint256 root = Int8Dot.isqrt(scaled);
            if (root * root != scaled) root |= 1;
            return round(root, exponent / 2);
        }
    }

    function compare(uint256 a, uint256 b) internal pure returns (Order) {
        if (_isNan(a) || _isNan(b)) return Order.Unordered;
        if (a == b || (a | b) & MAGNITUDE == 0) return Order.Equal;
        bool less;
        if ((a ^ b) & SIGN != 0) less = a & SIGN != 0;
        else less = a & SIGN == 0 ? a < b : a > b;
        return less ? Order.Less : Order.Greater;
    }

    /// @notice Nearest float of an integer.
    function fromInt(int64 value) internal pure returns (uint256) {
        unchecked {
            if (value >= 0) return round(uint256(int256(value)), 0);
            return SIGN | round(uint256(-int256(value)), 0);
        }
    }

    /// @notice Towards zero; too large saturates and NaN is 0, as WebAssembly's i32.trunc_sat_f32_s.
    function toInt(uint256 a) internal pure returns (int32) {
        if (_isNan(a)) return 0;
        unchecked {
            int256 exponent = int256((a >> 23) & 0xff) - BIAS;
            bool negative = a & SIGN != 0;
            if (exponent > 7) return negative ? type(int32).min : type(int32).max;
            if (exponent < -23) return 0;
            uint256 significand = (a & 0x7fffff) | 0x800000;
            int256 whole =
                int256(exponent < 0 ? significand >> uint256(-exponent) : significand << uint256(exponent));
            return int32(negative ? -whole : whole);
        }
    }

    // ---------------------------------------------------------------- the long way

    function _add(uint256 a, uint256 b) private pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        if (_isInfinite(a)) return _isInfinite(b) && a != b ? NAN : a;
        if (_isInfinite(b)) return b;
        if (a & MAGNITUDE < b & MAGNITUDE) (a, b) = (b, a);
        unchecked {
            (uint256 larger, int256 exponent) = _split(a);
            (uint256 smaller, int256 smallerExponent) = _split(b);
            // Beyond 64 places only whether the smaller is zero matters.
            uint256 distance = uint256(exponent - smallerExponent);
            if (distance > 64) distance = 64;
            larger <<= 64;
            smaller <<= 64 - distance;
            if ((a ^ b) & SIGN == 0) return (a & SIGN) | round(larger + smaller, exponent - 64);
            // x - x is +0 in this rounding.
            if (larger == smaller) return 0;
            return (a & SIGN) | round(larger - smaller, exponent - 64);
        }
    }

    function _mul(uint256 a, uint256 b) private pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        if (_isInfinite(a) || _isInfinite(b)) {
            return a & MAGNITUDE == 0 || b & MAGNITUDE == 0 ? NAN : sign | INFINITY;
        }
        unchecked {
            (uint256 left, int256 leftExponent) = _split(a);
            (uint256 right, int256 rightExponent) = _split(b);
            return sign | round(left * right, leftExponent + rightExponent);
        }
    }

    /// @dev A finite magnitude is significand * 2^exponent.
    function _split(uint256 a) private pure returns (uint256 significand, int256 exponent) {
        unchecked {
            uint256 field = (a >> 23) & 0xff;
            if (field == 0) return (a & 0x7fffff, 1 - BIAS);
            return ((a & 0x7fffff) | 0x800000, int256(field) - BIAS);
        }
    }

    /// @dev The float nearest to value * 2^exponent, for a value below 2^128. Rounding happens once: a value whose lowest
    /// bit stands for a remainder must have more than 25 bits.
    function round(uint256 value, int256 exponent) internal pure returns (uint256) {
        if (value == 0) return 0;
        unchecked {
            uint256 top = 0;
            for (uint256 step = 64; step > 0; step >>= 1) {
                if (value >> (top + step) > 0) top += step;
            }
            // The exponent field that a normal number of this size has; below 1 it is subnormal.
            int256 field = exponent + int256(top) + 127;
            if (field > 254) return INFINITY;
            int256 drop = (field > 0 ? int256(top) - 23 : 1 - BIAS - exponent);
            uint256 significand;
            if (drop <= 0) {
                significand = value << uint256(-drop);
            } else {
                if (drop > 200) return 0;
                uint256 half = 1 << (uint256(drop) - 1);
                significand = (value + half - 1 + ((value >> uint256(drop)) & 1)) >> uint256(drop);
            }
            // A carry out of the significand makes the next exponent, up to infinity.
            return field > 0 ? (uint256(field) << 23) + significand - 0x800000 : significand;
        }
    }

    function _isNan(uint256 a) private pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }

    function _isInfinite(uint256 a) private pure returns (bool) {
        return a & MAGNITUDE == INFINITY;
    }
}
