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
  const eq_rows *rows;
  const edgeq_tensor *in, *out;
  const uint8_t *px;
  uint8_t *py;
  const uint32_t *fine, *coarse;
  double inv_scale;
  int32_t zp;
} job;

/* Values [i, i + n) of the row that starts at element x. */
static void load(const job *j, int32_t *v, int64_t x, int i, int n) {
  const ptrdiff_t stride = j->in->strides[j->in->ndim - 1];
  if (j->in->dtype == EDGEQ_INT8)
    j->rows->load8(v, (const int8_t *)j->px + x + i * stride, stride, n);
  else
    j->rows->load16(v, (const int16_t *)(const void *)j->px + x + i * stride, stride, n);
}

static void store(const job *j, const int32_t *v, int64_t y, int i, int n) {
  const ptrdiff_t stride = j->out->strides[j->out->ndim - 1];
  if (j->out->dtype == EDGEQ_INT8)
    j->rows->store8((int8_t *)j->py + y + i * stride, stride, v, n);
  else
    j->rows->store16((int16_t *)(void *)j->py + y + i * stride, stride, v, n);
}

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  enum { KEPT = 8 }; /* chunks whose numerators are not computed twice */
  const job *j = arg;
  const int d = j->in->ndim, n = j->in->dims[d - 1];
  const int32_t lo = eq_dtype_min(j->out->dtype), hi = eq_dtype_max(j->out->dtype);
  int32_t v[EQ_CHUNK];
  uint32_t e[KEPT][EQ_CHUNK];
#define CHUNKS for (int i = 0, w; w = n - i < EQ_CHUNK ? n - i : EQ_CHUNK, i < n; i += EQ_CHUNK)
  for (int64_t row = begin; row < end; row++) {
    const int64_t x = eq_row_offset(j->in->dims, j->in->strides, d, row);
    const int64_t y = eq_row_offset(j->out->dims, j->out->strides, d, row);
    int32_t top = -32768;
    CHUNKS {
      load(j, v, x, i, w);
      for (int k = 0; k < w; k++) top = v[k] > top ? v[k] : top;
    }
    uint64_t total = 0; /* at least fine[0] * coarse[0] >> 30 */
    CHUNKS {
      load(j, v, x, i, w);
      total += j->rows->exps(e[i / EQ_CHUNK % KEPT], v, top, j->fine, j->coarse, w);
    }
    const float k = (float)(j->inv_scale / (double)total);
    CHUNKS {
      uint32_t *at = e[i / EQ_CHUNK % KEPT];
      if (n > KEPT * EQ_CHUNK) {
        load(j, v, x, i, w);
        j->rows->exps(at, v, top, j->fine, j->coarse, w);
      }
      j->rows->shares(v, at, k, j->zp, lo, hi, w);
      store(j, v, y, i, w);
    }
  }
#undef CHUNKS
}

void eq_run_softmax(const eq_context *x, const eq_head *h) {
  const eq_cmd_softmax *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const uint32_t *tables = eq_lut(x->program, h->lut);
  job j = {
      x->kernels->rows, in,     out, eq_data(x, h->in0), eq_data(x, h->out), tables, tables + 256,
      cmd->inv_scale,   cmd->zp};
  eq_split(x, eq_row_count(out), in->dims[in->ndim - 1] * 3ll, run_part, &j);
}
