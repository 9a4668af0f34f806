// Matrices as they stay in memory: f32, bf16 or f16 panels, or int8 panels with one scale per row.
// Packing takes rows in any float format; the product with f32 rows gives one result per format on
// every target: 16-bit values widen exactly, and int8 sums are exact integers.
#ifndef OPENLEDGER_WEIGHTS_H
#define OPENLEDGER_WEIGHTS_H
#include "int8.h"

// Of stored rows and, with INT8, of resident matrices; the host writes the same numbers.
enum { F32, BF16, F16, INT8 };

// W[n, depth] in panels of eight rows. Element (8p + j, k) of a panel p is number k * 8 + j of it, or
// with INT8 number (k / 2) * 16 + j * 2 + k % 2; the scales of all rows follow the INT8 panels.
typedef struct {
  const u8 *at;
  u32 format, n, depth;
} Matrix;

INLINE u32 bytes_of(u32 format) { return format == F32 ? 4 : format == INT8 ? 1 : 2; }
INLINE u64 matrix_bytes(u32 format, u32 n, u32 depth) {
  const u64 wide = round_up8(n), scales = format == INT8 ? wide * 4 : 0;
  return (wide * depth * bytes_of(format) + scales + 63) & ~63ull;
}
INLINE const f32 *row_scales(Matrix m) {
  return (const f32 *)(m.at + (u64)round_up8(m.n) * m.depth);
}

// binary16 without infinities and NaN: the exponent moves by a multiplication, subnormals included.
INLINE f32x8 widen8(const u32 format, const u16 *p) {
  const u32x8 bits = __builtin_convertvector(*(const u16x8u *)p, u32x8);
  if (format == BF16) return (f32x8)(bits << 16);
  const f32x8 size = (f32x8)((bits & 0x7fffu) << 13) * 0x1p112f;
  return (f32x8)((u32x8)size | (bits & 0x8000u) << 16);
}
INLINE f32x8 stored8(const u32 format, const u8 *row, u32 k) {
  return format == F32 ? load8((const f32 *)row + k) : widen8(format, (const u16 *)row + k);
}
INLINE f32 stored(const u32 format, const u8 *row, u32 k) {
  if (format == F32) return ((const f32 *)row)[k];
  const u32 bits = ((const u16 *)row)[k];
  union { u32 u; f32 f; } value = {.u = format == BF16 ? bits << 16 : (bits & 0x7fffu) << 13};
  if (format == BF16) return value.f;
  value.f = value.f * 0x1p112f;
  value.u |= (bits & 0x8000u) << 16;
  return value.f;
}

// To nearest, ties to even; what is too large becomes infinite.
INLINE u32 narrow(const u32 format, f32 x) {
  union { f32 f; u32 u; } value = {.f = x};
  if (format == BF16) return (value.u + 0x7fffu + ((value.u >> 16) & 1u)) >> 16;
  const u32 sign = (value.u >> 16) & 0x8000u;
  value.u &= 0x7fffffffu;
  if (value.u >= 0x477ff000u) return sign | 0x7c00u;
  if (value.u < 0x38800000u) {
    value.f = value.f + 0.5f; // whose last bit is the smallest binary16
    return sign | (value.u - 0x3f000000u);
  }
  return sign | ((value.u - 0x38000000u + 0xfffu + ((value.u >> 13) & 1u)) >> 13);
}

// Whether `count` stored numbers are all finite.
static int all_finite(u32 format, const u8 *from, u64 count) {
  const u32 per = format == F32 ? 0x7f800000u : format == BF16 ? 0x7f807f80u : 0x7c007c00u;
  const u16 half = (u16)per;
  i32x8 wide = {0};
  i16x8 narrow = {0};
  u64 i = 0;
  if (format == F32) {
    for (; i + 8 <= count; i += 8) wide |= ((u32x8)load8((const f32 *)from + i) & per) == per;
  } else {
    for (; i + 8 <= count; i += 8) narrow |= (*(const u16x8u *)((const u16 *)from + i) & half) == half;
  }
  u32 found = 0;
  for (u32 j = 0; j < 8; j++) found |= (u32)wide[j] | (u32)narrow[j];
  for (; i < count; i++) {
    found |= format == F32 ? (((const u32 *)from)[i] & per) == per
                           : (((const u16 *)from)[i] & half) == half;
  }
  return !found;
}

