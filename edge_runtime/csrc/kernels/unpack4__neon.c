/* unpack4, NEON: shifts part the halves and extend their signs. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include "kernels.h"

void eq_unpack4__neon(int8_t *to, const int8_t *from, size_t bytes) {
  for (; bytes >= 32; to += 64, from += 32, bytes -= 32)
    for (int i = 0; i < 32; i += 16) {
      const int8x16_t both = vld1q_s8(from + i);
      vst1q_s8(to + i, vshrq_n_s8(vshlq_n_s8(both, 4), 4));
      vst1q_s8(to + 32 + i, vshrq_n_s8(both, 4));
    }
  eq_unpack4__scalar(to, from, bytes);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
