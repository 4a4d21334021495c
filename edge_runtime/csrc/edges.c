/* edges.c: between the caller's dense arrays and the strided tensors of inputs and outputs. */
#include "edges.h"
#include <fenv.h>
#include <stdatomic.h>
#include <string.h>
#include "numerics.h"

/* Runs of `n` values that lie one after the other, or every `stride`; the rest of the loop nest. */
typedef struct {
  int64_t lines;
  int pixels, n;
  int64_t pixel, stride;
  bool joined; /* pixels of a line adjoin */
  bool wide;   /* pixels of 3 bytes in 4: the layout of pictures */
} walk;

static walk walk_of(const edgeq_tensor *t) {
  const int d = t->ndim;
  walk w = {.pixels = d > 1 ? t->dims[d - 2] : 1,
            .n = t->dims[d - 1],
            .pixel = d > 1 ? t->strides[d - 2] : 0,
            .stride = t->dims[d - 1] > 1 ? t->strides[d - 1] : 1};
  w.lines = (int64_t)t->count / w.n / w.pixels;
  w.joined = w.stride == 1 && (w.pixels == 1 || w.pixel == w.n);
  w.wide = t->dtype == EDGEQ_INT8 && w.n == 3 && w.stride == 1 && w.pixel == 4;
  return w;
}

/* Element offset of line `line`, all axes but the last two counted row-major. */
static int64_t line_offset(const edgeq_tensor *t, int64_t line) {
  int64_t at = 0;
  for (int d = t->ndim - 3; d >= 0; d--) {
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
  const int run = w.joined ? w.pixels * w.n : w.stride == 1 ? w.n : 1;
  for (int64_t k = 0; k < w.lines; k++) {
    uint8_t *line = tensor + line_offset(t, k) * size;
    for (int64_t i = 0; i < (int64_t)w.pixels * w.n; i += run, array += run * size) {
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
  for (int64_t k = 0; k < w.lines; k++, from += (int64_t)w.pixels * 3)
    x->kernels->rows->widen((int8_t *)base + line_offset(t, k), from, w.pixels);
}

void eq_edge_read(const edgeq_tensor *t, const uint8_t *base, void *array) {
  copy(t, (uint8_t *)(uintptr_t)base, array, false); /* the tensor is only read */
}

/* ---- float32 ---- */

static void put(const edgeq_tensor *t, uint8_t *base, int64_t at, int32_t v) {
  if (t->dtype == EDGEQ_INT8)
    ((int8_t *)base)[at] = (int8_t)v;
  else
    ((int16_t *)(void *)base)[at] = (int16_t)v;
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *t;
  walk w;
  uint8_t *base;
  const float *array;
  atomic_bool nan;
} job;

/* One line of one scale, from chunks of converted values. */
static bool quantize_line(const job *j, int64_t at, const float *x) {
  const eq_rows *rows = j->x->kernels->rows;
  const edgeq_tensor *t = j->t;
  const walk *w = &j->w;
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype);
  int32_t v[EQ_CHUNK];
  bool nan = false;
  const int64_t total = (int64_t)w->pixels * w->n;
  if (rows->quantize8 && t->dtype == EDGEQ_INT8 && (w->joined || w->wide) && total < INT32_MAX)
    return rows->quantize8((int8_t *)j->base + at, x, t->scales[0], t->zero_points[0], w->wide,
                           (int)total);
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

/* One line of one scale per channel, or of pixels longer than a chunk. */
static bool quantize_channels(const job *j, int64_t at, const float *x) {
  const edgeq_tensor *t = j->t;
  const int32_t lo = eq_dtype_min(t->dtype), hi = eq_dtype_max(t->dtype);
  bool nan = false;
  for (int i = 0; i < j->w.pixels; i++, at += j->w.pixel)
    for (int c = 0; c < j->w.n; c++, x++) {
      const int q = t->q_count == 1 ? 0 : c;
      nan |= *x != *x;
      put(t, j->base, at + c * j->w.stride,
          eq_quantize(*x, t->scales[q], t->zero_points[q], lo, hi));
    }
  return nan;
}

static void quantize_lines(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  job *j = arg;
  const bool one = j->t->q_count == 1 && (j->w.n <= EQ_CHUNK || j->w.joined);
  for (int64_t k = begin; k < end; k++)
    if ((one ? quantize_line : quantize_channels)(j, line_offset(j->t, k),
                                                  j->array + k * j->w.pixels * j->w.n))
      atomic_store(&j->nan, true);
}

bool eq_edge_quantize(const eq_context *x, const edgeq_tensor *t, uint8_t *base,
                      const float *array) {
  job j = {.x = x, .t = t, .w = walk_of(t), .base = base, .array = array};
  atomic_init(&j.nan, false);
  fenv_t caller;
  fegetenv(&caller);
  fesetenv(FE_DFL_ENV); /* round to nearest even, whatever the caller has set */
  eq_split(x, j.w.lines, (int64_t)j.w.pixels * j.w.n / 8 + 1, quantize_lines, &j);
  fesetenv(&caller);
  return atomic_load(&j.nan);
}

static void dequantize_line(const eq_rows *rows, const edgeq_tensor *t, int64_t total,
                            const uint8_t *base, int64_t at, float *y) {
  int32_t v[EQ_CHUNK];
  for (int64_t i = 0; i < total; i += EQ_CHUNK) {
    const int n = (int)(total - i < EQ_CHUNK ? total - i : EQ_CHUNK);
    if (t->dtype == EDGEQ_INT8)
      rows->load8(v, (const int8_t *)base + at + i, 1, n);
    else
      rows->load16(v, (const int16_t *)(const void *)base + at + i, 1, n);
    rows->dequantize(y + i, v, t->scales[0], t->zero_points[0], n);
  }
}

void eq_edge_dequantize(const eq_context *x, const edgeq_tensor *t, const uint8_t *base,
                        float *array) {
  const walk w = walk_of(t);
  for (int64_t k = 0; k < w.lines; k++) {
    int64_t at = line_offset(t, k);
    if (t->q_count == 1 && w.joined) {
      dequantize_line(x->kernels->rows, t, (int64_t)w.pixels * w.n, base, at, array);
      array += (int64_t)w.pixels * w.n;
      continue;
    }
    for (int i = 0; i < w.pixels; i++, at += w.pixel)
      for (int c = 0; c < w.n; c++) {
        const int64_t e = at + c * w.stride;
        const int32_t v = t->dtype == EDGEQ_INT8 ? ((const int8_t *)base)[e]
                                                 : ((const int16_t *)(const void *)base)[e];
        const int q = t->q_count == 1 ? 0 : c;
        *array++ = eq_dequantize(v, t->scales[q], t->zero_points[q]);
      }
  }
}
