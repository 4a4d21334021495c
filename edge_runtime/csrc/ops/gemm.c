/* gemm.c: GEMM, the product of two activations: out[.., m, n] = sum_k (a - za)(b - zb). */
#include <string.h>
#include "../numerics.h"
#include "ops.h"

bool eq_check_gemm(eq_check *c, const eq_head *h) {
  const eq_cmd_gemm *cmd = (const void *)h;
  const edgeq_tensor *a = eq_need_tensor(c, h->in0, "in0", EQ_ONLY8, 0);
  const edgeq_tensor *b = a ? eq_need_tensor(c, h->in1, "in1", EQ_ONLY8, 0) : NULL;
  const edgeq_tensor *y = b ? eq_need_output(c, h->out, EQ_ANY8_16, 0) : NULL;
  if (!y) return false;
  const int d = y->ndim;
  if (d < 2 || a->ndim != d || b->ndim != d)
    return eq_fail(c, "in0, in1 and out need the same number of dimensions, at least 2");
  for (int i = 0; i < d - 2; i++)
    if ((a->dims[i] != y->dims[i] && a->dims[i] != 1) ||
        (b->dims[i] != y->dims[i] && b->dims[i] != 1))
      return eq_fail(c, "batch dimension %d does not broadcast", i);
  const bool t = h->flags & EQ_FLAG_TRANSPOSE_B;
  const int32_t k = b->dims[t ? d - 1 : d - 2], n = b->dims[t ? d - 2 : d - 1];
  if (a->dims[d - 2] != y->dims[d - 2] || a->dims[d - 1] != k || n != y->dims[d - 1])
    return eq_fail(c, "(M, K) x (K, N) sizes do not match");
  if (k > 33025) return eq_fail(c, "K of at most 33025 keeps the sum in int32, got %d", k);
  if (cmd->za < -128 || cmd->za > 127 || cmd->zb < -128 || cmd->zb > 127)
    return eq_fail(c, "zero points must fit int8");
  return eq_need_rows(c, h->qparams, (uint64_t)n, "fzlh", y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *a, *b, *y;
  const int8_t *pa, *pb;
  uint8_t *py;
  int32_t za, zb, k;
  ptrdiff_t bk, bn; /* strides of b along K and N */
  const float *m;
  const int32_t *zp, *lo, *hi;
} job;

/* Rows [begin, end) of the flattened (batch, M). */
static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const eq_rows *rows = j->x->kernels->rows;
  const int d = j->y->ndim, n = j->y->dims[d - 1], size = (int)eq_dtype_bytes(j->y->dtype);
  const ptrdiff_t ak = j->a->strides[d - 1], yn = j->y->strides[d - 1];
  int32_t acc[EQ_CHUNK];
  for (int64_t row = begin; row < end; row++) {
    int64_t oa = 0, ob = 0, oy = 0, rest = row;
    for (int i = d - 2; i >= 0; i--) {
      const int64_t at = rest % j->y->dims[i];
      rest /= j->y->dims[i];
      oa += (j->a->dims[i] == 1 ? 0 : at) * j->a->strides[i];
      if (i < d - 2) ob += (j->b->dims[i] == 1 ? 0 : at) * j->b->strides[i];
      oy += at * j->y->strides[i];
    }
    const int8_t *a = j->pa + oa, *b = j->pb + ob;
    for (int c = 0; c < n; c += EQ_CHUNK) {
      const int w = n - c < EQ_CHUNK ? n - c : EQ_CHUNK;
      if (j->bk == 1) {
        for (int i = 0; i < w; i++)
          acc[i] = rows->dot(a, ak, j->za, b + (c + i) * j->bn, 1, j->zb, j->k);
      } else {
        memset(acc, 0, sizeof acc);
        for (int k = 0; k < j->k; k++)
          rows->mac(acc, a[k * ak] - j->za, b + c * j->bn + k * j->bk, j->bn, j->zb, w);
      }
      rows->step(acc, j->m + c, j->zp + c, j->lo + c, j->hi + c, w);
      uint8_t *y = j->py + (oy + c * yn) * size;
      if (size == 1)
        rows->store8((int8_t *)y, yn, acc, w);
      else
        rows->store16((int16_t *)(void *)y, yn, acc, w);
    }
  }
}

void eq_run_gemm(const eq_context *x, const eq_head *h) {
  const eq_cmd_gemm *cmd = (const void *)h;
  const edgeq_tensor *a = eq_tensor_of(x, h->in0), *b = eq_tensor_of(x, h->in1);
  const edgeq_tensor *y = eq_tensor_of(x, h->out);
  const int d = y->ndim, n = y->dims[d - 1];
  const bool t = h->flags & EQ_FLAG_TRANSPOSE_B;
  const uint32_t lanes = eq_lanes((uint32_t)n);
#define ROW(name) eq_row(x->program, h->qparams, lanes, EQ_GEMM_ROW_##name)
  job j = {x,
           a,
           b,
           y,
           (const int8_t *)eq_data(x, h->in0),
           (const int8_t *)eq_data(x, h->in1),
           eq_data(x, h->out),
           cmd->za,
           cmd->zb,
           a->dims[d - 1],
           b->strides[t ? d - 1 : d - 2],
           b->strides[t ? d - 2 : d - 1],
           ROW(M),
           ROW(ZP),
           ROW(LO),
           ROW(HI)};
#undef ROW
  eq_split(x, eq_row_count(y), (int64_t)n * j.k / 16 + 1, run_part, &j);
}
