// One step of many sequences at once: each with its own adapter (or none), its own place in its text
// and a key-value cache in pages. Base products take all rows together, adapters are gathered by
// their true rank and never merged; a row has the bits that it has alone.
#ifndef OPENLEDGER_BATCH_H
#define OPENLEDGER_BATCH_H
#include "model.h"

// Written by the host. The rows of a sequence are consecutive, as are sequences of one adapter.
// pages: offset of the byte offsets of its pages; wanted: 1 when the logits after its last row are.
typedef struct {
  u32 rows, start, adapter, pages, wanted;
} Sequence;

// An adapter whose factors lie in pages of the pool: runs of panels, wherever there was room.
// table[layer * LINEARS + linear] is the index (in words from this header) of
// {runs of A^T, runs of B^T, then per run: byte offset, panels}.
typedef struct {
  u32 rank;
  f32 scale;
  u32 table[];
} PagedAdapter;
typedef struct {
  u32 offset, panels;
} Run;
typedef struct {
  const Run *a, *b;
  u32 a_runs, b_runs;
} Factors;

static Factors factors_of(const PagedAdapter *adapter, u32 layer, u32 which) {
  const u32 *at = (const u32 *)adapter + adapter->table[layer * LINEARS + which];
  const Run *runs = (const Run *)(at + 2);
  return (Factors){runs, runs + at[0], at[0], at[1]};
}

// `positions` is the length of a page in tokens (a multiple of eight). A page holds, per layer, the
// keys as panels [kv head][position / 8][head_dim][8], then the values as rows [kv head][position].
typedef struct {
  Pass pass;
  const Sequence *sequences;
  u32 count, positions, low_row;
  f32 *low[3];
} Batch;

// Room for `rows` rows of texts of up to `longest` positions and adapters of up to `rank`.
static u64 plan_batch(Batch *b, u8 *arena, const Model *w, u32 rows, u32 longest, u32 rank, u64 at) {
  Pass *s = &b->pass;
  s->w = w;
  s->arena = arena;
  s->vectors = (const f32 *)(arena + w->vectors);
  s->adapter = 0;
  s->mode = INFER;
  s->n = rows;
  s->start = longest;
  Carver c = {arena, plan_pass(s, at, 8)};
  b->low_row = round_up8(rank);
  for (u32 i = 0; i < 3; i++) b->low[i] = carve(&c, (u64)rows * b->low_row);
  return c.at;
}

// One row times one panel of a factor; several run side by side, because one alone would spend its
// time waiting for its own additions.
typedef struct {
  const f32 *x, *panel;
  f32 *out;
  f32 scale;
} Dot;
#define SIDE_BY_SIDE 4
#define DOTS_MAX 64

INLINE void dots_of(const int count, const Dot *dots, u32 depth) {
  f32x8 acc[SIDE_BY_SIDE];
  const f32 *x[SIDE_BY_SIDE], *panel[SIDE_BY_SIDE];
#pragma GCC unroll 4
  for (int i = 0; i < count; i++) {
    acc[i] = splat8(0.0f);
    x[i] = dots[i].x;
    panel[i] = dots[i].panel;
  }
#pragma GCC unroll 1
  for (u32 k = 0; k < depth; k++) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) acc[i] = acc[i] + splat8(x[i][k]) * load8(panel[i] + 8 * k);
  }
#pragma GCC unroll 4
  for (int i = 0; i < count; i++) store8(dots[i].out, acc[i] * dots[i].scale);
}

static void run_dots(const Dot *dots, u32 count, u32 depth) {
  u32 i = 0;
  for (; i + SIDE_BY_SIDE <= count; i += SIDE_BY_SIDE) dots_of(SIDE_BY_SIDE, dots + i, depth);
  switch (count - i) {
    case 3: dots_of(3, dots + i, depth); break;
    case 2: dots_of(2, dots + i, depth); break;
    case 1: dots_of(1, dots + i, depth); break;
  }
}

