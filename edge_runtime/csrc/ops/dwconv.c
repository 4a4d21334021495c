/* dwconv.c: DWCONV, depthwise convolution: every channel has its own kernel and its own zero
 * point. */
#include "ops.h"

enum { BLOCK_PIXELS = 64 };

bool eq_check_dwconv(eq_check *c, const eq_head *h) {
  const eq_cmd_dwconv *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ONLY8, 4);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, 4) : NULL;
  const eq_window w = EQ_WINDOW(cmd);
  if (!y || !eq_need_window(c, &w, EQ_MAX_TAPS) || !eq_need_lut(c, h, true)) return false;
  const uint32_t channels = (uint32_t)x->dims[3];
  if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
    return eq_fail(c, "in0 and out differ in batch or channels");
  if (channels > 1 && (x->strides[3] != 1 || y->strides[3] != 1))
    return eq_fail(c, "channels must be contiguous");
  const uint64_t taps = (uint64_t)w.kh * (uint64_t)w.kw, lanes = eq_lanes(channels);
  if (taps > c->p->max_taps) c->p->max_taps = taps;
  return eq_need_weights(c, h, taps * lanes, lanes) && eq_need_unpacked(c, h, taps * lanes) &&
         eq_need_addend(c, h, cmd->addend, cmd->add_rows) &&
         eq_need_rows(c, h->qparams, channels, h->flags & EQ_FLAG_LUT_GATE ? "bbfzlhg" : "bbfzlhf",
                      y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *out;
  uint8_t *base;
  eq_gather gather;
  eq_dw dw;
  eq_addend addend;
  size_t packed; /* bytes of 4-bit weights, 0 for 8 bits */
  int block;     /* pixels per call; rows per call where an addend follows */
} job;

/* The weights as int8. Every worker unpacks its own: few bytes, and lines that another core has
 * just written are slow to read. */
static const int8_t *weights_of(const job *j, int worker) {
  if (!j->packed) return j->dw.w;
  int8_t *to = j->x->unpacked + (size_t)worker * j->x->unpacked_bytes;
  j->x->kernels->unpack4(to, j->dw.w, j->packed);
  return to;
}

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  const job *j = arg;
  const int taps = j->dw.taps, taps4 = (taps + 3) / 4 * 4;
  const int8_t **pointers = j->x->pointers + (size_t)worker * j->x->pointer_count;
  uint8_t *out[BLOCK_PIXELS];
  eq_dw dw = j->dw;
  dw.w = weights_of(j, worker);
  for (int64_t p = begin; p < end; p += j->block) {
    const int n = (int)(end - p < j->block ? end - p : j->block);
    eq_cursor cursor = eq_cursor_at(&j->gather, p);
    eq_gather_pointers(&j->gather, &cursor, n, (size_t)taps4, 1, pointers);
    for (int i = 0; i < n; i++)
      for (int t = taps; t < taps4; t++) pointers[i * taps4 + t] = pointers[i * taps4];
    eq_output_pointers(j->base, j->out, p, n, out);
    j->x->kernels->dw(&dw, pointers, out, n);
    eq_add_behind(&j->addend, p, n, 0, j->dw.channels);
  }
}

/* Output rows [begin, end) of the flattened (n, oh), for kernels that take whole rows. */
static void run_rows(void *arg, int64_t begin, int64_t end, int worker) {
  const job *j = arg;
  const int8_t *w = weights_of(j, worker);
  const eq_gather *g = &j->gather;
  for (int64_t row = begin; row < end;) { /* the rows of one picture after the other */
    const int64_t n = row / g->oh, oy = row % g->oh;
    int64_t last = end - row < g->oh - oy ? oy + end - row : g->oh;
    if (j->addend.add && last - oy > j->block) last = oy + j->block;
    const eq_dw_row r = {.e = j->dw.e,
                         .w = w,
                         .k = g->win.kw,
                         .stride = g->win.sw,
                         .channels = j->dw.channels,
                         .lanes = j->dw.lanes,
                         .in = g->in + n * g->sn,
                         .pad = g->pad,
                         .line = g->sh,
                         .pixel = g->sw,
                         .height = g->h,
                         .width = g->w,
                         .top = g->win.pt,
                         .left = g->win.pl,
                         .out = j->base + n * j->out->strides[0],
                         .out_line = j->out->strides[1],
                         .first = (int)oy,
                         .last = (int)last,
                         .out_pixel = j->out->strides[2],
                         .count = g->ow};
    j->x->kernels->dw_row(&r);
    eq_add_behind(&j->addend, row * g->ow, (last - oy) * g->ow, 0, j->dw.channels);
    row += last - oy;
  }
}

static bool takes_rows(const eq_context *x, const eq_window *w, const edgeq_tensor *out) {
  return x->kernels->dw_row && w->kh == w->kw && (w->kw == 3 || w->kw == 5) && w->dh == 1 &&
         w->dw == 1 && w->sw == w->sh && w->sw <= 2 && out->dtype == EDGEQ_INT8;
}

void eq_run_dwconv(const eq_context *x, const eq_head *h) {
  const eq_cmd_dwconv *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const int channels = in->dims[3], taps = cmd->kh * cmd->kw, taps4 = (taps + 3) / 4 * 4;
  const uint32_t lanes = eq_lanes((uint32_t)channels);
  const size_t count = (size_t)taps * lanes, packed = eq_weight_bytes(h, count);
  const int8_t *weights = eq_weights(x, h);
  job j = {.x = x,
           .out = out,
           .base = eq_data(x, h->out),
           .gather = {.in = (const int8_t *)eq_data(x, h->in0),
                      .pad = weights + packed,
                      .sn = in->strides[0],
                      .sh = in->strides[1],
                      .sw = in->strides[2],
                      .h = in->dims[1],
                      .w = in->dims[2],
                      .oh = out->dims[1],
                      .ow = out->dims[2],
                      .win = EQ_WINDOW(cmd)},
           .dw = {.e = eq_epilogue_of(x, h),
                  .w = weights,
                  .taps = taps,
                  .channels = channels,
                  .lanes = (int)lanes},
           .addend = eq_addend_of(x, h, cmd->addend, cmd->add_rows),
           .packed = packed < count ? packed : 0};
  if (j.dw.e.words && takes_rows(x, &j.gather.win, out)) {
    enum { NEAR_BYTES = 16384 }; /* of output between the epilogue and the sum */
    j.block = NEAR_BYTES / (channels * out->dims[2]) + 1;
    const int64_t cost = ((int64_t)taps * channels / 64 + 2) * out->dims[2];
    eq_split(x, (int64_t)out->dims[0] * out->dims[1], cost, run_rows, &j);
    return;
  }
  j.block = (int)(x->pointer_count / (size_t)taps4);
  if (j.block > BLOCK_PIXELS) j.block = BLOCK_PIXELS;
  eq_split(x, (int64_t)out->count / channels, (int64_t)taps * channels / 16 + 1, run_part, &j);
}
