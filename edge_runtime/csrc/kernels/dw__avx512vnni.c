/* dw, AVX-512 VNNI: 16 channels at a time. Four taps of 16 channels are brought into one register
 * as [channel][tap], so that vpdpbusd adds four products per channel. x enters as x + 128. */
#if defined(__x86_64__)
#include "epilogue_avx512.h"

enum { MAX_QUADS = 64, GROUP = 16 }; /* weights kept on the stack: up to 256 taps; pixels */

/* [tap][channel] bytes in four 128-bit lanes -> [channel][tap] */
EQ_TARGET EQ_INLINE __m512i interleave(__m128i a, __m128i b, __m128i c, __m128i d) {
  const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i v = _mm512_castsi128_si512(a);
  v = _mm512_inserti32x4(v, b, 1);
  v = _mm512_inserti32x4(v, c, 2);
  v = _mm512_inserti32x4(v, d, 3);
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, v), bytes);
}

EQ_TARGET EQ_INLINE __m128i load16(const int8_t *p) {
  return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* All pixels of the panel at channel c; QUADS is constant after inlining, or the count itself. */
EQ_TARGET EQ_INLINE void panel(const eq_dw *a, const int8_t *const *in, uint8_t *const *out,
                               int pixels, int c, const int QUADS) {
  const __m512i flip = _mm512_set1_epi32((int)0x80808080);
  __m512i w[MAX_QUADS];
  for (int q = 0; q < QUADS; q++) {
    __m128i tap[4];
    for (int t = 0; t < 4; t++)
      tap[t] = 4 * q + t < a->taps ? load16(a->w + (ptrdiff_t)(4 * q + t) * a->lanes + c)
                                   : _mm_setzero_si128();
    w[q] = interleave(tap[0], tap[1], tap[2], tap[3]);
  }
  const __m512i wsum = _mm512_loadu_si512(a->e.wsum + c);
  const __m512i start =
      _mm512_sub_epi32(_mm512_loadu_si512(a->e.bias + c), _mm512_slli_epi32(wsum, 7));
  const ptrdiff_t at = (ptrdiff_t)c * (a->e.out16 ? 2 : 1);
  __m512i sums[GROUP];
  for (int first = 0; first < pixels; first += GROUP) {
    const int n = pixels - first < GROUP ? pixels - first : GROUP;
    for (int i = 0; i < n; i++, in += 4 * QUADS) {
      __m512i acc = start;
#pragma GCC unroll 7
      for (int q = 0; q < QUADS; q++) {
        const int8_t *const *x = in + 4 * q;
        const __m512i v =
            interleave(load16(x[0] + c), load16(x[1] + c), load16(x[2] + c), load16(x[3] + c));
        acc = _mm512_dpbusd_epi32(acc, _mm512_xor_si512(v, flip), w[q]);
      }
      sums[i] = acc;
    }
    eq_finish512(&a->e, c, a->channels - c < 16 ? a->channels - c : 16, sums, 1, out + first, at,
                 n);
  }
}

EQ_TARGET static void panel_3(const eq_dw *a, const int8_t *const *in, uint8_t *const *out,
                              int pixels, int c) {
  panel(a, in, out, pixels, c, 3);
}
EQ_TARGET static void panel_7(const eq_dw *a, const int8_t *const *in, uint8_t *const *out,
                              int pixels, int c) {
  panel(a, in, out, pixels, c, 7);
}
EQ_TARGET static void panel_n(const eq_dw *a, const int8_t *const *in, uint8_t *const *out,
                              int pixels, int c) {
  panel(a, in, out, pixels, c, (a->taps + 3) / 4);
}

void eq_dw__avx512vnni(const eq_dw *a, const int8_t *const *in, uint8_t *const *out, int pixels) {
  const int quads = (a->taps + 3) / 4;
  if (quads > MAX_QUADS) {
    eq_dw__scalar(a, in, out, pixels);
    return;
  }
  /* 3x3 and 5x5 keep their weights in registers */
  for (int c = 0; c < a->channels; c += 16)
    (quads == 3 ? panel_3 : quads == 7 ? panel_7 : panel_n)(a, in, out, pixels, c);
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
