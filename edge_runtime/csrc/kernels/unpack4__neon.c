/* unpack4, NEON: shifts extend the signs of both halves, a zip puts them in order. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include "kernels.h"

void eq_unpack4__neon(int8_t *to, const int8_t *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 8) {
    const int8x8_t both = vld1_s8(from + i);
    const int8x8_t low = vshr_n_s8(vshl_n_s8(both, 4), 4), high = vshr_n_s8(both, 4);
    vst2_s8(to + 2 * i, (int8x8x2_t){{low, high}});
  }
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
