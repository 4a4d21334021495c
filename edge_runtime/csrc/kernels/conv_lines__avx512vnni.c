/* conv_lines, AVX-512 VNNI: convolution from padded lines. The copy holds x + 128, as vpdpbusd
 * wants it, and four neighbours at one stride share a pointer, so that a tile's addresses fit in
 * registers: 24 pixels x 16 channels or 12 x 32. */
#if defined(__x86_64__)
#include <string.h>
#include "epilogue_avx512.h"

enum { QUAD = EQ_LINE_QUAD, MOST_QUADS = EQ_MAX_MR / QUAD };

EQ_TARGET static uint8_t *copy(uint8_t *to, const int8_t *from, int64_t bytes) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  for (int64_t i = 0; i < bytes; i += 64) {
    const __mmask64 m = bytes - i < 64 ? ((__mmask64)1 << (bytes - i)) - 1 : ~(__mmask64)0;
    _mm512_mask_storeu_epi8(to + i, m,
                            _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, from + i), flip));
  }
  return to + bytes;
}

EQ_TARGET static void fill(const eq_line *l, uint8_t *to, const int8_t *row) {
  int64_t begin = row ? l->left : l->columns, end = l->left + l->width; /* columns inside */
  if (begin < 0) begin = 0;
  if (begin > l->columns) begin = l->columns;
  if (end > l->columns) end = l->columns;
  if (end < begin) end = begin;
  for (int64_t i = 0; i < begin; i++) to = copy(to, l->pad, l->pixel);
  if (begin < end) to = copy(to, row + (begin - l->left) * l->pixel, (end - begin) * l->pixel);
  for (int64_t i = end; i < l->columns; i++) to = copy(to, l->pad, l->pixel);
}

EQ_TARGET EQ_INLINE void tile(const eq_conv *a, const eq_lines *l, const uint8_t *const *in,
                              uint8_t *const *out, int pixels, int channels, const int QUADS,
                              const int PANELS) {
  const int8_t *w = a->w;
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes, back = l->tap - 4 * (ptrdiff_t)a->k4;
  ptrdiff_t one = l->step, three = 3 * l->step;
  const uint8_t *x[MOST_QUADS];
  __m512i acc[EQ_MAX_MR];
#pragma GCC unroll 6
  for (int q = 0; q < QUADS; q++) x[q] = in[q];
#pragma GCC unroll 2
  for (int j = 0; j < PANELS; j++) {
    const __m512i start =
        _mm512_sub_epi32(_mm512_loadu_si512(a->e.bias + 16 * j),
                         _mm512_slli_epi32(_mm512_loadu_si512(a->e.wsum + 16 * j), 7));
#pragma GCC unroll 24
    for (int i = 0; i < QUADS * QUAD; i++) acc[i * PANELS + j] = start;
  }
  for (int t = 0; t < a->taps; t++) {
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = PANELS == 2 ? _mm512_loadu_si512(w + panel) : w0;
#pragma GCC unroll 6
      for (int q = 0; q < QUADS; q++) {
        __asm__("" : "+r"(x[q])); /* else 24 pointers are kept, on the stack */
        const uint8_t *at[QUAD] = {x[q], x[q] + one, x[q] + 2 * one, x[q] + three};
#pragma GCC unroll 4
        for (int i = 0; i < QUAD; i++) {
          int32_t four;
          memcpy(&four, at[i], 4);
          const __m512i v = _mm512_set1_epi32(four);
          __m512i *to = acc + (q * QUAD + i) * PANELS;
          to[0] = _mm512_dpbusd_epi32(to[0], v, w0);
          if (PANELS == 2) to[1] = _mm512_dpbusd_epi32(to[1], v, w1);
        }
        x[q] += 4;
      }
    }
#pragma GCC unroll 6
    for (int q = 0; q < QUADS; q++) x[q] += back;
  }
  __m512i sums[EQ_MAX_MR];
#pragma GCC unroll 24
  for (int i = 0; i < QUADS * QUAD * PANELS; i++) sums[i] = acc[i];
  eq_finish512(&a->e, 0, channels, sums, PANELS, out, a->out_offset, pixels);
}

#define TILE(quads_, panels_)                                                                      \
  EQ_TARGET static void tile_##quads_##x##panels_(const eq_conv *a, const eq_lines *l,             \
                                                  const uint8_t *const *in, uint8_t *const *out,   \
                                                  int pixels, int channels) {                      \
    tile(a, l, in, out, pixels, channels, quads_, panels_);                                        \
  }
TILE(1, 1)
TILE(3, 1)
TILE(6, 1)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)

static void run(const eq_conv *a, const eq_lines *l, const uint8_t *const *in, uint8_t *const *out,
                int pixels, int channels) {
  while (pixels > 0) {
    const bool two = channels > 16;
    const int quads = (pixels + QUAD - 1) / QUAD;
    const int n = two ? (quads < 3 ? quads : 3) : quads >= 6 ? 6 : quads >= 3 ? 3 : 1;
    const int now = pixels < n * QUAD ? pixels : n * QUAD;
    (two ? (n == 3   ? tile_3x2
            : n == 2 ? tile_2x2
                     : tile_1x2)
         : (n == 6   ? tile_6x1
            : n == 3 ? tile_3x1
                     : tile_1x1))(a, l, in, out, now, channels);
    in += n, out += now, pixels -= now;
  }
}

const eq_conv_lines eq_conv_lines__avx512vnni = {fill, run};
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
