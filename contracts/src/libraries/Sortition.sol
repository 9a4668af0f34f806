// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Drawing by stake without replacement
/// @notice Each candidate gets the key -log2(u) / stake with u = hash(seed, account) / 2^256; the smallest keys win. The
/// keys are exponential variables with rates in proportion to stake, so this is exactly successive drawing by stake
/// without replacement (Efraimidis and Spirakis 2006), and it does not depend on the order of the candidates.
library Sortition {
    bytes32 internal constant TAG = keccak256("openledger/sortition/1");

    /// @notice Key of a candidate; `stakeWei` must be positive and below 2^128.
    function key(bytes32 seed, address account, uint256 stakeWei) internal pure returns (uint256) {
        uint256 u = uint256(keccak256(abi.encode(TAG, seed, account)));
        // 0 < -log2(u / 2^256) <= 256 in Q32, at most 2^40; shifted so that the division keeps 160 bits.
        return (((uint256(256) << 32) - log2(u | 1)) << 160) / stakeWei;
    }

    /// @notice Base-two logarithm in Q32, rounded down; `x` must be positive.
    function log2(uint256 x) internal pure returns (uint256 result) {
        uint256 exponent = 0;
        unchecked {
            for (uint256 step = 128; step > 0; step >>= 1) {
                if (x >> (exponent + step) > 0) exponent += step;
            }
            result = exponent << 32;
            // Mantissa in [2^127, 2^128), squared once per fraction bit.
            uint256 mantissa = exponent >= 127 ? x >> (exponent - 127) : x << (127 - exponent);
            for (uint256 bit = 1 << 31; bit > 0; bit >>= 1) {
                mantissa = (mantissa * mantissa) >> 127;
                if (mantissa >> 128 > 0) {
                    mantissa >>= 1;
                    result |= bit;
                }
            }
        }
    }
}