// Eight rows (those past `rows` are zero) become one panel, eight columns at a time.
INLINE void panel_of_floats(u8 *to, const u32 format, const u8 *const *row, const u32 rows, u32 depth) {
  for (u32 k = 0; k < depth; k += 8) {
    f32x8 rows8[8], v[8];
    for (u32 j = 0; j < 8; j++) rows8[j] = j < rows ? load8((const f32 *)row[j] + k) : splat8(0.0f);
    TRANSPOSE8(f32x8, i32x8, v, rows8)
    for (u32 i = 0; i < 8; i++) {
      if (format == F32) store8((f32 *)to + (k + i) * 8, v[i]);
      else for (u32 j = 0; j < 8; j++) ((u16 *)to)[(k + i) * 8 + j] = (u16)narrow(format, v[i][j]);
    }
  }
}
INLINE void panel_of_halves(u8 *to, const u32 format, const u8 *const *row, u32 rows,
                            const u32 from, u32 depth) {
  for (u32 k = 0; k < depth; k += 8) {
    u16x8 rows8[8], v[8];
    for (u32 j = 0; j < 8; j++) {
      rows8[j] = (u16x8){0};
      if (j < rows) rows8[j] = *(const u16x8u *)((const u16 *)row[j] + k);
    }
    TRANSPOSE8(u16x8, i16x8, v, rows8)
    for (u32 i = 0; i < 8; i++) {
      u16 *out = (u16 *)to + (k + i) * 8;
      if (format == from) *(u16x8u *)out = v[i];
      else if (format == F32) store8((f32 *)to + (k + i) * 8, widen8(from, (const u16 *)&v[i]));
      else for (u32 j = 0; j < 8; j++) out[j] = (u16)narrow(format, stored(from, (const u8 *)&v[i], j));
    }
  }
}
// Pairs of int8 values travel as 16-bit numbers.
INLINE void panel_of_int8(u8 *to, f32 *scales, const u8 *const *row, u32 rows, const u32 from,
                          u32 depth) {
  f32 inverse[8];
  for (u32 j = 0; j < 8; j++) {
    f32x8 tops = splat8(0.0f);
    for (u32 k = 0; j < rows && k < depth; k += 8) tops = max8(abs8(stored8(from, row[j], k)), tops);
    const f32 top = top8(tops);
    inverse[j] = int8_inverse(top);
    scales[j] = int8_scale(top);
  }
  for (u32 k = 0; k < depth; k += 16) {
    u16x8 rows8[8], v[8];
    for (u32 j = 0; j < 8; j++) {
      union { i8x8 half[2]; u16x8 pairs; } both = {.pairs = {0}};
      for (u32 h = 0; j < rows && h < 2 && k + 8 * h < depth; h++) {
        both.half[h] = __builtin_convertvector(int8_of8(stored8(from, row[j], k + 8 * h), inverse[j]), i8x8);
      }
      rows8[j] = both.pairs;
    }
    TRANSPOSE8(u16x8, i16x8, v, rows8)
    for (u32 i = 0; i < 8 && k + 2 * i < depth; i++) *(u16x8u *)(to + (k / 2 + i) * 16) = v[i];
  }
}
INLINE void pack_panel(u8 *to, f32 *scales, u32 format, const u8 *const *row, u32 rows,
                       const u32 from, u32 depth) {
  if (format == INT8) panel_of_int8(to, scales, row, rows, from, depth);
  else if (from == F32 && format == F32) panel_of_floats(to, F32, row, rows, depth);
  else if (from == F32) panel_of_floats(to, format, row, rows, depth);
  else if (format == from) panel_of_halves(to, from, row, rows, from, depth);
  else if (format == F32) panel_of_halves(to, F32, row, rows, from, depth);
  else panel_of_halves(to, from == BF16 ? F16 : BF16, row, rows, from, depth);
}

