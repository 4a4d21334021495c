/* conv, AVX2: 3 pixels x 16 channels. vpmaddubsw would saturate, so both sides widen to int16 and
 * vpmaddwd sums pairs exactly: each register holds 4 channels times 2 partial sums. */
#if defined(__x86_64__)
#include "epilogue_avx2.h"

enum { MR = 3 };
#define T EQ_TARGET_AVX2

/* Partial sums of channels 0-3 and 4-7 -> the sums of channels 0-7. hadd works per 128-bit lane:
 * 0 1 4 5 | 2 3 6 7, which the permute of 64-bit pairs puts in order. */
T EQ_INLINE __m256i join(__m256i a, __m256i b) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}

T EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int channels, const int PIXELS) {
  const int8_t *w = a->w;
  __m256i acc[MR][4];
#pragma GCC unroll 3
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) acc[i][j] = _mm256_setzero_si256();
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
#pragma GCC unroll 3
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += 64) {
      __m256i v[MR];
#pragma GCC unroll 3
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        v[i] = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four)));
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        const __m256i wj =
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(w + 16 * j)));
#pragma GCC unroll 3
        for (int i = 0; i < PIXELS; i++)
          acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(v[i], wj));
      }
    }
  }
#pragma GCC unroll 2
  for (int j = 0; j < 2; j++) {
    const eq_panel256 p = eq_panel256_of(&a->e, 8 * j, channels - 8 * j);
    const __m256i bias = eq_load256(a->e.bias + 8 * j);
    const ptrdiff_t at = a->out_offset + 8 * j * (a->e.out16 ? 2 : 1);
#pragma GCC unroll 3
    for (int i = 0; i < PIXELS; i++)
      if (i < pixels)
        eq_store256(&a->e, &p, _mm256_add_epi32(bias, join(acc[i][2 * j], acc[i][2 * j + 1])),
                    out[i] + at);
  }
}

T static void tile3(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 3);
}
T static void tile1(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                    int channels) {
  tile(a, in, out, pixels, channels, 1);
}

void eq_conv__avx2(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                   int channels) {
  (pixels > 1 ? tile3 : tile1)(a, in, out, pixels, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
