/* product_avx2.h: exact products of bytes on AVX2. vpmaddubsw would saturate, so both sides widen
 * to int16 and vpmaddwd sums pairs. Shifts widen in place: the even bytes of each dword are one
 * plane, the odd ones the other. See conv_avx2.h for the names. */
#ifndef EDGEQ_PRODUCT_AVX2_H
#define EDGEQ_PRODUCT_AVX2_H
#include "epilogue_avx2.h"

#define TARGET EQ_TARGET_AVX2
enum { PLANES = 2 };

TARGET EQ_INLINE __m256i plane(__m256i v, const int P) {
  return _mm256_srai_epi16(P ? v : _mm256_slli_epi16(v, 8), 8);
}

TARGET EQ_INLINE __m256i input(__m256i x) { return x; }

TARGET EQ_INLINE __m256i product(__m256i acc, __m256i x, __m256i w) {
  acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
  __asm__("" : "+x"(acc)); /* else products are added to each other first, and registers spill */
  return acc;
}

TARGET EQ_INLINE __m256i start_of(__m256i bias, __m256i wsum) {
  (void)wsum;
  return bias;
}
#endif
