/* conv.c: CONV, dense and grouped convolution and fully connected layers, without im2col.
 * A tile is conv_mr output pixels; the pointers of its taps are gathered once and used for every
 * block of output channels. */
#include <string.h>
#include "conv.h"

enum { BLOCK_PIXELS = 216 }; /* pixels whose pointers are gathered together, at most: 14 x 14 fit */

static int32_t quads(int32_t n) { return (n + 3) / 4; }

bool eq_check_conv(eq_check *c, const eq_head *h) {
  const eq_cmd_conv *cmd = (const void *)h;
  const edgeq_tensor *x = eq_need_tensor(c, h->in0, "in0", EQ_ONLY8, 4);
  const edgeq_tensor *y = x ? eq_need_output(c, h->out, EQ_ANY8_16, 4) : NULL;
  const eq_window w = EQ_WINDOW(cmd);
  if (!y || !eq_need_window(c, &w, EQ_MAX_TAPS) || !eq_need_lut(c, h, true)) return false;
  const uint32_t ic = (uint32_t)x->dims[3], oc = (uint32_t)y->dims[3];
  if (cmd->groups == 0 || ic % cmd->groups || oc % cmd->groups)
    return eq_fail(c, "%u and %u channels do not divide into %u groups", ic, oc, cmd->groups);
  if (x->dims[0] != y->dims[0]) return eq_fail(c, "in0 and out differ in batch");
  if ((ic > 1 && x->strides[3] != 1) || (oc > 1 && y->strides[3] != 1))
    return eq_fail(c, "channels must be contiguous");
  /* each factor is below 2^30 and the products are compared step by step */
  const uint64_t taps = (uint64_t)w.kh * (uint64_t)w.kw,
                 rows = cmd->groups * (uint64_t)eq_lanes(oc / cmd->groups);
  const uint64_t k = taps * (uint64_t)quads((int32_t)(ic / cmd->groups)) * 4; /* < 2^43 */
  const uint64_t there =
      h->in1 == EQ_NONE16 ? c->p->section[EQ_SECTION_CONSTANTS].bytes : c->p->sram_bytes;
  const uint64_t limit = 2 * there; /* two weights a byte */
  if (k > limit || rows > limit || k * rows > limit)
    return eq_fail(c, "its weights are larger than where they lie");
  const uint64_t pad = ((uint64_t)ic + 63) / 64 * 64, lanes = eq_lanes(oc / cmd->groups);
  const uint64_t block = lanes < EQ_MAX_NP * 16 ? lanes : EQ_MAX_NP * 16;
  if (taps > c->p->max_taps) c->p->max_taps = taps;
  return eq_need_weights(c, h, k * rows, pad) && eq_need_unpacked(c, h, k * block) &&
         eq_need_addend(c, h, cmd->addend, cmd->add_rows) &&
         eq_need_rows(c, h->qparams, rows, h->flags & EQ_FLAG_LUT_GATE ? "bbfzlhg" : "bbfzlhf",
                      y->dtype);
}

/* Copies of the kernel rows that reach beyond the picture, for the tiles of one block. */
enum { PATCH_BYTES = 8192 };
typedef struct {
  int used;
  const int8_t *absent; /* a row of nothing but padding */
  int8_t bytes[PATCH_BYTES + EQ_SLACK];
} patches;

/* A kernel row from column x: `row` NULL stands for an absent row. NULL when there is no room. */
static const int8_t *patch(const eq_conv_job *j, patches *p, const int8_t *row, int64_t x) {
  const eq_gather *g = &j->gather;
  const int pixel = j->conv.k4 * 4, size = g->win.kw * pixel;
  if (!row && p->absent) return p->absent;
  if (p->used + size > PATCH_BYTES) return NULL;
  int8_t *to = p->bytes + p->used;
  p->used += size;
  int64_t begin = x < 0 ? -x : 0, end = g->w - x; /* columns inside */
  if (!row || begin > g->win.kw) begin = g->win.kw;
  if (end > g->win.kw) end = g->win.kw;
  if (end < begin) end = begin;
  for (int64_t kx = 0; kx < g->win.kw; kx++)
    if (kx < begin || kx >= end) memcpy(to + kx * pixel, g->pad, (size_t)pixel);
  if (begin < end)
    memcpy(to + begin * pixel, row + (x + begin) * pixel, (size_t)((end - begin) * pixel));
  if (!row) p->absent = to;
  return to;
}

