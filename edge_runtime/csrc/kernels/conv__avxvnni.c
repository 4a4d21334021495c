/* conv, AVX-VNNI. */
#if defined(__x86_64__)
#include "product_avxvnni.h"

#include "conv_avx2.h"

void eq_conv__avxvnni(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels) {
  conv(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
