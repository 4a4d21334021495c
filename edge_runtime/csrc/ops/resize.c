/* resize.c: RESIZE of the height and width of (n, h, w, c). Positions and weights come as integer
 * tables from the compiler. */
#include <string.h>
#include "../numerics.h"
#include "ops.h"

static bool all_within(eq_check *c, const int32_t *t, int n, int32_t limit, const char *what) {
  for (int i = 0; i < n; i++)
    if (t[i] < 0 || t[i] >= limit)
      return eq_fail(c, "%s %d is %d, must be 0..%d", what, i, t[i], limit - 1);
  return true;
}

bool eq_check_resize(eq_check *c, const eq_head *h) {
  const eq_cmd_resize *cmd = (const void *)h;
  if (cmd->kind > EQ_RESIZE_LINEAR) return eq_fail(c, "kind %u is unknown", cmd->kind);
  const bool linear = cmd->kind == EQ_RESIZE_LINEAR;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", linear ? EQ_ONLY8 : EQ_ANY_DTYPE, 4);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, 1 << x->dtype, 4) : NULL;
  if (!y) return false;
  if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
    return eq_fail(c, "in0 and out differ in batch or channels");
  const int oh = y->dims[1], ow = y->dims[2];
  const uint64_t entries = ((uint64_t)oh + (uint64_t)ow) * (linear ? 3 : 1);
  const uint8_t *bytes = eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, entries * 4, 4);
  if (!bytes) return false;
  const int32_t *t = (const int32_t *)(const void *)bytes;
  if (!linear)
    return all_within(c, t, oh, x->dims[1], "row") &&
           all_within(c, t + oh, ow, x->dims[2], "column");
  const int32_t *cols = t + 3 * (size_t)oh, one = (1 << EQ_LERP_BITS) + 1;
  return all_within(c, t, oh, x->dims[1], "row") &&
         all_within(c, t + oh, oh, x->dims[1], "next row") &&
         all_within(c, t + 2 * (size_t)oh, oh, one, "row weight") &&
         all_within(c, cols, ow, x->dims[2], "column") &&
         all_within(c, cols + ow, ow, x->dims[2], "next column") &&
         all_within(c, cols + 2 * (size_t)ow, ow, one, "column weight");
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  const int32_t *t;
} job;

static bool contiguous(const job *j) {
  return j->out->dims[3] == 1 || (j->in->strides[3] == 1 && j->out->strides[3] == 1);
}

/* Output rows [begin, end) of the flattened (n, oh). */
static void nearest(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int64_t oh = j->out->dims[1], ow = j->out->dims[2],
                size = (int64_t)eq_dtype_bytes(j->in->dtype);
  for (int64_t row = begin; row < end; row++) {
    const int64_t n = row / oh, y = row % oh;
    const uint8_t *from =
        j->px + (n * j->in->strides[0] + (int64_t)j->t[y] * j->in->strides[1]) * size;
    uint8_t *to = j->py + (n * j->out->strides[0] + y * j->out->strides[1]) * size;
    if (contiguous(j)) {
      j->x->kernels->rows->pick(to, j->out->strides[2] * size, from, j->in->strides[2] * size,
                                j->t + oh, ow, j->out->dims[3] * size);
      continue;
    }
    for (int64_t x = 0; x < ow; x++)
      for (int64_t c = 0; c < j->out->dims[3]; c++)
        memcpy(to + (x * j->out->strides[2] + c * j->out->strides[3]) * size,
               from + (j->t[oh + x] * (int64_t)j->in->strides[2] + c * j->in->strides[3]) * size,
               (size_t)size);
  }
}

static void linear(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const eq_rows *rows = j->x->kernels->rows;
  const int64_t oh = j->out->dims[1], ow = j->out->dims[2];
  const int32_t *x0 = j->t + 3 * oh, *x1 = x0 + ow, *wx = x1 + ow;
  for (int64_t row = begin; row < end; row++) {
    const int64_t n = row / oh, y = row % oh, sx = j->in->strides[2];
    const int8_t *picture = (const int8_t *)j->px + n * j->in->strides[0];
    const int8_t *top = picture + (int64_t)j->t[y] * j->in->strides[1];
    const int8_t *bottom = picture + (int64_t)j->t[oh + y] * j->in->strides[1];
    int8_t *to = (int8_t *)j->py + n * j->out->strides[0] + y * j->out->strides[1];
    for (int64_t x = 0; x < ow; x++) {
      const int8_t *corner[4] = {top + x0[x] * sx, top + x1[x] * sx, bottom + x0[x] * sx,
                                 bottom + x1[x] * sx};
      int8_t *pixel = to + x * j->out->strides[2];
      if (contiguous(j)) {
        rows->lerp(pixel, corner, j->t[2 * oh + y], wx[x], j->out->dims[3]);
        continue;
      }
      for (int64_t c = 0, at = 0; c < j->out->dims[3]; c++, at += j->in->strides[3])
        pixel[c * j->out->strides[3]] = (int8_t)eq_lerp(corner[0][at], corner[1][at], corner[2][at],
                                                        corner[3][at], j->t[2 * oh + y], wx[x]);
    }
  }
}

void eq_run_resize(const eq_context *x, const eq_head *h) {
  const eq_cmd_resize *cmd = (const void *)h;
  const edgeq_tensor *out = eq_tensor_of(x, h->out);
  job j = {x,
           eq_tensor_of(x, h->in0),
           out,
           eq_data(x, h->in0),
           eq_data(x, h->out),
           eq_constants(x->program, h->constants)};
  const bool blend = cmd->kind == EQ_RESIZE_LINEAR;
  const int64_t row = (int64_t)out->dims[2] * (out->dims[3] / (blend ? 4 : 32) + (blend ? 10 : 2));
  eq_split(x, (int64_t)out->dims[0] * out->dims[1], row, blend ? linear : nearest, &j);
}
