/* conv, AVX-512 VNNI: output channels that would leave lanes of full panels empty. 17 to 24
 * channels are one panel and a half: the halves of two pixels share a register. 2, 4 or 8 channels
 * put several steps of k of one pixel side by side. */
#if defined(__x86_64__)
#include <string.h>
#include "conv_avx512.h"

enum { MR = 24 };

/* ---- 17 to 24 channels ---- */

/* Pairs of pixels: `halves` hold channels 16 .. 23 of the first in their low and of the second in
 * their high half. */
EQ_TARGET EQ_INLINE void half(const eq_conv *a, const int8_t *const *in, uint8_t *const *out,
                              int pixels, int channels, const int PAIRS) {
  enum { MOST = MR / 2 };
  const __m512i flip = _mm512_set1_epi32((int)0x80808080);
  const int8_t *w = a->w;
  const ptrdiff_t panel = (ptrdiff_t)a->panel_bytes;
  __m512i acc[MOST], halves[MOST / 2];
  const __m512i start = eq_start512(&a->e, 0), more = eq_start512(&a->e, 16);
#pragma GCC unroll 6
  for (int i = 0; i < PAIRS; i++) {
    acc[2 * i] = acc[2 * i + 1] = start;
    halves[i] = _mm512_shuffle_i64x2(more, more, 0x44);
  }
  for (int t = 0; t < a->taps; t++, in += MR) {
    const int8_t *x[MOST];
#pragma GCC unroll 12
    for (int i = 0; i < 2 * PAIRS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k++, w += 64) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)(w + panel)));
#pragma GCC unroll 6
      for (int i = 0; i < PAIRS; i++) {
        int32_t four[2];
        memcpy(four, x[2 * i] + 4 * k, 4);
        memcpy(four + 1, x[2 * i + 1] + 4 * k, 4);
        const __m512i v0 = _mm512_xor_si512(_mm512_set1_epi32(four[0]), flip);
        const __m512i v1 = _mm512_xor_si512(_mm512_set1_epi32(four[1]), flip);
        acc[2 * i] = _mm512_dpbusd_epi32(acc[2 * i], v0, w0);
        acc[2 * i + 1] = _mm512_dpbusd_epi32(acc[2 * i + 1], v1, w0);
        halves[i] = _mm512_dpbusd_epi32(halves[i], _mm512_mask_blend_epi32(0xff00, v0, v1), w1);
      }
    }
  }
  __m512i sums[2 * MOST];
#pragma GCC unroll 6
  for (int i = 0; i < PAIRS; i++) {
    sums[4 * i] = acc[2 * i], sums[4 * i + 1] = halves[i];
    sums[4 * i + 2] = acc[2 * i + 1];
    sums[4 * i + 3] = _mm512_shuffle_i64x2(halves[i], halves[i], 0xee);
  }
  eq_finish512(&a->e, 0, channels, sums, 2, out, a->out_offset, pixels);
}

/* ---- 2, 4 or 8 channels: a register holds 16 / N steps of k of one pixel ---- */

/* Steps k .. k + 16 / N of `left` that remain: [step][N channels][4] from panels of 16. */
EQ_TARGET EQ_INLINE __m512i narrow_weights(const int8_t *w, int left, const int N) {
#define FROM(i) (w + 64 * (i))
  if (N == 8) {
    const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)FROM(0));
    if (left < 2) return _mm512_zextsi256_si512(low);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low),
                              _mm256_loadu_si256((const __m256i *)(const void *)FROM(1)), 1);
  }
  __m128i part[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    if (N == 4)
      part[i] =
          i < left ? _mm_loadu_si128((const __m128i *)(const void *)FROM(i)) : _mm_setzero_si128();
    else
      part[i] = _mm_unpacklo_epi64(
          2 * i < left ? _mm_loadl_epi64((const __m128i *)(const void *)FROM(2 * i))
                       : _mm_setzero_si128(),
          2 * i + 1 < left ? _mm_loadl_epi64((const __m128i *)(const void *)FROM(2 * i + 1))
                           : _mm_setzero_si128());
  }
#undef FROM
  __m512i v = _mm512_castsi128_si512(part[0]);
  v = _mm512_inserti32x4(v, part[1], 1);
  v = _mm512_inserti32x4(v, part[2], 2);
  return _mm512_inserti32x4(v, part[3], 3);
}

