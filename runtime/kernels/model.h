// The Llama graph: parameter and adapter layout, workspace, and the forward pass of one sequence.
#ifndef OPENLEDGER_MODEL_H
#define OPENLEDGER_MODEL_H
#include "ops.h"
#include "weights.h"

// Written by the host. vectors, forward, backward, params and table are byte offsets into the arena:
// norms and biases; the matrices in their resident format (x * W^T); f32 packed originals (dy * W), or
// 0 (gradients then go back through the int8 ones); row-major f32 parameters, or 0; RoPE table. biased has bit i set when linear i has a bias;
// head_norms is 1 when every head of q and k has an RMS norm; windows is the offset of one u32 per
// layer (positions a token sees, 0 = all), or 0.
typedef struct {
  u32 hidden, layers, heads, kv_heads, head_dim, ffn, vocab, context, tied;
  f32 eps;
  u32 params, forward, backward, table;
  u32 biased, head_norms, windows, vectors, format;
} Model;

// raw: per layer, per linear, A[rank, in] then B[out, rank]; packed: see pack_adapter.
typedef struct {
  u32 rank;
  f32 scale;
  u32 raw, packed;
} Adapter;

enum { Q, K, V, O, GATE, UP, DOWN, LINEARS };
// The two matrices of no layer, in the numbering of linears.
enum { EMBEDDING = LINEARS, HEAD };

INLINE u32 query_width(const Model *w) { return w->heads * w->head_dim; }
INLINE u32 key_width(const Model *w) { return w->kv_heads * w->head_dim; }
static u32 linear_in(const Model *w, u32 which) {
  return which == O ? query_width(w) : which == DOWN ? w->ffn : w->hidden;
}
static u32 linear_out(const Model *w, u32 which) {
  switch (which) {
    case Q: return query_width(w);
    case K: case V: return key_width(w);
    case GATE: case UP: return w->ffn;
    default: return w->hidden;
  }
}

INLINE u32 has_bias(const Model *w, u32 which) { return (w->biased >> which) & 1u; }
INLINE u32 vocab_row(const Model *w) { return round_up8(w->vocab); }

// Two layouts share one order: the embedding; per layer the attention norm, q, k, v, o, the
// feed-forward norm, gate, up, down (each followed by its bias), the norms of q and k heads; final
// norm; output head when untied. FLAT holds all of it, VECTORS only norms and biases; both in floats.
enum { VECTORS, FLAT };
static u32 linear_floats(const Model *w, u32 layout, u32 which) {
  return (layout * linear_in(w, which) + has_bias(w, which)) * linear_out(w, which);
}
static u32 layer_floats(const Model *w, u32 layout) {
  u32 sum = 2 * w->hidden + 2 * w->head_norms * w->head_dim;
  for (u32 i = 0; i < LINEARS; i++) sum += linear_floats(w, layout, i);
  return sum;
}
static u32 norm_at(const Model *w, u32 layout, u32 layer, u32 which) {
  u32 at = layout * w->vocab * w->hidden + layer * layer_floats(w, layout);
  if (which == 1) {
    at += w->hidden;
    for (u32 i = Q; i <= O; i++) at += linear_floats(w, layout, i);
  }
  return at;
}
// The weight of a linear in FLAT; with VECTORS, where its bias is.
static u32 linear_at(const Model *w, u32 layout, u32 layer, u32 which) {
  u32 at = norm_at(w, layout, layer, which > O) + w->hidden;
  for (u32 i = which > O ? GATE : Q; i < which; i++) at += linear_floats(w, layout, i);
  return at;
}
static u32 weight_at(const Model *w, u32 layer, u32 which) { return linear_at(w, FLAT, layer, which); }
static u32 bias_at(const Model *w, u32 layout, u32 layer, u32 which) {
  return linear_at(w, layout, layer, which) + layout * linear_in(w, which) * linear_out(w, which);
}
// which is Q or K.
static u32 head_norm_at(const Model *w, u32 layout, u32 layer, u32 which) {
  return norm_at(w, layout, layer + 1, 0) - (which == Q ? 2 : 1) * w->head_dim;
}
static u32 final_norm_at(const Model *w, u32 layout) { return norm_at(w, layout, w->layers, 0); }
static u32 head_at(const Model *w) { return w->tied ? 0 : final_norm_at(w, FLAT) + w->hidden; }
static u32 layout_floats(const Model *w, u32 layout) {
  const u32 head = w->tied ? 0 : w->vocab * w->hidden;
  return final_norm_at(w, layout) + w->hidden + layout * head;
}

