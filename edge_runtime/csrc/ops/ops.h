/* ops.h: what an op is: a check that runs once when a program is opened, and a run. Internal. */
#ifndef EDGEQ_OPS_H
#define EDGEQ_OPS_H
#include "../program.h"
#include "../kernels/kernels.h"

/* Least scratch of a worker for 4-bit weights, where there are any. */
enum { EQ_UNPACKED = 16384 };

/* Scratch of a worker for the input rows of a convolution. */
enum { EQ_LINES = 65536 };

/* What eq_prepare found for a CONV or DWCONV, or for the table of a LUT. */
typedef struct {
  const int16_t *pieces;
  bool words, small;
} eq_ready;

/* Everything a command may touch while it runs. */
typedef struct {
  const eq_program *program;
  uint8_t *arena;
  uint8_t *sram; /* of every core, sram_step bytes apart */
  size_t sram_step;
  const eq_kernels *kernels;
  const eq_ready *ready; /* of each command */
  int threads;
  const int8_t **pointers; /* threads * pointer_count entries of scratch */
  size_t pointer_count;
  int8_t *unpacked; /* threads * unpacked_bytes of scratch for 4-bit weights */
  size_t unpacked_bytes;
  uint8_t *lines; /* threads * (EQ_LINES + EQ_SLACK) of scratch where kernels have conv_lines */
} eq_context;

typedef struct {
  const char *name;
  bool (*check)(eq_check *c, const eq_head *h); /* NULL: nothing to check */
  void (*run)(const eq_context *x, const eq_head *h);
} eq_op;

/* NULL when the opcode is unknown. */
const eq_op *eq_op_find(unsigned opcode);

#define EQ_OP(NAME, name)                                                                          \
  bool eq_check_##name(eq_check *c, const eq_head *h);                                             \
  void eq_run_##name(const eq_context *x, const eq_head *h);
#include "ops.inc"
#undef EQ_OP

/* Run task(arg, begin, end) over [0, count) in contiguous parts, one per thread. `cost` is the work
 * of one item in rough nanoseconds: small jobs stay on the caller's thread. */
typedef void eq_task(void *arg, int64_t begin, int64_t end, int worker);
void eq_split(const eq_context *x, int64_t count, int64_t cost, eq_task *task, void *arg);

static inline const edgeq_tensor *eq_tensor_of(const eq_context *x, uint32_t id) {
  return &x->program->tensors[id];
}
static inline uint8_t *eq_data(const eq_context *x, uint32_t id) {
  const edgeq_tensor *t = &x->program->tensors[id];
  const eq_span *constants = &x->program->section[EQ_SECTION_CONSTANTS];
  /* the loader lets no command write a constant, so dropping const here writes nothing */
  if (x->program->region[id] == EQ_REGION_ARENA) return x->arena + t->offset;
  if (x->program->region[id] == EQ_REGION_SRAM)
    return x->sram + x->program->core[id] * x->sram_step + t->offset;
  return (uint8_t *)(uintptr_t)(constants->base + t->offset);
}
/* Weights of CONV and DWCONV: their copy in SRAM where they have one. */
static inline const int8_t *eq_weights(const eq_context *x, const eq_head *h) {
  return h->in1 == EQ_NONE16 ? eq_constants(x->program, h->constants)
                             : (const int8_t *)eq_data(x, h->in1);
}

/* ---- epilogues of CONV and DWCONV (epilogue.c) ---- */

/* An entry per command, and the pieces they point to, both for free(); NULL without memory. */
eq_ready *eq_make_ready(const eq_program *p, int16_t **pieces);
eq_epilogue eq_epilogue_of(const eq_context *x, const eq_head *h);

/* ---- the residual sum behind CONV and DWCONV (addend.c) ---- */

typedef struct {
  void (*add)(const eq_pixels *p); /* NULL: there is none */
  eq_ew rows;
  const edgeq_tensor *y, *b;
  int8_t *py;
  const int8_t *pb;
} eq_addend;

bool eq_need_addend(eq_check *c, const eq_head *h, uint32_t addend, uint32_t rows);
eq_addend eq_addend_of(const eq_context *x, const eq_head *h, uint32_t addend, uint32_t rows);

