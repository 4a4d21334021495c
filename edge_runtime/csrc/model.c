/* model.c: the public C API: open, describe, set, run, get. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "edgeq.h"
#include "executor.h"
#include "numerics.h"
#include "threads.h"

struct edgeq_model {
  eq_program program;
  eq_kernels kernels;
  eq_context context;
  void *mapped; /* the file when opened by path */
  void *copied; /* the file when opened from memory */
  void *arena_block, *sram_block, *unpacked_block;
  char error[EDGEQ_ERROR_BYTES];
};

enum { POINTERS = 4096 }; /* least scratch pointers per thread; more for very large kernels */

static edgeq_status fail(char *error, edgeq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static edgeq_status prepare(edgeq_model *m, const uint8_t *bytes, size_t size,
                            const edgeq_options *options, char *error);

/* Memory that starts at a multiple of EQ_ALIGN; *block is what free() takes. Zeroed lazily. */
static uint8_t *aligned_zeros(size_t bytes, void **block) {
  *block = calloc(1, bytes + EQ_ALIGN);
  return *block ? (uint8_t *)(((uintptr_t)*block + EQ_ALIGN - 1) / EQ_ALIGN * EQ_ALIGN) : NULL;
}

edgeq_status edgeq_open_memory(const void *bytes, size_t size, const edgeq_options *options,
                               edgeq_model **model, char *error) {
  *model = NULL;
  if (size > EQ_MAX_FILE_BYTES)
    return fail(error, EDGEQ_BAD_PROGRAM, "file: at most %u bytes, got %zu.", EQ_MAX_FILE_BYTES,
                size);
  edgeq_model *m = calloc(1, sizeof *m);
  uint8_t *copy = m ? aligned_zeros(size, &m->copied) : NULL;
  if (!copy) {
    free(m);
    return fail(error, EDGEQ_NO_MEMORY, "file: no memory for %zu bytes.", size);
  }
  if (size) memcpy(copy, bytes, size);
  const edgeq_status status = prepare(m, copy, size, options, error);
  if (status)
    edgeq_close(m);
  else
    *model = m;
  return status;
}

edgeq_status edgeq_open_path(const char *path, const edgeq_options *options, edgeq_model **model,
                             char *error) {
  *model = NULL;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(error, EDGEQ_NO_FILE, "%s: %s.", path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
    close(fd);
    return fail(error, EDGEQ_NO_FILE, "%s: not a regular file.", path);
  }
  if (st.st_size < 1 || st.st_size > (off_t)EQ_MAX_FILE_BYTES) {
    close(fd);
    return fail(error, EDGEQ_BAD_PROGRAM, "file: 1..%u bytes, got %lld.", EQ_MAX_FILE_BYTES,
                (long long)st.st_size);
  }
  void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (map == MAP_FAILED) return fail(error, EDGEQ_NO_FILE, "%s: %s.", path, strerror(errno));
  edgeq_model *m = calloc(1, sizeof *m);
  if (!m) {
    munmap(map, (size_t)st.st_size);
    return fail(error, EDGEQ_NO_MEMORY, "file: out of memory.");
  }
  m->mapped = map;
  m->program.file_bytes = (uint64_t)st.st_size;
  const edgeq_status status = prepare(m, map, (size_t)st.st_size, options, error);
  if (status)
    edgeq_close(m);
  else
    *model = m;
  return status;
}

void edgeq_close(edgeq_model *m) {
  if (!m) return;
  eq_program_free(&m->program);
  if (m->mapped) munmap(m->mapped, (size_t)m->program.file_bytes);
  free(m->copied);
  free(m->arena_block);
  free(m->sram_block);
  free(m->unpacked_block);
  free(m->context.pointers);
  free(m);
}

static edgeq_status fail(char *error, edgeq_status status, const char *format, ...) {
  if (error) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, EDGEQ_ERROR_BYTES, format, args);
    va_end(args);
  }
  return status;
}

