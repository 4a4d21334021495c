/* program.h: a validated program in memory, and the tools that the checks share. Internal. */
#ifndef EDGEQ_PROGRAM_H
#define EDGEQ_PROGRAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "edgeq.h"
#include "isa.h"

enum { EQ_SECTIONS = 10, EQ_SLACK = 64 }; /* SIMD kernels may read EQ_SLACK bytes past a tensor */

typedef struct {
  const uint8_t *base;
  uint64_t bytes;
} eq_span;

typedef struct {
  const uint8_t *file; /* 64-byte aligned */
  uint64_t file_bytes;
  eq_span section[EQ_SECTIONS];     /* by EQ_SECTION_* */
  uint64_t arena_bytes, sram_bytes; /* sram_bytes: scratch of one core */
  uint32_t cores;                   /* 0 for the cpu */
  uint32_t inputs, outputs, tensor_count, command_count;
  edgeq_tensor *tensors;
  uint8_t *region; /* EQ_REGION_* of each tensor */
  uint8_t *core;   /* whose SRAM it lies in */
  eq_head *commands;
  size_t max_taps;     /* largest kh * kw of CONV and DWCONV */
  size_t max_unpacked; /* most bytes of 4-bit weights that a worker unpacks at once */
  /* Coded weights, decoded: by the command that names a stream first, and one more than that
   * command by the stream's place in CONSTANTS / EQ_ALIGN. Both NULL where nothing is coded. */
  uint8_t **streams;
  uint32_t *stream_at;
  uint64_t decoded_bytes;
} eq_program;

/* Validate `file`. On success the program owns its tables, not the file. */
edgeq_status eq_program_parse(eq_program *p, const uint8_t *file, uint64_t bytes, char *error);
void eq_program_free(eq_program *p);

static inline uint32_t eq_lanes(uint32_t n) { return (n + EQ_LANES - 1) / EQ_LANES * EQ_LANES; }
static inline size_t eq_dtype_bytes(int dtype) {
  return dtype == EQ_DTYPE_INT8 ? 1 : dtype == EQ_DTYPE_INT16 ? 2 : 4;
}
/* Bytes of the region that tensor `id` lies in. */
static inline uint64_t eq_region_bytes(const eq_program *p, uint32_t id) {
  return p->region[id] == EQ_REGION_ARENA  ? p->arena_bytes
         : p->region[id] == EQ_REGION_SRAM ? p->sram_bytes
                                           : p->section[EQ_SECTION_CONSTANTS].bytes;
}
/* True when the elements lie one after the other in row-major order. */
static inline bool eq_dense(const edgeq_tensor *t) {
  int64_t expect = 1;
  for (int d = t->ndim - 1; d >= 0; d--) {
    if (t->dims[d] > 1 && t->strides[d] != expect) return false;
    expect *= t->dims[d];
  }
  return true;
}
static inline int32_t eq_dtype_min(int dtype) { return dtype == EQ_DTYPE_INT8 ? -128 : -32768; }
static inline int32_t eq_dtype_max(int dtype) { return dtype == EQ_DTYPE_INT8 ? 127 : 32767; }

/* ---- checks of one command; every function returns false after writing the error ---- */

typedef struct {
  eq_program *p;
  uint32_t command;
  const char *op;
  char *error; /* EDGEQ_ERROR_BYTES, may be NULL */
} eq_check;

enum { EQ_ANY8_16 = 1 << EQ_DTYPE_INT8 | 1 << EQ_DTYPE_INT16, EQ_ONLY8 = 1 << EQ_DTYPE_INT8 };
enum { EQ_ANY_DTYPE = EQ_ANY8_16 | 1 << EQ_DTYPE_INT32 | 1 << EQ_DTYPE_FLOAT32 };

bool eq_fail(eq_check *c, const char *rule, ...) __attribute__((format(printf, 2, 3)));

/* Tensor `id` of the program; dtypes is a mask of 1 << EQ_DTYPE_*; ndim 0 accepts any. */
const edgeq_tensor *eq_need_tensor(eq_check *c, uint32_t id, const char *role, int dtypes,
                                   int ndim);
/* The same for a tensor that is written: not in the constants, every element at an address of its
 * own. */
const edgeq_tensor *eq_need_output(eq_check *c, uint32_t id, int dtypes, int ndim);

/* A range of CONSTANTS or LUTS: `bytes` from `offset`, aligned to `align`. */
const uint8_t *eq_need_bytes(eq_check *c, int section, uint32_t offset, uint64_t bytes,
                             uint32_t align);

/* The weights of CONV and DWCONV, `count` of 8 or 4 bits and a pad row: a range of CONSTANTS or,
 * when in1 is a tensor, what a DMA_WEIGHTS has brought there. */
bool eq_need_weights(eq_check *c, const eq_head *h, uint64_t count, uint64_t pad);

/* Room for `bytes` of 4-bit weights as int8. */
bool eq_need_unpacked(eq_check *c, const eq_head *h, uint64_t bytes);

/* QPARAMS rows of `count` channels (padded to EQ_LANES). One letter of `kinds` per row:
 * b any int32, f finite float32, d finite float64, x int32 within int8, z int32 within int16, l and
 * h clamp bounds within `dtype` with l <= h, v int32 within `dtype`. */
bool eq_need_rows(eq_check *c, uint32_t offset, uint64_t count, const char *kinds, int dtype);

/* The table named by lut_kind, or none when allow_none. */
bool eq_need_lut(eq_check *c, const eq_head *h, bool allow_none);

/* kh, kw, strides and dilations are at least 1, taps at most `max_taps`. */
typedef struct {
  int32_t kh, kw, sh, sw, dh, dw, pt, pl;
} eq_window;
bool eq_need_window(eq_check *c, const eq_window *w, uint64_t max_taps);
#define EQ_WINDOW(cmd)                                                                             \
  ((eq_window){(cmd)->kh, (cmd)->kw, (cmd)->sh, (cmd)->sw, (cmd)->dh, (cmd)->dw, (cmd)->pt,        \
               (cmd)->pl})

/* Bytes of `count` weights of CONV or DWCONV, an even number. */
static inline uint64_t eq_weight_bytes(const eq_head *h, uint64_t count) {
  return h->flags & EQ_FLAG_WEIGHTS4 ? count / 2 : count;
}

static inline const void *eq_constants(const eq_program *p, uint32_t offset) {
  return p->section[EQ_SECTION_CONSTANTS].base + offset;
}
/* Row `index` of 4-byte entries. */
static inline const void *eq_row(const eq_program *p, uint32_t offset, uint32_t padded,
                                 uint32_t index) {
  return p->section[EQ_SECTION_QPARAMS].base + offset + (size_t)padded * 4 * index;
}
static inline const void *eq_lut(const eq_program *p, uint32_t offset) {
  return p->section[EQ_SECTION_LUTS].base + offset;
}
#endif
