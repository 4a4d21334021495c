/* epilogue.c: what CONV and DWCONV hand their kernels to finish accumulators with. What does not
 * change from run to run is found once, when the program is opened. */
#include <stdlib.h>
#include "ops.h"

/* Channels of the rows: every group of CONV starts on a fresh panel. */
static uint32_t rows_of(const eq_program *p, const eq_head *h) {
  const uint32_t channels = (uint32_t)p->tensors[h->out].dims[3];
  const uint32_t groups = h->opcode == EQ_OP_CONV ? ((const eq_cmd_conv *)h)->groups : 1;
  return groups * eq_lanes(channels / groups);
}

/* Products of one sum. */
static int64_t products_of(const eq_program *p, const eq_head *h) {
  if (h->opcode == EQ_OP_DWCONV) {
    const eq_cmd_dwconv *dw = (const void *)h;
    return (int64_t)dw->kh * dw->kw;
  }
  const eq_cmd_conv *conv = (const void *)h;
  return (int64_t)conv->kh * conv->kw * (p->tensors[h->in0].dims[3] / (int32_t)conv->groups);
}

static eq_epilogue rows(const eq_program *p, const eq_head *h) {
  const uint32_t lanes = rows_of(p, h);
#define ROW(name) eq_row(p, h->qparams, lanes, EQ_CONV_ROW_##name) /* as those of DWCONV */
  return (eq_epilogue){.bias = ROW(BIAS),
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
                       .out16 = p->tensors[h->out].dtype == EDGEQ_INT16,
                       .pre_zero = h->opcode == EQ_OP_CONV ? ((const eq_cmd_conv *)h)->pre_zero
                                                           : ((const eq_cmd_dwconv *)h)->pre_zero};
#undef ROW
}

static bool convolves(const eq_head *h) {
  return h->opcode == EQ_OP_CONV || h->opcode == EQ_OP_DWCONV;
}

static bool has_lut16(const eq_head *h) {
  return (convolves(h) || h->opcode == EQ_OP_LUT) && h->lut_kind == EQ_LUT_LUT16;
}

eq_ready *eq_make_ready(const eq_program *p, int16_t **pieces) {
  size_t tables = 0, next = 0;
  for (uint32_t i = 0; i < p->command_count; i++) tables += has_lut16(&p->commands[i]);
  eq_ready *ready = calloc(p->command_count + 1u, sizeof *ready);
  *pieces = calloc(tables + 1, EQ_PIECES_ROOM * sizeof **pieces);
  if (!ready || !*pieces) {
    free(ready);
    return NULL;
  }
  for (uint32_t i = 0; i < p->command_count; i++) {
    const eq_head *h = &p->commands[i];
    if (!convolves(h) && !has_lut16(h)) continue;
    eq_epilogue e = {.lut_kind = EQ_LUT_LUT16, .out16 = true}; /* LUT: the table alone */
    if (convolves(h))
      e = rows(p, h);
    else
      e.table = eq_lut(p, h->lut);
    const bool sums = convolves(h);
    eq_prepare(&e, sums ? (int)rows_of(p, h) : 0, sums ? products_of(p, h) : 0, *pieces + next);
    ready[i] = (eq_ready){e.pieces, e.words, e.small};
    if (has_lut16(h)) next += EQ_PIECES_ROOM;
  }
  return ready;
}

eq_epilogue eq_epilogue_of(const eq_context *x, const eq_head *h) {
  const eq_ready *ready = &x->ready[h - x->program->commands];
  eq_epilogue e = rows(x->program, h);
  e.pieces = ready->pieces, e.words = ready->words, e.small = ready->small;
  return e;
}
