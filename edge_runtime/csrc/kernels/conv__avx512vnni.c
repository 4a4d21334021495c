/* conv, AVX-512 VNNI: 12 pixels x 32 channels in 24 registers. vpdpbusd multiplies unsigned by
 * signed, so x enters as x + 128 (x ^ 0x80) and the accumulator starts at bias - 128 * sum(w). */
#if defined(__x86_64__)
#include <string.h>
#include "epilogue_avx512.h"

enum { MR = 12 };

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
  __m512i sums[MR * PANELS];
#pragma GCC unroll 12
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < PANELS; j++) sums[i * PANELS + j] = acc[i][j];
  eq_finish512(&a->e, c0, channels, sums, PANELS, out, a->out_offset + c0 * (a->e.out16 ? 2 : 1),
               pixels);
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