/* Pointers of whole kernel rows for `count` pixels; false when a patch does not fit. */
static bool gather_rows(const eq_conv_job *j, patches *p, eq_cursor *cursor, int count, int mr,
                        const int8_t **at) {
  const eq_gather *g = &j->gather;
  const eq_window *w = &g->win;
  eq_cursor c = *cursor;
  while (count > 0) { /* pixels of one output row: some left of the picture, inside, right of it */
    const int run = (int)(count < g->ow - c.x ? count : g->ow - c.x);
    int begin = (int)(j->inside_first > c.x ? j->inside_first - c.x : 0);
    int end = (int)(j->inside_end > c.x ? j->inside_end - c.x : 0);
    if (begin > run) begin = run;
    if (end > run) end = run;
    if (end < begin) end = begin;
    const int64_t x = c.x * w->sw - w->pl, step = w->sw * g->sw;
    for (int ky = 0; ky < w->kh; ky++) {
      const int64_t y = c.y * w->sh - w->pt + (int64_t)ky * w->dh;
      const int8_t *row = y >= 0 && y < g->h ? g->in + c.n * g->sn + y * g->sh : NULL;
      const int8_t **to = at + ky * mr, *from = row ? row + x * g->sw + begin * step : NULL;
      for (int i = begin; i < end && row; i++, from += step) to[i] = from;
      for (int i = 0; i < run; i++) {
        if (row && i >= begin && i < end) i = end;
        if (i < run && !(to[i] = patch(j, p, row, x + (int64_t)i * w->sw))) return false;
      }
    }
    at += run;
    count -= run;
    c.x += run - 1;
    eq_cursor_step(g, &c);
  }
  *cursor = c;
  return true;
}

int eq_conv_first_channel(const eq_conv_job *j, int b) {
  return b / j->blocks * j->ocg + b % j->blocks * j->x->kernels->conv_np * 16;
}

eq_conv eq_conv_block(const eq_conv_job *j, int b, int *channels) {
  const int width = j->x->kernels->conv_np * 16;
  const int g = b / j->blocks, c0 = b % j->blocks * width;
  const size_t row = (size_t)g * (size_t)j->lanes + (size_t)c0;
  eq_conv a = j->conv;
  a.e.bias += row, a.e.wsum += row, a.e.m += row, a.e.zp += row;
  a.e.lo += row, a.e.hi += row, a.e.r += row;
  a.in_offset = (ptrdiff_t)g * j->icg;
  a.out_offset = ((ptrdiff_t)g * j->ocg + c0) * (a.e.out16 ? 2 : 1);
  *channels = j->ocg - c0 < width ? j->ocg - c0 : width;
  a.w += row / 16 * a.panel_bytes / (j->four ? 2 : 1);
  return a;
}

static void run_strips(const eq_conv_job *j, int64_t first, int64_t last) {
  const int64_t item = j->conv.e.out16 ? 2 : 1;
  const int32_t *s = j->out->strides;
  const eq_strips strips = {j->x->kernels, &j->gather,  &j->conv,    j->base,
                            s[0] * item,   s[1] * item, s[2] * item, j->ocg};
  while (first < last) {
    const int64_t n = eq_run_strip(&strips, first, last);
    eq_add_behind(&j->addend, first, n, 0, j->ocg);
    first += n;
  }
}

/* Of the pixels of one block and what lies behind them: near, unless that leaves few pixels for
 * each pass over the weights, or for each unpacking of them. */
enum { POINTS_NEAR = 24576, POINTS_MOST = 131072, ENOUGH_POINTS = 96, ENOUGH_TO_UNPACK = 208 };

/* The same for a pointwise layer whose pixels lie at one stride. */
static void run_points(const eq_conv_job *j, int64_t first, int64_t count, int b0, int b1,
                       int worker) {
  const eq_conv_points *k = j->x->kernels->conv_points;
  int8_t *unpacked = j->x->unpacked + (size_t)worker * j->x->unpacked_bytes;
  const int pixel = j->conv.k4 * 4, enough = j->four ? ENOUGH_TO_UNPACK : ENOUGH_POINTS;
  int most = POINTS_NEAR / pixel - EQ_POINTS_SLACK;
  if (most < enough) most = enough;
  if (most > POINTS_MOST / pixel - EQ_POINTS_SLACK) most = POINTS_MOST / pixel - EQ_POINTS_SLACK;
  const ptrdiff_t out_step = j->out->strides[2] * (ptrdiff_t)(j->conv.e.out16 ? 2 : 1);
  uint8_t bytes[POINTS_MOST + EQ_SLACK];
  while (count > 0) {
    const int n = (int)(count < most ? count : most);
    k->fill(bytes, j->gather.in + first * j->gather.sw, j->gather.sw, pixel, n);
    for (int b = b0; b < b1; b++) {
      int channels;
      eq_conv a = eq_conv_block(j, b, &channels);
      if (j->four) {
        const size_t panels = (size_t)(channels + 15) / 16;
        j->x->kernels->unpack4(unpacked, a.w, panels * a.panel_bytes / 2);
        a.w = unpacked;
      }
      k->run(&a, bytes, j->base + first * out_step, out_step, n, channels);
    }
    eq_add_behind(&j->addend, first, n, eq_conv_first_channel(j, b0), eq_conv_first_channel(j, b1));
    first += n, count -= n;
  }
}