// Neighbouring sequences of one adapter; `next` is the first sequence after them.
typedef struct {
  const PagedAdapter *adapter;
  u32 row, rows, next;
} Segment;
static Segment segment_from(const Batch *b, u32 sequence, u32 row) {
  const u32 adapter = b->sequences[sequence].adapter;
  u32 rows = 0;
  while (sequence < b->count && b->sequences[sequence].adapter == adapter) {
    rows += b->sequences[sequence++].rows;
  }
  return (Segment){adapter ? (const PagedAdapter *)(b->pass.arena + adapter) : 0, row, rows,
                   sequence};
}

// Many rows of one adapter go through the tiled product, few are gathered.
#define GATHERED_ROWS 3

// low[i] = scale * x A^T for `linears` neighbouring linears that read the same rows x.
static void shrink(const Batch *b, u32 layer, u32 first, u32 linears, const f32 *x) {
  const u32 in = linear_in(b->pass.w, first);
  Dot dots[DOTS_MAX];
  u32 waiting = 0;
  for (u32 sequence = 0, row = 0; sequence < b->count;) {
    const Segment g = segment_from(b, sequence, row);
    for (u32 i = 0; g.adapter && i < linears; i++) {
      const Factors factors = factors_of(g.adapter, layer, first + i);
      f32 *low = b->low[i] + g.row * b->low_row;
      for (u32 r = 0; r < factors.a_runs; r++) {
        const f32 *panels = (const f32 *)(b->pass.arena + factors.a[r].offset);
        const u32 width = factors.a[r].panels * 8;
        if (g.rows > GATHERED_ROWS) {
          gemm(low, b->low_row, rows_of(x + g.row * in, in), packed(panels, in), g.rows, width, in, 0);
          for (u32 t = 0; t < g.rows; t++) {
            f32 *y = low + t * b->low_row;
            for (u32 j = 0; j < width; j++) y[j] = y[j] * g.adapter->scale;
          }
        } else {
          for (u32 t = 0; t < g.rows; t++) {
            for (u32 p = 0; p < factors.a[r].panels; p++) {
              if (waiting == DOTS_MAX) {
                run_dots(dots, waiting, in);
                waiting = 0;
              }
              dots[waiting++] = (Dot){x + (g.row + t) * in, panels + p * 8 * in,
                                      low + t * b->low_row + p * 8, g.adapter->scale};
            }
          }
        }
        low += width;
      }
    }
    row += g.rows;
    sequence = g.next;
  }
  run_dots(dots, waiting, in);
}

// y += low B^T.
static void expand(const Batch *b, u32 layer, u32 which, f32 *y, const f32 *low) {
  const u32 out = linear_out(b->pass.w, which);
  for (u32 sequence = 0, row = 0; sequence < b->count;) {
    const Segment g = segment_from(b, sequence, row);
    if (g.adapter) {
      const Factors factors = factors_of(g.adapter, layer, which);
      f32 *to = y + g.row * out;
      for (u32 r = 0; r < factors.b_runs; r++) {
        const f32 *panels = (const f32 *)(b->pass.arena + factors.b[r].offset);
        const u32 width = factors.b[r].panels * 8, rank = g.adapter->rank;
        gemm(to, out, rows_of(low + g.row * b->low_row, b->low_row), packed(panels, rank), g.rows,
             width, rank, 1);
        to += width;
      }
    }
    row += g.rows;
    sequence = g.next;
  }
}

// `linears` neighbouring linears of the same rows.
static void batch_linears(const Batch *b, u32 layer, u32 first, u32 linears, f32 *const *y,
                          const f32 *x) {
  shrink(b, layer, first, linears, x);
  for (u32 i = 0; i < linears; i++) {
    linear(&b->pass, layer, first + i, y[i], x, 0);
    expand(b, layer, first + i, y[i], b->low[i]);
  }
}

