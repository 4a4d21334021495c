/* edges.c: between the caller's dense arrays and the strided tensors of inputs and outputs. */
#include "edges.h"
#include <stdatomic.h>
#include <string.h>
#include "numerics.h"
#include "rounding.h"

/* Runs of `n` values that lie one after the other, or every `stride`; the rest of the loop nest,
 * of which `pixels` takes in as many axes as have one step between neighbours. */
typedef struct {
  int64_t lines, pixels;
  int n;
  int outer; /* axes that lines are counted over */
  int64_t pixel, stride;
  bool joined; /* pixels of a line adjoin */
  bool wide;   /* pixels of 3 bytes in 4: the layout of pictures */
} walk;

static walk walk_of(const edgeq_tensor *t) {
  const int last = t->ndim - 1;
  walk w = {.pixels = 1,
            .n = t->dims[last],
            .outer = last,
            .stride = t->dims[last] > 1 ? t->strides[last] : 1};
  for (; w.outer > 0; w.outer--) {
    const int64_t step = t->strides[w.outer - 1];
    if (t->dims[w.outer - 1] == 1) continue;
    if (w.pixels > 1 && step != w.pixels * w.pixel) break;
    if (w.pixels == 1) w.pixel = step;
    w.pixels *= t->dims[w.outer - 1];
  }
  w.lines = (int64_t)t->count / w.n / w.pixels;
  w.joined = w.stride == 1 && (w.pixels == 1 || w.pixel == w.n);
  w.wide = t->dtype == EDGEQ_INT8 && w.n == 3 && w.stride == 1 && w.pixel == 4;
  return w;
}

/* Element offset of line `line`, counted row-major. */
static int64_t line_offset(const edgeq_tensor *t, const walk *w, int64_t line) {
  int64_t at = 0;
  for (int d = w->outer - 1; d >= 0; d--) {
    at += line % t->dims[d] * t->strides[d];
    line /= t->dims[d];
  }
  return at;
}

/* ---- integers as they are ---- */

static void copy(const edgeq_tensor *t, uint8_t *tensor, uint8_t *array, bool to_tensor) {
  const int64_t size = (int64_t)eq_dtype_bytes(t->dtype);
  if (eq_dense(t)) {
    memcpy(to_tensor ? tensor : array, to_tensor ? array : tensor, t->count * (size_t)size);
    return;
  }
  const walk w = walk_of(t);
  const int64_t run = w.joined ? w.pixels * w.n : w.stride == 1 ? w.n : 1;
  for (int64_t k = 0; k < w.lines; k++) {
    uint8_t *line = tensor + line_offset(t, &w, k) * size;
    for (int64_t i = 0; i < w.pixels * w.n; i += run, array += run * size) {
      uint8_t *inside = line + (i / w.n * w.pixel + i % w.n * w.stride) * size;
      memcpy(to_tensor ? inside : array, to_tensor ? array : inside, (size_t)(run * size));
    }
  }
}

void eq_edge_write(const eq_context *x, const edgeq_tensor *t, uint8_t *base, const void *array) {
  const walk w = walk_of(t);
  if (!w.wide) {
    copy(t, base, (uint8_t *)(uintptr_t)array, true); /* the array is only read */
    return;
  }
  const int8_t *from = array;
  for (int64_t k = 0; k < w.lines; k++, from += w.pixels * 3)
    x->kernels->rows->widen((int8_t *)base + line_offset(t, &w, k), from, w.pixels);
}

void eq_edge_read(const edgeq_tensor *t, const uint8_t *base, void *array) {
  copy(t, (uint8_t *)(uintptr_t)base, array, false); /* the tensor is only read */
}

/* ---- float32 ---- */

typedef struct {
  const eq_context *x;
  const edgeq_tensor *t;
  walk w;
  uint8_t *base;
  union {
    const float *from;
    float *to;
  } array;
  int64_t block, blocks; /* pixels of a part, parts of a line */
  atomic_bool nan;
} job;

/* Pixels [first, first + count) of a line, which start at element `at`. */
typedef bool run_task(job *j, int64_t at, int64_t first, int64_t count);

/* About a thousand values at a time, which take 50 to 100 ns. */
static void each_run(job *j, int64_t begin, int64_t end, run_task *task) {
  while (begin < end) {
    const int64_t line = begin / j->blocks, from = begin % j->blocks;
    const int64_t run = end - begin < j->blocks - from ? end - begin : j->blocks - from;
    const int64_t first = from * j->block, left = j->w.pixels - first;
    const int64_t count = run * j->block < left ? run * j->block : left;
    const int64_t at = line_offset(j->t, &j->w, line) + first * j->w.pixel;
    if (task(j, at, line * j->w.pixels + first, count)) atomic_store(&j->nan, true);
    begin += run;
  }
}

static void split(job *j, eq_task *task) {
  enum { VALUES = 1024, NS = 80 };
  const int64_t fit = VALUES / j->w.n / 16 * 16;
  j->block = fit ? fit : 1;
  j->blocks = (j->w.pixels + j->block - 1) / j->block;
  eq_split(j->x, j->w.lines * j->blocks, j->block * j->w.n * NS / VALUES + 1, task, j);
}