// Byte offset of a matrix among the resident ones: embedding, the linears of every layer, output head
// when untied.
static u64 matrix_at(const Model *w, u32 layer, u32 which) {
  if (which == EMBEDDING || (which == HEAD && w->tied)) return 0;
  u64 all = 0, before = 0;
  for (u32 i = 0; i < LINEARS; i++) {
    const u64 bytes = matrix_bytes(w->format, linear_out(w, i), linear_in(w, i));
    all += bytes;
    if (i < which) before += bytes;
  }
  return matrix_bytes(w->format, w->vocab, w->hidden) +
         (which == HEAD ? w->layers * all : layer * all + before);
}
static u64 resident_bytes(const Model *w) {
  const u64 head = w->tied ? 0 : matrix_bytes(w->format, w->vocab, w->hidden);
  return matrix_at(w, w->layers, 0) + head;
}
static Matrix matrix_of(const Model *w, u8 *arena, u32 layer, u32 which) {
  const int is_vocab = which >= EMBEDDING;
  return (Matrix){arena + w->forward + matrix_at(w, layer, which), w->format,
                  is_vocab ? w->vocab : linear_out(w, which),
                  is_vocab ? w->hidden : linear_in(w, which)};
}
static u32 widest(const Model *w) {
  u32 most = w->ffn;
  if (query_width(w) > most) most = query_width(w);
  return w->hidden > most ? w->hidden : most;
}

// Float offset of A of one linear in a flat adapter (B follows), and of its packed form.
static u32 adapter_at(const Model *w, u32 rank, u32 layer, u32 which) {
  u32 all = 0, before = 0;
  for (u32 i = 0; i < LINEARS; i++) {
    const u32 size = rank * (linear_in(w, i) + linear_out(w, i));
    all += size;
    if (i < which) before += size;
  }
  return layer * all + before;
}
static u32 adapter_packed_at(const Model *w, u32 rank, u32 layer, u32 which) {
  const u32 wide = round_up8(rank);
  u32 all = 0, before = 0;
  for (u32 i = 0; i < LINEARS; i++) {
    const u32 size = wide * linear_in(w, i) + (rank + wide) * linear_out(w, i);
    all += size;
    if (i < which) before += size;
  }
  return layer * all + before;
}

#define ATTENTION_BLOCK 24u
#define HEAD_BLOCK 96u

// Keys as transposed panels [kv head][position / 8][head_dim][8], values as rows [kv head][position].
typedef struct {
  f32 *keys, *values;
  u32 capacity;
} Cache;
INLINE u32 cache_layer_floats(const Model *w, u32 capacity) { return key_width(w) * capacity; }

typedef struct {
  f32 *in, *inverse1, *norm1, *q, *k, *attended, *middle, *inverse2, *norm2, *gate, *up, *product;
  f32 *probs, *low[LINEARS];
  f32 *raw_q, *raw_k, *inverse_q, *inverse_k; // before the norms of the heads, where there are any
} Acts;

enum { INFER, TRAIN_ADAPTER, TRAIN_FULL };

// Everything one pass needs; all pointers lie in the arena.
typedef struct {
  const Model *w;
  u8 *arena;
  const f32 *vectors;
  const Adapter *adapter;
  const i32 *tokens;
  u32 n, start, mode, rank_wide, score_row;
  Cache cache;
  f32 *acts;
  u32 acts_floats;
  f32 *out, *rows, *v, *probs;                               // forward scratch
  f32 *head_in, *head_norm, *head_inverse, *logits, *head_d; // one block of the output head
  Quants quants;
  f32 *dx, *dmiddle, *dnorm, *dattended, *dq, *dk, *dv, *dgate, *dup, *dscores, *values_t, *dlow,
      *turned, *columns, *zeros;                                     // backward scratch
  f32 *full, *lora;                                          // gradients out
} Pass;

