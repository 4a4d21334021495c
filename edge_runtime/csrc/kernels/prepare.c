/* prepare.c: what a layer's epilogue has in common for all of its tiles, found once per run. */
#include <math.h>
#include "../isa.h"
#include "kernels.h"

/* Tables of 64 straight pieces that are not too steep for 16 bits. */
static bool pieces_of(const int16_t *table, int16_t *pieces) {
  int wrong = 0;
  for (int k = 0; k < EQ_PIECES; k++) {
    const int16_t *t = table + 8 * k;
    const int base = t[0], slope = t[1] - base;
    for (int i = 2; i <= 8; i++) wrong |= t[i] - base - slope * i;
    wrong |= slope < -4095 || slope > 4095;
    pieces[k] = (int16_t)base;
    pieces[EQ_PIECES + k] = (int16_t)(uint16_t)((uint32_t)slope << 3);
  }
  uint8_t *planes = (uint8_t *)(pieces + 2 * EQ_PIECES);
  for (int k = 0; k < 2 * EQ_PIECES; k++) {
    uint8_t *at = planes + k / EQ_PIECES * 2 * EQ_PIECES + k % EQ_PIECES;
    at[0] = (uint8_t)pieces[k], at[EQ_PIECES] = (uint8_t)((uint16_t)pieces[k] >> 8);
  }
  return !wrong;
}

/* Far enough from 2^31 that three roundings do not reach it. */
static const double LIMIT = 0x1p30;

/* True when the last product of channel c stays in int32. */
static bool tame(const eq_epilogue *e, int c, double products) {
  const double most = products * 128 * 128 + fabs((double)e->bias[c]);
  const double sum = most < 0x1p31 ? most : 0x1p31, r = fabs((double)e->r[c]);
  if (e->lut_kind == EQ_LUT_NONE) return sum * fabs((double)e->m[c]) < LIMIT;
  return (!e->step && !e->gate) || 32768 * r * (e->gate ? sum : 1) < LIMIT;
}

void eq_prepare(eq_epilogue *e, int lanes, int64_t products, int16_t *pieces) {
  e->words = e->small = true;
  for (int c = 0; c < lanes; c++) {
    const double r = e->lut_kind == EQ_LUT_NONE ? 0 : fabs((double)e->r[c]);
    const bool far = e->zp[c] < -16384 || e->zp[c] > 16384;
    e->words &= (e->out16 || !far) && (r == 0 || r >= 1e-30); /* that can be scaled by 2^-16 */
    e->small &= tame(e, c, (double)products);
  }
  if (e->lut_kind == EQ_LUT_LUT8) {
    e->words &= e->pre_zero >= -16384 && e->pre_zero <= 16384;
  } else if (e->lut_kind == EQ_LUT_LUT16) {
    int steep = e->pre_zero != 0;
    for (int i = 0; i < EQ_LUT16_INTERVALS; i++) {
      const int rise = e->table[i + 1] - e->table[i];
      steep |= rise != (int16_t)rise;
    }
    e->words &= !steep;
    e->pieces = pieces_of(e->table, pieces) ? pieces : NULL;
  }
}