/* Sums over the steps of 16 / N pixels, side by side. */
EQ_TARGET EQ_INLINE __m512i narrow_sum(const __m512i *acc, const int N) {
  if (N == 8)
    return _mm512_add_epi32(_mm512_shuffle_i64x2(acc[0], acc[1], 0x44),
                            _mm512_shuffle_i64x2(acc[0], acc[1], 0xee));
  __m512i four[4], two[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++)
    four[i] = N == 4 ? acc[i]
                     : _mm512_add_epi32(_mm512_unpacklo_epi64(acc[2 * i], acc[2 * i + 1]),
                                        _mm512_unpackhi_epi64(acc[2 * i], acc[2 * i + 1]));
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++)
    two[i] = _mm512_add_epi32(_mm512_shuffle_i64x2(four[2 * i], four[2 * i + 1], 0x44),
                              _mm512_shuffle_i64x2(four[2 * i], four[2 * i + 1], 0xee));
  return _mm512_add_epi32(_mm512_shuffle_i64x2(two[0], two[1], 0x88),
                          _mm512_shuffle_i64x2(two[0], two[1], 0xdd));
}

EQ_TARGET EQ_INLINE void narrow(const eq_conv *a, const int8_t *const *in, uint8_t *const *out,
                                int pixels, const int PIXELS, const int N) {
  enum { LANES = 16 };
  const int steps = LANES / N;
  const __m256i flip = _mm256_set1_epi8((char)0x80);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i step = _mm512_srli_epi32(lane, N == 8 ? 3 : N == 4 ? 2 : 1);
  const int8_t *w = a->w;
  __m512i acc[MR];
#pragma GCC unroll 24
  for (int i = 0; i < PIXELS; i++) acc[i] = _mm512_setzero_si512();
  for (int t = 0; t < a->taps; t++, in += MR, w += 64 * a->k4) {
    const int8_t *x[MR];
#pragma GCC unroll 24
    for (int i = 0; i < PIXELS; i++) x[i] = in[i] + a->in_offset;
    for (int k = 0; k < a->k4; k += steps) {
      const __m512i now = narrow_weights(w + 64 * k, a->k4 - k, N);
#pragma GCC unroll 24
      for (int i = 0; i < PIXELS; i++) {
        const void *p = x[i] + 4 * k;
        __m256i v = N == 2   ? _mm256_loadu_si256(p)
                    : N == 4 ? _mm256_castsi128_si256(_mm_loadu_si128(p))
                             : _mm256_castsi128_si256(_mm_loadl_epi64(p));
        v = _mm256_xor_si256(v, flip);
        acc[i] = _mm512_dpbusd_epi32(
            acc[i], _mm512_permutexvar_epi32(step, _mm512_castsi256_si512(v)), now);
      }
    }
  }
  const __m512i start = eq_repeat512(eq_start512(&a->e, 0), N);
  __m512i sums[MR / 2];
#pragma GCC unroll 12
  for (int i = 0; i < MR / 2; i++)
    if (i * steps < PIXELS) sums[i] = _mm512_add_epi32(start, narrow_sum(acc + i * steps, N));
  eq_finish_few512(&a->e, 0, N, sums, out, a->out_offset, pixels);
}

#define HALF(pixels_)                                                                              \
  EQ_TARGET static void half_##pixels_(const eq_conv *a, const int8_t *const *in,                  \
                                       uint8_t *const *out, int pixels, int channels) {            \
    half(a, in, out, pixels, channels, pixels_ / 2);                                               \
  }
#define NARROW(pixels_, channels_)                                                                 \
  EQ_TARGET static void narrow_##pixels_##x##channels_(                                            \
      const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels, int channels) {  \
    (void)channels;                                                                                \
    narrow(a, in, out, pixels, pixels_, channels_);                                                \
  }
HALF(12)
HALF(6)
HALF(2)
NARROW(24, 8)
NARROW(8, 8)
NARROW(24, 4)
NARROW(8, 4)
NARROW(24, 2)
NARROW(16, 2)

static eq_conv_fn *narrow_of(int channels, int pixels) {
  const bool most = pixels > 8;
  switch (channels) {
  case 8:
    return most ? narrow_24x8 : narrow_8x8;
  case 4:
    return most ? narrow_24x4 : narrow_8x4;
  case 2:
    return pixels > 16 ? narrow_24x2 : narrow_16x2;
  default:
    return NULL;
  }
}

bool eq_conv_narrow512(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                       int channels) {
  eq_conv_fn *tile = narrow_of(channels, pixels);
  if (tile) {
    tile(a, in, out, pixels, channels);
    return true;
  }
  if (channels <= 16 || channels > 24) return false;
  for (int first = 0; first < pixels; first += 12) {
    const int n = pixels - first < 12 ? pixels - first : 12;
    (n > 6 ? half_12 : n > 2 ? half_6 : half_2)(a, in + first, out + first, n, channels);
  }
  return true;
}
#else
typedef int eq_empty; /* ISO C wants a declaration */
#endif
