/* unpack4, scalar: the obvious truth of two weights a byte. */
#include "kernels.h"

static int8_t nibble(int four) { return (int8_t)(four < 8 ? four : four - 16); }

void eq_unpack4__scalar(int8_t *to, const int8_t *from, size_t bytes) {
  while (bytes > 0) {
    const size_t half = bytes < 32 ? bytes : 32;
    for (size_t i = 0; i < half; i++) {
      to[i] = nibble(from[i] & 15);
      to[half + i] = nibble(from[i] >> 4 & 15);
    }
    to += 2 * half, from += half, bytes -= half;
  }
}
