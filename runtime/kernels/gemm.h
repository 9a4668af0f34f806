// Matrix products. Each output element has one accumulator that takes k in ascending order with a
// separate multiply and add, so tiling, blocking and row count never change a bit.
#ifndef OPENLEDGER_GEMM_H
#define OPENLEDGER_GEMM_H
#include "lanes.h"

#ifdef __wasm__
#define TILE_ROWS 4
#define TILE_PANELS 1
#define ROW_PANELS 4
#define WIDE_ROWS 0u
#else
#define TILE_ROWS 6
#define TILE_PANELS 2
#define ROW_PANELS 8
#define WIDE_ROWS 3u // so few rows take four panels at a time
#endif
#define K_BLOCK 256u

// Left operand: element (i, k) is a[i * row + k * column]. Right operand: panels of eight columns,
// element (k, 8p + j) is b[p * panel + k * step + j].
typedef struct {
  const f32 *at;
  u32 row, column;
} Left;
typedef struct {
  const f32 *at;
  u32 panel, step;
} Right;

// rows x (8 * panels) outputs held in registers over the whole k range.
INLINE void tile(const int rows, const int panels, f32 *c, u32 c_row, Left a, Right b, u32 depth,
                 int resume) {
  f32x8 acc[6][8];
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) acc[i][p] = resume ? load8(c + i * c_row + 8 * p) : splat8(0.0f);
  }
  const f32 *left = a.at, *right = b.at;
#pragma GCC unroll 1
  for (u32 k = 0; k < depth; k++) {
    f32x8 wide[8];
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) wide[p] = load8(right + p * b.panel);
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
      const f32x8 one = splat8(left[i * a.row]);
#pragma GCC unroll 8
      for (int p = 0; p < panels; p++) acc[i][p] = acc[i][p] + one * wide[p];
    }
    left += a.column;
    right += b.step;
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) store8(c + i * c_row + 8 * p, acc[i][p]);
  }
}

#define TILE_CASE(rows, panels) \
  case rows: tile(rows, panels, c, c_row, a, b, depth, resume); break;

// Up to TILE_ROWS rows of one column strip.
static void strip(u32 panels, u32 rows, f32 *c, u32 c_row, Left a, Right b, u32 depth, int resume) {
  if (panels == 1) {
    switch (rows) {
      TILE_CASE(1, 1) TILE_CASE(2, 1) TILE_CASE(3, 1) TILE_CASE(4, 1)
#if TILE_ROWS == 6
      TILE_CASE(5, 1) TILE_CASE(6, 1)
#endif
    }
    return;
  }
#if TILE_PANELS == 2
  if (panels == 4) {
    switch (rows) { TILE_CASE(2, 4) TILE_CASE(3, 4) }
    return;
  }
  switch (rows) { TILE_CASE(1, 2) TILE_CASE(2, 2) TILE_CASE(3, 2) TILE_CASE(4, 2) TILE_CASE(5, 2) TILE_CASE(6, 2) }
#endif
}

// One output row: many panels at once hide the latency of the single accumulators.
static void row_product(f32 *c, Left a, Right b, u32 panels, u32 depth, int resume) {
  u32 p = 0;
  for (; p + ROW_PANELS <= panels; p += ROW_PANELS) {
    const Right at = {b.at + p * b.panel, b.panel, b.step};
    tile(1, ROW_PANELS, c + 8 * p, 0, a, at, depth, resume);
  }
  for (; p < panels; p++) {
    const Right at = {b.at + p * b.panel, b.panel, b.step};
    tile(1, 1, c + 8 * p, 0, a, at, depth, resume);
  }
}

// How many of the rows left the next tile takes: full tiles, and an even split of what does not fill
// two, because a tile of one or two rows waits for its own additions.
INLINE u32 rows_of_tile(u32 left, u32 most) {
  return left >= 2 * most || left == most ? most : left > most ? (left + 1) / 2 : left;
}
INLINE u32 tile_rows(u32 left) { return rows_of_tile(left, TILE_ROWS); }

