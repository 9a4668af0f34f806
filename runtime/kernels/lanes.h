// Fixed-width lanes and scalar types shared by every kernel. The lane structure (eight f32) is a
// property of this source, not of the target: SIMD128, AVX2 and NEON builds round identically.
#ifndef OPENLEDGER_LANES_H
#define OPENLEDGER_LANES_H

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
typedef float f32;
typedef double f64;

#define INLINE static inline __attribute__((always_inline))

typedef f32 f32x8 __attribute__((vector_size(32)));
typedef i32 i32x8 __attribute__((vector_size(32)));
typedef u32 u32x8 __attribute__((vector_size(32)));
typedef i8 i8x8 __attribute__((vector_size(8)));
typedef i16 i16x8 __attribute__((vector_size(16)));
typedef u16 u16x8 __attribute__((vector_size(16)));
typedef f64 f64x8 __attribute__((vector_size(64)));
// The same eight lanes at any 4-byte address, allowed to alias plain floats.
typedef f32 f32x8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef u16 u16x8u __attribute__((vector_size(16), aligned(2), may_alias));
typedef i16 i16x8u __attribute__((vector_size(16), aligned(2), may_alias));

INLINE f32x8 load8(const f32 *p) { return *(const f32x8u *)p; }
INLINE void store8(f32 *p, f32x8 v) { *(f32x8u *)p = v; }
INLINE f32x8 splat8(f32 s) { return (f32x8){s, s, s, s, s, s, s, s}; }
INLINE f32x8 select8(i32x8 mask, f32x8 yes, f32x8 no) {
  return (f32x8)((mask & (i32x8)yes) | (~mask & (i32x8)no));
}
// Lanes of two vectors by turns, from their lower and upper halves; mask is a type of whole lanes.
#ifdef __clang__
#define ZIP_LOW(a, b, mask) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b, mask) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define ZIP_LOW(a, b, mask) __builtin_shuffle(a, b, (mask){0, 8, 1, 9, 2, 10, 3, 11})
#define ZIP_HIGH(a, b, mask) __builtin_shuffle(a, b, (mask){4, 12, 5, 13, 6, 14, 7, 15})
#endif
#define ZIP_TURN(to, from, mask)                         \
  _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {  \
    to[2 * i] = ZIP_LOW(from[i], from[i + 4], mask);     \
    to[2 * i + 1] = ZIP_HIGH(from[i], from[i + 4], mask); \
  }
// Eight vectors of eight become their transpose: a perfect shuffle of 64 lanes, three times.
#define TRANSPOSE8(type, mask, to, from) \
  type first[8], second[8];              \
  ZIP_TURN(first, from, mask)            \
  ZIP_TURN(second, first, mask)          \
  ZIP_TURN(to, second, mask)

INLINE f32x8 max8(f32x8 a, f32x8 b) { return select8(a > b, a, b); }

// The one order in which eight lanes become a number.
INLINE f32 sum8(f32x8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

INLINE f32 top8(f32x8 v) {
  f32 best = v[0];
  for (int i = 1; i < 8; i++) best = v[i] > best ? v[i] : best;
  return best;
}

INLINE u32 round_up8(u32 n) { return (n + 7u) & ~7u; }
INLINE u32 least(u32 a, u32 b) { return a < b ? a : b; }

// No libc: loops the compiler turns into memcpy and memset need these two in the wasm build.
INLINE void copy_floats(f32 *to, const f32 *from, u32 n) {
  for (u32 i = 0; i < n; i++) to[i] = from[i];
}
INLINE void zero_floats(f32 *to, u32 n) {
  for (u32 i = 0; i < n; i++) to[i] = 0.0f;
}

// A NaN's sign and payload differ between machines; results leave with the one canonical NaN.
INLINE void canonical_nan(f32 *x, u32 n) {
  for (u32 i = 0; i < n; i++) {
    union { f32 f; u32 u; } bits = {.f = x[i]};
    if (x[i] != x[i]) bits.u = 0x7fc00000u;
    x[i] = bits.f;
  }
}

#endif
