// The entry points of the one kernel source. Each takes the arena and the byte offset of a block of
// f64 arguments in it, so that WebAssembly and the native addon are driven by the same TypeScript.
#include "backward.h"
#include "batch.h"

#ifdef __wasm__
#define ENTRY(name) __attribute__((export_name(#name))) f64 name(u8 *m, u32 at)
#else
#define ENTRY(name) f64 name(u8 *m, u32 at)
#endif
#define ARG(i) (((const f64 *)(m + at))[i])
#define NUMBER(i) ((u32)ARG(i))
#define FLOATS(i) ((f32 *)(m + NUMBER(i)))
#define MODEL ((const Model *)(m + NUMBER(0)))

static Pass pass_of(u8 *m, u32 model, u32 adapter, u32 mode, u32 n, u32 start) {
  Pass s;
  s.w = (const Model *)(m + model);
  s.arena = m;
  s.vectors = (const f32 *)(m + s.w->vectors);
  s.adapter = adapter ? (const Adapter *)(m + adapter) : 0;
  s.mode = mode;
  s.n = n;
  s.start = start;
  s.full = 0;
  s.lora = 0;
  return s;
}

// (model, adapter, mode, n, start, capacity) -> bytes of workspace such a pass needs.
ENTRY(workspace_bytes) {
  Pass s = pass_of(m, NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3), NUMBER(4));
  return (f64)plan_pass(&s, 0, NUMBER(5));
}

// (model) -> number of f32 parameters.
ENTRY(model_size) { return (f64)layout_floats(MODEL, FLAT); }
// (model) -> number of those that are norms or biases.
ENTRY(vectors_size) { return (f64)layout_floats(MODEL, VECTORS); }
// (model) -> bytes of all matrices in the resident format.
ENTRY(resident_size) { return (f64)resident_bytes(MODEL); }

// (to, head_dim, theta): the unscaled RoPE frequencies, head_dim / 2 of them.
ENTRY(base_frequencies) {
  rope_frequencies(FLOATS(0), NUMBER(1), ARG(2));
  return 0;
}

// (model, frequencies, scale): fills the RoPE table for every position of the context.
ENTRY(build_rope) {
  const Model *w = (const Model *)(m + NUMBER(0));
  rope_table((f32 *)(m + w->table), w->context, w->head_dim, FLOATS(1), (f32)ARG(2));
  return 0;
}

static u32 flat_at(const Model *w, u32 layer, u32 which) {
  return which == EMBEDDING ? 0 : which == HEAD ? head_at(w) : weight_at(w, layer, which);
}
// Nothing goes back through the embedding, except where it is the output head too.
static int goes_back(const Model *w, u32 which) { return w->backward && (which != EMBEDDING || w->tied); }

// (model, raw, from, layer, which, first, rows) -> whether all are finite: rows of a matrix (which is
// a linear, 7 the embedding, 8 the output head) in the stored format `from` become resident.
ENTRY(pack_part) {
  const Model *w = MODEL;
  const u32 layer = NUMBER(3), which = NUMBER(4), first = NUMBER(5), rows = NUMBER(6);
  const Matrix matrix = matrix_of(w, m, layer, which);
  if (goes_back(w, which)) {
    f32 *back = (f32 *)(m + w->backward) + flat_at(w, layer, which);
    pack_back(back, matrix, first, rows, m + NUMBER(1), NUMBER(2));
  }
  return pack_rows(matrix, first, rows, m + NUMBER(1), NUMBER(2));
}

// (model, raw, from, at, n) -> whether all are finite: norms or biases from float `at` of them on.
ENTRY(place_vector) {
  const u8 *raw = m + NUMBER(1);
  const u32 from = NUMBER(2), n = NUMBER(4);
  f32 *to = (f32 *)(m + MODEL->vectors) + NUMBER(3);
  for (u32 i = 0; i < n; i++) to[i] = stored(from, raw, i);
  return all_finite(from, raw, n);
}

