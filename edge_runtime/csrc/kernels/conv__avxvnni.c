/* conv, AVX-VNNI: 6 pixels x 16 channels in 12 registers. vpdpbusd multiplies unsigned by signed,
 * so x enters as x + 128 (x ^ 0x80) and the accumulator starts at bias - 128 * sum(w). */
#if defined(__x86_64__)
#include "epilogue_avx2.h"

enum { MR = 6 };
#define T EQ_TARGET_AVXVNNI

T EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels, const int PIXELS) {
  const __m256i flip = _mm256_set1_epi32((int)0x80808080);
  const int8_t *w = a->w;
  __m256i acc[MR][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; j++) {
    const __m256i wsum = eq_load256(a->e.wsum + 8 * j);
    const __m256i start =
        _mm256_sub_epi32(eq_load256(a->e.bias + 8 * j), _mm256_slli_epi32(wsum, 7));
#pragma GCC unroll 6
    for (int i = 0; i < PIXELS; i++) acc[i][j] = start;
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
#pragma GCC unroll 6
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)w);
      const __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32));
#pragma GCC unroll 6
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        const __m256i v = _mm256_xor_si256(_mm256_set1_epi32(four), flip);
        acc[i][0] = _mm256_dpbusd_avx_epi32(acc[i][0], v, w0);
        acc[i][1] = _mm256_dpbusd_avx_epi32(acc[i][1], v, w1);
      }
    }
  }
#pragma GCC unroll 2
  for (int j = 0; j < 2; j++) {
    const eq_panel256 p = eq_panel256_of(&a->e, 8 * j, channels - 8 * j);
    const ptrdiff_t at = a->out_offset + 8 * j * (a->e.out16 ? 2 : 1);
#pragma GCC unroll 6
    for (int i = 0; i < PIXELS; i++)
      if (i < pixels) eq_store256(&a->e, &p, acc[i][j], out[i] + at);
  }
}

T static void tile6(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 6);
}
T static void tile2(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 2);
}

void eq_conv__avxvnni(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels) {
  (pixels > 2 ? tile6 : tile2)(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
