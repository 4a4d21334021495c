/* sums_avx512.h: sums of pixels and bilinear blends in AVX-512, for rows__avx512vnni.c. */
#ifndef EQ_SUMS_AVX512_H
#define EQ_SUMS_AVX512_H
#include "epilogue_avx512.h"

/* acc[c] += the sum of 64 channels or `some` over the pixels. Sign bits are flipped and taken back
 * at the end; sums of 256 bytes fit 16 bits. Unpacks leave bytes 0 .. 7 of every 128-bit lane in
 * `low`, the others in `high`. */
EQ_TARGET EQ_INLINE void eq_sum_column512(int32_t *acc, const int8_t *x, ptrdiff_t stride,
                                          int64_t pixels, int n) {
  const __m512i none = _mm512_setzero_si512(), flip = _mm512_set1_epi8(-128);
  const __mmask64 some = ~0ull >> (64 - n);
  for (int64_t left = pixels; left > 0; left -= 256) {
    const int64_t count = left < 256 ? left : 256;
    __m512i low = none, high = none;
    for (int64_t i = 0; i < count; i++, x += stride) {
      const __m512i v = _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, x), flip);
      low = _mm512_add_epi16(low, _mm512_unpacklo_epi8(v, none));
      high = _mm512_add_epi16(high, _mm512_unpackhi_epi8(v, none));
    }
    const __m512i back = _mm512_set1_epi32((int)(128 * count));
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const __m128i l = _mm512_extracti32x4_epi32(low, k), h = _mm512_extracti32x4_epi32(high, k);
      const __m512i words = _mm512_cvtepu16_epi32(_mm256_set_m128i(h, l));
      const __mmask16 few = (__mmask16)(some >> 16 * k);
      const __m512i sum = _mm512_add_epi32(_mm512_maskz_loadu_epi32(few, acc + 16 * k),
                                           _mm512_sub_epi32(words, back));
      _mm512_mask_storeu_epi32(acc + 16 * k, few, sum);
    }
  }
}

EQ_TARGET EQ_INLINE void eq_sum_columns512(int32_t *acc, const int8_t *x, ptrdiff_t stride,
                                           int64_t pixels, int n) {
  for (int c = 0; c < n; c += 64)
    eq_sum_column512(acc + c, x + c, stride, pixels, n - c < 64 ? n - c : 64);
}

/* Few channels without gaps: several pixels count as one of whole registers. */
EQ_TARGET static void eq_sum_pixels512(int32_t *acc, const int8_t *x, ptrdiff_t stride,
                                       int64_t pixels, int n) {
  enum { WIDE = 512 };
  int group = 64; /* pixels of `group` * n / 64 registers */
  while (group > 1 && group * n % 128 == 0) group /= 2;
  if (stride == n && group > 1 && group * n <= WIDE && pixels >= group) {
    int32_t sums[WIDE] = {0};
    const int wide = group * n;
    eq_sum_columns512(sums, x, wide, pixels / group, wide);
    for (int i = 0; i < wide; i += n)
      for (int c = 0; c < n; c++) acc[c] += sums[i + c];
    x += pixels / group * wide;
    pixels %= group;
  }
  eq_sum_columns512(acc, x, stride, pixels, n);
}

/* ---- bilinear ---- */

/* 64 bytes of the sum of four corners times their weights, which is what blending down and then
 * along comes to in integers: the weights are products of 11-bit ones, so up to 2^22, and VPDPBUSD
 * takes their bytes one after the other. COARSE: the lower two are zero. */
EQ_TARGET EQ_INLINE __m512i eq_blend512(const __m512i *corner, const __m512i *weight,
                                        const bool COARSE) {
  const __m512i top[2] = {_mm512_unpacklo_epi8(corner[0], corner[1]),
                          _mm512_unpackhi_epi8(corner[0], corner[1])};
  const __m512i low[2] = {_mm512_unpacklo_epi8(corner[2], corner[3]),
                          _mm512_unpackhi_epi8(corner[2], corner[3])};
  __m512i v[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    const __m512i x = k % 2 ? _mm512_unpackhi_epi16(top[k / 2], low[k / 2])
                            : _mm512_unpacklo_epi16(top[k / 2], low[k / 2]);
    if (COARSE) {
      const __m512i half = _mm512_set1_epi32(1 << (2 * EQ_LERP_BITS - 1 - 16));
      v[k] = _mm512_srai_epi32(_mm512_dpbusd_epi32(half, weight[2], x), 2 * EQ_LERP_BITS - 16);
    } else {
      const __m512i half = _mm512_set1_epi32(1 << (2 * EQ_LERP_BITS - 1)),
                    none = _mm512_setzero_si512();
      const __m512i high = _mm512_dpbusd_epi32(none, weight[2], x);
      const __m512i middle = _mm512_dpbusd_epi32(_mm512_slli_epi32(high, 8), weight[1], x);
      const __m512i all =
          _mm512_dpbusd_epi32(_mm512_add_epi32(_mm512_slli_epi32(middle, 8), half), weight[0], x);
      v[k] = _mm512_srai_epi32(all, 2 * EQ_LERP_BITS);
    }
  }
  return _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
}

EQ_TARGET EQ_INLINE void eq_lerp_run512(int8_t *y, const int8_t *const *corner,
                                        const __m512i *weight, int n, const bool COARSE) {
  for (int c = 0; c < n; c += 64) {
    const __mmask64 some = n - c < 64 ? ~0ull >> (64 - (n - c)) : ~0ull;
    __m512i v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) v[k] = _mm512_maskz_loadu_epi8(some, corner[k] + c);
    _mm512_mask_storeu_epi8(y + c, some, eq_blend512(v, weight, COARSE));
  }
}

/* Contiguous channels; wy and wx are weights of the lower and the right corners. */
EQ_TARGET static void eq_lerp512(int8_t *y, const int8_t *const *corner, int32_t wy, int32_t wx,
                                 int n) {
  const uint32_t one = 1u << EQ_LERP_BITS, down = (uint32_t)wy, along = (uint32_t)wx;
  const uint32_t w[4] = {(one - down) * (one - along), (one - down) * along, down * (one - along),
                         down * along};
  __m512i weight[3];
#pragma GCC unroll 3
  for (int k = 0; k < 3; k++)
    weight[k] = _mm512_set1_epi32((int)((w[0] >> 8 * k & 255) | (w[1] >> 8 * k & 255) << 8 |
                                        (w[2] >> 8 * k & 255) << 16 | (w[3] >> 8 * k & 255) << 24));
  if ((w[0] | w[1] | w[2] | w[3]) & 0xffff)
    eq_lerp_run512(y, corner, weight, n, false);
  else
    eq_lerp_run512(y, corner, weight, n, true);
}
#endif