// (model): brings everything resident up to date with the row-major f32 parameters.
ENTRY(pack_model) {
  const Model *w = MODEL;
  const f32 *params = (const f32 *)(m + w->params);
  for (u32 layer = 0; layer <= w->layers; layer++) {
    const u32 first = layer < w->layers ? 0 : EMBEDDING;
    for (u32 which = first; which < (layer < w->layers ? EMBEDDING : HEAD + 1); which++) {
      if (which == HEAD && w->tied) continue;
      const Matrix matrix = matrix_of(w, m, layer, which);
      const u32 at = flat_at(w, layer, which);
      const u8 *raw = (const u8 *)(params + at);
      pack_rows(matrix, 0, matrix.n, raw, F32);
      if (goes_back(w, which)) pack_back((f32 *)(m + w->backward) + at, matrix, 0, matrix.n, raw, F32);
    }
  }
  f32 *to = (f32 *)(m + w->vectors);
  for (u32 layer = 0; layer < w->layers; layer++) {
    for (u32 i = 0; i < 2; i++) {
      copy_floats(to + norm_at(w, VECTORS, layer, i), params + norm_at(w, FLAT, layer, i), w->hidden);
    }
    for (u32 i = 0; i < LINEARS; i++) {
      copy_floats(to + bias_at(w, VECTORS, layer, i), params + bias_at(w, FLAT, layer, i),
                  has_bias(w, i) * linear_out(w, i));
    }
    copy_floats(to + head_norm_at(w, VECTORS, layer, Q), params + head_norm_at(w, FLAT, layer, Q),
                2 * w->head_norms * w->head_dim);
  }
  copy_floats(to + final_norm_at(w, VECTORS), params + final_norm_at(w, FLAT), w->hidden);
  return 0;
}

// (model, adapter) -> floats of the packed adapter.
ENTRY(adapter_packed_size) {
  const Model *w = (const Model *)(m + NUMBER(0));
  return (f64)adapter_packed_at(w, ((const Adapter *)(m + NUMBER(1)))->rank, w->layers, 0);
}

// (model, adapter): per linear A^T panels (rank padded), B^T panels, B panels (rank padded).
ENTRY(pack_adapter) {
  const Model *w = (const Model *)(m + NUMBER(0));
  const Adapter *adapter = (const Adapter *)(m + NUMBER(1));
  const u32 rank = adapter->rank, wide = round_up8(rank);
  for (u32 layer = 0; layer < w->layers; layer++) {
    for (u32 i = 0; i < LINEARS; i++) {
      const u32 in = linear_in(w, i), out = linear_out(w, i);
      const f32 *a = (const f32 *)(m + adapter->raw) + adapter_at(w, rank, layer, i);
      f32 *to = (f32 *)(m + adapter->packed) + adapter_packed_at(w, rank, layer, i);
      pack_transposed(to, a, in, rank, in);
      pack_transposed(to + wide * in, a + rank * in, rank, out, rank);
      pack_plain(to + wide * in + rank * out, a + rank * in, rank, out, rank);
    }
  }
  return 0;
}

// (model, adapter, tokens, mask, count, work, gradient, weight) -> sum of NLL over tokens whose mask
// byte is set; gradient (flat adapter layout) = weight * d(sum)/d(adapter), overwritten.
ENTRY(record_gradient) {
  Pass s = pass_of(m, NUMBER(0), NUMBER(1), TRAIN_ADAPTER, NUMBER(4) - 1, 0);
  s.tokens = (const i32 *)(m + NUMBER(2));
  plan_pass(&s, NUMBER(5), 0);
  s.lora = FLOATS(6);
  const f64 loss = sequence_gradient(&s, m + NUMBER(3), (f32)ARG(7));
  canonical_nan(s.lora, adapter_at(s.w, s.adapter->rank, s.w->layers, 0));
  return loss;
}

// (model, tokens, mask, count, work, gradient, weight) -> sum of NLL; gradient (flat parameter
// layout) += weight * d(sum)/d(parameters).
ENTRY(full_gradient) {
  Pass s = pass_of(m, NUMBER(0), 0, TRAIN_FULL, NUMBER(3) - 1, 0);
  s.tokens = (const i32 *)(m + NUMBER(1));
  plan_pass(&s, NUMBER(4), 0);
  s.full = FLOATS(5);
  return sequence_gradient(&s, m + NUMBER(2), (f32)ARG(6));
}

