/* epilogue.h: from one int32 accumulator to one output integer; the truth of every variant. */
#ifndef EDGEQ_EPILOGUE_H
#define EDGEQ_EPILOGUE_H
#include "../isa.h"
#include "../numerics.h"
#include "kernels.h"

/* `acc` includes the bias; c counts channels from the start of the rows. */
EQ_INLINE int32_t eq_epilogue_one(const eq_epilogue *e, int32_t acc, int c) {
  if (e->lut_kind == EQ_LUT_NONE) return eq_requantize(acc, e->m[c], e->zp[c], e->lo[c], e->hi[c]);
  int32_t t = e->lut_kind == EQ_LUT_LUT8
                  ? eq_lut8(eq_requantize(acc, e->m[c], e->pre_zero, -128, 127), e->table)
                  : eq_lut16(eq_requantize(acc, e->m[c], e->pre_zero, -32768, 32767), e->table);
  if (e->gate) return eq_gate(acc, e->r[c], t, e->zp[c], e->lo[c], e->hi[c]);
  if (e->step) return eq_requantize(t, e->r[c], e->zp[c], e->lo[c], e->hi[c]);
  return e->out16 ? t : eq_clamp(t, -128, 127);
}

/* Write channel c of the output pixel at `out`. */
EQ_INLINE void eq_epilogue_put(const eq_epilogue *e, uint8_t *out, int c, int32_t y) {
  if (e->out16)
    ((int16_t *)(void *)out)[c] = (int16_t)y;
  else
    ((int8_t *)out)[c] = (int8_t)y;
}
#endif
