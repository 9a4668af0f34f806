// The hand-derived backward of one sequence: gradients of every LoRA parameter (base frozen), or of
// every parameter. Sums over positions always run in ascending position order.
#ifndef OPENLEDGER_BACKWARD_H
#define OPENLEDGER_BACKWARD_H
#include "model.h"

// The right operand x[n, width] of dy^T x, packed once for the linears that share it.
static void pack_columns(const Pass *s, const f32 *x, u32 width) {
  if (s->full) pack_plain(s->columns, x, width, s->n, width);
}

// dx = or += dy[rows, out] (row stride dy_row) W through the base's matrix `which`: out of its f32 panels,
// or of the int8 ones when those are all that is kept. The forward's rounding of activations to int8
// counts as the identity here (straight-through).
static void back_through(const Pass *s, u32 layer, u32 which, f32 *dx, const f32 *dy, u32 dy_row, u32 rows,
                         int accumulate) {
  const Model *w = s->w;
  const Matrix m = matrix_of(w, s->arena, layer, which);
  if (!w->backward) {
    int8_back_product(dx, dy, dy_row, rows, m, accumulate);
    return;
  }
  const f32 *weight = (const f32 *)(s->arena + w->backward) +
                      (which == HEAD ? head_at(w) : weight_at(w, layer, which));
  gemm(dx, m.depth, rows_of(dy, dy_row), packed(weight, m.n), rows, m.depth, m.n, accumulate);
}

// From dy[n, out]: the weight or adapter gradient, and when dx is not null dx = or += dy W (+ LoRA).
// pack_columns must have seen x.
static void linear_backward(const Pass *s, u32 layer, u32 which, const f32 *dy, const f32 *x,
                            const f32 *low, f32 *dx, int accumulate) {
  const Model *w = s->w;
  const u32 n = s->n, in = linear_in(w, which), out = linear_out(w, which);
  if (s->full) {
    gemm(s->full + weight_at(w, layer, which), in, columns_of(dy, out), packed(s->columns, n), out,
         in, n, 1);
  }
  if (s->full && has_bias(w, which)) {
    f32 *dbias = s->full + bias_at(w, FLAT, layer, which);
    for (u32 t = 0; t < n; t++) add_rows(dbias, dbias, dy + t * out, out);
  }
  if (dx) back_through(s, layer, which, dx, dy, out, n, accumulate);
  if (!s->lora) return;
  const u32 rank = s->adapter->rank, wide = s->rank_wide;
  const u32 at = adapter_at(w, rank, layer, which);
  f32 *da = s->lora + at, *db = da + rank * in;
  gemm(s->turned, out, columns_of(low, wide), plain(dy, out), rank, out, n, 0);
  for (u32 o = 0; o < out; o++) {
    for (u32 r = 0; r < rank; r++) db[o * rank + r] = s->turned[r * out + o];
  }
  const f32 *b = packed_adapter(s, layer, which) + wide * in + rank * out;
  gemm(s->dlow, wide, rows_of(dy, out), packed(b, out), n, wide, out, 0);
  for (u32 i = 0; i < n * wide; i++) s->dlow[i] = s->dlow[i] * s->adapter->scale;
  gemm(da, in, columns_of(s->dlow, wide), plain(x, in), rank, in, n, 0);
  if (dx) {
    const f32 *a = (const f32 *)(s->arena + s->adapter->raw) + at;
    gemm(dx, in, rows_of(s->dlow, wide), plain(a, in), n, in, rank, 1);
  }
}

// dq, dk, dv (before undoing RoPE) from dattended; the passes that train start at position 0.
static void attention_backward(const Pass *s, u32 layer, const Acts *a) {
  const Model *w = s->w;
  const u32 n = s->n, dim = w->head_dim, row = query_width(w), kv_row = key_width(w);
  const u32 wide = s->score_row, group = w->heads / w->kv_heads;
  const f32 scale = 1.0f / __builtin_sqrtf((f32)dim);
  const f32 *layer_values = s->cache.values + (u64)layer * cache_layer_floats(w, s->cache.capacity);
  for (u32 h = 0; h < w->heads; h++) {
    const u32 kv = h / group;
    if (h % group == 0) {
      pack_transposed(s->values_t, layer_values + kv * s->cache.capacity * dim, dim, n, dim);
    }
    const f32 *probs = a->probs + (u64)h * n * wide;
    for (u32 i = 0; i < n; i += ATTENTION_BLOCK) {
      const u32 rows = least(ATTENTION_BLOCK, n - i), seen = i + rows, width = round_up8(seen);
      f32 *d = s->dscores + (u64)i * wide;
      gemm(d, wide, rows_of(s->dattended + i * row + h * dim, row), packed(s->values_t, dim), rows,
           width, dim, 0);
      for (u32 t = 0; t < rows; t++) {
        masked_softmax_backward(d + t * wide, probs + (u64)(i + t) * wide, i + t + 1, width, scale);
      }
      gemm(s->dq + i * row + h * dim, row, rows_of(d, wide), plain(a->k + kv * dim, kv_row), rows,
           dim, seen, 0);
    }
    for (u32 j = 0; j < n; j += ATTENTION_BLOCK) {
      const u32 rows = least(ATTENTION_BLOCK, n - j);
      const u64 corner = (u64)j * wide + j;
      gemm(s->dk + j * kv_row + kv * dim, kv_row, columns_of(s->dscores + corner, wide),
           plain(a->q + j * row + h * dim, row), rows, dim, n - j, h % group != 0);
      gemm(s->dv + j * kv_row + kv * dim, kv_row, columns_of(probs + corner, wide),
           plain(s->dattended + j * row + h * dim, row), rows, dim, n - j, h % group != 0);
    }
  }
}

