/* reduce.c: REDUCE, the mean over some axes. */
#include <string.h>
#include "ops.h"

static bool reduced(const eq_cmd_reduce *cmd, int axis) { return cmd->axes >> axis & 1; }

/* Output axis of each input axis, -1 where it is reduced; false when the shapes do not fit. */
static bool map_axes(const eq_cmd_reduce *cmd, const edgeq_tensor *x, const edgeq_tensor *y,
                     int *to) {
  int kept = 0;
  for (int i = 0; i < x->ndim; i++) kept += !reduced(cmd, i);
  const bool same = y->ndim == x->ndim;
  if (!same && y->ndim != kept && !(kept == 0 && y->ndim == 1)) return false;
  int next = 0;
  for (int i = 0; i < x->ndim; i++) {
    to[i] = reduced(cmd, i) ? -1 : same ? i : next++;
    if (to[i] >= 0 ? y->dims[to[i]] != x->dims[i] : same && y->dims[i] != 1) return false;
  }
  return same || kept || y->dims[0] == 1;
}

bool eq_check_reduce(eq_check *c, const eq_head *h) {
  const eq_cmd_reduce *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY8_16, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, 0) : NULL;
  if (!y) return false;
  int to[EQ_MAX_DIMS];
  if (!cmd->axes || cmd->axes >> x->ndim || !map_axes(cmd, x, y, to))
    return eq_fail(c, "the axes 0x%x do not lead from in0 to out", cmd->axes);
  int64_t n = 1;
  for (int i = 0; i < x->ndim; i++)
    if (reduced(cmd, i)) n *= x->dims[i];
  if (n > 1 << 22) return eq_fail(c, "a mean of at most 2^22 values, got %lld", (long long)n);
  const bool last = reduced(cmd, x->ndim - 1);
  return eq_need_rows(c, h->qparams, last ? 1 : (uint64_t)x->dims[x->ndim - 1],
                      x->dtype == EDGEQ_INT8 ? "dxzlh" : "dzzlh", y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  int axes[EQ_MAX_DIMS], axis_count; /* reduced axes of the input, the last one excluded */
  int kept[EQ_MAX_DIMS], kept_count; /* kept axes of the input, the last one excluded */
  int to[EQ_MAX_DIMS];
  int64_t outer; /* positions along `axes` */
  bool last;     /* the last axis is reduced */
  int64_t count;
  eq_mean_rows rows;
} job;

static void load(const job *j, int32_t *v, int64_t offset, int n) {
  const ptrdiff_t stride = j->in->strides[j->in->ndim - 1];
  const eq_rows *rows = j->x->kernels->rows;
  if (j->in->dtype == EDGEQ_INT8)
    rows->load8(v, (const int8_t *)j->px + offset, stride, n);
  else
    rows->load16(v, (const int16_t *)(const void *)j->px + offset, stride, n);
}

static void store(const job *j, int64_t offset, ptrdiff_t stride, const int32_t *v, int n) {
  const eq_rows *rows = j->x->kernels->rows;
  if (j->out->dtype == EDGEQ_INT8)
    rows->store8((int8_t *)j->py + offset, stride, v, n);
  else
    rows->store16((int16_t *)(void *)j->py + offset, stride, v, n);
}

/* Sums of `w` channels from `c` over all outer positions, starting at input element `base`. */
static void sum_outer(const job *j, int64_t base, int c, int w, int32_t *acc, int64_t *acc64) {
  const edgeq_tensor *in = j->in;
  const eq_rows *rows = j->x->kernels->rows;
  int32_t v[EQ_CHUNK];
  int at[EQ_MAX_DIMS] = {0};
  memset(acc, 0, sizeof(int32_t) * EQ_CHUNK);
  memset(acc64, 0, sizeof(int64_t) * EQ_CHUNK);
  /* int8 with contiguous channels: whole runs of the innermost reduced axis */
  const int inner = j->axis_count ? j->axes[j->axis_count - 1] : 0;
  const bool runs = in->dtype == EDGEQ_INT8 && j->axis_count && in->strides[in->ndim - 1] == 1;
  const int run = runs ? in->dims[inner] : 1;
  for (int64_t o = 0; o < j->outer; o += run) {
    if (runs) {
      rows->sum_pixels(acc, (const int8_t *)j->px + base + c, in->strides[inner], run, w);
      base += (int64_t)in->strides[inner] * (run - 1);
      at[j->axis_count - 1] = run - 1;
    } else {
      load(j, v, base + c * (int64_t)in->strides[in->ndim - 1], w);
      if (in->dtype == EDGEQ_INT8)
        rows->sum(acc, v, w);
      else
        rows->sum64(acc64, v, w);
    }
    for (int i = j->axis_count - 1; i >= 0; i--) { /* step to the next position */
      const int axis = j->axes[i];
      base += in->strides[axis];
      if (++at[i] < in->dims[axis]) break;
      base -= (int64_t)in->strides[axis] * in->dims[axis];
      at[i] = 0;
    }
  }
}

