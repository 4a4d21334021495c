/* knots.c: recognise tables of 64 straight pieces. */
#include "kernels.h"

bool eq_knots(const int16_t *table, int32_t *knots) {
  int wrong = 0;
  for (int k = 0; k < EQ_KNOTS; k++) {
    const int16_t *t = table + 8 * k;
    const int base = t[0], slope = t[1] - base;
    for (int i = 2; i <= 8; i++) wrong |= t[i] - base - slope * i;
    wrong |= slope != (int16_t)slope;
    knots[k] = (int32_t)((uint32_t)base & 0xffff) | (int32_t)((uint32_t)slope << 16);
  }
  return !wrong;
}