/* Output pixels [first, first + count), counted over (n, oh, ow), channels [c0, c1). */
void eq_add_behind(const eq_addend *a, int64_t first, int64_t count, int c0, int c1);

/* ---- walking rows: all of a tensor but its last axis ---- */

/* Element offset in `strides` of row `row`, the leading ndim-1 dims counted row-major. */
static inline int64_t eq_row_offset(const int32_t *dims, const int32_t *strides, int ndim,
                                    int64_t row) {
  int64_t at = 0;
  for (int d = ndim - 2; d >= 0; d--) {
    at += row % dims[d] * strides[d];
    row /= dims[d];
  }
  return at;
}
/* The same where `t` broadcasts against `dims`: its axes of size 1 stand still. */
static inline int64_t eq_broadcast_offset(const edgeq_tensor *t, const edgeq_tensor *out,
                                          int64_t row) {
  int64_t at = 0;
  const int shift = out->ndim - t->ndim;
  for (int d = out->ndim - 2; d >= 0; d--) {
    const int64_t i = row % out->dims[d];
    row /= out->dims[d];
    if (d >= shift && t->dims[d - shift] != 1) at += i * t->strides[d - shift];
  }
  return at;
}
static inline int64_t eq_row_count(const edgeq_tensor *t) {
  return (int64_t)t->count / t->dims[t->ndim - 1];
}

/* Rows of POOL and REDUCE. */
static inline eq_mean_rows eq_mean_rows_at(const eq_context *x, uint32_t offset, int channels) {
  const size_t lanes = eq_lanes((uint32_t)channels);
  const double *ratio = eq_row(x->program, offset, 0, 0);
  const int32_t *rest = (const int32_t *)(const void *)(ratio + lanes);
  return (eq_mean_rows){ratio, rest, rest + lanes, rest + 2 * lanes, rest + 3 * lanes};
}

/* ---- windows of convolution and pooling over (n, h, w, c) ---- */

typedef struct {
  const int8_t *in;   /* first byte of the input */
  const int8_t *pad;  /* what absent taps read */
  int64_t sn, sh, sw; /* byte strides of the input */
  int32_t h, w, oh, ow;
  eq_window win;
} eq_gather;

/* A position among the output pixels, counted over the flattened (n, oh, ow). */
typedef struct {
  int64_t x, y, n;
} eq_cursor;

static inline eq_cursor eq_cursor_at(const eq_gather *g, int64_t pixel) {
  return (eq_cursor){pixel % g->ow, pixel / g->ow % g->oh, pixel / g->ow / g->oh};
}

static inline void eq_cursor_step(const eq_gather *g, eq_cursor *at) {
  if (++at->x == g->ow) {
    at->x = 0;
    if (++at->y == g->oh) at->y = 0, at->n++;
  }
}

/* Write the tap pointers of `count` output pixels and move the cursor behind them: the pointer of
 * (pixel i, tap t) goes to out[i * pixel_step + t * tap_step]. */
void eq_gather_pointers(const eq_gather *g, eq_cursor *at, int count, size_t pixel_step,
                        size_t tap_step, const int8_t **out);

/* True when these pixels lie in one output row and all of their taps inside the picture. */
bool eq_gather_inside(const eq_gather *g, const eq_cursor *at, int count);

/* ---- convolution with few output channels (conv_strips.c) ---- */

typedef struct {
  const eq_kernels *kernels;
  const eq_gather *gather;
  const eq_conv *conv; /* of all channels */
  uint8_t *out;
  int64_t image, row, pixel; /* bytes between those of the output */
  int channels;
} eq_strips;

/* True when `a` may run in strips; `joined`: the taps of a kernel row adjoin in memory. */
bool eq_strips_fit(const eq_kernels *k, const eq_gather *g, const eq_conv *a, bool joined);

/* Some output pixels from `first` on, before `last`; returns how many. */
int64_t eq_run_strip(const eq_strips *j, int64_t first, int64_t last);

/* Addresses of output pixels [first, first + count) of an NHWC tensor whose data starts at base. */
void eq_output_pointers(uint8_t *base, const edgeq_tensor *t, int64_t first, int count,
                        uint8_t **out);

#endif