// Packs rows first..first + rows - 1 (first is a multiple of eight, and so is rows but for the last
// part) from consecutive rows in the format `from`. Returns whether all of them are finite, and are
// still in the format they are kept in.
static int pack_rows(Matrix m, u32 first, u32 rows, const u8 *raw, u32 from) {
  const u64 row_bytes = (u64)m.depth * bytes_of(from);
  int finite = all_finite(from, raw, (u64)rows * m.depth);
  for (u32 i = 0; i < rows; i += 8) {
    const u32 count = least(8, rows - i);
    const u8 *row[8];
    for (u32 j = 0; j < 8; j++) row[j] = raw + (i + (j < count ? j : 0)) * row_bytes;
    u8 *to = (u8 *)m.at + (u64)(first + i) * m.depth * bytes_of(m.format);
    f32 *scales = (f32 *)row_scales(m) + first + i;
    if (from == F32) pack_panel(to, scales, m.format, row, count, F32, m.depth);
    else if (from == BF16) pack_panel(to, scales, m.format, row, count, BF16, m.depth);
    else pack_panel(to, scales, m.format, row, count, F16, m.depth);
    const int rounds = m.format != from && (m.format == BF16 || m.format == F16);
    finite &= !rounds || all_finite(m.format, to, 8ull * m.depth);
  }
  return finite;
}

// The same rows among the f32 panels of W itself, the right operand of dy * W.
static void pack_back(f32 *to, Matrix m, u32 first, u32 rows, const u8 *raw, u32 from) {
  const u64 row_bytes = (u64)m.depth * bytes_of(from);
  for (u32 p = 0; p < m.depth / 8; p++) {
    for (u32 i = 0; i < rows; i++) {
      store8(to + ((u64)p * m.n + first + i) * 8, stored8(from, raw + i * row_bytes, p * 8));
    }
  }
}

// Row `row` as f32.
static void matrix_row(f32 *to, Matrix m, u32 row) {
  const u32 j = row % 8;
  const u8 *panel = m.at + (u64)(row - j) * m.depth * bytes_of(m.format);
  if (m.format == INT8) {
    const f32 scale = row_scales(m)[row];
    for (u32 k = 0; k < m.depth; k++) {
      to[k] = (f32)(i32)((const i8 *)panel)[(k / 2) * 16 + j * 2 + k % 2] * scale;
    }
  } else {
    for (u32 k = 0; k < m.depth; k++) to[k] = stored(m.format, panel, k * 8 + j);
  }
}

// One row against `panels` 16-bit panels.
INLINE void widened_tile(const u32 format, const int panels, f32 *y, const f32 *x, const u16 *w,
                         u32 depth) {
  f32x8 acc[ROW_PANELS];
#pragma GCC unroll 8
  for (int p = 0; p < panels; p++) acc[p] = splat8(0.0f);
#pragma GCC unroll 1
  for (u32 k = 0; k < depth; k++) {
    const f32x8 one = splat8(x[k]);
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) acc[p] = acc[p] + one * widen8(format, w + (p * depth + k) * 8);
  }
#pragma GCC unroll 8
  for (int p = 0; p < panels; p++) store8(y + 8 * p, acc[p]);
}
INLINE void widened_row(const u32 format, f32 *y, const f32 *x, const u16 *w, u32 panels, u32 depth) {
  u32 p = 0;
  for (; p + ROW_PANELS <= panels; p += ROW_PANELS) {
    widened_tile(format, ROW_PANELS, y + 8 * p, x, w + p * 8 * depth, depth);
  }
  for (; p < panels; p++) widened_tile(format, 1, y + 8 * p, x, w + p * 8 * depth, depth);
}

// Many rows: a block of a few panels is widened once and then used by all of them.
#define WIDENED_K 128u
#define WIDENED_PANELS (WIDE_ROWS ? 4u : TILE_PANELS)
static void widened_product(u32 format, f32 *y, u32 y_row, const f32 *x, u32 rows, const u16 *w,
                            u32 panels, u32 depth) {
  f32 wide[WIDENED_K * 8 * WIDENED_PANELS];
  for (u32 k = 0; k < depth; k += WIDENED_K) {
    const u32 block = least(WIDENED_K, depth - k);
    for (u32 p = 0, count; p < panels; p += count) {
      count = rows <= WIDE_ROWS && panels - p >= 4 ? 4 : least(TILE_PANELS, panels - p);
      for (u32 q = 0; q < count; q++) {
        const u16 *from = w + ((u64)(p + q) * depth + k) * 8;
        f32 *to = wide + q * WIDENED_K * 8;
        if (format == BF16) {
          for (u32 i = 0; i < block * 8; i += 8) store8(to + i, widen8(BF16, from + i));
        } else {
          for (u32 i = 0; i < block * 8; i += 8) store8(to + i, widen8(F16, from + i));
        }
      }
      for (u32 i = 0, step; i < rows; i += step) {
        step = tile_rows(rows - i);
        strip(count, step, y + i * y_row + 8 * p, y_row, rows_of(x + i * depth + k, depth),
              (Right){wide, WIDENED_K * 8, 8}, block, k > 0);
      }
    }
  }
}