#ifdef __AVX512F__
#include <immintrin.h>
// The same tiles in registers twice as wide: two panels are one operand.
#define WIDE_TILE_ROWS 12u
#define TURNED_ROWS WIDE_TILE_ROWS
#define WIDE_TILE_LEAST 4u // fewer rows are held up by memory, not by arithmetic
typedef f32 f32x16 __attribute__((vector_size(64)));
typedef f32 f32x16u __attribute__((vector_size(64), aligned(4), may_alias));
INLINE f32x16 both8(f32x8 a, f32x8 b) {
  return (f32x16)_mm512_insertf32x8(_mm512_castps256_ps512((__m256)a), (__m256)b, 1);
}

// rows x (16 * pairs) outputs; see `tile`.
INLINE void wide_tile(const int rows, const int pairs, f32 *c, u32 c_row, Left a, Right b, u32 depth,
                      int resume) {
  f32x16 acc[WIDE_TILE_ROWS][2];
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int p = 0; p < pairs; p++) {
      acc[i][p] = resume ? (f32x16) * (const f32x16u *)(c + i * c_row + 16 * p) : (f32x16){0};
    }
  }
  const f32 *left = a.at, *right = b.at;
#pragma GCC unroll 1
  for (u32 k = 0; k < depth; k++) {
    f32x16 wide[2];
#pragma GCC unroll 2
    for (int p = 0; p < pairs; p++) {
      const f32 *low = right + 2 * p * b.panel;
      wide[p] = both8(load8(low), load8(low + b.panel));
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
      for (int p = 0; p < pairs; p++) acc[i][p] = acc[i][p] + left[i * a.row] * wide[p];
    }
    left += a.column;
    right += b.step;
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
    for (int p = 0; p < pairs; p++) *(f32x16u *)(c + i * c_row + 16 * p) = acc[i][p];
  }
}

#define WIDE_CASE(rows, pairs) \
  case rows: wide_tile(rows, pairs, c, c_row, a, b, depth, resume); break;
static void wide_strip(u32 panels, u32 rows, f32 *c, u32 c_row, Left a, Right b, u32 depth, int resume) {
  if (panels == 4) {
    switch (rows) {
      WIDE_CASE(4, 2) WIDE_CASE(5, 2) WIDE_CASE(6, 2) WIDE_CASE(7, 2) WIDE_CASE(8, 2)
      WIDE_CASE(9, 2) WIDE_CASE(10, 2) WIDE_CASE(11, 2) WIDE_CASE(12, 2)
    }
    return;
  }
  switch (rows) {
    WIDE_CASE(4, 1) WIDE_CASE(5, 1) WIDE_CASE(6, 1) WIDE_CASE(7, 1) WIDE_CASE(8, 1)
    WIDE_CASE(9, 1) WIDE_CASE(10, 1) WIDE_CASE(11, 1) WIDE_CASE(12, 1)
  }
}

// All rows of as many of these panels as fill wide operands; returns how many panels those are.
static u32 wide_block(f32 *c, u32 c_row, Left a, Right b, u32 m, u32 panels, u32 depth, int resume) {
  if (m < WIDE_TILE_LEAST) return 0;
  u32 p = 0;
  for (u32 wide; p + 2 <= panels; p += wide) {
    wide = panels - p >= 4 ? 4 : 2;
    for (u32 i = 0, rows; i < m; i += rows) {
      rows = rows_of_tile(m - i, WIDE_TILE_ROWS);
      wide_strip(wide, rows, c + i * c_row + 8 * p, c_row, (Left){a.at + i * a.row, a.row, a.column},
                 (Right){b.at + p * b.panel, b.panel, b.step}, depth, resume);
    }
  }
  return p;
}
#else
#define TURNED_ROWS TILE_ROWS
INLINE u32 wide_block(f32 *c, u32 c_row, Left a, Right b, u32 m, u32 panels, u32 depth, int resume) {
  (void)c, (void)c_row, (void)a, (void)b, (void)m, (void)panels, (void)depth, (void)resume;
  return 0;
}
#endif