static void put(const edgeq_tensor *t, uint8_t *base, int64_t at, int32_t v) {
  if (t->dtype == EDGEQ_INT8)
    ((int8_t *)base)[at] = (int8_t)v;
  else
    ((int16_t *)(void *)base)[at] = (int16_t)v;
}

/* One scale, from chunks of converted values. */
static bool quantize_run(job *j, int64_t at, int64_t first, int64_t count) {
  const eq_rows *rows = j->x->kernels->rows;
  const edgeq_tensor *t = j->t;
  const walk *w = &j->w;
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype);
  const float *x = j->array.from + first * w->n;
  const int64_t total = count * w->n;
  int32_t v[EQ_CHUNK];
  bool nan = false;
  const bool plain = t->scales[0] > 0x1p-100f && t->scales[0] < 0x1p100f &&
                     t->zero_points[0] >= -128 && t->zero_points[0] <= 127;
  if (rows->quantize8 && plain && t->dtype == EDGEQ_INT8 && (w->joined || w->wide))
    return rows->quantize8((int8_t *)j->base + at, x, t->scales[0], t->zero_points[0], w->wide,
                           total);
  const int most = w->joined ? EQ_CHUNK : EQ_CHUNK / w->n * w->n;
  for (int64_t i = 0; i < total; i += most) {
    const int n = (int)(total - i < most ? total - i : most);
    nan |= rows->quantize(v, x + i, t->scales[0], t->zero_points[0], lo, hi, n);
    if (w->joined && t->dtype == EDGEQ_INT8)
      rows->store8((int8_t *)j->base + at + i, 1, v, n);
    else if (w->joined)
      rows->store16((int16_t *)(void *)j->base + at + i, 1, v, n);
    else
      for (int k = 0; k < n; k++)
        put(t, j->base, at + (i + k) / w->n * w->pixel + (i + k) % w->n * w->stride, v[k]);
  }
  return nan;
}

/* One scale per channel, or pixels longer than a chunk. */
static bool quantize_channels(job *j, int64_t at, int64_t first, int64_t count) {
  const edgeq_tensor *t = j->t;
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype);
  const float *x = j->array.from + first * j->w.n;
  bool nan = false;
  for (int64_t i = 0; i < count; i++, at += j->w.pixel)
    for (int c = 0; c < j->w.n; c++, x++) {
      const int q = t->q_count == 1 ? 0 : c;
      nan |= *x != *x;
      put(t, j->base, at + c * j->w.stride,
          eq_quantize(*x, t->scales[q], t->zero_points[q], lo, hi));
    }
  return nan;
}

static void quantize_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  job *j = arg;
  const bool one = j->t->q_count == 1 && (j->w.n <= EQ_CHUNK || j->w.joined);
  each_run(j, begin, end, one ? quantize_run : quantize_channels);
}

bool eq_edge_quantize(const eq_context *x, const edgeq_tensor *t, uint8_t *base,
                      const float *array) {
  job j = {.x = x, .t = t, .w = walk_of(t), .base = base, .array = {.from = array}};
  atomic_init(&j.nan, false);
  const eq_rounding caller = eq_rounding_nearest();
  split(&j, quantize_part);
  eq_rounding_restore(&caller);
  return atomic_load(&j.nan);
}

static bool dequantize_run(job *j, int64_t at, int64_t first, int64_t count) {
  const edgeq_tensor *t = j->t;
  const walk *w = &j->w;
  const uint8_t *x = j->base + at * (int64_t)eq_dtype_bytes(t->dtype);
  float *y = j->array.to + first * w->n;
  const bool wide = t->dtype == EDGEQ_INT16, each = t->q_count > 1;
  if (w->stride == 1) {
    eq_reals r = {x, wide, each, w->pixel, count, w->n, t->scales, t->zero_points};
    if (!each && w->joined && count * w->n < INT32_MAX) r.n *= (int)count, r.pixels = 1;
    j->x->kernels->rows->dequantize(y, &r);
    return false;
  }
  for (int64_t i = 0; i < count; i++)
    for (int c = 0; c < w->n; c++) {
      const int64_t e = i * w->pixel + c * w->stride;
      const int32_t v = wide ? ((const int16_t *)(const void *)x)[e] : ((const int8_t *)x)[e];
      *y++ = eq_dequantize(v, t->scales[each ? c : 0], t->zero_points[each ? c : 0]);
    }
  return false;
}

static void dequantize_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  each_run(arg, begin, end, dequantize_run);
}

void eq_edge_dequantize(const eq_context *x, const edgeq_tensor *t, const uint8_t *base,
                        float *array) {
  job j = {.x = x,
           .t = t,
           .w = walk_of(t),
           .base = (uint8_t *)(uintptr_t)base, /* only read */
           .array = {.to = array}};
  const eq_rounding caller = eq_rounding_nearest();
  split(&j, dequantize_part);
  eq_rounding_restore(&caller);
}
