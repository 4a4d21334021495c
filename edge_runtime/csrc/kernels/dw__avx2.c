/* dw, AVX2: 16 channels at a time. Two taps are interleaved as [channel][tap] and widened to int16,
 * so that vpmaddwd adds two products per channel exactly. */
#if defined(__x86_64__)
#include "epilogue_avx2.h"

enum { MAX_PAIRS = 128, GROUP = 8 }; /* pairs of weights on the stack; pixels finished together */
#define T EQ_TARGET_AVX2

typedef struct {
  __m256i lo, hi; /* channels 0-7 and 8-15, pairs of taps as int16 */
} pair;

T EQ_INLINE __m128i load16(const int8_t *p) {
  return _mm_loadu_si128((const __m128i *)(const void *)p);
}

T EQ_INLINE pair interleave(__m128i a, __m128i b) {
  return (pair){_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)),
                _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b))};
}

/* All pixels of the 16 channels at c; PAIRS is constant after inlining, or the count itself. */
T EQ_INLINE void panel(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                       int c, const int PAIRS) {
  const int taps4 = (a->taps + 3) / 4 * 4;
  pair w[MAX_PAIRS];
  for (int q = 0; q < PAIRS; q++) {
    const int8_t *at = a->w + (ptrdiff_t)(2 * q) * a->lanes + c;
    const __m128i second = 2 * q + 1 < a->taps ? load16(at + a->lanes) : _mm_setzero_si128();
    w[q] = interleave(load16(at), second);
  }
  const __m256i bias0 = eq_load256(a->e.bias + c), bias1 = eq_load256(a->e.bias + c + 8);
  const ptrdiff_t at = (ptrdiff_t)c * (a->e.out16 ? 2 : 1);
  const int n = a->channels - c < 16 ? a->channels - c : 16;
  __m256i sums[GROUP][2];
  for (int i = 0; i < pixels; i++, in += taps4) {
    __m256i acc0 = bias0, acc1 = bias1;
#pragma GCC unroll 5
    for (int q = 0; q < PAIRS; q++) {
      const pair x = interleave(load16(in[2 * q] + c), load16(in[2 * q + 1] + c));
      acc0 = _mm256_add_epi32(acc0, _mm256_madd_epi16(x.lo, w[q].lo));
      acc1 = _mm256_add_epi32(acc1, _mm256_madd_epi16(x.hi, w[q].hi));
    }
    const int k = i % GROUP;
    sums[k][0] = acc0, sums[k][1] = acc1;
    if (k + 1 == GROUP || i + 1 == pixels)
      eq_finish256(&a->e, c, n, sums[0], 2, 2, out + i - k, at, k + 1);
  }
}

T static void panel_5(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int c) {
  panel(a, in, out, pixels, c, 5);
}
T static void panel_n(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                      int c) {
  panel(a, in, out, pixels, c, (a->taps + 1) / 2);
}

void eq_dw__avx2(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels) {
  const int pairs = (a->taps + 1) / 2;
  if (pairs > MAX_PAIRS) {
    eq_dw__scalar(a, in, out, pixels);
    return;
  }
  for (int c = 0; c < a->channels; c += 16)
    (pairs == 5 ? panel_5 : panel_n)(a, in, out, pixels, c); /* 5 pairs: 3x3 */
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