/* Positions [begin, end) of the kept axes, the last axis excluded. */
static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const edgeq_tensor *in = j->in, *out = j->out;
  const eq_rows *rows = j->x->kernels->rows;
  const bool wide = in->dtype == EDGEQ_INT16;
  const int channels = in->dims[in->ndim - 1];
  int32_t acc[EQ_CHUNK], y[EQ_CHUNK];
  int64_t acc64[EQ_CHUNK];
  for (int64_t p = begin; p < end; p++) {
    int64_t from = 0, into = 0, rest = p, total = 0;
    for (int i = j->kept_count - 1; i >= 0; i--) {
      const int axis = j->kept[i];
      from += rest % in->dims[axis] * in->strides[axis];
      into += rest % in->dims[axis] * out->strides[j->to[axis]];
      rest /= in->dims[axis];
    }
    for (int c = 0; c < channels; c += EQ_CHUNK) {
      const int w = channels - c < EQ_CHUNK ? channels - c : EQ_CHUNK;
      sum_outer(j, from, c, w, acc, acc64);
      if (j->last) {
        for (int i = 0; i < w; i++) total += wide ? acc64[i] : acc[i];
        continue;
      }
      const eq_mean_rows r = {j->rows.ratio + c, j->rows.zx + c, j->rows.zp + c, j->rows.lo + c,
                              j->rows.hi + c};
      if (wide)
        rows->mean64(y, acc64, &r, j->count, j->count, w);
      else
        rows->mean(y, acc, &r, j->count, j->count, w);
      const ptrdiff_t stride = out->strides[j->to[in->ndim - 1]];
      store(j, into + c * stride, stride, y, w);
    }
    if (!j->last) continue;
    acc[0] = (int32_t)total; /* int8: at most 2^22 values */
    if (wide)
      rows->mean64(y, &total, &j->rows, j->count, j->count, 1);
    else
      rows->mean(y, acc, &j->rows, j->count, j->count, 1);
    store(j, into, 1, y, 1);
  }
}

/* ---- int8 means over all axes but the last: threads share the pixels, sums are added up ---- */

enum { SHARES = 16 };

typedef struct {
  const job *j;
  int64_t width, step; /* pixels that lie `step` apart; lines of so many make up the input */
  int shares;
  int c, n; /* channels [c, c + n) */
  int32_t sums[SHARES][EQ_CHUNK];
} shared_sum;

static void find_lines(shared_sum *s) {
  const edgeq_tensor *in = s->j->in;
  s->width = 1;
  for (int d = in->ndim - 2; d >= 0; d--) {
    if (in->dims[d] == 1) continue;
    if (s->width > 1 && in->strides[d] != s->width * s->step) break;
    if (s->width == 1) s->step = in->strides[d];
    s->width *= in->dims[d];
  }
}

/* Shares [begin, end) of the pixels. */
static void sum_shares(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  shared_sum *s = arg;
  const job *j = s->j;
  const edgeq_tensor *in = j->in;
  for (int64_t share = begin; share < end; share++) {
    memset(s->sums[share], 0, (size_t)s->n * sizeof s->sums[0][0]);
    const int64_t last = j->outer * (share + 1) / s->shares;
    for (int64_t at = j->outer * share / s->shares; at < last;) {
      const int64_t first = at % s->width, left = s->width - first;
      const int64_t count = last - at < left ? last - at : left;
      const int64_t line = eq_row_offset(in->dims, in->strides, in->ndim, at - first);
      j->x->kernels->rows->sum_pixels(s->sums[share],
                                      (const int8_t *)j->px + line + first * s->step + s->c,
                                      s->step, count, s->n);
      at += count;
    }
  }
}

static void run_global(const job *j) {
  const edgeq_tensor *in = j->in, *out = j->out;
  const int channels = in->dims[in->ndim - 1];
  const ptrdiff_t stride = out->strides[j->to[in->ndim - 1]];
  shared_sum s;
  s.j = j, s.step = 0, s.shares = j->x->threads > 1 ? SHARES : 1;
  find_lines(&s);
  int32_t y[EQ_CHUNK];
  for (s.c = 0; s.c < channels; s.c += EQ_CHUNK) {
    s.n = channels - s.c < EQ_CHUNK ? channels - s.c : EQ_CHUNK;
    eq_split(j->x, s.shares, j->outer * (s.n / 16 + 1) / (8 * s.shares) + 1, sum_shares, &s);
    for (int k = 1; k < s.shares; k++) j->x->kernels->rows->sum(s.sums[0], s.sums[k], s.n);
    const eq_mean_rows r = {j->rows.ratio + s.c, j->rows.zx + s.c, j->rows.zp + s.c,
                            j->rows.lo + s.c, j->rows.hi + s.c};
    j->x->kernels->rows->mean(y, s.sums[0], &r, j->count, j->count, s.n);
    store(j, s.c * stride, stride, y, s.n);
  }
}

void eq_run_reduce(const eq_context *x, const eq_head *h) {
  const eq_cmd_reduce *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  job j = {.x = x,
           .in = in,
           .out = out,
           .px = eq_data(x, h->in0),
           .py = eq_data(x, h->out),
           .outer = 1,
           .count = 1,
           .last = reduced(cmd, in->ndim - 1)};
  map_axes(cmd, in, out, j.to);
  int64_t positions = 1;
  for (int i = 0; i < in->ndim; i++) {
    if (reduced(cmd, i)) j.count *= in->dims[i];
    if (i == in->ndim - 1) break;
    if (reduced(cmd, i))
      j.axes[j.axis_count++] = i, j.outer *= in->dims[i];
    else
      j.kept[j.kept_count++] = i, positions *= in->dims[i];
  }
  j.rows = eq_mean_rows_at(x, h->qparams, j.last ? 1 : in->dims[in->ndim - 1]);
  if (positions == 1 && !j.last && in->dtype == EDGEQ_INT8 && in->strides[in->ndim - 1] == 1) {
    run_global(&j);
    return;
  }
  eq_split(x, positions, j.outer * (in->dims[in->ndim - 1] / 8 + 10), run_part, &j);
}
