/* softmax.c: SOFTMAX over the last axis, in integers up to one float32 product per element. */
#include "../numerics.h"
#include "ops.h"

bool eq_check_softmax(eq_check *c, const eq_head *h) {
  const eq_cmd_softmax *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY8_16, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, x->ndim) : NULL;
  if (!y) return false;
  for (int i = 0; i < x->ndim; i++)
    if (x->dims[i] != y->dims[i]) return eq_fail(c, "in0 and out differ in shape");
  if (!(cmd->inv_scale > 0.0 && cmd->inv_scale < 1e30) || cmd->zp < -32768 || cmd->zp > 32767)
    return eq_fail(c, "inv_scale must be positive and finite, zp within int16");
  const uint8_t *tables = eq_need_bytes(c, EQ_SECTION_LUTS, h->lut, 2 * 256 * 4, 4);
  if (!tables) return false;
  const uint32_t *t = (const uint32_t *)(const void *)tables;
  if (t[0] == 0 || t[256] == 0) return eq_fail(c, "exp(0) must not be 0");
  for (int i = 0; i < 512; i++)
    if (t[i] > 1u << EQ_SOFTMAX_BITS) return eq_fail(c, "exp tables are at most 2^30");
  return true;
}

typedef struct {
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  const uint32_t *fine, *coarse;
  double inv_scale;
  int32_t zp;
} job;

static inline int32_t at(const job *j, int64_t i) {
  return j->in->dtype == EDGEQ_INT8 ? ((const int8_t *)j->px)[i]
                                    : ((const int16_t *)(const void *)j->px)[i];
}

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const edgeq_tensor *in = j->in, *out = j->out;
  const int d = in->ndim, n = in->dims[d - 1];
  const int64_t sx = in->strides[d - 1], sy = out->strides[d - 1];
  const int32_t lo = eq_dtype_min(out->dtype), hi = eq_dtype_max(out->dtype);
  for (int64_t row = begin; row < end; row++) {
    const int64_t x = eq_row_offset(in->dims, in->strides, d, row);
    const int64_t y = eq_row_offset(out->dims, out->strides, d, row);
    int32_t top = -32768;
    for (int i = 0; i < n; i++) top = at(j, x + i * sx) > top ? at(j, x + i * sx) : top;
    uint64_t total = 0; /* at least fine[0] * coarse[0] >> 30 */
    for (int i = 0; i < n; i++)
      total += eq_softmax_exp(top - at(j, x + i * sx), j->fine, j->coarse);
    const float k = (float)(j->inv_scale / (double)total);
    for (int i = 0; i < n; i++) {
      const uint32_t e = eq_softmax_exp(top - at(j, x + i * sx), j->fine, j->coarse);
      const int32_t v = eq_rint_clamp((float)e * k, j->zp, lo, hi);
      if (out->dtype == EDGEQ_INT8)
        ((int8_t *)j->py)[y + i * sy] = (int8_t)v;
      else
        ((int16_t *)(void *)j->py)[y + i * sy] = (int16_t)v;
    }
  }
}

void eq_run_softmax(const eq_context *x, const eq_head *h) {
  const eq_cmd_softmax *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const uint32_t *tables = eq_lut(x->program, h->lut);
  job j = {in,     out,          eq_data(x, h->in0), eq_data(x, h->out),
           tables, tables + 256, cmd->inv_scale,     cmd->zp};
  eq_split(x, eq_row_count(out), in->dims[in->ndim - 1] * 3ll, run_part, &j);
}