// All rows of all panels, over a k range that stays in the cache.
static void blocks(f32 *c, u32 c_row, Left a, Right b, u32 m, u32 panels, u32 depth, int resume) {
  u32 p = wide_block(c, c_row, a, b, m, panels, depth, resume);
  for (u32 wide; p < panels; p += wide) {
    wide = m <= WIDE_ROWS && panels - p >= 4 ? 4 : least(TILE_PANELS, panels - p);
    for (u32 i = 0, rows; i < m; i += rows) {
      rows = tile_rows(m - i);
      strip(wide, rows, c + i * c_row + 8 * p, c_row, (Left){a.at + i * a.row, a.row, a.column},
            (Right){b.at + p * b.panel, b.panel, b.step}, depth, resume);
    }
  }
}

// A block of a transposed left operand is gathered once, so that its strided reads are paid once.
static void transposed_block(f32 *c, u32 c_row, Left a, Right b, u32 m, u32 panels, u32 depth,
                             int resume) {
  f32 gathered[K_BLOCK * TURNED_ROWS];
  for (u32 i = 0, rows; i < m; i += rows) {
    rows = rows_of_tile(m - i, TURNED_ROWS);
    for (u32 k = 0; k < depth; k++) {
      for (u32 r = 0; r < rows; r++) gathered[k * TURNED_ROWS + r] = a.at[(i + r) + k * a.column];
    }
    const Left left = {gathered, 1, TURNED_ROWS};
    blocks(c + i * c_row, c_row, left, b, rows, panels, depth, resume);
  }
}

// c[m, n] (row stride c_row) = or += a[m, depth] * b[depth, n]; n is a multiple of eight.
static void gemm(f32 *c, u32 c_row, Left a, Right b, u32 m, u32 n, u32 depth, int accumulate) {
  const u32 panels = n / 8;
  if (m == 1) {
    row_product(c, a, b, panels, depth, accumulate);
    return;
  }
  u32 k = 0;
  do {
    const u32 block = least(K_BLOCK, depth - k);
    const int resume = accumulate || k > 0;
    const Left left = {a.at + k * a.column, a.row, a.column};
    const Right right = {b.at + k * b.step, b.panel, b.step};
    if (a.row == 1 && a.column > 1) {
      transposed_block(c, c_row, left, right, m, panels, block, resume);
    } else {
      blocks(c, c_row, left, right, m, panels, block, resume);
    }
    k += block;
  } while (k < depth);
}

// Panels of the transpose of w[n, depth]: the right operand of x * w^T. Rows from n up to the next
// multiple of eight become zero columns.
static void pack_transposed(f32 *to, const f32 *w, u32 w_row, u32 n, u32 depth) {
  for (u32 p = 0; p < round_up8(n) / 8; p++) {
    f32 *panel = to + p * 8 * depth;
    for (u32 j = 0; j < 8; j++) {
      const u32 from = p * 8 + j;
      if (from < n) {
        for (u32 k = 0; k < depth; k++) panel[k * 8 + j] = w[from * w_row + k];
      } else {
        for (u32 k = 0; k < depth; k++) panel[k * 8 + j] = 0.0f;
      }
    }
  }
}

// Panels of w[depth, n] itself: the right operand of y * w. Columns past n are zero.
static void pack_plain(f32 *to, const f32 *w, u32 w_row, u32 depth, u32 n) {
  for (u32 p = 0; p < round_up8(n) / 8; p++) {
    const u32 columns = least(8, n - p * 8);
    for (u32 k = 0; k < depth; k++) {
      f32 *out = to + (p * depth + k) * 8;
      const f32 *in = w + k * w_row + p * 8;
      if (columns == 8) {
        store8(out, load8(in));
      } else {
        for (u32 j = 0; j < 8; j++) out[j] = j < columns ? in[j] : 0.0f;
      }
    }
  }
}

INLINE Right packed(const f32 *panels, u32 depth) { return (Right){panels, 8 * depth, 8}; }
INLINE Right plain(const f32 *matrix, u32 row) { return (Right){matrix, 8, row}; }
INLINE Left rows_of(const f32 *matrix, u32 row) { return (Left){matrix, row, 1}; }
INLINE Left columns_of(const f32 *matrix, u32 row) { return (Left){matrix, 1, row}; }

#endif