// y[rows, n rounded up to eight] (row stride y_row) = x[rows, depth] W^T; `quants` holds the rows of x
// as int8 where the format asks for them.
static void product(f32 *y, u32 y_row, const f32 *x, u32 rows, Matrix m, Quants quants) {
  const u32 panels = round_up8(m.n) / 8;
  if (m.format == F32) {
    gemm(y, y_row, rows_of(x, m.depth), packed((const f32 *)m.at, m.depth), rows, panels * 8, m.depth,
         0);
  } else if (m.format == INT8) {
    quantize_rows(quants, x, rows, m.depth);
    int8_product(y, y_row, quants, rows, (const i8 *)m.at, row_scales(m), panels, m.depth);
  } else if (rows > 1) {
    widened_product(m.format, y, y_row, x, rows, (const u16 *)m.at, panels, m.depth);
  } else if (m.format == BF16) {
    widened_row(BF16, y, x, (const u16 *)m.at, panels, m.depth);
  } else {
    widened_row(F16, y, x, (const u16 *)m.at, panels, m.depth);
  }
}

// Sixteen columns from k on (eight where no more are left) of a panel's eight int8 rows, as f32 rows of
// two panels of eight columns.
INLINE void int8_block(f32 *to, u32 panel_step, const u8 *panel, const f32 *scales, u32 k, u32 depth) {
  u16x8 pairs[8], rows8[8];
  for (u32 i = 0; i < 8; i++) {
    pairs[i] = (u16x8){0};
    if (k + 2 * i < depth) pairs[i] = *(const u16x8u *)(panel + (k / 2 + i) * 16);
  }
  TRANSPOSE8(u16x8, i16x8, rows8, pairs)
  for (u32 j = 0; j < 8; j++) {
    const union { u16x8 pairs; i8x8 half[2]; } both = {.pairs = rows8[j]};
    for (u32 h = 0; h < 2; h++) {
      const i32x8 values = __builtin_convertvector(both.half[h], i32x8);
      store8(to + h * panel_step + j * 8, __builtin_convertvector(values, f32x8) * scales[j]);
    }
  }
}

// dx[rows, depth] = or += dy[rows, n] (row stride dy_row) W for W kept as int8: each weight is the f32
// product of its integer and its row's scale, so that the bits are those of gemm over these f32 weights.
static void int8_back_product(f32 *dx, const f32 *dy, u32 dy_row, u32 rows, Matrix m, int accumulate) {
  f32 wide[WIDENED_K * 16];
  for (u32 from = 0; from < m.n; from += WIDENED_K) {
    const u32 block = least(WIDENED_K, m.n - from);
    for (u32 k = 0; k < m.depth; k += 16) {
      for (u32 j = 0; j < block; j += 8) {
        int8_block(wide + j * 8, WIDENED_K * 8, m.at + (u64)(from + j) * m.depth,
                   row_scales(m) + from + j, k, m.depth);
      }
      const u32 panels = least(2, (m.depth - k) / 8);
      for (u32 p = 0; p < panels; p += TILE_PANELS) {
        for (u32 i = 0, step; i < rows; i += step) {
          step = tile_rows(rows - i);
          strip(least(TILE_PANELS, panels - p), step, dx + i * m.depth + k + 8 * p, m.depth,
                rows_of(dy + i * dy_row + from, dy_row),
                (Right){wide + p * WIDENED_K * 8, WIDENED_K * 8, 8}, block, accumulate || from > 0);
        }
      }
    }
  }
}

#endif
