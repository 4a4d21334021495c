/* lut.c: LUT, a standalone table: any unary function. */
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
} job;

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const edgeq_tensor *in = j->in, *out = j->out;
  const eq_rows *rows = j->x->kernels->rows;
  const int d = in->ndim, channels = in->dims[d - 1];
  const ptrdiff_t sx = in->strides[d - 1], sy = out->strides[d - 1];
  int32_t v[EQ_CHUNK];
  for (int64_t row = begin; row < end; row++) {
    const int64_t ox = eq_row_offset(in->dims, in->strides, d, row);
    const int64_t oy = eq_row_offset(out->dims, out->strides, d, row);
    for (int c = 0; c < channels; c += EQ_CHUNK) {
      const int w = channels - c < EQ_CHUNK ? channels - c : EQ_CHUNK;
      if (in->dtype == EDGEQ_INT8) {
        rows->load8(v, (const int8_t *)j->px + ox + c * sx, sx, w);
        rows->lut8(v, j->table, w);
      } else {
        rows->load16(v, (const int16_t *)(const void *)j->px + ox + c * sx, sx, w);
        rows->lut16(v, j->table, w);
      }
      if (j->step)
        rows->step(v, j->r + c, j->zp + c, j->lo + c, j->hi + c, w);
      else if (out->dtype == EDGEQ_INT8)
        for (int i = 0; i < w; i++) v[i] = v[i] < -128 ? -128 : v[i] > 127 ? 127 : v[i];
      if (out->dtype == EDGEQ_INT8)
        rows->store8((int8_t *)j->py + oy + c * sy, sy, v, w);
      else
        rows->store16((int16_t *)(void *)j->py + oy + c * sy, sy, v, w);
    }
  }
}

void eq_run_lut(const eq_context *x, const eq_head *h) {
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const uint32_t lanes = eq_lanes((uint32_t)out->dims[out->ndim - 1]);
#define ROW(name) eq_row(x->program, h->qparams, lanes, EQ_LUT_ROW_##name)
  job j = {x,
           in,
           out,
           eq_data(x, h->in0),
           eq_data(x, h->out),
           eq_lut(x->program, h->lut),
           h->flags & EQ_FLAG_LUT_STEP,
           ROW(ZP),
           ROW(LO),
           ROW(HI),
           ROW(R)};
#undef ROW
  eq_split(x, eq_row_count(out), out->dims[out->ndim - 1] / 2 + 20, run_part, &j);
}
