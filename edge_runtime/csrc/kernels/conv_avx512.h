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
#endif
