/* elementwise.c: ELEMENTWISE, two operands (or one) broadcast against the output. */
#include <string.h>
#include "ops.h"

/* numpy rules: dims align at the end and are equal or 1 */
static bool broadcasts(const edgeq_tensor *t, const edgeq_tensor *out) {
  const int shift = out->ndim - t->ndim;
  for (int i = 0; shift >= 0 && i < t->ndim; i++)
    if (t->dims[i] != 1 && t->dims[i] != out->dims[i + shift]) return false;
  return shift >= 0;
}

static bool binary(int kind) { return kind <= EQ_EW_DIV; }

bool eq_check_elementwise(eq_check *c, const eq_head *h) {
  const eq_cmd_elementwise *cmd = (const void *)h;
  if (cmd->kind > EQ_EW_REQUANT) return eq_fail(c, "kind %u is unknown", cmd->kind);
  const edgeq_tensor *y = eq_need_output(c, h->out, EQ_ANY8_16, 0);
  const edgeq_tensor *a = y ? eq_need_tensor(c, h->in0, "in0", EQ_ANY8_16, 0) : NULL;
  if (!a) return false;
  if (!broadcasts(a, y)) return eq_fail(c, "in0 does not broadcast to out");
  char kinds[] = "zzffzlh"; /* zero points of int8 operands fit int8: products fit int32 */
  if (a->dtype == EDGEQ_INT8) kinds[0] = 'x';
  if (binary(cmd->kind)) {
    const edgeq_tensor *b = eq_need_tensor(c, h->in1, "in1", EQ_ANY8_16, 0);
    if (!b) return false;
    if (!broadcasts(b, y)) return eq_fail(c, "in1 does not broadcast to out");
    if (b->dtype == EDGEQ_INT8) kinds[1] = 'x';
  }
  return eq_need_rows(c, h->qparams, (uint64_t)y->dims[y->ndim - 1], kinds, y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *a, *b, *y;
  const uint8_t *pa, *pb;
  uint8_t *py;
  eq_ew_fn *kernel;
  eq_ew rows;
} job;

static ptrdiff_t last_stride(const edgeq_tensor *t) {
  return t->dims[t->ndim - 1] == 1 ? 0 : t->strides[t->ndim - 1];
}

static void load(const job *j, int32_t *v, const edgeq_tensor *t, const uint8_t *p, int64_t offset,
                 ptrdiff_t stride, int n) {
  const eq_rows *rows = j->x->kernels->rows;
  if (t->dtype == EDGEQ_INT8)
    rows->load8(v, (const int8_t *)p + offset, stride, n);
  else
    rows->load16(v, (const int16_t *)(const void *)p + offset, stride, n);
}

static void store(const job *j, int64_t offset, ptrdiff_t stride, const int32_t *v, int n) {
  const eq_rows *rows = j->x->kernels->rows;
  if (j->y->dtype == EDGEQ_INT8)
    rows->store8((int8_t *)j->py + offset, stride, v, n);
  else
    rows->store16((int16_t *)(void *)j->py + offset, stride, v, n);
}

/* Step from one position of the second last axis to the next. */
static ptrdiff_t line_stride(const edgeq_tensor *t) {
  return t->ndim < 2 || t->dims[t->ndim - 2] == 1 ? 0 : t->strides[t->ndim - 2];
}

/* Lines [begin, end): a line is the last two axes. */
static void run_lines(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int d = j->y->ndim, channels = j->y->dims[d - 1], width = d < 2 ? 1 : j->y->dims[d - 2];
  const ptrdiff_t sa = last_stride(j->a), sb = j->b ? last_stride(j->b) : 0;
  const ptrdiff_t sy = j->y->strides[d - 1];
  int32_t a[EQ_CHUNK], b[EQ_CHUNK], y[EQ_CHUNK];
  for (int64_t line = begin; line < end; line++) {
    const int64_t oa = eq_broadcast_offset(j->a, j->y, line * width);
    const int64_t ob = j->b ? eq_broadcast_offset(j->b, j->y, line * width) : 0;
    const int64_t oy = eq_broadcast_offset(j->y, j->y, line * width);
    for (int64_t i = 0; i < width; i++)
      for (int c = 0; c < channels; c += EQ_CHUNK) {
        const int n = channels - c < EQ_CHUNK ? channels - c : EQ_CHUNK;
        const eq_ew r = {j->rows.za + c, j->rows.zb + c, j->rows.ra + c, j->rows.rb + c,
                         j->rows.zp + c, j->rows.lo + c, j->rows.hi + c};
        load(j, a, j->a, j->pa, oa + i * line_stride(j->a) + c * sa, sa, n);
        if (j->b) load(j, b, j->b, j->pb, ob + i * line_stride(j->b) + c * sb, sb, n);
        j->kernel(y, a, b, &r, n);
        store(j, oy + i * line_stride(j->y) + c * sy, sy, y, n);
      }
  }
}

/* ---- int8 with a kernel for whole pixels ---- */

static bool pixelwise(const job *j, int kind) {
  const int channels = j->y->dims[j->y->ndim - 1];
  return j->b && (kind == EQ_EW_ADD || kind == EQ_EW_MUL) && channels > 4 &&
         j->a->dtype == EDGEQ_INT8 && j->b->dtype == EDGEQ_INT8 && j->y->dtype == EDGEQ_INT8 &&
         last_stride(j->a) == 1 && last_stride(j->b) == 1 && j->y->strides[j->y->ndim - 1] == 1;
}

/* Lines adjoin as pixels do: from every position of `out` to the next it is one step. */
static bool adjoin(const edgeq_tensor *t, const edgeq_tensor *out) {
  const int shift = out->ndim - t->ndim;
  if (out->ndim < 2) return true;
  int64_t step = line_stride(t) * (int64_t)out->dims[out->ndim - 2];
  for (int d = out->ndim - 3; d >= 0; d--) {
    if (out->dims[d] == 1) continue;
    if (step != (d < shift || t->dims[d - shift] == 1 ? 0 : t->strides[d - shift])) return false;
    step *= out->dims[d];
  }
  return true;
}

static void run_pixels(const job *j, int64_t begin, int64_t end, bool mul) {
  const eq_rows *k = j->x->kernels->rows;
  const int d = j->y->ndim, channels = j->y->dims[d - 1], width = d < 2 ? 1 : j->y->dims[d - 2];
  const eq_ew *r = &j->rows;
  eq_pixels p = {r->za,
                 r->zb,
                 r->ra,
                 r->rb,
                 r->zp,
                 r->lo,
                 r->hi,
                 NULL,
                 NULL,
                 NULL,
                 line_stride(j->a),
                 line_stride(j->b),
                 line_stride(j->y),
                 channels,
                 width};
  const bool one = adjoin(j->a, j->y) && adjoin(j->b, j->y) && adjoin(j->y, j->y);
  if (one) p.pixels = (int)((end - begin) * width); /* all lines are one */
  for (int64_t line = begin; line < (one ? begin + 1 : end); line++) {
    p.a = (const int8_t *)j->pa + eq_broadcast_offset(j->a, j->y, line * width);
    p.b = (const int8_t *)j->pb + eq_broadcast_offset(j->b, j->y, line * width);
    p.y = (int8_t *)j->py + eq_broadcast_offset(j->y, j->y, line * width);
    (mul ? k->mul_pixels : k->add_pixels)(&p);
  }
}

static void add_lines(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  run_pixels(arg, begin, end, false);
}

static void mul_lines(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  run_pixels(arg, begin, end, true);
}

/* ---- dense tensors with few channels: several pixels make one row ---- */

static bool constant(const edgeq_tensor *t) { return (int64_t)t->count == t->dims[t->ndim - 1]; }

static bool flat(const job *j) {
  return j->y->dims[j->y->ndim - 1] <= EQ_CHUNK / 2 && eq_dense(j->y) && eq_dense(j->a) &&
         j->a->count == j->y->count &&
         (!j->b || constant(j->b) || (eq_dense(j->b) && j->b->count == j->y->count));
}

/* Pixels that fit one chunk. */
static int group_of(const job *j) { return EQ_CHUNK / j->y->dims[j->y->ndim - 1]; }

/* Groups [begin, end) of pixels. */
static void run_flat(void *arg, int64_t begin, int64_t end, int worker) {
  (void)worker;
  const job *j = arg;
  const int channels = j->y->dims[j->y->ndim - 1], width = group_of(j) * channels;
  const bool fixed = j->b && constant(j->b);
  int32_t a[EQ_CHUNK], b[EQ_CHUNK], y[EQ_CHUNK], rows[7][EQ_CHUNK];
  const void *from[7] = {j->rows.za, j->rows.zb, j->rows.ra, j->rows.rb,
                         j->rows.zp, j->rows.lo, j->rows.hi};
  for (int k = 0; k < 7; k++) /* the rows once per pixel of the group */
    for (int i = 0; i < width; i += channels) memcpy(rows[k] + i, from[k], (size_t)channels * 4);
  const eq_ew r = {rows[0], rows[1], (const float *)rows[2], (const float *)rows[3], rows[4],
                   rows[5], rows[6]};
  for (int i = 0; fixed && i < width; i += channels)
    load(j, b + i, j->b, j->pb, 0, last_stride(j->b), channels);
  const int64_t last = (int64_t)j->y->count;
  for (int64_t at = begin * width; at < end * width && at < last; at += width) {
    const int n = (int)(last - at < width ? last - at : width);
    load(j, a, j->a, j->pa, at, 1, n);
    if (j->b && !fixed) load(j, b, j->b, j->pb, at, 1, n);
    j->kernel(y, a, b, &r, n);
    store(j, at, 1, y, n);
  }
}

void eq_run_elementwise(const eq_context *x, const eq_head *h) {
  const eq_cmd_elementwise *cmd = (const void *)h;
  const eq_rows *k = x->kernels->rows;
  const edgeq_tensor *a = eq_tensor_of(x, h->in0), *y = eq_tensor_of(x, h->out);
  const edgeq_tensor *b = binary(cmd->kind) ? eq_tensor_of(x, h->in1) : NULL;
  const bool wide = b && a->dtype == EDGEQ_INT16 && b->dtype == EDGEQ_INT16;
  eq_ew_fn *const kernels[] = {[EQ_EW_ADD] = k->add,
                               [EQ_EW_MUL] = wide ? k->mul : k->mul_narrow,
                               [EQ_EW_DIV] = k->div,
                               [EQ_EW_PRELU] = k->prelu,
                               [EQ_EW_REQUANT] = k->requant};
  const uint32_t lanes = eq_lanes((uint32_t)y->dims[y->ndim - 1]);
#define ROW(name) eq_row(x->program, h->qparams, lanes, EQ_ELEMENTWISE_ROW_##name)
  job j = {x,
           a,
           b,
           y,
           eq_data(x, h->in0),
           b ? eq_data(x, h->in1) : NULL,
           eq_data(x, h->out),
           kernels[cmd->kind],
           {ROW(ZA), ROW(ZB), ROW(RA), ROW(RB), ROW(ZP), ROW(LO), ROW(HI)}};
#undef ROW
  const int channels = y->dims[y->ndim - 1];
  if (pixelwise(&j, cmd->kind)) {
    const int64_t width = y->ndim < 2 ? 1 : y->dims[y->ndim - 2];
    eq_split(x, eq_row_count(y) / width, width * (channels / 16 + 1) * 2,
             cmd->kind == EQ_EW_MUL ? mul_lines : add_lines, &j);
  } else if (flat(&j)) {
    const int64_t pixels = eq_row_count(y), group = group_of(&j);
    eq_split(x, (pixels + group - 1) / group, EQ_CHUNK / 4, run_flat, &j);
  } else {
    const int64_t width = y->ndim < 2 ? 1 : y->dims[y->ndim - 2];
    eq_split(x, eq_row_count(y) / width, width * (channels / 4 + 30), run_lines, &j);
  }
}
