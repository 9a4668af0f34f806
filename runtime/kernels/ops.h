// Row operations of the Llama graph, forward and backward. Row sums run in eight lanes (index mod 8)
// folded by sum8; widths are multiples of eight.
#ifndef OPENLEDGER_OPS_H
#define OPENLEDGER_OPS_H
#include "gemm.h"
#include "maths.h"

// y = x / rms(x) * weight per row; inverse[row] keeps 1 / rms for the backward pass.
static void rmsnorm(f32 *y, f32 *inverse, const f32 *x, const f32 *weight, u32 rows, u32 n, f32 eps) {
  for (u32 t = 0; t < rows; t++, x += n, y += n) {
    f32x8 squares = splat8(0.0f);
    for (u32 i = 0; i < n; i += 8) squares = squares + load8(x + i) * load8(x + i);
    const f32 inv = 1.0f / __builtin_sqrtf(sum8(squares) / (f32)n + eps);
    inverse[t] = inv;
    for (u32 i = 0; i < n; i += 8) store8(y + i, (load8(x + i) * inv) * load8(weight + i));
  }
}

// dx = residual + d(rmsnorm)/dx * dy; dweight, when there, accumulates in ascending row order.
// dx may be residual or dy.
static void rmsnorm_backward(f32 *dx, f32 *dweight, const f32 *residual, const f32 *dy, const f32 *x,
                             const f32 *inverse, const f32 *weight, u32 rows, u32 n) {
  for (u32 t = 0; t < rows; t++, x += n, dy += n, dx += n, residual += n) {
    const f32 inv = inverse[t];
    f32x8 dots = splat8(0.0f);
    for (u32 i = 0; i < n; i += 8) dots = dots + (load8(dy + i) * load8(weight + i)) * load8(x + i);
    const f32 pull = ((sum8(dots) * inv) * (inv * inv)) / (f32)n;
    for (u32 i = 0; i < n; i += 8) {
      const f32x8 g = load8(dy + i), v = load8(x + i);
      if (dweight) store8(dweight + i, load8(dweight + i) + g * (v * inv));
      store8(dx + i, load8(residual + i) + ((g * load8(weight + i)) * inv - v * pull));
    }
  }
}

// theta^(-2i / head_dim) for each pair of a head, rounded to f32 at every step as the reference
// implementations of the model family do.
static void rope_frequencies(f32 *frequencies, u32 head_dim, f64 theta) {
  const f64 log_theta = log64(theta);
  for (u32 i = 0; i < head_dim / 2; i++) {
    const f32 power = (f32)exp64((f64)((f32)(2 * i) / (f32)head_dim) * log_theta);
    frequencies[i] = 1.0f / power;
  }
}

// cos and sin of every position, times scale: row = head_dim floats, cosines first. The angle is
// rounded to f32 as the reference implementations do.
static void rope_table(f32 *table, u32 positions, u32 head_dim, const f32 *frequencies, f32 scale) {
  const u32 half = head_dim / 2;
  for (u32 i = 0; i < half; i++) {
    for (u32 t = 0; t < positions; t++) {
      const f32 angle = (f32)t * frequencies[i];
      table[t * head_dim + i] = (f32)sin64(angle, 1) * scale;
      table[t * head_dim + half + i] = (f32)sin64(angle, 0) * scale;
    }
  }
}

// Rotates every head of every row in place by its position; direction -1 undoes it (the backward).
static void rope(f32 *x, const f32 *table, u32 rows, u32 heads, u32 head_dim, f32 direction) {
  const u32 half = head_dim / 2;
  for (u32 t = 0; t < rows; t++) {
    const f32 *cosine = table + t * head_dim, *sine = cosine + half;
    for (u32 h = 0; h < heads; h++, x += head_dim) {
      for (u32 i = 0; i < half; i++) {
        const f32 a = x[i], b = x[i + half], s = sine[i] * direction;
        x[i] = a * cosine[i] - b * s;
        x[i + half] = b * cosine[i] + a * s;
      }
    }
  }
}

// product = silu(gate) * up, elementwise over n (a multiple of eight).
static void swiglu(f32 *product, const f32 *gate, const f32 *up, u32 n) {
  for (u32 i = 0; i < n; i += 8) {
    const f32x8 g = load8(gate + i);
    store8(product + i, (g / (exp8(-g) + 1.0f)) * load8(up + i));
  }
}

