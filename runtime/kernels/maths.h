// exp, log, sin and cos out of exactly rounded operations only, so every target gives the same bits.
#ifndef OPENLEDGER_MATHS_H
#define OPENLEDGER_MATHS_H
#include "lanes.h"

// exp of eight floats, error below 2 ulp on [-87, 88]; outside it the argument is clamped.
INLINE f32x8 exp8(f32x8 x) {
  x = select8(x > splat8(88.0f), splat8(88.0f), x);
  x = select8(x < splat8(-87.0f), splat8(-87.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits.
  const f32x8 shifted = x * 1.44269504088896341f + 12582912.0f;
  const f32x8 n = shifted - 12582912.0f;
  const f32x8 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  f32x8 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const i32x8 power = ((i32x8)shifted - (0x4b400000 - 127)) << 23;
  return p * (f32x8)power;
}

#define ROUND_SHIFT_F64 6755399441055744.0

// e^x for |x| < 700, error about 1 ulp.
static f64 exp64(f64 x) {
  const f64 shifted = x * 1.4426950408889634074 + ROUND_SHIFT_F64;
  const f64 n = shifted - ROUND_SHIFT_F64;
  const f64 r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  f64 p = 1.0;
  for (int i = 14; i >= 1; i--) p = p * (r / (f64)i) + 1.0;
  union { f64 f; i64 i; } power = {.i = ((i64)n + 1023) << 52};
  return p * power.f;
}

// Natural logarithm of a positive normal number; anything not above zero gives minus infinity.
static f64 log64(f64 x) {
  if (!(x > 0.0)) return -__builtin_inf();
  union { f64 f; u64 u; } bits = {.f = x};
  i32 exponent = (i32)(bits.u >> 52) - 1023;
  bits.u = (bits.u & 0xfffffffffffffull) | 0x3ff0000000000000ull;
  f64 m = bits.f;
  if (m > 1.41421356237309504880) {
    m = m * 0.5;
    exponent += 1;
  }
  const f64 s = (m - 1.0) / (m + 1.0);
  const f64 square = s * s;
  f64 series = 0.0;
  for (int i = 23; i >= 1; i -= 2) series = series * square + 1.0 / (f64)i;
  return ((f64)exponent * 1.90821492927058770002e-10 + 2.0 * s * series) +
         (f64)exponent * 6.93147180369123816490e-01;
}

// sin when quarter is 0, cos when it is 1; exact enough for |x| up to about 1e6.
static f64 sin64(f64 x, i32 quarter) {
  const f64 n = (x * 0.63661977236758134308 + ROUND_SHIFT_F64) - ROUND_SHIFT_F64;
  const f64 r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) -
                n * 2.02226624879595063154e-21;
  const u32 turn = (u32)((i64)n + quarter) & 3u;
  const f64 square = r * r;
  f64 p = 1.0;
  if (turn & 1u) {
    for (int i = 18; i >= 2; i -= 2) p = 1.0 - p * (square / (f64)(i * (i - 1)));
  } else {
    for (int i = 19; i >= 3; i -= 2) p = 1.0 - p * (square / (f64)(i * (i - 1)));
    p = p * r;
  }
  return turn & 2u ? -p : p;
}

#endif
