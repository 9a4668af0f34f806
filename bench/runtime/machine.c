// What this machine can do, beside what the kernels do of it: measure(kind, threads, m, n, depth, repeats)
// gives seconds until all threads are done. Kind 0: `repeats` rounds of PEAK_ACCUMULATORS separate
// multiplies and adds of the matrix product's own vectors. Kind 1: `repeats` products [m, depth] x
// [depth, n] by the kernels' gemm. Kind 2: `repeats` reads of m MiB per thread.
#include <node_api.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../../runtime/kernels/gemm.h"

#ifdef __AVX512F__
typedef f32x16 Lanes;
#define PEAK_ACCUMULATORS 24
#define OPAQUE(x) __asm__ volatile("" : "+v"(x))
#elif defined(__AVX2__)
typedef f32x8 Lanes;
#define PEAK_ACCUMULATORS 12
#define OPAQUE(x) __asm__ volatile("" : "+x"(x))
#else
typedef f32 Lanes __attribute__((vector_size(16)));
#define PEAK_ACCUMULATORS 24
#define OPAQUE(x) __asm__ volatile("" : "+w"(x))
#endif
#define LANES (sizeof(Lanes) / sizeof(f32))

typedef struct {
  u32 kind, m, n, depth, repeats;
  f32 *a, *b, *c;
  volatile f32 result;
} Work;

static f32 peak(u32 repeats) {
  Lanes acc[PEAK_ACCUMULATORS], x = (Lanes){0} + 1e-3f;
#pragma GCC unroll 24
  for (int i = 0; i < PEAK_ACCUMULATORS; i++) acc[i] = x * (f32)i;
#pragma GCC unroll 1
  for (u32 k = 0; k < repeats; k++) {
#pragma GCC unroll 24
    for (int i = 0; i < PEAK_ACCUMULATORS; i++) {
      Lanes product = x * x;
      OPAQUE(product);
      OPAQUE(x);
      acc[i] = acc[i] + product;
    }
  }
  Lanes sum = acc[0];
#pragma GCC unroll 24
  for (int i = 1; i < PEAK_ACCUMULATORS; i++) sum = sum + acc[i];
  return sum[0];
}

static f32 stream(const f32 *from, u64 floats) {
  i32x8 acc[8] = {{0}};
  for (u64 i = 0; i < floats; i += 64) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) acc[j] ^= (i32x8)load8(from + i + 8 * j);
  }
  i32x8 all = {0};
  for (int j = 0; j < 8; j++) all ^= acc[j];
  return (f32)all[0];
}

static void *run(void *given) {
  Work *w = given;
  if (w->kind == 0) w->result = peak(w->repeats);
  for (u32 i = 0; w->kind == 1 && i < w->repeats; i++) {
    gemm(w->c, w->n, rows_of(w->a, w->depth), packed(w->b, w->depth), w->m, w->n, w->depth, 0);
  }
  for (u32 i = 0; w->kind == 2 && i < w->repeats; i++) w->result = stream(w->a, (u64)w->m << 18);
  return NULL;
}

static f32 *filled(u64 floats) {
  f32 *block = NULL;
  if (posix_memalign((void **)&block, 2097152, (floats + 64) * 4)) return NULL;
  for (u64 i = 0; i < floats + 64; i++) block[i] = (f32)(i % 13) * 0.1f;
  return block;
}

#define THREADS_MOST 8
static Work works[THREADS_MOST];

// Memory is taken, and touched, before the clock starts; it is kept for the next call of its size.
static int prepare(Work *w, u32 kind, u32 m, u32 n, u32 depth) {
  if (kind != 0 && (!w->a || w->kind != kind || w->m != m || w->n != n || w->depth != depth)) {
    free(w->a), free(w->b), free(w->c);
    w->a = filled(kind == 2 ? (u64)m << 18 : (u64)m * depth);
    w->b = kind == 1 ? filled((u64)n * depth) : NULL;
    w->c = kind == 1 ? filled((u64)m * n) : NULL;
    if (!w->a || (kind == 1 && (!w->b || !w->c))) return 0;
  }
  w->kind = kind, w->m = m, w->n = n, w->depth = depth;
  return 1;
}

static napi_value measure(napi_env env, napi_callback_info info) {
  size_t count = 6;
  napi_value given[6], result;
  u32 number[6];
  napi_get_cb_info(env, info, &count, given, NULL, NULL);
  for (u32 i = 0; i < 6; i++) {
    if (i >= count || napi_get_value_uint32(env, given[i], &number[i]) != napi_ok) {
      napi_throw_error(env, "MACHINE", "measure expects (kind, threads, m, n, depth, repeats)");
      return NULL;
    }
  }
  const u32 threads = least(number[1], THREADS_MOST);
  for (u32 i = 0; i < threads; i++) {
    works[i].repeats = number[5];
    if (prepare(&works[i], number[0], number[2], number[3], number[4])) continue;
    napi_throw_error(env, "MACHINE", "out of memory");
    return NULL;
  }
  struct timespec from, to;
  pthread_t others[THREADS_MOST];
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (u32 i = 1; i < threads; i++) pthread_create(&others[i], NULL, run, &works[i]);
  run(&works[0]);
  for (u32 i = 1; i < threads; i++) pthread_join(others[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &to);
  napi_create_double(env, (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9,
                     &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_function(env, "measure", NAPI_AUTO_LENGTH, measure, NULL, &value);
  napi_set_named_property(env, exports, "measure", value);
  napi_create_uint32(env, (u32)(2 * LANES * PEAK_ACCUMULATORS), &value);
  napi_set_named_property(env, exports, "peakOperations", value);
  return exports;
}
