// The native build of the kernels as a Node-API addon: allocate(bytes) gives a page-aligned arena,
// call(arena, index, argumentsOffset) runs the entry named names[index]; packFile is pack_part for rows
// that are read from a file by several threads.
#include <node_api.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "kernels.c"

#define ENTRIES(X) \
  X(workspace_bytes) X(model_size) X(vectors_size) X(resident_size) X(pack_part) X(place_vector) X(base_frequencies) X(build_rope) X(pack_model) X(adapter_packed_size) \
  X(pack_adapter) X(batch_bytes) X(batch_pack) X(batch_extend) X(record_gradient) X(full_gradient) X(extend) X(score) X(embed_rows) X(layer_rows) X(head_rows) \
  X(adamw) X(sum_squares) X(add) X(scalar_exp) X(scalar_log) \
  X(scalar_sin) X(scalar_cos) X(scalar_sqrt) X(op_matmul) X(op_product) X(op_back_product) \
  X(op_rmsnorm) \
  X(op_rmsnorm_backward) X(op_swiglu) X(op_swiglu_backward) X(op_softmax) X(op_window_softmax) X(op_softmax_backward) \
  X(op_rope) X(op_cross_entropy) X(op_exp)

#define NAME(entry) #entry,
#define FUNCTION(entry) entry,
static const char *const entry_names[] = {ENTRIES(NAME)};
static f64 (*const entry_functions[])(u8 *, u32) = {ENTRIES(FUNCTION)};
#define ENTRY_COUNT (sizeof entry_names / sizeof *entry_names)

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, "NATIVE_KERNELS", message);
  return NULL;
}

// One arena: a reserved range of addresses whose pages come as they are touched, so that growing moves
// nothing. Every array buffer over it is a user; the last one gone gives it back.
typedef struct {
  size_t reserved, users;
} Region;
#define HEADER_BYTES ((size_t)2097152)

static Region *region_of(void *data) { return (Region *)((u8 *)data - HEADER_BYTES); }

static void *reserve(size_t bytes) {
  const size_t size = bytes + HEADER_BYTES;
  u8 *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return NULL;
#if defined(MADV_HUGEPAGE)
  madvise(base, size, MADV_HUGEPAGE);
#endif
  void *data = base + HEADER_BYTES;
  *region_of(data) = (Region){bytes, 0};
  return data;
}

static void release(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  Region *region = region_of(data);
  if (--region->users == 0) munmap(region, region->reserved + HEADER_BYTES);
}

static napi_value buffer_of(napi_env env, void *data, size_t bytes) {
  napi_value result;
  region_of(data)->users++;
  if (napi_create_external_arraybuffer(env, data, bytes, release, NULL, &result) == napi_ok) return result;
  release(env, data, NULL);
  return fail(env, "this Node build allows no external array buffers");
}

// (bytes[, arena]): a new arena, or the same one longer: its earlier buffer must not be used any more.
static napi_value allocate(napi_env env, napi_callback_info info) {
  size_t count = 2, had = 0;
  napi_value arguments[2];
  double bytes;
  void *old = NULL;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_value_double(env, arguments[0], &bytes) != napi_ok || bytes < 1 || bytes > 4294967295.0) {
    return fail(env, "allocate expects a number of bytes below 2^32");
  }
  if (count == 2 && napi_get_arraybuffer_info(env, arguments[1], &old, &had) != napi_ok) {
    return fail(env, "allocate expects an arena to make longer");
  }
  if (old && (size_t)bytes <= region_of(old)->reserved) return buffer_of(env, old, (size_t)bytes);
  void *data = reserve(4294967296u);
  if (!data) data = reserve((size_t)bytes); // where addresses are rationed, growing moves
  if (!data) return fail(env, "out of memory for the kernel arena");
  if (old) memcpy(data, old, had);
  return buffer_of(env, data, (size_t)bytes);
}

static napi_value call(napi_env env, napi_callback_info info) {
  size_t count = 3, bytes;
  napi_value arguments[3], result;
  void *arena;
  u32 index, at;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count < 3 ||
      napi_get_arraybuffer_info(env, arguments[0], &arena, &bytes) != napi_ok ||
      napi_get_value_uint32(env, arguments[1], &index) != napi_ok ||
      napi_get_value_uint32(env, arguments[2], &at) != napi_ok || index >= ENTRY_COUNT) {
    return fail(env, "call expects (arena, entry index, offset of the arguments)");
  }
  napi_create_double(env, entry_functions[index](arena, at), &result);
  return result;
}

