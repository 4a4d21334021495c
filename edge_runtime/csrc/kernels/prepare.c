/* prepare.c: what a layer's epilogue has in common for all of its tiles, found once per run. */
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
  return !wrong;
}

void eq_prepare(eq_epilogue *e, int lanes, int16_t *pieces) {
  bool words = e->lut_kind != EQ_LUT_LUT8 || (e->pre_zero >= -16384 && e->pre_zero <= 16384);
  bool small = true;
  for (int c = 0; c < lanes; c++) {
    const float m = e->m[c], r = e->r[c] < 0 ? -e->r[c] : e->r[c];
    words &= e->out16 || (e->zp[c] >= -16384 && e->zp[c] <= 16384);
    words &= r >= 1e-30f || r == 0.0f;
    small &= m > -0.5f && m < 0.5f;
  }
  if (e->lut_kind == EQ_LUT_LUT16) {
    int steep = e->pre_zero != 0;
    for (int i = 0; i < EQ_LUT16_INTERVALS; i++) {
      const int rise = e->table[i + 1] - e->table[i];
      steep |= rise != (int16_t)rise;
    }
    words &= !steep;
    e->pieces = pieces_of(e->table, pieces) ? pieces : NULL;
  }
  e->words = words, e->small = small;
}