// (model, adapter or 0, tokens, n, start, keys, values, capacity, work, logits): runs n tokens at
// positions start.. over the cache and writes the logits after the last one.
ENTRY(extend) {
  Pass s = pass_of(m, NUMBER(0), NUMBER(1), INFER, NUMBER(3), NUMBER(4));
  s.tokens = (const i32 *)(m + NUMBER(2));
  s.cache = (Cache){FLOATS(5), FLOATS(6), NUMBER(7)};
  plan_pass(&s, NUMBER(8), NUMBER(7));
  forward(&s);
  const u32 last = s.n - 1;
  head_block(&s, &last, 1);
  canonical_nan(s.logits, s.w->vocab);
  copy_floats(FLOATS(9), s.logits, s.w->vocab);
  return 0;
}

// Log-probabilities and likeliest tokens after the rows in s->out, see `score`.
static void score_rows(const Pass *s, f32 *logprobs, i32 *best) {
  const Model *w = s->w;
  u32 which[HEAD_BLOCK];
  for (u32 from = 0; from < s->n; from += HEAD_BLOCK) {
    const u32 count = least(HEAD_BLOCK, s->n - from);
    for (u32 i = 0; i < count; i++) which[i] = from + i;
    head_block(s, which, count);
    for (u32 i = 0; i < count; i++) {
      const u32 to = from + i + 1;
      const Scored scored =
          cross_entropy(s->logits + i * vocab_row(w), w->vocab, (u32)s->tokens[to], 0.0f);
      logprobs[to] = (f32)scored.logprob;
      best[to] = (i32)scored.best;
    }
  }
  canonical_nan(logprobs + 1, s->n);
}

// (model, adapter or 0, tokens, count, work, logprobs, best): for each position t >= 1 the
// log-probability of tokens[t] and the most likely token there; entry 0 is not written.
ENTRY(score) {
  Pass s = pass_of(m, NUMBER(0), NUMBER(1), INFER, NUMBER(3) - 1, 0);
  s.tokens = (const i32 *)(m + NUMBER(2));
  plan_pass(&s, NUMBER(4), 0);
  forward(&s);
  score_rows(&s, FLOATS(5), (i32 *)FLOATS(6));
  return 0;
}

// The same pass in pieces, for a model of which only one part is in memory at a time.

// (model, tokens, n, rows): the residual before the first layer.
ENTRY(embed_rows) {
  Pass s = pass_of(m, NUMBER(0), 0, INFER, NUMBER(2), 0);
  s.tokens = (const i32 *)(m + NUMBER(1));
  embed(&s, FLOATS(3));
  return 0;
}
// (model of one layer, adapter of one layer or 0, n, work, rows): the residual after the layer.
ENTRY(layer_rows) {
  Pass s = pass_of(m, NUMBER(0), NUMBER(1), INFER, NUMBER(2), 0);
  plan_pass(&s, NUMBER(3), 0);
  const Acts a = acts_of(&s, 0);
  copy_floats(a.in, FLOATS(4), s.n * s.w->hidden);
  layer_forward(&s, 0, &a, FLOATS(4));
  return 0;
}
// (model, tokens, count, work, rows, logprobs, best): the end of `score` from the last residual.
ENTRY(head_rows) {
  Pass s = pass_of(m, NUMBER(0), 0, INFER, NUMBER(2) - 1, 0);
  s.tokens = (const i32 *)(m + NUMBER(1));
  plan_pass(&s, NUMBER(3), 0);
  copy_floats(s.out, FLOATS(4), s.n * s.w->hidden);
  score_rows(&s, FLOATS(5), (i32 *)FLOATS(6));
  return 0;
}

// (model, rows, longest, rank) -> bytes of workspace for steps of up to that size.
ENTRY(batch_bytes) {
  Batch b;
  return (f64)plan_batch(&b, m, (const Model *)(m + NUMBER(0)), NUMBER(1), NUMBER(2), NUMBER(3), 0);
}

// (model, adapter, raw, layer): packs one layer of an adapter into its pages, see pack_paged.
ENTRY(batch_pack) {
  pack_paged(m, (const Model *)(m + NUMBER(0)), (const PagedAdapter *)(m + NUMBER(1)), FLOATS(2),
             NUMBER(3));
  return 0;
}