typedef struct {
  u8 *arena;
  u64 at;
} Carver;
static f32 *carve(Carver *c, u64 floats) {
  f32 *p = (f32 *)(c->arena + c->at);
  c->at += ((floats + 15) & ~15ull) * 4;
  return p;
}

static Acts carve_acts(const Pass *s, Carver *c) {
  const Model *w = s->w;
  const u32 n = s->n, keep = s->mode != INFER;
  Acts a;
  a.in = carve(c, n * w->hidden);
  a.inverse1 = carve(c, n);
  a.norm1 = carve(c, n * w->hidden);
  a.q = carve(c, n * query_width(w));
  a.k = carve(c, n * key_width(w));
  a.attended = carve(c, n * query_width(w));
  a.middle = carve(c, n * w->hidden);
  a.inverse2 = carve(c, n);
  a.norm2 = carve(c, n * w->hidden);
  a.gate = carve(c, n * w->ffn);
  a.up = carve(c, n * w->ffn);
  a.product = carve(c, n * w->ffn);
  a.probs = keep ? carve(c, (u64)w->heads * n * s->score_row) : 0;
  for (u32 i = 0; i < LINEARS; i++) a.low[i] = carve(c, n * s->rank_wide);
  a.raw_q = carve(c, w->head_norms * n * query_width(w));
  a.raw_k = carve(c, w->head_norms * n * key_width(w));
  a.inverse_q = carve(c, w->head_norms * n * w->heads);
  a.inverse_k = carve(c, w->head_norms * n * w->kv_heads);
  return a;
}
static Acts acts_of(const Pass *s, u32 layer) {
  Carver c = {(u8 *)(s->acts + (s->mode == INFER ? 0 : (u64)layer * s->acts_floats)), 0};
  return carve_acts(s, &c);
}

// Lays the workspace out from byte offset `at`; returns the first byte after it. score_row is the
// padded number of positions a row of scores may see. capacity 0 puts the key-value cache inside.
static u64 plan_pass(Pass *s, u64 at, u32 capacity) {
  const Model *w = s->w;
  const u32 n = s->n, keep = s->mode != INFER;
  s->rank_wide = s->adapter ? round_up8(s->adapter->rank) : 0;
  s->score_row = round_up8(s->start + n);
  Carver measure = {0, 0};
  carve_acts(s, &measure);
  s->acts_floats = (u32)(measure.at / 4);
  Carver c = {s->arena, at};
  s->acts = carve(&c, (u64)s->acts_floats * (keep ? w->layers : 1));
  if (!capacity) {
    s->cache.capacity = s->score_row;
    s->cache.keys = carve(&c, (u64)w->layers * cache_layer_floats(w, s->score_row));
    s->cache.values = carve(&c, (u64)w->layers * cache_layer_floats(w, s->score_row));
  }
  s->out = carve(&c, n * w->hidden);
  s->rows = carve(&c, n * w->hidden);
  s->v = carve(&c, n * key_width(w));
  s->probs = carve(&c, ATTENTION_BLOCK * s->score_row);
  const u32 block = least(HEAD_BLOCK, n);
  s->head_in = carve(&c, block * w->hidden);
  s->head_norm = carve(&c, block * w->hidden);
  s->head_inverse = carve(&c, block);
  s->logits = carve(&c, (u64)block * vocab_row(w));
  s->head_d = carve(&c, block * w->hidden);
  const u64 quants = w->format == INT8 ? n : 0;
  s->quants = (Quants){(i16 *)carve(&c, quants * widest(w) / 2), carve(&c, quants)};
  if (!keep) return c.at;
  s->dx = carve(&c, n * w->hidden);
  s->dmiddle = carve(&c, n * w->hidden);
  s->dnorm = carve(&c, n * w->hidden);
  s->dattended = carve(&c, n * query_width(w));
  s->dq = carve(&c, n * query_width(w));
  s->dk = carve(&c, n * key_width(w));
  s->dv = carve(&c, n * key_width(w));
  s->dgate = carve(&c, n * w->ffn);
  s->dup = carve(&c, n * w->ffn);
  s->dscores = carve(&c, (u64)n * s->score_row);
  s->values_t = carve(&c, s->score_row * w->head_dim);
  s->dlow = carve(&c, n * s->rank_wide);
  s->turned = carve(&c, s->rank_wide * widest(w));
  s->columns = carve(&c, s->mode == TRAIN_FULL ? n * widest(w) : 0);
  s->zeros = carve(&c, w->head_norms * w->head_dim);
  return c.at;
}