/* All tiles of pixels [first, first + count), output blocks [b0, b1) counted over the groups. */
static void run_block(const eq_conv_job *j, int64_t first, int count, int b0, int b1, int worker) {
  const eq_kernels *k = j->x->kernels;
  const int mr = k->conv_mr, taps = j->conv.taps;
  const int8_t **pointers = j->x->pointers + (size_t)worker * j->x->pointer_count;
  int8_t *unpacked = j->x->unpacked + (size_t)worker * j->x->unpacked_bytes;
  const int tiles = (count + mr - 1) / mr;
  uint8_t *out[BLOCK_PIXELS + EQ_MAX_MR];
  bool joined[BLOCK_PIXELS];
  eq_cursor cursor = eq_cursor_at(&j->gather, first);
  patches extra;
  extra.used = 0, extra.absent = NULL;
  for (int t = 0; t < tiles; t++) {
    const int n = count - t * mr < mr ? count - t * mr : mr;
    const int8_t **at = pointers + (size_t)t * (size_t)(taps * mr);
    joined[t] = j->joined && gather_rows(j, &extra, &cursor, n, mr, at);
    if (!joined[t]) eq_gather_pointers(&j->gather, &cursor, n, 1, (size_t)mr, at);
    for (int i = n; i < mr; i++)
      for (int tap = 0; tap < (joined[t] ? j->gather.win.kh : taps); tap++)
        at[tap * mr + i] = at[tap * mr];
  }
  eq_output_pointers(j->base, j->out, first, count, out);
  for (int b = b0; b < b1; b++) {
    int channels;
    eq_conv a = eq_conv_block(j, b, &channels);
    const int8_t *w = a.w;
    if (j->four) a.w = unpacked;
    bool packed = j->four;
    if (packed && !k->conv4) {
      k->unpack4(unpacked, w, (size_t)(channels + 15) / 16 * a.panel_bytes / 2);
      packed = false;
    }
    const int kh = j->gather.win.kh, kw = j->gather.win.kw, k4 = a.k4;
    for (int t = 0; t < tiles; t++) {
      const int n = count - t * mr < mr ? count - t * mr : mr;
      a.taps = joined[t] ? kh : taps;
      a.k4 = joined[t] ? k4 * kw : k4;
      const int8_t *const *in = pointers + (size_t)t * (size_t)(taps * mr);
      if (packed)
        k->conv4(&a, w, unpacked, tiles > 1, in, out + t * mr, n, channels);
      else
        k->conv(&a, in, out + t * mr, n, channels);
      packed = false;
    }
  }
  eq_add_behind(&j->addend, first, count, eq_conv_first_channel(j, b0),
                eq_conv_first_channel(j, b1));
}

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  const eq_conv_job *j = arg;
  const int mr = j->x->kernels->conv_mr;
  int64_t first = 0, last = j->pixels;
  int b0 = 0, b1 = j->groups * j->blocks;
  if (j->by_channels)
    b0 = (int)begin, b1 = (int)end;
  else
    first = begin * j->unit, last = end * j->unit < last ? end * j->unit : last;
  const size_t bytes = (size_t)(j->groups * j->lanes) / 16 * j->conv.panel_bytes;
  eq_conv_job own;
  if (j->four && bytes <= EQ_UNPACKED) { /* few: all of them before the first block */
    int8_t *w = j->x->unpacked + (size_t)worker * j->x->unpacked_bytes;
    j->x->kernels->unpack4(w, j->conv.w, bytes / 2);
    own = *j, own.conv.w = w, own.four = false;
    j = &own;
  }
  if (j->strips && !j->four) {
    run_strips(j, first, last);
    return;
  }
  if (j->points && (!j->four || last - first >= EQ_PIXELS_TO_UNPACK)) {
    run_points(j, first, last - first, b0, b1, worker);
    return;
  }
  const int64_t step = (int64_t)j->block_tiles * mr;
  for (int64_t p = first, n; p < last; p += n) {
    n = j->lines ? eq_conv_by_lines(j, p, last, b0, b1, worker) : 0;
    if (n) continue;
    n = last - p < step ? last - p : step;
    if (j->lines && n > j->gather.ow - p % j->gather.ow) n = j->gather.ow - p % j->gather.ow;
    run_block(j, p, (int)n, b0, b1, worker);
  }
}

