/* prepare.c: what a layer's epilogue has in common for all of its tiles, found once per run. */
#include <string.h>
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

/* Bits of |x|; floats that are not NaN compare as these do. */
static uint32_t magnitude(const float *x) {
  uint32_t bits;
  memcpy(&bits, x, sizeof bits);
  return bits & 0x7fffffff;
}

void eq_prepare(eq_epilogue *e, int lanes, int16_t *pieces) {
  const uint32_t half = 0x3f000000, least = 0x0da24260; /* 0.5 and 1e-30 */
  uint32_t wide = 0, far = 0, tiny = 0;
  for (int c = 0; c < lanes; c++) {
    wide |= magnitude(e->m + c) >= half;
    far |= (uint32_t)e->zp[c] + 16384 > 32768;
  }
  for (int c = 0; c < lanes && e->lut_kind != EQ_LUT_NONE; c++)
    tiny |= magnitude(e->r + c) - 1 < least - 1;
  e->small = !wide;
  e->words = !tiny && (e->out16 || !far);
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