/* Validate the bytes and make everything a run needs. */
static edgeq_status prepare(edgeq_model *m, const uint8_t *bytes, size_t size,
                            const edgeq_options *options, char *error) {
  const edgeq_status status = eq_program_parse(&m->program, bytes, size, error);
  if (status) return status;
  const char *isa = options ? options->isa : NULL;
  if (!eq_kernels_for(isa, &m->kernels))
    return fail(error, EDGEQ_BAD_CALL, "isa: '%.40s' cannot run here. See `edgeq doctor`.", isa);
  int threads = options ? options->threads : 0;
  if (threads < 0 || threads > EDGEQ_MAX_THREADS)
    return fail(error, EDGEQ_BAD_CALL, "threads: 0..%d, got %d.", EDGEQ_MAX_THREADS, threads);
  if (threads == 0) threads = eq_cpu_count() < 8 ? eq_cpu_count() : 8;
  const eq_program *p = &m->program;
  uint8_t *arena = aligned_zeros(p->arena_bytes + EQ_SLACK, &m->arena_block);
  const size_t step = (p->sram_bytes + EQ_SLACK + EQ_ALIGN - 1) / EQ_ALIGN * EQ_ALIGN;
  uint8_t *sram = p->cores ? aligned_zeros(step * p->cores, &m->sram_block) : arena;
  size_t pointers = (p->max_taps + 3) / 4 * 4 * EQ_MAX_MR;
  if (pointers < POINTERS) pointers = POINTERS;
  const int8_t **scratch = calloc((size_t)threads * pointers, sizeof *scratch);
  const size_t unpacked = (p->max_unpacked + EQ_ALIGN - 1) / EQ_ALIGN * EQ_ALIGN;
  int8_t *room = (int8_t *)aligned_zeros((size_t)threads * unpacked, &m->unpacked_block);
  m->context =
      (eq_context){p, arena, sram, step, &m->kernels, threads, scratch, pointers, room, unpacked};
  if (!arena || !sram || !scratch || !room)
    return fail(error, EDGEQ_NO_MEMORY, "arena: no memory for %llu bytes.",
                (unsigned long long)p->arena_bytes);
  return EDGEQ_OK;
}

const char *edgeq_error(const edgeq_model *m) { return m->error; }
uint32_t edgeq_input_count(const edgeq_model *m) { return m->program.inputs; }
uint32_t edgeq_output_count(const edgeq_model *m) { return m->program.outputs; }
uint32_t edgeq_tensor_count(const edgeq_model *m) { return m->program.tensor_count; }
uint32_t edgeq_command_count(const edgeq_model *m) { return m->program.command_count; }
uint64_t edgeq_arena_bytes(const edgeq_model *m) { return m->program.arena_bytes; }
int edgeq_threads(const edgeq_model *m) { return m->context.threads; }
const char *edgeq_model_isa(const edgeq_model *m) { return m->kernels.isa; }

const edgeq_tensor *edgeq_get_tensor(const edgeq_model *m, uint32_t index) {
  return index < m->program.tensor_count ? &m->program.tensors[index] : NULL;
}

const char *edgeq_command_op(const edgeq_model *m, uint32_t index) {
  return index < m->program.command_count ? eq_op_find(m->program.commands[index].opcode)->name
                                          : NULL;
}

const void *edgeq_section(const edgeq_model *m, int kind, size_t *bytes) {
  if (kind < 1 || kind >= EQ_SECTIONS) return NULL;
  *bytes = m->program.section[kind].bytes;
  return m->program.section[kind].base;
}

/* ---- copies between dense caller arrays and strided tensors ---- */

/* The tensor of input or output `index` when the call fits it, else NULL with the error set. */
static const edgeq_tensor *io_tensor(edgeq_model *m, bool output, uint32_t index, size_t count) {
  const char *role = output ? "output" : "input";
  const uint32_t n = output ? m->program.outputs : m->program.inputs;
  if (index >= n) {
    fail(m->error, EDGEQ_BAD_CALL, "%s %u: the program has %u.", role, index, n);
    return NULL;
  }
  const edgeq_tensor *t = &m->program.tensors[index + (output ? m->program.inputs : 0)];
  if (count == t->count) return t;
  fail(m->error, EDGEQ_BAD_CALL, "%s %s: needs %zu elements, got %zu.", role, t->name, t->count,
       count);
  return NULL;
}

static int64_t element(const edgeq_tensor *t, size_t i) {
  const int last = t->dims[t->ndim - 1];
  const int64_t row = (int64_t)i / last;
  return eq_row_offset(t->dims, t->strides, t->ndim, row) +
         (int64_t)i % last * t->strides[t->ndim - 1];
}

