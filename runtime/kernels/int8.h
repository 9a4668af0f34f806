// W8A8 products: rows of activations and rows of weights as int8 with one f32 scale each. The sums of
// the integer products are exact in any order, so every target and tiling gives the same bits.
#ifndef OPENLEDGER_INT8_H
#define OPENLEDGER_INT8_H
#include "gemm.h"
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INT8_TOP 127.0f
// Rows that small are taken as zero: the reciprocal of their scale would not be finite.
#define INT8_LEAST 1e-30f

INLINE f32x8 abs8(f32x8 v) { return (f32x8)((i32x8)v & 0x7fffffff); }
INLINE f32 int8_scale(f32 top) { return top > INT8_LEAST ? top / INT8_TOP : 0.0f; }
INLINE f32 int8_inverse(f32 top) { return top > INT8_LEAST ? INT8_TOP / top : 0.0f; }
// To nearest, ties to even, as integers from -127 to 127 (a NaN gives 127).
INLINE i32x8 int8_of8(f32x8 v, f32 inverse) {
  f32x8 scaled = v * inverse;
  scaled = select8(scaled < splat8(INT8_TOP), scaled, splat8(INT8_TOP));
  scaled = select8(scaled > splat8(-INT8_TOP), scaled, splat8(-INT8_TOP));
  return (i32x8)(scaled + 12582912.0f) - 0x4b400000;
}

// Rows of int8 values, each in 16 bits so that two of them are one operand of a pair product.
typedef struct {
  i16 *values;
  f32 *scales;
} Quants;

// One scale per row. A row with a NaN or an infinity gets a scale that is not a number.
static void quantize_rows(Quants to, const f32 *x, u32 rows, u32 depth) {
  for (u32 t = 0; t < rows; t++, x += depth) {
    f32x8 tops = splat8(0.0f), taint = splat8(0.0f);
    for (u32 k = 0; k < depth; k += 8) {
      tops = max8(abs8(load8(x + k)), tops);
      taint = taint + load8(x + k) * 0.0f;
    }
    const f32 top = top8(tops), inverse = int8_inverse(top);
    to.scales[t] = int8_scale(top) + sum8(taint);
    i16 *row = to.values + (u64)t * depth;
    for (u32 k = 0; k < depth; k += 8) {
      *(i16x8u *)(row + k) = __builtin_convertvector(int8_of8(load8(x + k), inverse), i16x8);
    }
  }
}

// Sixteen weights (k and k + 1 of eight rows) widened to 16 bits.
#if defined(__wasm_simd128__)
typedef struct { v128_t low, high; } Pairs;
typedef struct { v128_t low, high; } Sums;
INLINE Sums no_sums(void) { return (Sums){wasm_i32x4_const_splat(0), wasm_i32x4_const_splat(0)}; }
INLINE Pairs weight_pairs(const i8 *w) {
  const v128_t both = wasm_v128_load(w);
  return (Pairs){wasm_i16x8_extend_low_i8x16(both), wasm_i16x8_extend_high_i8x16(both)};
}
INLINE Sums add_pairs(Sums sums, Pairs w, i32 x) {
  const v128_t pair = wasm_i32x4_splat(x);
  return (Sums){wasm_i32x4_add(sums.low, wasm_i32x4_dot_i16x8(w.low, pair)),
                wasm_i32x4_add(sums.high, wasm_i32x4_dot_i16x8(w.high, pair))};
}
INLINE i32x8 sums8(Sums sums) {
  union { Sums sums; i32x8 lanes; } both = {.sums = sums};
  return both.lanes;
}
#elif defined(__AVX2__)
typedef __m256i Pairs;
typedef __m256i Sums;
INLINE Sums no_sums(void) { return _mm256_setzero_si256(); }
INLINE Pairs weight_pairs(const i8 *w) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
}
INLINE Sums add_pairs(Sums sums, Pairs w, i32 x) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(w, _mm256_set1_epi32(x)));
}
INLINE i32x8 sums8(Sums sums) { return (i32x8)sums; }
#elif defined(__ARM_NEON)
typedef struct { int16x8_t low, high; } Pairs;
typedef struct { int32x4_t low, high; } Sums;
INLINE Sums no_sums(void) { return (Sums){vdupq_n_s32(0), vdupq_n_s32(0)}; }
INLINE Pairs weight_pairs(const i8 *w) {
  const int8x16_t both = vld1q_s8((const signed char *)w);
  return (Pairs){vmovl_s8(vget_low_s8(both)), vmovl_high_s8(both)};
}
INLINE int32x4_t pair_sums(int16x8_t w, int16x8_t x) {
  return vpaddq_s32(vmull_s16(vget_low_s16(w), vget_low_s16(x)), vmull_high_s16(w, x));
}
INLINE Sums add_pairs(Sums sums, Pairs w, i32 x) {
  const int16x8_t pair = vreinterpretq_s16_s32(vdupq_n_s32(x));
  return (Sums){vaddq_s32(sums.low, pair_sums(w.low, pair)),
                vaddq_s32(sums.high, pair_sums(w.high, pair))};
}
INLINE i32x8 sums8(Sums sums) {
  union { Sums sums; i32x8 lanes; } both = {.sums = sums};
  return both.lanes;
}
#else
#error "the kernels need SIMD128, AVX2 or NEON"
#endif