// Queries, keys and values, with the norms of their heads where the model has them, before RoPE.
static void batch_heads(const Batch *b, u32 layer, const Acts *a) {
  const Pass *s = &b->pass;
  const Model *w = s->w;
  f32 *q = w->head_norms ? a->raw_q : a->q, *k = w->head_norms ? a->raw_k : a->k;
  batch_linears(b, layer, Q, 3, (f32 *const[]){q, k, s->v}, a->norm1);
  if (!w->head_norms) return;
  rmsnorm(a->q, a->inverse_q, q, s->vectors + head_norm_at(w, VECTORS, layer, Q), s->n * w->heads, w->head_dim,
          w->eps);
  rmsnorm(a->k, a->inverse_k, k, s->vectors + head_norm_at(w, VECTORS, layer, K), s->n * w->kv_heads,
          w->head_dim, w->eps);
}

INLINE f32 *page_layer(const Batch *b, const Sequence *q, u32 page, u32 layer) {
  const u32 *pages = (const u32 *)(b->pass.arena + q->pages);
  return (f32 *)(b->pass.arena + pages[page]) + 2 * layer * key_width(b->pass.w) * b->positions;
}

static void append_pages(const Batch *b, const Sequence *q, u32 layer, const f32 *k, const f32 *v) {
  const Model *w = b->pass.w;
  const u32 dim = w->head_dim, per_head = b->positions * dim;
  for (u32 t = 0; t < q->rows; t++, k += key_width(w), v += key_width(w)) {
    const u32 position = q->start + t, inside = position % b->positions;
    f32 *keys = page_layer(b, q, position / b->positions, layer);
    f32 *values = keys + key_width(w) * b->positions;
    for (u32 h = 0; h < w->kv_heads; h++) {
      f32 *panel = keys + h * per_head + (inside / 8) * 8 * dim + inside % 8;
      for (u32 i = 0; i < dim; i++) panel[i * 8] = k[h * dim + i];
      copy_floats(values + h * per_head + inside * dim, v + h * dim, dim);
    }
  }
}

// `rows` left rows of one kv head over the positions before `seen`, page by page in their order. Row t
// stands at position `place + t * growth`; pages before the first row's window are skipped.
static void attend(const Batch *b, const Sequence *q, u32 layer, u32 kv, Left left, f32 *to, u32 to_row,
                   u32 rows, u32 seen, u32 place, u32 growth) {
  const Pass *s = &b->pass;
  const u32 dim = s->w->head_dim, width = round_up8(seen), at = kv * b->positions * dim;
  const f32 scale = 1.0f / __builtin_sqrtf((f32)dim);
  const u32 window = window_of(s, layer);
  const u32 begin = first_seen(window, place) / b->positions * b->positions;
  for (u32 from = begin; from < width; from += b->positions) {
    gemm(s->probs + from, s->score_row, left,
         packed(page_layer(b, q, from / b->positions, layer) + at, dim), rows,
         least(b->positions, width - from), dim, 0);
  }
  for (u32 t = 0; t < rows; t++) {
    const u32 position = place + t * growth;
    window_softmax(s->probs + t * s->score_row, first_seen(window, position), position + 1, width,
                   scale);
  }
  for (u32 from = begin; from < seen; from += b->positions) {
    const f32 *values = page_layer(b, q, from / b->positions, layer) + key_width(s->w) * b->positions;
    gemm(to, to_row, rows_of(s->probs + from, s->score_row), plain(values + at, dim), rows, dim,
         least(b->positions, seen - from), from > begin);
  }
}

// A single new row lets the query heads of one kv head be the rows of the products.
static void attend_sequence(const Batch *b, const Sequence *q, u32 layer, const f32 *query, f32 *to) {
  const Model *w = b->pass.w;
  const u32 dim = w->head_dim, row = query_width(w), group = w->heads / w->kv_heads;
  if (q->rows == 1 && group <= ATTENTION_BLOCK) {
    for (u32 kv = 0; kv < w->kv_heads; kv++) {
      const u32 at = kv * group * dim;
      attend(b, q, layer, kv, rows_of(query + at, dim), to + at, dim, group, q->start + 1,
             q->start, 0);
    }
    return;
  }
  for (u32 h = 0; h < w->heads; h++) {
    for (u32 i = 0; i < q->rows; i += ATTENTION_BLOCK) {
      const u32 rows = least(ATTENTION_BLOCK, q->rows - i), at = i * row + h * dim;
      attend(b, q, layer, h / group, rows_of(query + at, row), to + at, row, rows,
             q->start + i + rows, q->start + i, 1);
    }
  }
}

