/* pool.c: POOL, maximum or average over a window; taps outside the picture do not exist. */
#include <string.h>
#include "ops.h"

bool eq_check_pool(eq_check *c, const eq_head *h) {
  const eq_cmd_pool *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY8_16, 4);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, 4) : NULL;
  const eq_window w = EQ_WINDOW(cmd);
  /* 2^22 int8 differences of at most 255 fit int32 */
  if (!y || !eq_need_window(c, &w, 1u << 22)) return false;
  if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
    return eq_fail(c, "in0 and out differ in batch or channels");
  if (cmd->kind == EQ_POOL_MAX)
    return x->dtype == y->dtype || eq_fail(c, "MAX moves integers: one dtype");
  if (cmd->kind != EQ_POOL_AVG) return eq_fail(c, "kind %u is unknown", cmd->kind);
  return eq_need_rows(c, h->qparams, (uint64_t)y->dims[3],
                      x->dtype == EDGEQ_INT8 ? "dxzlh" : "dzzlh", y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  eq_window w;
  bool max, count_pad;
  eq_mean_rows rows;
} job;

/* The taps of one axis that lie inside: k in [*k0, *k1) with origin + k * dilation in [0, size). */
static void inside(int64_t origin, int32_t taps, int32_t dilation, int32_t size, int *k0, int *k1) {
  const int64_t first = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  const int64_t end = origin >= size ? 0 : (size - origin + dilation - 1) / dilation;
  *k0 = (int)(first < taps ? first : taps);
  *k1 = (int)(end < taps ? end : taps);
  if (*k1 < *k0) *k1 = *k0;
}

static void load(const job *j, int32_t *v, int64_t offset, int n) {
  const ptrdiff_t stride = j->in->strides[3];
  const eq_rows *rows = j->x->kernels->rows;
  if (j->in->dtype == EDGEQ_INT8)
    rows->load8(v, (const int8_t *)j->px + offset, stride, n);
  else
    rows->load16(v, (const int16_t *)(const void *)j->px + offset, stride, n);
}

/* Output pixels [begin, end) of the flattened (n, oh, ow). */
static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const edgeq_tensor *in = j->in, *out = j->out;
  const eq_rows *rows = j->x->kernels->rows;
  const bool wide = in->dtype == EDGEQ_INT16;
  const int size = (int)eq_dtype_bytes(out->dtype), channels = out->dims[3];
  int32_t v[EQ_CHUNK], acc[EQ_CHUNK];
  int64_t acc64[EQ_CHUNK];
  uint8_t *pixel;
  for (int64_t p = begin; p < end; p++) {
    const int64_t ox = p % out->dims[2], oy = p / out->dims[2] % out->dims[1];
    const int64_t n = p / out->dims[2] / out->dims[1];
    const int64_t y0 = oy * j->w.sh - j->w.pt, x0 = ox * j->w.sw - j->w.pl;
    int ky0, ky1, kx0, kx1;
    inside(y0, j->w.kh, j->w.dh, in->dims[1], &ky0, &ky1);
    inside(x0, j->w.kw, j->w.dw, in->dims[2], &kx0, &kx1);
    const int64_t valid = (int64_t)(ky1 - ky0) * (kx1 - kx0);
    const int64_t count = j->count_pad ? (int64_t)j->w.kh * j->w.kw : valid;
    eq_output_pointers(j->py, out, p, 1, &pixel);
    for (int c = 0; c < channels; c += EQ_CHUNK) {
      const int w = channels - c < EQ_CHUNK ? channels - c : EQ_CHUNK;
      for (int i = 0; i < w; i++) acc[i] = j->max ? (wide ? -32768 : -128) : 0;
      if (wide && !j->max) memset(acc64, 0, sizeof acc64);
      for (int ky = ky0; ky < ky1; ky++)
        for (int kx = kx0; kx < kx1; kx++) {
          load(j, v,
               n * in->strides[0] + (y0 + (int64_t)ky * j->w.dh) * in->strides[1] +
                   (x0 + (int64_t)kx * j->w.dw) * in->strides[2] + c * (int64_t)in->strides[3],
               w);
          if (j->max)
            rows->max(acc, v, w);
          else if (wide)
            rows->sum64(acc64, v, w);
          else
            rows->sum(acc, v, w);
        }
      if (!j->max) {
        const eq_mean_rows r = {j->rows.ratio + c, j->rows.zx + c, j->rows.zp + c, j->rows.lo + c,
                                j->rows.hi + c};
        if (wide)
          rows->mean64(acc, acc64, &r, valid, count, w);
        else
          rows->mean(v, acc, &r, valid, count, w);
      }
      const int32_t *result = j->max || wide ? acc : v;
      uint8_t *y = pixel + c * (int64_t)out->strides[3] * size;
      if (size == 1)
        rows->store8((int8_t *)y, out->strides[3], result, w);
      else
        rows->store16((int16_t *)(void *)y, out->strides[3], result, w);
    }
  }
}

void eq_run_pool(const eq_context *x, const eq_head *h) {
  const eq_cmd_pool *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  job j = {x,
           in,
           out,
           eq_data(x, h->in0),
           eq_data(x, h->out),
           EQ_WINDOW(cmd),
           cmd->kind == EQ_POOL_MAX,
           h->flags & EQ_FLAG_COUNT_PAD,
           {0}};
  if (!j.max) j.rows = eq_mean_rows_at(x, h->qparams, out->dims[3]);
  const int64_t taps = (int64_t)cmd->kh * cmd->kw;
  eq_split(x, (int64_t)out->count / out->dims[3], taps * out->dims[3] / 8 + 20, run_part, &j);
}