INLINE const f32 *packed_adapter(const Pass *s, u32 layer, u32 which) {
  return (const f32 *)(s->arena + s->adapter->packed) +
         adapter_packed_at(s->w, s->adapter->rank, layer, which);
}

// y[n, out] = x W^T + bias, then with an adapter y += (scale * x A^T) B^T as `rank` further k steps;
// low keeps scale * x A^T.
static void linear(const Pass *s, u32 layer, u32 which, f32 *y, const f32 *x, f32 *low) {
  const Model *w = s->w;
  const u32 in = linear_in(w, which), out = linear_out(w, which);
  product(y, out, x, s->n, matrix_of(w, s->arena, layer, which), s->quants);
  if (has_bias(w, which)) {
    const f32 *bias = s->vectors + bias_at(w, VECTORS, layer, which);
    for (u32 t = 0; t < s->n; t++) add_rows(y + t * out, y + t * out, bias, out);
  }
  if (!s->adapter) return;
  const u32 rank = s->adapter->rank, wide = s->rank_wide;
  const f32 *a = packed_adapter(s, layer, which), *b = a + wide * in;
  gemm(low, wide, rows_of(x, in), packed(a, in), s->n, wide, in, 0);
  for (u32 i = 0; i < s->n * wide; i++) low[i] = low[i] * s->adapter->scale;
  gemm(y, out, rows_of(low, wide), packed(b, rank), s->n, out, rank, 1);
}

static void append_cache(const Pass *s, u32 layer, const f32 *k, const f32 *v) {
  const Model *w = s->w;
  const u32 dim = w->head_dim, per_head = s->cache.capacity * dim;
  f32 *keys = s->cache.keys + (u64)layer * cache_layer_floats(w, s->cache.capacity);
  f32 *values = s->cache.values + (u64)layer * cache_layer_floats(w, s->cache.capacity);
  for (u32 t = 0; t < s->n; t++) {
    const u32 position = s->start + t;
    for (u32 h = 0; h < w->kv_heads; h++) {
      f32 *panel = keys + h * per_head + (position / 8) * 8 * dim + position % 8;
      const f32 *from = k + t * key_width(w) + h * dim;
      for (u32 i = 0; i < dim; i++) panel[i * 8] = from[i];
      copy_floats(values + h * per_head + position * dim, v + t * key_width(w) + h * dim, dim);
    }
  }
}

// How many of the last positions, its own included, a token of this layer sees; 0 = all.
static u32 window_of(const Pass *s, u32 layer) {
  return s->w->windows ? ((const u32 *)(s->arena + s->w->windows))[layer] : 0;
}
// The first position that the token at `position` sees.
INLINE u32 first_seen(u32 window, u32 position) {
  return window && position >= window ? position - window + 1 : 0;
}

// Causal grouped-query attention of n new rows over everything in the cache that they may see.
// Panels of keys before the first row's window are skipped: their probabilities are zero.
static void attention(const Pass *s, u32 layer, const Acts *a) {
  const Model *w = s->w;
  const u32 dim = w->head_dim, row = query_width(w), per_head = s->cache.capacity * dim;
  const f32 scale = 1.0f / __builtin_sqrtf((f32)dim);
  const u64 at = (u64)layer * cache_layer_floats(w, s->cache.capacity);
  const u32 window = window_of(s, layer);
  for (u32 h = 0; h < w->heads; h++) {
    const u32 kv = h / (w->heads / w->kv_heads);
    const f32 *keys = s->cache.keys + at + kv * per_head;
    const f32 *values = s->cache.values + at + kv * per_head;
    for (u32 i = 0; i < s->n; i += ATTENTION_BLOCK) {
      const u32 rows = least(ATTENTION_BLOCK, s->n - i);
      const u32 seen = s->start + i + rows, width = round_up8(seen);
      const u32 skip = first_seen(window, s->start + i) & ~7u;
      f32 *probs = a->probs ? a->probs + ((u64)h * s->n + i) * s->score_row : s->probs;
      gemm(probs + skip, s->score_row, rows_of(a->q + i * row + h * dim, row),
           packed(keys + skip * dim, dim), rows, width - skip, dim, 0);
      for (u32 t = 0; t < rows; t++) {
        const u32 position = s->start + i + t;
        window_softmax(probs + t * s->score_row, first_seen(window, position), position + 1, width,
                       scale);
      }
      gemm(a->attended + i * row + h * dim, row, rows_of(probs + skip, s->score_row),
           plain(values + skip * dim, dim), rows, dim, seen - skip, 0);
    }
  }
}