// (model, sequences, count, tokens, rows, positions, longest, rank, work, logits): one step of all
// sequences; the logits of those that want them are written one after the other.
ENTRY(batch_extend) {
  Batch b;
  plan_batch(&b, m, (const Model *)(m + NUMBER(0)), NUMBER(4), NUMBER(6), NUMBER(7), NUMBER(8));
  b.sequences = (const Sequence *)(m + NUMBER(1));
  b.count = NUMBER(2);
  b.positions = NUMBER(5);
  b.pass.tokens = (const i32 *)(m + NUMBER(3));
  batch_forward(&b);
  const u32 vocab = b.pass.w->vocab;
  f32 *logits = FLOATS(9);
  u32 which[HEAD_BLOCK], count = 0;
  for (u32 i = 0, row = 0; i < b.count; i++) {
    row += b.sequences[i].rows;
    if (b.sequences[i].wanted) which[count++] = row - 1;
    if (count < HEAD_BLOCK && i + 1 < b.count) continue;
    if (!count) continue;
    head_block(&b.pass, which, count);
    canonical_nan(b.pass.logits, count * round_up8(vocab));
    for (u32 j = 0; j < count; j++, logits += vocab) {
      copy_floats(logits, b.pass.logits + j * round_up8(vocab), vocab);
    }
    count = 0;
  }
  return 0;
}

// (parameters, gradient, m, v, n, scale, rate, beta1, beta2, correction1, correction2, epsilon,
// decay): one AdamW step in place on scale * gradient; corrections are 1 - beta^step.
ENTRY(adamw) {
  f32 *p = FLOATS(0), *first = FLOATS(2), *second = FLOATS(3);
  const f32 *g = FLOATS(1);
  const u32 n = NUMBER(4);
  const f32 scale = (f32)ARG(5), rate = (f32)ARG(6), beta1 = (f32)ARG(7), beta2 = (f32)ARG(8);
  const f32 correction1 = (f32)ARG(9), correction2 = (f32)ARG(10), epsilon = (f32)ARG(11);
  const f32 decay = (f32)ARG(12), rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
  for (u32 i = 0; i < n; i++) {
    const f32 d = g[i] * scale;
    const f32 mean = beta1 * first[i] + rest1 * d;
    const f32 square = beta2 * second[i] + rest2 * (d * d);
    first[i] = mean;
    second[i] = square;
    const f32 move = (mean / correction1) / (__builtin_sqrtf(square / correction2) + epsilon);
    p[i] = p[i] - rate * (move + decay * p[i]);
  }
  canonical_nan(p, n);
  canonical_nan(first, n);
  canonical_nan(second, n);
  return 0;
}

