/* unpack4, scalar: the obvious truth of two weights a byte. */
#include "kernels.h"

void eq_unpack4__scalar(int8_t *to, const int8_t *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    const int low = from[i] & 15, high = from[i] >> 4 & 15;
    to[2 * i] = (int8_t)(low < 8 ? low : low - 16);
    to[2 * i + 1] = (int8_t)(high < 8 ? high : high - 16);
  }
}