// rows x (8 * panels) outputs in registers over the whole depth, then scaled: sum * row * column.
INLINE void int8_tile(const int rows, const int panels, f32 *y, u32 y_row, Quants x, const i8 *w,
                      const f32 *scales, u32 depth) {
  Sums acc[6][8];
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) acc[i][p] = no_sums();
  }
  const i32 *pairs = (const i32 *)x.values;
  const u32 row = depth / 2;
#pragma GCC unroll 1
  for (u32 k = 0; k < row; k++) {
    Pairs wide[8];
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) wide[p] = weight_pairs(w + p * 8 * depth + k * 16);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
      for (int p = 0; p < panels; p++) acc[i][p] = add_pairs(acc[i][p], wide[p], pairs[i * row + k]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) {
      const f32x8 sum = __builtin_convertvector(sums8(acc[i][p]), f32x8);
      store8(y + i * y_row + 8 * p, (sum * x.scales[i]) * load8(scales + 8 * p));
    }
  }
}

#define INT8_CASE(rows, panels) \
  case rows: int8_tile(rows, panels, y, y_row, x, w, scales, depth); break;
static void int8_strip(u32 panels, u32 rows, f32 *y, u32 y_row, Quants x, const i8 *w,
                       const f32 *scales, u32 depth) {
  if (panels == 1) {
    switch (rows) {
      INT8_CASE(1, 1) INT8_CASE(2, 1) INT8_CASE(3, 1) INT8_CASE(4, 1)
#if TILE_ROWS == 6
      INT8_CASE(5, 1) INT8_CASE(6, 1)
#endif
    }
    return;
  }
#if TILE_PANELS == 2
  if (panels == 4) {
    switch (rows) { INT8_CASE(2, 4) INT8_CASE(3, 4) }
    return;
  }
  switch (rows) { INT8_CASE(1, 2) INT8_CASE(2, 2) INT8_CASE(3, 2) INT8_CASE(4, 2) INT8_CASE(5, 2) INT8_CASE(6, 2) }
#endif
}

// y[rows, 8 * panels] (row stride y_row) = x W^T out of the int8 panels of W.
static void int8_product(f32 *y, u32 y_row, Quants x, u32 rows, const i8 *w, const f32 *scales,
                         u32 panels, u32 depth) {
  u32 p = 0;
  if (rows == 1) {
    for (; p + ROW_PANELS <= panels; p += ROW_PANELS) {
      int8_tile(1, ROW_PANELS, y + 8 * p, 0, x, w + (u64)p * 8 * depth, scales + 8 * p, depth);
    }
  }
  for (u32 wide; p < panels; p += wide) {
    wide = rows > 1 && rows <= WIDE_ROWS && panels - p >= 4 ? 4 : least(TILE_PANELS, panels - p);
    for (u32 i = 0, step; i < rows; i += step) {
      step = tile_rows(rows - i);
      const Quants from = {x.values + (u64)i * depth, x.scales + i};
      int8_strip(wide, step, y + (u64)i * y_row + 8 * p, y_row, from, w + (u64)p * 8 * depth,
                 scales + 8 * p, depth);
    }
  }
}

#endif
