/* addend.c: the residual sum behind CONV and DWCONV. The epilogue has written its int8 values;
 * while they are in the cache, y = add(y, addend) replaces them, as ELEMENTWISE ADD would. */
#include "ops.h"

bool eq_need_addend(eq_check *c, const eq_head *h, uint32_t addend, uint32_t rows) {
  if (!(h->flags & EQ_FLAG_ADD)) return true;
  const edgeq_tensor *y = eq_need_output(c, h->out, EQ_ONLY8, 4);
  const edgeq_tensor *b = y ? eq_need_tensor(c, addend, "addend", EQ_ONLY8, 4) : NULL;
  if (!b) return false;
  for (int d = 0; d < 4; d++)
    if (b->dims[d] != y->dims[d]) return eq_fail(c, "addend and out differ in shape");
  if (b->dims[3] > 1 && b->strides[3] != 1)
    return eq_fail(c, "channels of addend must be contiguous");
  if (c->p->region[addend] == EQ_REGION_SRAM || c->p->region[h->out] == EQ_REGION_SRAM)
    return eq_fail(c, "an addend belongs to programs for the cpu");
  return eq_need_rows(c, rows, (uint64_t)y->dims[3], "xxffzlh", y->dtype);
}

eq_addend eq_addend_of(const eq_context *x, const eq_head *h, uint32_t addend, uint32_t rows) {
  if (!(h->flags & EQ_FLAG_ADD)) return (eq_addend){.add = NULL};
  const edgeq_tensor *y = eq_tensor_of(x, h->out);
  const uint32_t lanes = eq_lanes((uint32_t)y->dims[3]);
#define ROW(name) eq_row(x->program, rows, lanes, EQ_ELEMENTWISE_ROW_##name)
  return (eq_addend){x->kernels->rows->add_pixels,
                     {ROW(ZA), ROW(ZB), ROW(RA), ROW(RB), ROW(ZP), ROW(LO), ROW(HI)},
                     y,
                     eq_tensor_of(x, addend),
                     (int8_t *)eq_data(x, h->out),
                     (const int8_t *)eq_data(x, addend)};
#undef ROW
}

/* True when the rows of a picture adjoin like the pixels of a row. */
static bool joined(const edgeq_tensor *t) {
  return t->strides[1] == t->dims[2] * (int64_t)t->strides[2] &&
         (t->dims[0] == 1 || t->strides[0] == t->dims[1] * (int64_t)t->strides[1]);
}

void eq_add_behind(const eq_addend *a, int64_t first, int64_t count, int c0, int c1) {
  if (!a->add) return;
  const int32_t *d = a->y->dims, *sy = a->y->strides, *sb = a->b->strides;
  const bool whole = joined(a->y) && joined(a->b);
  const eq_ew *r = &a->rows;
  while (count > 0) {
    const int64_t n = first / d[2] / d[1], y = first / d[2] % d[1], x = first % d[2];
    const int64_t run = whole || count < d[2] - x ? count : d[2] - x;
    int8_t *to = a->py + n * sy[0] + y * sy[1] + x * sy[2] + c0;
    const eq_pixels p = {r->za + c0, r->zb + c0, r->ra + c0,
                         r->rb + c0, r->zp + c0, r->lo + c0,
                         r->hi + c0, to,         a->pb + n * sb[0] + y * sb[1] + x * sb[2] + c0,
                         to,         sy[2],      sb[2],
                         sy[2],      c1 - c0,    (int)run};
    a->add(&p);
    first += run;
    count -= run;
  }
}
