/* layout.c: LAYOUT, a strided copy of up to six dimensions: transpose, pad, slice, concat. */
#include <string.h>
#include "ops.h"

typedef struct {
  int32_t dims[6], src[6], dst[6], src_offset, dst_offset; /* elements from the tensors' starts */
} table;

/* Elements [lowest, highest] reached from `tensor` must lie inside its region. */
static bool within(eq_check *c, uint32_t id, const int32_t *dims, const int32_t *strides,
                   int32_t offset, const char *role) {
  const edgeq_tensor *t = &c->p->tensors[id];
  const int64_t size = (int64_t)eq_dtype_bytes(t->dtype);
  const int64_t room =
      (int64_t)(c->p->region[id] == EQ_REGION_ARENA ? c->p->arena_bytes
                                                    : c->p->section[EQ_SECTION_CONSTANTS].bytes);
  int64_t lowest = (int64_t)t->offset / size + offset, highest = lowest;
  for (int d = 0; d < 6; d++) {
    const int64_t reach = (int64_t)(dims[d] - 1) * strides[d]; /* dims multiply to < 2^30 */
    if (reach < 0)
      lowest += reach;
    else
      highest += reach;
  }
  return (lowest >= 0 && highest < room / size) ||
         eq_fail(c, "%s is read or written outside its region", role);
}

bool eq_check_layout(eq_check *c, const eq_head *h) {
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ANY_DTYPE, 0);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, 1 << x->dtype, 0) : NULL;
  const uint8_t *bytes =
      y ? eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, sizeof(table), 4) : NULL;
  if (!bytes) return false;
  table t;
  memcpy(&t, bytes, sizeof t);
  int64_t count = 1;
  for (int d = 0; d < 6; d++) {
    if (t.dims[d] < 1 || (count *= t.dims[d]) > (int64_t)EQ_MAX_ARENA_BYTES)
      return eq_fail(c, "dims are at least 1, at most 2^30 elements");
    if (t.dims[d] > 1 && t.dst[d] == 0) return eq_fail(c, "out must not have stride 0");
  }
  return within(c, h->in0, t.dims, t.src, t.src_offset, "in0") &&
         within(c, h->out, t.dims, t.dst, t.dst_offset, "out");
}

typedef struct {
  table t;
  const uint8_t *src;
  uint8_t *dst;
  int size;
} job;

/* Rows [begin, end) of the first five dimensions. */
static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const table *t = &j->t;
  const int n = t->dims[5];
  const int64_t ss = t->src[5], ds = t->dst[5], size = j->size;
  for (int64_t row = begin; row < end; row++) {
    const uint8_t *from = j->src + eq_row_offset(t->dims, t->src, 6, row) * size;
    uint8_t *to = j->dst + eq_row_offset(t->dims, t->dst, 6, row) * size;
    if (n == 1 || (ss == 1 && ds == 1))
      memmove(to, from, (size_t)n * (size_t)size);
    else if (size == 1)
      for (int i = 0; i < n; i++) to[i * ds] = from[i * ss];
    else if (size == 2)
      for (int i = 0; i < n; i++) memcpy(to + i * ds * 2, from + i * ss * 2, 2);
    else
      for (int i = 0; i < n; i++) memcpy(to + i * ds * 4, from + i * ss * 4, 4);
  }
}

void eq_run_layout(const eq_context *x, const eq_head *h) {
  job j = {.src = eq_data(x, h->in0),
           .dst = eq_data(x, h->out),
           .size = (int)eq_dtype_bytes(eq_tensor_of(x, h->in0)->dtype)};
  memcpy(&j.t, eq_constants(x->program, h->constants), sizeof j.t);
  j.src += (int64_t)j.t.src_offset * j.size;
  j.dst += (int64_t)j.t.dst_offset * j.size;
  int64_t rows = 1;
  for (int d = 0; d < 5; d++) rows *= j.t.dims[d];
  eq_split(x, rows, (j.t.src[5] == 1 && j.t.dst[5] == 1 ? j.t.dims[5] / 32 : j.t.dims[5]) + 10,
           run_part, &j);
}
