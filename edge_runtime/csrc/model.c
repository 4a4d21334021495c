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
#include "edges.h"
#include "executor.h"
#include "threads.h"

struct edgeq_model {
  eq_program program;
  eq_kernels kernels;
  eq_context context;
  void *mapped; /* the file when opened by path */
  void *copied; /* the file when opened from memory */
  void *arena_block, *sram_block, *unpacked_block, *lines_block;
  eq_ready *ready;
  int16_t *pieces;
  char error[EDGEQ_ERROR_BYTES];
};

enum { POINTERS = 4096 }; /* least scratch pointers per thread; more for very large kernels */

static edgeq_status fail(char *error, edgeq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static edgeq_status prepare(edgeq_model *m, const uint8_t *bytes, size_t size,
                            const edgeq_options *options, char *error);

/* Memory that starts at a multiple of EQ_ALIGN; *block is what free() takes. Zeroed lazily. */
static uint8_t *aligned_zeros(size_t bytes, void **block) {
  *block = calloc(1, bytes + EQ_ALIGN - 1);
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
  free(m->lines_block);
  free(m->ready);
  free(m->pieces);
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
  size_t unpacked = (p->max_unpacked + EQ_ALIGN - 1) / EQ_ALIGN * EQ_ALIGN;
  if (unpacked && unpacked < EQ_UNPACKED) unpacked = EQ_UNPACKED;
  int8_t *room = (int8_t *)aligned_zeros((size_t)threads * unpacked, &m->unpacked_block);
  const size_t line_bytes = m->kernels.conv_lines ? EQ_LINES + EQ_SLACK : 0;
  uint8_t *lines = aligned_zeros((size_t)threads * line_bytes, &m->lines_block);
  m->ready = eq_make_ready(p, &m->pieces);
  m->context = (eq_context){p,       arena,   sram,     step, &m->kernels, m->ready,
                            threads, scratch, pointers, room, unpacked,    lines};
  if (!arena || !sram || !scratch || !room || !lines || !m->ready)
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

/* ---- inputs and outputs ---- */

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

edgeq_status edgeq_set_input(edgeq_model *m, uint32_t index, const void *data, size_t count,
                             edgeq_dtype dtype) {
  const edgeq_tensor *t = io_tensor(m, false, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (dtype != t->dtype) return fail(m->error, EDGEQ_BAD_CALL, "input %s: wrong dtype.", t->name);
  eq_edge_write(&m->context, t, eq_data(&m->context, index), data);
  return EDGEQ_OK;
}

edgeq_status edgeq_get_output(edgeq_model *m, uint32_t index, void *data, size_t count,
                              edgeq_dtype dtype) {
  const edgeq_tensor *t = io_tensor(m, true, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (dtype != t->dtype) return fail(m->error, EDGEQ_BAD_CALL, "output %s: wrong dtype.", t->name);
  eq_edge_read(t, eq_data(&m->context, index + m->program.inputs), data);
  return EDGEQ_OK;
}

edgeq_status edgeq_set_input_f32(edgeq_model *m, uint32_t index, const float *data, size_t count) {
  const edgeq_tensor *t = io_tensor(m, false, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (t->dtype == EDGEQ_FLOAT32) return edgeq_set_input(m, index, data, count, EDGEQ_FLOAT32);
  if (!t->q_count)
    return fail(m->error, EDGEQ_BAD_CALL, "input %s: takes its own integers, not float32.",
                t->name);
  return eq_edge_quantize(&m->context, t, eq_data(&m->context, index), data)
             ? fail(m->error, EDGEQ_BAD_CALL, "input %s: holds NaN.", t->name)
             : EDGEQ_OK;
}

edgeq_status edgeq_get_output_f32(edgeq_model *m, uint32_t index, float *data, size_t count) {
  const edgeq_tensor *t = io_tensor(m, true, index, count);
  if (!t) return EDGEQ_BAD_CALL;
  if (t->dtype == EDGEQ_FLOAT32) return edgeq_get_output(m, index, data, count, EDGEQ_FLOAT32);
  if (!t->q_count)
    return fail(m->error, EDGEQ_BAD_CALL, "output %s: has no scale; read it natively.", t->name);
  eq_edge_dequantize(&m->context, t, eq_data(&m->context, index + m->program.inputs), data);
  return EDGEQ_OK;
}

edgeq_status edgeq_run(edgeq_model *m, uint64_t *ns) {
  eq_execute(&m->context, ns);
  return EDGEQ_OK;
}
