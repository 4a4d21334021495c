/* lut.c: LUT, a standalone table: any unary function. */
#include <string.h>
#include "ops.h"

bool eq_check_lut(eq_check *c, const eq_head *h) {
  const int dtypes = h->lut_kind == EQ_LUT_LUT16 ? 1 << EQ_DTYPE_INT16 : EQ_ONLY8;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", dtypes, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, x->ndim) : NULL;
  if (!y || !eq_need_lut(c, h, false)) return false;
  for (int i = 0; i < x->ndim; i++)
    if (x->dims[i] != y->dims[i]) return eq_fail(c, "in0 and out differ in shape");
  return eq_need_rows(c, h->qparams, (uint64_t)y->dims[y->ndim - 1], "zlhf", y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  const int16_t *table;
  bool step;
  const int32_t *zp, *lo, *hi;
  const float *r;
  int width; /* elements of a chunk of a dense tensor */
  const int16_t *pieces;
  bool whole; /* look_up does pixels at a time */
} job;

/* The kernel's view of pixels from elements ox and oy; the rows are the job's. */
static eq_lookup lookup_of(const job *j, int64_t ox, int64_t oy) {
  const int64_t sx = (int64_t)eq_dtype_bytes(j->in->dtype),
                sy = (int64_t)eq_dtype_bytes(j->out->dtype);
  return (eq_lookup){.x = j->px + ox * sx,
                     .y = j->py + oy * sy,
                     .in8 = j->in->dtype == EDGEQ_INT8,
                     .out16 = j->out->dtype == EDGEQ_INT16,
                     .table = j->table,
                     .pieces = j->pieces,
                     .r = j->step ? j->r : NULL,
                     .zp = j->zp,
                     .lo = j->lo,
                     .hi = j->hi};
}

/* n values from element `ox` to element `oy`; the step's rows start at this value's channel. */
static void look_up(const job *j, int64_t ox, ptrdiff_t sx, int64_t oy, ptrdiff_t sy,
                    const int32_t *zp, const int32_t *lo, const int32_t *hi, const float *r,
                    int n) {
  const eq_rows *rows = j->x->kernels->rows;
  int32_t v[EQ_CHUNK];
  if (j->in->dtype == EDGEQ_INT8) {
    rows->load8(v, (const int8_t *)j->px + ox, sx, n);
    rows->lut8(v, j->table, n);
  } else {
    rows->load16(v, (const int16_t *)(const void *)j->px + ox, sx, n);
    rows->lut16(v, j->table, n);
  }
  if (j->step)
    rows->step(v, r, zp, lo, hi, n);
  else if (j->out->dtype == EDGEQ_INT8)
    for (int i = 0; i < n; i++) v[i] = v[i] < -128 ? -128 : v[i] > 127 ? 127 : v[i];
  if (j->out->dtype == EDGEQ_INT8)
    rows->store8((int8_t *)j->py + oy, sy, v, n);
  else
    rows->store16((int16_t *)(void *)j->py + oy, sy, v, n);
}

/* Lines [begin, end): all axes but the last two. */
static void run_lines(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int d = j->in->ndim, width = d < 2 ? 1 : j->in->dims[d - 2];
  for (int64_t line = begin; line < end; line++) {
    eq_lookup l = lookup_of(j, eq_row_offset(j->in->dims, j->in->strides, d, line * width),
                            eq_row_offset(j->out->dims, j->out->strides, d, line * width));
    l.sx = d < 2 ? 0 : j->in->strides[d - 2];
    l.sy = d < 2 ? 0 : j->out->strides[d - 2];
    l.n = j->in->dims[d - 1];
    l.pixels = width;
    j->x->kernels->rows->look_up(&l);
  }
}

/* Rows [begin, end): all axes but the last. */
static void run_rows(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int d = j->in->ndim, channels = j->in->dims[d - 1];
  const ptrdiff_t sx = j->in->strides[d - 1], sy = j->out->strides[d - 1];
  for (int64_t row = begin; row < end; row++) {
    const int64_t ox = eq_row_offset(j->in->dims, j->in->strides, d, row);
    const int64_t oy = eq_row_offset(j->out->dims, j->out->strides, d, row);
    for (int c = 0; c < channels; c += EQ_CHUNK)
      look_up(j, ox + c * sx, sx, oy + c * sy, sy, j->zp + c, j->lo + c, j->hi + c, j->r + c,
              channels - c < EQ_CHUNK ? channels - c : EQ_CHUNK);
  }
}

/* Chunks [begin, end) of a dense tensor; with a step, a chunk is whole pixels. */
static void run_flat(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int channels = j->in->dims[j->in->ndim - 1];
  int32_t zp[EQ_CHUNK], lo[EQ_CHUNK], hi[EQ_CHUNK];
  float r[EQ_CHUNK];
  for (int i = 0; j->step && i < j->width; i += channels) {
    memcpy(zp + i, j->zp, (size_t)channels * 4);
    memcpy(lo + i, j->lo, (size_t)channels * 4);
    memcpy(hi + i, j->hi, (size_t)channels * 4);
    memcpy(r + i, j->r, (size_t)channels * 4);
  }
  int64_t at = begin * j->width;
  const int64_t last =
      end * j->width < (int64_t)j->in->count ? end * j->width : (int64_t)j->in->count;
  if (j->whole) {
    eq_lookup l = lookup_of(j, at, at);
    l.sx = l.sy = l.n = j->width;
    l.pixels = (last - at) / j->width;
    if (j->step) l.r = r, l.zp = zp, l.lo = lo, l.hi = hi;
    at += l.pixels * j->width;
    j->x->kernels->rows->look_up(&l);
  }
  for (; at < last; at += j->width)
    look_up(j, at, 1, at, 1, zp, lo, hi, r, (int)(last - at < j->width ? last - at : j->width));
}

void eq_run_lut(const eq_context *x, const eq_head *h) {
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const uint32_t lanes = eq_lanes((uint32_t)out->dims[out->ndim - 1]);
#define ROW(name) eq_row(x->program, h->qparams, lanes, EQ_LUT_ROW_##name)
  job j = {.x = x,
           .in = in,
           .out = out,
           .px = eq_data(x, h->in0),
           .py = eq_data(x, h->out),
           .table = eq_lut(x->program, h->lut),
           .step = h->flags & EQ_FLAG_LUT_STEP,
           .zp = ROW(ZP),
           .lo = ROW(LO),
           .hi = ROW(HI),
           .r = ROW(R),
           .pieces = x->ready[h - x->program->commands].pieces};
#undef ROW
  const int channels = out->dims[out->ndim - 1], last = in->ndim - 1;
  const bool near = x->ready[h - x->program->commands].words || h->lut_kind == EQ_LUT_LUT8;
  j.whole = x->kernels->rows->look_up && near &&
            (channels == 1 || (in->strides[last] == 1 && out->strides[last] == 1));
  if (eq_dense(in) && eq_dense(out) && (!j.step || channels <= EQ_CHUNK / 2)) {
    j.width = j.step ? EQ_CHUNK / channels * channels : EQ_CHUNK;
    eq_split(x, ((int64_t)in->count + j.width - 1) / j.width, EQ_CHUNK / (j.whole ? 8 : 2),
             run_flat, &j);
  } else if (j.whole) {
    const int64_t width = in->ndim < 2 ? 1 : in->dims[in->ndim - 2];
    eq_split(x, eq_row_count(out) / width, width * (channels / 16 + 1), run_lines, &j);
  } else {
    eq_split(x, eq_row_count(out), channels / 2 + 20, run_rows, &j);
  }
}
