/* nibbles_avx512.h: 64 4-bit weights to bytes, in one place. Internal. */
#ifndef EDGEQ_NIBBLES_AVX512_H
#define EDGEQ_NIBBLES_AVX512_H
#include <immintrin.h>
#include "kernels.h"

/* The 32 bytes fill both halves of a register; the upper is shifted, a table extends the signs. */
EQ_TARGET_AVX512VNNI EQ_INLINE __m512i eq_nibbles512(const int8_t *from) {
  const __m512i both =
      _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)from));
  const __m512i halves = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
  const __m512i sign =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
  return _mm512_shuffle_epi8(sign, _mm512_and_si512(halves, _mm512_set1_epi8(15)));
}
#endif
