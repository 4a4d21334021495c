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
  int lane; /* MAX over int8 with contiguous channels: how many the line takes, else 0 */
  eq_mean_rows rows;
} job;

/* The taps of one output pixel that lie inside the picture. */
typedef struct {
  int ky0, ky1, kx0, kx1;
  int64_t start;    /* element of the tap (0, 0), which itself may lie outside */
  int64_t row, col; /* elements from one tap to the next */
  int64_t valid;
} taps;

/* k in [*k0, *k1) has origin + k * dilation in [0, size). */
static void inside(int64_t origin, int32_t kernel, int32_t dilation, int32_t size, int *k0,
                   int *k1) {
  int64_t first = origin >= 0 ? 0 : -origin, end = origin >= size ? 0 : size - origin;
  if (dilation > 1) {
    first = (first + dilation - 1) / dilation;
    end = (end + dilation - 1) / dilation;
  }
  *k0 = (int)(first < kernel ? first : kernel);
  *k1 = (int)(end < kernel ? end : kernel);
  if (*k1 < *k0) *k1 = *k0;
}

static taps taps_of(const job *j, int64_t n, int64_t oy, int64_t ox) {
  const int32_t *s = j->in->strides;
  const int64_t y0 = oy * j->w.sh - j->w.pt, x0 = ox * j->w.sw - j->w.pl;
  taps t = {.start = n * s[0] + y0 * s[1] + x0 * s[2],
            .row = (int64_t)j->w.dh * s[1],
            .col = (int64_t)j->w.dw * s[2]};
  inside(y0, j->w.kh, j->w.dh, j->in->dims[1], &t.ky0, &t.ky1);
  inside(x0, j->w.kw, j->w.dw, j->in->dims[2], &t.kx0, &t.kx1);
  t.valid = (int64_t)(t.ky1 - t.ky0) * (t.kx1 - t.kx0);
  return t;
}

static void load(const job *j, int32_t *v, int64_t offset, int n) {
  const ptrdiff_t stride = j->in->strides[3];
  const eq_rows *rows = j->x->kernels->rows;
  if (j->in->dtype == EDGEQ_INT8)
    rows->load8(v, (const int8_t *)j->px + offset, stride, n);
  else
    rows->load16(v, (const int16_t *)(const void *)j->px + offset, stride, n);
}

/* Channels [c, c + n) of one output pixel, MAX or AVG, any dtype. */
static void pool(const job *j, const taps *t, uint8_t *pixel, int c, int n) {
  const eq_rows *rows = j->x->kernels->rows;
  const bool wide = j->in->dtype == EDGEQ_INT16;
  int32_t v[EQ_CHUNK], acc[EQ_CHUNK];
  int64_t acc64[EQ_CHUNK];
  const int32_t *result = acc;
  for (int i = 0; i < n; i++) acc[i] = j->max ? eq_dtype_min(j->in->dtype) : 0;
  for (int i = 0; i < n && wide; i++) acc64[i] = 0;
  for (int ky = t->ky0; ky < t->ky1; ky++)
    for (int kx = t->kx0; kx < t->kx1; kx++) {
      load(j, v, t->start + ky * t->row + kx * t->col + c * (int64_t)j->in->strides[3], n);
      if (j->max)
        rows->max(acc, v, n);
      else if (wide)
        rows->sum64(acc64, v, n);
      else
        rows->sum(acc, v, n);
    }
  if (!j->max) {
    const eq_mean_rows r = {j->rows.ratio + c, j->rows.zx + c, j->rows.zp + c, j->rows.lo + c,
                            j->rows.hi + c};
    const int64_t count = j->count_pad ? (int64_t)j->w.kh * j->w.kw : t->valid;
    if (wide)
      rows->mean64(acc, acc64, &r, t->valid, count, n);
    else
      rows->mean(v, acc, &r, t->valid, count, n), result = v;
  }
  const ptrdiff_t stride = j->out->strides[3];
  if (j->out->dtype == EDGEQ_INT8)
    rows->store8((int8_t *)pixel + c * stride, stride, result, n);
  else
    rows->store16((int16_t *)(void *)pixel + c * stride, stride, result, n);
}

/* Output pixels [begin, end) of the flattened (n, oh, ow). */
static void run_pixels(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int32_t *dims = j->out->dims, *s = j->out->strides;
  const int64_t size = (int64_t)eq_dtype_bytes(j->out->dtype);
  int64_t ox = begin % dims[2], oy = begin / dims[2] % dims[1], n = begin / dims[2] / dims[1];
  for (int64_t p = begin; p < end; p++) {
    const taps t = taps_of(j, n, oy, ox);
    uint8_t *pixel = j->py + (n * s[0] + oy * s[1] + ox * s[2]) * size;
    for (int c = 0; c < dims[3]; c += EQ_CHUNK)
      pool(j, &t, pixel, c, dims[3] - c < EQ_CHUNK ? dims[3] - c : EQ_CHUNK);
    if (++ox == dims[2]) {
      ox = 0;
      if (++oy == dims[1]) oy = 0, n++;
    }
  }
}