// Rows of one thread: read `step` at a time from `position` of the file into its own staging, packed.
typedef struct {
  u8 *arena;
  int descriptor, outcome; // 1: packed; 0: a value is not finite; -1: the file ended or could not be read
  u64 position;
  u32 arguments, staging, row_bytes, first, rows, step;
} PackShare;

static void *pack_share(void *given) {
  PackShare *s = given;
  f64 *arguments = (f64 *)(s->arena + s->arguments);
  arguments[1] = s->staging;
  for (u32 row = 0; row < s->rows; row += s->step) {
    const u32 rows = least(s->step, s->rows - row);
    const u64 bytes = (u64)rows * s->row_bytes;
    for (u64 done = 0; done < bytes;) {
      const ssize_t count = pread(s->descriptor, s->arena + s->staging + done, bytes - done,
                                  (off_t)(s->position + (u64)row * s->row_bytes + done));
      if (count <= 0) {
        s->outcome = -1;
        return NULL;
      }
      done += (u64)count;
    }
    arguments[5] = s->first + row;
    arguments[6] = rows;
    if (!pack_part(s->arena, s->arguments)) s->outcome = 0;
  }
  return NULL;
}

#define PACK_THREADS 8u
// (arena, descriptor, position, argumentsOffset, rowBytes, step, threads) -> outcome, see PackShare. The
// arguments are those of pack_part for all rows; `raw` has room for `threads` times `step` rows and 64 bytes.
static napi_value pack_file(napi_env env, napi_callback_info info) {
  size_t count = 7, bytes;
  napi_value given[7], result;
  void *arena;
  double position;
  u32 descriptor, at, row_bytes, step, threads;
  if (napi_get_cb_info(env, info, &count, given, NULL, NULL) != napi_ok || count < 7 ||
      napi_get_arraybuffer_info(env, given[0], &arena, &bytes) != napi_ok ||
      napi_get_value_uint32(env, given[1], &descriptor) != napi_ok ||
      napi_get_value_double(env, given[2], &position) != napi_ok ||
      napi_get_value_uint32(env, given[3], &at) != napi_ok ||
      napi_get_value_uint32(env, given[4], &row_bytes) != napi_ok ||
      napi_get_value_uint32(env, given[5], &step) != napi_ok || step == 0 || step % 8 != 0 ||
      napi_get_value_uint32(env, given[6], &threads) != napi_ok || threads == 0) {
    return fail(env, "packFile expects (arena, descriptor, position, arguments, row bytes, step, threads)");
  }
  const f64 *arguments = (const f64 *)((u8 *)arena + at);
  const u32 rows = (u32)arguments[6], staged = (step * row_bytes + 63u) & ~63u;
  const u32 each = round_up8((rows + least(threads, PACK_THREADS) - 1) / least(threads, PACK_THREADS));
  PackShare shares[PACK_THREADS];
  pthread_t others[PACK_THREADS];
  int outcome = 1, started[PACK_THREADS] = {0};
  u32 used = 0;
  for (u32 from = 0; from < rows; from += each, used++) {
    const u32 staging = (u32)arguments[1] + used * (staged + 64u);
    memcpy((u8 *)arena + staging + staged, arguments, 64);
    shares[used] = (PackShare){arena, (int)descriptor, 1, (u64)position + (u64)from * row_bytes,
                               staging + staged, staging, row_bytes, (u32)arguments[5] + from,
                               least(each, rows - from), step};
  }
  for (u32 i = 1; i < used; i++) started[i] = !pthread_create(&others[i], NULL, pack_share, &shares[i]);
  for (u32 i = 0; i < used; i++) {
    if (started[i]) pthread_join(others[i], NULL);
    else pack_share(&shares[i]);
    if (shares[i].outcome < outcome) outcome = shares[i].outcome;
  }
  napi_create_int32(env, outcome, &result);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value names, text, function;
  napi_create_array_with_length(env, ENTRY_COUNT, &names);
  for (u32 i = 0; i < ENTRY_COUNT; i++) {
    napi_create_string_utf8(env, entry_names[i], NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, names, i, text);
  }
  napi_set_named_property(env, exports, "names", names);
  napi_create_function(env, "allocate", NAPI_AUTO_LENGTH, allocate, NULL, &function);
  napi_set_named_property(env, exports, "allocate", function);
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  napi_create_function(env, "packFile", NAPI_AUTO_LENGTH, pack_file, NULL, &function);
  napi_set_named_property(env, exports, "packFile", function);
  return exports;
}