// A projection to q or k, with the norm of its heads where the model has one, before RoPE.
static void heads_of(const Pass *s, u32 layer, u32 which, const Acts *a) {
  const Model *w = s->w;
  f32 *y = which == Q ? a->q : a->k, *raw = which == Q ? a->raw_q : a->raw_k;
  linear(s, layer, which, w->head_norms ? raw : y, a->norm1, a->low[which]);
  if (!w->head_norms) return;
  const u32 rows = s->n * (which == Q ? w->heads : w->kv_heads);
  rmsnorm(y, which == Q ? a->inverse_q : a->inverse_k, raw, s->vectors + head_norm_at(w, VECTORS, layer, which),
          rows, w->head_dim, w->eps);
}

// The embeddings of the tokens as rows of the residual.
static void embed(const Pass *s, f32 *rows) {
  const Model *w = s->w;
  const Matrix embedding = matrix_of(w, s->arena, 0, EMBEDDING);
  for (u32 t = 0; t < s->n; t++) matrix_row(rows + t * w->hidden, embedding, (u32)s->tokens[t]);
}

// From the residual in a->in to that after the layer, in `next`.
static void layer_forward(const Pass *s, u32 layer, const Acts *a, f32 *next) {
  const Model *w = s->w;
  const u32 n = s->n, size = n * w->hidden;
  const f32 *table = (const f32 *)(s->arena + w->table) + s->start * w->head_dim;
  rmsnorm(a->norm1, a->inverse1, a->in, s->vectors + norm_at(w, VECTORS, layer, 0), n, w->hidden,
          w->eps);
  heads_of(s, layer, Q, a);
  heads_of(s, layer, K, a);
  linear(s, layer, V, s->v, a->norm1, a->low[V]);
  rope(a->q, table, n, w->heads, w->head_dim, 1.0f);
  rope(a->k, table, n, w->kv_heads, w->head_dim, 1.0f);
  append_cache(s, layer, a->k, s->v);
  attention(s, layer, a);
  linear(s, layer, O, s->rows, a->attended, a->low[O]);
  add_rows(a->middle, a->in, s->rows, size);
  rmsnorm(a->norm2, a->inverse2, a->middle, s->vectors + norm_at(w, VECTORS, layer, 1), n, w->hidden,
          w->eps);
  linear(s, layer, GATE, a->gate, a->norm2, a->low[GATE]);
  linear(s, layer, UP, a->up, a->norm2, a->low[UP]);
  swiglu(a->product, a->gate, a->up, n * w->ffn);
  linear(s, layer, DOWN, s->rows, a->product, a->low[DOWN]);
  add_rows(next, a->middle, s->rows, size);
}

// Leaves the last residual rows in s->out.
static void forward(const Pass *s) {
  embed(s, acts_of(s, 0).in);
  for (u32 layer = 0; layer < s->w->layers; layer++) {
    const Acts a = acts_of(s, layer);
    layer_forward(s, layer, &a, layer + 1 < s->w->layers ? acts_of(s, layer + 1).in : s->out);
  }
}

// Logits of `count` gathered rows into s->logits (rows of vocab_row); head_in, head_norm and head_inverse stay behind.
static void head_block(const Pass *s, const u32 *which, u32 count) {
  const Model *w = s->w;
  for (u32 i = 0; i < count; i++) {
    copy_floats(s->head_in + i * w->hidden, s->out + which[i] * w->hidden, w->hidden);
  }
  rmsnorm(s->head_norm, s->head_inverse, s->head_in, s->vectors + final_norm_at(w, VECTORS), count,
          w->hidden, w->eps);
  product(s->logits, vocab_row(w), s->head_norm, count, matrix_of(w, s->arena, 0, HEAD), s->quants);
}

#endif
