/* conv, AVX-512 VNNI: 24 registers of sums, as 12 pixels x 32 channels or 24 x 16. vpdpbusd
 * multiplies unsigned by signed: x enters as x + 128 (x ^ 0x80), sums start at
 * bias - 128 * sum(w). */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"
#include "nibbles_avx512.h"

enum { MR = 24 };

/* 64 weights of a panel: as they are, or from two a byte and then kept at `to`, unless NULL. */
EQ_TARGET EQ_INLINE __m512i weights(const int8_t *w, int8_t *to, const bool FOUR) {
  if (!FOUR) return _mm512_loadu_si512(w);
  const __m512i v = eq_nibbles512(w);
  if (to) _mm512_storeu_si512(to, v);
  return v;
}

/* Pixels 0..pixels-1 with PIXELS >= pixels sums per panel; both constants after inlining. */
EQ_TARGET EQ_INLINE void tile(const eq_conv *a, const int8_t *w, int8_t *to,
                              const int8_t *const *in, uint8_t *const *out, int pixels,
                              int channels, const int PIXELS, const int PANELS, const bool FOUR) {
  const __m512i flip = _mm512_set1_epi32((int)0x80808080);
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes, step = FOUR ? 32 : 64;
  __m512i acc[MR];
#pragma GCC unroll 2
  for (int j = 0; j < PANELS; j++) {
    const __m512i start = eq_start512(&a->e, 16 * j);
#pragma GCC unroll 24
    for (int i = 0; i < PIXELS; i++) acc[i * PANELS + j] = start;
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MR];
#pragma GCC unroll 24
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += step) {
      const __m512i w0 = weights(w, to, FOUR);
      const __m512i w1 =
          PANELS == 2 ? weights(w + panel * step / 64, to ? to + panel : NULL, FOUR) : w0;
      if (to) to += 64;
#pragma GCC unroll 24
      for (int i = 0; i < PIXELS; i++) {
        int32_t four;
        memcpy(&four, x[i] + 4 * k, 4);
        const __m512i v = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
        acc[i * PANELS] = _mm512_dpbusd_epi32(acc[i * PANELS], v, w0);
        if (PANELS == 2) acc[i * PANELS + 1] = _mm512_dpbusd_epi32(acc[i * PANELS + 1], v, w1);
      }
    }
  }
  __m512i sums[MR];
#pragma GCC unroll 24
  for (int i = 0; i < PIXELS * PANELS; i++) sums[i] = acc[i];
  eq_finish512(&a->e, 0, channels, sums, PANELS, out, a->out_offset, pixels);
}

#define TILE(pixels_, panels_)                                                                     \
  EQ_TARGET static void tile_##pixels_##x##panels_(                                                \
      const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels, int channels) {  \
    tile(a, a->w, NULL, in, out, pixels, channels, pixels_, panels_, false);                       \
  }
#define TILE4(pixels_)                                                                             \
  EQ_TARGET static void tile4_##pixels_(const eq_conv *a, const int8_t *packed, int8_t *to,        \
                                        const int8_t *const *in, uint8_t *const *out, int pixels,  \
                                        int channels) {                                            \
    tile(a, packed, to, in, out, pixels, channels, pixels_, 2, true);                              \
  }
TILE4(12)
TILE4(6)
TILE4(2)
TILE(12, 2)
TILE(6, 2)
TILE(2, 2)
TILE(24, 1)
TILE(12, 1)
TILE(6, 1)
TILE(2, 1)

void eq_conv__avx512vnni(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                         int channels) {
  if (eq_conv_narrow512(a, in, out, pixels, channels)) return;
  if (channels <= 16 && pixels > 12) {
    tile_24x1(a, in, out, pixels, channels);
    return;
  }
  static eq_conv_fn *const tiles[2][3] = {{tile_2x1, tile_6x1, tile_12x1},
                                          {tile_2x2, tile_6x2, tile_12x2}};
  for (int first = 0; first < pixels; first += 12) {
    const int n = pixels - first < 12 ? pixels - first : 12, size = n > 6 ? 2 : n > 2 ? 1 : 0;
    tiles[channels > 16][size](a, in + first, out + first, n, channels);
  }
}

void eq_conv4__avx512vnni(const eq_conv *a, const int8_t *packed, int8_t *to, bool keep,
                          const int8_t *const *in, uint8_t *const *out, int pixels, int channels) {
  if (channels <= 16) {
    eq_unpack4__avx512vnni(to, packed, a->panel_bytes / 2);
    eq_conv__avx512vnni(a, in, out, pixels, channels);
    return;
  }
  int8_t *kept = keep || pixels > 12 ? to : NULL;
  (pixels > 6   ? tile4_12
   : pixels > 2 ? tile4_6
                : tile4_2)(a, packed, kept, in, out, pixels < 12 ? pixels : 12, channels);
  if (pixels > 12) eq_conv__avx512vnni(a, in + 12, out + 12, pixels - 12, channels);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