static void batch_attention(const Batch *b, u32 layer, const Acts *a) {
  const Pass *s = &b->pass;
  const Model *w = s->w;
  const f32 *table = (const f32 *)(s->arena + w->table);
  for (u32 i = 0, row = 0; i < b->count; row += b->sequences[i++].rows) {
    const Sequence *q = b->sequences + i;
    const f32 *angles = table + q->start * w->head_dim;
    f32 *query = a->q + row * query_width(w), *key = a->k + row * key_width(w);
    rope(query, angles, q->rows, w->heads, w->head_dim, 1.0f);
    rope(key, angles, q->rows, w->kv_heads, w->head_dim, 1.0f);
    append_pages(b, q, layer, key, s->v + row * key_width(w));
    attend_sequence(b, q, layer, query, a->attended + row * query_width(w));
  }
}

// Leaves the last residual rows in s->out, as forward does.
static void batch_forward(const Batch *b) {
  const Pass *s = &b->pass;
  const Model *w = s->w;
  const u32 n = s->n, size = n * w->hidden;
  const Acts a = acts_of(s, 0);
  embed(s, a.in);
  for (u32 layer = 0; layer < w->layers; layer++) {
    rmsnorm(a.norm1, a.inverse1, a.in, s->vectors + norm_at(w, VECTORS, layer, 0), n, w->hidden, w->eps);
    batch_heads(b, layer, &a);
    batch_attention(b, layer, &a);
    batch_linears(b, layer, O, 1, &s->rows, a.attended);
    add_rows(a.middle, a.in, s->rows, size);
    rmsnorm(a.norm2, a.inverse2, a.middle, s->vectors + norm_at(w, VECTORS, layer, 1), n, w->hidden, w->eps);
    batch_linears(b, layer, GATE, 2, (f32 *const[]){a.gate, a.up}, a.norm2);
    swiglu(a.product, a.gate, a.up, n * w->ffn);
    batch_linears(b, layer, DOWN, 1, &s->rows, a.product);
    add_rows(layer + 1 < w->layers ? a.in : s->out, a.middle, s->rows, size);
  }
}

// Packs `panels` panels of the transpose of w[n, depth] from panel `first` on.
static void pack_run(f32 *to, const f32 *w, u32 first, u32 panels, u32 n, u32 depth) {
  const f32 *from = w + first * 8 * depth;
  const u32 rows = least(panels * 8, n - first * 8);
  if (depth % 8) {
    pack_transposed(to, from, depth, rows, depth);
    return;
  }
  for (u32 i = 0; i < rows; i += 8, from += 8 * depth, to += 8 * depth) {
    const u8 *row[8];
    for (u32 j = 0; j < 8; j++) row[j] = (const u8 *)(from + (i + j < rows ? j : 0) * depth);
    panel_of_floats((u8 *)to, F32, row, least(8, rows - i), depth);
  }
}

// Packs one layer of a flat adapter, whose floats begin at `raw`, into its runs.
static void pack_paged(u8 *arena, const Model *w, const PagedAdapter *adapter, const f32 *raw,
                       u32 layer) {
  for (u32 i = 0; i < LINEARS; i++) {
    const Factors factors = factors_of(adapter, layer, i);
    const u32 in = linear_in(w, i), out = linear_out(w, i), rank = adapter->rank;
    const f32 *a = raw + adapter_at(w, rank, 0, i);
    for (u32 r = 0, first = 0; r < factors.a_runs; first += factors.a[r++].panels) {
      pack_run((f32 *)(arena + factors.a[r].offset), a, first, factors.a[r].panels, rank, in);
    }
    for (u32 r = 0, first = 0; r < factors.b_runs; first += factors.b[r++].panels) {
      pack_run((f32 *)(arena + factors.b[r].offset), a + rank * in, first, factors.b[r].panels, out,
               rank);
    }
  }
}

#endif
