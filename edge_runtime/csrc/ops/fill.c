/* fill.c: FILL, one value per channel of the last axis. */
#include "ops.h"

bool eq_check_fill(eq_check *c, const eq_head *h) {
  const edgeq_tensor *y = eq_need_output(c, h->out, EQ_ANY8_16, 0);
  return y && eq_need_rows(c, h->qparams, (uint64_t)y->dims[y->ndim - 1], "v", y->dtype);
}

void eq_run_fill(const eq_context *x, const eq_head *h) {
  const edgeq_tensor *y = eq_tensor_of(x, h->out);
  const eq_rows *rows = x->kernels->rows;
  const int channels = y->dims[y->ndim - 1];
  const ptrdiff_t stride = y->strides[y->ndim - 1];
  const int32_t *value = eq_row(x->program, h->qparams, eq_lanes((uint32_t)channels), 0);
  const int64_t count = eq_row_count(y);
  uint8_t *base = eq_data(x, h->out);
  for (int64_t row = 0; row < count; row++) {
    const int64_t at = eq_row_offset(y->dims, y->strides, y->ndim, row);
    if (y->dtype == EDGEQ_INT8)
      rows->store8((int8_t *)base + at, stride, value, channels);
    else
      rows->store16((int16_t *)(void *)base + at, stride, value, channels);
  }
}
