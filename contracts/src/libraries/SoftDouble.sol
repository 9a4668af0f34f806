// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Int8Dot} from "./Int8Dot.sol";
import {SoftFloat} from "./SoftFloat.sol";

/// @title IEEE 754 binary64 in integers, round to nearest even
/// @notice A double is its 64 bits in the low end of a uint256; bits above them must be zero. Every NaN that comes out is
/// the one canonical NaN. The kernels count losses and gradient norms in binary64: few steps of a trace, so there
/// is no short way here, only exact integer arithmetic with one rounding at its end.
library SoftDouble {
    uint256 internal constant NAN = 0x7ff8000000000000;
    uint256 internal constant INFINITY = 0x7ff0000000000000;
    uint256 private constant SIGN = 0x8000000000000000;
    uint256 private constant MAGNITUDE = 0x7fffffffffffffff;
    uint256 private constant FRACTION = 0xfffffffffffff;
    uint256 private constant HIDDEN = 0x10000000000000;
    /// @dev Of the lowest bit of the significand: 1023 + 52.
    int256 private constant BIAS = 1075;

    function add(uint256 a, uint256 b) internal pure returns (uint256) {
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
            if ((a ^ b) & SIGN == 0) return (a & SIGN) | _round(larger + smaller, exponent - 64);
            // x - x is +0 in this rounding.
            if (larger == smaller) return 0;
            return (a & SIGN) | _round(larger - smaller, exponent - 64);
        }
    }

    function sub(uint256 a, uint256 b) internal pure returns (uint256) {
        return add(a, b ^ SIGN);
    }

    function mul(uint256 a, uint256 b) internal pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        if (_isInfinite(a) || _isInfinite(b)) {
            return a & MAGNITUDE == 0 || b & MAGNITUDE == 0 ? NAN : sign | INFINITY;
        }
        unchecked {
            (uint256 left, int256 leftExponent) = _split(a);
            (uint256 right, int256 rightExponent) = _split(b);
            return sign | _round(left * right, leftExponent + rightExponent);
        }
    }

    function div(uint256 a, uint256 b) internal pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        if (_isInfinite(a)) return _isInfinite(b) ? NAN : sign | INFINITY;
        if (_isInfinite(b)) return sign;
        (uint256 top, int256 topExponent) = _split(a);
        (uint256 bottom, int256 bottomExponent) = _split(b);
        if (bottom == 0) return top == 0 ? NAN : sign | INFINITY;
        unchecked {
            uint256 scaled = top << 128;
            uint256 quotient = scaled / bottom;
            // The lowest bit says that something was left over, which is all that rounding needs to know.
            if (quotient * bottom != scaled) quotient |= 1;
            return sign | _round(quotient, topExponent - bottomExponent - 128);
        }
    }

    function sqrt(uint256 a) internal pure returns (uint256) {
        if (_isNan(a)) return NAN;
        if (a & MAGNITUDE == 0) return a;
        if (a & SIGN != 0) return NAN;
        if (a == INFINITY) return a;
        unchecked {
            (uint256 significand, int256 exponent) = _split(a);
            uint256 scaled = significand << 128;
            exponent -= 128;
            if (exponent % 2 != 0) {
                scaled <<= 1;
                exponent -= 1;
            }
            uint256 root = Int8Dot.isqrt(scaled);
            if (root * root != scaled) root |= 1;
            return _round(root, exponent / 2);
        }
    }

    function less(uint256 a, uint256 b) internal pure returns (bool) {
        if (_isNan(a) || _isNan(b) || (a | b) & MAGNITUDE == 0) return false;
        if ((a ^ b) & SIGN != 0) return a & SIGN != 0;
        return a & SIGN == 0 ? a < b : a > b;
    }

    /// @notice The same number: every binary32 is a binary64.
    function fromFloat(uint256 a) internal pure returns (uint256) {
        uint256 field = (a >> 23) & 0xff;
        uint256 sign = (a & 0x80000000) << 32;
        uint256 significand = a & 0x7fffff;
        if (field == 0xff) return significand == 0 ? sign | INFINITY : NAN;
        unchecked {
            if (field == 0) return sign | _round(significand, -149);
            return sign | _round(significand | 0x800000, int256(field) - 150);
        }
    }

    /// @notice The nearest binary32.
    function toFloat(uint256 a) internal pure returns (uint256) {
        if (_isNan(a)) return SoftFloat.NAN;
        uint256 sign = (a & SIGN) >> 32;
        if (_isInfinite(a)) return sign | SoftFloat.INFINITY;
        (uint256 significand, int256 exponent) = _split(a);
        return sign | SoftFloat.round(significand, exponent);
    }

    /// @notice The exponent of a normal number, unbiased, as binary64.
    function exponentOf(uint256 a) internal pure returns (uint256) {
        unchecked {
            int256 exponent = int256((a >> 52) & 0x7ff) - 1023;
            return exponent < 0 ? SIGN | _round(uint256(-exponent), 0) : _round(uint256(exponent), 0);
        }
    }

    /// @notice The significand of a normal number, from 1 to below 2.
    function significandOf(uint256 a) internal pure returns (uint256) {
        return (a & FRACTION) | 0x3ff0000000000000;
    }

    /// @dev A finite magnitude is significand * 2^exponent.
    function _split(uint256 a) private pure returns (uint256 significand, int256 exponent) {
        unchecked {
            uint256 field = (a >> 52) & 0x7ff;
            if (field == 0) return (a & FRACTION, 1 - BIAS);
            return ((a & FRACTION) | HIDDEN, int256(field) - BIAS);
        }
    }

    /// @dev The double nearest to value * 2^exponent. Rounding happens once: a value whose lowest bit stands for a
    /// remainder must have more than 54 bits.
    function _round(uint256 value, int256 exponent) private pure returns (uint256) {
        if (value == 0) return 0;
        unchecked {
            uint256 top = 0;
            for (uint256 step = 128; step > 0; step >>= 1) {
                if (value >> (top + step) > 0) top += step;
            }
            // The exponent field that a normal number of this size has; below 1 it is subnormal.
            int256 field = exponent + int256(top) + 1023;
            if (field > 2046) return INFINITY;
            int256 drop = (field > 0 ? int256(top) - 52 : 1 - BIAS - exponent);
            uint256 significand;
            if (drop <= 0) {
                significand = value << uint256(-drop);
            } else {
                if (drop > 250) return 0;
                uint256 half = 1 << (uint256(drop) - 1);
                significand = (value + half - 1 + ((value >> uint256(drop)) & 1)) >> uint256(drop);
            }
            // A carry out of the significand makes the next exponent, up to infinity.
            return field > 0 ? (uint256(field) << 52) + significand - HIDDEN : significand;
        }
    }

    function _isNan(uint256 a) private pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }

    function _isInfinite(uint256 a) private pure returns (bool) {
        return a & MAGNITUDE == INFINITY;
    }
}