// dgate and dup from dproduct; dgate may be the same memory as dproduct.
static void swiglu_backward(f32 *dgate, f32 *dup, const f32 *dproduct, const f32 *gate, const f32 *up,
                            u32 n) {
  for (u32 i = 0; i < n; i += 8) {
    const f32x8 g = load8(gate + i), d = load8(dproduct + i);
    const f32x8 sigmoid = splat8(1.0f) / (exp8(-g) + 1.0f);
    const f32x8 silu = g * sigmoid;
    store8(dup + i, d * silu);
    store8(dgate + i, (d * load8(up + i)) * (sigmoid * ((1.0f - sigmoid) * g + 1.0f)));
  }
}

static void add_rows(f32 *sum, const f32 *a, const f32 *b, u32 n) {
  for (u32 i = 0; i < n; i += 8) store8(sum + i, load8(a + i) + load8(b + i));
}

// softmax(row * scale) over the entries first..length - 1; all others up to `width` become zero.
static void window_softmax(f32 *row, u32 first, u32 length, u32 width, f32 scale) {
  const u32 skip = first & ~7u;
  zero_floats(row, skip);
  row += skip, first -= skip, length -= skip, width -= skip;
  const u32 used = round_up8(length);
  for (u32 i = 0; i < first; i++) row[i] = row[first];
  for (u32 i = length; i < used; i++) row[i] = row[first];
  f32x8 tops = splat8(row[0] * scale);
  for (u32 i = 0; i < used; i += 8) {
    const f32x8 v = load8(row + i) * scale;
    tops = max8(v, tops);
    store8(row + i, v);
  }
  const f32 top = top8(tops);
  for (u32 i = 0; i < used; i += 8) store8(row + i, exp8(load8(row + i) - top));
  for (u32 i = 0; i < first; i++) row[i] = 0.0f;
  for (u32 i = length; i < width; i++) row[i] = 0.0f;
  f32x8 sums = splat8(0.0f);
  for (u32 i = 0; i < used; i += 8) sums = sums + load8(row + i);
  const f32 inverse = 1.0f / sum8(sums);
  for (u32 i = 0; i < used; i += 8) store8(row + i, load8(row + i) * inverse);
}

// The same without a window.
static void masked_softmax(f32 *row, u32 length, u32 width, f32 scale) {
  window_softmax(row, 0, length, width, scale);
}

// dscores (in place of dprobs) = probs * (dprobs - sum(probs * dprobs)) * scale; zero past length.
static void masked_softmax_backward(f32 *d, const f32 *probs, u32 length, u32 width, f32 scale) {
  const u32 used = round_up8(length);
  f32x8 dots = splat8(0.0f);
  for (u32 i = 0; i < used; i += 8) dots = dots + load8(probs + i) * load8(d + i);
  const f32 dot = sum8(dots);
  for (u32 i = 0; i < used; i += 8) store8(d + i, (load8(probs + i) * (load8(d + i) - dot)) * scale);
  for (u32 i = length; i < width; i++) d[i] = 0.0f;
}

typedef struct {
  f64 logprob;
  u32 best;
} Scored;

// The eight entries from i on without those past n, which count as `rest`.
INLINE f32x8 within8(f32x8 v, u32 i, u32 n, f32 rest) {
  const i32x8 index = {0, 1, 2, 3, 4, 5, 6, 7};
  return select8(index < (i32)(n - i), v, splat8(rest));
}

// Log-probability of `target` under softmax(row), and the first index of the largest entry. When
// weight is not zero the row becomes weight * (softmax - onehot), the gradient of weight * NLL. The
// row has room for n rounded up to eight; what is past n is not read and becomes zero.
static Scored cross_entropy(f32 *row, u32 n, u32 target, f32 weight) {
  const f32 first = row[0];
  for (u32 i = n; i < round_up8(n); i++) row[i] = first;
  f32x8 tops = load8(row);
  for (u32 i = 8; i < n; i += 8) tops = max8(load8(row + i), tops);
  const f32 top = top8(tops);
  u32 best = 0;
  while (best + 1 < n && row[best] != top) best++;
  const f32 picked = row[target];
  f32x8 sums = splat8(0.0f);
  for (u32 i = 0; i < n; i += 8) {
    const f32x8 e = within8(exp8(load8(row + i) - top), i, n, 0.0f);
    sums = sums + e;
    if (weight != 0.0f) store8(row + i, e);
  }
  const f32 sum = sum8(sums);
  if (weight != 0.0f) {
    const f32 factor = weight / sum;
    for (u32 i = 0; i < n; i += 8) store8(row + i, load8(row + i) * factor);
    row[target] = row[target] - weight;
  }
  return (Scored){(f64)(picked - top) - log64((f64)sum), best};
}

#endif
