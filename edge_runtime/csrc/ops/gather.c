/* gather.c: GATHER, the slices of one axis that an index table names. */
#include <string.h>
#include "ops.h"

bool eq_check_gather(eq_check *c, const eq_head *h) {
  const eq_cmd_gather *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY_DTYPE, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, 1 << x->dtype, x->ndim) : NULL;
  if (!y) return false;
  if (cmd->axis >= (uint32_t)x->ndim) return eq_fail(c, "axis %u of %d", cmd->axis, x->ndim);
  for (int i = 0; i < x->ndim; i++)
    if (i != (int)cmd->axis && x->dims[i] != y->dims[i])
      return eq_fail(c, "in0 and out differ along axis %d", i);
  const int32_t count = y->dims[cmd->axis], limit = x->dims[cmd->axis];
  const uint8_t *bytes =
      eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, (uint64_t)count * 4, 4);
  if (!bytes) return false;
  const int32_t *index = (const int32_t *)(const void *)bytes;
  for (int32_t i = 0; i < count; i++)
    if (index[i] < 0 || index[i] >= limit)
      return eq_fail(c, "index %d is %d, must be 0..%d", i, index[i], limit - 1);
  return true;
}

void eq_run_gather(const eq_context *x, const eq_head *h) {
  const eq_cmd_gather *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const int32_t *index = eq_constants(x->program, h->constants);
  const int d = in->ndim, axis = (int)cmd->axis, n = out->dims[d - 1];
  const int64_t size = (int64_t)eq_dtype_bytes(in->dtype), rows = eq_row_count(out);
  const int64_t sx = in->strides[d - 1], sy = out->strides[d - 1];
  const uint8_t *px = eq_data(x, h->in0);
  uint8_t *py = eq_data(x, h->out);
  for (int64_t row = 0; row < rows; row++) {
    int64_t from = 0, into = 0, rest = row;
    for (int i = d - 2; i >= 0; i--) {
      const int64_t at = rest % out->dims[i];
      rest /= out->dims[i];
      from += (i == axis ? index[at] : at) * in->strides[i];
      into += at * out->strides[i];
    }
    if (axis != d - 1 && sx == 1 && sy == 1) {
      memmove(py + into * size, px + from * size, (size_t)(n * size));
      continue;
    }
    for (int64_t i = 0; i < n; i++) {
      const int64_t k = axis == d - 1 ? index[i] : i;
      memmove(py + (into + i * sy) * size, px + (from + k * sx) * size, (size_t)size);
    }
  }
}