static void copy(const edgeq_tensor *t, uint8_t *tensor, uint8_t *array, bool to_tensor) {
  const size_t size = eq_dtype_bytes(t->dtype);
  const size_t run = eq_dense(t)                    ? t->count
                     : t->strides[t->ndim - 1] == 1 ? (size_t)t->dims[t->ndim - 1]
                                                    : 1;
  for (size_t i = 0; i < t->count; i += run) {
    uint8_t *inside = tensor + element(t, i) * (int64_t)size;
    if (to_tensor)
      memcpy(inside, array + i * size, run * size);
    else
      memcpy(array + i * size, inside, run * size);
  }
}

edgeq_status edgeq_set_input(edgeq_model *m, uint32_t index, const void *data, size_t count,
                             edgeq_dtype dtype) {
  const edgeq_tensor *t = io_tensor(m, false, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (dtype != t->dtype) return fail(m->error, EDGEQ_BAD_CALL, "input %s: wrong dtype.", t->name);
  copy(t, eq_data(&m->context, index), (uint8_t *)(uintptr_t)data, true);
  return EDGEQ_OK;
}

edgeq_status edgeq_get_output(edgeq_model *m, uint32_t index, void *data, size_t count,
                              edgeq_dtype dtype) {
  const edgeq_tensor *t = io_tensor(m, true, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (dtype != t->dtype) return fail(m->error, EDGEQ_BAD_CALL, "output %s: wrong dtype.", t->name);
  copy(t, eq_data(&m->context, index + m->program.inputs), data, false);
  return EDGEQ_OK;
}

/* Runs of `n` values that lie one after the other, or every `stride`; the rest of the loop nest. */
typedef struct {
  int64_t lines;
  int pixels, n;
  int64_t pixel, stride;
  bool joined; /* pixels of a line adjoin */
} walk;

static walk walk_of(const edgeq_tensor *t) {
  const int d = t->ndim;
  walk w = {.pixels = d > 1 ? t->dims[d - 2] : 1,
            .n = t->dims[d - 1],
            .pixel = d > 1 ? t->strides[d - 2] : 0,
            .stride = t->dims[d - 1] > 1 ? t->strides[d - 1] : 1};
  w.lines = (int64_t)t->count / w.n / w.pixels;
  w.joined = w.stride == 1 && (w.pixels == 1 || w.pixel == w.n);
  return w;
}

static int64_t line_offset(const edgeq_tensor *t, int64_t line) {
  int64_t at = 0;
  for (int d = t->ndim - 3; d >= 0; d--) {
    at += line % t->dims[d] * t->strides[d];
    line /= t->dims[d];
  }
  return at;
}

static void put(const edgeq_tensor *t, uint8_t *base, int64_t at, int32_t v) {
  if (t->dtype == EDGEQ_INT8)
    ((int8_t *)base)[at] = (int8_t)v;
  else
    ((int16_t *)(void *)base)[at] = (int16_t)v;
}

/* Pixels of one scale from chunks of converted values. */
static bool quantize_line(const edgeq_model *m, const edgeq_tensor *t, const walk *w, uint8_t *base,
                          int64_t at, const float *x) {
  const eq_rows *rows = m->kernels.rows;
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype);
  int32_t v[EQ_CHUNK];
  bool nan = false;
  const int64_t total = (int64_t)w->pixels * w->n;
  const bool expand = w->n == 3 && w->stride == 1 && w->pixel == 4;
  if (rows->quantize8 && t->dtype == EDGEQ_INT8 && (w->joined || expand) && total < INT32_MAX)
    return rows->quantize8((int8_t *)base + at, x, t->scales[0], t->zero_points[0], expand,
                           (int)total);
  const int most = w->joined ? EQ_CHUNK : EQ_CHUNK / w->n * w->n;
  for (int64_t i = 0; i < total; i += most) {
    const int n = (int)(total - i < most ? total - i : most);
    nan |= rows->quantize(v, x + i, t->scales[0], t->zero_points[0], lo, hi, n);
    if (w->joined && t->dtype == EDGEQ_INT8)
      rows->store8((int8_t *)base + at + i, 1, v, n);
    else if (w->joined)
      rows->store16((int16_t *)(void *)base + at + i, 1, v, n);
    else if (w->n == 3 && w->stride == 1 && t->dtype == EDGEQ_INT8)
      for (int k = 0; k < n; k += 3) {
        int8_t *to = (int8_t *)base + at + (i + k) / 3 * w->pixel;
        to[0] = (int8_t)v[k], to[1] = (int8_t)v[k + 1], to[2] = (int8_t)v[k + 2];
      }
    else
      for (int k = 0; k < n; k++)
        put(t, base, at + (i + k) / w->n * w->pixel + (i + k) % w->n * w->stride, v[k]);
  }
  return nan;
}

static void dequantize_line(const edgeq_model *m, const edgeq_tensor *t, int64_t total,
                            const uint8_t *base, int64_t at, float *x) {
  const eq_rows *rows = m->kernels.rows;
  int32_t v[EQ_CHUNK];
  for (int64_t i = 0; i < total; i += EQ_CHUNK) {
    const int n = (int)(total - i < EQ_CHUNK ? total - i : EQ_CHUNK);
    if (t->dtype == EDGEQ_INT8)
      rows->load8(v, (const int8_t *)base + at + i, 1, n);
    else
      rows->load16(v, (const int16_t *)(const void *)base + at + i, 1, n);
    rows->dequantize(x + i, v, t->scales[0], t->zero_points[0], n);
  }
}

edgeq_status edgeq_set_input_f32(edgeq_model *m, uint32_t index, const float *data, size_t count) {
  const edgeq_tensor *t = io_tensor(m, false, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (t->dtype == EDGEQ_FLOAT32) return edgeq_set_input(m, index, data, count, EDGEQ_FLOAT32);
  if (!t->q_count)
    return fail(m->error, EDGEQ_BAD_CALL, "input %s: takes its own integers, not float32.",
                t->name);
  uint8_t *base = eq_data(&m->context, index);
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype), n = t->dims[t->ndim - 1];
  const int64_t stride = t->strides[t->ndim - 1];
  bool nan = false;
  const walk w = walk_of(t);
  if (t->q_count == 1 && n <= EQ_CHUNK) {
    for (int64_t k = 0; k < w.lines; k++)
      nan |= quantize_line(m, t, &w, base, line_offset(t, k), data + k * w.pixels * w.n);
    count = 0;
  }
  for (size_t i = 0; i < count; i += (size_t)n) {
    const int64_t at = element(t, i);
    for (int c = 0; c < n; c++) {
      const float x = data[i + (size_t)c];
      const int q = t->q_count == 1 ? 0 : c;
      nan |= x != x;
      put(t, base, at + c * stride, eq_quantize(x, t->scales[q], t->zero_points[q], lo, hi));
    }
  }
  return nan ? fail(m->error, EDGEQ_BAD_CALL, "input %s: holds NaN.", t->name) : EDGEQ_OK;
}

edgeq_status edgeq_get_output_f32(edgeq_model *m, uint32_t index, float *data, size_t count) {
  const edgeq_tensor *t = io_tensor(m, true, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (t->dtype == EDGEQ_FLOAT32) return edgeq_get_output(m, index, data, count, EDGEQ_FLOAT32);
  if (!t->q_count)
    return fail(m->error, EDGEQ_BAD_CALL, "output %s: has no scale; read it natively.", t->name);
  const uint8_t *base = eq_data(&m->context, index + m->program.inputs);
  const int32_t n = t->dims[t->ndim - 1];
  const int64_t stride = t->strides[t->ndim - 1];
  const walk w = walk_of(t);
  if (t->q_count == 1 && w.joined) {
    for (int64_t k = 0; k < w.lines; k++)
      dequantize_line(m, t, (int64_t)w.pixels * w.n, base, line_offset(t, k),
                      data + k * w.pixels * w.n);
    count = 0;
  }
  for (size_t i = 0; i < count; i += (size_t)n) {
    const int64_t at = element(t, i);
    for (int c = 0; c < n; c++) {
      const int64_t k = at + c * stride;
      const int32_t v = t->dtype == EDGEQ_INT8 ? ((const int8_t *)base)[k]
                                               : ((const int16_t *)(const void *)base)[k];
      const int q = t->q_count == 1 ? 0 : c;
      data[i + (size_t)c] = eq_dequantize(v, t->scales[q], t->zero_points[q]);
    }
  }
  return EDGEQ_OK;
}

edgeq_status edgeq_run(edgeq_model *m, uint64_t *ns) {
  eq_execute(&m->context, ns);
  return EDGEQ_OK;
}