/* ---- MAX over int8 with contiguous channels: first down the columns into a line, then along it */

enum { LINE = 16384 }; /* bytes */

/* Columns a window spans. */
static int64_t span_of(const eq_window *w) { return (int64_t)(w->kw - 1) * w->dw + 1; }

/* Channels of which a line holds a whole window. */
static int lane_of(const job *j) {
  const int64_t fit = LINE / span_of(&j->w);
  return (int)(j->out->dims[3] < fit ? j->out->dims[3] : fit);
}

/* Output columns [first, last) from the line, which starts at input column `start`; y is theirs. */
static void along(const job *j, const int8_t *line, int64_t start, int64_t first, int64_t last,
                  int8_t *y, int n) {
  const eq_window *w = &j->w;
  const int64_t sy = j->out->strides[2];
  while (first < last) {
    const int64_t x0 = first * w->sw - w->pl;
    int k0, k1;
    inside(x0, w->kw, w->dw, j->in->dims[2], &k0, &k1);
    int64_t run = 1;
    if (k0 == 0 && k1 == w->kw) { /* and so have those whose last tap is still inside */
      run = (j->in->dims[2] - x0 - span_of(w)) / w->sw + 1;
      if (run > last - first) run = last - first;
    }
    const eq_maxima m = {line + (x0 + (int64_t)k0 * w->dw - start) * n,
                         y,
                         (ptrdiff_t)w->sw * n,
                         (ptrdiff_t)w->dw * n,
                         sy,
                         k1 - k0,
                         n,
                         run};
    if (k0 < k1)
      j->x->kernels->rows->maxima(&m);
    else
      memset(y, -128, (size_t)n);
    first += run;
    y += run * sy;
  }
}

/* Channels [c, c + n) of output row (b, oy). */
static void max_row(const job *j, int64_t b, int64_t oy, int c, int n) {
  const eq_window *w = &j->w;
  const int32_t *s = j->in->strides, *d = j->in->dims;
  const int64_t y0 = oy * w->sh - w->pt, ow = j->out->dims[2];
  const int64_t most = (LINE / n - span_of(w)) / w->sw + 1; /* output columns of one line */
  int8_t line[LINE], *y = (int8_t *)j->py + b * j->out->strides[0] + oy * j->out->strides[1] + c;
  int k0, k1;
  inside(y0, w->kh, w->dh, d[1], &k0, &k1);
  for (int64_t first = 0; first < ow; first += most) {
    const int64_t last = first + most < ow ? first + most : ow;
    int64_t start = first * w->sw - w->pl, end = (last - 1) * w->sw - w->pl + span_of(w);
    if (start < 0) start = 0;
    if (end > d[2]) end = d[2];
    int8_t *to = y + first * j->out->strides[2];
    if (start >= end || k0 == k1) {
      for (int64_t x = first; x < last; x++, to += j->out->strides[2]) memset(to, -128, (size_t)n);
      continue;
    }
    eq_maxima m = {(const int8_t *)j->px + b * s[0] + (y0 + (int64_t)k0 * w->dh) * s[1] +
                       start * s[2] + c,
                   line,
                   s[2],
                   (ptrdiff_t)w->dh * s[1],
                   n,
                   k1 - k0,
                   n,
                   end - start};
    if (s[2] == n) m.n *= m.pixels, m.pixels = 1;
    j->x->kernels->rows->maxima(&m);
    along(j, line, start, first, last, to, n);
  }
}

/* Output rows [begin, end) of the flattened (n, oh). */
static void run_rows(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int channels = j->out->dims[3];
  for (int64_t row = begin; row < end; row++)
    for (int c = 0; c < channels; c += j->lane)
      max_row(j, row / j->out->dims[1], row % j->out->dims[1], c,
              channels - c < j->lane ? channels - c : j->lane);
}

void eq_run_pool(const eq_context *x, const eq_head *h) {
  const eq_cmd_pool *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  job j = {.x = x,
           .in = in,
           .out = out,
           .px = eq_data(x, h->in0),
           .py = eq_data(x, h->out),
           .w = EQ_WINDOW(cmd),
           .max = cmd->kind == EQ_POOL_MAX,
           .count_pad = h->flags & EQ_FLAG_COUNT_PAD};
  const int64_t channels = out->dims[3], ow = out->dims[2];
  if (j.max && in->dtype == EDGEQ_INT8 && in->strides[3] == 1 && out->strides[3] == 1)
    j.lane = lane_of(&j);
  if (!j.max) j.rows = eq_mean_rows_at(x, h->qparams, out->dims[3]);
  if (j.lane) {
    const int64_t taps = cmd->kh * (int64_t)in->dims[2] + cmd->kw * ow;
    eq_split(x, (int64_t)out->dims[0] * out->dims[1], taps * channels / 256 + ow + 10, run_rows,
             &j);
    return;
  }
  const int64_t taps = (int64_t)cmd->kh * cmd->kw;
  eq_split(x, (int64_t)out->count / channels, taps * channels / 16 + 10, run_pixels, &j);
}