// Through the output head: s->dx becomes the gradient of the last residual. Row t predicts
// tokens[t + 1] where mask[t + 1] is set. Returns the sum of NLL; weight scales the gradient only.
static f64 head_backward(const Pass *s, const u8 *mask, f32 weight) {
  const Model *w = s->w;
  const u32 hidden = w->hidden;
  f64 loss = 0.0;
  zero_floats(s->dx, s->n * hidden);
  u32 which[HEAD_BLOCK];
  for (u32 t = 0; t < s->n;) {
    u32 count = 0;
    for (; t < s->n && count < HEAD_BLOCK; t++) {
      if (mask[t + 1]) which[count++] = t;
    }
    if (!count) break;
    head_block(s, which, count);
    for (u32 i = 0; i < count; i++) {
      const u32 target = (u32)s->tokens[which[i] + 1];
      loss -= cross_entropy(s->logits + i * vocab_row(w), w->vocab, target, weight).logprob;
    }
    f32 *dhead = s->full ? s->full + head_at(w) : 0;
    if (dhead) {
      gemm(dhead, hidden, columns_of(s->logits, vocab_row(w)), plain(s->head_norm, hidden), w->vocab,
           hidden, count, 1);
    }
    back_through(s, 0, HEAD, s->head_d, s->logits, vocab_row(w), count, 0);
    for (u32 i = 0; i < count; i++) {
      f32 *dx = s->dx + which[i] * hidden;
      rmsnorm_backward(dx, s->full ? s->full + final_norm_at(w, FLAT) : 0, dx, s->head_d + i * hidden,
                       s->head_in + i * hidden, s->head_inverse + i, s->vectors + final_norm_at(w, VECTORS), 1,
                       hidden);
    }
  }
  return loss;
}

// In place: the gradient of q or k after RoPE becomes that of the projection.
static void heads_backward(const Pass *s, u32 layer, u32 which, const Acts *a, f32 *d) {
  const Model *w = s->w;
  const u32 heads = which == Q ? w->heads : w->kv_heads, dim = w->head_dim;
  rope(d, (const f32 *)(s->arena + w->table), s->n, heads, dim, -1.0f);
  if (!w->head_norms) return;
  const f32 *raw = which == Q ? a->raw_q : a->raw_k;
  const f32 *inverse = which == Q ? a->inverse_q : a->inverse_k;
  const f32 *weight = s->vectors + head_norm_at(w, VECTORS, layer, which);
  f32 *dweight = s->full ? s->full + head_norm_at(w, FLAT, layer, which) : 0;
  zero_floats(s->zeros, dim);
  for (u32 t = 0; t < s->n * heads; t++) {
    rmsnorm_backward(d + t * dim, dweight, s->zeros, d + t * dim,
                     raw + t * dim, inverse + t, weight, 1, dim);
  }
}

static void layer_backward(const Pass *s, u32 layer) {
  const Model *w = s->w;
  const u32 n = s->n, hidden = w->hidden;
  const Acts a = acts_of(s, layer);
  pack_columns(s, a.product, w->ffn);
  linear_backward(s, layer, DOWN, s->dx, a.product, a.low[DOWN], s->dgate, 0);
  swiglu_backward(s->dgate, s->dup, s->dgate, a.gate, a.up, n * w->ffn);
  pack_columns(s, a.norm2, hidden);
  linear_backward(s, layer, GATE, s->dgate, a.norm2, a.low[GATE], s->dnorm, 0);
  linear_backward(s, layer, UP, s->dup, a.norm2, a.low[UP], s->dnorm, 1);
  f32 *dweight = s->full ? s->full + norm_at(w, FLAT, layer, 1) : 0;
  rmsnorm_backward(s->dmiddle, dweight, s->dx, s->dnorm, a.middle, a.inverse2,
                   s->vectors + norm_at(w, VECTORS, layer, 1), n, hidden);
  pack_columns(s, a.attended, query_width(w));
  linear_backward(s, layer, O, s->dmiddle, a.attended, a.low[O], s->dattended, 0);
  attention_backward(s, layer, &a);
  heads_backward(s, layer, Q, &a, s->dq);
  heads_backward(s, layer, K, &a, s->dk);
  pack_columns(s, a.norm1, hidden);
  // Nothing below the first layer's adapters is trained, so the frozen base stops here.
  f32 *dnorm = layer == 0 && !s->full ? 0 : s->dnorm;
  linear_backward(s, layer, Q, s->dq, a.norm1, a.low[Q], dnorm, 0);
  linear_backward(s, layer, K, s->dk, a.norm1, a.low[K], dnorm, 1);
  linear_backward(s, layer, V, s->dv, a.norm1, a.low[V], dnorm, 1);
  if (!dnorm) return;
  dweight = s->full ? s->full + norm_at(w, FLAT, layer, 0) : 0;
  rmsnorm_backward(s->dx, dweight, s->dmiddle, s->dnorm, a.in, a.inverse1,
                   s->vectors + norm_at(w, VECTORS, layer, 0), n, hidden);
}

// Forward and backward of one sequence; returns the sum of NLL over its masked targets.
static f64 sequence_gradient(const Pass *s, const u8 *mask, f32 weight) {
  forward(s);
  const f64 loss = head_backward(s, mask, weight);
  for (u32 layer = s->w->layers; layer-- > 0;) layer_backward(s, layer);
  if (s->full) {
    const u32 hidden = s->w->hidden;
    for (u32 t = 0; t < s->n; t++) {
      f32 *row = s->full + (u32)s->tokens[t] * hidden;
      add_rows(row, row, s->dx + t * hidden, hidden);
    }
  }
  return loss;
}

#endif
