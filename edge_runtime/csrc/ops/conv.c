/* conv.c: CONV, dense and grouped convolution and fully connected layers, without im2col.
 * A tile is conv_mr output pixels; the pointers of its taps are gathered once and used for every
 * block of output channels. */
#include "ops.h"

enum { BLOCK_PIXELS = 192 }; /* pixels whose pointers are gathered together, at most */

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
  const uint64_t limit = c->p->section[EQ_SECTION_CONSTANTS].bytes;
  if (k > limit || rows > limit || k * rows > limit)
    return eq_fail(c, "weights do not fit in CONSTANTS");
  const uint64_t pad = ((uint64_t)ic + 63) / 64 * 64;
  if (taps > c->p->max_taps) c->p->max_taps = taps;
  return eq_need_bytes(c, EQ_SECTION_CONSTANTS, h->constants, k * rows + pad, EQ_ALIGN) &&
         eq_need_rows(c, h->qparams, rows, h->flags & EQ_FLAG_LUT_GATE ? "bbfzlhg" : "bbfzlhf", y->dtype);
}

typedef struct {
  const eq_context *x;
  const edgeq_tensor *out;
  uint8_t *base; /* of out */
  eq_gather gather;
  eq_conv conv; /* of group 0 */
  int64_t pixels;
  int groups, icg, ocg, lanes, blocks; /* blocks of conv_np panels in a group */
  int tile_pixels, block_tiles;
  bool by_channels; /* threads share output channels, not pixels */
} job;

/* All tiles of pixels [first, first + count), output blocks [b0, b1) counted over the groups. */
static void run_block(const job *j, int64_t first, int count, int b0, int b1, int worker) {
  const eq_kernels *k = j->x->kernels;
  const int mr = k->conv_mr, taps = j->conv.taps, width = k->conv_np * 16;
  const int8_t **pointers = j->x->pointers + (size_t)worker * j->x->pointer_count;
  const int tiles = (count + mr - 1) / mr;
  uint8_t *out[BLOCK_PIXELS + EQ_MAX_MR];
  for (int t = 0; t < tiles; t++) {
    const int n = count - t * mr < mr ? count - t * mr : mr;
    const int8_t **at = pointers + (size_t)t * (size_t)(taps * mr);
    eq_gather_pointers(&j->gather, first + t * mr, n, 1, (size_t)mr, at);
    for (int i = n; i < mr; i++)
      for (int tap = 0; tap < taps; tap++) at[tap * mr + i] = at[tap * mr];
  }
  eq_output_pointers(j->base, j->out, first, count, out);
  for (int b = b0; b < b1; b++) {
    const int g = b / j->blocks, c0 = b % j->blocks * width;
    const int channels = j->ocg - c0 < width ? j->ocg - c0 : width;
    const size_t row = (size_t)g * (size_t)j->lanes;
    eq_conv a = j->conv;
    a.e.bias += row, a.e.wsum += row, a.e.m += row, a.e.zp += row;
    a.e.lo += row, a.e.hi += row, a.e.r += row;
    a.w += row / 16 * a.panel_bytes;
    a.in_offset = (ptrdiff_t)g * j->icg;
    a.out_offset = (ptrdiff_t)g * j->ocg * (a.e.out16 ? 2 : 1);
    for (int t = 0; t < tiles; t++) {
      const int n = count - t * mr < mr ? count - t * mr : mr;
      k->conv(&a, pointers + (size_t)t * (size_t)(taps * mr), out + t * mr, n, c0, channels);
    }
  }
}

static void run_part(void *arg, int64_t begin, int64_t end, int worker) {
  const job *j = arg;
  const int mr = j->x->kernels->conv_mr;
  int64_t first = 0, last = j->pixels;
  int b0 = 0, b1 = j->groups * j->blocks;
  if (j->by_channels)
    b0 = (int)begin, b1 = (int)end;
  else
    first = begin * mr, last = end * mr < last ? end * mr : last;
  const int64_t step = (int64_t)j->block_tiles * mr;
  for (int64_t p = first; p < last; p += step)
    run_block(j, p, (int)(last - p < step ? last - p : step), b0, b1, worker);
}

void eq_run_conv(const eq_context *x, const eq_head *h) {
  const eq_cmd_conv *cmd = (const void *)h;
  const edgeq_tensor *in = eq_tensor_of(x, h->in0), *out = eq_tensor_of(x, h->out);
  const eq_program *p = x->program;
  const eq_kernels *k = x->kernels;
  const int groups = (int)cmd->groups, ic = in->dims[3], icg = ic / groups;
  const int ocg = out->dims[3] / groups, lanes = (int)eq_lanes((uint32_t)ocg);
  const int taps = cmd->kh * cmd->kw, k4 = quads(icg), width = k->conv_np * 16;
  const uint32_t rows = (uint32_t)(groups * lanes);
  const int8_t *weights = eq_constants(p, h->constants);
  const size_t panel_bytes = (size_t)taps * (size_t)k4 * 64;
#define ROW(name) eq_row(p, h->qparams, rows, EQ_CONV_ROW_##name)
  job j = {.x = x,
           .out = out,
           .base = eq_data(x, h->out),
           .gather = {.in = (const int8_t *)eq_data(x, h->in0),
                      .pad = weights + rows / 16 * panel_bytes,
                      .sn = in->strides[0],
                      .sh = in->strides[1],
                      .sw = in->strides[2],
                      .h = in->dims[1],
                      .w = in->dims[2],
                      .oh = out->dims[1],
                      .ow = out->dims[2],
                      .win = EQ_WINDOW(cmd)},
           .conv = {.e = {.bias = ROW(BIAS),
                          .wsum = ROW(WSUM),
                          .m = ROW(M),
                          .zp = ROW(ZP),
                          .lo = ROW(LO),
                          .hi = ROW(HI),
                          .r = ROW(R),
                          .table = h->lut_kind ? eq_lut(p, h->lut) : NULL,
                          .lut_kind = h->lut_kind,
                          .step = h->flags & EQ_FLAG_LUT_STEP,
.gate = h->flags & EQ_FLAG_LUT_GATE,
                          .out16 = out->dtype == EDGEQ_INT16,
                          .pre_zero = cmd->pre_zero},
                    .w = weights,
                    .panel_bytes = panel_bytes,
                    .taps = taps,
                    .k4 = k4},
           .pixels = (int64_t)out->count / out->dims[3],
           .groups = groups,
           .icg = icg,
           .ocg = ocg,
           .lanes = lanes,
           .blocks = (ocg + width - 1) / width};
#undef ROW
  j.block_tiles = (int)(x->pointer_count / ((size_t)taps * (size_t)k->conv_mr));
  if (j.block_tiles * k->conv_mr > BLOCK_PIXELS) j.block_tiles = BLOCK_PIXELS / k->conv_mr;
  const int64_t tiles = (j.pixels + k->conv_mr - 1) / k->conv_mr,
                blocks = (int64_t)groups * j.blocks;
  j.by_channels = tiles < 2 * x->threads && blocks > tiles;
  const int64_t macs =
      (j.by_channels ? j.pixels * width : k->conv_mr * (int64_t)out->dims[3]) * taps * k4 * 4;
  eq_split(x, j.by_channels ? blocks : tiles, macs / 64 + 1, run_part, &j);
}
