/* conv, AVX-512 VNNI: 12 pixels x 32 channels in 24 registers. vpdpbusd multiplies unsigned by
 * signed, so x enters as x + 128 (x ^ 0x80) and the accumulator starts at bias - 128 * sum(w). */
#if defined(__x86_64__)
#include <string.h>
#include "epilogue_avx512.h"

enum { MR = 12 };

/* True when a panel's products fit int32 and its zero points int8: then saturating packs and bounds
 * on bytes give what bounds before the rounding give. */
EQ_TARGET EQ_INLINE bool narrow(const eq_conv *a, int c) {
  const __m512 m = _mm512_abs_ps(_mm512_loadu_ps(a->e.m + c));
  const __m512i zp = _mm512_abs_epi32(_mm512_loadu_si512(a->e.zp + c));
  return !(_mm512_cmp_ps_mask(m, _mm512_set1_ps(0.5f), _CMP_NLT_UQ) |
           _mm512_cmpgt_epi32_mask(zp, _mm512_set1_epi32(128)));
}

/* Two panels, two pixels at a time. vpacks* interleave 128-bit lanes; `order` undoes that. */
EQ_TARGET EQ_INLINE void put_pairs(const eq_conv *a, const __m512i (*acc)[2], uint8_t *const *out,
                                   ptrdiff_t at, int pixels, int c, const int PIXELS) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512 m0 = _mm512_loadu_ps(a->e.m + c), m1 = _mm512_loadu_ps(a->e.m + c + 16);
#define ROW(name) _mm512_loadu_si512(a->e.name + c), _mm512_loadu_si512(a->e.name + c + 16)
  const __m512i zp = _mm512_packs_epi32(ROW(zp));
  __m512i lo = _mm512_packs_epi32(ROW(lo)), hi = _mm512_packs_epi32(ROW(hi));
#undef ROW
  lo = _mm512_packs_epi16(lo, lo), hi = _mm512_packs_epi16(hi, hi);
#pragma GCC unroll 6
  for (int i = 0; i < PIXELS; i += 2) {
    __m512i two[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
      const __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[i + k][0]), m0));
      const __m512i y = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[i + k][1]), m1));
      two[k] = _mm512_adds_epi16(_mm512_packs_epi32(x, y), zp);
    }
    __m512i v = _mm512_packs_epi16(two[0], two[1]);
    v = _mm512_min_epi8(_mm512_max_epi8(v, lo), hi);
    v = _mm512_permutexvar_epi32(order, v);
    if (i < pixels)
      _mm256_storeu_si256((__m256i *)(void *)(out[i] + at), _mm512_castsi512_si256(v));
    if (i + 1 < pixels)
      _mm256_storeu_si256((__m256i *)(void *)(out[i + 1] + at), _mm512_extracti64x4_epi64(v, 1));
  }
}

/* One whole panel of bytes without a table. */
EQ_TARGET EQ_INLINE void put_panel(const eq_conv *a, const __m512i (*acc)[2], uint8_t *const *out,
                                   ptrdiff_t at, int pixels, int c, int j, const int PIXELS) {
  const eq_panel512 p = eq_panel512_of(&a->e, c, 16);
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++)
    if (i < pixels)
      _mm_storeu_si128((__m128i *)(void *)(out[i] + at),
                       _mm512_cvtsepi32_epi8(eq_apply512(acc[i][j], &p.pre)));
}

/* Pixels 0..pixels-1 with PIXELS >= pixels accumulators each; both constants after inlining. */
EQ_TARGET EQ_INLINE void tile(const eq_conv *a, const int8_t *const *in, uint8_t *const *out,
                              int pixels, int c0, int channels, const int PIXELS,
                              const int PANELS) {
  const __m512i flip = _mm512_set1_epi32((int)0x80808080);
  const int8_t *w = a->w + (size_t)c0 / 16 * a->panel_bytes;
  __m512i acc[MR][2];
#pragma GCC unroll 2
  for (int j = 0; j < PANELS; j++) {
    const __m512i wsum = _mm512_loadu_si512(a->e.wsum + c0 + 16 * j);
    const __m512i start =
        _mm512_sub_epi32(_mm512_loadu_si512(a->e.bias + c0 + 16 * j), _mm512_slli_epi32(wsum, 7));
#pragma GCC unroll 12
    for (int i = 0; i < PIXELS; i++) acc[i][j] = start;
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
#pragma GCC unroll 12
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = PANELS == 2 ? _mm512_loadu_si512(w + a->panel_bytes) : w0;
#pragma GCC unroll 12
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        const __m512i v = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
        acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], v, w0);
        if (PANELS == 2) acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], v, w1);
      }
    }
  }
  const ptrdiff_t size = a->e.out16 ? 2 : 1;
  if (PANELS == 2 && channels >= 32 && size == 1 && a->e.lut_kind == EQ_LUT_NONE && narrow(a, c0) &&
      narrow(a, c0 + 16)) {
    put_pairs(a, acc, out, a->out_offset + c0, pixels, c0, PIXELS);
    return;
  }
#pragma GCC unroll 2
  for (int j = 0; j < PANELS; j++) {
    const int c = c0 + 16 * j;
    const ptrdiff_t at = a->out_offset + c * size;
    if (a->e.lut_kind == EQ_LUT_NONE && channels - 16 * j >= 16 && size == 1) {
      put_panel(a, acc, out, at, pixels, c, j, PIXELS);
    } else {
      __m512i sums[MR];
#pragma GCC unroll 12
      for (int i = 0; i < PIXELS; i++) sums[i] = acc[i][j];
      eq_finish512(&a->e, c, channels - 16 * j, sums, 1, out, at, pixels);
    }
  }
}

#define TILE(pixels_, panels_)                                                                     \
  EQ_TARGET static void tile_##pixels_##x##panels_(const eq_conv *a, const int8_t *const *in,      \
                                                   uint8_t *const *out, int pixels, int c0,        \
                                                   int channels) {                                 \
    tile(a, in, out, pixels, c0, channels, pixels_, panels_);                                      \
  }
TILE(12, 2)
TILE(6, 2)
TILE(2, 2)
TILE(12, 1)
TILE(6, 1)
TILE(2, 1)

void eq_conv__avx512vnni(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                         int c0, int channels) {
  const int size = pixels > 6 ? 2 : pixels > 2 ? 1 : 0;
  static eq_conv_fn *const tiles[2][3] = {{tile_2x1, tile_6x1, tile_12x1},
                                          {tile_2x2, tile_6x2, tile_12x2}};
  tiles[channels > 16][size](a, in, out, pixels, c0, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
