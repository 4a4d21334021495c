/* conv_avx512.h: what the files of the AVX-512 convolution share. */
#ifndef EDGEQ_CONV_AVX512_H
#define EDGEQ_CONV_AVX512_H
#include "epilogue_avx512.h"

/* Where the sums of channels c .. c + 15 start, because x enters as x + 128. */
EQ_TARGET EQ_INLINE __m512i eq_start512(const eq_epilogue *e, int c) {
  return _mm512_sub_epi32(_mm512_loadu_si512(e->bias + c),
                          _mm512_slli_epi32(_mm512_loadu_si512(e->wsum + c), 7));
}

/* eq_conv_fn for blocks that leave lanes of full panels empty, from channel 0 on: 2, 4, 8 or 17 to
 * 24 channels. False: not such a block. */
bool eq_conv_narrow512(const eq_conv *a, const int8_t *const *in, uint8_t *const *out, int pixels,
                       int channels);

/* 17 to 24 channels of 4 * quads pixels from x + 128: in[q] is the window of pixel 4q and out[q]
 * where its channels begin, those of 4q + 1 .. 4q + 3 lie `step` and `out_step` bytes apart, kernel
 * rows `tap`. */
void eq_conv_half512(const eq_conv *a, ptrdiff_t step, ptrdiff_t tap, const uint8_t *const *in,
                     uint8_t *const *out, ptrdiff_t out_step, int quads, int channels);

/* Registers of sums of `lanes` neighbouring channels of 16 / lanes neighbouring pixels; n / lanes
 * of them, one after the other, make all n = 1, 2, 4 or 8 channels. This is what their epilogue
 * needs, for each of four such registers. */
typedef struct {
  eq_scale512 s[4];
  eq_bounds512 first, second;
  __m512i low, high; /* bounds of bytes */
  int order;
} eq_strip512;

void eq_strip512_of(eq_strip512 *s, const eq_epilogue *e, int n, int lanes);

/* Four registers become 64 values at `to`, `fours` times. */
void eq_finish_strip512(const eq_epilogue *e, const eq_strip512 *s, const __m512i *sums, int fours,
                        uint8_t *to);

/* Lanes n * j .. n * j + n - 1 of a row again and again, n a power of two. */
EQ_TARGET EQ_INLINE __m512i eq_pick512(__m512i row, int n, int j) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at =
      _mm512_add_epi32(_mm512_and_si512(lane, _mm512_set1_epi32(n - 1)), _mm512_set1_epi32(n * j));
  return _mm512_permutexvar_epi32(at, row);
}
#endif
