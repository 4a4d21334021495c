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
} job;

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
  const int64_t last = (int64_t)j->in->count;
  for (int64_t at = begin * j->width; at < end * j->width && at < last; at += j->width)
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
           .r = ROW(R)};
#undef ROW
  const int channels = out->dims[out->ndim - 1];
  if (eq_dense(in) && eq_dense(out) && (!j.step || channels <= EQ_CHUNK / 2)) {
    j.width = j.step ? EQ_CHUNK / channels * channels : EQ_CHUNK;
    eq_split(x, ((int64_t)in->count + j.width - 1) / j.width, EQ_CHUNK / 2, run_flat, &j);
  } else {
    eq_split(x, eq_row_count(out), channels / 2 + 20, run_rows, &j);
  }
}