/* True when all pixels lie at one stride. */
static bool even(const edgeq_tensor *t) {
  return t->strides[1] == t->dims[2] * (int64_t)t->strides[2] &&
         (t->dims[0] == 1 || t->strides[0] == t->dims[1] * (int64_t)t->strides[1]);
}

void eq_run_conv(const eq_context *x, const eq_head *h) {
  const eq_cmd_conv *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const eq_kernels *k = x->kernels;
  const int groups = (int)cmd->groups, ic = in->dims[3], icg = ic / groups;
  const int ocg = out->dims[3] / groups, lanes = (int)eq_lanes((uint32_t)ocg);
  const int taps = cmd->kh * cmd->kw, k4 = quads(icg), width = k->conv_np * 16;
  const uint32_t rows = (uint32_t)(groups * lanes);
  const int8_t *weights = eq_weights(x, h);
  const size_t panel_bytes = (size_t)taps * (size_t)k4 * 64;
  eq_conv_job j = {.x = x,
                   .out = out,
                   .base = eq_data(x, h->out),
                   .gather = {.in = (const int8_t *)eq_data(x, h->in0),
                              .pad = weights + eq_weight_bytes(h, rows / 16 * panel_bytes),
                              .sn = in->strides[0],
                              .sh = in->strides[1],
                              .sw = in->strides[2],
                              .h = in->dims[1],
                              .w = in->dims[2],
                              .oh = out->dims[1],
                              .ow = out->dims[2],
                              .win = EQ_WINDOW(cmd)},
                   .conv = {.e = eq_epilogue_of(x, h),
                            .w = weights,
                            .panel_bytes = panel_bytes,
                            .taps = taps,
                            .k4 = k4},
                   .addend = eq_addend_of(x, h, cmd->addend, cmd->add_rows),
                   .four = h->flags & EQ_FLAG_WEIGHTS4,
                   .pixels = (int64_t)out->count / out->dims[3],
                   .groups = groups,
                   .icg = icg,
                   .ocg = ocg,
                   .lanes = lanes,
                   .blocks = (ocg + width - 1) / width,
                   .joined =
                       groups == 1 && cmd->kw > 1 && cmd->dw == 1 && in->strides[2] == k4 * 4};
  j.lines = k->conv_lines && groups == 1 && cmd->dw == 1 && ocg > 8 &&
            out->dims[2] >= EQ_LINE_QUAD && (taps > 1 || cmd->sh > 1 || cmd->sw > 1);
  j.strips = groups == 1 && ocg <= 8 && eq_strips_fit(k, &j.gather, &j.conv, j.joined);
  j.points = k->conv_points && taps == 1 && cmd->sh == 1 && cmd->sw == 1 && !cmd->pt && !cmd->pl &&
             groups == 1 && even(in) && even(out) && in->dims[1] == out->dims[1] &&
             in->dims[2] == out->dims[2] && ocg > 8 && ic <= 512;
  j.inside_first = (j.gather.win.pl + cmd->sw - 1) / cmd->sw;
  j.inside_end = in->dims[2] + j.gather.win.pl < cmd->kw
                     ? 0
                     : (in->dims[2] - cmd->kw + j.gather.win.pl) / cmd->sw + 1;
  if (j.gather.win.pl < 0) j.inside_first = 0;
  j.block_tiles = (int)(x->pointer_count / ((size_t)taps * (size_t)k->conv_mr));
  if (j.block_tiles * k->conv_mr > BLOCK_PIXELS) j.block_tiles = BLOCK_PIXELS / k->conv_mr;
  const int64_t tiles = (j.pixels + k->conv_mr - 1) / k->conv_mr,
                blocks = (int64_t)groups * j.blocks;
  j.by_channels = tiles < 2 * x->threads && blocks > tiles;
  /* whole rows, so that threads fill no line twice, unless they are too few */
  const int64_t picture_rows = j.pixels / out->dims[2];
  j.unit = j.lines && picture_rows >= 2 * x->threads ? out->dims[2] : k->conv_mr;
  const int64_t outputs = j.by_channels ? j.pixels * width : j.unit * (int64_t)out->dims[3];
  const int64_t cost =
      outputs * taps * k4 / 50 + outputs / (j.addend.add ? 6 : 16) + 2 * k->conv_mr;
  eq_split(x, j.by_channels ? blocks : (j.pixels + j.unit - 1) / j.unit, cost, run_part, &j);
}