// (x, n) -> sum of squares in f64, eight lanes by index mod 8, folded as sum8 does; n % 8 == 0 or
// the tail goes to the first lanes.
ENTRY(sum_squares) {
  const f32 *x = FLOATS(0);
  const u32 n = NUMBER(1);
  f64 lane[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  u32 i = 0;
  for (; i + 8 <= n; i += 8) {
    for (u32 j = 0; j < 8; j++) lane[j] = lane[j] + (f64)x[i + j] * (f64)x[i + j];
  }
  for (u32 j = 0; i + j < n; j++) lane[j] = lane[j] + (f64)x[i + j] * (f64)x[i + j];
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// (to, from, n): to += from.
ENTRY(add) {
  f32 *to = FLOATS(0);
  const f32 *from = FLOATS(1);
  const u32 n = NUMBER(2);
  for (u32 i = 0; i < n; i++) to[i] = to[i] + from[i];
  return 0;
}

// Scalar functions of f64 (x): the only transcendental functions training may use.
ENTRY(scalar_exp) { return exp64(ARG(0)); }
ENTRY(scalar_log) { return log64(ARG(0)); }
ENTRY(scalar_sin) { return sin64(ARG(0), 0); }
ENTRY(scalar_cos) { return sin64(ARG(0), 1); }
ENTRY(scalar_sqrt) { return __builtin_sqrt(ARG(0)); }

// Single operations, for tests against the plain-TypeScript reference.

// (c, a, b, m, n, depth, transposed, scratch): c = a b, or a b^T when transposed, through packing.
ENTRY(op_matmul) {
  const u32 rows = NUMBER(3), n = NUMBER(4), depth = NUMBER(5);
  f32 *scratch = FLOATS(7);
  if (NUMBER(6)) pack_transposed(scratch, FLOATS(2), depth, n, depth);
  else pack_plain(scratch, FLOATS(2), n, depth, n);
  gemm(FLOATS(0), n, rows_of(FLOATS(1), depth), packed(scratch, depth), rows, n, depth, 0);
  return 0;
}
// (y, x, raw, from, rows, n, depth, format, scratch): y[rows, n rounded up to eight] = x W^T, with W
// kept in `format`; scratch holds the packed matrix, then rows * (depth + 2) 16-bit values.
ENTRY(op_product) {
  const u32 rows = NUMBER(4), n = NUMBER(5), depth = NUMBER(6), format = NUMBER(7);
  u8 *scratch = m + NUMBER(8);
  const Matrix matrix = {scratch, format, n, depth};
  const int finite = pack_rows(matrix, 0, n, m + NUMBER(2), NUMBER(3));
  f32 *scales = (f32 *)(scratch + matrix_bytes(format, n, depth));
  product(FLOATS(0), round_up8(n), FLOATS(1), rows, matrix, (Quants){(i16 *)(scales + rows), scales});
  return finite;
}
// (dx, dy, raw, from, rows, n, depth, accumulate, scratch): dx[rows, depth] = or += dy W, with W[n, depth]
// kept as int8; scratch holds the packed matrix.
ENTRY(op_back_product) {
  const u32 n = NUMBER(5), depth = NUMBER(6);
  const Matrix matrix = {m + NUMBER(8), INT8, n, depth};
  pack_rows(matrix, 0, n, m + NUMBER(2), NUMBER(3));
  int8_back_product(FLOATS(0), FLOATS(1), n, NUMBER(4), matrix, (int)NUMBER(7));
  return 0;
}
// (y, x, weight, rows, n, eps, inverse)
ENTRY(op_rmsnorm) {
  rmsnorm(FLOATS(0), FLOATS(6), FLOATS(1), FLOATS(2), NUMBER(3), NUMBER(4), (f32)ARG(5));
  return 0;
}
// (dx, dweight, dy, x, inverse, weight, rows, n): dx must hold the residual gradient.
ENTRY(op_rmsnorm_backward) {
  rmsnorm_backward(FLOATS(0), FLOATS(1), FLOATS(0), FLOATS(2), FLOATS(3), FLOATS(4), FLOATS(5),
                   NUMBER(6), NUMBER(7));
  return 0;
}
// (product, gate, up, n)
ENTRY(op_swiglu) {
  swiglu(FLOATS(0), FLOATS(1), FLOATS(2), NUMBER(3));
  return 0;
}
// (dgate, dup, dproduct, gate, up, n)
ENTRY(op_swiglu_backward) {
  swiglu_backward(FLOATS(0), FLOATS(1), FLOATS(2), FLOATS(3), FLOATS(4), NUMBER(5));
  return 0;
}
// (row, length, width, scale)
ENTRY(op_softmax) {
  masked_softmax(FLOATS(0), NUMBER(1), NUMBER(2), (f32)ARG(3));
  return 0;
}
// (row, first, length, width, scale)
ENTRY(op_window_softmax) {
  window_softmax(FLOATS(0), NUMBER(1), NUMBER(2), NUMBER(3), (f32)ARG(4));
  return 0;
}
// (d, probs, length, width, scale)
ENTRY(op_softmax_backward) {
  masked_softmax_backward(FLOATS(0), FLOATS(1), NUMBER(2), NUMBER(3), (f32)ARG(4));
  return 0;
}
// (x, table, rows, heads, headDim, direction)
ENTRY(op_rope) {
  rope(FLOATS(0), FLOATS(1), NUMBER(2), NUMBER(3), NUMBER(4), (f32)ARG(5));
  return 0;
}
// (row, n, target, weight) -> log-probability of target.
ENTRY(op_cross_entropy) {
  return cross_entropy(FLOATS(0), NUMBER(1), NUMBER(2), (f32)ARG(3)).logprob;
}
// (to, from, n): e^x of each entry, n a multiple of eight.
ENTRY(op_exp) {
  for (u32 i = 0; i < NUMBER(2); i += 8) store8(FLOATS(0) + i, exp8(load8(FLOATS(1) + i)));
  return 0;
}
